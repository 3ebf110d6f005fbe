"""Characteristics of v = -c(t) lambda^b in x = ln(lambda), free of cancellation.

With a = b - 1, the accumulated drift C and w = a C lambda0^a, the log eigenvalue falls by
d = log(1 + w) / a, which is C lambda0^a at b = 1. A path that ends (1 + w <= 0) has reached zero
(b < 1, d = +inf) or escaped to infinity (b > 1, d = -inf). All maps go backwards with -C.

Reference: equations/solutions.md#closed-solutions (method of characteristics).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from eigenflow.core.limits import spend

__all__ = ["Values", "accumulated_for_fall", "exp_ratio", "fall", "fall_by_exponent", "log1p_ratio", "panel_rule"]

Array = Float[np.ndarray, "..."]
# What a user may pass for numbers. numpy's ArrayLike is not understood by beartype 0.23.
Values = float | int | np.ndarray | Sequence

# Beyond this w, log1p(w) = log(w) + 1/w to all digits, and w itself may overflow.
_LARGE = 1e8
# (z - 1 + e^-z) / z^2 = sum of (-z)^k / (k + 2)!, summed below this |z|, where the formula cancels.
_SMALL = 1.0
_SERIES = 1.0 / np.cumprod(np.concatenate([[2.0], np.arange(3.0, 22.0)]))
# A call of numpy on few numbers, in units of `spend`.
_CALL = 100.0


def log1p_ratio(w: Array) -> Array:
    """Give log(1 + w) / w, which is 1 at w = 0."""
    is_zero = w == 0
    return np.where(is_zero, 1.0, np.log1p(w) / np.where(is_zero, 1.0, w))


def exp_ratio(y: Array) -> Array:
    """Give (1 - exp(-y)) / y, which is 1 at y = 0."""
    is_zero = y == 0
    return np.where(is_zero, 1.0, -np.expm1(-y) / np.where(is_zero, 1.0, y))


def fall(log_start: Array, accumulated: Array, b: float) -> tuple[Array, Array]:
    """Say how far ln(lambda) falls while the drift accumulates C.

    Args:
        log_start: ln(lambda0), broadcast against `accumulated`.
        accumulated: C, the integral of c over the time that passes; negative when going back.
        b: Exponent of the drift.

    Returns:
        The fall d = ln(lambda0) - ln(lambda), and d / (C lambda0^a), the mean slowing down
        log(1 + w) / w, which is regular where C or b - 1 vanishes.
    """
    a = b - 1.0
    with np.errstate(all="ignore"):
        speed = accumulated * np.exp(a * log_start)
        spend(_CALL + speed.size)
        if a == 0:
            return speed, np.ones_like(speed)
        w = a * speed
        slowing = log1p_ratio(w)
        drop = speed * slowing
        if not np.all((w > -1.0) & (w < _LARGE)):
            far = (np.log(np.abs(a * accumulated)) + a * log_start + 1.0 / w) / a
            drop = np.where(w >= _LARGE, far, drop)
            slowing = np.where(w >= _LARGE, far / speed, slowing)
            ended = w <= -1.0
            drop = np.where(ended, -np.sign(a) * np.inf, drop)
            slowing = np.where(ended, np.inf, slowing)
    return drop, slowing


def accumulated_for_fall(log_start: Array, drop: Array, b: float) -> Array:
    """Give the accumulated drift C that makes ln(lambda) fall by a given, finite amount."""
    a = b - 1.0
    return drop * exp_ratio(-a * drop) * np.exp(-a * log_start)


def fall_by_exponent(log_start: Array, drop: Array, b: float) -> Array:
    """Give d' = d(fall)/db at fixed departure and accumulated drift, for a fall that is finite."""
    z = (b - 1.0) * drop
    return log_start * drop * exp_ratio(z) - drop**2 * _second_ratio(z)


def _second_ratio(z: Array) -> Array:
    """Give (z - 1 + exp(-z)) / z^2, which is 1/2 at z = 0."""
    is_small = np.abs(z) < _SMALL
    near, far = np.where(is_small, z, 0.0), np.where(is_small, 1.0, z)
    return np.where(is_small, np.polynomial.polynomial.polyval(-near, _SERIES), (far + np.expm1(-far)) / far**2)


@lru_cache
def panel_rule(num_nodes: int) -> tuple[Float[np.ndarray, " node"], Float[np.ndarray, " node"]]:
    """Give Gauss-Legendre nodes and weights on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    # They are shared by all callers.
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights
