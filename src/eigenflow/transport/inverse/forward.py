"""Shell energies that a start, a strength and a shape of the velocity make: exact transport.

The start is exp of a natural cubic spline in x = ln(lambda), so it is positive. Every shell at every
time is integrated over its interval of departures, each damped on its own characteristic, so energy
is neither made nor lost by the discretisation, only by dissipation and through the ends.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from eigenflow.transport.flows.flow import Dissipation, rate_of
from eigenflow.transport.flows.paths import exp_ratio, fall, panel_rule
from eigenflow.transport.inverse.clock import Clock
from eigenflow.transport.inverse.speed import PowerShape, Shape

__all__ = ["Forward", "Prediction", "closed_exponent", "departure_nodes", "exponents"]

Array = Float[np.ndarray, "..."]

_NODES, _WEIGHTS = panel_rule(6)
_LONGEST = 1.2  # departure intervals longer than this, in ln(lambda), are divided
_MOST_PANELS = 6


@dataclass(frozen=True)
class Prediction:
    """Energies and fluxes of one setting, and how they answer to the start's spline coefficients."""

    energies: Float[np.ndarray, "time shell"]
    flux: Float[np.ndarray, "time edge"]
    energies_by_start: Float[np.ndarray, "time shell knot"]
    flux_by_start: Float[np.ndarray, "time edge knot"]


class Forward:
    """The map from a start, strength factors and a shape to shell energies."""

    def __init__(self, log_edges: Array, centres: Array, clock: Clock, dissipation: Dissipation) -> None:
        self.log_edges, self.clock, self.dissipation = log_edges, clock, dissipation
        knots = centres if len(centres) > 1 else log_edges
        self.num_knots = len(knots)
        self._knots = knots
        self._basis = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")

    def start_basis(self, x: Array) -> Float[np.ndarray, "... knot"]:
        """The derivatives of `log_start` by its coefficients."""
        return self._straight_beyond(self._basis, x)

    def log_start(self, coefficients: Array, x: Array) -> Array:
        """ln(density per unit x) of the start; a straight line beyond the outermost knots."""
        return self._straight_beyond(CubicSpline(self._knots, coefficients, bc_type="natural"), x)

    def _straight_beyond(self, spline: CubicSpline, x: Array) -> Array:
        ends = self._knots[[0, -1]]
        slopes = spline(ends, 1)
        extra = (1,) * (slopes.ndim - 1)
        below, above = np.minimum(x - ends[0], 0.0), np.maximum(x - ends[1], 0.0)
        shape = (*x.shape, *extra)
        return spline(np.clip(x, *ends)) + below.reshape(shape) * slopes[0] + above.reshape(shape) * slopes[1]

    def __call__(self, start: Array, factors: Array, shape: Shape, *, with_derivatives: bool = True) -> Prediction:
        """Predict shell energies (time, shell) and downward fluxes (time, edge)."""
        clock = self.clock
        accumulated = (clock.accumulated @ factors)[:, None]
        low, high = self.log_edges[0], self.log_edges[-1]
        departures = shape.position(self.log_edges[None, :], -accumulated)
        inside = (departures >= low) & (departures <= high)
        departures = np.clip(departures, low, high)
        x, weights = departure_nodes(departures)
        count = x.shape[2]
        flat = np.concatenate([x.reshape(len(clock.elapsed), -1), departures], axis=1)
        with np.errstate(over="ignore"):
            logs = np.minimum(self.log_start(start, flat), 600.0)
            kept = np.exp(logs - exponents(clock, factors, shape, self.dissipation, flat))
        split = x.shape[1] * count
        carried = kept[:, :split].reshape(x.shape) * weights
        pace = (clock.strength @ factors)[:, None] * np.exp(np.minimum(shape.log_speed(departures), 600.0))
        flux = np.where(inside, pace * kept[:, split:], 0.0)
        if not with_derivatives:
            return Prediction(carried.sum(2), flux, np.zeros((*x.shape[:2], 0)), np.zeros((*flux.shape, 0)))
        basis = self.start_basis(flat)
        by_start = np.einsum("tiq,tiqk->tik", carried, basis[:, :split].reshape(*x.shape, -1))
        return Prediction(carried.sum(2), flux, by_start, flux[..., None] * basis[:, split:])


def departure_nodes(edges: Float[np.ndarray, "time edge"]) -> tuple[Array, Array]:
    """Gauss-Legendre on every interval; all are divided as often as the longest needs it."""
    width = np.diff(edges, axis=1)
    panels = int(np.clip(np.ceil(width.max() / _LONGEST), 1, _MOST_PANELS))
    offsets = (np.arange(panels)[:, None] + 0.5 * (1.0 + _NODES)).ravel() / panels
    x = edges[:, :-1, None] + width[..., None] * offsets
    return x, width[..., None] * np.tile(0.5 * _WEIGHTS / panels, panels)


def exponents(
    clock: Clock, factors: Array, shape: Shape, dissipation: Dissipation, x: Float[np.ndarray, "time place"]
) -> Float[np.ndarray, "time place"]:
    """Integrate the dissipation rate along the paths that depart at x, up to the time of each row."""
    if clock.is_constant and isinstance(shape, PowerShape) and not callable(dissipation):
        accumulated = clock.accumulated @ factors
        return closed_exponent(shape, dissipation, x, accumulated[:, None], clock.elapsed[:, None])
    rate: Callable = rate_of(dissipation)
    result = np.zeros(x.shape)
    passed = clock.node_accumulated @ factors
    for interval in range(len(clock.elapsed) - 1):
        members = np.flatnonzero(clock.interval == interval)
        later = x[interval + 1 :]
        for node in members:
            here = np.clip(shape.position(later, passed[node : node + 1]), -600.0, 600.0)
            result[interval + 1 :] += clock.node_weights[node] * rate(np.exp(here))
    return result


def closed_exponent(shape: PowerShape, factor: float, x: Array, accumulated: Array, elapsed: Array) -> Array:
    """The exponent for a power law of constant strength (equations/solutions.md#closed-solutions)."""
    drop, slowing = fall(x - shape.reference, accumulated, shape.b)
    ended = ~np.isfinite(drop)
    drop, slowing = np.where(ended, 0.0, drop), np.where(ended, 0.0, slowing)
    with np.errstate(over="ignore"):
        value = factor * np.exp(x) * elapsed * slowing * exp_ratio((2.0 - shape.b) * drop)
    # Ended paths lie outside the shells; they only appear on cut intervals of no width.
    return np.where(ended, np.inf, value)
