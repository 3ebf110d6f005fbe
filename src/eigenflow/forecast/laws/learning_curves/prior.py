"""The prior over learning curves that LC-PFN was trained on: three parametric curves, mixed at random.

    y(x) = w1 (c1 - a1 x^-alpha) + w2 (c2 - a2 / ln(1 + x)) + w3 (a3 - (a3 - b3) exp(-k x^delta)) + noise
           pow3                    ilog2                      janoschek

at positions x = 1 to 100, for a quantity y in [0, 1] that grows. Weights are uniform in [0, 1] (and need not add up to
1), c1 in [0, 1.25], a1 in [-0.6, 0.6], c2 in [0, 1], a2 in [-0.5, 0.5], a3 in [0, 1], b3 in [0, 2]; the logarithms of
alpha, k, delta and of the noise's standard deviation are normal: (0, 2), (-2, 1), (0, 0.5) and (-4, 1). Curves that
leave [0, 1] anywhere, or end no higher than they begin, are excluded.

Of the eleven curves of [@domhan2015speeding] these are the ones kept by [@adriaensen2023efficient], whose code is
followed where the paper differs: the logarithm of the noise's standard deviation, not of its variance, is normal.

Given the shapes (alpha, k, delta) a curve is linear in six amounts, of which only four combinations are seen: those of
1, x^-alpha, 1 / ln(1 + x) and exp(-k x^delta).
"""

import numpy as np
from jaxtyping import Float

__all__ = [
    "AMOUNTS_TO_COEFFICIENTS",
    "AMOUNT_LOWER",
    "AMOUNT_UPPER",
    "NOISE_LOG_MEAN",
    "NOISE_LOG_SD",
    "POSITIONS",
    "SHAPE_LOG_MEANS",
    "SHAPE_LOG_SDS",
    "WEIGHT_OF_AMOUNT",
    "allowed",
    "features",
]

POSITIONS = 100
SHAPE_LOG_MEANS, SHAPE_LOG_SDS = np.array([0.0, -2.0, 0.0]), np.array([2.0, 1.0, 0.5])
NOISE_LOG_MEAN, NOISE_LOG_SD = -4.0, 1.0
# c1, a1, c2, a2, a3, b3 before they are multiplied by their curve's weight; the amounts are the products.
AMOUNT_LOWER = np.array([0.0, -0.6, 0.0, -0.5, 0.0, 0.0])
AMOUNT_UPPER = np.array([1.25, 0.6, 1.0, 0.5, 1.0, 2.0])
WEIGHT_OF_AMOUNT = np.array([0, 0, 1, 1, 2, 2])
AMOUNTS_TO_COEFFICIENTS = np.array(
    [
        [1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
        [0.0, -1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, -1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, -1.0, 1.0],
    ]
)
# exp(-700) is the smallest power that is a normal number; nothing below it is ever seen.
FARTHEST = 700.0


def features(
    positions: Float[np.ndarray, " position"], log_shapes: Float[np.ndarray, "draw 3"]
) -> Float[np.ndarray, "draw position 4"]:
    """Evaluate 1, x^-alpha, 1 / ln(1 + x) and exp(-k x^delta); positions are at least 1."""
    alpha, k, delta = np.exp(log_shapes.T)[:, :, None]
    log_x = np.log(positions)
    found = np.empty((len(log_shapes), len(positions), 4))
    found[..., 0] = 1.0
    found[..., 1] = np.exp(-np.minimum(alpha * log_x, FARTHEST))
    found[..., 2] = 1.0 / np.log1p(positions)
    found[..., 3] = np.exp(-np.minimum(k * np.exp(np.minimum(delta * log_x, FARTHEST)), FARTHEST))
    return found


def allowed(curves: Float[np.ndarray, "draw position"]) -> np.ndarray:
    """Say which curves stay in [0, 1] and end higher than they begin."""
    return (curves.min(axis=1) >= 0.0) & (curves.max(axis=1) <= 1.0) & (curves[:, -1] > curves[:, 0])
