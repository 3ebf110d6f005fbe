"""The loss exponent in time, predicted from a measured spectrum and its drift, beside the one that the loss shows.

If the energy below lambda goes as lambda^sigma in what a run has yet to learn, and all attenuation is
exp(-2 lambda0 tau) with a clock tau ~ t^rho, the loss falls as t^-(sigma rho) (equations/exponents.md#lazy-exponent,
equations/hypotheses.md#one-effective-time; rho = 1 where nothing moves, rho = 1 - gamma for b = 1 drift). In a window
of time [t1, t2] this takes

    sigma    from the modes at t1 that the window sweeps, their own dissipation until t1 undone
    rho      from 2 times the integral of lambda, rank by rank, over the window; or, as a forecast, from the drift
             before t1

and is compared with the slope of the energy of those modes and all above, to which the power law's own tail is added:
without it a finite spectrum falls too fast, by 5 to 10 % (equations/exponents.md#finite-size-tail).
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy.special import gamma, gammainc, stdtrit

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.theory.exponents.power_spectrum import (
    BLOCKS,
    MIN_MODES,
    SpectrumPower,
    half_width,
    redrawn_sources,
    spectrum_power,
)
from eigenflow.theory.exponents.regularity import dissipated_exponent

__all__ = ["LossExponent", "loss_exponents"]

FACTOR = 10.0  # a window of time is one decade,
SMALLEST_FACTOR = 4.0  # or this, in a run too short for a decade
MIN_TIMES = 5
# 2 lambda tau of the modes that a window sweeps: at most at its start, and at least at its end.
LEARNED, UNTOUCHED = 1.0, 0.05
ROUNDING = 1e-13
DRAWS = 200


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
        predicted_half_width: Jackknife over blocks of modes.
        error_half_width: Of predicted / fitted - 1. Both come from the energies of the same modes, whose chance they
            share: by redrawing the energies about the power law.
        forecast: sigma times `clock_before`.
        fitted: Slope of the energy of the swept modes and above, with the power law's tail.
        fitted_half_width: From the scatter around the slope.
        raw: Slope of the whole energy, which is twice the probe loss if that is squared.
        raw_half_width: From the scatter around it.
        summed: Slope of the sum over measured modes, each attenuated by its own rank's eigenvalue: no power law is
            assumed, so what it misses of `raw` is exchange between modes.
        summed_half_width: From the scatter around it.
        summed_error_half_width: Of summed / raw - 1, from the scatter of their ratio in time.
        earlier: `raw` over the time before, from t1 / (t2 / t1) on; None if not measured.
        modes: Modes behind sigma.
    """

    start: float
    end: float
    source: float
    clock: float
    clock_before: float
    predicted: float
    predicted_half_width: float
    error_half_width: float
    forecast: float
    fitted: float
    fitted_half_width: float
    raw: float
    raw_half_width: float
    summed: float
    summed_half_width: float
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
    ranks = np.arange(1.0, eigenvalue.shape[1] + 1.0)
    undone = squares[first] * np.exp(np.minimum(spent[first], LEARNED))
    if swept.sum() < MIN_MODES or not undone[swept].any():
        return None
    try:
        spectrum = spectrum_power(ranks[swept], eigenvalue[first, swept], undone[swept])
    except ArgumentError:
        return None
    if not spectrum.source > 0:
        return None
    log_time = np.log(times[rows])
    clocks = np.polyfit(log_time, np.log(spent[rows][:, swept]), 1)[0]
    clock = float(np.median(clocks))
    clock_before = _clock_before(data, spent, rows, swept)
    kept = int(np.flatnonzero(swept)[-1]) + 1
    corrected = squares[rows, :kept].sum(1) + _tail(spectrum, spent[rows, kept - 1])
    fitted, fitted_half_width = _slope(log_time, np.log(corrected))
    summed = (squares[first] * np.exp(-(spent[rows] - spent[first]))).sum(1)
    total = (data["total_energy"] if "total_energy" in data else 2.0 * data["probe_loss"]).values
    outside = max(0.0, float(total[first]) - float(squares[first].sum()))
    earlier = np.flatnonzero((times >= low * low / high) & (times <= times[first]) & (times > 0))
    loss = np.log(total)
    raw, raw_half_width = _slope(log_time, loss[rows])
    summed_slope, summed_half_width = _slope(log_time, np.log(summed + outside))
    draws = spectrum.source_draws * clock
    error = _redrawn_error(
        spectrum, squares[rows], spent[rows], log_time, undone, swept, kept, ranks, eigenvalue[first]
    )
    of_clocks = spectrum.source * clocks.std() / np.sqrt(BLOCKS)
    apart = _slope(log_time, np.log(summed + outside) - loss[rows])[1]
    return LossExponent(
        start=float(times[first]),
        end=float(times[last]),
        source=spectrum.source,
        clock=clock,
        clock_before=clock_before,
        predicted=spectrum.source * clock,
        predicted_half_width=float(np.hypot(half_width(draws), of_clocks)),
        error_half_width=float(np.hypot(error * clock, of_clocks) / max(abs(fitted), np.finfo(np.float64).tiny)),
        forecast=spectrum.source * clock_before,
        fitted=fitted,
        fitted_half_width=fitted_half_width,
        raw=raw,
        raw_half_width=raw_half_width,
        summed=summed_slope,
        summed_half_width=summed_half_width,
        summed_error_half_width=apart / max(abs(raw), np.finfo(np.float64).tiny),
        earlier=_slope(np.log(times[earlier]), loss[earlier])[0] if len(earlier) >= MIN_TIMES else None,
        modes=spectrum.modes,
    )


