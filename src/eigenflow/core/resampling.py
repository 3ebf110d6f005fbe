"""Block bootstrap: intervals for statistics of a sequence of measurements.

Neighbouring measurements of one run are alike, so whole blocks are drawn, not single ones: circular blocks,
so that all are drawn alike [@politis1992circular].
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

__all__ = ["LEVEL", "block_indices", "block_interval", "percentile_interval"]

LEVEL = 0.9


def block_indices(
    length: int, rng: np.random.Generator, *, draws: int = 400, block: int | None = None
) -> Int[np.ndarray, "draws length"]:
    """Draw index sequences made of random circular blocks (about length^(1/3) long by default)."""
    block = max(1, round(length ** (1 / 3))) if block is None else block
    starts = rng.integers(0, length, size=(draws, -(-length // block)))
    return ((starts[:, :, None] + np.arange(block)) % length).reshape(draws, -1)[:, :length]


def block_interval(
    values: Float[np.ndarray, "length ..."],
    statistic: Callable[[np.ndarray], float],
    rng: np.random.Generator,
    *,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile interval of `statistic(values)` under resampling of blocks along the first axis."""
    found = [statistic(values[index]) for index in block_indices(len(values), rng)]
    return percentile_interval(found, level=level)


def percentile_interval(draws: ArrayLike, *, level: float = LEVEL) -> tuple[float, float]:
    """The middle share `level` of drawn values, at least one."""
    low, high = np.quantile(np.asarray(draws), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
