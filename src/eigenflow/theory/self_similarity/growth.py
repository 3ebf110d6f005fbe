"""Amplitude at the frontier, and the dissipation of the whole.

"Polynomial amplitude growth" means different things for different densities (equations/hypotheses.md#spurious-source),
so each is measured: over modes within half a decade of the frontier lambda*,

    energy_density     sum g^2 / lambda*         the energy density of the equation
    amplitude_density  sum |g| / lambda*         the density of |g|, the equation's amplitude form
    amplitude          root mean square g        of a single mode

A density per unit lambda grows where its profile narrows faster than it loses: that is compression, not a gain of
energy, which only dissipates.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.core.rounding import above_rounding
from eigenflow.shells import ShellBudget
from eigenflow.theory.self_similarity.frontier import Frontier
from eigenflow.theory.self_similarity.power_in_time import PowerInTime, fit_power
from eigenflow.theory.self_similarity.resampled import mode_counts

__all__ = ["AmplitudeGrowth", "amplitude_growth", "dissipation_law", "dissipation_rate"]

HALF_WIDTH = 10.0**0.5


@dataclass(frozen=True)
class AmplitudeGrowth:
    """What stands at the frontier over time.

    Attributes:
        times: Times at which the frontier is known and has modes around it.
        energy_density: In loss time.
        amplitude_density: In loss^(1/2) time.
        amplitude: In loss^(1/2).
        drawn_density: `amplitude_density` of resampled modes.
        seed: Of the fits' bootstrap.
    """

    times: Float[np.ndarray, " time"]
    energy_density: Float[np.ndarray, " time"]
    amplitude_density: Float[np.ndarray, " time"]
    amplitude: Float[np.ndarray, " time"]
    drawn_density: Float[np.ndarray, "draw time"]
    seed: int = 0

    def power(self, name: str) -> PowerInTime:
        """The power of time that one of the three follows; raises ArgumentError where there are too few times."""
        drawn = self.drawn_density if name == "amplitude_density" else None
        return fit_power(self.times, getattr(self, name), name=f"{name} at the frontier", drawn=drawn, seed=self.seed)


def amplitude_growth(data: xr.Dataset, frontier: Frontier, *, seed: int = 0) -> AmplitudeGrowth:
    """Measure the amplitude of modes around the frontier.

    Args:
        data: Measurements of a run.
        frontier: In the coordinate "eigenvalue".
        seed: Of the intervals.
    """
    rows = np.searchsorted(data["time"].values, frontier.times)
    eigenvalue, g = data["eigenvalue"].values[rows], data["coefficient"].values[rows]
    place = frontier.position[:, None]
    near = (eigenvalue > place / HALF_WIDTH) & (eigenvalue < place * HALF_WIDTH)
    count = near.sum(1)
    has_modes = count > 0
    energy, size = (g**2 * near).sum(1), (np.abs(g) * near).sum(1)
    drawn = mode_counts(g.shape[1], seed) @ (np.abs(g) * near).T / frontier.position
    return AmplitudeGrowth(
        frontier.times[has_modes],
        (energy / frontier.position)[has_modes],
        (size / frontier.position)[has_modes],
        np.sqrt(energy / np.maximum(count, 1))[has_modes],
        drawn[:, has_modes],
        seed,
    )


def dissipation_rate(budget: ShellBudget) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """Energy lost per time by the gradient-descent part of each measured update, at the middle of the update."""
    lengths = budget.step_size.values
    rate = budget.dissipation.sum("shell").values / np.where(lengths > 0, lengths, 1.0)
    return (budget.time + 0.5 * budget.step_size).values, np.where(lengths > 0, rate, 0.0)


def dissipation_law(
    budget: ShellBudget,
    *,
    data: xr.Dataset | None = None,
    start: float = 0.0,
    end: float = np.inf,
    seed: int = 0,
) -> PowerInTime:
    """Fit dissipation ~ t^-p between two times; -exponent is p, one more than the loss exponent.

    Args:
        budget: As from `shell_budget`.
        data: `run.measurements`, whose modes are resampled for the interval of the swing.
        start: First time.
        end: Last time.
        seed: Of the bootstrap.

    Returns:
        The power of time.

    Raises:
        ArgumentError: If there are fewer than 8 times.
    """
    times, rate = dissipation_rate(budget)
    kept = (times >= start) & (times <= end) & above_rounding(budget.energy.sum("shell").values)
    drawn = None
    if data is not None:
        lost = data["eigenvalue"].values[kept] * data["coefficient"].values[kept] ** 2
        # What modes that were not stored one by one dissipate is taken to scatter alike.
        whole = np.maximum(lost.sum(1), np.finfo(np.float64).tiny)
        drawn = mode_counts(lost.shape[1], seed) @ lost.T / whole * rate[kept]
    return fit_power(times[kept], rate[kept], name="dissipation", drawn=drawn, seed=seed)
