"""What `eigenflow run` does after the recording: judge a run, and write its page and its summary."""

import sys
from time import perf_counter
from typing import Any

from eigenflow.report import analyse, write_report
from eigenflow.report.summary import Analysis
from eigenflow.store import Run

__all__ = ["judge_run"]


def judge_run(recorded: Run, *, report: bool, train_s: float, begin: float) -> tuple[Analysis, dict[str, Any]]:
    """Judge a recorded run and write its summary, and its page before: a folder with a summary lacks nothing.

    Args:
        recorded: The run.
        report: Whether the page is written too.
        train_s: Seconds that training took, for the summary.
        begin: Of the clock `perf_counter`, from which `total_s` counts.

    Returns:
        What was concluded, and the summary as it was written.
    """
    analysis = analyse(recorded)
    timings = {"train_and_measure_s": train_s, "peak_bytes": _peak_bytes()}
    if report:
        write_report(analysis, **timings)
    summary = analysis.summary(**timings, total_s=perf_counter() - begin)
    recorded.write_summary(summary)
    return analysis, summary


def _peak_bytes() -> int:
    """Largest resident memory of this process so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
