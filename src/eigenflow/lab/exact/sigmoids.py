"""How the amplitude of a mode grows in a deep linear network: a' = L a^(2 - 2/L) (s - a), solved for all times.

With one or two layers the solution is elementary. With more, x = a / s and c = L s^(2 - 2/L), the log-odds g =
ln(x / (1 - x)) obey dt = (1 + e^-g)^r dg / c, r = 1 - 2 / L, whose integral is known: a hypergeometric function for
x < 1/2, and a smooth remainder for x > 1/2, where Gaussian quadrature is exact to rounding. Above s the same holds of
h = ln(x / (x - 1)) with a minus. Inverting it costs some Newton steps.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import hyp2f1

from eigenflow.core.errors import ConvergenceError

__all__ = ["deep_amplitudes"]

# The remainders are analytic up to one length of the interval beyond it: an error of 5.8^(-2 x 24).
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
NEWTON = 200


def deep_amplitudes(
    strengths: Float[np.ndarray, " mode"],
    start: Float[np.ndarray, " mode"],
    layers: int,
    times: Float[np.ndarray, " time"],
) -> Float[np.ndarray, "time mode"]:
    """Give a(t).

    Args:
        strengths: s >= 0.
        start: a0 >= 0.
        layers: L >= 1.
        times: Sum of learning rates, >= 0; infinity is allowed.

    Raises:
        ConvergenceError: If Newton's method does not end, which no input is known to cause.
    """
    t = times[:, None]
    if layers == 1:
        return strengths + (start - strengths) * np.exp(-t)
    if layers == 2:
        return _two_layers(strengths, start, t)
    a = np.broadcast_to(start, (len(times), len(start))).copy()
    power = 2.0 - 2.0 / layers
    idle = (strengths == 0) & (start > 0)
    with np.errstate(over="ignore"):
        a[:, idle] = (start[idle] ** -power + (2 * layers - 2) * t) ** (-1 / power)
    for column in np.flatnonzero((strengths > 0) & (start > 0) & (start != strengths)):
        a[:, column] = _of_one(float(strengths[column]), float(start[column]), layers, times)
    return a


def _two_layers(strengths: np.ndarray, start: np.ndarray, t: np.ndarray) -> np.ndarray:
    """1 / a = e^(-2 s t) / a0 + (1 - e^(-2 s t)) / s, of which the last is 2 t at s = 0: no term cancels another."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        exponent = np.where((strengths == 0) & np.isinf(t), 0.0, 2.0 * strengths * t)
        gained = np.where(strengths > 0, -np.expm1(-exponent) / np.where(strengths > 0, strengths, 1.0), 2.0 * t)
        left = np.exp(-exponent)
        # Two forms, so that neither a tiny a0 nor a huge one leaves the range of numbers.
        moved = np.where(start < 1, start / (left + start * gained), 1.0 / (left / start + gained))
    return np.where(start > 0, moved, 0.0)


def _of_one(strength: float, start: float, layers: int, times: np.ndarray) -> np.ndarray:
    """One mode with s > 0 and 0 < a0 != s, at all times."""
    r = 1.0 - 2.0 / layers
    with np.errstate(over="ignore"):
        scaled = layers * np.exp((r + 1.0) * np.log(strength)) * times
    if start < strength:
        begin = np.log(start) - np.log(strength) - np.log1p(-start / strength)
        odds = _advanced(begin, scaled, lambda g: (1.0 + np.exp(-g)) ** r, lambda g: _below(g, r))
        return strength / (1.0 + np.exp(-odds))
    begin = -np.log1p(-strength / start)
    odds = _advanced(begin, scaled, lambda h: (-np.expm1(-h)) ** r, lambda h: _above(h, r))
    return strength / -np.expm1(-odds)


def _advanced(
    begin: float,
    passed: np.ndarray,
    slope: Callable[[np.ndarray], np.ndarray],
    integral: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Where the integral of the slope from `begin` equals the time that has passed.

    Both slopes are monotone, so Newton's method in a bracket ends; far out the slope is 1.
    """
    ends = ~np.isfinite(passed)
    target = integral(np.array([begin]))[0] + np.where(ends, 0.0, passed)
    low = np.full(len(passed), begin)
    high = np.full(len(passed), begin + 1.0)
    for _ in range(NEWTON):
        short = integral(high) < target
        if not short.any():
            break
        low, high = np.where(short, high, low), np.where(short, begin + 2.0 * (high - begin), high)
    x = 0.5 * (low + high)
    for _ in range(NEWTON):
        miss = integral(x) - target
        low, high = np.where(miss <= 0, x, low), np.where(miss > 0, x, high)
        proposed = x - miss / slope(x)
        proposed = np.where((proposed > low) & (proposed < high), proposed, 0.5 * (low + high))
        moved, x = np.abs(proposed - x), proposed
        if (moved <= 4e-16 * np.maximum(1.0, np.abs(x))).all():
            break
    else:
        raise ConvergenceError("An amplitude's Newton steps do not end. Please report the strengths, start and layers.")
    return np.where(ends, np.inf, np.where(passed == 0, begin, x))


def _below(g: np.ndarray, r: float) -> np.ndarray:
    """Integral of (1 + e^-g)^r from 0."""
    with np.errstate(over="ignore"):
        v = np.exp(np.minimum(g, 0.0))
        fallen = (v**-r * hyp2f1(-r, -r, 1.0 - r, -v) - hyp2f1(-r, -r, 1.0 - r, -1.0)) / -r
    low = np.exp(-np.maximum(g, 0.0))
    risen = np.maximum(g, 0.0) + _quadrature(lambda v: ((1.0 + v) ** r - 1.0) / v, low, 1.0)
    return np.where(g < 0, fallen, risen)


def _above(h: np.ndarray, r: float) -> np.ndarray:
    """Integral of (1 - e^-h)^r from 0, for h > 0."""
    y = -np.expm1(-np.minimum(h, np.log(2.0)))
    near = y ** (r + 1.0) / (r + 1.0) * hyp2f1(1.0, r + 1.0, r + 2.0, y)
    low = np.exp(-np.maximum(h, np.log(2.0)))
    far = np.maximum(h, np.log(2.0)) - np.log(2.0) + _quadrature(lambda v: ((1.0 - v) ** r - 1.0) / v, low, 0.5)
    return near + far


def _quadrature(smooth: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: float) -> np.ndarray:
    half = 0.5 * (high - low)
    return half * (smooth(low[:, None] + half[:, None] * (1.0 + _NODES)) @ _WEIGHTS)
