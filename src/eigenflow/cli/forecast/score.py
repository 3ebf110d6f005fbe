"""`eigenflow forecast score FIT CURVES`: how good were the forecasts."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from eigenflow.cli.console import err, out, print_json
from eigenflow.cli.forecast import options
from eigenflow.core.writing import FORMAT

if TYPE_CHECKING:
    from eigenflow.forecast.curves import CurveSet
    from eigenflow.forecast.study.scores import CurveForecastScore

__all__ = ["score"]


@options.reads_curves
def score(
    fit: options.FitFile,
    known: "CurveSet",
    law: Annotated[
        list[str] | None, typer.Option(help="Law to score; repeat for several. Default: all that were fitted.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare a fit's forecasts with CURVES: final and mean error, and whether the 90 % intervals held.

    Curves that were fitted are marked; means are over the others, if there are any.

    Example: `eigenflow forecast score fit.json curves.csv --schedules schedules.csv`
    """
    from eigenflow.forecast.study.file import load_study
    from eigenflow.forecast.study.scores import score_study

    study = load_study(fit)
    rows = score_study(study, known, law)
    means = {name: _means([row for row in rows if row.law == name]) for name in dict.fromkeys(row.law for row in rows)}
    if as_json:
        print_json({"format": FORMAT, "rows": [asdict(row) for row in rows], "means": means})
        return
    for name, mean in means.items():
        out.print(_table(name, [row for row in rows if row.law == name]))
        kind = "not fitted" if mean["unseen"] else "fitted"
        out.print(
            f"{name}: mean over {mean['curves']} {kind} curves: MAE {mean['mae']:.5f}, |final error| "
            f"{mean['abs_final_error']:.5f}, R2 {mean['r2']:.4f}, coverage {mean['coverage']:.0%}",
            markup=False,
            soft_wrap=True,
        )
    if any(not mean["unseen"] for mean in means.values()):
        err.print(
            "These curves were fitted: the scores say how well the law describes them, not how well it forecasts."
        )


def _means(rows: "list[CurveForecastScore]") -> dict[str, Any]:
    unseen = [row for row in rows if not row.is_fitted]
    used = unseen or rows

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return {
        "unseen": bool(unseen),
        "curves": len(used),
        "mae": mean([row.mae for row in used]),
        "mae_after_branch": mean([row.mae_after_branch for row in used]),
        "abs_final_error": mean([abs(row.final_error) for row in used]),
        "r2": mean([row.r2 for row in used]),
        "coverage": mean([row.coverage for row in used]),
        "winkler": mean([row.winkler for row in used]),
    }


def _table(law: str, rows: "list[CurveForecastScore]") -> Table:
    from eigenflow.forecast.curves import format_size

    title = f"{law}: forecasts beside the curves; after: the MAE where a curve is its own"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("curve", overflow="fold")
    for name in ("size", "points", "final", "MAE", "after", "R2", "inside", "fitted"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        size = "-" if row.size is None else format_size(row.size)
        cells = [escape(row.curve), size, str(row.points), f"{row.final_error:+.5f}", f"{row.mae:.5f}"]
        cells += [
            f"{row.mae_after_branch:.5f}",
            f"{row.r2:.4f}",
            f"{row.coverage:.0%}",
            "yes" if row.is_fitted else "no",
        ]
        table.add_row(*cells)
    return table
