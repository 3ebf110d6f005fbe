"""The report of a run as one self-contained HTML file."""

from pathlib import Path

from eigenflow.report.summary import Analysis

__all__ = ["write_report"]


def write_report(analysis: Analysis, path: Path | None = None, **timings: float) -> Path:
    raise NotImplementedError
