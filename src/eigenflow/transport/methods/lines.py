"""The method of lines: third-order upwind-biased finite volumes, integrated by LSODA.

The independent cross-check of the other methods. It needs nothing of the drift but its velocity, and
takes any source; positivity is not promised.

Reference: Petzold (1983), SIAM J. Sci. Stat. Comput. 4, 136 (LSODA), as in scipy.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import spend, within
from eigenflow.transport.methods.cells import CellGrid
from eigenflow.transport.methods.estimate import with_estimate
from eigenflow.transport.methods.generator import (
    BOOKS,
    Transport,
    augmented,
    dissipation_matrix,
    source_matrix,
    unpacked,
)
from eigenflow.transport.methods.outcome import Evolved, Progress, tell
from eigenflow.transport.motion.drift import PowerDrift
from eigenflow.transport.problem import TransportProblem
from eigenflow.transport.sources import GivenSource, KernelSource, SgdNoise, StateSource
from eigenflow.transport.sources.calls import called

__all__ = ["Lines"]

Array = Float[np.ndarray, "..."]

# Times the initial mass: what has grown to this will not come back.
_EXPLODED = 1e9
# Held at once, those of LSODA included.
_MATRICES = 10
_HUGE = 1e100
# Of a slope, in units of `spend`: the call, and products of matrix entries a unit.
_CALL, _PRODUCTS = 1500.0, 50.0


@dataclass(frozen=True)
class Lines:
    """LSODA on cell masses, with the analytic Jacobian unless the source is a function of the state.

    Attributes:
        relative_tolerance: Of LSODA, between 1e-13 and 0.1.
        order: Odd, 3 to 9: order of the finite volumes.
    """

    relative_tolerance: float = 1e-7
    order: int = 3

    def __post_init__(self) -> None:
        if not 1e-13 <= self.relative_tolerance <= 0.1:
            raise ArgumentError(
                f"`relative_tolerance` must be in [1e-13, 0.1], but is {self.relative_tolerance}. 1e-7 is usual."
            )
        if self.order not in (3, 5, 7, 9):
            raise ArgumentError(f"`order` must be 3, 5, 7 or 9, but is {self.order}. 3 is the most robust.")

    def run(
        self,
        problem: TransportProblem,
        times: Float[np.ndarray, " time"],
        log_edges: Float[np.ndarray, " edge"],
        progress: Progress | None = None,
        shared: dict | None = None,
    ) -> Evolved:
        """Carry the initial state to all output times; arguments as in `Ladder.run`."""

        def on(edges: Array, start: Array, is_rough: bool) -> Evolved:
            states, failure = self._solved(problem, times, edges, start, None if is_rough else progress)
            return unpacked(states, float(start.sum()), np.zeros(len(times)), failure)

        # A method of order 3 leaves 1/7 of the difference, but up to half at fronts that cells do not resolve.
        return with_estimate(on, problem.initial, log_edges, 1 / 2)

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
    if isinstance(source, SgdNoise | KernelSource):
        gained, constant = source_matrix(grid, source)
    lost = dissipation_matrix(grid, problem.dissipation)
    transport = Transport(grid)

    def matrix_at(t: float) -> Array:
        velocity = np.asarray(problem.drift.velocity(transport.edges, t), dtype=np.float64)
        return augmented(transport.fluxes(velocity), lost, gained, constant)

    if isinstance(problem.drift, PowerDrift) and problem.drift.is_constant:
        fixed = matrix_at(0.0)
        jacobian = lambda t, state: fixed  # noqa: E731
    else:
        jacobian = lambda t, state: matrix_at(float(t))  # noqa: E731
    forcing = _forcing(source, grid)

    def slope(t: float, state: np.ndarray) -> np.ndarray:
        change = jacobian(t, state) @ state
        if forcing is not None:
            more = forcing(float(t), state[:count])
            change[:count] += more
            change[count + 3] += more.sum()
        return change

    return slope, None if isinstance(source, StateSource) else jacobian


def _forcing(source: object, grid: CellGrid) -> Callable | None:
    """What cells gain from a source that is no matrix."""
    if isinstance(source, GivenSource):
        return lambda t, masses: grid.integrals(lambda x: source.per_log(x, t))
    if isinstance(source, StateSource):
        widths = np.diff(np.exp(grid.log_edges))
        centres = np.exp(0.5 * (grid.log_edges[1:] + grid.log_edges[:-1]))
        function = source.function

        def gained(t: float, masses: Array) -> Array:
            # A trial step may overshoot a state that grows without bound.
            density = np.clip(np.nan_to_num(masses), -_HUGE, _HUGE) / widths
            values = called("function", lambda eigenvalues: function(eigenvalues, t, density), centres)
            return values * widths

        return gained
    return None