def _redrawn_error(
    spectrum: SpectrumPower,
    squares: Float[np.ndarray, "time mode"],
    spent: Float[np.ndarray, "time mode"],
    log_time: Float[np.ndarray, " time"],
    undone: Float[np.ndarray, " mode"],
    swept: Bool[np.ndarray, " mode"],
    kept: int,
    ranks: Float[np.ndarray, " mode"],
    eigenvalues: Float[np.ndarray, " mode"],
) -> float:
    """Half-width of sigma - (fitted exponent) / rho by chance.

    Energies are redrawn about the power law, and each mode's history is scaled with its own. The clock is
    the eigenvalues', so with rho = 1 for both it drops out of the difference.
    """
    ratio = undone[swept] / spectrum.means
    index = np.random.default_rng(0).integers(0, len(ratio), size=(DRAWS, len(ratio)))
    factor = np.ones((DRAWS, len(undone)))
    factor[:, swept] = ratio[index] * spectrum.means / np.where(undone[swept] > 0, undone[swept], 1.0)
    sources, tails = redrawn_sources(spectrum, ranks[swept], eigenvalues[swept], undone[swept] * factor[:, swept])
    sums = factor[:, :kept] @ squares[:, :kept].T
    below = _tail(spectrum, spent[:, kept - 1]) / spectrum.tail
    with_tail = np.log(np.maximum(sums + np.where(np.isfinite(tails), tails, spectrum.tail)[:, None] * below, 1e-300))
    centred = log_time - log_time.mean()
    slopes = -(with_tail @ centred) / (centred @ centred)
    clock = float(np.median(np.polyfit(log_time, np.log(spent[:, swept]), 1)[0]))
    low, high = np.quantile(sources - slopes / clock, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return 0.5 * float(high - low)


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


def _tail(spectrum: SpectrumPower, spent: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """Energy of the power law below its lowest mode, which has dissipated `spent`: sigma x^-sigma gamma(sigma, x)."""
    sigma = spectrum.source
    x = np.maximum(spent, 1e-12)
    return spectrum.tail * sigma * gamma(sigma) * gammainc(sigma, x) / x**sigma


def _slope(x: Float[np.ndarray, " time"], y: Float[np.ndarray, " time"]) -> tuple[float, float]:
    """Minus the least-squares slope, and the half-width of its 90 % interval."""
    slope, offset = np.polyfit(x, y, 1)
    freedom = len(x) - 2
    miss = y - slope * x - offset
    error = np.sqrt((miss**2).sum() / freedom / ((x - x.mean()) ** 2).sum())
    return -float(slope), float(stdtrit(freedom, (1 + LEVEL) / 2) * error)
