"""Solve a transport problem: choose the method, run it, close the budget."""

import warnings

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.transport.initial import CellMasses
from eigenflow.transport.methods.exact import ExactJump, Jumped
from eigenflow.transport.methods.frontier import frontier
from eigenflow.transport.motion.flow import make_flow
from eigenflow.transport.motion.paths import Values
from eigenflow.transport.problem import TransportProblem
from eigenflow.transport.solution import Budget, SolveStatus, TransportSolution

__all__ = ["solve"]

# Shares of the initial mass: outflow below the first is not reported by the status; a residual or
# an error above the second is.
OUTFLOW_TOLERANCE = 1e-9
RESIDUAL_TOLERANCE = 1e-9
ERROR_TOLERANCE = 1e-6

_REASON = "no source: every output time is one exact jump along the characteristics from t = 0"


def solve(
    problem: TransportProblem,
    times: Values,
    cells: int = 200,
    method: str | ExactJump = "auto",
) -> TransportSolution:
    """Solve d_t g + d_lambda(v g) = -rate(lambda) g at the given times.

    Cost: with constant c, or at b = 1, about 0.2 ms per output time at 200 cells; with c(t) at
    another b about 50 times that, for the dissipation integral is then a quadrature in time.

    Args:
        problem: Drift, dissipation, initial state and domain.
        times: Output times, increasing, not negative, shape (time,). The initial state is at t = 0
            whether or not that is among them; a single number is one time.
        cells: Number of logarithmic cells over the domain, at least 1. Totals, budget and frontier
            do not depend on it.
        method: "auto", "exact", or an `ExactJump` with other settings.

    Returns:
        Masses, totals, frontier and budget, all finite except the frontier (inf while nothing has
        been learned), with an error estimate and a status.

    Raises:
        ArgumentError: If an argument is out of its range, naming it.
    """
    output = _checked_times(times)
    if isinstance(cells, bool) or not isinstance(cells, int | np.integer) or cells < 1:
        raise ArgumentError(f"`cells` must be a whole number >= 1, but is {cells!r}. 200 is a good start.")
    chosen, reason = _choose(method)
    ends = (float(np.log(problem.domain[0])), float(np.log(problem.domain[1])))
    log_edges = np.linspace(*ends, cells + 1)
    edges = np.exp(log_edges)
    edges[[0, -1]] = problem.domain
    flow = make_flow(problem.drift, problem.dissipation, float(output[-1]))
    jumped = chosen.run(flow, problem.initial, output, log_edges)
    total = jumped.mass.sum(axis=1)
    budget = _close_budget(jumped, total)
    return TransportSolution(
        problem=problem,
        times=output,
        edges=edges,
        mass=jumped.mass,
        total=total,
        frontier=frontier(flow, output, ends),
        budget=budget,
        error=jumped.error,
        status=_judge(budget, jumped.error, isinstance(problem.initial, CellMasses)),
        method="exact",
        reason=reason,
    )


def _checked_times(times: Values) -> Float[np.ndarray, " time"]:
    output = np.atleast_1d(np.array(times, dtype=np.float64))
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


def _choose(method: str | ExactJump) -> tuple[ExactJump, str]:
    if isinstance(method, ExactJump):
        return method, "as asked"
    if method == "auto":
        return ExactJump(), _REASON
    if method == "exact":
        return ExactJump(), "as asked"
    raise ArgumentError(f"Unknown method {method!r}. Available: 'auto', 'exact', or an `ExactJump`.")


def _close_budget(jumped: Jumped, total: Float[np.ndarray, " time"]) -> Budget:
    gone = jumped.dissipated + jumped.outflow_below + jumped.outflow_above
    return Budget(
        initial=jumped.initial,
        dissipated=jumped.dissipated,
        outflow_below=jumped.outflow_below,
        outflow_above=jumped.outflow_above,
        source=np.zeros(len(total)),
        residual=jumped.initial - total - gone,
    )


def _judge(budget: Budget, error: Float[np.ndarray, " time"], has_cells: bool) -> SolveStatus:
    # How coarse given cells are is a matter of the data; it stands in the error, not in the status.
    scale = budget.initial
    # Masses below the normal floats carry no relative accuracy that a residual could test.
    tiny = float(np.finfo(np.float64).tiny)
    is_open = np.abs(budget.residual).max() > RESIDUAL_TOLERANCE * scale + tiny
    if is_open or (not has_cells and error.max() > ERROR_TOLERANCE * scale):
        warnings.warn(
            f"The solution is inaccurate: budget residual {np.abs(budget.residual).max():.1e}, "
            f"estimated error {error.max():.1e}, initial mass {scale:.1e}. "
            f"Use a smoother `initial`, or `method=ExactJump(nodes=12)`.",
            RuntimeWarning,
            stacklevel=3,
        )
        return SolveStatus.INACCURATE
    if budget.outflow.max() > OUTFLOW_TOLERANCE * scale:
        return SolveStatus.LEFT_DOMAIN
    return SolveStatus.CONVERGED
