"""Solve for energies whose drift depends on the state: choose the method, check, and say how it ended."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind, check_number, real_array
from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.transport.methods.state_jumps import COARSEST, carry_jumping
from eigenflow.transport.methods.state_paths import follow_paths
from eigenflow.transport.state_drift import StateProblem

__all__ = ["StateSolution", "StateStatus", "solve_state"]


class StateStatus(Enum):
    """How a solve ended.

    CONVERGED: the error is within the tolerance. INACCURATE: it is not, or the work was too much; the last state that
    was reached is repeated. SINGULAR: the drift becomes infinite at a finite time, where eigenvalues reach zero or
    grow beyond any bound; the state there is repeated.
    """

    CONVERGED = "converged"
    INACCURATE = "inaccurate"
    SINGULAR = "singular"


@dataclass(frozen=True, repr=False)
class StateSolution(FieldsPrinted):
    """The state over time.

    Attributes:
        times: As asked for.
        eigenvalues: Of modes; with jumps of cells of ln(lambda), which move with the modes.
        energies: Of each.
        overlaps: P_u of each.
        scale: s, the growth since the start.
        status: How the solve ended.
        error: Estimated largest relative error of the total energy over the times.
        certificate: Largest relative misfit of s^(q + 1) to its closed form in effective time, an identity that the
            solver does not use; None where there is none (jumps, b other than 1, z neither E nor F).
        evaluations: How often the drift was evaluated.
    """

    times: Float[np.ndarray, " time"]
    eigenvalues: Float[np.ndarray, "time mode"]
    energies: Float[np.ndarray, "time mode"]
    overlaps: Float[np.ndarray, "time mode"]
    scale: Float[np.ndarray, " time"]
    status: StateStatus
    error: float
    certificate: float | None
    evaluations: int

    @property
    def total(self) -> Float[np.ndarray, " time"]:
        """The whole energy."""
        return self.energies.sum(1)

    @property
    def loss(self) -> Float[np.ndarray, " time"]:
        """Half the energy."""
        return 0.5 * self.total


def solve_state(
    problem: StateProblem, times: Float[np.ndarray, " time"], *, tolerance: float | None = None
) -> StateSolution:
    """Carry a state on by the drift that it sets.

    Without jumps: at b = 1 all eigenvalues are s(t) lambda_u(0) and amplitudes decay by exp(-lambda_u(0) tau) with one
    effective time, so the equation is one of the two unknowns ln(s) and tau; at another b every mode has its own decay.
    Both are integrated by a method of order 8 with error control. With jumps the grid of ln(lambda) moves with the
    modes: Strang splitting of decay and jumps, each exact, so no energy is ever negative; steps are halved until the
    result stands.

    Args:
        problem: The state and the law.
        times: Positive and increasing, counted from the state.
        tolerance: Relative error of the total energy; by default 1e-9 without jumps, 2e-3 with them.

    Returns:
        The solution; never NaN. Errors above the tolerance, and infinite drifts, are its status.

    Raises:
        ArgumentError: If times are not positive and increasing, or the tolerance is not allowed.
    """
    check_kind("problem", problem, StateProblem, "a `StateProblem`")
    times = real_array("times", times)
    if times.ndim != 1 or not times.size or not times[0] > 0 or not (np.diff(times) > 0).all():
        raise ArgumentError(
            f"`times` must be positive and increasing, counted from the state, but begin with {times.ravel()[:3]}."
        )
    if not np.isfinite(times[-1]):
        raise ArgumentError(f"`times` must be finite, but the last one is {times[-1]}.")
    if problem.jumps is None or problem.jumps.rate == 0.0:
        goal = check_number("tolerance", 1e-9 if tolerance is None else tolerance, 1e-12, 1e-2)
        found = follow_paths(problem, times, goal)
    else:
        goal = check_number("tolerance", 2e-3 if tolerance is None else tolerance, 1e-8, 1e-1)
        found = carry_jumping(problem, times, goal, COARSEST)
    status = StateStatus.CONVERGED
    if not found.error <= goal:
        status = StateStatus.INACCURATE
    if found.is_singular:
        status = StateStatus.SINGULAR
    return StateSolution(
        times,
        found.eigenvalues,
        found.energies,
        found.overlaps,
        found.scale,
        status,
        found.error,
        found.certificate,
        found.evaluations,
    )
