"""Forecasts as one self-contained HTML file, in the look of a run's report: nothing that is loaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eigenflow.core.display import bounds_text
from eigenflow.core.writing import check_free, write_whole
from eigenflow.forecast.curves import format_size
from eigenflow.forecast.evaluation.selection import LEAST_HELD
from eigenflow.forecast.fitting.fit import Fit, FitStatus
from eigenflow.forecast.fitting.identification import prior_conflicts
from eigenflow.forecast.study.study import Study
from eigenflow.report.figures.forecasts import (
    fits_figure,
    forecasts_figure,
    plan_figure,
    profiles_figure,
    rates_figure,
    residuals_figure,
    toggles,
)
from eigenflow.report.forecast_answers import ForecastPage as ForecastPage
from eigenflow.report.forecast_answers import forecast_answers, last_rows, score_rows
from eigenflow.report.forecast_terms import FORECAST_TERMS
from eigenflow.report.page import render_page
from eigenflow.report.picture import Picture
from eigenflow.report.toggles import Toggle

__all__ = ["ForecastPage", "write_forecast_page"]


def write_forecast_page(page: ForecastPage, path: Path, *, replace: bool = False) -> Path:
    """Write the page.

    Args:
        page: What it shows.
        path: The file, in a folder that exists.
        replace: Whether an existing file may be replaced.

    Returns:
        The path of the file, about 5 MB of which plotly.js takes nearly all.

    Raises:
        ArgumentError: If the file exists and must not be replaced, or its folder does not exist.
        FileError: If the system refuses.
    """
    check_free(path, option="path", replace=replace)
    return write_whole(path, _render(page), replace=replace)


def _render(page: ForecastPage) -> str:
    names = [] if page.forecasts is None else list(dict.fromkeys(page.forecasts["curve"]))
    buttons = toggles(page.study, names)
    return render_page(
        "forecast.html.j2",
        kind="forecast",
        title=f"Forecasts from {Path(page.source).name}",
        source=Path(page.source).name,
        statement=_statement(page.study),
        cautions=_cautions(page),
        answers=forecast_answers(page),
        sections=_sections(page),
        pictures=_pictures(page, buttons),
        buttons=buttons,
        forecasts=[] if page.forecasts is None else last_rows(page.forecasts),
        parameters=_parameters(page),
        scores=[] if page.scores is None else score_rows(page.scores),
        least_held=LEAST_HELD,
        chosen=page.recommendation,
        ranking=_ranking(page),
        allocation=_allocation(page),
        plan_statement=_plan_statement(page),
        notes=[*page.study.curves.notes, *page.problems],
        unit=page.study.curves.loss_unit,
        glossary=FORECAST_TERMS,
    )


def _sections(page: ForecastPage) -> list[tuple[str, str]]:
    found = [("summary", "Answers"), ("rates", "Learning rates")]
    found += [("forecasts", "Forecasts")] if page.forecasts is not None else []
    found += [("backtest", "Which law"), ("fits", "Fit"), ("parameters", "Parameters")]
    found += [("plan", "Plan")] if page.plan is not None else []
    return [*found, ("glossary", "Glossary"), ("notes", "Notes")]


def _cautions(page: ForecastPage) -> list[str]:
    """What makes the page doubtful: of the fit, of what is forecast, and where backtests missed."""
    fit = page.study.fits[0]
    found = [] if fit.status is FitStatus.CONVERGED else [f"the fit: {fit.status.value}"]
    found += [*page.cautions, *prior_conflicts(fit, page.profiles)]
    return [*found, *(() if page.recommendation is None else page.recommendation.cautions)]


def _statement(study: Study) -> str:
    sizes = [format_size(size) for size in study.curves.sizes if size is not None]
    of_sizes = f", of {len(sizes)} size{'s' * (len(sizes) > 1)} ({', '.join(sizes)})" if sizes else ""
    how = "each size on its own" if study.is_per_size else "jointly"
    names = ", ".join(study.laws)
    laws = f"{len(study.laws)} laws ({names})" if len(study.laws) > 1 else f"the law {names}"
    joined = f" {how}" if len(sizes) > 1 else ""
    return f"{len(study.curves)} curves with {study.curves.points} points{of_sizes}; {laws} fitted{joined}."


def _pictures(page: ForecastPage, buttons: Sequence[Toggle]) -> dict[str, Picture]:
    study = page.study
    found = {
        "fits": Picture(
            "fits",
            fits_figure(study, buttons),
            "Dots were measured, lines are the first law; the first tenth of a run is left out of the scale.",
        ),
        "residuals": Picture(
            "residuals",
            residuals_figure(study),
            "How far each law lies above the points that it was fitted to, windows averaged; the grey band is the "
            "noise that the fit found.",
        ),
        "rates": Picture(
            "rates",
            rates_figure(study, page.schedules, buttons),
            "Rates of what is forecast and of what was fitted; hovering marks the same step in the figure of the loss.",
        ),
    }
    if page.forecasts is not None:
        found["forecasts"] = Picture(
            "forecasts",
            forecasts_figure(study, page.forecasts, buttons, size=page.size),
            "Forecasts (lines) with 90 % intervals (bands), and measured points where the run is among the fitted "
            "ones. Buttons show and hide schedules. The first fifth of a run is left out of the scale.",
        )
    if page.profiles:
        found["profiles"] = Picture(
            "profiles",
            profiles_figure(page.profiles, study.fits[0]),
            "Each parameter held at values away from the optimum, all others free, without a prior: a curve that stays "
            "below the dashed line on one side is of a parameter that these curves do not bound there.",
        )
    if page.plan is not None:
        found["plan"] = Picture(
            "plan",
            plan_figure(*page.plan),
            "The size and the tokens of smallest predicted loss at each budget, with 90 % intervals; grey dots are the "
            "runs of the table. The last panel: what the law leaves unexplained.",
        )
    return found


def _parameters(page: ForecastPage) -> list[dict[str, Any]]:
    alone = {one.name: bounds_text(one.lower, one.upper) for one in page.profiles}
    return [
        {
            "name": _fit_name(fit),
            "is_profiled": bool(alone) and index == 0,
            "rows": [
                row | {"alone": "" if index else alone.get(row["name"], ""), "meaning": fit.covariates.meaning(k)}
                for k, row in enumerate(fit.parameters)
            ],
        }
        for index, fit in enumerate(page.study.fits)
    ]


def _fit_name(fit: Fit) -> str:
    sizes = sorted({size for size in fit.sizes if size is not None})
    return fit.law.name + (f", {', '.join(format_size(size) for size in sizes)}" if sizes else "")


def _ranking(page: ForecastPage) -> list[tuple[str, float]]:
    return [] if page.recommendation is None else list(page.recommendation.ranking.items())


def _allocation(page: ForecastPage) -> list[dict[str, float]]:
    if page.plan is None:
        return []
    plan = page.plan[0]
    columns = {"flops": plan.flops, "size": plan.size, "lower": plan.size_lower, "upper": plan.size_upper}
    columns |= {"tokens": plan.tokens, "loss": plan.loss}
    return [{name: float(values[row]) for name, values in columns.items()} for row in range(len(plan.flops))]


def _plan_statement(page: ForecastPage) -> str:
    if page.plan is None:
        return ""
    fit = page.plan[1]
    unknown = [name for name, is_known in fit.identified.items() if not is_known]
    told = f" Not identified by this table: {', '.join(unknown)} (their priors decide)." if unknown else ""
    return f"{len(fit.table)} finished runs; {fit.law.name}: L = {fit.law.formula}; {fit.status.value}.{told}"
