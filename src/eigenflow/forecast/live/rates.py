"""The learning rates that a run has shown, in bounded memory, and the schedule that they are part of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eigenflow.core.checks import check_kind
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["SeenRates", "schedule_of"]

# Between two entries rates are a straight line: an entry more stands where they leave it by this share of the highest.
BENDS = 2e-4
# More entries than this are thinned to half: rates that jump at every step are kept roughly.
MOST_ENTRIES = 2000

ScheduleLike = Schedule | Sequence[float] | np.ndarray | Mapping[str, Any] | Callable[[int], float]


class SeenRates:
    """Rates by step, as corners of a line that comes within a small share of the highest rate."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, float]] = []
        self._last: tuple[int, float] | None = None
        self._low, self._high = -float("inf"), float("inf")
        self._peak = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_known(self) -> bool:
        """Whether any rate was given."""
        return self._last is not None

    def add(self, step: int, rate: float) -> None:
        """Note the rate of one update; steps increase."""
        self._peak = max(self._peak, rate)
        if self._last is None or not self._entries:
            self._entries.append((step, rate))
        else:
            begin, value = self._entries[-1]
            slope, room = (rate - value) / (step - begin), BENDS * self._peak / (step - begin)
            # A cone of lines that serve all rates since the last corner.
            if not self._low <= slope <= self._high:
                self._corner(step, rate)
            else:
                self._low, self._high = max(self._low, slope - room), min(self._high, slope + room)
        self._last = step, rate

    def _corner(self, step: int, rate: float) -> None:
        if self._last is not None and self._last != self._entries[-1]:
            self._entries.append(self._last)
        begin, value = self._entries[-1]
        slope, room = (rate - value) / (step - begin), BENDS * self._peak / (step - begin)
        self._low, self._high = slope - room, slope + room
        if len(self._entries) > MOST_ENTRIES:
            self._entries = [*self._entries[:-1:2], self._entries[-1]]

    def corners(self) -> list[tuple[int, float]]:
        """Steps and rates between which they are straight, the last one included."""
        if self._last is None:
            return []
        return self._entries if self._entries[-1] == self._last else [*self._entries, self._last]

    def state(self) -> dict[str, Any]:
        """As plain values."""
        ends = [None if abs(end) == float("inf") else end for end in (self._low, self._high)]
        last = None if self._last is None else list(self._last)
        return {"entries": [list(one) for one in self._entries], "last": last, "cone": ends, "peak": self._peak}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "SeenRates":
        """Make it again."""
        made = cls()
        made._entries = [(int(step), float(rate)) for step, rate in state["entries"]]
        made._last = None if state["last"] is None else (int(state["last"][0]), float(state["last"][1]))
        low, high = state["cone"]
        made._low = -float("inf") if low is None else float(low)
        made._high = float("inf") if high is None else float(high)
        made._peak = float(state["peak"])
        return made


def schedule_of(given: "ScheduleLike | None", total: int | None) -> Schedule | None:
    """Take a schedule as users have it: an object, rates of all updates, the form of `to_dict`, or a function of k.

    Args:
        given: The schedule; a function gives the rate of update k, k from 0.
        total: Updates in all.

    Raises:
        ArgumentError: If it is none of these, or contradicts `total_steps`.
    """
    if given is None or isinstance(given, Schedule):
        found = given
    elif isinstance(given, Mapping):
        found = Schedule.from_dict(given)
    elif callable(given):
        if total is None:
            raise ArgumentError(
                "`total_steps` must be given with a `schedule` that is a function: it is asked for the rate of "
                "updates 0 ... total_steps - 1."
            )
        found = Schedule.table([float(given(k)) for k in range(total)])
    else:
        words = "a `Schedule`, the rates of all updates, or a function of the update"
        check_kind("schedule", given, (list, tuple, np.ndarray), words)
        found = Schedule.table(given)
    if found is not None and total is not None and found.total < total:
        raise ArgumentError(
            f"`schedule` must have the rate of every update, total_steps = {total:,}, but has {found.total:,}. Give "
            f"all of them, or leave it out: the rates to come are then recognised from those that `add` is given."
        )
    return found
