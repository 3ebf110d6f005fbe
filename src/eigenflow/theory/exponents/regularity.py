"""Is functional regularity preserved? Source and capacity exponents of what is not yet learned, over training.

At each measured time a window of modes is taken: those that have dissipated little (2 times the integral of lambda is
at most 0.5, measured rank by rank), two decades of eigenvalues deep. Their own dissipation is undone, so that what the
exponents show is the residual's regularity and not the frontier's edge. *Preserved* is the change against the same
ranks at the first measurement: 0 in every lazy run, whatever its spectrum, and under b = 1 transport.

The moving basis is that of M(t), the variable of the equation; the fixed one is that of the first measurement, in
which the exponents are those of a fixed scale of function spaces.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.theory.effective_time.clocks import power_integral
from eigenflow.theory.exponents.power_spectrum import MIN_MODES, half_width, spectrum_power
from eigenflow.theory.modes.initial_basis import why_initial_basis_is_unknown

__all__ = ["Basis", "Regularity", "dissipated_exponent", "regularity"]

Basis = Literal["moving", "fixed"]

SPENT = 0.5
DECADES = 2.0
# Eigenvalues below this share of the largest are rounding of a product in double precision.
ROUNDING = 1e-13

NUMBERS = (
    "source",
    "source_half_width",
    "source_change",
    "source_change_half_width",
    "capacity",
    "capacity_half_width",
    "capacity_change",
    "capacity_change_half_width",
)


@dataclass(frozen=True)
class Regularity:
    """Exponents of the unlearned modes over training. Half-widths are of 90 % intervals (jackknife over modes).

    Attributes:
        basis: "moving" or "fixed".
        times: Times with at least 30 modes in the window.
        source: Exponent of the residual's energy below lambda.
        source_half_width: Of `source`.
        source_change: Against the first measurement on the same ranks.
        source_change_half_width: Of `source_change`.
        capacity: Exponent of the eigenvalues in their rank.
        capacity_half_width: Of `capacity`.
        capacity_change: Against the first measurement on the same ranks; 0 by definition in the fixed basis.
        capacity_change_half_width: Of `capacity_change`.
        modes: Modes in the window.
    """

    basis: Basis
    times: Float[np.ndarray, " time"]
    source: Float[np.ndarray, " time"]
    source_half_width: Float[np.ndarray, " time"]
    source_change: Float[np.ndarray, " time"]
    source_change_half_width: Float[np.ndarray, " time"]
    capacity: Float[np.ndarray, " time"]
    capacity_half_width: Float[np.ndarray, " time"]
    capacity_change: Float[np.ndarray, " time"]
    capacity_change_half_width: Float[np.ndarray, " time"]
    modes: Int[np.ndarray, " time"]

    def late(self, name: Literal["source", "capacity"]) -> tuple[float, tuple[float, float], int]:
        """The change over the last decade of time: median, interval, and number of times.

        Times share their modes, so the interval is that of a single time (the median one), not narrower.
        """
        is_late = self.times >= self.times[-1] / 10.0
        value = float(np.median(getattr(self, f"{name}_change")[is_late]))
        half = float(np.median(getattr(self, f"{name}_change_half_width")[is_late]))
        return value, (value - half, value + half), int(is_late.sum())


def regularity(data: xr.Dataset, basis: Basis = "moving") -> Regularity:
    """Measure the exponents of the unlearned modes at every time.

    Args:
        data: Measurements of a run.
        basis: Of M(t), or of the first measurement.

    Raises:
        RunFolderError: If the fixed basis is asked for and the run does not follow the error in it.
        ArgumentError: If no time after the first has 30 modes in the window.
    """
    why = why_initial_basis_is_unknown(data) if basis == "fixed" else None
    if why is not None:
        raise RunFolderError(f"The fixed basis is not known: {why}. Record the run again, or take basis='moving'.")
    times, eigenvalue = data["time"].values, data["eigenvalue"].values
    name = "coefficient" if basis == "moving" else "initial_coefficient"
    squares = data[name].values ** 2
    spent = dissipated_exponent(data, basis)
    undone = squares * np.exp(np.minimum(spent, 2.0 * SPENT))
    place = eigenvalue if basis == "moving" else np.broadcast_to(eigenvalue[0], eigenvalue.shape)
    ranks = np.arange(1.0, eigenvalue.shape[1] + 1.0)
    rows, found, modes = [], [], []
    for row in np.flatnonzero(times > times[0]):
        window = _window(place[row], spent[row])
        # The same modes have to be there at the first measurement too.
        window = window & (eigenvalue[0] > ROUNDING * eigenvalue[0].max())
        if window.sum() < MIN_MODES or not undone[row, window].any() or not undone[0, window].any():
            continue
        try:
            now = spectrum_power(ranks[window], place[row, window], undone[row, window])
            start = spectrum_power(ranks[window], place[0, window], undone[0, window])
        except ArgumentError:  # a window of equal eigenvalues has no exponent
            continue
        rows.append(row)
        found.append(
            (
                now.source,
                half_width(now.source_draws),
                now.source - start.source,
                half_width(now.source_draws - start.source_draws),
                now.capacity,
                half_width(now.capacity_draws),
                now.capacity - start.capacity,
                half_width(now.capacity_draws - start.capacity_draws),
            )
        )
        modes.append(now.modes)
    if not rows:
        raise ArgumentError(
            f"`data` has no time after the first with {MIN_MODES} modes that have dissipated little, so the residual "
            f"has no exponents. Use more probe samples, store more modes, or measure earlier."
        )
    columns = dict(zip(NUMBERS, np.array(found).T, strict=True))
    return Regularity(basis=basis, times=times[rows], **columns, modes=np.array(modes))


def dissipated_exponent(data: xr.Dataset, basis: Basis = "moving") -> Float[np.ndarray, "time mode"]:
    """2 times the integral of lambda from the first measurement, rank by rank, a power of time in between.

    In the fixed basis the rate is phi(0)' M(t) phi(0), or that of the same rank where it was not recorded.
    """
    name = "initial_rayleigh" if basis == "fixed" and "initial_rayleigh" in data else "eigenvalue"
    return 2.0 * power_integral(data["time"].values, data[name].values)


def _window(eigenvalues: np.ndarray, spent: np.ndarray) -> np.ndarray:
    """Two decades of modes from the first that has dissipated little, above rounding."""
    positive = eigenvalues > ROUNDING * eigenvalues.max()
    waiting = positive & (spent <= SPENT)
    if not waiting.any():
        return waiting
    return waiting & (eigenvalues >= eigenvalues[waiting].max() * 10.0**-DECADES)
