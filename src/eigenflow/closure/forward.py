"""Does the equation predict? The closure fitted up to a cut drives the solver from the state measured there.

Half the energy ||e||^2 is forecast, the loss where that is squared. It is scored on later measurements, with nothing
fitted to them. Two forecasts tie the drift to the state ("state", and "state + rotation", see `state_forecast`), two
make it a power of time ("closure", "self-similar"). Beside them stand three that do without a law: the lazy limit (no
drift), persistence (every mode keeps the last measured t w of its shell) and a power law of the loss.

Bands hold the misfit: a forecast made at an earlier cut is scored on what is known at the present one. Where the method
tells no error of its own, these errors of ln(loss), taken to grow with u = ln(t / t_cut), set the width: linearly as
far as past forecasts reach, and beyond as u^2, as a wrong exponent of c(t) does. So they contain the uncertainty of the
parameters, the law's misfit in lambda and in time, and the rotation that no drift describes, as far as the known part
shows them. Forecasts by the state know their own spread; earlier errors, over the spread that was told with them, make
it wider or narrower.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.stats import norm
from scipy.stats import t as student

from eigenflow.closure.joint import fit_drift_law
from eigenflow.closure.state import Carried, MeasuredState, evolve, scale_apart
from eigenflow.closure.state_forecast import forecast_state
from eigenflow.closure.velocities import Velocities, shell_velocities
from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import first_steps
from eigenflow.core.resampling import LEVEL
from eigenflow.core.rounding import above_rounding
from eigenflow.core.scores import CurveScore, score_curve
from eigenflow.shells import ShellBudget
from eigenflow.transport.flows.drift import PowerDrift

__all__ = ["CUTS", "METHODS", "ForwardForecast", "ForwardTest", "forward_test"]

CUTS = (0.01, 0.02, 0.035, 0.06, 0.1, 0.16, 0.25, 0.35, 0.5, 0.7)
METHODS = ("state + rotation", "state", "closure", "self-similar", "lazy", "persistence", "power law")
OTHERS = ("lazy", "persistence", "power law")
MIN_LATER = 3
MIN_HINDCASTS = 2
# What a method's own spread is worth before any hindcast: mean square of miss / spread, as of so many of them.
FIRST_SQUARE, FIRST_HINDCASTS = 0.6, 2
# Hindcasts from neighbouring cuts share the same bursts of drift. Chosen on 36 synthetic runs whose bursts last an
# e-fold of time: bands then hold 95, 91 and 87 % of the truth at bursts of 0, 25 and 50 % of the drift.
CUTS_PER_FREEDOM = 3.0
QUANTILE = float(norm.ppf((1 + LEVEL) / 2))
PERSISTING = 3.0  # factor of time over which the velocity that persists is averaged
POWER_LAW_WINDOW = 2.0  # factor of time to which the power law is fitted, as in `forecast.power_law`


@dataclass(frozen=True, repr=False)
class ForwardForecast(FieldsPrinted):
    """One method from one cut.

    Attributes:
        method: "state" (w = kappa F / s), "state + rotation", "closure" (v = -c0 (1 + t/t0)^-p lambda^b, p >= 0),
            "self-similar" (c = c0 t^(b-2)), "lazy", "persistence" or "power law".
        loss: Forecast of half the energy at the later measurements.
        lower: Lower ends of the 90 % band, or None with fewer than two earlier cuts to learn it from. Forecasts by the
            state have one always.
        upper: Upper ends.
        spread: Standard deviations of ln(loss) downwards and upwards, where the method knows its own; else None.
        score: Distance of the loss from the truth.
        misplaced: Share of the energy that is forecast into a wrong shell, mean over later measurements; None for a
            method that has no shells.
        parameters: What was fitted, by name.
        status: Of the solver, or "fitted" where none is used.
    """

    method: str
    loss: Float[np.ndarray, " later"]
    lower: Float[np.ndarray, " later"] | None
    upper: Float[np.ndarray, " later"] | None
    spread: tuple[Float[np.ndarray, " later"], Float[np.ndarray, " later"]] | None
    score: CurveScore
    misplaced: float | None
    parameters: dict[str, float]
    status: str


@dataclass(frozen=True, repr=False)
class ForwardCut(FieldsPrinted):
    """All methods from one cut, beside the truth.

    Attributes:
        cut: Share of the run's steps that is known.
        time: Time of the state from which the forecasts start.
        times: Later measured times.
        truth: Half the energy there, the probe's loss if that is squared; no forecast sees it.
        forecasts: By method.
    """

    cut: float
    time: float
    times: Float[np.ndarray, " later"]
    truth: Float[np.ndarray, " later"]
    forecasts: dict[str, ForwardForecast]

    def advantage(self, method: str = "closure", others: Sequence[str] = OTHERS) -> float:
        """ln of (least RMS log error of the others / that of the method): positive where the method forecasts best."""
        tiny = np.finfo(np.float64).tiny
        errors = {name: max(self.forecasts[name].score.rms_log_ratio, tiny) for name in (method, *others)}
        return float(np.log(min(errors[name] for name in others) / errors[method]))


@dataclass(frozen=True, repr=False)
class ForwardTest(FieldsPrinted):
    """Forecasts over several cuts.

    Attributes:
        kind: Which velocity the law was fitted to.
        cuts: Those at which every method could forecast, earliest first.
        skipped: A line for each cut at which not, and why.
    """

    kind: str
    cuts: list[ForwardCut]
    skipped: list[str]

    def coverage(self, method: str = "closure") -> tuple[float, int]:
        """Share of later measurements inside the band, over all cuts that have one, and their number."""
        inside = []
        for cut in self.cuts:
            one = cut.forecasts[method]
            if one.lower is not None and one.upper is not None:
                inside += ((one.lower <= cut.truth) & (cut.truth <= one.upper)).tolist()
        return (float(np.mean(inside)) if inside else 0.0), len(inside)

    def scores(self) -> list[dict[str, Any]]:
        """One row for each cut and method."""
        return [
            {
                "cut": cut.cut,
                "time": cut.time,
                "method": one.method,
                "rms_log_ratio": one.score.rms_log_ratio,
                "final_log_ratio": one.score.final_log_ratio,
                "points": one.score.points,
                "misplaced": one.misplaced,
                **one.parameters,
            }
            for cut in self.cuts
            for one in cut.forecasts.values()
        ]


def forward_test(
    data: xr.Dataset,
    budget: ShellBudget,
    *,
    velocities: Velocities | None = None,
    cuts: Sequence[float] = CUTS,
) -> ForwardTest:
    """Forecast the rest of a run from several cuts, and score it on the later measurements.

    Args:
        data: `run.measurements`; modes stored one by one are carried one by one.
        budget: The run's shells, on which energies are scored.
        velocities: What the law is fitted to, up to each cut; by default the energy velocity of the shells.
        cuts: Shares of the steps that are known.

    Returns:
        Forecasts with scores, at measurements above rounding. A cut that leaves fewer than 3 later ones, or knows too
        few velocities for a law, is skipped and named.

    Raises:
        ArgumentError: If a cut is not between 0 and 1.
    """
    outside = [cut for cut in cuts if not 0 < cut < 1]
    if outside:
        raise ArgumentError(
            f"`cuts` must lie between 0 and 1, but hold {outside[0]}. They are shares of the run's steps."
        )
    velocities = shell_velocities(budget, "energy") if velocities is None else velocities
    steps = data["step"].values
    total = int(steps[-1]) + 1
    says = above_rounding(budget.energy.values.sum(1))
    found: list[ForwardCut] = []
    skipped: list[str] = []
    for cut in sorted(cuts):
        known = int((steps + 1 <= first_steps(cut, total)).sum())
        later = data["time"].values[known:] > (data["time"].values[known - 1] if known else 0.0)
        later &= says[known:]
        if not known or later.sum() < MIN_LATER:
            skipped.append(f"{cut:.1%}: {known} measurements before and {int(later.sum())} after")
            continue
        try:
            one = _from_cut(data, budget, velocities, cut, known)
        except ArgumentError as error:
            skipped.append(f"{cut:.1%}: {error}")
            continue
        if found and one.time == found[-1].time:
            skipped.append(f"{cut:.1%}: no measurement since the cut before")
            continue
        found.append(_with_bands(one, found))
    return ForwardTest(velocities.kind, found, skipped)


def _from_cut(data: xr.Dataset, budget: ShellBudget, velocities: Velocities, cut: float, known: int) -> ForwardCut:
    state = MeasuredState.of(data, budget, known - 1)
    # The velocity of an update belongs to its end; what is measured of the last known update is known.
    seen = velocities.until(float((data["time"] + data["step_size"]).values[known - 1]))
    all_times = data["time"].values
    losses = 0.5 * budget.energy.values.sum(1)
    later = known + np.flatnonzero(above_rounding(losses)[known:])
    times, truth, shells = all_times[later], losses[later], budget.energy.values[later]
    closure, closure_parameters = _law(seen, state.time, "fading")
    similar, similar_parameters = _law(seen, state.time, "self-similar")
    growth, growth_parameters = _persisting(seen, state)
    solved: dict[str, _Made] = {
        "closure": (evolve(state, closure, times - state.time), closure_parameters, None),
        "self-similar": (evolve(state, similar, times - state.time), similar_parameters, None),
        "lazy": (evolve(state, PowerDrift(0.0, 1.0), times - state.time), {}, None),
        "persistence": (scale_apart(state, growth, times), growth_parameters, None),
    }
    for name, one in forecast_state(data, budget, known - 1, times).items():
        solved[name] = (one.carried, {**one.law.parameters, "jumps": one.law.jumps.rate}, one.spread)
    forecasts = {name: _scored(name, made, truth, shells) for name, made in solved.items()}
    loss, exponent = _power_law(all_times[:known], losses[:known], times)
    forecasts["power law"] = ForwardForecast(
        "power law", loss, None, None, None, score_curve(loss, truth), None, {"exponent": exponent}, "fitted"
    )
    return ForwardCut(cut, state.time, times, truth, forecasts)


_Made = tuple[Carried, dict[str, float], tuple[np.ndarray, np.ndarray] | None]


def _scored(name: str, made: _Made, truth: np.ndarray, shells: np.ndarray) -> ForwardForecast:
    carried, parameters, spread = made
    score, misplaced = score_curve(carried.loss, truth), _misplaced(carried.shells, shells)
    return ForwardForecast(name, carried.loss, None, None, spread, score, misplaced, parameters, carried.status)


def _law(seen: Velocities, start: float, form: Any) -> tuple[PowerDrift, dict[str, float]]:
    law = fit_drift_law(seen, form, draws=0)
    return law.drift(start), {"b": law.b, **law.strength.parameters}


def _persisting(seen: Velocities, state: MeasuredState) -> tuple[np.ndarray, dict[str, float]]:
    """The mean of t w in each shell over the last factor of time, at the modes of the state."""
    last = seen.select(seen.times >= seen.times[-1] / PERSISTING)
    count = last.is_used.sum(0)
    held = count > 0
    level = (last.times[:, None] * last.value).sum(0)[held] / count[held]
    growth = np.interp(np.log(state.eigenvalues), np.log(last.centres[held]), level)
    return growth, {"shells": float(held.sum())}


def _power_law(known: np.ndarray, losses: np.ndarray, later: np.ndarray) -> tuple[np.ndarray, float]:
    kept = (known > 0) & (losses > 0)
    if kept.sum() < MIN_LATER:
        raise ArgumentError(f"`data` has {int(kept.sum())} positive losses at positive times; a power law needs 3.")
    x, y = np.log(known[kept]), np.log(losses[kept])
    last = x >= min(x[-1] - np.log(POWER_LAW_WINDOW), x[-MIN_LATER])
    slope, level = np.polyfit(x[last], y[last], 1)
    return np.exp(level + slope * np.log(later)), -float(slope)


def _misplaced(found: np.ndarray, truth: np.ndarray) -> float:
    tiny = np.finfo(np.float64).tiny
    shares = [x / np.maximum(x.sum(1, keepdims=True), tiny) for x in (found, truth)]
    return float(0.5 * np.abs(shares[0] - shares[1]).sum(1).mean())


def _with_bands(now: ForwardCut, before: Sequence[ForwardCut]) -> ForwardCut:
    """Give every forecast the band that its errors from earlier cuts, as far as they are known now, say."""
    forecasts = {}
    for name, one in now.forecasts.items():
        past = [(cut, cut.forecasts[name], inside) for cut in before if (inside := cut.times <= now.time).any()]
        if one.spread is None:
            forecasts[name] = _band_of_misses(one, now, past)
        else:
            factor = _calibration(past)
            below, above = (np.exp(QUANTILE * factor * width) for width in one.spread)
            forecasts[name] = replace(one, lower=one.loss / below, upper=one.loss * above)
    return replace(now, forecasts=forecasts)


Past = Sequence[tuple[ForwardCut, ForwardForecast, np.ndarray]]


def _band_of_misses(one: ForwardForecast, now: ForwardCut, past: Past) -> ForwardForecast:
    slopes, reach = [], 0.0
    for cut, made, inside in past:
        ahead = np.log(cut.times[inside] / cut.time)
        slopes.append(float(np.mean((_miss(cut, made, inside) / ahead) ** 2)))
        reach = max(reach, float(ahead[-1]))
    if len(slopes) < MIN_HINDCASTS:
        return one
    rate = float(np.sqrt(np.mean(slopes))) * _quantile(len(slopes))
    ahead = np.log(now.times / now.time)
    width = rate * ahead * np.maximum(1.0, ahead / reach)
    return replace(one, lower=one.loss * np.exp(-width), upper=one.loss * np.exp(width))


def _calibration(past: Past) -> float:
    """Root mean square of earlier misses over the spread that was told, drawn towards what it is in other runs."""
    squares = [FIRST_SQUARE] * FIRST_HINDCASTS
    for cut, made, inside in past:
        assert made.spread is not None
        below, above = (side[inside] for side in made.spread)
        miss = _miss(cut, made, inside)
        # The last known point of each hindcast: earlier ones say the same with less.
        squares.append(float((miss / np.where(miss > 0, below, above))[-1] ** 2))
    return float(np.sqrt(np.mean(squares)))


def _miss(cut: ForwardCut, made: ForwardForecast, inside: np.ndarray) -> np.ndarray:
    """ln(forecast / truth)."""
    tiny = np.finfo(np.float64).tiny
    return np.log(np.maximum(made.loss[inside], tiny) / cut.truth[inside])


def _quantile(hindcasts: int) -> float:
    return float(student.ppf((1 + LEVEL) / 2, max(1.0, hindcasts / CUTS_PER_FREEDOM)))
