"""How the attenuation exponent of a mode changes with the strength and the exponent of the drift.

With a = b - 1 and d the fall of x = ln(lambda) along a characteristic, at a fixed departure x0,

    dx/dC = -lambda^a,    dx/db = -d' with d' = x0 (1 - e^(-a d)) / a + (1 - e^(-a d) - a d) / a^2,

and the exponent Q, the integral over time of the rate r, changes by the integral of (dr/dx) dx. Both
are integrated by Gauss-Legendre in variables in which nothing cancels at b = 1, b = 2 or c = 0: the
fall at constant c, time on short panels for c(t).
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from eigenflow.transport.flows.flow import AbstractFlow, Dissipation, rate_of

__all__ = ["exponent_derivatives"]

Array = Float[np.ndarray, "..."]

# Central differences of eighth order in ln(lambda): truncation and rounding are both near 1e-14.
_STENCIL = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
_SPACING = 0.02


def exponent_derivatives(flow: AbstractFlow, log_start: Float[np.ndarray, " mode"], time: float) -> tuple[Array, Array]:
    """Differentiate the exponent Q at `time` of modes that are still inside the domain then.

    Args:
        flow: Drift and dissipation, prepared at least up to `time`.
        log_start: ln(lambda) at t = 0; none of these paths has ended by `time`.
        time: Not negative.

    Returns:
        dQ/dc (for a function c(t), with respect to a factor on it) and dQ/db, shape (mode,).
    """
    if time == 0 or not len(log_start):
        return np.zeros(log_start.shape), np.zeros(log_start.shape)
    return flow.exponent_derivatives(_log_slope(flow.dissipation), log_start, time)


def _log_slope(dissipation: Dissipation) -> Callable[[Array], Array]:
    """Give the derivative of the rate with respect to x = ln(lambda), as a function of x."""
    rate = rate_of(dissipation)
    if not callable(dissipation):
        return lambda x: rate(np.exp(x))

    def slope(x: Array) -> Array:
        terms = (
            factor * (rate(np.exp(x + k * _SPACING)) - rate(np.exp(x - k * _SPACING)))
            for k, factor in enumerate(_STENCIL, start=1)
        )
        return sum(terms, start=np.zeros(x.shape)) / _SPACING

    return slope
