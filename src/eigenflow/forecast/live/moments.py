"""When to forecast: at shares of the run, or evenly in the logarithm of the step, and within a share of its time."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

from eigenflow.core.checks import check_number
from eigenflow.core.errors import ArgumentError

__all__ = ["SHARES", "Budget", "Moments", "checked_moments"]

# Of a run whose length is known.
SHARES = (0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 0.9)
# Of one whose length is not: each so many times later than the one before it.
LATER = 1.35
# How much later a forecast is made again whose learning rates have proved wrong.
AGAIN = 1.03
# Losses before the first one, and between two.
LEAST_SEEN, LEAST_BETWEEN = 12, 4
# Seconds that a forecast is taken to cost before one was made: it imports its programs first.
FIRST_COST_S = 3.0


def checked_moments(moments: Sequence[float] | None) -> tuple[float, ...]:
    """Shares of a run, in (0, 1), increasing."""
    if moments is None:
        return SHARES
    found = tuple(check_number("moments", one) for one in moments)
    if not found or any(early >= late for early, late in itertools.pairwise((0.0, *found, 1.0))):
        raise ArgumentError(
            f"`moments` must be increasing shares of the run in (0, 1), such as (0.1, 0.25, 0.5), but is {found}."
        )
    return found


@dataclass
class Moments:
    """The next step at which to forecast.

    Attributes:
        shares: Of the run's updates, where its length is known.
        asked_at: Step of the last question, 0 if there was none.
        seen_at: Losses that were known then.
    """

    shares: tuple[float, ...]
    asked_at: int = 0
    seen_at: int = 0
    _next: tuple[Any, int] = field(default=(None, 0), repr=False, compare=False)

    def next_step(self, total: int | None) -> int:
        """The step at which the next forecast is due."""
        if self._next[0] != (total, self.asked_at):  # asked at every loss
            self._next = (total, self.asked_at), self._found(total)
        return self._next[1]

    def _found(self, total: int | None) -> int:
        if total is None:
            return max(1, ceil(LATER * self.asked_at))
        due = (ceil(share * total) for share in self.shares)
        return next((step for step in due if step > self.asked_at), 2 * total)

    def is_due(self, step: int, seen: int, total: int | None) -> bool:
        """Whether to forecast now."""
        enough = seen >= max(LEAST_SEEN, self.seen_at + LEAST_BETWEEN)
        return enough and step >= self.next_step(total)

    def is_overdue(self, step: int, seen: int) -> bool:
        """Whether a forecast that has lost its run may be made again."""
        return seen >= self.seen_at + LEAST_BETWEEN and step >= AGAIN * self.asked_at

    def asked(self, step: int, seen: int) -> None:
        """Note that it was done."""
        self.asked_at, self.seen_at = step, seen

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return {"shares": list(self.shares), "asked_at": self.asked_at, "seen_at": self.seen_at}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Moments":
        """Make it again."""
        return cls(tuple(state["shares"]), int(state["asked_at"]), int(state["seen_at"]))


@dataclass
class Budget:
    """Processor seconds of forecasts beside the seconds that training took.

    Attributes:
        max_share: Of training time, None for as much as forecasts take.
        trained_s: Wall seconds of training, over all its parts.
        spent_s: Processor seconds of forecasts.
        cost_s: Of the last one.
    """

    max_share: float | None
    trained_s: float = 0.0
    spent_s: float = 0.0
    cost_s: float = FIRST_COST_S

    @property
    def allows(self) -> bool:
        """Whether one more forecast stays within the share."""
        return self.max_share is None or self.spent_s + self.cost_s <= self.max_share * self.trained_s

    @property
    def allowed_at_s(self) -> float:
        """Before so many seconds of training `allows` stays False."""
        if not self.max_share:
            return 0.0 if self.max_share is None else inf
        return (1.0 - 1e-9) * (self.spent_s + self.cost_s) / self.max_share

    def spend(self, cpu_s: float) -> None:
        """Count one."""
        self.spent_s += cpu_s
        self.cost_s = cpu_s

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return dict(self.__dict__)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Budget":
        """Make it again."""
        return cls(**state)
