"""Forecasts of the state law from a measured state: drift alone, or drift and rotation, with bands.

A band is what is not known of kappa and of the rate of jumps, carried through the equation, and a misfit that grows
with what is still to be learned. Its size was learned from runs (docs/validation/closure.md).
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.closure.history import StateHistory
from eigenflow.closure.rotation import jump_rate
from eigenflow.closure.state import Carried, MeasuredState
from eigenflow.closure.state_law import StateLaw, fit_state_law
from eigenflow.core.grid import shell_index
from eigenflow.shells import ShellBudget
from eigenflow.transport.methods.state_jumps import JumpGrid, march
from eigenflow.transport.state_drift import StateProblem
from eigenflow.transport.state_solving import StateSolution, solve_state

__all__ = ["StateForecast", "forecast_state"]

STEP = 0.08  # of variants, over the time that has passed; second order, see tests
# Of ln(loss), per e-fold of the loss that is still to come, and at least; learned from runs.
MISFIT, LEAST_MISFIT = 0.1, 0.02
HINDCAST = 3.0  # factor of time
MARGIN = 0.05  # of ln(loss), by which the lazy limit must have been nearer
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class StateForecast:
    """One forecast with its band.

    Attributes:
        carried: Loss and shells.
        spread: Standard deviations of ln(loss), downwards and upwards.
        law: What it was made of.
    """

    carried: Carried
    spread: tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]
    law: StateLaw


def forecast_state(
    data: xr.Dataset, budget: ShellBudget, row: int, times: Float[np.ndarray, " time"]
) -> dict[str, StateForecast]:
    """Forecast from one measurement, by what is known there.

    Args:
        data: `run.measurements`.
        budget: The run's shells.
        row: The measurement.
        times: Later times, not counted from the measurement.

    Returns:
        "state" (drift alone) and "state + rotation".

    Raises:
        ArgumentError: If fewer than 3 measurements are known, or the run stores no modes.
    """
    history = StateHistory.of(data, budget, row)
    law = fit_state_law(history, jump_rate(history, budget))
    law = law.trusted(_trust(data, budget, history, law))
    state = MeasuredState.of(data, budget, row)
    problem = _problem(state, float(history.learned[-1]), law)
    since = times - state.time
    grid = JumpGrid.of(problem, law.jumps.jumps.reach)
    found = {}
    for name, jumps in (("state", None), ("state + rotation", law.jumps.jumps)):
        solution = solve_state(StateProblem(law.drift, *_modes(problem), jumps), since)
        carried = Carried(solution.loss, _shells(solution, state), solution.status.value)
        found[name] = StateForecast(carried, _spread(grid, law, jumps is not None, since), law)
    return found


def _trust(data: xr.Dataset, budget: ShellBudget, history: StateHistory, law: StateLaw) -> float:
    """The share of kappa that a forecast of the present from a third of its time would have wanted.

    It is 1 unless that forecast is too low and the lazy one was nearer, as where weight decay makes the operator
    shrink.
    """
    row = history.since(HINDCAST).start
    past = MeasuredState.of(data, budget, row)
    grown = float(np.exp(history.growth[-1] - history.growth[row]))
    grid = JumpGrid.of(_problem(past, float(history.learned[row]), law), law.jumps.jumps.reach)
    since = history.times[-1:] - past.time
    if not since[0] > 0:
        return 1.0
    kappas, rates = law.kappa * grown * np.array([1.0, 0.0]), np.full(2, law.jumps.rate)
    made = march(grid, law.drift, kappas, rates, since, STEP)[0][0, 0].sum(0)
    miss, lazy = np.log(np.maximum(made, TINY) / max(float(history.energy[-1]), TINY))
    if miss > 0 or abs(miss) <= abs(lazy) + MARGIN:
        return 1.0
    return float(np.clip(lazy / (lazy - miss), 0.0, 1.0))


def _problem(state: MeasuredState, learned: float, law: StateLaw) -> StateProblem:
    """The state as the solver takes it; what stays is a mode of eigenvalue 0.

    How F spreads over modes is not recorded. It is taken to go with the dissipation, as for modes at rest that have
    just begun to decay.
    """
    dissipated = state.eigenvalues * state.energies
    overlaps = state.energies + dissipated * learned / max(float(dissipated.sum()), TINY)
    return StateProblem(
        law.drift,
        np.append(state.eigenvalues, 0.0),
        np.append(state.energies, state.stays),
        np.append(overlaps, state.stays),
    )


def _modes(problem: StateProblem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return problem.eigenvalues, problem.energies, problem.starting_overlaps


def _shells(solution: StateSolution, state: MeasuredState) -> Float[np.ndarray, "time shell"]:
    shells = np.zeros((len(solution.times), len(state.edges) + 1))
    for row, (place, energy) in enumerate(zip(solution.eigenvalues, solution.energies, strict=True)):
        np.add.at(shells[row], shell_index(place, state.edges), energy)
    return shells


def _spread(
    grid: JumpGrid, law: StateLaw, jumps: bool, times: np.ndarray
) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """Vary kappa and the rate of jumps by a standard deviation each; without jumps, by all of them.

    Errors of ln(loss) add in squares, on each side.
    """
    kappas = law.kappa * np.exp(law.spread * np.array([0.0, 1.0, -1.0, 0.0, 0.0]))
    rates = law.jumps.rate * np.ones(5)
    if jumps:
        rates *= np.exp(law.jumps.spread * np.array([0.0, 0.0, 0.0, 1.0, -1.0]))
    else:
        rates *= np.array([0.0, 0.0, 0.0, 1.0, 0.0])
    states = march(grid, law.drift, kappas, rates, times, STEP)[0]
    logs = np.log(np.maximum(states[:, 0].sum(1), TINY))
    pairs = (logs[:, 1:] - logs[:, :1]).reshape(len(times), 2, 2)
    ahead = np.maximum(np.log(max(float(grid.energies.sum()), TINY)) - logs[:, 0], 0.0)
    misfit = LEAST_MISFIT + MISFIT * ahead
    below, above = (np.sqrt((np.maximum(sign * pairs, 0.0).max(2) ** 2).sum(1) + misfit**2) for sign in (-1.0, 1.0))
    return below, above
