"""Where runs end: the loss after the last update of a schedule, with its interval, and differences between two ends.

Two forecasts of one fit err together, so the interval of their difference is not that of either. It holds what draws of
the parameters say of the difference, how far other laws that know of learning rates would have it elsewhere, and the
spread between two runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri

from eigenflow.core.display import AbstractPrinted, Card, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.forecast.fitting.fit import Fit, Forecast
from eigenflow.forecast.intervals.calibrated import CalibratedIntervals
from eigenflow.forecast.intervals.model import TYPICAL_RUN_SD
from eigenflow.forecast.laws.protocol import History, Law
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["End", "Ending", "end_of", "endings_of"]

DRAWS = 64
# Steps of a forecast path at most.
PATH = 160
# Laws beside the fitted one that see learning rates, so that they have a say in what a schedule changes.
RATE_LAWS = ("momentum", "power_time", "multi_power")


@dataclass(frozen=True, repr=False)
class End(AbstractPrinted):
    """The loss after the last update of a run.

    Attributes:
        step: Updates in all.
        loss: Forecast.
        lower: Lower end of the 90 % interval.
        upper: Upper end.
    """

    step: int
    loss: float
    lower: float
    upper: float

    @property
    def told(self) -> str:
        """Loss and interval."""
        return interval(self.loss, self.lower, self.upper, 5)

    def _card(self) -> Card:
        return Card(f"End at step {self.step:,}: {self.told}")


@dataclass(frozen=True, repr=False)
class Ending(AbstractPrinted):
    """What another schedule would give.

    Attributes:
        name: Of the schedule, in words.
        schedule: Every rate.
        end: Its last loss.
        difference: Its last loss minus that of the plan; negative is better.
        lower: Lower end of the difference's 90 % interval.
        upper: Upper end.
        path: Forecast of its loss, from where its rates leave those of the plan (at most `PATH` steps).
        is_asked: Whether the user asked for it.
        cautions: What the fitted runs do not cover.
    """

    name: str
    schedule: Schedule
    end: End
    difference: float
    lower: float
    upper: float
    path: Forecast
    is_asked: bool = False
    cautions: tuple[str, ...] = ()

    @property
    def is_clear(self) -> bool:
        """Whether the difference's sign is known."""
        return self.lower > 0.0 or self.upper < 0.0

    def _card(self) -> Card:
        rows = [
            ("rates", self.schedule.summary),
            ("end", f"{interval(self.end.loss, self.end.lower, self.end.upper, 5)} at step {self.end.step:,}"),
            ("difference", interval(self.difference, self.lower, self.upper)),
            *(("caution", caution) for caution in self.cautions),
        ]
        return Card(f"Ending: {self.name}", rows)


def end_of(fit: Fit, schedule: Schedule, size: float | None) -> tuple[End, tuple[str, ...]]:
    """Forecast the last loss of a schedule, and say what the fitted runs do not cover of it."""
    found = fit.predict_steps(schedule, np.array([schedule.total]), size=size)
    return _last(found), found.cautions


def _last(path: Forecast) -> End:
    return End(int(path.steps[-1]), *(float(part[-1]) for part in (path.loss, path.lower, path.upper)))


def _steps_apart(schedule: Schedule, plan: Schedule) -> Int[np.ndarray, " step"]:
    """Steps from the first update whose rate is not the plan's, to the end; for the plan itself, its end."""
    shared = min(schedule.total, plan.total)
    other = np.flatnonzero(schedule.rates[:shared] != plan.rates[:shared])
    first = int(other[0]) if len(other) else shared
    first = min(max(first, schedule.warmup, 1), schedule.total)
    return np.unique(np.linspace(first, schedule.total, PATH).round().astype(np.int64))


