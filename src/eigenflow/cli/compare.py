"""`eigenflow compare RUN RUN...`: runs side by side."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from eigenflow.cli.console import COLOURS, METHODS, SIGNS, err, number, out, print_json, say
from eigenflow.cli.sweep_report import is_sweep, print_sweep, read_effects, write_page
from eigenflow.cli.writing import Force, check_outputs
from eigenflow.core.errors import ArgumentError
from eigenflow.core.writing import FORMAT

if TYPE_CHECKING:
    from eigenflow.report.comparison import Comparison

__all__ = ["compare"]

# Characters for the names of rows, and for a run's verdict with its sign and the gap before it.
NAMES, CELL = 34, 15


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders, or one sweep.", metavar="RUN RUN...")],
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with the lazy-rich plane.", metavar="FILE")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every assertion of every claim.")] = False,
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
    _print(found, everything=everything)
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


def _print(found: "Comparison", *, everything: bool) -> None:
    from eigenflow.report.answers.compared import compared_answers

    for answer in compared_answers(found):
        out.print(
            f"[dim]{answer.question}[/] [bold]{escape(answer.headline)}[/]",
            highlight=False,
            soft_wrap=not out.is_terminal,
        )
        say(answer.text)
    for caution in found.cautions:
        err.print(f"caution: {caution}", markup=False, soft_wrap=not err.is_terminal)
    rows = [(escape(key), [escape(cell) for cell in row]) for key, row in found.differences.items()]
    tables = [("What differs", rows), ("Where each run lies between lazy and rich", _places(found))]
    tables.append(
        ("Claims: verdict and estimate; ⇄ supported in one run and contradicted in another", _claims(found, everything))
    )
    if found.cuts:
        tables.append(("Forecast of the rest of the run: RMS of ln(predicted / true)", _scores(found)))
    for title, rows in tables:
        for table in _tables(found, title, rows) if rows else []:
            out.print(table)
    if not everything:
        say("Every assertion of every claim: --all.")


def _tables(found: "Comparison", title: str, rows: list[tuple[str, list[str]]]) -> Iterator[Table]:
    """One table, or several, each of as many runs as there is room for."""
    most = max(1, (out.width - NAMES) // CELL)
    for first in range(0, len(found.runs), most):
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("", overflow="fold")
        for run in found.runs[first : first + most]:
            table.add_column(escape(run.name), justify="right", overflow="fold")
        for name, cells in rows:
            table.add_row(name, *cells[first : first + most])
        yield table


def _claims(found: "Comparison", everything: bool) -> list[tuple[str, list[str]]]:
    """The claims in words, those that flip first; or all rows, in their order and with those beside in brackets."""
    from eigenflow.theory.claim_words import CLAIM_WORDS

    flips = set(found.flips)
    if everything:
        return [
            (f"{_named(found, name)}{' ⇄' if name in flips else ''}", _verdicts(found, name)) for name in found.claims
        ]
    whole = sorted((name for name in found.claims if "." not in name), key=lambda name: name not in flips)
    return [
        (f"[bold]{name}{' ⇄' if name in flips else ''}[/] {escape(CLAIM_WORDS[name].plain)}", _verdicts(found, name))
        for name in whole
    ]


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
            told = "" if claim.estimate is None else number(claim.estimate)
            by = f"[dim]{claim.decided_by.split('.')[-1]}[/]" if claim.decided_by else ""
            below = " ".join(filter(None, [told, by]))
            cells.append(
                f"[{COLOURS[claim.verdict]}]{SIGNS[claim.verdict]} {claim.verdict}[/]{below and chr(10)}{below}"
            )
    return cells


def _scores(found: "Comparison") -> list[tuple[str, list[str]]]:
    return [
        (f"{label}, from {cut:.0%}", [number(run.score(method, cut)) for run in found.runs])
        for cut in found.cuts
        for method, label in METHODS.items()
    ]
