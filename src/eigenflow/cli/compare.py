"""`eigenflow compare RUN RUN...`: runs side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from eigenflow.cli.console import COLOURS, METHODS, err, number, out, print_json
from eigenflow.cli.sweep_report import is_sweep, print_sweep, read_effects, write_page
from eigenflow.cli.writing import Force, check_outputs
from eigenflow.core.errors import ArgumentError
from eigenflow.core.writing import FORMAT

if TYPE_CHECKING:
    from eigenflow.report.comparison import Comparison

__all__ = ["compare"]


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders, or one sweep.", metavar="RUN RUN...")],
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with the lazy-rich plane.", metavar="FILE")
    ] = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Put runs side by side: what differs, where they lie between lazy and rich, verdicts, and forecasts.

    Example: `eigenflow compare runs/digits runs/digits-sgd`
    """
    from eigenflow.report.comparison import compare as compare_runs
    from eigenflow.store import open_run

    check_outputs({"--html": html}, inputs=runs, replace=force)
    sweeps = [run for run in runs if is_sweep(run)]
    if sweeps and len(runs) > 1:
        raise ArgumentError(f"`RUN` must be one sweep by itself, or runs, but '{sweeps[0]}' is a sweep among others.")
    if sweeps:
        _compare_sweep(sweeps[0], html, force=force, as_json=as_json)
        return
    opened = [open_run(run) for run in runs]
    with err.status(f"Analysing {len(opened)} runs, a few seconds each ...") as status:
        found = compare_runs(opened, progress=lambda name: status.update(f"Analysing {escape(name)} ..."))
    if html is not None:
        from eigenflow.report.comparison_page import write_comparison

        write_comparison(found, html, replace=force)
    if as_json:
        print_json({"format": FORMAT} | found.to_dict())
        return
    _print(found)
    if html is not None:
        out.print(f"Page: {html}", markup=False, soft_wrap=True)


def _compare_sweep(sweep: Path, html: Path | None, *, force: bool, as_json: bool) -> None:
    """What changes over all runs of a sweep, none of which is analysed anew."""
    effects = read_effects(sweep)
    if html is not None:
        write_page(effects, sweep, html, replace=force)
    if as_json:
        print_json({"format": FORMAT, "sweep": str(sweep)} | effects.to_dict())
        return
    print_sweep(effects)
    if html is not None:
        out.print(f"Page: {html}", markup=False, soft_wrap=True)


def _print(found: "Comparison") -> None:
    if found.differences:
        out.print(_table(found, "What differs", [(escape(key), row) for key, row in found.differences.items()]))
    out.print(_table(found, "Where each run lies between lazy and rich", _places(found)))
    rows = [(_named(found, name), _verdicts(found, name)) for name in found.claims]
    out.print(_table(found, "Claims: verdict and estimate; beside a claim in brackets", rows))
    if found.cuts:
        title = "Forecast of the rest of the run: RMS of ln(predicted / true)"
        out.print(_table(found, title, _scores(found)))
    for caution in found.cautions:
        err.print(f"caution: {caution}", markup=False, soft_wrap=True)


def _table(found: "Comparison", title: str, rows: list[tuple[str, list[str]]]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for run in found.runs:
        table.add_column(escape(run.name), justify="right", overflow="fold")
    for name, cells in rows:
        table.add_row(name, *cells)
    return table


def _places(found: "Comparison") -> list[tuple[str, list[str]]]:
    def text(cell: float | str | None) -> str:
        return cell if isinstance(cell, str) else number(cell)

    return [(name, [text(cell) for cell in cells]) for name, cells in found.place_rows]


def _named(found: "Comparison", name: str) -> str:
    """A row's name, paler and in brackets where no claim depends on it."""
    return f"[dim]({name})[/]" if name in found.beside else name


def _verdicts(found: "Comparison", name: str) -> list[str]:
    cells = []
    for run in found.runs:
        claim = run.claim(name)
        if claim is None:
            cells.append("-")
        else:
            told = "" if claim.estimate is None else f" {number(claim.estimate)}"
            by = f" [dim]{claim.decided_by.split('.')[-1]}[/]" if claim.decided_by else ""
            cells.append(f"[{COLOURS[claim.verdict]}]{claim.verdict}[/]{told}{by}")
    return cells


def _scores(found: "Comparison") -> list[tuple[str, list[str]]]:
    return [
        (f"{label}, from {cut:.0%}", [number(run.score(method, cut)) for run in found.runs])
        for cut in found.cuts
        for method, label in METHODS.items()
    ]
