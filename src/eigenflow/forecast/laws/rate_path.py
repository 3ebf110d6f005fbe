"""A schedule as few straight pieces and jumps, and the clock along it: what sums over every update come down to.

The noise that a learning rate leaves is a mean of w = rate^q over the past, weighted by the relaxation kernel, so a
path that is nowhere further from w than a tolerance gives a noise that is no further off. Where rates change slowly,
lines join the middles of updates (or of runs of one rate); a sudden change is a jump at the border between two of them.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Clock", "RatePath", "rate_path"]

# Parameters with which a path is straight within its tolerance: those of language models (q, alpha, s0, r / alpha).
# Knots lie on the schedule, so with others a path is off between its knots only.
NOISE_POWER, AGE_POWER, AGE_OFFSET, RELAXATION = 0.66, 0.33, 0.0025, 670.0
# A change within one update is a jump if a line over that update would be off by this many eighths of the tolerance.
JUMP = 8.0

Knots = Float[np.ndarray, " knot"]


@dataclass(frozen=True)
class RatePath:
    """A learning rate in straight pieces.

    Attributes:
        positions: Of the knots, in updates from 0: for a jump a border between two updates, for a bend the middle of
            a run of one rate.
        before: Rate on the left of each knot; 0 on the left of the first, at position 0.
        after: Rate on its right.
    """

    positions: Knots
    before: Knots
    after: Knots

    def powers(self, exponent: float) -> tuple[tuple[Knots, Knots], tuple[Knots, Knots]]:
        """Give rate^exponent on the left and the right of each knot, each with its derivative by the exponent."""
        return _power(self.before, exponent), _power(self.after, exponent)


@dataclass(frozen=True)
class Clock:
    """Sums of powers of the rate up to positions in a run, the first of which is 0.

    Attributes:
        lengths: Updates between neighbouring positions.
        means: Mean rate there.
        spreads: Variance of the rate there over the square of its mean.
    """

    lengths: Float[np.ndarray, " piece"]
    means: Float[np.ndarray, " piece"]
    spreads: Float[np.ndarray, " piece"]

    @classmethod
    def at(cls, rates: Float[np.ndarray, " update"], positions: Float[np.ndarray, " position"]) -> "Clock":
        """Measure a schedule between increasing positions."""
        whole = positions.astype(np.int64)
        inside = rates[np.minimum(whole, len(rates) - 1)]
        sums = [
            np.diff(np.concatenate([[0.0], np.cumsum(values)])[whole] + (positions - whole) * own)
            for values, own in ((rates, inside), (rates**2, inside**2))
        ]
        lengths = np.diff(positions)
        means = sums[0] / lengths
        is_on = means > 0
        spreads = np.where(is_on, np.maximum(sums[1] / lengths / np.where(is_on, means, 1.0) ** 2 - 1.0, 0.0), 0.0)
        return cls(lengths, means, spreads)

    def power_sums(self, exponent: float) -> tuple[Float[np.ndarray, " position"], Float[np.ndarray, " position"]]:
        """Give the sum of rate^exponent up to each position, and its derivative with respect to the exponent.

        Exact for the exponent 1 and for constant rates; else what is left out is of third order in the spread of rates
        between two positions.
        """
        value, slope = _power(self.means, exponent)
        curved = 1.0 + 0.5 * exponent * (exponent - 1.0) * self.spreads
        slope = slope * curved + value * (exponent - 0.5) * self.spreads
        first, second = (np.cumsum(self.lengths * column) for column in (value * curved, slope))
        return np.insert(first, 0, 0.0), np.insert(second, 0, 0.0)


def _power(rates: np.ndarray, exponent: float) -> tuple[np.ndarray, np.ndarray]:
    """rate^exponent (0 where the rate is 0), and its derivative with respect to the exponent."""
    is_on = rates > 0
    log_rates = np.log(np.where(is_on, rates, 1.0))
    value = np.where(is_on, np.exp(exponent * log_rates), 0.0)
    return value, value * log_rates


def rate_path(rates: Float[np.ndarray, " update"], tolerance: float) -> RatePath:
    """Follow a schedule within a tolerance.

    Args:
        rates: Of every update, in units of the peak.
        tolerance: Largest distance of rate^0.66 from the path.
    """
    starts = np.flatnonzero(np.diff(rates, prepend=-1.0) != 0)
    kept = _apart(rates[starts], tolerance)
    begin, end = starts[kept], np.append(starts[1:], len(rates))[kept]
    clock = np.concatenate([[0.0], np.cumsum(rates)])
    levels, heights = rates[begin], rates[begin] ** NOISE_POWER
    ages = (AGE_OFFSET * clock[-1] + 0.5 * (clock[begin] + clock[end])) ** AGE_POWER
    # A line instead of a step is off by at most an eighth of this, and by half of the step.
    relaxed = np.minimum(RELAXATION * np.diff(ages) / ((1.0 + AGE_OFFSET) * clock[-1]) ** AGE_POWER, 4.0)
    is_jump = (end[:-1] == begin[1:]) & (np.abs(np.diff(heights)) * relaxed > JUMP * tolerance)
    bends, borders = _corners(ages, heights, is_jump, tolerance), begin[1:][is_jump]
    positions = np.concatenate([[0.0], 0.5 * (begin + end)[bends], borders])
    before = np.concatenate([[0.0], levels[bends], rates[borders - 1]])
    after = np.concatenate([[rates[0]], levels[bends], rates[borders]])
    order = np.argsort(positions, kind="stable")
    return _pruned(RatePath(positions[order], before[order], after[order]))


def _apart(levels: Float[np.ndarray, " run"], tolerance: float) -> np.ndarray:
    """Which of the runs of one rate to keep: of slow changes about one for every tolerance."""
    moved = np.abs(np.diff(np.sqrt(levels)))  # d(rate^0.66) is at most 1.3 times this
    is_next = np.diff(np.floor(np.cumsum(moved) / tolerance), prepend=-1.0) != 0
    is_kept = np.ones(len(levels), dtype=bool)
    is_kept[1:-1] = is_next[1:] | (is_next & (moved > tolerance))[:-1]
    return is_kept


def _corners(
    x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"], is_jump: np.ndarray, tolerance: float
) -> Int[np.ndarray, " kept"]:
    """Keep points, both sides of every jump among them, until no other is further off a line between neighbours, in y.

    (Douglas and Peucker's algorithm.)
    """
    ends = np.flatnonzero(np.concatenate([[True], is_jump]) | np.concatenate([is_jump, [True]]))
    kept, waiting = ends.tolist(), list(itertools.pairwise(ends.tolist()))
    while waiting:
        left, right = waiting.pop()
        if right - left < 2:
            continue
        inner, width = slice(left + 1, right), x[right] - x[left]
        slope = (y[right] - y[left]) / width if width > 0 else 0.0
        excess = np.abs(y[inner] - y[left] - slope * (x[inner] - x[left]))
        worst = int(excess.argmax())
        if excess[worst] > tolerance:
            split = left + 1 + worst
            kept.append(split)
            waiting += [(left, split), (split, right)]
    return np.sort(np.array(kept, dtype=np.int64))


def _pruned(path: RatePath) -> RatePath:
    """Without the knots at which nothing changes: constant on both sides."""
    flat = path.after[:-1] == path.before[1:]
    idle = (path.before == path.after) & np.append(flat, True) & np.insert(flat, 0, True)
    idle[0] = False
    return RatePath(path.positions[~idle], path.before[~idle], path.after[~idle])
