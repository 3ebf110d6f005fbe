"""`eigenflow forecast report FIT`: fits, forecasts and scores as one HTML page."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eigenflow.cli.console import err, out, print_json
from eigenflow.cli.forecast import options
from eigenflow.cli.forecast.backtest import held_out
from eigenflow.cli.forecast.plan import PlanColumns, Where, fitted_table, parse_budgets
from eigenflow.cli.forecast.predict import beyond_the_fit, chosen_schedules, forecast_table
from eigenflow.core.errors import ArgumentError
from eigenflow.core.writing import FORMAT

if TYPE_CHECKING:
    import pandas as pd

    from eigenflow.forecast.evaluation.selection import Recommendation
    from eigenflow.forecast.study.study import Study
    from eigenflow.scaling.allocation import Allocation
    from eigenflow.scaling.fit import ScalingFit

__all__ = ["report"]

# Steps of a drawn forecast: a picture shows no more.
DRAWN = 600


def report(
    fit: options.FitFile,
    out_file: Annotated[Path, typer.Option("--out", help="The page to write.", metavar="HTML")] = Path("forecast.html"),
    schedules: Annotated[
        Path | None, typer.Option(help="Table of schedules to forecast, as for `predict`.", metavar="FILE")
    ] = None,
    size: options.Size = None,
    names: options.Names = None,
    backtest: Annotated[
        bool, typer.Option("--backtest", help="Refit every law without parts of the curves, and recommend one.")
    ] = False,
    plan: Annotated[
        Path | None, typer.Option(help="Table of finished runs, as for `plan`: best size by budget.", metavar="TABLE")
    ] = None,
    flops: Annotated[
        list[str] | None,
        typer.Option(
            help="Budget of --plan, C = 6 N D; repeat. Default: from the table's to 100 times.", metavar="FLOP"
        ),
    ] = None,
    columns: PlanColumns = None,
    where: Where = None,
    plan_law: Annotated[
        str | None, typer.Option(help="Law of --plan, as `plan --law`. Default: frontier.", metavar="LAW")
    ] = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a fit as a page: curves, parameters and what the curves know of them, forecasts, scores of every law.

    Needs no network to make or to open. Takes a few seconds, with --backtest about half a minute for ten curves.

    Example: `eigenflow forecast report fit.json --schedules schedules.csv --size 400 --backtest --out forecast.html`
    """
    from eigenflow.forecast.fitting.identification import prior_conflicts, profiles
    from eigenflow.forecast.study.file import load_study
    from eigenflow.report.forecast_page import ForecastPage, write_forecast_page

    options.check_outputs({"--out": out_file}, inputs=[fit, schedules, plan], replace=force)
    given = {"--flops": flops, "--column": columns, "--where": where, "--plan-law": plan_law}
    if plan is None and (idle := [name for name, value in given.items() if value]):
        raise ArgumentError(f"`{idle[0]}` is of a table of finished runs, but `--plan TABLE` is missing. Add it.")
    budgets = parse_budgets(flops)
    study = load_study(fit)
    wanted = {} if schedules is None else chosen_schedules(schedules, names)
    chosen = study.checked_size(options.parse_size(size, study.curves.size_unit)) if wanted else None
    planned = None if plan is None else _plan(fitted_table(plan, columns, where, plan_law or "frontier"), budgets)
    longest = max((one.total for one in wanted.values()), default=1)
    table = forecast_table(study, wanted, chosen, None, max(1, longest // DRAWN)) if wanted else None
    cautions = beyond_the_fit(study, wanted, chosen, None) if wanted else []
    with err.status("Profiles ...") as status:
        found = profiles(study.fits[0], study.fits[0].known.curves)
        scores, choice, problems = None, None, ()
        if backtest:
            scores, choice, problems = _backtest(study, seed, status.update)
    page = ForecastPage(study, str(fit), table, wanted, chosen, found, scores, choice, problems, planned, cautions)
    write_forecast_page(page, out_file, replace=force)
    cautions = [*cautions, *prior_conflicts(study.fits[0], found)]
    if as_json:
        open_ones = [one.name for one in found if not one.is_identified]
        law = None if choice is None else choice.law
        told = {"format": FORMAT, "out": str(out_file), "not_identified": open_ones, "recommended": law}
        print_json(told | {"problems": list(problems), "cautions": cautions})
        return
    for caution in cautions:
        out.print(f"caution: {caution}", markup=False, soft_wrap=True)
    out.print(f"written to {out_file}", markup=False, soft_wrap=True)


def _backtest(
    study: "Study", seed: int, progress: Callable[[str], None]
) -> "tuple[pd.DataFrame | None, Recommendation | None, tuple[str, ...]]":
    import numpy as np

    from eigenflow.forecast.evaluation.selection import recommend
    from eigenflow.forecast.laws.registry import LAWS

    try:
        found = held_out(study.curves, list(LAWS), seed, progress)
        scores = found.scores()
        return scores, recommend(scores, np.random.default_rng(seed)), found.problems
    except ArgumentError as error:
        return None, None, (f"backtest: {error}",)


def _plan(fit: "ScalingFit", budgets: list[float]) -> "tuple[Allocation, ScalingFit]":
    import numpy as np

    from eigenflow.scaling.allocation import allocate

    flops = fit.table.flops
    return allocate(fit, np.array(budgets or np.geomspace(flops.min(), 100 * flops.max(), 9))), fit
