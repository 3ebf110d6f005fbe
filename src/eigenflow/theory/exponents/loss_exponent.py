"""The loss exponent in time, predicted from a measured spectrum and its drift, beside the one that the loss shows.

If the energy below lambda goes as lambda^sigma in what a run has yet to learn, and all attenuation is
exp(-2 lambda0 tau) with a clock tau ~ t^rho, the loss falls as t^-(sigma rho) (equations/exponents.md#lazy-exponent,
equations/hypotheses.md#one-effective-time; rho = 1 where nothing moves, rho = 1 - gamma for b = 1 drift). In a window
of time [t1, t2] this takes

    sigma    from eigenvalues and energies at t1 alone: the exponent of sum of g^2 exp(-2 lambda (tau - tau1)) in tau,
             which for a power law is its source exponent, and for any other spectrum the local one
    rho      from 2 times the integral of lambda, rank by rank, over the window, its median over the modes that are
             swept; or, as a forecast, from the drift before t1

and is compared with the exponent of the measured energy. Both contain the same energies, ends of the spectrum
included, so a finite spectrum needs no tail. What is left between them is that modes have clocks of their own, and that
they exchange energy. Whether there is one sigma over all windows is another question: `source_form`.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.special import ndtri, stdtrit

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.theory.exponents.bends import gamma_curve
from eigenflow.theory.exponents.power_spectrum import MIN_MODES
from eigenflow.theory.exponents.regularity import dissipated_exponent

__all__ = ["LossExponent", "loss_exponents"]

FACTOR = 10.0  # a window of time is one decade,
SMALLEST_FACTOR = 4.0  # or this, in a run too short for a decade
MIN_TIMES = 5
# 2 lambda tau of the modes that a window sweeps: at most at its start, and at least at its end.
LEARNED, UNTOUCHED = 1.0, 0.05
ROUNDING = 1e-13
NEIGHBOURS = 10
Z90 = float(ndtri(0.5 + 0.5 * LEVEL))
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class LossExponent:
    """Exponents of loss ~ t^-exponent in one window of time. Half-widths are of 90 % intervals.

    Attributes:
        start: t1.
        end: t2.
        source: sigma.
        clock: rho, measured over the window.
        clock_before: rho as the drift before t1 lets expect it.
        predicted: sigma rho.
        forecast: sigma times `clock_before`.
        fitted: Slope of the whole energy, which is twice the probe loss if that is squared.
        fitted_half_width: From the scatter around it.
        error_half_width: Of predicted / fitted - 1: the chance of single energies, which both exponents share, and
            the scatter of their ratio in time.
        summed: Slope of the sum over measured modes, each attenuated by its own rank's eigenvalue: what it misses of
            `fitted` is exchange between modes.
        summed_error_half_width: Of summed / fitted - 1, from the scatter of their ratio in time.
        earlier: `fitted` over the time before, from t1 / (t2 / t1) on; None if not measured.
        modes: Modes that are swept.
    """

    start: float
    end: float
    source: float
    clock: float
    clock_before: float
    predicted: float
    forecast: float
    fitted: float
    fitted_half_width: float
    error_half_width: float
    summed: float
    summed_error_half_width: float
    earlier: float | None
    modes: int


def loss_exponents(data: xr.Dataset) -> list[LossExponent]:
    """Predict and fit the loss exponent in all windows that a run resolves, half a window apart.

    Args:
        data: Measurements of a run.

    Raises:
        ArgumentError: If no window of at least a factor of 4 in time has 5 measurements and 30 modes to sweep.
    """
    times = data["time"].values
    resolved = times[(times > 0) & (data["eigenvalue"].values.max(1) * times >= 1.0)]
    span = float(resolved[-1] / resolved[0]) if len(resolved) else 1.0
    factor = FACTOR if span >= FACTOR else SMALLEST_FACTOR
    found = []
    if span >= factor:
        spent = dissipated_exponent(data)
        count = 1 + int(np.log(span / factor) / np.log(factor) * 2)
        for start in resolved[-1] / factor * factor ** (-0.5 * np.arange(count)[::-1]):
            window = _window(data, spent, start * 0.999, start * factor * 1.001)
            if window is not None:
                found.append(window)
    if not found:
        raise ArgumentError(
            f"`data` resolves the frontier over a factor {span:.3g} of time and has no window of a factor "
            f"{SMALLEST_FACTOR:.0f} with {MIN_TIMES} measurements and {MIN_MODES} modes that it sweeps. Train longer, "
            f"measure more steps, or use more probe samples."
        )
    return found


def _window(data: xr.Dataset, spent: np.ndarray, low: float, high: float) -> LossExponent | None:
    times = data["time"].values
    rows = np.flatnonzero((times >= low) & (times <= high))
    if len(rows) < MIN_TIMES:
        return None
    first, last = rows[0], rows[-1]
    eigenvalue, squares = data["eigenvalue"].values, data["coefficient"].values ** 2
    swept = (spent[first] <= LEARNED) & (spent[last] >= UNTOUCHED)
    swept = swept & (eigenvalue[first] > ROUNDING * eigenvalue[first].max()) & (spent[first] > 0)
    if swept.sum() < MIN_MODES or not squares[first, swept].any():
        return None
    log_time = np.log(times[rows])
    total = (data["total_energy"] if "total_energy" in data else 2.0 * data["probe_loss"]).values
    outside = max(0.0, float(total[first]) - float(squares[first].sum()))
    # The common clock in labels of the window's start, and what it leaves of the energies there.
    clock = np.median(0.5 * spent[rows][:, swept] / eigenvalue[first, swept], axis=1)
    left = squares[first] * np.exp(-2.0 * eigenvalue[first] * (clock - clock[0])[:, None])
    own = squares[first] * np.exp(-(spent[rows] - spent[first]))
    summed = outside + own.sum(1)
    earlier = np.flatnonzero((times >= low * low / high) & (times <= times[first]) & (times > 0))
    energy = np.log(np.maximum(total, TINY))
    fitted, fitted_half_width = _slope(log_time, energy[rows])
    rho = -_slope(log_time, np.log(clock))[0]
    rho_before = _clock_before(data, spent, rows, swept)
    kept = outside + left.sum(1)
    source = _slope(np.log(clock), np.log(kept))[0]
    waiting = (spent[first] <= LEARNED) & (eigenvalue[first] > ROUNDING * eigenvalue[first].max())
    undone = squares[first, waiting] * np.exp(spent[first, waiting])
    shares = [part[:, waiting] / whole[:, None] for part, whole in ((left, kept), (own, summed))]
    slopes = (_slope(log_time, np.log(kept))[0], _slope(log_time, np.log(summed))[0])
    by_modes = _by_chance(eigenvalue[first, waiting], undone, shares, slopes, log_time)
    unit = max(abs(fitted), TINY)
    return LossExponent(
        start=float(times[first]),
        end=float(times[last]),
        source=source,
        clock=rho,
        clock_before=rho_before,
        predicted=source * rho,
        forecast=source * rho_before,
        fitted=fitted,
        fitted_half_width=fitted_half_width,
        error_half_width=float(np.hypot(by_modes, _slope(log_time, np.log(kept) - energy[rows])[1] / unit)),
        summed=slopes[1],
        summed_error_half_width=_slope(log_time, np.log(summed) - energy[rows])[1] / unit,
        earlier=_slope(np.log(times[earlier]), energy[earlier])[0] if len(earlier) >= MIN_TIMES else None,
        modes=int(swept.sum()),
    )


def _by_chance(
    eigenvalues: Float[np.ndarray, " mode"],
    energies: Float[np.ndarray, " mode"],
    shares: list[Float[np.ndarray, "time mode"]],
    slopes: tuple[float, float],
    log_time: Float[np.ndarray, " time"],
) -> float:
    """Half-width of predicted / fitted - 1 by the chance of single energies about a smooth curve.

    To first order: what each mode's energy does to either slope, by the common clock and by its own, times how far it
    lies off the curve, summed over neighbours, which are alike (the outputs of one feature). With one clock for all
    there is no such chance.
    """
    x = np.log(eigenvalues)
    z = (2.0 * x - x.max() - x.min()) / (x.max() - x.min())
    design = np.stack([np.ones_like(z), z, z**2])
    off = energies / energies.mean() * np.exp(-np.clip(gamma_curve(design, energies) @ design, -700, 700)) - 1.0
    weights = -(log_time - log_time.mean()) / ((log_time - log_time.mean()) ** 2).sum()
    ours, theirs = (weights @ share for share in shares)
    predicted, fitted = slopes
    unit = fitted if abs(fitted) > TINY else TINY
    pulls = (ours - predicted / unit * theirs) / unit * off
    return Z90 * float(np.sqrt((np.add.reduceat(pulls, np.arange(0, len(pulls), NEIGHBOURS)) ** 2).sum()))


def _clock_before(data: xr.Dataset, spent: np.ndarray, rows: np.ndarray, swept: np.ndarray) -> float:
    """rho over the window if eigenvalues go on as the power of time that they followed over the last factor of 3."""
    times, eigenvalue = data["time"].values, data["eigenvalue"].values
    first = rows[0]
    before = np.flatnonzero((times >= times[first] / 3.0) & (times <= times[first]) & (times > 0))
    speed = 0.0
    if len(before) >= 2:
        logs = np.log(np.maximum(eigenvalue[before][:, swept], np.finfo(np.float64).tiny))
        speed = float(np.median(np.polyfit(np.log(times[before]), logs, 1)[0]))
    start = times[first]
    growth = np.log(times[rows] / start)
    power = speed + 1.0
    passed = start * (np.expm1(power * growth) / power if abs(power) > 1e-9 else growth)
    clock = np.median(0.5 * spent[first, swept] / eigenvalue[first, swept]) + passed
    return float(np.polyfit(np.log(times[rows]), np.log(clock), 1)[0])


def _slope(x: Float[np.ndarray, " time"], y: Float[np.ndarray, " time"]) -> tuple[float, float]:
    """Minus the least-squares slope, and the half-width of its 90 % interval."""
    slope, offset = np.polyfit(x, y, 1)
    freedom = len(x) - 2
    miss = y - slope * x - offset
    error = np.sqrt((miss**2).sum() / freedom / ((x - x.mean()) ** 2).sum())
    return -float(slope), float(stdtrit(freedom, (1 + LEVEL) / 2) * error)
