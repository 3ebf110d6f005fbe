"""What is watched at every single loss, in a few operations: what is not finite, spikes, values that repeat."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, inf
from statistics import median
from typing import Any

from eigenflow.core.display import FieldsPrinted

__all__ = ["PointWatch", "Spike"]

# A single loss is a spike above so many standard deviations, and this much in ln(loss).
SIGMAS, LEAST = 8.0, 0.05
# It is over after so many losses near the level, within so many standard deviations of it.
CALM, NEAR = 3, 4.0
# Losses that a cumulative sum of excesses needs to ask for a look.
EXCESS, MOST_EXCESS, ENOUGH_EXCESS = 3.0, 8.0, 30.0
# Newest losses that are kept one by one, to look for batches that come again.
KEPT = 1024
# Of which the exponential is a number.
LARGEST = 700.0
# A spike may take this share of the steps so far to recover, before anything is said of it; if it does not fall, which
# is seen in the last losses, only the smaller share.
PATIENCE, NOT_FALLING, FALLEN, NOW = 0.05, 0.02, 0.7, 9
# One that goes on falling may take longer: what is left of it has to fall to this part, while the time since it began
# grows by this factor. A tail falls like that, exponential or like one over time; what stays does not.
FALLS_TO, IN_TIMES, LONGEST = 0.75, 1.5, 0.2
MOST_SPIKES, MOST_NOT_FINITE, MOST_SEEN = 50, 50, 200


@dataclass
class Spike(FieldsPrinted):
    """A rise far above the level.

    Attributes:
        since: First step.
        last: Last step far above.
        peak: Highest ln(loss), above the level before it.
        level: ln(loss) before it.
        count: Losses far above.
        recovered_at: First step back near the level, None if it is not.
        seen: Steps since the first, and what was left above the level then, wherever it was asked for.
    """

    since: int
    last: int
    peak: float
    level: float
    count: int = 1
    recovered_at: int | None = None
    seen: list[list[float]] = field(default_factory=list)

    def __repr__(self) -> str:
        end = "not over" if self.recovered_at is None else f"over at step {self.recovered_at:,}"
        return f"spike at step {self.since:,}, {self.peak:.3g} in ln(loss) high, {end}"


class PointWatch:
    """Level and spread are set from outside (`set_level`); before that nothing counts as a spike.

    Attributes:
        level: ln(loss) about which single losses scatter, None before it is known.
        sd: Their standard deviation.
        not_finite: Steps of losses that are not finite, or not positive; the last ones.
        not_finite_count: All of them.
        not_finite_run: How many of the last ones in a row.
        spikes: The last ones.
        same_run: How many of the last losses are equal.
        same_longest: The longest such run before it.
        values: The newest ln(loss).
        wants_look: Whether something looks odd enough for a test now.
        ceiling: ln(loss) above which a loss is cut before it enters a mean; just above the level during a spike.
    """

    def __init__(self) -> None:
        self.level: float | None = None
        self.sd = 0.0
        self.slope = 0.0
        self.not_finite: list[int] = []
        self.not_finite_count = 0
        self.not_finite_run = 0
        self.spikes: list[Spike] = []
        self.spike_count = 0
        self.same_run = 1
        self.same_longest = 1
        self.values: deque[float] = deque(maxlen=KEPT)
        self.wants_look = False
        self._excess = 0.0
        self._calm = 0
        self._is_open = False
        self.ceiling = float("inf")

    def bad(self, step: int) -> None:
        """Note a loss that is not finite or not positive."""
        self.not_finite_count += 1
        self.not_finite_run += 1
        self.not_finite.append(step)
        del self.not_finite[:-MOST_NOT_FINITE]

    def good(self, step: int, value: float) -> None:
        """Note ln(loss)."""
        self.not_finite_run = 0
        values = self.values
        if values and values[-1] == value:
            self.same_run += 1
        elif self.same_run > 1:
            self.same_longest = max(self.same_longest, self.same_run)
            self.same_run = 1
        values.append(value)
        if self.level is None:
            return
        above = value - self.level
        sigmas = above / self.sd
        gained = self._excess + (sigmas if sigmas < MOST_EXCESS else MOST_EXCESS) - EXCESS
        self._excess = gained if gained > 0.0 else 0.0
        if self._excess > ENOUGH_EXCESS:
            self.wants_look, self._excess = True, 0.0
        if self._is_open or (sigmas > SIGMAS and above > LEAST):
            self._spike(step, above, sigmas)

    @property
    def calm_below(self) -> float:
        """Below this loss (not its logarithm) nothing but noting it is to be done; 0 if something is under way."""
        if self.wants_look or self._is_open:
            return 0.0
        if self.level is None:
            return inf
        # A little lower, so that rounding does not matter.
        return (1.0 - 1e-9) * exp(min(self.level + EXCESS * self.sd, LARGEST))

    def _spike(self, step: int, above: float, sigmas: float) -> None:
        if not self._is_open:
            self.spikes.append(Spike(step, step, above, self.level or 0.0))
            del self.spikes[:-MOST_SPIKES]
            self.spike_count += 1
            self._is_open, self._calm = True, 0
            self.ceiling = (self.level or 0.0) + self.sd
            return
        spike = self.spikes[-1]
        if sigmas > NEAR:
            spike.last, spike.peak, self._calm = step, max(spike.peak, above), 0
            spike.count += 1
            return
        self._calm += 1
        if self._calm >= CALM:
            spike.recovered_at = step
            self.end_spike()

    def set_level(self, level: float, sd: float) -> None:
        """Say about which level single losses scatter, and how far; an open spike keeps its own level."""
        if not self._is_open:
            self.level, self.sd = level, max(sd, 1e-9)
            self.ceiling = self.level + max(SIGMAS * self.sd, LEAST)

    def end_spike(self) -> None:
        """Take the new level for the usual one, after a spike that did not recover."""
        self._is_open, self.ceiling = False, float("inf")

    def waits(self, step: int) -> bool:
        """Whether a spike is under way that may yet recover; if it may not, its losses count from now on."""
        spike = self.open_spike
        if spike is None:
            return False
        late = step - spike.since
        now = median(list(self.values)[-NOW:]) - spike.level
        goes_on = _goes_on_falling(spike, late, now)
        has_fallen = now < FALLEN * (spike.peak - NEAR * self.sd)
        if late < NOT_FALLING * step or (has_fallen and late < (LONGEST if goes_on else PATIENCE) * step):
            return True
        self.ceiling = float("inf")
        return False

    @property
    def open_spike(self) -> Spike | None:
        """The spike that is not over, if there is one."""
        return self.spikes[-1] if self._is_open else None

    def state(self) -> dict[str, Any]:
        """As plain values."""
        form = {name: value for name, value in self.__dict__.items() if name not in ("spikes", "values", "not_finite")}
        form["ceiling"] = None if self.ceiling == float("inf") else self.ceiling
        spikes = [dict(one.__dict__) for one in self.spikes]
        return form | {"spikes": spikes, "values": list(self.values), "not_finite": list(self.not_finite)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "PointWatch":
        """Make it again."""
        made = cls()
        for name, value in state.items():
            if name not in ("spikes", "values"):
                setattr(made, name, value)
        made.ceiling = float("inf") if state["ceiling"] is None else float(state["ceiling"])
        made.not_finite = list(state["not_finite"])
        made.spikes = [Spike(**one) for one in state["spikes"]]
        made.values = deque(state["values"], maxlen=KEPT)
        return made


def _goes_on_falling(spike: Spike, late: int, now: float) -> bool:
    """Whether what is left of a spike has become less as time went on; remembers what is left now."""
    before = [left for then, left in spike.seen if then * IN_TIMES <= late]
    if not spike.seen or late > spike.seen[-1][0]:
        spike.seen.append([late, now])
        del spike.seen[:-MOST_SEEN]
    return bool(before) and now < FALLS_TO * before[-1]
