"""How far a predicted loss curve is from the true one."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["CurveScore", "score_curve"]


@dataclass(frozen=True)
class CurveScore:
    """Distance of a predicted loss curve from the truth, in natural logarithms of the loss.

    Attributes:
        rms_log_ratio: Root mean square of ln(predicted / true) over the scored steps.
        final_log_ratio: ln(predicted / true) at the last one; positive where the forecast is too high.
        points: Number of scored steps.
    """

    rms_log_ratio: float
    final_log_ratio: float
    points: int


def score_curve(predicted: Float[np.ndarray, " points"], true: Float[np.ndarray, " points"]) -> CurveScore:
    """Score a forecast; a loss below the smallest float counts as the smallest float."""
    tiny = np.finfo(np.float64).tiny
    ratio = np.log(np.maximum(predicted, tiny)) - np.log(np.maximum(true, tiny))
    return CurveScore(float(np.sqrt(np.mean(ratio**2))), float(ratio[-1]), len(ratio))
