"""Printing for people (tables), for machines (JSON), and progress on stderr."""

import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:  # `eigenflow --help` must not load the numerical packages
    from eigenflow.forecast import RestForecast
    from eigenflow.theory import Claim

__all__ = ["claims_table", "err", "fail", "number", "out", "print_json", "scores_table"]

out = Console()
err = Console(stderr=True)

_COLOURS = {"supported": "green", "contradicted": "red", "undecided": "yellow"}
METHODS = {"lazy": "lazy limit, v = 0", "transport": "transport, b = 1", "power_law": "power law in time"}


def fail(error: object, *, code: int) -> NoReturn:
    """Print an error for people and leave with its exit code."""
    err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
    sys.exit(code)


def print_json(value: Any) -> None:
    """Print strict JSON on stdout, arrays as lists."""
    sys.stdout.write(json.dumps(value, default=_plain, allow_nan=False, indent=2) + "\n")


def number(value: float | None) -> str:
    """Three significant digits, or a dash."""
    return "-" if value is None else f"{value:.3g}"


def claims_table(rows: "list[Claim]") -> Table:
    """The claims and their assertions, one row each."""
    table = Table(title="Claims of the theory on this run", title_justify="left", header_style="bold")
    table.add_column("claim", no_wrap=True)
    table.add_column("statement", ratio=3)
    for name in ("estimate", "90 % interval", "band"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        is_whole = "." not in row.claim
        interval = "-" if row.interval is None else f"[{number(row.interval[0])}, {number(row.interval[1])}]"
        table.add_row(
            f"[bold]{row.claim}[/]" if is_whole else f"  {row.claim}",
            escape(row.statement),
            number(row.estimate),
            escape(interval),
            escape(_band(row.band)),
            f"[{_COLOURS[row.verdict]}]{row.verdict}[/]",
            end_section=False,
        )
    return table


def scores_table(forecasts: "list[RestForecast]") -> Table:
    """Scores of the forecasts: one row a method, one column a cut."""
    cuts = sorted({forecast.observed.cut for forecast in forecasts})
    table = Table(title="Forecast of the rest of the run", title_justify="left", header_style="bold")
    table.add_column("method", no_wrap=True)
    for cut in cuts:
        table.add_column(f"from {cut:.0%}: RMS ln ratio", justify="right")
        table.add_column("last", justify="right")
    for method, label in METHODS.items():
        scores = {f.observed.cut: f.score for f in forecasts if f.method == method}
        cells = []
        for cut in cuts:
            cells += [f"{scores[cut].rms_log_ratio:.3f}", f"{scores[cut].final_log_ratio:+.3f}"]
        table.add_row(label, *cells)
    return table


def _band(band: tuple[float | None, float | None]) -> str:
    low, high = band
    if low is None and high is None:
        return "-"
    if low is None:
        return f"<= {number(high)}"
    return f">= {number(low)}" if high is None else f"[{number(low)}, {number(high)}]"


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
