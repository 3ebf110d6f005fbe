"""Shapes of the logarithmic velocity, v / lambda = -kappa(t) e^l(x) with x = ln(lambda).

A shape that does not depend on time moves all modes along one line, on which position is a function
of the start and of A, the integral of kappa. Both shapes here know that function in closed form.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.transport.flows.paths import fall, log1p_ratio

__all__ = ["PowerShape", "Shape", "TableShape"]

Array = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class PowerShape:
    """l = (b - 1) (x - reference): the power law."""

    b: float
    reference: float

    def log_speed(self, x: Array) -> Array:
        """Give l(x)."""
        return (self.b - 1.0) * (x - self.reference)

    def position(self, x: Array, accumulated: Array) -> Array:
        """Give where modes are that were at x, after kappa has accumulated A; may be infinite."""
        return x - fall(x - self.reference, accumulated, self.b)[0]


class TableShape:
    """l(x) linear between the points of an even grid, and going on linearly beyond it.

    Within a cell the speed is a power law, so a path is a closed form; across cells the passage time
    s = integral of e^-l adds up. It is summed from the fast end, where its parts are small.
    """

    def __init__(self, grid: Float[np.ndarray, " point"], values: Float[np.ndarray, " point"]) -> None:
        slopes = np.diff(values) / np.diff(grid)
        self.sign = -1.0 if slopes.mean() >= 0 else 1.0  # y = sign * x increases from fast to slow
        order = slice(None, None, int(self.sign))
        self.y, self.p = self.sign * grid[order], -values[order]
        self.spacing = float(self.y[1] - self.y[0])
        self.slope = np.diff(self.p) / self.spacing
        self.passage = np.concatenate([[0.0], np.cumsum(self._within(np.arange(len(grid) - 1), self.spacing))])

    def log_speed(self, x: Array) -> Array:
        """Give l(x)."""
        y = self.sign * x
        cell = self._cell(y)
        return -(self.p[cell] + self.slope[cell] * (y - self.y[cell]))

    def position(self, x: Array, accumulated: Array) -> Array:
        """As `PowerShape.position`, but not beyond the table."""
        y = np.clip(self.sign * x, self.y[0], self.y[-1])
        cell = self._cell(y)
        passed = self.passage[cell] + self._within(cell, y - self.y[cell]) - self.sign * accumulated
        passed = np.clip(passed, self.passage[0], self.passage[-1])
        cell = np.clip(np.searchsorted(self.passage, passed, side="right") - 1, 0, len(self.slope) - 1)
        rest = (passed - self.passage[cell]) * np.exp(-self.p[cell])
        moved = rest * log1p_ratio(np.maximum(self.slope[cell] * rest, -1.0 + 1e-15))
        return self.sign * np.clip(self.y[cell] + moved, self.y[0], self.y[-1])

    def _cell(self, y: Array) -> np.ndarray:
        return np.clip(((y - self.y[0]) / self.spacing).astype(int), 0, len(self.slope) - 1)

    def _within(self, cell: np.ndarray, length: Array | float) -> Array:
        """Integrate e^-l from the begin of a cell over a length."""
        z = self.slope[cell] * length
        is_zero = z == 0
        ratio = np.where(is_zero, 1.0, np.expm1(z) / np.where(is_zero, 1.0, z))
        return np.exp(self.p[cell]) * length * ratio


Shape = PowerShape | TableShape
