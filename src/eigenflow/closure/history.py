"""What a run shows of its drift up to a measurement: growth of ranks, energy, and how much was learned.

Growth is that of the modes that learn: the mean over ranks of what ln(lambda) gained between two measurements, by their
share of the dissipation. What was learned is F = -<f - f(0), e> = <e(0), e> - E; in a homogeneous network
d |theta|^2 / dt is 2 L times -<f, e> (equations/hypotheses.md#drift-linear-in-error).
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.shells import ShellBudget

__all__ = ["StateHistory"]

LEAST = 1e-9  # of the largest eigenvalue: ranks below this tell nothing of growth
LEADING = 200  # modes by which the size of the first velocities is told
SLOWEST = 1e-6  # of the largest eigenvalue; slower ones of them are left out


@dataclass(frozen=True, repr=False)
class StateHistory(FieldsPrinted):
    """What is known at a cut.

    Attributes:
        times: Of the measurements, the last one being where forecasts start.
        energy: E.
        learned: F, at least 0.
        growth: What ln(lambda) gained since the first measurement.
        first_speed: Root mean square of d ln(lambda) / dt over leading modes at the first measurement, where signs are
            random: how large the third derivative of outputs is before anything was learned.
        first_dissipation: sum of lambda_u g_u^2 at the first measurement.
        first_largest: The largest eigenvalue there.
        untouched: Share of the untouched network's outputs that is still in the error, were all modes at rest and its
            outputs spread over modes as lambda^2; 1 at the first measurement.
    """

    times: Float[np.ndarray, " time"]
    energy: Float[np.ndarray, " time"]
    learned: Float[np.ndarray, " time"]
    growth: Float[np.ndarray, " time"]
    first_speed: float
    first_dissipation: float
    first_largest: float
    untouched: Float[np.ndarray, " time"]

    @classmethod
    def of(cls, data: xr.Dataset, budget: ShellBudget, row: int) -> "StateHistory":
        """Read the measurements up to a row.

        Raises:
            ArgumentError: If there are fewer than 3, or modes are not stored one by one.
        """
        if row < 2 or "eigenvalue" not in data or "coefficient" not in data:
            raise ArgumentError(
                f"`data` must hold 3 measurements with single modes up to `row`, but row is {row} and it holds "
                f"{', '.join(map(str, list(data.data_vars)[:5]))} and others. Cut later, or record the run with modes."
            )
        known = data.isel(step=slice(0, row + 1))
        lam, energy = known["eigenvalue"].values, known["coefficient"].values ** 2
        whole = budget.energy.values[: row + 1].sum(1)
        if "initial_coefficient" in known:
            paired = known["initial_coefficient"].values
            overlap = (paired[0] * paired).sum(1)
        else:
            overlap = np.sqrt(energy[0] * energy).sum(1)
        # What is not stored one by one has not moved, as far as anyone knows.
        learned = np.maximum(overlap - energy.sum(1), 0.0)
        return cls(
            known["time"].values,
            whole,
            learned,
            _growth(lam, lam * energy),
            _first_speed(known, lam),
            float(lam[0] @ energy[0]),
            float(lam[0].max()),
            _untouched(lam[0], known["time"].values),
        )

    def since(self, factor: float) -> slice:
        """Rows of the last factor of time, at least three of them."""
        first = int(np.searchsorted(self.times, self.times[-1] / factor))
        return slice(max(0, min(first, len(self.times) - 3)), None)


def _growth(lam: np.ndarray, dissipated: np.ndarray) -> Float[np.ndarray, " time"]:
    share = dissipated / np.maximum(dissipated.sum(1, keepdims=True), np.finfo(np.float64).tiny)
    seen = lam > LEAST * lam.max(1, keepdims=True)
    both = seen[1:] & seen[:-1]
    logs = np.log(np.where(seen, lam, 1.0))
    weight = np.where(both, share[1:] + share[:-1], 0.0)
    steps = (weight * (logs[1:] - logs[:-1])).sum(1) / np.maximum(weight.sum(1), np.finfo(np.float64).tiny)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _untouched(lam: np.ndarray, times: np.ndarray) -> Float[np.ndarray, " time"]:
    weight = lam**2 / max(float((lam**2).sum()), np.finfo(np.float64).tiny)
    return np.exp(-lam * (times - times[0])[:, None]) @ weight


def _first_speed(known: xr.Dataset, lam: np.ndarray) -> float:
    """By the measured rates, or, without them, by ranks up to the second time that differs."""
    leading = np.flatnonzero(lam[0] > SLOWEST * lam[0].max())[:LEADING]
    if "eigenvalue_rate" in known:
        speed = known["eigenvalue_rate"].values[0, leading] / lam[0, leading]
    else:
        span = float(known["time"].values[1] - known["time"].values[0])
        speed = np.log(np.maximum(lam[1, leading], np.finfo(np.float64).tiny) / lam[0, leading]) / span
    return float(np.sqrt(np.mean(speed**2)))
