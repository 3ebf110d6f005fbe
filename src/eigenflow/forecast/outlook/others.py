"""Schedules that a run could still take, or could have taken: how its rates may end."""

import numpy as np

from eigenflow.forecast.outlook.rest import PlannedRun, continued
from eigenflow.forecast.outlook.targets import stretched
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["is_same", "other_endings"]

# A WSD decays over this last part of a run.
DECAY = 0.2
LONGER = 2
# Two schedules whose rates differ by less than this share of the peak, on average, are one.
SAME = 0.01


def other_endings(run: PlannedRun) -> dict[str, Schedule]:
    """Give other schedules with as many updates, by name: for a run under way from now on, for a finished one in whole.

    A finished run gets one that is twice as long too.
    """
    made = _whole(run) if run.is_finished else _from_now(run)
    kept = {name: one for name, one in made.items() if one is not None and not is_same(one, run.schedule)}
    if run.is_finished:
        kept[f"{LONGER} times as many updates"] = stretched(run.schedule, LONGER * run.total)
    return kept


def _from_now(run: PlannedRun) -> dict[str, Schedule | None]:
    seen, now = run.schedule.until(run.last), run.rate_now
    left = run.total - run.last
    x = np.arange(left) / left
    decay = round(DECAY * run.total)
    made: dict[str, Schedule | None] = {
        "cosine from now": continued(seen, 0.5 * now * (1.0 + np.cos(np.pi * x))),
        "linear to zero from now": continued(seen, now * (1.0 - x)),
        "WSD from now": None,
        "the rate held": continued(seen, np.full(left, now)),
    }
    if left > decay:
        fall = now * (1.0 - np.arange(decay) / decay)
        made["WSD from now"] = continued(seen, np.append(np.full(left - decay, now), fall))
    return made


def _whole(run: PlannedRun) -> dict[str, Schedule | None]:
    peak, total, warmup = run.schedule.peak, run.total, min(run.schedule.warmup, run.total - 1)
    begins = max(round((1.0 - DECAY) * total), warmup)
    made = {
        "cosine to zero": Schedule.cosine(total=total, peak=peak, warmup=warmup),
        "WSD": Schedule.wsd(total=total, peak=peak, decay_start=begins, warmup=warmup),
        "linear to zero": Schedule.linear_to_zero(total=total, peak=peak, warmup=warmup),
        "constant": Schedule.constant(total=total, peak=peak, warmup=warmup),
    }
    batch = run.schedule.batch
    return {
        name: one if batch is None else Schedule(one.rates, one.warmup, batch[:total]) for name, one in made.items()
    }


def is_same(one: Schedule, other: Schedule) -> bool:
    """Whether two schedules are as good as one."""
    return one.total == other.total and float(np.abs(one.rates - other.rates).mean()) <= SAME * other.peak
