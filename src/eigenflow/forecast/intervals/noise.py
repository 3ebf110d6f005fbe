"""The noise floor of a loss curve, and how far two runs of one setting lie apart: what no forecast can beat."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError

__all__ = ["NoiseFloor", "RepeatSpread", "correlation_length", "noise_floor", "repeat_spread"]

Points = Float[np.ndarray, " point"]
# Median absolute deviation of a normal law of standard deviation 1.
NORMAL_DEVIATION = 0.6744897501960817
ORDERS = (2, 3, 4)


@dataclass(frozen=True, repr=False)
class NoiseFloor(FieldsPrinted):
    """Scatter of neighbouring points around a smooth curve, in ln(loss) (0.001 is about 0.1 % of the loss).

    Attributes:
        sd: Standard deviation of one point's noise; what is correlated over many points is not in it.
        points: Interior points behind it.
    """

    sd: float
    points: int


@dataclass(frozen=True, repr=False)
class RepeatSpread(FieldsPrinted):
    """Difference of runs that share everything but the seed, in ln(loss).

    Attributes:
        sd: Standard deviation of one run around the common curve, points' own noise included.
        final: The same at the last common step.
        runs: Number of runs.
        settings: Number of settings that were run more than once.
    """

    sd: float
    final: float
    runs: int
    settings: int


def noise_floor(steps: Real[np.ndarray, " point"], losses: Points) -> NoiseFloor:
    """Estimate point noise from the distance of every point to the polynomial in ln(step) through its neighbours.

    White noise of variance s^2 gives the divided difference of any order the variance s^2 times the sum of its squared
    coefficients; what is smooth drops out the more, the higher the order. Of the orders two to four (as far as there
    are twice as many points) the smallest estimate stands. The spread is the median absolute value, so that spikes and
    jumps of the learning rate do not count.

    Raises:
        ArgumentError: If there are fewer than 5 points.
    """
    if len(steps) < 5:
        raise ArgumentError(f"A noise floor needs 5 points or more, but the curve has {len(steps)}.")
    x, y = np.log(np.maximum(steps, 1)), np.log(losses)
    orders = [order for order in ORDERS if order == 2 or len(x) >= 2 * (order + 1)]
    found = [_difference_scale(x, y, order) for order in orders]
    return NoiseFloor(min(found), len(steps) - 2)


def _difference_scale(x: Points, y: Points, order: int) -> float:
    """Typical divided difference of one order, in units of what white noise of unit variance would give."""
    places = np.lib.stride_tricks.sliding_window_view(x, order + 1)
    values = np.lib.stride_tricks.sliding_window_view(y, order + 1)
    apart = places[:, :, None] - places[:, None, :] + np.eye(order + 1)
    # The unit of ln(step) drops out; the smallest distance keeps products from running out of range.
    scale = np.maximum(np.abs(apart).max(axis=(1, 2), keepdims=True), 1e-300)
    weights = 1.0 / np.maximum(np.abs(np.prod(apart / scale, axis=2)), 1e-300)
    weights *= np.where(np.arange(order + 1) % 2 == 0, 1.0, -1.0)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return float(np.median(np.abs((weights * values).sum(axis=1)))) / NORMAL_DEVIATION


def correlation_length(residuals: Points) -> float:
    """Give the number of neighbouring points that count as one: (1 + r) / (1 - r), r the lag-one correlation.

    Exact for a first-order autoregressive sequence; at least 1, and at most the number of points.
    """
    centred = residuals - residuals.mean()
    power = float(centred @ centred)
    if power == 0.0 or len(residuals) < 3:
        return 1.0
    # The sample correlation is low by about (1 + 4 r) / n (Kendall).
    raw = float(centred[1:] @ centred[:-1]) / power
    r = min(max(raw + (1 + 4 * max(raw, 0.0)) / len(residuals), 0.0), 0.999)
    return float(min((1 + r) / (1 - r), len(residuals)))


def repeat_spread(repeats: Sequence[Sequence[tuple[Real[np.ndarray, " _"], Float[np.ndarray, " _"]]]]) -> RepeatSpread:
    """Measure the spread between runs of the same setting.

    Args:
        repeats: For every setting, the runs as (steps, losses); settings with one run add nothing.

    Raises:
        ArgumentError: If no setting was run twice.
    """
    squares, finals, freedom, runs = [], 0.0, 0, 0
    several = [setting for setting in repeats if len(setting) > 1]
    if not several:
        raise ArgumentError("`repeats` has no setting with two runs; a spread between runs needs one.")
    for setting in several:
        grid = setting[0][0]
        inside = (grid >= max(steps[0] for steps, _ in setting)) & (grid <= min(steps[-1] for steps, _ in setting))
        values = np.stack([np.interp(grid[inside], steps, np.log(losses)) for steps, losses in setting])
        deviation = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
        squares.append((deviation.mean(), len(setting) - 1))
        finals += float(deviation[-1])
        freedom += len(setting) - 1
        runs += len(setting)
    total = sum(square for square, _ in squares)
    return RepeatSpread(float(np.sqrt(total / freedom)), float(np.sqrt(finals / freedom)), runs, len(several))
