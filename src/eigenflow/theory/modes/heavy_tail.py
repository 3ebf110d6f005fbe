"""Is the spectrum heavy-tailed? The index of its upper tail, and whether a power law describes it best.

Above a smallest eigenvalue the density is taken as lambda^-alpha. The exponent is the maximum-likelihood one and the
smallest eigenvalue that at which the empirical distribution is nearest to the fitted one
[@clauset2009power], among those that leave a tenth of the spectrum above. On the same
tail it is held against

- a log-normal density, cut at the smallest eigenvalue, by Vuong's test of two models that need not be nested
  [@vuong1989likelihood];
- a power law with an exponential cut-off, lambda^-alpha exp(-kappa lambda), in which it is nested: twice the
  log-likelihood ratio against chi^2 with one degree;
- an exponential density, by Vuong's test.

Eigenvalues of one operator repel each other, so they scatter less than independent draws: intervals from resampling
them are wide, and p-values are cautious. With eigenvalues lambda_k ~ k^-nu the exponent is 1 + 1 / nu.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import log_ndtr
from scipy.stats import chi2, norm

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.core.resampling import LEVEL

__all__ = ["Comparison", "SpectrumTails", "TailFit", "TailVerdict", "fit_tail", "spectrum_tails"]

MIN_MODES = 30
CANDIDATES = 40
# A straight piece shorter than this share of the spectrum says nothing of it.
SMALLEST_TAIL = 0.1
# A difference of likelihoods that chance makes in one of ten.
SIGNIFICANT = 0.1
NODES = 200
# Eigenvalues below this part of the largest are rounding.
ROUNDING = 1e-13
# Eigenvalues closer than this share are equal up to rounding.
ALIKE = 1e-9


class TailVerdict(StrEnum):
    """Which description of the tail the likelihoods single out."""

    POWER_LAW = "power law"
    LOG_NORMAL = "log-normal"
    CUT_OFF = "power law with exponential cut-off"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Comparison:
    """The power law against another density on the same tail.

    Attributes:
        ratio: Log-likelihood of the power law less that of the other; positive for the power law.
        p_value: Of a ratio as far from zero if both were equally good.
        aic_margin: AIC of the other less that of the power law: positive if the power law is the better description
            when parameters are counted.
    """

    ratio: float
    p_value: float
    aic_margin: float


@dataclass(frozen=True)
class TailFit:
    """The upper tail of one spectrum.

    Attributes:
        exponent: alpha of the density lambda^-alpha.
        exponent_draws: The same of resampled spectra, the smallest eigenvalue chosen anew for each.
        smallest: Where the tail begins, 1 / time.
        modes: Eigenvalues in it.
        distance: Kolmogorov-Smirnov distance between the tail and the fit.
        log_normal: Against a log-normal density.
        cut_off: Against an exponential cut-off.
        exponential: Against an exponential density.
    """

    exponent: float
    exponent_draws: Float[np.ndarray, " draws"]
    smallest: float
    modes: int
    distance: float
    log_normal: Comparison
    cut_off: Comparison
    exponential: Comparison

    @property
    def interval(self) -> tuple[float, float]:
        """90 % interval of the exponent, from the resampled spectra."""
        low, high = np.quantile(self.exponent_draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    @property
    def margin(self) -> float:
        """AIC margin over the best of the alternatives."""
        return min(self.log_normal.aic_margin, self.cut_off.aic_margin, self.exponential.aic_margin)

    @property
    def verdict(self) -> TailVerdict:
        """A law counts if it is significantly better than another, and none is significantly better than it."""
        better = {
            TailVerdict.LOG_NORMAL: self.log_normal,
            TailVerdict.CUT_OFF: self.cut_off,
        }
        found = [(c.aic_margin, law) for law, c in better.items() if c.ratio < 0 and c.p_value < SIGNIFICANT]
        if found:
            return min(found)[1]
        beaten = any(c.ratio > 0 and c.p_value < SIGNIFICANT for c in (self.log_normal, self.exponential))
        return TailVerdict.POWER_LAW if beaten else TailVerdict.UNDECIDED


@dataclass(frozen=True)
class SpectrumTails:
    """Tails of the spectrum over training.

    Attributes:
        steps: Measured steps that were fitted.
        times: Their times.
        fits: One for each.
    """

    steps: Int[np.ndarray, " fits"]
    times: Float[np.ndarray, " fits"]
    fits: tuple[TailFit, ...]

    @property
    def exponent(self) -> Float[np.ndarray, " fits"]:
        """alpha over training."""
        return np.array([fit.exponent for fit in self.fits])

    @property
    def interval(self) -> Float[np.ndarray, "fits 2"]:
        """Its 90 % intervals."""
        return np.array([fit.interval for fit in self.fits])


def spectrum_tails(data: xr.Dataset, *, count: int = 10, draws: int = 50, seed: int = 0) -> SpectrumTails:
    """Fit the tail at a number of measured times, evenly spread over the measurements.

    Args:
        data: `run.measurements`.
        count: How many times; fewer if there are fewer.
        draws: Resampled spectra for each interval.
        seed: Of the resampling.

    Raises:
        RunFolderError: If the run stores too few modes.
    """
    stored = data.sizes.get("mode", 0)
    if stored < MIN_MODES:
        raise RunFolderError(
            f"The tail of a spectrum needs at least {MIN_MODES} modes, but the run stores {stored}. Record with more "
            f"`modes`, or with more probe samples."
        )
    total = data.sizes["step"]
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    rng, eigenvalues = np.random.default_rng(seed), data["eigenvalue"].values
    fits = tuple(fit_tail(eigenvalues[k], rng=rng, draws=draws) for k in chosen)
    return SpectrumTails(data["step"].values[chosen], data["time"].values[chosen], fits)


def fit_tail(eigenvalues: Float[np.ndarray, " modes"], *, rng: np.random.Generator, draws: int = 100) -> TailFit:
    """Fit the upper tail of one spectrum.

    Args:
        eigenvalues: All of them, or the largest, in any order; what is not above rounding is left out.
        rng: For the resampling.
        draws: Resampled spectra.

    Raises:
        ArgumentError: If fewer than 30 eigenvalues are above rounding, or they are all alike.
    """
    kept = np.sort(eigenvalues[eigenvalues > ROUNDING * eigenvalues.max(initial=0.0)])
    if len(kept) < MIN_MODES or not kept[-1] > kept[0] * (1 + ALIKE):
        raise ArgumentError(
            f"`eigenvalues` must hold at least {MIN_MODES} different positive numbers above rounding, but has "
            f"{len(kept)} of {len(eigenvalues)}. Use more probe samples."
        )
    logs = np.log(kept)
    exponent, start, distance = _power_law(logs)
    resampled = np.sort(logs[rng.integers(0, len(logs), (draws, len(logs)))], axis=1)
    tail = logs[start:] - logs[start]
    likelihoods = np.log(exponent - 1.0) - (exponent - 1.0) * tail
    alternatives = (_log_normal(tail), _cut_off(tail, exponent), _exponential(tail))
    log_normal, cut_off, exponential = (
        _compare(likelihoods, other, extra, nested)
        for other, extra, nested in zip(alternatives, (1, 1, 0), (False, True, False), strict=True)
    )
    return TailFit(
        exponent=exponent,
        exponent_draws=np.array([_power_law(row)[0] for row in resampled]),
        smallest=float(np.exp(logs[start])),
        modes=len(tail),
        distance=distance,
        log_normal=log_normal,
        cut_off=cut_off,
        exponential=exponential,
    )


def _power_law(logs: Float[np.ndarray, " modes"]) -> tuple[float, int, float]:
    """Exponent, index at which the tail begins, and distance, for increasing logarithms."""
    count = len(logs)
    sizes = np.unique(np.geomspace(max(MIN_MODES, count * SMALLEST_TAIL), count, CANDIDATES).round().astype(int))
    starts = count - sizes
    y = logs[None, :] - logs[starts][:, None]
    is_tail = np.arange(count)[None, :] >= starts[:, None]
    means = np.where(is_tail, y, 0.0).sum(1) / sizes
    is_wide = means > ALIKE  # a tail of equal eigenvalues has no exponent
    rates = 1.0 / np.where(is_wide, means, 1.0)
    rank = (np.arange(count)[None, :] - starts[:, None]) / sizes[:, None]
    model = -np.expm1(-rates[:, None] * np.where(is_tail, y, 0.0))
    gaps = np.maximum(np.abs(model - rank), np.abs(model - rank - 1.0 / sizes[:, None]))
    distances = np.where(is_wide, np.where(is_tail, gaps, 0.0).max(1), np.inf)
    best = int(np.argmin(distances))
    return float(1.0 + rates[best]), int(starts[best]), float(distances[best])


# Densities of y = ln(lambda / smallest) >= 0; the change of variables is common to all and drops out of ratios.


def _log_normal(tail: Float[np.ndarray, " tail"]) -> Float[np.ndarray, " tail"]:
    """A normal density in y, cut at zero, at its largest likelihood; two moments of the tail determine it."""
    moments = np.array([1.0, tail.mean(), (tail**2).mean()])

    def constants(parameters: np.ndarray) -> tuple[float, float, float]:
        mean, deviation = parameters[0], np.exp(parameters[1])
        total = np.log(np.sqrt(2 * np.pi) * deviation) + log_ndtr(mean / deviation)
        return -0.5 * (mean / deviation) ** 2 - total, mean / deviation**2, -0.5 / deviation**2

    # From the middle of the tail, and from the limit in which it is an exponential density in y.
    spread, mean = float(tail.std()), float(tail.mean())
    starts = ([mean, np.log(spread)], [-5.0 * mean, 0.5 * np.log(6.0) + np.log(mean)])
    best = _best(lambda p: float(np.dot(constants(p), moments)), starts)
    return np.array(constants(best)) @ np.stack([np.ones_like(tail), tail, tail**2])


def _cut_off(tail: Float[np.ndarray, " tail"], exponent: float) -> Float[np.ndarray, " tail"]:
    """exp(-(alpha - 1) y - z (e^y - 1)) with z >= 0, at its largest likelihood; alpha may be any number."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    beyond = np.expm1(tail)
    moments = np.array([1.0, tail.mean(), beyond.mean()])

    def constants(parameters: np.ndarray) -> tuple[float, float, float]:
        rate, z = parameters[0], np.exp(parameters[1])
        # Beyond `end` the density is below e^-40 of its largest value.
        end = np.log1p((40.0 + max(0.0, -rate) * np.log1p(40.0 / z)) / z)
        end = min(end, 40.0 / rate) if rate > 0 else end
        y = 0.5 * end * (1.0 + nodes)
        total = 0.5 * end * np.sum(weights * np.exp(-rate * y - z * np.expm1(y)))
        return -float(np.log(total)), -rate, -z

    starts = ([exponent - 1.0, -tail.max()], [0.5 * (exponent - 1.0), 1.0 - tail.max()])
    best = _best(lambda p: float(np.dot(constants(p), moments)), starts)
    found = np.array(constants(best)) @ np.stack([np.ones_like(tail), tail, beyond])
    plain = np.log(exponent - 1.0) - (exponent - 1.0) * tail
    return max(found, plain, key=np.sum)


