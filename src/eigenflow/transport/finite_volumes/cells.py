"""Finite volumes on equal cells in x = ln(lambda): matrices that act on cell masses.

Values inside cells come from the polynomial whose means over neighbouring cells are the given ones
(primitive-function reconstruction; [@shu1998essentially], section 2.1). Rates are averaged over each
cell with that polynomial, so no error h^2 / 24 of cell-centred rates remains.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float

from eigenflow.transport.flows.paths import panel_rule

__all__ = ["CellGrid", "divergence", "upwind_edges"]

Array = Float[np.ndarray, "..."]
_NODES = 4


@lru_cache(maxsize=512)
def _weights(count: int, point: float) -> tuple[float, ...]:
    """Weights of the means over cells [k, k + 1], k < count, in the value at a point."""
    edges = np.arange(count + 1.0)
    slopes = np.empty(count + 1)
    for j in range(count + 1):
        others = np.delete(edges, j)
        basis = np.poly(others) / np.prod(edges[j] - others)
        slopes[j] = np.polyval(np.polyder(basis), point)
    return tuple(float(slopes[k + 1 :].sum()) for k in range(count))


@dataclass(frozen=True)
class CellGrid:
    """Equal cells in ln(lambda).

    Attributes:
        log_edges: Increasing and evenly spaced, shape (cells + 1,).
        order: Number of cells, odd, whose means fix the polynomial inside a cell; 1 is constant.
    """

    log_edges: Float[np.ndarray, " edge"]
    order: int

    @property
    def count(self) -> int:
        """Number of cells."""
        return len(self.log_edges) - 1

    @property
    def width(self) -> float:
        """Width of the cells in ln(lambda)."""
        return float(self.log_edges[-1] - self.log_edges[0]) / self.count

    @cached_property
    def rule(self) -> tuple[Array, Array]:
        """Gauss nodes as fractions of a cell, and weights that add up to 1."""
        nodes, weights = panel_rule(_NODES)
        return 0.5 * (1.0 + nodes), 0.5 * weights

    @cached_property
    def nodes(self) -> Float[np.ndarray, "cell node"]:
        """ln(lambda) at the Gauss nodes."""
        return self.log_edges[:-1, None] + self.width * self.rule[0]

    @property
    def _stencil(self) -> tuple[np.ndarray, Array]:
        """First cell of each cell's stencil, and the coefficients, shape (cell, node, offset)."""
        return _stencils(self.count, min(self.order, self.count))

    def at_nodes(self, means: Float[np.ndarray, " cell"]) -> Float[np.ndarray, "cell node"]:
        """Reconstruct values at the Gauss nodes from the means over cells."""
        begin, table = self._stencil
        return np.einsum("iqo,io->iq", table, means[begin[:, None] + np.arange(table.shape[2])])

    def integrals(self, function: Callable) -> Float[np.ndarray, " cell"]:
        """Integrate a function of x over each cell."""
        return function(self.nodes) @ self.rule[1] * self.width

    def averaged(self, rate: Float[np.ndarray, "cell node"]) -> Float[np.ndarray, "cell cell"]:
        """Matrix that multiplies by a rate, averaged over cells with the polynomial inside."""
        begin, table = self._stencil
        values = np.einsum("iq,iqo->io", rate * self.rule[1], table)
        matrix = np.zeros((self.count, self.count))
        rows = np.arange(self.count)[:, None]
        matrix[rows, begin[:, None] + np.arange(table.shape[2])] = values
        return matrix

    def leaving(self, rate: Float[np.ndarray, "cell node"]) -> Float[np.ndarray, "cell node offset"]:
        """What leaves the nodes of each cell at a rate, per mass of each cell of its stencil."""
        return self._stencil[1] * (rate * self.rule[1])[:, :, None]

    def assembled(self, parts: Float[np.ndarray, "target cell offset"]) -> Float[np.ndarray, "cell cell"]:
        """Matrix of what arrives in cells, of parts that belong to the cells of stencils."""
        begin = self._stencil[0]
        matrix = np.zeros((self.count, self.count))
        # Away from the ends every stencil begins one cell further than the one before.
        inner = np.flatnonzero(np.diff(begin) == 1)
        first, last = (inner[0], inner[-1] + 2) if len(inner) else (0, 0)
        for offset in range(parts.shape[2]):
            start = begin[first] + offset
            matrix[:, start : start + last - first] += parts[:, first:last, offset]
        for cell in (*range(first), *range(last, self.count)):
            matrix[:, begin[cell] : begin[cell] + parts.shape[2]] += parts[:, cell]
        return matrix


@lru_cache(maxsize=32)
def _stencils(count: int, size: int) -> tuple[np.ndarray, Array]:
    begin = np.clip(np.arange(count) - size // 2, 0, count - size)
    shift = np.arange(count) - begin
    points = 0.5 * (1.0 + panel_rule(_NODES)[0])
    table = np.array([[_weights(size, s + float(f)) for f in points] for s in range(size)])[shift]
    table.flags.writeable = begin.flags.writeable = False
    return begin, table


@lru_cache(maxsize=16)
def upwind_edges(count: int, order: int) -> tuple[Float[np.ndarray, "edge cell"], Float[np.ndarray, "edge cell"]]:
    """Matrices from cell means to values at edges, for motion upwards and downwards.

    Args:
        count: Number of cells.
        order: Odd; (order + 1) / 2 cells upwind of the edge and one less downwind. Near the ends the
            stencils shrink. At the edge where motion leaves the domain, one more cell upwind is used.
    """
    up = np.zeros((count + 1, count))
    half = (order + 1) // 2
    for edge in range(1, count + 1):
        if edge == count:
            size = min(3, count)
            up[edge, count - size :] = _weights(size, float(size))
            continue
        reach = min(half, edge, count - edge + 1)
        size = 2 * reach - 1
        up[edge, edge - reach : edge + reach - 1] = _weights(size, float(reach))
    up.flags.writeable = False
    return up, up[::-1, ::-1]


def divergence(fluxes: Float[np.ndarray, "edge ..."]) -> Float[np.ndarray, "cell ..."]:
    """What each cell gains from the fluxes through its edges, positive upwards."""
    return fluxes[:-1] - fluxes[1:]
