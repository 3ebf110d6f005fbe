"""What a run or a log showed, for people and for programs: summary, figures, HTML. No torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eigenflow.report.html import write_report as write_report
    from eigenflow.report.summary import Analysis as Analysis
    from eigenflow.report.summary import analyse as analyse

__all__ = ["Analysis", "analyse", "write_report"]

# Resolved when asked for: the page of a forecast knows nothing of the theory, whose import would take half its time.
_HOMES = {"Analysis": "summary", "analyse": "summary", "write_report": "html"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has: {', '.join(__all__)}.")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
