"""Whether a fitted law describes its curves, or merely passes through them."""

import numpy as np
from jaxtyping import Float

__all__ = ["LEAST_MISSED", "MOST_UNEXPLAINED", "describes"]

# More than this share of a curve's own variance of ln(loss) must not be left over, ...
MOST_UNEXPLAINED = 0.25
# ... if what is left over is more than a hundredth of the loss, and three times the noise of the points.
LEAST_MISSED, TIMES_NOISE = 0.01, 3.0
# Fewer points are fitted by nearly anything.
LEAST_POINTS = 4


def describes(
    log_losses: Float[np.ndarray, " window"],
    residuals: Float[np.ndarray, " window"],
    white: Float[np.ndarray, " window"],
) -> bool:
    """Compare what a law leaves over of a curve with how much the curve moves, both without independent noise.

    Args:
        log_losses: ln(loss), as fitted.
        residuals: ln(law) - ln(loss).
        white: Standard deviation of each point from independent noise.
    """
    if len(residuals) < LEAST_POINTS:
        return True
    noise = float(np.mean(white**2))
    missed = float(np.mean(residuals**2)) - noise
    moved = float(np.var(log_losses)) - noise
    is_seen = missed > max(LEAST_MISSED**2, (TIMES_NOISE**2 - 1.0) * noise)
    return not (is_seen and missed > MOST_UNEXPLAINED * max(moved, 0.0))
