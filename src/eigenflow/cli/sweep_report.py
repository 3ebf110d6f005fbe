"""What `eigenflow report` and `eigenflow compare` do with the folder of a sweep."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from eigenflow.cli.console import err, number, out

if TYPE_CHECKING:
    from eigenflow.theory.over_sweep import SweepEffects

__all__ = ["is_sweep", "print_sweep", "read_effects", "write_page"]

MOST_RUNS = 40


def is_sweep(path: Path) -> bool:
    """Whether a folder is a sweep's."""
    from eigenflow.theory.over_sweep import is_sweep as is_one

    return is_one(path)


def read_effects(path: Path) -> "SweepEffects":
    """Gather a sweep's numbers and what changes over it."""
    from eigenflow.theory.over_sweep import open_sweep, sweep_dataset, sweep_effects

    with err.status(f"Reading the runs of {escape(str(path))} ...") as status:
        data = sweep_dataset(open_sweep(path), progress=lambda name: status.update(f"Reading {escape(name)} ..."))
        return sweep_effects(data)


def write_page(effects: "SweepEffects", sweep: Path, page: Path, *, replace: bool) -> Path:
    """Write the sweep's page."""
    from eigenflow.report.sweep_page import write_sweep_page
    from eigenflow.theory.over_sweep import open_sweep

    opened = open_sweep(sweep)
    failures = {run.name: why for run in opened.runs if (why := opened.failure(run)) is not None}
    return write_sweep_page(effects, page, failures=failures, replace=replace)


def print_sweep(effects: "SweepEffects") -> None:
    """The answer, then exponents, powers, flips and runs."""
    out.print(str(effects), markup=False, highlight=False, soft_wrap=True)
    for title, heads, rows in (_exponents(effects), _flips(effects), _runs(effects)):
        if not rows:
            continue
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for head in heads:
            table.add_column(head, overflow="fold")
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        out.print(table)
    for note in effects.notes:
        err.print(f"note: {note}", markup=False, soft_wrap=True)


Printed = tuple[str, list[str], list[list[Any]]]


def _exponents(effects: "SweepEffects") -> Printed:
    from eigenflow.theory.over_sweep.effects import where_text

    rows = [[one.key, where_text(one.where) or "-", one.told()] for one in effects.exponents]
    return "Exponents of the loss, with 90 % intervals", ["size", "at", "exponent"], rows


def _flips(effects: "SweepEffects") -> Printed:
    rows = [
        [one.claim, *(one.counts[name] for name in ("supported", "contradicted", "undecided")), one.key or "-"]
        for one in effects.flips
    ]
    return "Verdicts that flip over the sweep", ["row", "supported", "contradicted", "undecided", "with"], rows


def _runs(effects: "SweepEffects") -> Printed:
    from eigenflow.report.sweep_page import run_rows
    from eigenflow.theory.over_sweep.effects import keys_of

    found = run_rows(effects)
    keys = list(keys_of(effects.data))
    repeats = ["repeat"] if "repeat" in effects.data["state"].dims else []
    rows = [
        [*row["keys"], *([row["repeat"]] if repeats else []), row["state"],
         *(number(row[name]) for name in ("loss", "distance")), row["regime"] or "-", number(row["drift_exponent"])]
        for row in found[:MOST_RUNS]
    ]  # fmt: skip
    numbers = [effects.loss.replace("_", " "), "distance", "regime", "drift b"]
    more = f", the first {MOST_RUNS} of {len(found)}" if len(found) > MOST_RUNS else ""
    return f"Runs{more}", [*keys, *repeats, "state", *numbers], rows
