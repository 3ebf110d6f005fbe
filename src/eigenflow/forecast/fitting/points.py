"""What a fit takes for the points of a curve: means over windows, and their independent noise."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from eigenflow.forecast.curves import Curve
from eigenflow.forecast.intervals.noise import noise_floor
from eigenflow.forecast.windows import window_starts

__all__ = ["FittedPoints", "fitted_points", "point_noise"]

# Fewer points than this do not tell noise from the bend of the curve.
LEAST_FOR_NOISE = 8
# A beginning is left out up to this share of what was seen at most.
MOST_LEFT_OUT = 0.3


@dataclass(frozen=True)
class FittedPoints:
    """A curve as means over windows.

    Attributes:
        steps: Completed updates, from 1.
        log_losses: ln(loss).
        white: Standard deviation of each mean from noise that is independent from point to point.
    """

    steps: Int[np.ndarray, " window"]
    log_losses: Float[np.ndarray, " window"]
    white: Float[np.ndarray, " window"]


def fitted_points(curve: Curve, first_share: float, points: int) -> FittedPoints:
    """Leave out the beginning of a run, and average the rest in windows.

    Args:
        curve: What was measured.
        first_share: Points before this share of the run are left out: no law holds during warm-up and just after.
        points: Number of windows at most.
    """
    begin = max(min(first_share * curve.schedule.total, MOST_LEFT_OUT * float(curve.steps[-1])), 1)
    late = curve.steps >= begin
    kept = curve.after(int(np.ceil(begin)) - 1) if late.sum() >= 3 else curve.after(0)
    counts = np.ones(len(kept))
    if len(kept) > points:
        counts = np.diff(np.append(window_starts(kept.steps, kept.schedule.rates, points), len(kept)))
    thin = kept.binned(points)
    return FittedPoints(thin.steps, np.log(thin.losses), point_noise(curve) / np.sqrt(counts))


def point_noise(curve: Curve) -> float:
    """Standard deviation of the independent noise of ln(loss) at one point, rounding included.

    Where too few points tell the noise, that of rounding alone: uniform within a quantum, of the lowest loss.
    """
    rounding = curve.rounding / float(curve.losses.min()) / np.sqrt(12.0)
    scatter = noise_floor(curve.steps, curve.losses).sd if len(curve) >= LEAST_FOR_NOISE else 0.0
    return float(max(scatter, rounding))
