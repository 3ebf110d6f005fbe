"""Which steps of a run are to be measured."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import SupportsIndex

import numpy as np

from eigenflow.core.checks import check_kind
from eigenflow.core.errors import ArgumentError

__all__ = ["Schedule"]


class Schedule:
    """Steps to measure, in increasing order.

    Args:
        steps: Whole numbers >= 0, at least one.

    Raises:
        ArgumentError: For anything else.
    """

    def __init__(self, steps: Iterable[SupportsIndex]):
        check_kind("schedule", steps, Iterable, "steps to measure, such as eigenflow.log_steps(total, count=60)")
        found = np.asarray(list(steps))
        if found.size == 0 or found.dtype.kind not in "iu" or found.min() < 0:
            raise ArgumentError(
                f"`schedule` must hold at least one step, whole numbers >= 0, but is {found[:5].tolist()}. "
                f"Use eigenflow.log_steps(total, count=60)."
            )
        self._steps: list[int] = sorted(set(found.tolist()))

    def __iter__(self) -> Iterator[int]:
        return iter(self._steps)

    def __contains__(self, step: object) -> bool:
        return isinstance(step, int) and self.is_due(step - 1, step)

    def is_due(self, last: int, now: int) -> bool:
        """Whether a step after `last` and up to `now` is to be measured."""
        return bisect_right(self._steps, now) > bisect_right(self._steps, last)

    def next_after(self, step: int) -> float:
        """The first step after `step`; infinite if there is none."""
        index = bisect_right(self._steps, step)
        return self._steps[index] if index < len(self._steps) else float("inf")
