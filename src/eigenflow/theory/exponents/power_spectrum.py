"""Source and capacity exponents of a piece of a spectrum, with intervals.

In a window of modes the eigenvalues fall with their rank, lambda ~ rank^-capacity, and the energy of a mode is a random
number whose mean follows its eigenvalue, g^2 ~ lambda^delta. Then the energy below lambda goes as lambda^source with
source = delta - 1 / capacity, and the loss of a fixed spectrum as t^-source
(equations/exponents.md#lazy-exponent).

delta is fitted by quasi-likelihood with the variance in proportion to the squared mean, as squares of Gaussian
coefficients have; logarithms of single squares would scatter 2.5 times as much. Intervals are from the jackknife over
blocks of neighbouring modes, which are alike.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL

__all__ = ["BLOCKS", "MIN_MODES", "SpectrumPower", "fitted_means", "spectrum_power"]

BLOCKS = 10
MIN_MODES = 30
ITERATIONS = 40


@dataclass(frozen=True)
class SpectrumPower:
    """Exponents of a window of modes.

    Attributes:
        capacity: Of lambda ~ rank^-capacity.
        capacity_draws: The same without one block of modes each.
        source: Of the energy below lambda, ~ lambda^source.
        source_draws: The same without one block of modes each.
        tail: Energy that the power puts below the lowest mode of the window.
        means: Energy that it puts into each mode of the window.
        modes: Modes in the window.
    """

    capacity: float
    capacity_draws: Float[np.ndarray, " block"]
    source: float
    source_draws: Float[np.ndarray, " block"]
    tail: float
    means: Float[np.ndarray, " mode"]
    modes: int

    @property
    def capacity_interval(self) -> tuple[float, float]:
        """90 % interval."""
        return interval_of(self.capacity, self.capacity_draws)

    @property
    def source_interval(self) -> tuple[float, float]:
        """90 % interval."""
        return interval_of(self.source, self.source_draws)


def spectrum_power(
    ranks: Float[np.ndarray, " mode"], eigenvalues: Float[np.ndarray, " mode"], squares: Float[np.ndarray, " mode"]
) -> SpectrumPower:
    """Fit both exponents to a window of modes.

    Args:
        ranks: Positions in the whole spectrum, from 1.
        eigenvalues: Positive, decreasing, 1 / time.
        squares: Their energies, not negative.

    Raises:
        ArgumentError: If there are fewer than 30 modes, or their eigenvalues are all alike.
    """
    count = len(ranks)
    if count < MIN_MODES or not eigenvalues[0] > 1.05 * eigenvalues[-1]:
        raise ArgumentError(
            f"`eigenvalues` has {count} modes between {eigenvalues[-1] if count else 0:.3g} and "
            f"{eigenvalues[0] if count else 0:.3g}; exponents need {MIN_MODES} over some range. "
            f"Use more probe samples, or a wider window."
        )
    kept = np.ones((BLOCKS + 1, count))
    for block, members in enumerate(np.array_split(np.arange(count), BLOCKS)):
        kept[block + 1, members] = 0.0
    x = np.log(eigenvalues)
    capacities = -_slopes(kept, np.log(ranks), x)
    middle = float(x.mean())
    offset, delta = _quasi_likelihood(kept, x - middle, squares)
    sources = delta - 1.0 / capacities
    # Energy per mode times modes per ln(lambda), integrated from zero to the lowest mode of the window.
    lowest = float(x[-1])
    density = np.exp(offset[0] + delta[0] * (lowest - middle)) * ranks[-1] / capacities[0]
    tail = float(density / sources[0]) if sources[0] > 0 else np.inf
    means = np.exp(offset[0] + delta[0] * (x - middle))
    return SpectrumPower(float(capacities[0]), capacities[1:], float(sources[0]), sources[1:], tail, means, count)


def fitted_means(shape: Float[np.ndarray, " mode"], squares: Float[np.ndarray, " mode"]) -> Float[np.ndarray, " mode"]:
    """Mean energies exp(offset + slope shape), by quasi-likelihood.

    Args:
        shape: What their logarithm is linear in.
        squares: Energies.

    Returns:
        The fitted mean of each mode.
    """
    x = (shape - shape.mean()) / max(float(shape.std()), np.finfo(np.float64).tiny)
    offset, slope = _quasi_likelihood(np.ones((1, len(x))), x, squares)
    return np.exp(offset[0] + slope[0] * x)


def interval_of(value: float, draws: np.ndarray) -> tuple[float, float]:
    """90 % interval from the jackknife over blocks; wider by Student's factor for few blocks."""
    half = half_width(draws)
    return value - half, value + half


def half_width(draws: Float[np.ndarray, " block"]) -> float:
    """Half the length of that interval."""
    count = len(draws)
    error = np.sqrt((count - 1) / count * ((draws - draws.mean()) ** 2).sum())
    return float(stdtrit(count - 1, (1 + LEVEL) / 2) * error)


def _slopes(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, " row"]:
    """Weighted least-squares slopes, one for each row of weights."""
    centred = x - (weights @ x / weights.sum(1))[:, None]
    return (weights * centred) @ y / (weights * centred**2).sum(1)


def _quasi_likelihood(
    weights: Float[np.ndarray, "row mode"], x: Float[np.ndarray, " mode"], squares: Float[np.ndarray, "*row mode"]
) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    """Minimise sum w (y / mu + ln mu), mu = exp(offset + delta x), for each row of weights; convex, by Newton."""
    scale = squares.mean()
    y = squares / scale
    offset, delta = _start(weights, x, y)
    for _ in range(ITERATIONS):
        ratio = weights * y * np.exp(-np.clip(offset[:, None] + delta[:, None] * x, -700, 700))
        gradient = np.stack([weights.sum(1) - ratio.sum(1), weights @ x - ratio @ x])
        a, b, c = ratio.sum(1), ratio @ x, ratio @ x**2
        # A floor under the curvature keeps the first steps finite where the start is far off.
        determinant = np.maximum(a * c - b**2, 1e-12 * (a * c + 1e-300))
        step = np.stack([c * gradient[0] - b * gradient[1], a * gradient[1] - b * gradient[0]]) / determinant
        step = np.clip(step, -1.0, 1.0)
        offset, delta = offset - step[0], delta - step[1]
        if np.abs(step).max() < 1e-10:
            break
    return offset + np.log(scale), delta


def _start(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A line through ln(mean energy) of six groups of modes; of the mean of all rows, where each has its energies."""
    y = y if y.ndim == 1 else y.mean(0)
    groups = [g for g in np.array_split(np.arange(len(x)), 6) if y[g].any()]
    if len(groups) < 2:
        return np.zeros(len(weights)), np.zeros(len(weights))
    places = np.array([x[g].mean() for g in groups])
    delta, offset = np.polyfit(places, np.log([y[g].mean() for g in groups]), 1)
    return np.full(len(weights), offset), np.full(len(weights), delta)
