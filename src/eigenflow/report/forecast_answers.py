"""What a reader asks of a fit and its forecasts, answered: what end, which law, how far to trust it?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from eigenflow.core.display import at_level
from eigenflow.forecast.curves import format_size
from eigenflow.forecast.evaluation.selection import LEAST_HELD, Recommendation
from eigenflow.forecast.fitting.fit import FitStatus
from eigenflow.forecast.fitting.identification import Profile
from eigenflow.forecast.schedules.schedule import Schedule
from eigenflow.forecast.study.study import Study
from eigenflow.report.answer import Answer
from eigenflow.report.numbers import number
from eigenflow.scaling.allocation import Allocation
from eigenflow.scaling.fit import ScalingFit

__all__ = ["ForecastPage", "forecast_answers", "last_rows", "score_rows"]

# Forecasts that are told beside the best one.
TOLD = 3
# Columns of a backtest's scores whose means are shown; only the error of the last point has a sign.
SCORED = ("final_error", "mae", "coverage", "winkler")


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


def forecast_answers(page: ForecastPage) -> list[Answer]:
    """Answer what a reader brings to a fit: the end, what the fit is worth, which law to use, how far to trust it."""
    return [
        Answer("end", "How will it end?", *_end(page), "forecasts" if page.forecasts is not None else "fits"),
        _fit(page),
        Answer("law", "Which law to use?", *_law(page), "backtest", page.recommendation is None),
        _trust(page),
    ]


def last_rows(forecasts: pd.DataFrame) -> list[dict[str, Any]]:
    """The last row of each curve."""
    return forecasts.groupby("curve", sort=False).tail(1).to_dict("records")


def score_rows(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Means of several scores, a row for each law and each kind of hidden part; the smallest interval score is best."""
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


def _end(page: ForecastPage) -> tuple[str, str]:
    if page.forecasts is None:
        return "Nothing was asked", "Name schedules to forecast: eigenflow forecast report FIT --schedules FILE."
    ends = sorted(last_rows(page.forecasts), key=lambda row: row["loss"])
    told = [f"{row['curve']} {_interval(row)}" for row in ends]
    size = "" if page.size is None else f" with {format_size(page.size)} parameters"
    more = f"Then {'; '.join(told[1 : 1 + TOLD])}. " if len(told) > 1 else ""
    headline = f"{_interval(ends[0])} {page.study.curves.loss_unit}"
    which = "the lowest end of all schedules" if len(told) > 1 else "the last loss"
    return headline, f"{ends[0]['curve']}{size}: {which}, with the 90 % interval of one run. {more}".strip()


def _fit(page: ForecastPage) -> Answer:
    fit = page.study.fits[0]
    spread = 100 * float(np.sqrt(np.mean(np.concatenate(fit.residuals) ** 2)))
    told = [
        f"Law {fit.law.name}: {fit.status.value}; {fit.certificate.agreed} of {fit.certificate.starts} starts reached "
        f"the best optimum; noise of ln(loss) {number(fit.noise)}; prior: {fit.prior or 'none'}."
    ]
    if page.profiles:
        open_ones = [one.name for one in page.profiles if not one.is_identified]
        told.append(
            f"These curves alone leave open: {', '.join(open_ones)} (the prior decides)."
            if open_ones
            else "These curves alone bound every parameter."
        )
    headline = f"The law lies {spread:.2g} % off what it was fitted to"
    is_warning = fit.status is not FitStatus.CONVERGED
    return Answer("fit", "How well does the law fit?", headline, " ".join(told), "fits", is_warning)


def _law(page: ForecastPage) -> tuple[str, str]:
    chosen = page.recommendation
    if chosen is None:
        return (
            "Not compared",
            "With --backtest, every law is fitted again without parts of the curves, and scored on them.",
        )
    clear = "clearly" if chosen.is_clear else "not clearly"
    runner_up = list(chosen.ranking)[1]
    headline = f"{chosen.law}, {clear} ahead: {runner_up} has {chosen.advantage:.2f} times its score"
    return headline, f"{chosen.reason[:1].upper()}{chosen.reason[1:]}."


def _trust(page: ForecastPage) -> Answer:
    """Whether the recommended law's intervals held what was hidden; else those of the fitted one."""
    question = "How far can this be trusted?"
    if page.scores is None or len(page.scores) == 0:
        told = "Nothing was hidden from the law here, so its intervals rest on other runs alone."
        return Answer("trust", question, "Not checked on these curves", told, "backtest", True)
    law = page.study.laws[0] if page.recommendation is None else page.recommendation.law
    own = page.scores[page.scores["law"] == law]
    if len(own) == 0:
        return Answer("trust", question, f"{law} was not checked", "The backtest has other laws.", "backtest", True)
    held = {name: float(np.mean(own["coverage"][own["protocol"] == name])) for name in dict.fromkeys(own["protocol"])}
    worst = min(held, key=lambda name: held[name])
    headline = f"{held[worst]:.0%} of hidden points inside, at worst"
    kinds = "; ".join(f"{name}: {share:.0%}" for name, share in held.items())
    off = float(np.mean(np.abs(own["final_error"])))
    told = f"{law}, by what was hidden: {kinds}; 90 % should be. The last hidden loss was {off:.2g} off on average."
    return Answer("trust", question, headline, told, "backtest", held[worst] < LEAST_HELD)


def _interval(row: Mapping[str, Any]) -> str:
    loss, lower, upper = (at_level(row[key], row["loss"]) for key in ("loss", "lower", "upper"))
    return f"{loss} [{lower}, {upper}]"
