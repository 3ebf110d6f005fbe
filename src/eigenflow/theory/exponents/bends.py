"""Is a piece of a spectrum one power law? How much its local exponent changes from one half to the other.

A power law is a line in logarithms. The rivals that matter for a forecast (a broken power, a stretched exponential, a
lognormal, a rounded corner) all bend, and what hurts is how much. So the logarithm gets a quadratic term over the
logarithm of rank, and the bend is the difference of the local exponents at the middles of the lower and the upper half
of the window.

Eigenvalues scatter little: a fit that weighs all ranks alike in the logarithm, with the scatter told from second
differences of neighbours, and three times as much allowed, as neighbours are alike. Energies scatter by their own size:
quasi-likelihood with the variance in proportion to the squared mean, the factor estimated.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from eigenflow.core.resampling import LEVEL
from eigenflow.theory.exponents.ranges import ExponentRange

__all__ = ["HIDDEN", "TOLERANCE", "bend_of_eigenvalues", "bend_of_energies", "gamma_curve", "verdict_of"]

# A bend of a local exponent that is called none, as a share of the exponent,
TOLERANCE = 0.15
# and the one that chance may hide without the modes being too few to tell.
HIDDEN = 0.5
ITERATIONS = 60
ALIKE = 3.0
Z90 = 1.6448536269514722


def bend_of_eigenvalues(ranks: Float[np.ndarray, " mode"], eigenvalues: Float[np.ndarray, " mode"]) -> ExponentRange:
    """Change of the capacity over half the window (in ln rank), relative to the capacity.

    Args:
        ranks: Positions in the whole spectrum, increasing.
        eigenvalues: Positive, decreasing, not all alike.
    """
    design, weights, y = _design(_scaled(ranks)), 1.0 / ranks, np.log(eigenvalues)
    inverse = np.linalg.inv((design * weights) @ design.T)
    found = inverse @ (design * weights) @ y
    # What is no smooth curve from mode to mode is chance; what is smooth and no line is a bend.
    noise = float(((y[2:] - 2.0 * y[1:-1] + y[:-2]) ** 2).mean()) / 6.0
    variance = noise * (inverse @ ((design * weights**2) @ design.T) @ inverse)[2, 2]
    half = 2.0 * ALIKE * Z90 * float(np.sqrt(variance)) / abs(float(found[1]))
    bend = 2.0 * float(found[2] / found[1])
    return ExponentRange(bend, bend - half, bend + half)


def bend_of_energies(ranks: Float[np.ndarray, " mode"], squares: Float[np.ndarray, " mode"]) -> ExponentRange:
    """Change of the exponent of single energies in their rank, relative to it, or to 1 where it is smaller.

    Args:
        ranks: Positions in the whole spectrum, increasing.
        squares: Energies, not all zero.
    """
    z = _scaled(ranks)
    design = _design(z)
    found = gamma_curve(design, squares)
    ratio = squares / squares.mean() * np.exp(-np.clip(found @ design, -700, 700))
    freedom = len(z) - len(design)
    spread = float(((ratio - 1.0) ** 2).sum()) / freedom
    error = np.sqrt(spread * np.linalg.inv(design @ design.T)[2, 2])
    unit = max(abs(float(found[1])), 0.5 * float(np.log(ranks[-1] / ranks[0])))
    bend = -2.0 * float(found[2]) / unit
    half = 2.0 * float(stdtrit(freedom, (1 + LEVEL) / 2) * error) / unit
    return ExponentRange(bend, bend - half, bend + half)


def verdict_of(bend: ExponentRange) -> Literal["straight", "bent", "unclear"]:
    """Judge a relative bend: "bent" if beyond chance and tolerance, "unclear" if chance could hide a large one."""
    if abs(bend.value) > TOLERANCE and (bend.lower > 0 or bend.upper < 0):
        return "bent"
    return "unclear" if bend.half_width > HIDDEN else "straight"


def _scaled(ranks: Float[np.ndarray, " mode"]) -> Float[np.ndarray, " mode"]:
    """The logarithm of rank, from -1 to 1."""
    x = np.log(ranks)
    return (2.0 * x - x[0] - x[-1]) / (x[-1] - x[0])


def _design(z: Float[np.ndarray, " mode"]) -> Float[np.ndarray, "term mode"]:
    """The slope of 1, z, z^2 at the middles of the halves, z = -1/2 and 1/2, is c1 - c2 and c1 + c2."""
    return np.stack([np.ones_like(z), z, z**2])


def gamma_curve(
    design: Float[np.ndarray, "term mode"], squares: Float[np.ndarray, " mode"]
) -> Float[np.ndarray, " term"]:
    """Minimise sum of y / mu + ln mu with ln mu = coefficients @ design; convex, by Newton with bounded steps.

    Args:
        design: 1, something increasing or decreasing, and what else is fitted; centred, so that steps stay bounded.
        squares: Numbers >= 0 that scatter by their own size, not all 0.

    Returns:
        Coefficients for the logarithm of `squares` over their mean.
    """
    y = squares / squares.mean()
    groups = [g for g in np.array_split(np.arange(len(y)), 8) if y[g].any()]
    places = np.stack([design[:2, g].mean(1) for g in groups])
    start = np.linalg.lstsq(places, np.log([y[g].mean() for g in groups]), rcond=None)[0]
    found = np.concatenate([start, np.zeros(len(design) - 2)])
    for _ in range(ITERATIONS):
        ratio = y * np.exp(-np.clip(found @ design, -700, 700))
        curvature = (design * ratio) @ design.T
        curvature += (1e-9 * np.trace(curvature) + 1e-300) * np.eye(len(found))
        step = np.clip(np.linalg.solve(curvature, design @ (1.0 - ratio)), -1.0, 1.0)
        found = found - step
        if np.abs(step).max() < 1e-9:
            break
    return found
