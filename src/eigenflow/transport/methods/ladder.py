"""Linear sources that do not depend on time: one generator, exponentiated on a ladder of doubled steps.

There is no error in time. In space cell masses are of order `order`; the error is measured by solving
once more on half as many cells. Every output is one jump from t = 0, so what a polynomial of high order
undershoots can be taken off the other cells without harm to later outputs.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.transport.finite_volumes.cells import CellGrid
from eigenflow.transport.finite_volumes.propagator import MATRICES, Propagator
from eigenflow.transport.initial import PointMasses
from eigenflow.transport.methods.estimate import with_estimate
from eigenflow.transport.methods.generator import (
    BOOKS,
    Transport,
    augmented,
    dissipation_matrix,
    unpacked,
)
from eigenflow.transport.methods.method import AbstractMethod, Evolved, Task
from eigenflow.transport.problem import TransportProblem

__all__ = ["Ladder"]

Array = Float[np.ndarray, "..."]

# Half as many cells tell the error, so there must be a few.
_FEWEST = 8


@dataclass(frozen=True)
class Ladder(AbstractMethod):
    """Exact in time, of high order in the cells; for smooth states. No mass is negative.

    Attributes:
        order: Odd, 3 to 9: cells whose means fix the polynomial inside a cell.
        longest_cell: Longest cell in ln(lambda) to compute on; longer output cells are divided.
    """

    order: int = 9
    longest_cell: float = 0.2
    name: ClassVar[str] = "ladder"
    advice: ClassVar[str] = "Use more `cells`; for rough states, `method='positive'`."

    def __post_init__(self) -> None:
        if self.order not in (3, 5, 7, 9):
            raise ArgumentError(f"`order` must be 3, 5, 7 or 9, but is {self.order}. 9 is a good choice.")
        if not 0 < self.longest_cell <= 2:
            raise ArgumentError(f"`longest_cell` must be in (0, 2], but is {self.longest_cell}. 0.2 is a good choice.")

    def refuses(self, problem: TransportProblem) -> str | None:
        """It needs one matrix for all times."""
        if problem.power_drift is None:
            return "its drift is no `PowerDrift`."
        if problem.source is None:
            return "it has no source, and 'exact' is exact and never negative."
        if not problem.source.is_linear:
            return "it takes linear sources only, `SgdNoise` and `KernelSource`."
        return None if problem.power_drift.is_constant else "its drift depends on time."

    def recommends(self, problem: TransportProblem) -> str | None:
        """For smooth states."""
        if isinstance(problem.initial, PointMasses):
            return None
        return "drift and source are linear and do not depend on time: one exponential has no error in time"

    def run(self, task: Task) -> Evolved:
        """Carry the initial state to all output times; `task.shared` keeps generators already exponentiated."""
        problem, times, log_edges, known = task.problem, task.times, task.log_edges, task.shared
        cells = len(log_edges) - 1
        parts = max(1, int(np.ceil((log_edges[1] - log_edges[0]) / self.longest_cell - 1e-9)), -(-_FEWEST // cells))
        within("entries", MATRICES * (cells * parts) ** 2, f"The method 'ladder' on {cells * parts:,} cells")

        def on(edges: Array, start: Array, is_rough: bool) -> Evolved:
            key = (problem.drift, problem.dissipation, problem.source, problem.domain, len(start), self.order)
            if key not in known:
                known[key] = Propagator(_generator(problem, CellGrid(edges, self.order)))
            state = np.concatenate([start, np.zeros(BOOKS - 1), [1.0]])
            return unpacked(known[key].apply(times, state), float(start.sum()), np.zeros(len(times)))

        found = with_estimate(on, problem.initial, np.linspace(log_edges[0], log_edges[-1], cells * parts + 1), 0.5)
        mass, moved = not_negative(found.mass)
        task.tell(len(times))
        return replace(found, mass=mass.reshape(len(times), cells, parts).sum(axis=2), error=found.error + moved)


def not_negative(mass: Float[np.ndarray, "time cell"]) -> tuple[Float[np.ndarray, "time cell"], Array]:
    """Take what cells lie below zero off the other cells, in proportion; nothing is gained or lost.

    Returns:
        Masses >= 0, and at each time how much all cells together were changed by.
    """
    missing = np.minimum(mass, 0.0).sum(axis=1)
    if not missing.any():
        return mass, -missing
    kept = np.maximum(mass, 0.0)
    there = kept.sum(axis=1)
    # Where all is gone but roundings, these may add up to less than nothing.
    share = np.clip((there + missing) / np.where(there > 0, there, 1.0), 0.0, 1.0)
    return kept * share[:, None], -2.0 * missing


def _generator(problem: TransportProblem, grid: CellGrid) -> Array:
    matrix = None if problem.source is None else problem.source.matrix(grid)
    assert matrix is not None
    transport = Transport(grid)
    fluxes = transport.fluxes(problem.drift.velocity(transport.edges))
    lost = dissipation_matrix(grid, problem.dissipation)
    return augmented(fluxes, lost, *matrix)