def endings_of(
    fit: Fit,
    plan: Schedule,
    others: Mapping[str, Schedule],
    *,
    size: float | None,
    rng: np.random.Generator,
    asked: Sequence[str] = (),
) -> tuple[Ending, ...]:
    """Compare the last losses of schedules with that of the plan.

    Args:
        fit: A fitted law.
        plan: The schedule to compare with.
        others: By name.
        size: Of the model.
        rng: Draws parameters.
        asked: Names that the user asked for.
    """
    if not others:
        return ()
    schedules = [plan, *others.values()]
    paths = [fit.predict_steps(one, _steps_apart(one, plan), size=size) for one in schedules]
    ends = [_last(path) for path in paths]
    drawn = _drawn(fit, schedules, size, rng)
    beside = _beside(fit, schedules, size)
    made = []
    for k, (name, schedule) in enumerate(others.items(), start=1):
        difference = ends[k].loss - ends[0].loss
        half = _half_width(ends[k], ends[0], drawn[:, k] - drawn[:, 0], beside[:, k] - beside[:, 0])
        low, high = difference - half, difference + half
        told = paths[k].cautions
        made.append(Ending(name, schedule, ends[k], difference, low, high, paths[k], name in asked, told))
    return tuple(made)


def _half_width(one: End, other: End, drawn: Float[np.ndarray, " draw"], beside: Float[np.ndarray, " law"]) -> float:
    """Half the 90 % interval of a difference; never more than if the two ends erred on their own.

    Args:
        one: The ending.
        other: The plan's end.
        drawn: ln of their ratio for each draw of the parameters.
        beside: ln of their ratio by other laws.
    """
    loss = np.sqrt(one.loss * other.loss)
    known = np.log(one.loss / other.loss)
    z = float(ndtri((1 + LEVEL) / 2))
    # Half the range of 90 % of the draws: their variance would be that of the wildest ones.
    half = 0.5 * float(np.ptp(np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))) if len(drawn) else np.inf
    spread = (half / z) ** 2 + 2.0 * TYPICAL_RUN_SD**2
    if len(beside):
        spread += float(np.mean((beside - known) ** 2))
    apart = 0.5 * float(np.hypot(one.upper - one.lower, other.upper - other.lower))
    return min(float(loss * z * np.sqrt(spread)), apart)


def _drawn(
    fit: Fit, schedules: Sequence[Schedule], size: float | None, rng: np.random.Generator
) -> Float[np.ndarray, "draw schedule"]:
    """ln(loss) at the end of every schedule, for draws of the parameters."""
    thetas = fit.draws(DRAWS, rng)
    low, high = _guards(fit)
    found = np.empty((DRAWS, len(schedules)))
    for k, schedule in enumerate(schedules):
        history = History(np.array([schedule.total]), schedule.rates, schedule.batch)
        once = replace(fit, law=_PreparedOnce(fit.law, history))
        with np.errstate(all="ignore"):  # a draw far out may leave the range of numbers; it is left out
            found[:, k] = [once.at(np.clip(theta, low, high)).log_prediction(history, size)[0][0] for theta in thetas]
    return found[np.isfinite(found).all(axis=1)]


def _guards(fit: Fit) -> tuple[Float[np.ndarray, " parameter"], Float[np.ndarray, " parameter"]]:
    """Bounds of the law's own parameters; none of the slopes behind them."""
    low, high = np.full(len(fit.theta), -np.inf), np.full(len(fit.theta), np.inf)
    for k, parameter in enumerate(fit.law.parameters):
        low[k], high[k] = float(parameter.to_theta(parameter.lower)), float(parameter.to_theta(parameter.upper))
    return low, high


class _PreparedOnce:
    """A law for one history, which is prepared once for all draws: that is most of the work."""

    def __init__(self, law: Law, history: History) -> None:
        self.name, self.parameters, self.start = law.name, law.parameters, law.start
        self._evaluate, self._prepared = law.evaluate, law.prepare(history)

    def prepare(self, history: History) -> Any:
        return self._prepared

    def evaluate(self, theta: np.ndarray, prepared: Any) -> tuple[np.ndarray, np.ndarray]:
        return self._evaluate(theta, prepared)


def _beside(fit: Fit, schedules: Sequence[Schedule], size: float | None) -> Float[np.ndarray, "law schedule"]:
    """ln(loss) at the end of every schedule by the other laws of the fit's intervals that see learning rates."""
    known = fit.intervals.alternatives if isinstance(fit.intervals, CalibratedIntervals) else ()
    rows = []
    for other in known:
        if other.law.name not in RATE_LAWS or other.law.name == fit.law.name:
            continue
        try:
            histories = [History(np.array([one.total]), one.rates, one.batch) for one in schedules]
            row = [float(other.log_prediction(history, size)[0][0]) for history in histories]
        except ArgumentError:
            continue
        if np.isfinite(row).all():
            rows.append(row)
    return np.array(rows).reshape(-1, len(schedules))
