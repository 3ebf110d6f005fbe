"""Intervals for statistics of a sequence of measurements of one run, which are alike where they are close in time.

Two things are done about that. Draws are made of whole blocks, not of single measurements: circular blocks, so that all
are drawn alike [@politis1992circular]. And since a few dozen measurements hold too few blocks for their spread to be
right, the spread is set by a model of the correlation. What each measurement adds to the statistic is taken as a
stationary autoregression of first order with unknown coefficient, plus a part without memory, and the half-width is
that of its mean: a mixture of Student's distributions over all correlations, by their likelihood and Jeffreys' prior,
(1 - rho^2)^-1/2. No series tells of a correlation longer than itself; .8 of its length is the longest that is believed.

benchmarks/interval_coverage.py measures how often such intervals hold the truth.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtr

__all__ = [
    "LEVEL",
    "block_indices",
    "block_interval",
    "correlated_half_width",
    "correlated_interval",
    "correlated_quantiles",
    "drawn_counts",
    "percentile_interval",
]

LEVEL = 0.9
LONGEST = 0.8  # correlation length over the length of the series
GRID = 20  # coefficients rho
NOISE = (0.0, 0.25, 0.5, 0.75)  # share of the variance that has no memory
BISECTIONS = 40
MOST = 96  # values whose correlation is looked at one by one
FEWEST = 4  # measurements from which a correlation can be told
TINY = float(np.finfo(np.float64).tiny)


def block_indices(
    length: int, rng: np.random.Generator, *, draws: int = 400, block: int | None = None
) -> Int[np.ndarray, "draws length"]:
    """Draw index sequences made of random circular blocks (about length^(1/3) long by default)."""
    block = max(1, round(length ** (1 / 3))) if block is None else block
    starts = rng.integers(0, length, size=(draws, -(-length // block)))
    return ((starts[:, :, None] + np.arange(block)) % length).reshape(draws, -1)[:, :length]


def drawn_counts(indices: Int[np.ndarray, "draws length"]) -> Float[np.ndarray, "draws length"]:
    """How often each place was drawn: sums over draws of values are products with this, without gathering them."""
    draws, length = indices.shape
    places = indices + length * np.arange(draws)[:, None]
    return np.bincount(places.reshape(-1), minlength=draws * length).reshape(draws, length).astype(np.float64)


def block_interval(
    values: Float[np.ndarray, "length ..."],
    statistic: Callable[[np.ndarray], float],
    rng: np.random.Generator,
    *,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile interval of `statistic(values)` under resampling of blocks along the first axis.

    For statistics that are no smooth mean of measurements, such as the largest one.
    """
    found = [statistic(values[index]) for index in block_indices(len(values), rng)]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def percentile_interval(draws: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """The middle share `level` of drawn values, at least one."""
    low, high = np.quantile(np.asarray(draws), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def correlated_half_width(values: Float[np.ndarray, " length"], level: float = LEVEL) -> float:
    """Half the length of the interval for the mean of a stationary series, its correlation unknown.

    Args:
        values: In the order of time, at even spacing in whatever time they are alike in.
        level: Share of such intervals that hold the mean.

    Returns:
        The half-width about the mean of `values`; 0 for fewer than two, or equal, values.
    """
    if len(values) > MOST:  # means of neighbours have the same mean
        values = np.array([part.mean() for part in np.array_split(values, MOST)])
    count = len(values)
    x = values - values.mean() if count else values
    scale = float(np.abs(x).max(initial=0.0))
    if count < 2 or scale == 0.0:
        return 0.0
    x = x / scale
    inverse, log_determinant, total, log_prior = _correlations(count)
    centre = inverse.sum(1) @ x / total  # the best mean under each correlation, from the plain one
    left = np.maximum((inverse @ x) @ x - centre**2 * total, TINY)
    log_weight = log_prior - 0.5 * (log_determinant + np.log(total) + (count - 1) * np.log(left))
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    width = np.sqrt(left / (count - 1) / total)
    low, high = 0.0, 50.0 * float(np.sqrt((weight * (width**2 + centre**2)).sum())) + TINY
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        inside = stdtr(count - 1, (middle - centre) / width) - stdtr(count - 1, (-middle - centre) / width)
        low, high = (middle, high) if float(weight @ inside) < level else (low, middle)
    return scale * high


@lru_cache(maxsize=16)  # up to 6 MB each
def _correlations(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inverse correlation matrices R^-1, ln det R, 1' R^-1 1, and the prior, over pairs of rho and share of noise."""
    rho = (np.arange(GRID) + 0.5) / GRID * np.exp(-1.0 / (LONGEST * count))
    lag = np.abs(np.arange(count)[:, None] - np.arange(count)[None, :])
    powers = rho[:, None, None] ** lag
    noise = np.repeat(NOISE, GRID)[:, None, None]
    whole = (1.0 - noise) * np.tile(powers, (len(NOISE), 1, 1)) + noise * np.eye(count)
    inverse = np.linalg.inv(whole)
    log_prior = np.tile(-0.5 * np.log1p(-(rho**2)), len(NOISE))
    return inverse, np.linalg.slogdet(whole)[1], inverse.sum((1, 2)), log_prior


def correlated_quantiles(
    estimate: float,
    draws: Float[np.ndarray, " draw"],
    parts: Float[np.ndarray, " length"],
    index: Int[np.ndarray, "draw length"],
    level: float = LEVEL,
) -> tuple[float, float]:
    """Ends of the interval of drawn estimates, stretched about the estimate to the width that correlation asks for.

    Args:
        estimate: The statistic of the whole series.
        draws: The statistic of each resampled series.
        parts: What each measurement adds to the estimate, to first order, up to a factor and a constant.
        index: The draws, as from `block_indices`.
        level: Share of such intervals that hold the truth.

    Returns:
        Lower and upper end; the estimate lies between them.
    """
    drawn = parts[index].mean(1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    half = 0.5 * float(high - low)
    stretch = max(1.0, correlated_half_width(parts, level) / half) if half > 0 else 1.0
    ends = estimate + stretch * (np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]) - estimate)
    return min(float(ends[0]), estimate), max(float(ends[1]), estimate)


def correlated_interval(
    values: Float[np.ndarray, "length ..."],
    statistic: Callable[[np.ndarray], float],
    rng: np.random.Generator,
    *,
    is_inside: bool = False,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Interval of `statistic(values)`, with measurements along the first axis that are alike where they are close.

    Args:
        values: One row a measurement.
        statistic: Of such rows; smooth, like a mean, a median, or a ratio of sums.
        rng: For the draws.
        is_inside: Whether the statistic of a run lies between its smallest and largest value, as a mean or median does.
        level: Share of such intervals that hold the truth.

    Returns:
        Lower and upper end.
    """
    count, estimate = len(values), statistic(values)
    index = block_indices(count, rng)
    draws = np.array([statistic(values[row]) for row in index])
    if count < FEWEST:
        low, high = percentile_interval(draws, level)
    else:
        kept = ~np.eye(count, dtype=bool)
        parts = _normal_scores(values) if is_inside else -np.array([statistic(values[row]) for row in kept])
        low, high = correlated_quantiles(estimate, draws, parts, index, level)
    if is_inside:
        low, high = max(low, float(values.min())), min(high, float(values.max()))
    return low, high


def _normal_scores(values: Float[np.ndarray, " length"]) -> Float[np.ndarray, " length"]:
    """What a normal variable of the same rank would be; the correlation of a median's parts is that of the values."""
    from scipy.stats import rankdata  # half a second that most commands do not need

    return ndtri((rankdata(values) - 0.5) / len(values))
