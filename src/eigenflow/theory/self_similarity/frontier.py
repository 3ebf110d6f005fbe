"""The frontier between learned and unlearned modes, in four coordinates.

A mode is learned when its energy has fallen below 1/e of what it was at the first measurement. Single modes scatter, so
the attenuation is made monotone along the spectrum by isotonic regression weighted with the initial energies (the
attenuation of a pooled group is then that of its energy), and the frontier is where it crosses 1/e.

The same frontier has different exponents in different coordinates (equations/hypotheses.md#frontier-coordinates).
If all attenuation is exp(-2 lambda0 tau) with tau ~ t^rho, then with lambda0 ~ rank^-nu and energy below lambda0 ~
lambda0^sigma

    eigenvalue   instantaneous lambda:                     t^-1, whatever rho
    label        lambda at the first measurement:          t^-rho
    rank         number of learned modes:                  t^(rho / nu)
    energy       share of the initial energy unlearned:    t^(-rho sigma), the loss exponent
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.optimize import isotonic_regression

from eigenflow.core.errors import RunFolderError
from eigenflow.theory.estimate import Estimate
from eigenflow.theory.modes.initial_basis import why_initial_basis_is_unknown
from eigenflow.theory.self_similarity.power_in_time import PowerInTime, fit_power
from eigenflow.theory.self_similarity.resampled import mode_counts

__all__ = ["COORDINATES", "Coordinate", "Frontier", "frontiers"]

Coordinate = Literal["eigenvalue", "rank", "label", "energy"]
COORDINATES: tuple[Coordinate, ...] = ("eigenvalue", "rank", "label", "energy")

FLOOR = 1e-30  # a share of the largest energy of a mode, below which it has nothing to lose


@dataclass(frozen=True)
class Frontier:
    """The frontier over time in one coordinate.

    Attributes:
        coordinate: Which.
        times: Times at which it lies inside the measured modes.
        position: Where, in 1 / time for eigenvalue and label, else without unit.
        drawn: The same of resampled modes; where one has no frontier, the measured one.
        seed: Of the fit's bootstrap.
    """

    coordinate: Coordinate
    times: Float[np.ndarray, " time"]
    position: Float[np.ndarray, " time"]
    drawn: Float[np.ndarray, "draw time"] | None = None
    seed: int = 0

    @Estimate
    def power(self) -> PowerInTime:
        """The power of time that it follows; raises ArgumentError where there are too few times."""
        name = f"frontier in {self.coordinate}"
        return fit_power(self.times, self.position, name=name, drawn=self.drawn, seed=self.seed)

    def until(self, time: float) -> "Frontier":
        """The same up to a time."""
        kept = self.times <= time
        drawn = None if self.drawn is None else self.drawn[:, kept]
        return Frontier(self.coordinate, self.times[kept], self.position[kept], drawn, self.seed)


def frontiers(data: xr.Dataset, *, seed: int = 0) -> dict[Coordinate, Frontier]:
    """Find the frontier at every measured time after the first.

    Args:
        data: Measurements of a run.
        seed: Of the intervals.

    Returns:
        By coordinate. `label` is missing where the run does not follow the error in the eigenbasis of the first
        measurement; see `why_initial_basis_is_unknown`.

    Raises:
        RunFolderError: If there are fewer than two measurements.
    """
    if data.sizes["step"] < 2:
        raise RunFolderError(
            f"A frontier needs two measurements, but the run holds {data.sizes['step']}: energies are compared with "
            f"those at the first. Measure more steps."
        )
    times = data["time"].values
    eigenvalue, squares = data["eigenvalue"].values, data["coefficient"].values ** 2
    count = eigenvalue.shape[1]
    ranks = np.arange(1.0, count + 1.0)
    # Energy outside the modes stored one by one lies below them all.
    total = data["total_energy"] if "total_energy" in data else 2.0 * data["probe_loss"]
    below = max(0.0, float(total.values[0]) - float(squares[0].sum()))
    unlearned = squares[0][::-1].cumsum()[::-1] - 0.5 * squares[0] + below
    share = unlearned / max(float(squares[0].sum()) + below, np.finfo(np.float64).tiny)
    is_followed = why_initial_basis_is_unknown(data) is None
    found: dict[Coordinate, list[tuple[float, float]]] = {}
    for row in np.flatnonzero(times > times[0]):
        moving: dict[Coordinate, np.ndarray] = {"eigenvalue": eigenvalue[row], "rank": ranks, "energy": share}
        for name, position in _crossing(squares[row], squares[0], moving).items():
            found.setdefault(name, []).append((times[row], position))
        if is_followed:
            fixed = data["initial_coefficient"].values
            label: dict[Coordinate, np.ndarray] = {"label": eigenvalue[0]}
            for name, position in _crossing(fixed[row] ** 2, fixed[0] ** 2, label).items():
                found.setdefault(name, []).append((times[row], position))
    points: dict[Coordinate, np.ndarray] = {name: np.array(pairs) for name, pairs in found.items()}
    made: dict[Coordinate, Frontier] = {
        name: Frontier(name, pairs[:, 0], pairs[:, 1], seed=seed) for name, pairs in points.items()
    }
    told: Coordinate = "label" if "label" in made else "rank"
    if told in made:
        fixed = data["initial_coefficient"].values ** 2 if told == "label" else squares
        made[told] = _with_draws(made[told], times, fixed, eigenvalue[0] if told == "label" else ranks, seed)
    return made


def _with_draws(frontier: Frontier, times: np.ndarray, squares: np.ndarray, places: np.ndarray, seed: int) -> Frontier:
    """The frontier with that of resampled modes; only the coordinate that tells of the clock needs them."""
    name, counts = frontier.coordinate, mode_counts(squares.shape[1], seed)
    drawn = np.tile(frontier.position, (len(counts), 1))
    for column, time in enumerate(frontier.times):
        row = int(np.searchsorted(times, time))
        for draw, count in enumerate(counts):
            drawn[draw, column] = _crossing(squares[row] * count, squares[0] * count, {name: places}).get(
                name, frontier.position[column]
            )
    return replace(frontier, drawn=drawn)


def _crossing(now: np.ndarray, start: np.ndarray, coordinates: dict[Coordinate, np.ndarray]) -> dict[Coordinate, float]:
    """Where the pooled attenuation crosses 1/e, in each coordinate; nothing if it does not."""
    kept = start > FLOOR * start.max(initial=0.0)
    for values in coordinates.values():
        kept = kept & (values > 0)
    if kept.sum() < 2:
        return {}
    now, start = now[kept], start[kept]
    pooled = isotonic_regression(now / start, weights=start / start.max(), increasing=True)
    first = pooled.blocks[:-1]
    # ln(-ln(attenuation)) is a straight line in ln(lambda0) for exp(-2 lambda0 tau), and 0 at 1/e.
    spent = -np.log(np.clip(pooled.x[first], 1e-300, 1.0))
    level = np.maximum.accumulate(-np.log(np.maximum(spent, 1e-12)))
    if not level[0] < 0 <= level[-1]:
        return {}
    weight = np.add.reduceat(start, first)
    return {
        name: float(np.exp(np.interp(0.0, level, np.add.reduceat(start * np.log(values[kept]), first) / weight)))
        for name, values in coordinates.items()
    }
