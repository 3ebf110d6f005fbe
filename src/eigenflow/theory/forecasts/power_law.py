"""The plainest forecast: the loss goes on as a power of time."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL

__all__ = ["PowerLawForecast", "power_law_forecast"]

MAX_POINTS = 200
MIN_POINTS = 3
# Loss curves bend in log-log, so a short window is the stronger baseline; it grows where points are few.
WINDOW = 2.0


@dataclass(frozen=True)
class PowerLawForecast:
    """L = A t^-a, fitted to the last factor of two of known time.

    Attributes:
        loss: Forecast at the later times.
        lower: Lower end of the 90 % interval of the fitted line (its misfit when extrapolated is not in it).
        upper: Upper end.
        exponent: a.
        points: Log-spaced points behind the fit.
    """

    loss: Float[np.ndarray, " later"]
    lower: Float[np.ndarray, " later"]
    upper: Float[np.ndarray, " later"]
    exponent: float
    points: int


def power_law_forecast(
    times: Float[np.ndarray, " known"],
    losses: Float[np.ndarray, " known"],
    later_times: Float[np.ndarray, " later"],
) -> PowerLawForecast:
    """Fit a straight line to ln L over ln t on the last factor of two of known time, and continue it.

    Args:
        times: Sums of learning rates, increasing.
        losses: Positive losses at those times.
        later_times: Where to forecast.

    Returns:
        The forecast, with the interval of an ordinary least-squares line.

    Raises:
        ArgumentError: If there are fewer than 3 positive losses at positive times.
    """
    is_positive = (times > 0) & (losses > 0)
    if is_positive.sum() < MIN_POINTS:
        raise ArgumentError(
            f"`losses` has {int(is_positive.sum())} positive values at positive times; a power law needs {MIN_POINTS}. "
            f"Log more steps, or cut later."
        )
    x, y = np.log(times[is_positive]), np.log(losses[is_positive])
    start = min(x[-1] - np.log(WINDOW), x[-MIN_POINTS])
    x, y = x[x >= start], y[x >= start]
    # Steps are even in time; the line has to be fitted evenly in ln(time).
    picked = np.unique(np.searchsorted(x, np.linspace(x[0], x[-1], MAX_POINTS)))
    x, y = x[picked], y[picked]
    slope, level = np.polyfit(x, y, 1)
    ahead = np.log(later_times)
    centre = level + slope * ahead
    spread = float(((x - x.mean()) ** 2).sum())
    noise = float(np.sqrt(((y - level - slope * x) ** 2).sum() / max(len(x) - 2, 1)))
    width = (
        noise
        * np.sqrt(1.0 / len(x) + (ahead - x.mean()) ** 2 / spread)
        * stats.t.ppf((1 + LEVEL) / 2, max(len(x) - 2, 1))
    )
    return PowerLawForecast(np.exp(centre), np.exp(centre - width), np.exp(centre + width), -float(slope), len(x))
