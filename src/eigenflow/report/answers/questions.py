"""Five questions that a reader brings to a run, answered: done? lazy or rich? better later? which claims? what now?"""

from collections.abc import Sequence

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.outlook.result import LogForecast
from eigenflow.report.answer import Answer as Answer
from eigenflow.report.answers.advice import Advice
from eigenflow.report.answers.next import FINISHED, Next, last_loss
from eigenflow.report.answers.trend import last_trend
from eigenflow.report.numbers import interval_text, number
from eigenflow.report.summary import Analysis
from eigenflow.theory.forecasts.ahead import AheadForecast
from eigenflow.theory.lazy_rich import LAZY, RICH, LazyRich, Regime, lazy_rich
from eigenflow.theory.verdicts import Verdict

__all__ = ["Answer", "answers"]

REGIMES = {
    Regime.LAZY: "Lazy",
    Regime.BETWEEN: "Between lazy and feature learning",
    Regime.RICH: "Feature learning",
}


def answers(analysis: Analysis, coming: Next, advised: Sequence[Advice]) -> list[Answer]:
    """Answer the five questions for a run.

    Args:
        analysis: As from `analyse`.
        coming: As from `what_next`.
        advised: As from `advice`; the first is the answer to the last question.
    """
    first = advised[0] if advised else None
    return [
        Answer("done", "Is it done?", *_done(analysis, coming), "loss"),
        Answer("regime", "Lazy or feature learning?", *_regime(analysis), "limits"),
        Answer("next", "Will it get better?", *_next(coming), "loss"),
        Answer("claims", "Which claims hold?", *_claims(analysis), "claims"),
        Answer(
            "change",
            "What should I change?",
            "Nothing that this run can say" if first is None else first.what,
            "" if first is None else first.why,
            "advice",
        ),
    ]


def _done(analysis: Analysis, coming: Next) -> tuple[str, str]:
    run, losses = analysis.run, analysis.run.losses
    loss = analysis.run.measurements["probe_loss"].values
    told = f"The loss on the probe went from {number(float(loss[0]))} to {number(float(loss[-1]))}."
    made = None if run.kind == "states" or len(losses) == 0 else int(losses["step"].iloc[-1]) + 1
    count = "" if made is None else f"{made:,} updates"
    if run.status in FINISHED:
        headline = f"Yes: {count}" if count else f"Yes: {len(run.measured_steps)} states"
    elif coming.planned is not None and made is not None:
        headline = f"No, {run.status}: {made:,} of {coming.planned:,} updates"
    else:
        headline = f"No, {run.status}: {count}" if count else f"No: {run.status}"
    if "loss" in losses:
        trend = last_trend(losses["step"].to_numpy(dtype=np.float64), losses["loss"].to_numpy(dtype=np.float64))
        if trend is not None:
            low, high = sorted((abs(trend.lower), abs(trend.upper)))
            if trend.is_falling or trend.is_rising:
                way = "fell" if trend.is_falling else "rose"
                told += f" Over the last tenth of the updates it {way} by {_percent(abs(trend.change))} (90 % interval "
                told += f"{_percent(low)} to {_percent(high)})."
            else:
                told += f" Over the last tenth of the updates it changed by less than its noise ({_percent(high)})."
    return headline, told


def _regime(analysis: Analysis) -> tuple[str, str]:
    place = place_of(analysis)
    if isinstance(place, str):
        return "Not known", place
    over = np.flatnonzero(place.distance >= 0.5 * place.coordinate)
    steps = analysis.run.measured_steps
    half = f", half of that by step {steps[over[0]]:,}" if len(over) and place.coordinate > 0 else ""
    what = "J Jᵀ" if place.is_plain else "the operator M"
    turned = "" if place.alignment is None else f", and its alignment with the first is {number(place.alignment[-1])}"
    bound = " at least" if place.is_lower_bound else ""
    return REGIMES[place.regime], (
        f"Since the first measurement {what} has moved by{bound} {number(place.coordinate)} of its own size{half}. It "
        f"grew {number(float(place.growth[-1]))} times{turned}. Below {LAZY:g} is lazy, above {RICH:g} is rich."
    )


