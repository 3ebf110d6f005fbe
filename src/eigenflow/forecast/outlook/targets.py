"""When a run reaches a loss that is wanted: at which step, within its schedule or under another one, or never."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from eigenflow.core.display import AbstractPrinted, Card, interval
from eigenflow.core.errors import EigenflowError
from eigenflow.core.limits import current_limits
from eigenflow.forecast.fitting.fit import Fit, Forecast
from eigenflow.forecast.outlook.ends import End, Ending, end_of
from eigenflow.forecast.outlook.rest import PlannedRun
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["LONGER", "Target", "target_of"]

# Longer runs that are looked at for a target, as multiples of the planned one.
LONGER = (1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
# No picture and no answer needs runs of more updates than this.
MOST_UPDATES = 4_000_000
# A log of so many points is smoothed over so many before it is said to have reached a loss.
SMOOTHED, WINDOW = 20, 5
PARTS = ("loss", "lower", "upper")
# How laws call the loss that no training removes.
FLOORS = ("L_inf", "L0")


@dataclass(frozen=True, repr=False)
class Target(AbstractPrinted):
    """When a loss is reached.

    Attributes:
        loss: The wanted one.
        step: Forecast of the first step at which it is reached; None: not within the schedule.
        earliest: 90 % interval of that step; None: not even then, within the schedule.
        latest: None: not surely within the schedule.
        is_reached: Whether the log has it already; `step` is then that of the log.
        others: Endings that reach it, and the step at which each does.
        longer: Updates of the shortest run of the same kind that ends at it or below; None if none was found.
        longer_range: 90 % interval of that; None: an end that was not found among the runs that were looked at.
        longest: The end of the longest run that was looked at, where even that does not reach the target.
        floor: The loss that the law never goes below, with its 90 % interval, where it is above the target.
    """

    loss: float
    step: int | None
    earliest: int | None
    latest: int | None
    is_reached: bool = False
    others: Mapping[str, int] | None = None
    longer: int | None = None
    longer_range: tuple[int | None, int | None] = (None, None)
    longest: End | None = None
    floor: tuple[float, float, float] | None = None

    @property
    def answer(self) -> str:
        """In one sentence."""
        if self.is_reached:
            return f"{self.loss:g} was reached at step {self.step:,}, in the log"
        if self.step is not None:
            early = "-" if self.earliest is None else f"{self.earliest:,}"
            late = "not for certain within the schedule" if self.latest is None else f"{self.latest:,}"
            return f"{self.loss:g} is reached at step {self.step:,} [{early}, {late}]"
        told = f"{self.loss:g} is not reached within the schedule"
        if self.earliest is not None:
            told += f" (at the lower end of the interval at step {self.earliest:,})"
        if self.others:
            told += "; " + ", ".join(f"under {name} at step {step:,}" for name, step in self.others.items())
        if self.longer is not None:
            low, high = ("?" if end is None else f"{end:,}" for end in self.longer_range)
            told += f"; a run of the same kind ends there with {self.longer:,} updates [{low}, {high}]"
        if self.floor is not None:
            sure = "never" if self.floor[1] > self.loss else "most likely never"
            told += f"; {sure}: the law's floor is {interval(*self.floor, 4)}"
        elif self.longest is not None:
            told += f"; nor with {self.longest.step:,} updates, which end at {self.longest.told}"
        return told

    def _card(self) -> Card:
        return Card(f"Target: {self.answer}")


def target_of(
    loss: float, run: PlannedRun, path: Forecast, fit: Fit, endings: Sequence[Ending], size: float | None
) -> Target:
    """Find when a run reaches a loss.

    Args:
        loss: That is wanted, in the unit of the curves.
        run: With its schedule.
        path: Forecast of the rest of the run, at many steps.
        fit: Behind it.
        endings: Other schedules, which may reach it where the plan does not.
        size: Of the model.
    """
    reached = np.flatnonzero(_smooth(run.curve.losses) <= loss)
    if len(reached):
        step = int(run.curve.steps[reached[0]])
        return Target(loss, step, step, step, is_reached=True)
    # What the log knows has not reached it, whatever the law says of that part.
    ahead = path.steps > run.last
    first, early, late = (_first(path.steps, ahead & (part <= loss)) for part in (path.loss, path.lower, path.upper))
    if first is not None:
        return Target(loss, first, early, late)
    others = {}
    for ending in endings:
        if ending.end.loss <= loss:
            every = max(1, ending.schedule.total // 400)
            steps = np.append(np.arange(max(ending.schedule.warmup, 1), ending.schedule.total, every), ending.end.step)
            at = _first(steps, fit.predict_steps(ending.schedule, steps, size=size).loss <= loss)
            others[ending.name] = ending.end.step if at is None else at
    if others:
        return Target(loss, None, early, None, others=others)
    ends = _longer_ends(loss, run, fit, size)
    longer, low, high = (_crossing([(one.step, getattr(one, part)) for one in ends], loss) for part in PARTS)
    if longer is not None:
        return Target(loss, None, early, None, longer=longer, longer_range=(low, high))
    floor = _floor(fit)
    is_floor = floor is not None and floor[0] > loss
    return Target(loss, None, early, None, longest=ends[-1], floor=floor if is_floor else None)


def _smooth(losses: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
    """Running medians, so that one low point of a noisy log does not count; short logs as they are."""
    if len(losses) < SMOOTHED:
        return losses
    windows = np.lib.stride_tricks.sliding_window_view(losses, WINDOW)
    return np.append(np.full(WINDOW - 1, np.inf), np.median(windows, axis=1))


def _first(steps: Int[np.ndarray, " point"], is_below: Bool[np.ndarray, " point"]) -> int | None:
    at = np.flatnonzero(is_below)
    return int(steps[at[0]]) if len(at) else None


def _longer_ends(loss: float, run: PlannedRun, fit: Fit, size: float | None) -> list[End]:
    """Ends of the plan and of longer runs of its kind, until one surely ends low enough."""
    found = [end_of(fit, run.schedule, size)[0]]
    for factor in LONGER:
        total = round(factor * run.total)
        if total > min(MOST_UPDATES, current_limits().steps) or found[-1].upper <= loss:
            break
        try:
            found.append(end_of(fit, stretched(run.schedule, total), size)[0])
        except EigenflowError:  # the law leaves the range of numbers so far out
            break
    return found


def _crossing(ends: Sequence[tuple[int, float]], loss: float) -> int | None:
    """The length of a run that ends at a loss, between two lengths by lines in ln(length) and ln(loss)."""
    for (short, above), (long, below) in pairwise(ends):
        if below <= loss < above:
            share = np.log(above / loss) / np.log(above / below)
            return round(float(short * (long / short) ** share))
    return ends[0][0] if ends[0][1] <= loss else None


def _floor(fit: Fit) -> tuple[float, float, float] | None:
    """The loss that no training removes, by the fitted law, with its interval.

    None for a law without one, and where runs of several sizes or peak rates have several floors.
    """
    if len(set(fit.sizes)) > 1 or np.ptp([curve.schedule.peak for curve in fit.known]) > 0:
        return None
    found = [row for row in fit.parameters if row["name"] in FLOORS]
    return (found[0]["value"], found[0]["lower"], found[0]["upper"]) if found else None


def stretched(schedule: Schedule, total: int) -> Schedule:
    """The same rates over more updates; the warm-up keeps its length."""
    warmup = min(schedule.warmup, total - 1)
    later: Float[np.ndarray, " update"] = schedule.rates[warmup:]
    places = np.linspace(0.0, max(len(later) - 1, 0), total - warmup)
    rates = np.append(schedule.rates[:warmup], np.interp(places, np.arange(len(later)), later))
    batch = None if schedule.batch is None else np.full(total, schedule.batch[-1])
    return Schedule(rates, warmup, batch)
