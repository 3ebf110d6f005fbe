"""Whether a loss still falls at the end of what was logged."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from eigenflow.core.resampling import LEVEL

__all__ = ["Trend", "last_trend"]

# The last tenth of the updates is held against the tenth before it, each in so many blocks.
SHARE, BLOCKS = 0.1, 6
LEAST_ROWS = 2 * BLOCKS


@dataclass(frozen=True)
class Trend:
    """By how much a loss changed from the last tenth but one of the updates to the last tenth.

    Attributes:
        change: Relative, negative where the loss falls.
        lower: End of the 90 % interval.
        upper: The other end.
        rows: Logged losses of both tenths.
    """

    change: float
    lower: float
    upper: float
    rows: int

    @property
    def is_falling(self) -> bool:
        """Whether the loss falls beyond its noise."""
        return self.upper < 0

    @property
    def is_rising(self) -> bool:
        """Whether it rises beyond its noise."""
        return self.lower > 0


def last_trend(steps: Float[np.ndarray, " row"], losses: Float[np.ndarray, " row"]) -> Trend | None:
    """The trend of the end of a log.

    Means of ln(loss) in blocks of neighbouring rows are taken for independent (Welch's interval of their difference).

    Args:
        steps: Of the rows, increasing.
        losses: Beside them; what is not positive and finite is left out.

    Returns:
        The trend, or None where the last fifth of the updates holds too few rows, or losses are not positive.
    """
    is_known = np.isfinite(losses) & (losses > 0)
    steps, logs = np.asarray(steps, dtype=np.float64)[is_known], np.log(losses[is_known])
    if len(steps) < LEAST_ROWS:
        return None
    length = SHARE * (steps[-1] - steps[0])
    later = logs[steps > steps[-1] - length]
    earlier = logs[(steps > steps[-1] - 2 * length) & (steps <= steps[-1] - length)]
    if min(len(later), len(earlier)) < BLOCKS:
        return None
    before, after = (np.array([part.mean() for part in np.array_split(side, BLOCKS)]) for side in (earlier, later))
    difference = float(after.mean() - before.mean())
    parts = [float(side.var(ddof=1)) / BLOCKS for side in (before, after)]
    error = sum(parts) ** 0.5
    freedom = (BLOCKS - 1) * sum(parts) ** 2 / max(sum(part**2 for part in parts), np.finfo(float).tiny)
    half = float(stats.t.isf((1 - LEVEL) / 2, max(freedom, 1.0))) * error
    ends = difference - half, difference + half
    return Trend(*(float(np.expm1(x)) for x in (difference, *ends)), rows=len(later) + len(earlier))