def place_of(analysis: Analysis) -> LazyRich | str:
    """Where a run lies between lazy and rich, by the plain operator where P is the optimizer's; else why not."""
    run = analysis.run
    if len(run.measured_steps) < 2:
        return "One measurement does not say how far the operator has gone: measure a second time."
    try:
        if run.header.get("preconditioner") is None:
            return analysis.evidence.place
        return lazy_rich(run.measurements, analysis.shells, plain=True)
    except ArgumentError as error:
        return str(error)


def _next(coming: Next) -> tuple[str, str]:
    if coming.ahead is not None:
        return _carried_on(coming.ahead, coming)
    found = coming.found
    if found is None:
        return "Not known", f"There is no forecast of the loss: {coming.why_not.rstrip('.')}."
    told = f"From parts of this log that were hidden: {found.checked}."
    if found.run.is_finished:
        return _used_up(found, told)
    if coming.is_refuted:
        return "Not known: the law that forecasts losses does not follow this one", told
    if found.cautions:
        told += f" Caution: {found.cautions[0].rstrip('.')}."
    end, last = found.end, last_loss(found)
    when = f"after {end.step:,} updates" + (" in all, at its last rate" if coming.is_longer else "")
    way = "Yes" if end.upper < last else "No" if end.lower > last else "Perhaps"
    ends = f"{number(end.loss)} {interval_text((end.lower, end.upper))}"
    return f"{way}: {ends} {when}", f"The last logged losses are {number(last)}. {told}"


def _carried_on(ahead: AheadForecast, coming: Next) -> tuple[str, str]:
    """The answer of the run's own modes."""
    end = f"{number(float(ahead.loss[-1]))} after {int(ahead.steps[-1]):,} updates in all, at its last rate"
    way = "Yes" if ahead.upper[-1] < ahead.loss[0] else "Perhaps"
    parts = " and ".join({0.25: "a quarter", 0.5: "half"}.get(cut, f"{100 * cut:.0f} %") for cut in ahead.cuts)
    how = {"lazy": "the operator stood still", "transport": "eigenvalues moved on as they did"}[ahead.method]
    told = (
        f"So if {how} from here on, each mode decaying at its own rate. From {parts} of this run the same gave the "
        f"loss at twice the updates within {_percent(float(np.expm1(ahead.missed)))}."
    )
    if coming.found is not None and coming.found.checks:
        told += f" The law of loss curves, on parts that were hidden: {coming.found.checked}."
    return f"{way}: {end}", told


def _used_up(found: LogForecast, told: str) -> tuple[str, str]:
    """The answer for a run whose rates have come to zero."""
    clear = [one for one in found.endings if one.is_clear and one.difference < 0]
    best = min(clear, default=None, key=lambda one: one.difference)
    more = (
        "None of the schedules that were tried is clearly better over the same updates."
        if best is None
        else f"Over the same updates {best.name} would have ended {number(-best.difference)} lower."
    )
    return "Not under these rates: they are used up", f"{more} {told}"


def _claims(analysis: Analysis) -> tuple[str, str]:
    whole = [row for row in analysis.claims if "." not in row.claim]
    by = {verdict: [row.claim for row in whole if row.verdict is verdict] for verdict in Verdict}
    held, failed, left = by[Verdict.SUPPORTED], by[Verdict.CONTRADICTED], by[Verdict.UNDECIDED]
    headline = f"{len(held)} hold, {len(failed)} {'fails' if len(failed) == 1 else 'fail'}, {len(left)} undecided"
    parts = [
        f"{name}: {', '.join(names)}."
        for name, names in (("Supported", held), ("Contradicted", failed), ("Undecided", left))
        if names
    ]
    return headline, " ".join(parts)


def _percent(value: float) -> str:
    return f"{number(100 * value, 2)} %"
