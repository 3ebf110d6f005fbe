"""Where a run lies between lazy training (v = 0) and feature learning, and what either limit makes of its loss.

The coordinate is the relative distance ||M - M0|| / ||M0|| that the operator has gone. Beside it stand its parts, the
growth of the norm and the turn (alignment), and the share of the energy that changes its shell instead of being
learned. Distance alone is blind to what the loss feels, so two predictions from the untouched network stand beside the
truth: with its eigenvalues frozen (v = 0), and with their measured motion (v as measured, no rotation).

A record of J P^(-1) J^T holds mostly the motion of the optimizer's own P. Whether features were learned is asked of the
plain operator J J^T, which dense records up to 1,200 rows keep beside it (`plain=True`).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.core.rounding import above_rounding
from eigenflow.core.scores import CurveScore, score_curve
from eigenflow.shells import ShellBudget, ShellEnergies
from eigenflow.theory.effective_time.clocks import Clocks, operator_clocks, power_integral

__all__ = ["LAZY", "RICH", "LazyRich", "LossPredictions", "Regime", "lazy_rich", "predict_from_start"]

# An operator within 10 % of itself gives rates that are right to 10 %; one that has moved by its own size is another.
LAZY, RICH = 0.1, 1.0


class Regime(StrEnum):
    """Which limit a run is near, by the distance at its end."""

    LAZY = "lazy"
    BETWEEN = "between"
    RICH = "rich"


@dataclass(frozen=True)
class LazyRich:
    """The lazy-rich coordinate of a run over its measurements.

    Attributes:
        times: Sum of learning rates.
        distance: ||M - M0||_F / ||M0||_F, M0 the first measured operator.
        is_lower_bound: Whether `distance` is only the distance of the sorted eigenvalues, which is never larger
            [@hoffmanwielandt1953variation]: for runs recorded before the distance itself was.
        growth: ||M||_F / ||M0||_F.
        alignment: <M, M0> / (||M|| ||M0||), 1 for an operator that only grows; None if it was not recorded.
        target_alignment: y'My / (||M|| |y|^2); None if it was not recorded.
        flux_share: Of the energy that left its shell up to each time, the share that went to another shell instead of
            being learned: half of sum |transfer| over itself and the dissipation, both integrated over time from what
            the measured updates carried: few modes and short updates make it rough. None for a record of states.
        drift_share: Share of eigenvalues that cross edges in the transfer, sums of absolute values over all measured
            updates; the rest is rotation. Label-dependent. None for a record of states.
        is_plain: Whether distance, growth and alignments are those of J J^T, in a record of J P^(-1) J^T; the shares
            are always of the operator that was recorded.
    """

    times: Float[np.ndarray, " time"]
    distance: Float[np.ndarray, " time"]
    is_lower_bound: bool
    growth: Float[np.ndarray, " time"]
    alignment: Float[np.ndarray, " time"] | None
    target_alignment: Float[np.ndarray, " time"] | None
    flux_share: Float[np.ndarray, " time"] | None
    drift_share: float | None
    is_plain: bool = False

    @property
    def coordinate(self) -> float:
        """Distance at the end."""
        return float(self.distance[-1])

    @property
    def regime(self) -> Regime:
        """Lazy below a distance of 0.1, rich above 1; a lower bound alone never makes a run lazy."""
        if self.coordinate >= RICH:
            return Regime.RICH
        return Regime.LAZY if self.coordinate < LAZY and not self.is_lower_bound else Regime.BETWEEN


def lazy_rich(data: xr.Dataset, budget: ShellBudget | ShellEnergies, *, plain: bool = False) -> LazyRich:
    """Read the lazy-rich coordinate of a run.

    Args:
        data: `run.measurements`.
        budget: Its shells, from `shell_budget`, or `shell_energies` for states; the flux share depends on their width.
        plain: Of a record of J P^(-1) J^T: take the coordinate of J J^T, which says what the network learned, instead
            of that of the recorded operator, most of whose distance is the optimizer's own P.

    Raises:
        ArgumentError: If neither the distance nor all eigenvalues are known, as in tracked runs; with `plain`, if the
            record does not hold the plain operator's; or if there is one state.
    """
    if isinstance(budget, ShellEnergies) and data.sizes["step"] < 2:
        raise ArgumentError(
            "`data` holds one state, so it does not say how far the operator has gone. Record a second."
        )
    return _of_plain(data, budget) if plain else _of_recorded(data, budget)


def _of_plain(data: xr.Dataset, budget: ShellBudget | ShellEnergies) -> LazyRich:
    if "plain_distance" not in data:
        raise ArgumentError(
            "`data` is a record of J P^(-1) J^T without the distance of the plain operator J J^T (`plain_distance`): "
            "what it shows is mostly the optimizer's own P, and does not say whether the network is lazy or rich. "
            "Record it again with method='dense' and up to 1,200 rows (samples x outputs), or without "
            "`preconditioner=`."
        )
    norms = data["plain_norm"].values
    aims = data["plain_target_alignment"].values if "plain_target_alignment" in data else None
    distance, alignment = data["plain_distance"].values, data["plain_alignment"].values
    shares = _shares(budget)
    return LazyRich(data["time"].values, distance, False, norms / norms[0], alignment, aims, *shares, is_plain=True)


def _of_recorded(data: xr.Dataset, budget: ShellBudget | ShellEnergies) -> LazyRich:
    eigenvalues = data["eigenvalue"].values
    norms = data["operator_norm"].values if "operator_norm" in data else np.linalg.norm(eigenvalues, axis=1)
    is_bound = not _is_since_first(data)
    if not is_bound:
        distance = data["initial_distance"].values
    elif "cut" in data or not _holds_all_modes(eigenvalues, norms):
        raise ArgumentError(
            "`data` holds neither `initial_distance` nor every eigenvalue, so it does not say how far the operator has "
            "gone. Record the run with all modes (method 'dense', modes 0)."
        )
    else:
        distance = np.linalg.norm(eigenvalues - eigenvalues[0], axis=1) / np.linalg.norm(eigenvalues[0])
    return LazyRich(
        data["time"].values,
        distance,
        is_bound,
        norms / norms[0],
        data["initial_alignment"].values if "initial_alignment" in data and not is_bound else None,
        data["target_alignment"].values if "target_alignment" in data else None,
        *_shares(budget),
    )


def _shares(budget: ShellBudget | ShellEnergies) -> tuple[Float[np.ndarray, " time"] | None, float | None]:
    """Flux share and drift share; of states alone neither is known."""
    if isinstance(budget, ShellEnergies):
        return None, None
    exchanged = 0.5 * np.abs(np.nan_to_num(budget.transfer.values)).sum(1)
    learned = np.abs(budget.dissipation.values).sum(1)
    carried, lost = (_integral(budget, values) for values in (exchanged, learned))
    drift, rotation = (
        float(np.abs(values.values).sum()) for values in (budget.transfer_drift, budget.transfer_rotation)
    )
    tiny = np.finfo(np.float64).tiny
    return carried / np.maximum(carried + lost, tiny), drift / max(drift + rotation, tiny)


def _integral(budget: ShellBudget, amounts: np.ndarray) -> np.ndarray:
    """Of what single measured updates move, over time up to the end of each."""
    lengths = budget.step_size.values
    ends = (budget.time + budget.step_size).values
    rates = np.append(amounts[0] / lengths[0], amounts / lengths)
    return power_integral(np.append(budget.time.values[0], ends), rates[:, None])[1:, 0]


def _is_since_first(data: xr.Dataset) -> bool:
    if "initial_distance" not in data:
        return False
    return "initial_time" not in data or bool((data["initial_time"].values == float(data["time"][0])).all())


def _holds_all_modes(eigenvalues: np.ndarray, norms: np.ndarray) -> bool:
    return bool(np.allclose(np.linalg.norm(eigenvalues, axis=1), norms, rtol=1e-6))


@dataclass(frozen=True)
class LossPredictions:
    """Half the energy at the measurements after the first, as each limit has it, and the truth.

    Measurements of a network that has learned all but rounding are left out.

    Attributes:
        times: Since the first measurement.
        truth: Half of the measured energy; the loss, for squared losses.
        lazy: With the first measured operator: sum of E_u(0) exp(-2 lambda_u(0) t) / 2.
        moving: With the measured eigenvalues of every rank: sum of E_u(0) exp(-2 int lambda_u dt) / 2.
    """

    times: Float[np.ndarray, " time"]
    truth: Float[np.ndarray, " time"]
    lazy: Float[np.ndarray, " time"]
    moving: Float[np.ndarray, " time"]

    @property
    def lazy_score(self) -> CurveScore:
        """Distance of the lazy prediction from the truth."""
        return score_curve(self.lazy, self.truth)

    @property
    def moving_score(self) -> CurveScore:
        """Distance of the prediction with measured eigenvalues from the truth."""
        return score_curve(self.moving, self.truth)


def predict_from_start(data: xr.Dataset, *, clocks: Clocks | None = None) -> LossPredictions:
    """Predict the loss from the first measurement: with its operator frozen, and with its eigenvalues as they moved.

    Energy in modes that were not stored one by one, or that do not learn, stays; but for a tracked run's tail, which
    decays by the first quadrature of its measure in both predictions.

    Args:
        data: `run.measurements`, at least 3.
        clocks: Those of the operator, where they are known already.
    """
    clocks = operator_clocks(data) if clocks is None else clocks
    energies = data["coefficient"].values[0, : len(clocks.rates)] ** 2
    truth = 0.5 * data["energy"].sum("shell").values
    times = clocks.times[:, None]
    node, mass = (_first(data, name) for name in ("tail_node", "tail_mass"))
    rest = max(0.0, float(truth[0] - 0.5 * (energies.sum() + mass.sum())))
    rest = rest + 0.5 * (mass * np.exp(-2 * node * times)).sum(1)

    def loss(taus: np.ndarray) -> np.ndarray:
        return rest + 0.5 * (energies * np.exp(-2 * clocks.rates * taus)).sum(1)

    kept = above_rounding(truth)[1:]
    return LossPredictions(clocks.times[kept], truth[1:][kept], loss(times)[kept], loss(clocks.taus)[kept])


def _first(data: xr.Dataset, name: str) -> np.ndarray:
    return data[name].values[0] if name in data else np.zeros(0)
