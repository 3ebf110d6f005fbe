"""A conservative source, S(lambda, t) = E(t) sigma(ln lambda), and the energies that come of it.

E(t) is the total energy as measured, between the times along a spline of its logarithm. sigma is a cubic
spline whose integral is zero: it takes energy from some shells and gives it to others, at a rate of its
own that v does not explain; features narrower than a third of a decade are smoothed. What it makes moves
and decays like all other energy.
"""

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from eigenflow.core.rounding import whole_parts
from eigenflow.transport.inverse.clock import Clock
from eigenflow.transport.inverse.data import ShellData
from eigenflow.transport.inverse.forward import closed_exponent, departure_nodes
from eigenflow.transport.inverse.speed import PowerShape, Shape

__all__ = ["Exchange"]

Array = Float[np.ndarray, "..."]

_KNOTS_PER_DECADE = 5.0
_MOST_KNOTS = 40


class Exchange:
    """The linear map from the factors of sigma to shell energies, for a power law of constant strength."""

    def __init__(self, data: ShellData, clock: Clock, dissipation: float) -> None:
        self.edges, self.clock, self.dissipation = data.log_edges, clock, dissipation
        low, high = float(self.edges[0]), float(self.edges[-1])
        count = int(np.clip(whole_parts(high - low, np.log(10) / _KNOTS_PER_DECADE) + 1, 4, _MOST_KNOTS))
        knots = np.linspace(low, high, count)
        full = CubicSpline(knots, np.eye(count), bc_type="natural")
        integral = np.asarray(full.integrate(low, high))[:, None]
        # An orthonormal basis of all factors whose function integrates to zero.
        columns = np.linalg.svd(integral.T)[2][1:].T
        self.spline = CubicSpline(knots, columns, bc_type="natural")
        self.size = count - 1
        total = np.log(np.maximum(data.energies.sum(1), data.floor))
        # Measured times are often geometric: ln E is bent in t, but hardly in this.
        unit = float(clock.elapsed[clock.elapsed > 0].min())
        smooth = CubicSpline(np.log1p(clock.elapsed / unit), total, bc_type="natural")
        self.total = np.exp(smooth(np.log1p(clock.node_times / unit)))

    def density(self, x: Array) -> Float[np.ndarray, "... function"]:
        """The functions of which sigma is made, per unit ln(lambda) and time; zero outside the shells."""
        inside = (x >= self.edges[0]) & (x <= self.edges[-1])
        return self.spline(x) * inside[..., None]

    def shell_rates(self) -> Float[np.ndarray, "shell function"]:
        """Integral of each function over each shell; columns add up to zero."""
        whole = self.spline.antiderivative()(self.edges)
        return np.diff(whole, axis=0)

    def gained(self, shape: Shape, factors: Array) -> Float[np.ndarray, "time shell function"]:
        """Energy per shell and time that each function has made, its own decay counted."""
        assert isinstance(shape, PowerShape)
        clock = self.clock
        result = np.zeros((len(clock.elapsed), len(self.edges) - 1, self.size))
        passed = clock.node_accumulated @ factors
        now = clock.accumulated @ factors
        for node, born in enumerate(clock.node_times):
            later = slice(int(clock.interval[node]) + 1, None)
            since, moved = clock.elapsed[later] - born, now[later] - passed[node]
            departures = shape.position(self.edges[None, :], -moved[:, None])
            x, weights = departure_nodes(np.clip(departures, self.edges[0], self.edges[-1]))
            exponent = closed_exponent(shape, self.dissipation, x, moved[:, None, None], since[:, None, None])
            kept = weights * np.exp(-exponent) * (clock.node_weights[node] * self.total[node])
            result[later] += (self.density(x) * kept[..., None]).sum(2)
        return result
