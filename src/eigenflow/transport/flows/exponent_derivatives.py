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

from eigenflow.transport.flows.flow import Dissipation, Flow, rate_of
from eigenflow.transport.flows.path_quadrature import along_time, time_panels
from eigenflow.transport.flows.paths import exp_ratio, fall, panel_rule

__all__ = ["exponent_derivatives", "fall_by_exponent"]

Array = Float[np.ndarray, "..."]

_NODES, _WEIGHTS = panel_rule(12)
# Central differences of eighth order in ln(lambda): truncation and rounding are both near 1e-14.
_STENCIL = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
_SPACING = 0.02
# (z - 1 + e^-z) / z^2 = sum of (-z)^k / (k + 2)!, summed below this |z|, where the formula cancels.
_SMALL = 1.0
_SERIES = 1.0 / np.cumprod(np.concatenate([[2.0], np.arange(3.0, 22.0)]))


def fall_by_exponent(log_start: Array, drop: Array, b: float) -> Array:
    """Give d' = d(fall)/db at fixed departure and accumulated drift, for a fall that is finite."""
    z = (b - 1.0) * drop
    return log_start * drop * exp_ratio(z) - drop**2 * _second_ratio(z)


def exponent_derivatives(flow: Flow, log_start: Float[np.ndarray, " mode"], time: float) -> tuple[Array, Array]:
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
    slope = _log_slope(flow.dissipation)
    if flow.table is None:
        return _along_fall(flow, slope, log_start, time)
    return _along_clock(flow, slope, log_start, time)


def _second_ratio(z: Array) -> Array:
    """Give (z - 1 + exp(-z)) / z^2, which is 1/2 at z = 0."""
    is_small = np.abs(z) < _SMALL
    near, far = np.where(is_small, z, 0.0), np.where(is_small, 1.0, z)
    return np.where(is_small, np.polynomial.polynomial.polyval(-near, _SERIES), (far + np.expm1(-far)) / far**2)


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


def _along_fall(flow: Flow, slope: Callable, log_start: Array, time: float) -> tuple[Array, Array]:
    """Constant c: the variable is the share y of the fall, so dt = stretch e^(a d y) dy."""
    a = flow.b - 1.0
    drop, slowing = fall(log_start, np.array(flow.c * time), flow.b)
    stretch = time * slowing
    panels = int(np.ceil(max(1.0, np.abs(drop).max() * max(1.0, abs(a)))))
    by_strength, by_exponent = np.zeros(log_start.shape), np.zeros(log_start.shape)
    for panel in range(panels):
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            share = (panel + 0.5 * (1.0 + node)) / panels
            fallen = drop * share
            x = log_start - fallen
            pull = slope(x) * stretch * np.exp(a * fallen) * (0.5 * weight / panels)
            elapsed = stretch * share * exp_ratio(-a * fallen)
            by_strength -= pull * np.exp(a * x) * elapsed
            by_exponent -= pull * fall_by_exponent(log_start, fallen, flow.b)
    return by_strength, by_exponent


def _along_clock(flow: Flow, slope: Callable, log_start: Array, time: float) -> tuple[Array, Array]:
    """Quadrature in time; with c times a factor, the derivative of C by that factor is C itself."""
    assert flow.table is not None
    inner = np.concatenate([flow.table.edges, flow.turning_times])
    inner = inner[(inner > 1e-15 * time) & (inner < time)]
    breaks = np.unique(np.concatenate([[0.0], inner, [time]]))
    ends = np.array([log_start.min(), log_start.max()])
    left, right = time_panels(flow.accumulated, breaks, ends, flow.b)
    start = log_start[:, None]

    def integrand(accumulated: Array) -> Array:
        drop = fall(start, accumulated, flow.b)[0]
        x = start - drop
        pull = slope(x)
        by_strength = -pull * np.exp((flow.b - 1.0) * x) * accumulated
        return np.stack([by_strength, -pull * fall_by_exponent(start, drop, flow.b)])

    parts = along_time(flow.accumulated, left, right, integrand).sum(axis=-1)
    return parts[0], parts[1]
