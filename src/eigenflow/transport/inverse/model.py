"""Parameters of the inverse problem and how the logarithmic shell energies answer to them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from eigenflow.core.rounding import whole_parts
from eigenflow.transport.inverse.clock import Clock
from eigenflow.transport.inverse.data import ShellData
from eigenflow.transport.inverse.exchange import Exchange
from eigenflow.transport.inverse.forward import Forward, Prediction
from eigenflow.transport.inverse.speed import PowerShape, Shape, TableShape

__all__ = ["Model", "bending_basis"]

Array = Float[np.ndarray, "..."]

_STEP = 1e-6  # of differences by the few parameters of the velocity; their error matters only to the intervals
_PAD = 4.0  # how far the table of a shape goes beyond the shells, in ln(lambda)
_TABLE_POINTS = 600
KNOTS_PER_DECADE = 1.5
MOST_KNOTS = 12


@dataclass(frozen=True)
class Bending:
    """Functions of x that are neither constant nor straight, of unit mean squared bending each."""

    spline: CubicSpline
    ends: tuple[float, float]
    size: int

    def __call__(self, x: Array) -> Float[np.ndarray, "... function"]:
        inner = np.clip(x, *self.ends)
        return self.spline(inner) + np.asarray(x - inner)[..., None] * self.spline(inner, 1)


def bending_basis(low: float, high: float) -> Bending:
    """Natural cubic splines over [low, high], orthogonal in bending.

    An even prior on their factors is a prior on the second derivative, and leaves the power law itself free.
    """
    count = int(np.clip(whole_parts(high - low, np.log(10) / KNOTS_PER_DECADE) + 1, 4, MOST_KNOTS))
    knots = np.linspace(low, high, count)
    full = CubicSpline(knots, np.eye(count), bc_type="natural")
    fine = np.linspace(low, high, 40 * count)
    second = full(fine, 2)
    gram = second.T @ second / len(fine)
    values, vectors = np.linalg.eigh(gram)
    columns = vectors[:, 2:] / np.sqrt(values[2:])
    straight = np.column_stack([np.ones(count), knots - knots.mean()])
    columns -= straight @ np.linalg.lstsq(straight, columns, rcond=None)[0]
    return Bending(CubicSpline(knots, columns, bc_type="natural"), (low, high), count - 2)


@dataclass(frozen=True)
class Layout:
    """Where in the parameter vector each part stands."""

    start: slice
    strength: slice
    b: int
    bending: slice
    source: slice
    size: int

    @classmethod
    def of(cls, start: int, strength: int, bending: int, source: int) -> "Layout":
        ends = np.cumsum([start, strength, 1, bending, source])
        return cls(
            slice(0, int(ends[0])),
            slice(int(ends[0]), int(ends[1])),
            int(ends[1]),
            slice(int(ends[2]), int(ends[3])),
            slice(int(ends[3]), int(ends[4])),
            int(ends[4]),
        )


class Model:
    """The forward map with its parameters in one vector."""

    def __init__(
        self, data: ShellData, clock: Clock, dissipation, bending: Bending | None, exchange: Exchange | None
    ) -> None:
        self.data, self.clock, self.bending, self.exchange = data, clock, bending, exchange
        self.forward = Forward(data.log_edges, data.centres, clock, dissipation)
        self.layout = Layout.of(
            self.forward.num_knots,
            clock.strength.shape[1],
            bending.size if bending else 0,
            exchange.size if exchange else 0,
        )
        self.reference = data.reference
        self._kept: dict[tuple, Array] = {}
        low, high = data.log_edges[[0, -1]]
        self._grid = np.linspace(low - _PAD, high + _PAD, _TABLE_POINTS)
        self._grid_bending = bending(self._grid) if bending else np.zeros((_TABLE_POINTS, 0))

    def shape(self, theta: Float[np.ndarray, " parameter"]) -> Shape:
        """The shape of the velocity at these parameters."""
        b = float(theta[self.layout.b])
        if self.bending is None:
            return PowerShape(b, self.reference)
        values = (b - 1.0) * (self._grid - self.reference) + self._grid_bending @ theta[self.layout.bending]
        return TableShape(self._grid, np.clip(values, -80.0, 80.0))

    def predict(self, theta: Float[np.ndarray, " parameter"], *, with_derivatives: bool = True) -> Prediction:
        """Energies and fluxes, the source included."""
        shape, factors = self.shape(theta), theta[self.layout.strength]
        made = self.forward(theta[self.layout.start], factors, shape, with_derivatives=with_derivatives)
        if self.exchange is None:
            return made
        gained = self._gained(shape, factors) @ theta[self.layout.source]
        return Prediction(made.energies + gained, made.flux, made.energies_by_start, made.flux_by_start)

    def _gained(self, shape: Shape, factors: Array) -> Array:
        """What the source makes depends on the velocity alone; the last two are kept, for it is dear."""
        assert self.exchange is not None
        key = (float(getattr(shape, "b", 0.0)), tuple(factors.tolist()))
        if key not in self._kept:
            while len(self._kept) >= 2:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = self.exchange.gained(shape, factors)
        return self._kept[key]

    def logs(self, theta: Float[np.ndarray, " parameter"]) -> Array:
        """ln(energy + floor), flattened; nan where a source would make an energy negative."""
        return self._log(self.predict(theta, with_derivatives=False).energies)

    def _log(self, energies: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(energies + self.data.floor).ravel()

    def linearised(self, theta: Float[np.ndarray, " parameter"]) -> tuple[Array, Array, Array, Array]:
        """Logs and fluxes with their Jacobians: closed for start and source, differenced for the velocity."""
        made = self.predict(theta)
        floored = (made.energies + self.data.floor)[..., None]
        size = self.layout.size
        jacobian = np.zeros((made.energies.size, size))
        flux_jacobian = np.zeros((made.flux.size, size))
        jacobian[:, self.layout.start] = (made.energies_by_start / floored).reshape(made.energies.size, -1)
        flux_jacobian[:, self.layout.start] = made.flux_by_start.reshape(made.flux.size, -1)
        logs = self._log(made.energies)
        for index in range(self.layout.strength.start, self.layout.bending.stop):
            shift = np.zeros(size)
            shift[index] = _STEP * max(1.0, abs(float(theta[index])))
            moved = self.predict(theta + shift, with_derivatives=False)
            jacobian[:, index] = (self._log(moved.energies) - logs) / shift[index]
            flux_jacobian[:, index] = (moved.flux - made.flux).ravel() / shift[index]
        if self.exchange is not None:
            gained = self._gained(self.shape(theta), theta[self.layout.strength])
            jacobian[:, self.layout.source] = (gained / floored).reshape(made.energies.size, -1)
        return logs, jacobian, made.flux.ravel(), flux_jacobian
