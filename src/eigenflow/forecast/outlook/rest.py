"""The schedule of a whole run whose log shows a part of it: how long it will be, and the rates that are to come."""

from dataclasses import dataclass

import numpy as np

from eigenflow.core.display import AbstractPrinted, Card
from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import current_limits
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.outlook.recognise import Recognised, recognise_rates
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["PlannedRun", "continued", "planned_run"]

# Where nothing says how long a run will be: this many times what was seen.
ASSUMED, BASIS_ASSUMED = 2.0, "assumed"
# A run whose log ends this close to its total, and within a row of it, has ended.
ALMOST = 0.02
# A shape that is known takes over where the logged rates stop, if it meets them to this share of the peak.
MEETS = 0.05
UNITS = {"epoch": "epochs", "interval": "logged rows"}
# A bend of the rates that is no rounding, as a share of the peak.
BEND = 1e-9
# Entries behind a warm-up that show a schedule without it.
LEAST_AFTER = 3


@dataclass(frozen=True, repr=False)
class PlannedRun(AbstractPrinted):
    """A run, as far as it is logged and as it will go on.

    Attributes:
        curve: What is known of it.
        schedule: Every rate, those to come included.
        kind: Of the rates to come, in words.
        basis: Where its length is from, in words.
        cautions: What had to be assumed.
        is_finished: Whether its log reaches the end.
        knows_rates: Whether rates were logged or given at all; else they were assumed to be constant.
    """

    curve: Curve
    schedule: Schedule
    kind: str
    basis: str
    cautions: tuple[str, ...]
    is_finished: bool
    knows_rates: bool = True

    def _card(self) -> Card:
        rows = [("rates", self.kind), ("length", f"{self.total:,} {self.unit}: {self.basis}")]
        rows += [("assumed", caution) for caution in self.cautions]
        known = "finished" if self.is_finished else f"known up to step {self.last:,}"
        return Card(f"Run {self.curve.label}: {known}", rows)

    @property
    def is_assumed(self) -> bool:
        """Whether nothing says how long it will be."""
        return self.basis.startswith(BASIS_ASSUMED)

    @property
    def last(self) -> int:
        """The last step that is known."""
        return int(self.curve.steps[-1])

    @property
    def unit(self) -> str:
        """What is counted, in the plural."""
        return UNITS.get(self.curve.step_unit, "updates")

    @property
    def total(self) -> int:
        """Updates in all."""
        return self.schedule.total

    @property
    def rate_now(self) -> float:
        """The last rate that is known and positive."""
        seen = self.schedule.rates[: max(self.last, 1)]
        return float(seen[np.flatnonzero(seen > 0)[-1]])


def planned_run(curve: Curve, *, total: int | None = None, knows_rates: bool = True) -> PlannedRun:
    """Take the rest of a run's schedule from what its log says, else from what its rates show, else assume it.

    Args:
        curve: The known part; its schedule may go on beyond it.
        total: Updates in all, where the user says it.
        knows_rates: Whether the curve's rates were logged or given.

    Raises:
        ArgumentError: If `total` lies before the last step of the curve.
    """
    last = int(curve.steps[-1])
    if total is not None and total < last:
        raise ArgumentError(
            f"`total` must be the number of updates of the whole run, at least {last:,}, where the log of "
            f"{curve.label} ends, but is {total:,}. To forecast from a part of the log, cut it there."
        )
    if curve.schedule.total > last and (total is None or total <= curve.schedule.total):
        schedule = curve.schedule if total is None else curve.schedule.until(total)
        basis = "the table of schedules" if total is None else "as given by `total`, within the table of schedules"
        return _finished(curve, schedule, f"as given ({curve.schedule.kind})", basis, [], knows_rates)
    told = curve.planned_total if curve.step_unit != "interval" else None  # a total counts updates, not rows
    planned = told if told is not None and told >= last else None
    found = _recognised(curve, total or planned)
    cautions: list[str] = []
    length, basis = _length(curve, total, planned, found if knows_rates else None, cautions)
    if not knows_rates:
        cautions.insert(0, "the log shows no learning rates: a constant rate is assumed, so a decay is not foreseen")
    schedule, kind = _joined(curve, found, length, cautions if knows_rates else [])
    kind = kind if knows_rates else "constant (assumed)"
    return _finished(curve, schedule, kind, basis, cautions, knows_rates)


