"""Does a curve rise again after its minimum? The best fit that only falls against the best one that turns once.

Both are least-squares fits by pooling adjacent violators. How much worse the first is, in units of the scatter, is
large where the curve has risen. Of falling curves with normal noise, 6 to 40 points, at most 5 % exceed 25; of flat
ones at most 10 % (simulated; `tests/forecast/reading/test_divergence.py` repeats it).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["CLEAR", "Turn", "turn_of"]

CLEAR = 25.0
# The scatter's variance is at least this share of what second differences show: few points fit any turn exactly.
LEAST_SCATTER = 0.25
# Residual squares, as a share of all, that are none.
EXACT = 1e-12
# Second differences of white noise have six times its variance.
SECOND = 1.4826 / np.sqrt(6.0)
# A mean, how many values it is of, and the squares about it.
Block = tuple[float, int, float]


@dataclass(frozen=True)
class Turn:
    """Where values turn from falling to rising.

    Attributes:
        at: Index of the lowest value.
        rise: How far the fit rises from its lowest level to its end.
        clearness: How much worse a fit is that only falls, in variances of the scatter.
        later: Values behind the turn.
    """

    at: int
    rise: float
    clearness: float
    later: int


def turn_of(values: Float[np.ndarray, " value"], floor: float = 0.0) -> Turn:
    """Fit a turn to values, at least four.

    Args:
        values: In order, with scatter of one size.
        floor: Standard deviation that the scatter has at least.
    """
    falling, rising = _costs(values), _costs(values[::-1])[::-1]
    both = falling + rising
    at = int(both.argmin())  # values before `at` fall, those from it on rise
    count = len(values)
    second = SECOND * float(np.median(np.abs(np.diff(values, 2))))
    # Six values or more that fall and rise without one exception do so by chance once in 25 times, or less.
    least = 0.0 if both[at] <= EXACT * np.sum((values - values.mean()) ** 2) else LEAST_SCATTER * second**2
    variance = max(both[at] / (count - 3), least, floor**2, 1e-30)
    before, behind = _blocks(values[:at]), _blocks(values[at:][::-1])
    ends = [blocks[-1][0] for blocks in (before, behind) if blocks]
    low = min(ends)
    return Turn(
        int(values.argmin()),
        behind[0][0] - low if behind else 0.0,
        float((falling[-1] - both[at]) / variance),
        count - 1 - int(values.argmin()),
    )


def _blocks(values: Float[np.ndarray, " value"]) -> list[Block]:
    """Blocks of the best fit that only falls."""
    blocks: list[Block] = []
    for value in values.tolist():
        _pool(blocks, value)
    return blocks


def _costs(values: Float[np.ndarray, " value"]) -> Float[np.ndarray, " prefix"]:
    """Residual squares of the best falling fit to the first 0, 1, ... values."""
    blocks: list[Block] = []
    costs = [0.0]
    for value in values.tolist():
        costs.append(max(costs[-1] + _pool(blocks, value), 0.0))
    return np.array(costs)


def _pool(blocks: list[Block], value: float) -> float:
    """Add a value, joining blocks until they fall; gives the change of the residual squares."""
    mean, count, squares = value, 1, 0.0
    gone = 0.0
    while blocks and blocks[-1][0] < mean:
        before, number, about = blocks.pop()
        gone += about
        squares += about + (mean - before) ** 2 * count * number / (count + number)
        mean, count = (mean * count + before * number) / (count + number), count + number
    blocks.append((mean, count, squares))
    return squares - gone
