"""Drift, dissipation and source as one matrix on cell masses, with the rows that keep the books.

The books (dissipated, outflow at either end, gained from the source) are further components of the
state, so they are integrated by the same method as the masses and not inferred from them.
"""

import numpy as np
from jaxtyping import Float

from eigenflow.transport.finite_volumes.cells import CellGrid, divergence, upwind_edges
from eigenflow.transport.flows.flow import Dissipation, rate_of
from eigenflow.transport.methods.method import Evolved

__all__ = ["BOOKS", "Transport", "augmented", "dissipation_matrix", "unpacked"]

Array = Float[np.ndarray, "..."]

# Rows behind the cells: dissipated, outflow below, outflow above, source, and the constant 1.
BOOKS = 5


class Transport:
    """The fluxes of a drift through the edges of equal cells, upwind-biased, as a matrix.

    Args:
        grid: Cells; `grid.order` is the order of the fluxes.
    """

    def __init__(self, grid: CellGrid) -> None:
        self._up, self._down = (side / grid.width for side in upwind_edges(grid.count, grid.order))
        self._edges = np.exp(grid.log_edges)

    def fluxes(self, velocity: Float[np.ndarray, " edge"]) -> Float[np.ndarray, "edge cell"]:
        """Give fluxes per cell mass, positive upwards; nothing flows in through the ends.

        Args:
            velocity: d lambda / dt at the edges.
        """
        speed = (velocity / self._edges)[:, None]
        return np.where(speed > 0, speed * self._up, speed * self._down)

    @property
    def edges(self) -> Float[np.ndarray, " edge"]:
        """Eigenvalues at the edges."""
        return self._edges


def dissipation_matrix(grid: CellGrid, dissipation: Dissipation) -> Float[np.ndarray, "cell cell"]:
    """Rate of loss of each cell, averaged over it."""
    return grid.averaged(rate_of(dissipation)(np.exp(grid.nodes)))


def augmented(
    fluxes: Float[np.ndarray, "edge cell"],
    lost: Float[np.ndarray, "cell cell"],
    gained: Float[np.ndarray, "cell cell"],
    constant: Float[np.ndarray, " cell"],
) -> Float[np.ndarray, "state state"]:
    """Put the parts into one generator of cells and books.

    Args:
        fluxes: As from `Transport.fluxes`.
        lost: As from `dissipation_matrix`.
        gained: Linear part of the source; `constant` is what does not depend on the state.
    """
    count = len(constant)
    matrix = np.zeros((count + BOOKS, count + BOOKS))
    matrix[:count, :count] = divergence(fluxes) - lost + gained
    matrix[:count, -1] = constant
    matrix[count, :count] = lost.sum(axis=0)
    matrix[count + 1, :count] = -fluxes[0]
    matrix[count + 2, :count] = fluxes[-1]
    matrix[count + 3, :count] = gained.sum(axis=0)
    matrix[count + 3, -1] = constant.sum()
    return matrix


def unpacked(states: Float[np.ndarray, "state time"], initial: float, error: Array, failure: str = "") -> Evolved:
    """Take masses and books apart."""
    rows = states[-BOOKS:]
    return Evolved(
        initial=initial,
        mass=np.ascontiguousarray(states[:-BOOKS].T),
        dissipated=rows[0].copy(),
        outflow_below=rows[1].copy(),
        outflow_above=rows[2].copy(),
        source=rows[3].copy(),
        error=error,
        failure=failure,
    )
