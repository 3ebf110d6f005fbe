"""Forecasts as one self-contained HTML file, in the look of a run's report: no script, nothing that is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import eigenflow
from eigenflow.core.display import at_level
from eigenflow.core.writing import check_free, write_whole
from eigenflow.forecast.curves import format_size
from eigenflow.forecast.evaluation.selection import Recommendation
from eigenflow.forecast.fitting.fit import Fit
from eigenflow.forecast.fitting.identification import Profile, prior_conflicts
from eigenflow.forecast.pictures import fit_figure, forecast_figure, profiles_figure, schedules_figure
from eigenflow.forecast.schedules.schedule import Schedule
from eigenflow.forecast.study.study import Study
from eigenflow.plots.forecast import bounds_text
from eigenflow.report.numbers import number
from eigenflow.report.static_page import picture_data, render
from eigenflow.scaling.allocation import Allocation
from eigenflow.scaling.fit import ScalingFit
from eigenflow.scaling.pictures import plan_figure

__all__ = ["ForecastPage", "write_forecast_page"]


@dataclass(frozen=True)
class ForecastPage:
    """The results that a page shows; what is None or empty has no section.

    Attributes:
        study: The fits and their curves.
        source: File that it came from.
        forecasts: Columns `curve, step, loss, lower, upper`, of the first law.
        schedules: Of the forecast curves, by name.
        size: Of the forecasts, in parameters.
        profiles: Of the first fit.
        scores: As from `Backtest.scores`.
        recommendation: From these scores.
        problems: What could not be computed, and why.
        plan: Budgets with their best sizes, and the fit behind them.
        cautions: What the fitted runs do not cover.
    """

    study: Study
    source: str
    forecasts: pd.DataFrame | None = None
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    size: float | None = None
    profiles: Sequence[Profile] = field(default=())
    scores: pd.DataFrame | None = None
    recommendation: Recommendation | None = None
    problems: Sequence[str] = field(default=())
    plan: tuple[Allocation, ScalingFit] | None = None
    cautions: Sequence[str] = field(default=())


def write_forecast_page(page: ForecastPage, path: Path, *, replace: bool = False) -> Path:
    """Write the page.

    Args:
        page: What it shows.
        path: The file, in a folder that exists.
        replace: Whether an existing file may be replaced.

    Raises:
        ArgumentError: If the file exists and must not be replaced, or its folder does not exist.
        FileError: If the system refuses.
    """
    check_free(path, option="path", replace=replace)
    return write_whole(path, _render(page), replace=replace)


def _render(page: ForecastPage) -> str:
    return render(
        "forecast.html.j2",
        title=f"Forecasts from {Path(page.source).name}",
        source=Path(page.source).name,
        statement=_statement(page.study),
        headlines=_headlines(page),
        sections=_sections(page),
        pictures=_pictures(page),
        forecasts=[] if page.forecasts is None else _last(page.forecasts),
        parameters=_parameters(page),
        scores=[] if page.scores is None else _score_rows(page.scores),
        reason="" if page.recommendation is None else page.recommendation.reason,
        cautions=() if page.recommendation is None else page.recommendation.cautions,
        allocation=_allocation(page),
        plan_statement=_plan_statement(page),
        notes=[*page.study.curves.notes, *page.problems],
        unit=page.study.curves.loss_unit,
        version=eigenflow.__version__,
    )


def _sections(page: ForecastPage) -> list[tuple[str, str]]:
    found = [("summary", "Summary")]
    if page.forecasts is not None:
        found.append(("forecasts", "Forecasts"))
    found += [("fits", "Fitted curves"), ("parameters", "Parameters"), ("backtest", "Which law")]
    if page.plan is not None:
        found.append(("plan", "Plan"))
    return [*found, ("notes", "Notes")]


def _statement(study: Study) -> str:
    sizes = [format_size(size) for size in study.curves.sizes if size is not None]
    of_sizes = f", of {len(sizes)} size{'s' * (len(sizes) > 1)} ({', '.join(sizes)})" if sizes else ""
    how = "each size on its own" if study.is_per_size else "jointly"
    names = ", ".join(study.laws)
    laws = f"{len(study.laws)} laws ({names})" if len(study.laws) > 1 else f"the law {names}"
    joined = f" {how}" if len(sizes) > 1 else ""
    return f"{len(study.curves)} curves with {study.curves.points} points{of_sizes}; {laws} fitted{joined}."


def _headlines(page: ForecastPage) -> list[tuple[str, str]]:
    found = []
    if page.forecasts is not None:
        size = "" if page.size is None else f", {format_size(page.size)} parameters"
        ends = [
            f"{row['curve']}: "
            + "{} [{}, {}]".format(*(at_level(row[k], row["loss"]) for k in ("loss", "lower", "upper")))
            for row in _last(page.forecasts)[:4]
        ]
        found.append(("Forecast", f"Final loss{size}: {'; '.join(ends)}."))
    fit = page.study.fits[0]
    certificate = fit.certificate
    found.append(
        (
            "Fit",
            f"{fit.law.name}: {fit.status.value}; {certificate.agreed} of {certificate.starts} starts reached the best "
            f"optimum; noise of ln(loss) {number(fit.noise)}; prior: {fit.prior or 'none'}.",
        )
    )
    if page.profiles:
        open_ones = [one.name for one in page.profiles if not one.is_identified]
        told = f"not bounded by these curves alone: {', '.join(open_ones)} (the prior decides)"
        told = told if open_ones else "The curves alone bound every parameter"
        found.append(("Identified", f"{told}; by the profile likelihood, without prior."))
        found += [("Caution", caution) for caution in prior_conflicts(fit, page.profiles)]
    found += [("Caution", caution) for caution in page.cautions]
    if page.recommendation is not None:
        found.append(("Law", page.recommendation.reason))
        found += [("Caution", caution) for caution in page.recommendation.cautions]
    return found


@dataclass(frozen=True)
class _Picture:
    svg: str
    caption: str


def _pictures(page: ForecastPage) -> dict[str, _Picture]:
    study = page.study
    fitted = {curve.label: curve.schedule for curve in study.curves}
    found = {
        "fits": _Picture(
            picture_data(fit_figure(study)),
            "Above, what was measured (dots) and the first law (lines). Below, how far each law lies above the points "
            "that it was fitted to, windows averaged; the grey band is the noise that the fit found.",
        ),
        "schedules": _Picture(picture_data(schedules_figure(fitted)), "Learning rates of the fitted runs."),
    }
    if page.forecasts is not None:
        found["forecasts"] = _Picture(
            picture_data(forecast_figure(study, page.forecasts, page.schedules, size=page.size)),
            "Forecasts (lines) with 90 % intervals (bands), measured points where the run is among the fitted ones, "
            "and the learning rates behind them. The first fifth of a run is left out of the scale.",
        )
    if page.profiles:
        found["profiles"] = _Picture(
            picture_data(profiles_figure(page.profiles, study.fits[0])),
            "Each parameter held at values away from the optimum, all others free, without a prior: a curve that stays "
            "below the dashed line on one side is of a parameter that these curves do not bound there.",
        )
    if page.plan is not None:
        found["plan"] = _Picture(
            picture_data(plan_figure(*page.plan)),
            "Left and middle: the size and the tokens of smallest predicted loss at each budget, with 90 % intervals; "
            "dots are the runs of the table. Right: what the law leaves unexplained.",
        )
    return found


def _last(forecasts: pd.DataFrame) -> list[dict[str, Any]]:
    return forecasts.groupby("curve", sort=False).tail(1).to_dict("records")


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


# Columns of a backtest's scores whose means are shown; only the error of the last point has a sign.
SCORED = ("final_error", "mae", "coverage", "winkler")


def _score_rows(scores: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for protocol in dict.fromkeys(scores["protocol"]):
        part = scores[scores["protocol"] == protocol]
        means: list[dict[str, Any]] = []
        for law in dict.fromkeys(part["law"]):
            own = part[part["law"] == law]
            mean = {name: float(np.mean(np.abs(np.asarray(own[name])))) for name in SCORED}
            means.append({"protocol": str(protocol), "law": str(law), "curves": len(own), **mean})
        best = min(row["winkler"] for row in means)
        rows += [row | {"is_best": row["winkler"] == best} for row in means]
    return rows


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
