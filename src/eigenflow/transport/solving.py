"""Solve a transport problem: choose the method, run it, close the budget."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind, real_array
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.core.limits import Limits, current_limits, limits, metered, within
from eigenflow.transport.flows.flow import AbstractFlow
from eigenflow.transport.flows.paths import Values
from eigenflow.transport.methods.catalogue import choose
from eigenflow.transport.methods.frontier import frontier
from eigenflow.transport.methods.method import AbstractMethod, Evolved, Progress, Task, tell
from eigenflow.transport.methods.traced_frontier import traced_frontier
from eigenflow.transport.problem import TransportProblem
from eigenflow.transport.solution import Budget, SolveStatus, TransportSolution

__all__ = ["solve", "solve_batch"]

# Share of the initial mass and all that the source has turned over: outflow below it is not reported by the status.
OUTFLOW_TOLERANCE = 1e-9
# Masses below the normal floats carry no relative accuracy that a residual could test.
_TINY = float(np.finfo(np.float64).tiny)


def solve(
    problem: TransportProblem,
    times: Values,
    cells: int = 200,
    method: str | AbstractMethod = "auto",
    progress: Progress | None = None,
) -> TransportSolution:
    """Solve d_t g + d_lambda(v g) = -rate(lambda) g + S at the given times.

    Methods:
        "exact": no source, or a `GivenSource`. Without source and with constant c, or at b = 1, about
            0.2 ms per output time at 200 cells; with c(t) at another b about 50 times that, for the
            dissipation integral is then a quadrature in time. A given source: about 0.05 s per output.
        "ladder": constant c with `SgdNoise` or `KernelSource`; no error in time, of order 9 in the
            cells for smooth states, never negative; 25 ms at 200 cells whatever the times.
        "positive": no mass is negative at any step, unless a `GivenSource` is. Jumps that are not faster than
            dissipation: Runge-Kutta along the characteristics, of third order in the cells, about 20 ms at 100
            cells. Other sources: Strang splitting, of second order.
        "march": no source; any drift with a `velocity`. Cells are remapped along its paths, in one jump to
            each output; conservative and never negative; third order in the cells.
        "lines": LSODA on third-order finite volumes; any drift with a `velocity`, any source.

    Args:
        problem: Drift, dissipation, initial state, domain and source.
        times: Output times, increasing, not negative, shape (time,). The initial state is at t = 0
            whether or not that is among them; a single number is one time.
        cells: Number of logarithmic cells over the domain, at least 1. With the exact methods totals,
            budget and frontier do not depend on it; with the others it sets the accuracy.
        method: "auto", one of the names above, or a method with other settings.
        progress: Called with the number of output times done and of all.

    Returns:
        Masses, totals, frontier and budget, all finite except the frontier (inf while nothing has
        been learned), with an error estimate and a status.

    Raises:
        ArgumentError: If an argument is out of its range, naming it.
        LimitError: If the solve would take more memory or work than `eigenflow.core.limits` allows.

    Examples:
        A mode with v = -c lambda^2 loses energy at 2 lambda(t): (1 + c lambda t)^(-2/c) of it is left, here 1/256.

        >>> from eigenflow.transport import PointMasses, PowerDrift
        >>> mode = PointMasses([1.0], [1.0])
        >>> drift = PowerDrift(c=0.5, b=2.0)
        >>> problem = TransportProblem(drift=drift, dissipation=2.0, initial=mode, domain=(1e-3, 10.0))
        >>> solution = solve(problem, [0.0, 6.0])
        >>> solution.total.round(12).tolist()
        [1.0, 0.00390625]
        >>> solution.status.name
        'CONVERGED'
    """
    check_kind("problem", problem, TransportProblem, "a TransportProblem")
    with metered():
        return _solve(problem, _checked_times(times), _checked_cells(cells), method, progress, {})


def solve_batch(
    problems: Sequence[TransportProblem],
    times: Values,
    cells: int = 200,
    method: str | AbstractMethod = "auto",
    progress: Progress | None = None,
) -> list[TransportSolution]:
    """Solve many problems at the same times, each as if alone: no step counts are shared.

    Set-up is: problems that differ only in their initial state share the exponentials of "ladder" and
    "positive".

    Args:
        problems: At least one.
        times: As in `solve`; likewise `cells` and `method`.
        progress: Called with the number of problems done and of all.

    Returns:
        One solution per problem, in order.
    """
    output, count = _checked_times(times), _checked_cells(cells)
    if not len(problems):
        raise ArgumentError("`problems` must hold at least one problem, but is empty.")
    shared: dict = {}
    solutions = []
    for index, problem in enumerate(problems):
        with metered():
            solutions.append(_solve(problem, output, count, method, None, shared))
        tell(progress, index + 1, len(problems))
    return solutions


def _solve(
    problem: TransportProblem,
    output: Float[np.ndarray, " time"],
    cells: int,
    method: str | AbstractMethod,
    progress: Progress | None,
    shared: dict,
) -> TransportSolution:
    chosen, reason = choose(problem, method)
    within("cells", cells * len(output), f"`cells` = {cells:,} at {len(output):,} `times`")
    log_edges = np.linspace(float(np.log(problem.domain[0])), float(np.log(problem.domain[1])), cells + 1)
    task = Task(problem, output, log_edges, progress, shared)
    # What overflows is checked below; far outside of the domain it is harmless.
    with np.errstate(over="ignore"):
        return _solution(task, chosen, reason)


def _solution(task: Task, chosen: AbstractMethod, reason: str) -> TransportSolution:
    problem = task.problem
    evolved = chosen.run(task)
    total = evolved.mass.sum(axis=1)
    _refuse_not_finite(evolved, total)
    budget = _close_budget(evolved, total)
    edges = np.exp(task.log_edges)
    edges[[0, -1]] = problem.domain
    return TransportSolution(
        problem=problem,
        times=task.times,
        edges=edges,
        mass=evolved.mass,
        total=total,
        budget=budget,
        error=evolved.error,
        status=_judge(chosen, problem, budget, evolved),
        method=chosen.name,
        reason=reason,
        find_frontier=_Frontier(task.flow, problem, task.times, task.ends, current_limits()),
    )


@dataclass(frozen=True)
class _Frontier:
    """Finds the frontier of a solved problem when it is asked for, under the limits of the solve."""

    flow: AbstractFlow | None
    problem: TransportProblem
    times: Float[np.ndarray, " time"]
    ends: tuple[float, float]
    allowed: Limits

    def __call__(self) -> Float[np.ndarray, " time"]:
        # What overflows is far outside of the domain, and harmless.
        with limits(**asdict(self.allowed)), metered(), np.errstate(over="ignore"):
            if self.flow is None:
                return traced_frontier(self.problem.drift, self.problem.dissipation, self.times, self.ends)
            return frontier(self.flow, self.times, self.ends)


def _refuse_not_finite(evolved: Evolved, total: Float[np.ndarray, " time"]) -> None:
    books = (evolved.dissipated, evolved.outflow_below, evolved.outflow_above, evolved.source, evolved.error)
    wrong = ~np.isfinite([total, *books]).all(axis=0)
    if wrong.any() or not np.isfinite(evolved.initial):
        first = int(np.argmax(wrong))
        raise NonFiniteError(
            f"The solution is not finite from output time {first + 1} of {len(total)} on: masses or rates grow beyond "
            f"what doubles hold. Ask for earlier times, narrow `domain`, or lower the drift or the source."
        )


def _checked_times(times: Values) -> Float[np.ndarray, " time"]:
    output = np.atleast_1d(real_array("times", times))
    if output.ndim != 1 or not len(output):
        raise ShapeError(
            f"`times` must be one-dimensional and not empty, but has shape {output.shape}. "
            f"Pass for example np.geomspace(1e-3, 1e4, 50)."
        )
    if not np.all(np.isfinite(output)) or output[0] < 0 or np.any(np.diff(output) <= 0):
        raise ArgumentError(
            "`times` must be finite, not negative and increasing, but they are not. The initial state "
            "is at t = 0; sort the times and drop repeated ones with np.unique."
        )
    return output


def _checked_cells(cells: int) -> int:
    if isinstance(cells, bool) or not isinstance(cells, int | np.integer) or cells < 1:
        raise ArgumentError(f"`cells` must be a whole number >= 1, but is {cells!r}. 200 is a good start.")
    return int(cells)


def _close_budget(evolved: Evolved, total: Float[np.ndarray, " time"]) -> Budget:
    gone = evolved.dissipated + evolved.outflow_below + evolved.outflow_above
    return Budget(
        initial=evolved.initial,
        dissipated=evolved.dissipated,
        outflow_below=evolved.outflow_below,
        outflow_above=evolved.outflow_above,
        source=evolved.source,
        residual=evolved.initial + evolved.source - total - gone,
    )


def _judge(chosen: AbstractMethod, problem: TransportProblem, budget: Budget, evolved: Evolved) -> SolveStatus:
    scale = budget.initial + float(np.abs(budget.source).max())
    residual, error = float(np.abs(budget.residual).max()), float(evolved.error.max())
    is_open = residual > chosen.residual_tolerance * scale + _TINY
    is_rough = error > chosen.allowed_error(problem) * max(scale, _TINY) + _TINY
    if evolved.failure or is_open or is_rough:
        failure = f" {evolved.failure}." if evolved.failure else ""
        warnings.warn(
            f"The solution is inaccurate:{failure} Budget residual {residual:.1e}, estimated error {error:.1e}, "
            f"initial mass {budget.initial:.1e}. {chosen.advice}",
            RuntimeWarning,
            stacklevel=5,
        )
        return SolveStatus.INACCURATE
    if budget.outflow.max() > OUTFLOW_TOLERANCE * scale:
        return SolveStatus.LEFT_DOMAIN
    return SolveStatus.CONVERGED
