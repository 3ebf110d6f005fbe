"""When the accumulated drift reaches a level: the inverse of C(t), piece by monotone piece."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

__all__ = ["Inverse"]

Array = Float[np.ndarray, "..."]


class Inverse:
    """Times at which C has first come to a level.

    Attributes:
        knots: Times between which C is smooth and monotone, increasing.

    Args:
        knots: See above; the last one is the horizon.
        accumulated: C, vectorised.
        strength: c, its derivative.
    """

    def __init__(self, knots: Float[np.ndarray, " knot"], accumulated: Callable, strength: Callable) -> None:
        self.knots = knots
        self._accumulated, self._strength = accumulated, strength
        self._levels = accumulated(knots)

    def first_reached(self, target: Array, start: float = 0.0) -> Array:
        """Give the first time after `start` when C - C(start) is `target`; inf if that is beyond the horizon."""
        knots, levels, begun = self.knots, self._levels, 0.0
        if start > 0:
            begun = float(self._accumulated(np.array([start]))[0])
            is_later = knots > start
            knots, levels = np.append(start, knots[is_later]), np.append(0.0, levels[is_later] - begun)
        highest, lowest = np.maximum.accumulate(levels), np.minimum.accumulate(levels)
        is_up = target >= 0
        segment = np.where(is_up, np.searchsorted(highest, target), np.searchsorted(-lowest, -target))
        is_reached = segment < len(knots)
        segment = np.clip(segment, 1, len(knots) - 1)[is_reached]
        result = np.full(np.shape(target), np.inf)
        goal = target[is_reached]
        low, high = knots[segment - 1], knots[segment]
        step = levels[segment] - levels[segment - 1]
        with np.errstate(all="ignore"):
            share = (goal - levels[segment - 1]) / step
        share = np.clip(np.nan_to_num(share, nan=0.5), 0.0, 1.0)
        result[is_reached] = self._invert(goal, low, high, low + share * (high - low), begun)
        return result

    def _invert(self, target: Array, low: Array, high: Array, guess: Array, begun: float) -> Array:
        """Solve C(t) - C(start) = target by Newton steps, bisecting where they leave the bracket."""
        is_up = target >= 0
        now, before = guess, np.full(target.shape, np.inf)
        for _ in range(120):
            gap = self._accumulated(now) - begun - target
            is_past = np.where(is_up, gap >= 0, gap <= 0)
            low, high = np.where(is_past, low, now), np.where(is_past, now, high)
            with np.errstate(all="ignore"):
                newton = now - gap / self._strength(now)
            # A short step after one a hundred times as long leaves nothing: Newton's steps square.
            step = np.abs(newton - now)
            is_last = (step <= 1e-8 * now) & (step <= 0.01 * before)
            has_met = (step <= 4e-16 * now) | is_last | (high - low <= 4e-16 * high)
            before = step
            is_inside = (newton > low) & (newton < high)
            is_taken = is_inside & (is_last | ~has_met)
            now = np.where(is_taken, newton, np.where(has_met, now, 0.5 * (low + high)))
            if has_met.all():
                break
        return now
