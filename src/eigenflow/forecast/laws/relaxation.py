"""How noise that a learning rate brought in is lost again, and the clock that this runs on: values and derivatives.

Everything here is elementary: jumps and straight pieces of past learning rates add up without quadrature.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["power_age", "relaxed_area", "relaxed_share"]

Array = Float[np.ndarray, "..."]

_SERIES = 1e-4
# The integral of H has a logarithm at b = 1; a series in 1 - 1/b takes over where the quotient loses digits.
_NEAR_ONE = 1e-3


def power_age(log_age: Array, alpha: float) -> tuple[Array, Array]:
    """Evaluate the effective time (X^alpha - 1) / alpha at ln X, and its derivative with respect to alpha.

    ln X at alpha = 0 (relaxation at a frontier that moves like 1 / X), X - 1 at alpha = 1 (the lazy limit). A series
    takes over where the quotient would cancel, with a relative error below 1e-9.
    """
    z = alpha * log_age
    if abs(alpha) < _SERIES:
        return log_age * (1.0 + z / 2.0 + z * z / 6.0), log_age**2 * (0.5 + z / 3.0 + z * z / 8.0)
    value = np.expm1(z) / alpha
    is_small = np.abs(z) < _SERIES
    series = log_age**2 * (0.5 + z / 3.0 + z * z / 8.0)
    return value, np.where(is_small, series, (log_age * np.exp(z) - value) / alpha)


def relaxed_share(elapsed: Array, rate: float, breadth: float) -> tuple[Array, Array, Array, Array]:
    """Evaluate H(u) = 1 - (1 + b r u)^(-1/b): the share of its final effect that a change of rate has had.

    H is the integral of the kernel (1 + C u)^-k of equations/loss_law.md#loss-law-form with C = b r and
    k = 1 + 1/b, divided by its limit; b = 0 is one exponential, 1 - exp(-r u).

    Args:
        elapsed: Effective time u >= 0 since the change.
        rate: r, the slope of H at u = 0.
        breadth: b > 0.

    Returns:
        H and its derivatives with respect to u, ln(r) and ln(b).
    """
    v = rate * elapsed
    w = breadth * v
    log1p = np.log1p(w)
    left = np.exp(log1p * (-1.0 / breadth))
    slope = left / (1.0 + w)
    return 1.0 - left, rate * slope, v * slope, -left * (log1p / breadth - v / (1.0 + w))


def relaxed_area(elapsed: Array, rate: float, breadth: float) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
    """Evaluate H as in `relaxed_share`, and its integral G from 0 to u: the effect of a rate that changes steadily.

    G(u) = u - [(1 + b r u)^(1 - 1/b) - 1] / (r (b - 1)); its derivative with respect to u is H, and that with
    respect to ln(r) is u H - G.

    Returns:
        H with its derivatives with respect to u and ln(b); G with its derivative with respect to ln(b).
    """
    v = rate * elapsed
    w = breadth * v
    log1p = np.log1p(w)
    left = np.exp(log1p * (-1.0 / breadth))
    share, slope = 1.0 - left, rate * left / (1.0 + w)
    share_by_breadth = -left * (log1p / breadth - v / (1.0 + w))
    e = 1.0 - 1.0 / breadth
    if abs(e) < _NEAR_ONE:
        z = e * log1p
        power = log1p * (1.0 + z / 2.0 + z**2 / 6.0 + z**3 / 24.0)
        by_exponent = log1p**2 * (0.5 + z / 3.0 + z**2 / 8.0 + z**3 / 30.0)
    else:
        grown = (1.0 + w) * left
        power = (grown - 1.0) / e
        by_exponent = (log1p * grown - power) / e
    kept = power / (breadth * rate)
    area_by_breadth = kept - elapsed * left - by_exponent / (breadth**2 * rate)
    return (share, slope, share_by_breadth), (elapsed - kept, area_by_breadth)
