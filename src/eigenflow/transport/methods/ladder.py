"""Linear sources that do not depend on time: one generator, exponentiated on a ladder of doubled steps.

There is no error in time. In space cell masses are of order `order`; the error is measured by solving
once more on half as many cells.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.methods.cells import CellGrid
from eigenflow.transport.methods.exact import ExactJump
from eigenflow.transport.methods.generator import (
    BOOKS,
    Transport,
    augmented,
    dissipation_matrix,
    source_matrix,
    unpacked,
)
from eigenflow.transport.methods.outcome import Evolved, Progress, tell
from eigenflow.transport.methods.propagator import Propagator
from eigenflow.transport.motion.drift import PowerDrift
from eigenflow.transport.motion.flow import make_flow
from eigenflow.transport.problem import TransportProblem
from eigenflow.transport.sources import KernelSource, SgdNoise

__all__ = ["Ladder", "apart", "start_masses"]

Array = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class Ladder:
    """Exact in time, of high order in the cells; for smooth states. Masses may undershoot zero.

    Attributes:
        order: Odd, 3 to 9: cells whose means fix the polynomial inside a cell.
        longest_cell: Longest cell in ln(lambda) to compute on; longer output cells are divided.
    """

    order: int = 7
    longest_cell: float = 0.2

    def __post_init__(self) -> None:
        if self.order not in (3, 5, 7, 9):
            raise ArgumentError(f"`order` must be 3, 5, 7 or 9, but is {self.order}. 7 is a good choice.")
        if not 0 < self.longest_cell <= 2:
            raise ArgumentError(f"`longest_cell` must be in (0, 2], but is {self.longest_cell}. 0.2 is a good choice.")

    def run(
        self,
        problem: TransportProblem,
        times: Float[np.ndarray, " time"],
        log_edges: Float[np.ndarray, " edge"],
        progress: Progress | None = None,
        shared: dict | None = None,
    ) -> Evolved:
        """Carry the initial state to all output times.

        Args:
            problem: With constant c and a `SgdNoise` or `KernelSource`.
            times: Increasing, not negative.
            log_edges: Edges of the output cells in ln(lambda), evenly spaced.
            progress: See `solve`.
            shared: Generators already exponentiated, by what they depend on; added to.
        """
        cells = len(log_edges) - 1
        parts = max(1, int(np.ceil((log_edges[1] - log_edges[0]) / self.longest_cell - 1e-9)))
        # Half as many cells tell the error, so there must be a few.
        parts = max(parts, -(-8 // cells))
        shared = {} if shared is None else shared
        fine = self._solved(problem, times, log_edges, cells * parts, shared)
        rough = self._solved(problem, times, log_edges, max(4, cells * parts // 2), shared)
        states = fine[:-BOOKS].reshape(cells, parts, len(times)).sum(axis=1)
        error = 0.5 * apart(fine[:-BOOKS], rough[:-BOOKS])
        tell(progress, len(times), len(times))
        initial = float(start_masses(problem, log_edges).sum())
        return unpacked(np.concatenate([states, fine[-BOOKS:]]), initial, error)

    def _solved(self, problem: TransportProblem, times: Array, log_edges: Array, count: int, shared: dict) -> Array:
        fine = np.linspace(log_edges[0], log_edges[-1], count + 1)
        key = (problem.drift, problem.dissipation, problem.source, problem.domain, count, self.order)
        if key not in shared:
            shared[key] = Propagator(_generator(problem, CellGrid(fine, self.order)))
        start = np.concatenate([start_masses(problem, fine), np.zeros(BOOKS - 1), [1.0]])
        return shared[key].apply(times, np.repeat(start[:, None], len(times), axis=1))


def _generator(problem: TransportProblem, grid: CellGrid) -> Array:
    assert isinstance(problem.drift, PowerDrift) and isinstance(problem.source, SgdNoise | KernelSource)
    transport = Transport(grid)
    fluxes = transport.fluxes(problem.drift.velocity(transport.edges))
    lost = dissipation_matrix(grid, problem.dissipation)
    return augmented(fluxes, lost, *source_matrix(grid, problem.source))


def start_masses(problem: TransportProblem, log_edges: Float[np.ndarray, " edge"]) -> Float[np.ndarray, " cell"]:
    """Integrate the initial state over cells."""
    still = make_flow(PowerDrift(c=0.0, b=1.0), 0.0, 0.0)
    return ExactJump().run(still, problem.initial, np.zeros(1), log_edges).mass[0]


def apart(fine: Float[np.ndarray, "cell time"], rough: Float[np.ndarray, "half time"]) -> Float[np.ndarray, " time"]:
    """Sum over the rough cells how much two sets of masses on one domain differ, at each time."""
    count, half = len(fine), len(rough)
    if count == 2 * half:
        return np.abs(fine.reshape(half, 2, -1).sum(axis=1) - rough).sum(axis=0)
    cumulative = np.concatenate([np.zeros((1, fine.shape[1])), np.cumsum(fine, axis=0)])
    between = PchipInterpolator(np.linspace(0, 1, count + 1), cumulative, axis=0)(np.linspace(0, 1, half + 1))
    return np.abs(np.diff(between, axis=0) - rough).sum(axis=0)