def _exponential(tail: Float[np.ndarray, " tail"]) -> Float[np.ndarray, " tail"]:
    """An exponential density of the eigenvalue beyond the smallest, with the factor e^y of the change to y."""
    beyond = np.expm1(tail)
    return -np.log(beyond.mean()) - beyond / beyond.mean() + tail


def _best(mean_likelihood: Callable[[np.ndarray], float], starts: Sequence[list[float]]) -> Float[np.ndarray, " _"]:
    """The parameters of the largest likelihood, from several starts."""
    options = {"maxiter": 400, "fatol": 1e-9, "xatol": 1e-6}
    found = [minimize(lambda p: -mean_likelihood(p), x, method="Nelder-Mead", options=options) for x in starts]
    return min(found, key=lambda one: one.fun).x


def _compare(own: np.ndarray, other: np.ndarray, extra: int, nested: bool) -> Comparison:
    """`extra` parameters of the other law."""
    difference = own - other
    ratio, count = float(difference.sum()), len(difference)
    if nested:
        p_value = float(chi2.sf(max(0.0, -2.0 * ratio), 1))
    else:
        deviation = float(difference.std())
        p_value = float(2.0 * norm.sf(abs(ratio) / (np.sqrt(count) * deviation))) if deviation > 0 else 1.0
    return Comparison(ratio, p_value, 2.0 * (ratio + extra))