def _recognised(curve: Curve, total: int | None) -> Recognised:
    rates = curve.schedule.rates
    # Between two entries of a log its rates are a straight line: they bend where rates were logged, losses or not.
    bends = np.flatnonzero(np.abs(np.diff(rates, 2)) > BEND * curve.schedule.peak) + 1
    steps = np.union1d(curve.steps, bends)
    steps = steps[(steps >= min(int(curve.steps[0]), len(rates) - 1)) & (steps < len(rates))]
    # The corner of a warm-up was found by the reader, it was not logged.
    after = steps[steps > curve.schedule.warmup]
    steps = after if len(after) >= LEAST_AFTER else steps
    return recognise_rates(steps, rates[steps], total=total, warmup=curve.schedule.warmup)


def _length(
    curve: Curve, total: int | None, planned: int | None, found: Recognised | None, cautions: list[str]
) -> tuple[int, str]:
    last = int(curve.steps[-1])
    if total is not None:
        return total, "as given by `total`"
    if planned is not None:
        return planned, "the log says it"
    if curve.planned_total is not None and curve.step_unit != "interval":
        cautions.append(
            f"the log says {curve.planned_total:,} updates in all, but goes to step {last:,}: it was prolonged"
        )
    if found is not None and found.ends is not None and found.ends_range is not None and found.knows_its_end:
        low, high = found.ends_range
        if found.ends >= last * (1.0 - ALMOST) and found.ends <= current_limits().steps:
            how = f"the logged rates show where they end, at {low:,.0f} to {high:,.0f}"
            if found.kind != "cosine":
                how = "the logged rates fall in a line that ends there, if it goes to 0"
            if high - low > 0.1 * found.ends:
                cautions.append(f"how long the run will be is read off its rates alone ({how}); say --total")
            return max(int(found.ends), last), how
    length = min(int(np.ceil(ASSUMED * last)), current_limits().steps)
    counted = UNITS.get(curve.step_unit, "updates")
    cautions.append(
        f"the log does not say how long the run will be: {ASSUMED:g}x of what was seen, {length:,} {counted}, is "
        f"assumed; say --total"
    )
    return length, f"{BASIS_ASSUMED}, {ASSUMED:g}x of what was seen"


def _joined(curve: Curve, found: Recognised, length: int, cautions: list[str]) -> tuple[Schedule, str]:
    """The seen rates and those to come."""
    last, seen = int(curve.steps[-1]), curve.schedule.until(max(int(curve.steps[-1]), 1))
    if length <= seen.total:
        return seen, found.told
    held = np.full(length - seen.total, seen.rates[-1])
    if found.shape is None:
        why = found.told if found.kind != "warm-up only" else "the log shows the warm-up only"
        cautions.append(f"{why}: the last rate, {seen.rates[-1]:.3g}, is held from step {last:,} on")
        return continued(seen, held), f"the last rate, {seen.rates[-1]:.3g}, is held"
    later = found.rates(seen.total, length)
    if abs(later[0] - seen.rates[-1]) > MEETS * found.peak and not found.kind.startswith(("steps", "cycles")):
        return continued(seen, held), f"the last rate, {seen.rates[-1]:.3g}, is held"
    told = found.told
    if found.kind == "constant":
        told += "; it may be the stable part of a WSD, whose decay is not foreseen here"
    elif found.kind == "steps":
        told += f"; the last rate, {seen.rates[-1]:.3g}, is held"
    return continued(seen, later), told


def continued(seen: Schedule, rates: np.ndarray) -> Schedule:
    """A schedule with more rates behind it; a batch that changes stays as it was last."""
    batch = None if seen.batch is None else np.append(seen.batch, np.full(len(rates), seen.batch[-1]))
    return Schedule(np.append(seen.rates, rates), seen.warmup, batch)


def _finished(
    curve: Curve, schedule: Schedule, kind: str, basis: str, cautions: list[str], knows_rates: bool
) -> PlannedRun:
    last = int(curve.steps[-1])
    gap = float(np.median(np.diff(curve.steps))) if len(curve) > 1 else 0.0
    ended = schedule.total - last <= max(0, min(gap - 1, ALMOST * schedule.total)) or schedule.total == last
    return PlannedRun(curve, schedule, kind, basis, (*cautions, *curve.cautions), ended, knows_rates)
