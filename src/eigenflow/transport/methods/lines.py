"""The method of lines: third-order upwind-biased finite volumes, integrated by LSODA.

The independent cross-check of the other methods. It needs nothing of the drift but its velocity, and
takes any source; positivity is not promised.

Source: [@petzold1983automatic] (LSODA), as in scipy.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import spend, within
from eigenflow.transport.finite_volumes.cells import CellGrid
from eigenflow.transport.methods.estimate import with_estimate
from eigenflow.transport.methods.generator import (
    BOOKS,
    Transport,
    augmented,
    dissipation_matrix,
    unpacked,
)
from eigenflow.transport.methods.method import AbstractMethod, Evolved, Progress, Task, tell
from eigenflow.transport.problem import TransportProblem

__all__ = ["Lines"]

Array = Float[np.ndarray, "..."]

# Times the initial mass: what has grown to this will not come back.
_EXPLODED = 1e9
# Held at once, those of LSODA included.
_MATRICES = 10
# Of a slope, in units of `spend`: the call, and products of matrix entries a unit.
_CALL, _PRODUCTS = 1500.0, 50.0


@dataclass(frozen=True)
class Lines(AbstractMethod):
    """LSODA on cell masses, with the analytic Jacobian unless the source is a function of the state.

    Attributes:
        relative_tolerance: Of LSODA, between 1e-13 and 0.1.
        order: Odd, 3 to 9: order of the finite volumes.
    """

    relative_tolerance: float = 1e-7
    order: int = 3
    name: ClassVar[str] = "lines"
    advice: ClassVar[str] = "Use more `cells`, or `method=Lines(relative_tolerance=1e-9)`."

    def __post_init__(self) -> None:
        if not 1e-13 <= self.relative_tolerance <= 0.1:
            raise ArgumentError(
                f"`relative_tolerance` must be in [1e-13, 0.1], but is {self.relative_tolerance}. 1e-7 is usual."
            )
        if self.order not in (3, 5, 7, 9):
            raise ArgumentError(f"`order` must be 3, 5, 7 or 9, but is {self.order}. 3 is the most robust.")

    def refuses(self, problem: TransportProblem) -> str | None:
        """It takes everything."""
        return None

    def recommends(self, problem: TransportProblem) -> str | None:
        """Always, after all others."""
        source = problem.source
        if source is not None and not (source.is_given or source.is_linear):
            return "the source is a function of the state, which only the method of lines takes"
        if problem.power_drift is None:
            return "the drift is no power law and there is a source, which only the method of lines takes"
        return "the drift depends on time and the source on the state; 'positive' would keep masses >= 0"

    def run(self, task: Task) -> Evolved:
        """Carry the initial state to all output times."""
        problem, times = task.problem, task.times

        def on(edges: Array, start: Array, is_rough: bool) -> Evolved:
            states, failure = self._solved(problem, times, edges, start, None if is_rough else task.progress)
            return unpacked(states, float(start.sum()), np.zeros(len(times)), failure)

        # A method of order 3 leaves 1/7 of the difference, but up to half at fronts that cells do not resolve.
        return with_estimate(on, problem.initial, task.log_edges, 1 / 2)

    def _solved(
        self, problem: TransportProblem, times: Array, log_edges: Array, masses: Array, progress: Progress | None
    ) -> tuple[Array, str]:
        slope, jacobian = _equations(problem, CellGrid(log_edges, self.order))
        start = np.concatenate([masses, np.zeros(BOOKS - 1), [1.0]])
        if times[-1] == 0:
            return start[:, None], ""
        passed = -1

        def followed(t: float, state: np.ndarray) -> np.ndarray:
            nonlocal passed
            spend(_CALL + state.size**2 / _PRODUCTS)
            done = int(np.searchsorted(times, t, side="right"))
            if done > passed:
                passed = done
                tell(progress, done, len(times))
            return slope(t, state)

        scale = float(start[:-BOOKS].sum()) or float(times[-1] * np.abs(slope(0.0, start)).sum()) or 1.0

        def room(t: float, state: np.ndarray) -> float:
            return _EXPLODED * scale - float(np.abs(state).max())

        room.terminal = True  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            # LSODA says by a warning what it also returns as a failure.
            warnings.simplefilter("ignore", UserWarning)
            with np.errstate(over="ignore", invalid="ignore"):
                path = solve_ivp(
                    followed,
                    (0.0, float(times[-1])),
                    start,
                    method="LSODA",
                    t_eval=times,
                    jac=jacobian,
                    events=room,
                    rtol=self.relative_tolerance,
                    atol=1e-3 * self.relative_tolerance * scale,
                )
        states = np.asarray(path.y)
        if path.status == 0 and np.all(np.isfinite(states)):
            tell(progress, len(times), len(times))
            return states, ""
        count = states.shape[-1] if states.ndim == 2 else 0
        return _padded(states, start, len(times)), f"LSODA stopped after {count} of {len(times)} times"


def _padded(states: Array, start: Array, count: int) -> Array:
    """Repeat the last good state where the integration did not arrive."""
    good = [column for column in states.reshape(len(start), -1).T if np.all(np.isfinite(column))] or [start]
    return np.array([good[min(index, len(good) - 1)] for index in range(count)]).T


def _equations(problem: TransportProblem, grid: CellGrid) -> tuple[Callable, Callable | None]:
    """Give the slope of masses and books, and its Jacobian if that is known."""
    source, count = problem.source, grid.count
    within("entries", _MATRICES * count**2, f"The method 'lines' on {count:,} cells")
    gained, constant = np.zeros((count, count)), np.zeros(count)
    matrix = None if source is None else source.matrix(grid)
    if matrix is not None:
        gained, constant = matrix
    lost = dissipation_matrix(grid, problem.dissipation)
    transport = Transport(grid)

    def matrix_at(t: float) -> Array:
        velocity = np.asarray(problem.drift.velocity(transport.edges, t), dtype=np.float64)
        return augmented(transport.fluxes(velocity), lost, gained, constant)

    if problem.power_drift is not None and problem.power_drift.is_constant:
        fixed = matrix_at(0.0)
        jacobian = lambda t, state: fixed  # noqa: E731
    else:
        jacobian = lambda t, state: matrix_at(float(t))  # noqa: E731
    forcing = None if source is None else source.forcing(grid)

    def slope(t: float, state: np.ndarray) -> np.ndarray:
        change = jacobian(t, state) @ state
        if forcing is not None:
            more = forcing(float(t), state[:count])
            change[:count] += more
            change[count + 3] += more.sum()
        return change

    return slope, None if source is not None and not (source.is_given or source.is_linear) else jacobian
