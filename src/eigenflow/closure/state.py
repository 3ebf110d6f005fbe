"""A measured state as the start of the equation, and the equation carried on from it."""

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_index
from eigenflow.shells import ShellBudget
from eigenflow.transport.initial import PointMasses
from eigenflow.transport.problem import Drift, TransportProblem
from eigenflow.transport.solving import solve

__all__ = ["Carried", "MeasuredState", "evolve", "scale_apart"]

BINS_PER_DECADE = (
    32  # modes closer than this are carried as one; the error in their energy is below 0.2 % at 2 lambda t = 3
)
ROOM = 6  # decades of room for drifting eigenvalues on either side of the shells
PER_DECADE = 16  # cells; whole shells are made of them


@dataclass(frozen=True, repr=False)
class MeasuredState(FieldsPrinted):
    """Energies of modes at one measurement.

    Attributes:
        time: Of the measurement.
        eigenvalues: Of modes, or of groups of modes closer than 1/32 decade.
        energies: Of each.
        stays: Energy that neither moves nor decays: null modes, and what is not stored mode by mode.
        edges: Shells on which energies are read later.
    """

    time: float
    eigenvalues: Float[np.ndarray, " mode"]
    energies: Float[np.ndarray, " mode"]
    stays: float
    edges: Float[np.ndarray, " edges"]

    @classmethod
    def of(cls, data: xr.Dataset, budget: ShellBudget, row: int) -> "MeasuredState":
        """Read one measurement; with tracked modes, the tail by its Gauss nodes.

        Raises:
            ArgumentError: If the run stores no modes one by one.
        """
        if "eigenvalue" not in data or "coefficient" not in data:
            raise ArgumentError(
                "`data` holds no eigenvalues and coefficients of single modes, so there is no state to start from. "
                "Record the run with modes."
            )
        one = data.isel(step=row)
        lam, energy = one["eigenvalue"].values, one["coefficient"].values ** 2
        if "tail_node" in one:
            lam = np.concatenate([lam, one["tail_node"].values])
            energy = np.concatenate([energy, one["tail_mass"].values])
        moves = lam > np.finfo(np.float64).eps * lam.max()
        lam, energy = lam[moves], energy[moves]
        whole = float(budget.energy.values[row].sum())
        group = np.floor(np.log10(lam) * BINS_PER_DECADE).astype(int)
        _, group = np.unique(group, return_inverse=True)
        mass = np.bincount(group, energy)
        weight = np.where(mass[group] > 0, energy, 1.0)
        mean = np.bincount(group, weight * lam) / np.bincount(group, weight)
        return cls(float(one["time"]), mean, mass, max(0.0, whole - float(energy.sum())), budget.edges)


@dataclass(frozen=True)
class Carried:
    """A state carried on by the equation.

    Attributes:
        loss: Half the energy that is left.
        shells: Energy of each shell of the budget, the two open ones included; `stays` is in the lowest.
        status: Of the solver.
    """

    loss: Float[np.ndarray, " time"]
    shells: Float[np.ndarray, "time shell"]
    status: str


def evolve(state: MeasuredState, drift: Drift, times: Float[np.ndarray, " time"]) -> Carried:
    """Solve d_t eps + d_lambda(v eps) = -2 lambda eps from a measured state.

    Args:
        state: The start.
        drift: v, with its time counted from the start.
        times: Since the start, positive and increasing.
    """
    low = int(np.floor(np.log10(min(state.edges[0], state.eigenvalues.min())))) - ROOM
    high = int(np.ceil(np.log10(max(state.edges[-1], state.eigenvalues.max())))) + ROOM
    problem = TransportProblem(
        drift=drift,
        dissipation=2.0,
        initial=PointMasses(state.eigenvalues, state.energies),
        domain=(10.0**low, 10.0**high),
    )
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        # The status says what the warning would; a mode whose eigenvalue overflows has been learned long before.
        warnings.simplefilter("ignore", RuntimeWarning)
        solution = solve(problem, times, cells=PER_DECADE * (high - low))
    centres = np.sqrt(solution.edges[1:] * solution.edges[:-1])
    index = shell_index(centres, state.edges)
    shells = np.zeros((len(times), len(state.edges) + 1))
    np.add.at(shells.T, index, solution.mass.T)
    # What left through the lower end is on its way to eigenvalue 0 and decays no more; through the upper, it is gone.
    rest = state.stays + solution.budget.outflow_below
    shells[:, 0] += rest
    return Carried(0.5 * (solution.total + rest), shells, solution.status.value)


def scale_apart(state: MeasuredState, growth: Float[np.ndarray, " mode"], times: Float[np.ndarray, " time"]) -> Carried:
    """Let every mode scale by its own power of time, lambda = lambda0 (t / t0)^growth, and dissipate.

    Args:
        state: The start, at a positive time t0.
        growth: t w of each mode.
        times: Later times, not counted from the start.

    Raises:
        ArgumentError: If the state's time is 0, where no power of time begins.
    """
    if state.time <= 0:
        raise ArgumentError(
            f"`state` must have a positive time, but has {state.time:g}. Start from a later measurement."
        )
    ratio = np.log(times / state.time)[:, None]
    rise = 1.0 + growth
    # expm1(a x) / a, which is x at a = 0
    spent = np.where(rise == 0, ratio, np.expm1(rise * ratio) / np.where(rise == 0, 1.0, rise))
    energies = state.energies * np.exp(-2.0 * state.eigenvalues * state.time * spent)
    moved = state.eigenvalues * np.exp(growth * ratio)
    shells = np.zeros((len(times), len(state.edges) + 1))
    for row, (place, energy) in enumerate(zip(moved, energies, strict=True)):
        np.add.at(shells[row], shell_index(place, state.edges), energy)
    shells[:, 0] += state.stays
    return Carried(0.5 * shells.sum(1), shells, "closed form")
