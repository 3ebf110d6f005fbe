"""Solve a transport problem: choose the method, run it, close the budget."""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind, real_array
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.core.limits import metered, within
from eigenflow.transport.initial import CellMasses
from eigenflow.transport.methods.catalogue import Method, choose
from eigenflow.transport.methods.exact import ExactJump
from eigenflow.transport.methods.frontier import frontier
from eigenflow.transport.methods.march import March
from eigenflow.transport.methods.outcome import Evolved, Progress, tell
from eigenflow.transport.methods.traced_frontier import traced_frontier
from eigenflow.transport.motion.drift import PowerDrift
from eigenflow.transport.motion.flow import make_flow
from eigenflow.transport.motion.paths import Values
from eigenflow.transport.problem import TransportProblem
from eigenflow.transport.solution import Budget, SolveStatus, TransportSolution

__all__ = ["solve", "solve_batch"]

# Shares of the initial mass and all that the source has turned over: outflow below the first is not
# reported by the status; a residual or an error above the others is.
OUTFLOW_TOLERANCE = 1e-9
RESIDUAL_TOLERANCE = {"exact": 1e-9, "march": 1e-9}
ERROR_TOLERANCE = {"exact": 1e-6}
OTHER_RESIDUAL = 1e-6
OTHER_ERROR = 1e-2
# Masses below the normal floats carry no relative accuracy that a residual could test.
_TINY = float(np.finfo(np.float64).tiny)

_ADVICE = {
    "exact": "Use a smoother `initial`, or `method=ExactJump(nodes=20)`.",
    "march": "Use more `cells`.",
    "ladder": "Use more `cells`; for rough states, `method='positive'`.",
    "positive": "Use more `cells`, or `method=Strang(step=0.02)`.",
    "lines": "Use more `cells`, or `method=Lines(relative_tolerance=1e-9)`.",
}


def solve(
    problem: TransportProblem,
    times: Values,
    cells: int = 200,
    method: str | Method = "auto",
    progress: Progress | None = None,
) -> TransportSolution:
    """Solve d_t g + d_lambda(v g) = -rate(lambda) g + S at the given times.

    Methods:
        "exact": no source, or a `GivenSource`. Without source and with constant c, or at b = 1, about
            0.2 ms per output time at 200 cells; with c(t) at another b about 50 times that, for the
            dissipation integral is then a quadrature in time. A given source: about 0.05 s per output.
        "ladder": constant c with `SgdNoise` or `KernelSource`; no error in time, of order 9 in the
            cells for smooth states, never negative; 25 ms at 200 cells whatever the times.
        "positive": Strang splitting; second order; no mass is negative unless a `GivenSource` is.
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
    """
    check_kind("problem", problem, TransportProblem, "a TransportProblem")
    with metered():
        return _solve(problem, _checked_times(times), _checked_cells(cells), method, progress, {})


def solve_batch(
    problems: Sequence[TransportProblem],
    times: Values,
    cells: int = 200,
    method: str | Method = "auto",
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
    method: str | Method,
    progress: Progress | None,
    shared: dict,
) -> TransportSolution:
    name, chosen, reason = choose(problem, method)
    within("cells", cells * len(output), f"`cells` = {cells:,} at {len(output):,} `times`")
    ends = (float(np.log(problem.domain[0])), float(np.log(problem.domain[1])))
    log_edges = np.linspace(*ends, cells + 1)
    edges = np.exp(log_edges)
    edges[[0, -1]] = problem.domain
    # What overflows is checked below; far outside of the domain it is harmless.
    with np.errstate(over="ignore"):
        return _evolved(problem, output, ends, log_edges, edges, progress, shared, (name, chosen, reason))


def _evolved(
    problem: TransportProblem,
    output: Float[np.ndarray, " time"],
    ends: tuple[float, float],
    log_edges: Float[np.ndarray, " edge"],
    edges: Float[np.ndarray, " edge"],
    progress: Progress | None,
    shared: dict,
    choice: tuple[str, Method, str],
) -> TransportSolution:
    name, chosen, reason = choice
    flow = None
    if isinstance(problem.drift, PowerDrift):
        flow = make_flow(problem.drift, problem.dissipation, float(output[-1]))
    if isinstance(chosen, ExactJump | March):
        if isinstance(chosen, March):
            jumped = chosen.run(problem.drift, problem.dissipation, problem.initial, output, log_edges)
        else:
            assert flow is not None
            jumped = chosen.run(flow, problem.initial, output, log_edges)
        evolved = Evolved(**vars(jumped), source=np.zeros(len(output)))
        tell(progress, len(output), len(output))
    else:
        evolved = chosen.run(problem, output, log_edges, progress, shared)
    total = evolved.mass.sum(axis=1)
    _refuse_not_finite(evolved, total)
    budget = _close_budget(evolved, total)
    return TransportSolution(
        problem=problem,
        times=output,
        edges=edges,
        mass=evolved.mass,
        total=total,
        frontier=traced_frontier(problem.drift, problem.dissipation, output, ends)
        if flow is None
        else frontier(flow, output, ends),
        budget=budget,
        error=evolved.error,
        status=_judge(name, budget, evolved, isinstance(problem.initial, CellMasses), _asked(chosen)),
        method=name,
        reason=reason,
    )


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


def _asked(chosen: Method) -> float:
    """The error that was asked for; estimates are on the safe side by up to a hundred."""
    return 100.0 * chosen.tolerance if isinstance(chosen, ExactJump) else 0.0


def _judge(name: str, budget: Budget, evolved: Evolved, has_cells: bool, asked: float) -> SolveStatus:
    # How coarse given cells are is a matter of the data; it stands in the error, not in the status.
    scale = budget.initial + float(np.abs(budget.source).max())
    residual, error = float(np.abs(budget.residual).max()), float(evolved.error.max())
    is_open = residual > RESIDUAL_TOLERANCE.get(name, OTHER_RESIDUAL) * scale + _TINY
    is_rough = error > max(asked, ERROR_TOLERANCE.get(name, OTHER_ERROR)) * scale + _TINY
    if evolved.failure or is_open or (is_rough and not (has_cells and name == "exact")):
        failure = f" {evolved.failure}." if evolved.failure else ""
        warnings.warn(
            f"The solution is inaccurate:{failure} Budget residual {residual:.1e}, estimated error {error:.1e}, "
            f"initial mass {budget.initial:.1e}. {_ADVICE[name]}",
            RuntimeWarning,
            stacklevel=5,
        )
        return SolveStatus.INACCURATE
    if budget.outflow.max() > OUTFLOW_TOLERANCE * scale:
        return SolveStatus.LEFT_DOMAIN
    return SolveStatus.CONVERGED
