"""Printing for people (tables), for machines (JSON), and progress on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table

from eigenflow.core.judged import beside_last
from eigenflow.core.text import clean

if TYPE_CHECKING:  # `eigenflow --help` must not load the numerical packages
    from eigenflow.theory import Claim, LearningTimes
    from eigenflow.theory.forecasts.rest_of_run import RestForecast

__all__ = [
    "COLOURS",
    "METHODS",
    "SIGNS",
    "be_quiet",
    "claims_table",
    "err",
    "fail",
    "learning_table",
    "number",
    "out",
    "print_json",
    "say",
    "scores_table",
    "verdicts_table",
]

WIDE = 120


class _Console(Console):
    """A terminal that names from strangers' files cannot steer: what they hold is dropped, rich's own colours stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(clean(segment.text, lines=True), segment.style)


out = _Console()
err = _Console(stderr=True)

SIGNS = {"supported": "✓", "contradicted": "✗", "undecided": "○"}
COLOURS = {"supported": "green", "contradicted": "red", "undecided": "yellow"}
METHODS = {"lazy": "lazy limit, v = 0", "transport": "transport, b = 1", "power_law": "power law in time"}


def be_quiet(wanted: bool) -> None:
    """Whether notes and progress on stderr are left out; errors never are."""
    err.quiet = wanted


def fail(error: object, *, code: int) -> NoReturn:
    """Print an error for people and leave with its exit code."""
    err.quiet = False
    err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
    sys.exit(code)


def print_json(value: Any) -> None:
    """Print strict JSON on stdout, arrays as lists."""
    sys.stdout.write(json.dumps(value, default=_plain, allow_nan=False, indent=2) + "\n")


def number(value: float | None, digits: int = 3) -> str:
    """A few significant digits, or a dash."""
    return "-" if value is None else f"{value:.{digits}g}"


def say(text: str) -> None:
    """Print a line of prose: broken at words where a person reads, whole where a program does."""
    out.print(text, markup=False, highlight=False, soft_wrap=not out.is_terminal)


def verdicts_table(rows: "Sequence[Claim]") -> Table:
    """The claims as a whole in words: what each says, the number that decided with what is wanted, the verdict."""
    from eigenflow.theory.claim_words import CLAIM_WORDS

    table = Table(title="Claims of the theory on this run", title_justify="left", box=SIMPLE_HEAD, pad_edge=False,
                  padding=(0, 1, 0, 0), show_lines=False)  # fmt: skip
    table.add_column("claim", no_wrap=True)
    table.add_column("what it says, and the number that decided", ratio=1, overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        if "." in row.claim:
            continue
        words = CLAIM_WORDS[row.claim].plain if row.claim in CLAIM_WORDS else row.statement
        verdict = f"[{COLOURS[row.verdict]}]{SIGNS[row.verdict]} {row.verdict}[/]"
        table.add_row(f"[bold]{escape(row.claim)}[/]", f"{escape(words)}\n[dim]{escape(_decided(row))}[/]", verdict)
    counts = {name: sum(row.verdict == name and "." not in row.claim for row in rows) for name in COLOURS}
    table.caption = ", ".join(f"{count} {name}" for name, count in counts.items())
    table.caption_justify = "left"
    return table


def _decided(row: "Claim") -> str:
    """The number behind a verdict, with its interval and band."""
    if row.estimate is None:
        return f"no number: {row.reason}"
    interval = "" if row.interval is None else f" [{number(row.interval[0])}, {number(row.interval[1])}]"
    wanted = "" if row.band == (None, None) else f", wanted {_band(row.band)}"
    return f"{row.decided_by or row.claim}: {number(row.estimate)}{interval}{wanted}"


def claims_table(rows: "Sequence[Claim]") -> Table:
    """The claims and their assertions, one row each; the statements where the terminal is wide enough.

    The row of a claim names the assertion that decided; those beside a claim, on which it does not depend, come last.
    """
    is_wide = out.width >= WIDE
    digits = 3 if is_wide else 2  # the table fits 80 columns
    table = Table(
        title="Claims of the theory on this run",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1) if is_wide else (0, 1, 0, 0),
    )
    table.add_column("claim", no_wrap=True)
    if is_wide:
        table.add_column("statement", ratio=1)
    for name in ("estimate", "90 % interval", "band"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row, is_first in beside_last(rows):
        if is_first:
            table.add_row("  [italic]beside it[/]", style="dim")
        cells = [f"[bold]{row.claim}[/]{_decider(row)}" if "." not in row.claim else f"  {row.claim}"]
        if is_wide:
            cells.append(escape(row.statement))
        ends = None if row.interval is None else [number(end, digits) for end in row.interval]
        interval = "-" if ends is None else f"[{ends[0]}, {ends[1]}]"
        cells += [number(row.estimate, digits), escape(interval), escape(_band(row.band))]
        table.add_row(*cells, f"[{COLOURS[row.verdict]}]{row.verdict}[/]", style=None if row.decides else "dim")
    return table


def scores_table(forecasts: "list[RestForecast]") -> Table:
    """Scores of the forecasts: one row a method, for each cut the RMS of ln(predicted / true) and its last value."""
    cuts = sorted({forecast.observed.cut for forecast in forecasts})
    is_loss = all(forecast.observed.quantity == "loss" for forecast in forecasts)
    what = "the rest of the run" if is_loss else "||e||^2 over the rest of the run"
    title = f"Forecast of {what}: RMS of ln(predicted / true), and its last value"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for cut in cuts:
        table.add_column(f"from {cut:.0%}", justify="right", no_wrap=True)
        table.add_column("last", justify="right", no_wrap=True)
    for method, label in METHODS.items():
        scores = {f.observed.cut: f.score for f in forecasts if f.method == method}
        cells = []
        for cut in cuts:
            cells += [f"{scores[cut].rms_log_ratio:.3f}", f"{scores[cut].final_log_ratio:+.3f}"]
        table.add_row(label, *cells)
    return table


def _decider(row: "Claim") -> str:
    """Of a claim as a whole, the name of the assertion whose numbers it shows."""
    return f" [dim]by {row.decided_by.split('.')[-1]}[/]" if row.decided_by else ""


def learning_table(found: "LearningTimes") -> Table:
    """When modes are learned: a row for each group, from the largest eigenvalue down."""
    is_wide = out.width >= WIDE
    title = f"What is learned when, by {found.by}"
    padding = (0, 1) if is_wide else (0, 1, 0, 0)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=padding)
    columns = found.columns(3 if is_wide else 2)  # the table fits 80 columns
    heads = [name.replace(" %", "%").replace(" ", "\n") for name in columns]
    for column in ("eigenvalue" if is_wide else "λ", "ranks", "energy", *heads):
        table.add_column(column, justify="right", no_wrap=True)
    for group, (low, high) in enumerate(found.eigenvalues):
        value = f"{number(low)} to {number(high)}" if is_wide and low < high else number((low * high) ** 0.5, 2)
        first, last = found.ranks[group]
        ranks = str(first) if first == last else f"{first}-{last}"
        table.add_row(value, ranks, f"{found.shares[group]:.1%}", *(cells[group] for cells in columns.values()))
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
