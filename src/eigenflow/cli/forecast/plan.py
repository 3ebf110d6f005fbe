"""`eigenflow forecast plan TABLE`: what to train with a compute budget."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from eigenflow.cli.console import err, number, out, print_json
from eigenflow.cli.forecast import options
from eigenflow.core.errors import ArgumentError
from eigenflow.core.writing import FORMAT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eigenflow.scaling.allocation import Allocation
    from eigenflow.scaling.backtest import TableScore
    from eigenflow.scaling.fit import ScalingFit
    from eigenflow.scaling.table import ScalingTable

__all__ = ["PlanColumns", "Where", "fitted_table", "parse_budgets", "plan"]

BUDGETS_AHEAD = (1.0, 10.0, 100.0)

PlanColumns = Annotated[
    list[str] | None, typer.Option("--column", help="Name a column: loss=val_loss, size=N.", metavar="WHAT=NAME")
]
Where = Annotated[list[str] | None, typer.Option(help="Keep rows only: column=value.", metavar="COLUMN=VALUE")]


def plan(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet of finished runs: size, tokens (or flops), loss.")],
    flops: Annotated[
        list[str] | None,
        typer.Option(help="Budget C = 6 N D; repeat. Default: 1, 10, 100 times the largest run.", metavar="FLOP"),
    ] = None,
    law: Annotated[str, typer.Option(help="frontier, chinchilla, tied, kaplan, repeats, or approach3.")] = "frontier",
    columns: PlanColumns = None,
    where: Where = None,
    backtest: Annotated[
        bool, typer.Option("--backtest", help="Score the laws: fit the lower compute, predict the upper.")
    ] = False,
    picture: options.Picture = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Fit a scaling law to a TABLE of finished runs and print the best size and tokens for each budget.

    Sizes are in the convention of the table (with or without embeddings), compute is 6 * size * tokens.

    Example: `eigenflow forecast plan runs.csv --column loss=val_loss --flops 1e21 --flops 1e22`
    """
    import numpy as np

    from eigenflow.scaling.allocation import allocate
    from eigenflow.scaling.backtest import backtest_table

    options.check_outputs({"--picture": picture}, inputs=[table], replace=force)
    wanted = parse_budgets(flops)
    fit = fitted_table(table, columns, where, law)
    known = fit.table
    budgets = wanted or sorted(float(known.flops.max()) * factor for factor in BUDGETS_AHEAD)
    found = allocate(fit, np.array(budgets))
    scores = backtest_table(known) if backtest else ()
    if picture is not None:
        from eigenflow.plots.file import write_picture
        from eigenflow.scaling.pictures import plan_figure

        write_picture(plan_figure(found, fit), picture, replace=force)
    if as_json:
        print_json(_as_dict(known, fit, found, scores))
        return
    _show_fit(fit)
    out.print(_allocation_table(found))
    if scores:
        out.print(_score_table(scores))


def fitted_table(table: Path, columns: list[str] | None, where: list[str] | None, law: str) -> "ScalingFit":
    """Read a table of finished runs by the options of a command, and fit a law to it."""
    from eigenflow.scaling.backtest import fit_named
    from eigenflow.scaling.table import read_scaling_table

    return fit_named(read_scaling_table(table, _pairs("--column", columns), _pairs("--where", where)), law)


def parse_budgets(entries: list[str] | None) -> list[float]:
    """Turn the budgets of `--flops` into numbers, increasing; none if none is given."""
    budgets = []
    for entry in entries or []:
        try:
            budget = float(entry)
        except ValueError:
            budget = float("nan")
        if not 0 < budget < float("inf"):
            raise ArgumentError(
                f"`--flops` must be a positive number of floating-point operations such as 1e21, but is '{entry}'. "
                f"Write it without a unit: a petaflop/s-day is 8.64e19."
            )
        budgets.append(budget)
    return sorted(budgets)


def _pairs(option: str, entries: list[str] | None) -> dict[str, str]:
    pairs = {}
    for entry in entries or []:
        left, mark, right = entry.partition("=")
        if not (left and mark and right):
            raise ArgumentError(f"`{option}` must be LEFT=RIGHT, but is '{entry}'.")
        pairs[left] = right
    return pairs


def _show_fit(fit: "ScalingFit") -> None:
    constants = ", ".join(f"{name} {number(value)}" for name, value in fit.constants.items())
    err.print(f"{fit.law.name}: L = {fit.law.formula}", markup=False)
    err.print(
        f"{len(fit.table)} runs; {constants}; {fit.status.value} from {fit.agreeing_starts:.0%} of the starts",
        markup=False,
    )
    unknown = [name for name, is_known in fit.identified.items() if not is_known]
    if unknown:
        err.print(f"not identified by this table: {', '.join(unknown)} (their priors decide)", markup=False)
    if fit.outliers:
        err.print(f"outliers, rows of the table from 0: {', '.join(map(str, fit.outliers))}", markup=False)


def _allocation_table(found: "Allocation") -> Table:
    from eigenflow.forecast.curves import format_size

    table = Table(title="Compute-optimal runs", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("FLOP", "size", "90 % interval", "tokens", "a size", "loss", "90 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, budget in enumerate(found.flops):
        table.add_row(
            number(budget), format_size(float(f"{found.size[row]:.3g}")),
            escape(f"[{format_size(float(f'{found.size_lower[row]:.3g}'))}, "
                   f"{format_size(float(f'{found.size_upper[row]:.3g}'))}]"),
            format_size(float(f"{found.tokens[row]:.3g}")), number(found.tokens[row] / found.size[row]),
            f"{found.loss[row]:.3f}",
            escape(f"[{found.loss_lower[row]:.3f}, {found.loss_upper[row]:.3f}]"),
        )  # fmt: skip
    return table


def _score_table(scores: "Sequence[TableScore]") -> Table:
    title = "Runs above a compute cut, predicted from those below"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("law", "cut [FLOP]", "runs", "mean error", "bias", "covered"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in scores:
        table.add_row(
            row.law, number(row.cut), str(row.scored), f"{row.mean_abs_error:.4f}", f"{row.bias:+.4f}",
            f"{row.coverage:.0%}",
        )  # fmt: skip
    return table


def _as_dict(
    known: "ScalingTable", fit: "ScalingFit", found: "Allocation", scores: "Sequence[TableScore]"
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "source": known.source,
        "runs": len(known),
        "law": fit.law.name,
        "formula": fit.law.formula,
        "constants": fit.constants,
        "status": fit.status.value,
        "agreeing_starts": fit.agreeing_starts,
        "scatter": fit.scatter,
        "identified": fit.identified,
        "outliers": list(fit.outliers),
        "allocation": asdict(found),
        "backtest": [asdict(score) for score in scores],
    }
