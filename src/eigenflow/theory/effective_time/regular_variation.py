"""Is a measured tau(t) of the form t^rho L(t), with L slowly varying? What a finite range can say, and what not.

tau is regularly varying with index rho if tau(ct) / tau(t) -> c^rho for every c. No finite range verifies it: it can be
falsified (ratios that keep swinging), and the index can be bounded under a choice of forms for L. Facts and synthetic
cases: equations/exponents.md#regular-variation. Source: [@bingham1987regular].
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.theory.effective_time.slow_factors import SlowFactor, fit_slow_factors

__all__ = [
    "FACTORS",
    "LEAST_RANGE",
    "RegularVariation",
    "RegularVariationStatus",
    "SeedVariation",
    "ratio_index",
    "ratio_ranges",
    "regular_variation",
    "seed_variation",
]

FACTORS = (2.0, 4.0, 8.0)
# Two whole decades of ends, each with a start that lies the largest factor earlier.
LEAST_RANGE = 100.0 * FACTORS[-1]
# Forms whose AIC is within this of the best are kept as possible (Burnham and Anderson: beyond 10, no support).
POSSIBLE = 10.0
# Ranges of the index below this share of the tolerance count as no swing at all: they need not shrink further.
NO_SWING = 0.2


class RegularVariationStatus(StrEnum):
    """What the ratios of tau say."""

    NOT_REJECTED = "not rejected"
    NOT_SHRINKING = "not shrinking"
    REJECTED = "rejected"
    TOO_SHORT = "too short"


@dataclass(frozen=True)
class RegularVariation:
    """Estimates of the index, and what the range of times allows to say.

    Attributes:
        times: As given.
        local_index: d ln tau / d ln t, by central differences.
        karamata_index: t tau / int_0^t tau - 1, which tends to the index and is less noisy.
        ratio_times: Ends c t of the ratios, by factor c.
        ratio_indices: ln[tau(ct) / tau(t)] / ln c at those ends, by factor c.
        last_range: Largest minus smallest ratio index with ends in the last decade, all factors; None if too short.
        previous_range: The same for the decade before.
        forms: Every form of L that was fitted, the best first.
        index_range: Smallest and largest index among the possible slowly varying forms and the last local index.
        is_identified: Whether a slowly varying form is possible, none is rejected by the ratios, and that range is
            narrower than the tolerance.
        status: By the rule of `regular_variation`.
    """

    times: Float[np.ndarray, " time"]
    local_index: Float[np.ndarray, " time"]
    karamata_index: Float[np.ndarray, " time"]
    ratio_times: dict[float, Float[np.ndarray, " end"]]
    ratio_indices: dict[float, Float[np.ndarray, " end"]]
    last_range: float | None
    previous_range: float | None
    forms: tuple[SlowFactor, ...]
    index_range: tuple[float, float]
    is_identified: bool
    status: RegularVariationStatus

    def form(self, name: str) -> SlowFactor:
        """A fitted form by name."""
        return next(form for form in self.forms if form.name == name)


def regular_variation(
    times: Float[np.ndarray, " time"],
    tau: Float[np.ndarray, " time"],
    *,
    tolerance: float = 0.1,
    accuracy: float = 0.01,
    unit: float = 1.0,
) -> RegularVariation:
    """Estimate the index of regular variation and say whether the form t^rho L(t) is rejected.

    The rule: *rejected* if the ratio indices (factors 2, 4 and 8) with ends in the last decade range over more than
    the tolerance; *not shrinking* if they range over less, but over more than in the decade before; else *not
    rejected*. Fewer than 2.9 decades are *too short*.

    Args:
        times: Positive, increasing.
        tau: Positive.
        tolerance: Of the index.
        accuracy: Relative accuracy of `tau`: forms that fit better than this are not told apart.
        unit: Time in which log t is taken; some form of L depend on it.

    Returns:
        Indices, fitted forms, and the status.

    Raises:
        ArgumentError: If there are fewer than 8 points, or they are not as above.
    """
    times, tau = np.asarray(times, dtype=np.float64), np.asarray(tau, dtype=np.float64)
    _check(times, tau)
    x, y = np.log(times / unit), np.log(tau)
    local = np.gradient(y, x, edge_order=2)
    ratios = {c: ratio_index(times, tau, c) for c in FACTORS}
    last, previous = ratio_ranges(times, tau) or (None, None)
    forms = fit_slow_factors(x, y, accuracy)
    possible = [f.index for f in forms if f.is_slowly_varying and f.aic <= forms[0].aic + POSSIBLE]
    indices = [*possible, float(local[-1])]
    index_range = (min(indices), max(indices))
    status = _status(last, previous, tolerance)
    is_narrow = index_range[1] - index_range[0] <= tolerance
    return RegularVariation(
        times,
        local,
        _karamata(times, tau),
        {c: ends for c, (ends, _) in ratios.items()},
        {c: found for c, (_, found) in ratios.items()},
        last,
        previous,
        forms,
        index_range,
        bool(possible) and is_narrow and status is not RegularVariationStatus.REJECTED,
        status,
    )


def ratio_index(
    times: Float[np.ndarray, " time"], tau: Float[np.ndarray, " time"], factor: float
) -> tuple[Float[np.ndarray, " end"], Float[np.ndarray, " end"]]:
    """ln[tau(ct) / tau(t)] / ln c for every measured end ct whose start t lies within the range.

    Returns:
        The ends, and the index at each; tau between measured times is a power of t.
    """
    is_end = times / factor >= times[0] * (1 - 1e-12)
    x, y = np.log(times), np.log(tau)
    starts = np.interp(x[is_end] - np.log(factor), x, y)
    return times[is_end], (y[is_end] - starts) / np.log(factor)


@dataclass(frozen=True)
class SeedVariation:
    """Regular variation of the mean of several runs, with 90 % intervals from their spread.

    Attributes:
        mean: Of the geometric mean of tau over the runs.
        last_range_interval: Of the range of the ratio index in the last decade; None if too short.
        last_index_interval: Of the index over the last factor of 8.
        runs: Number of runs.
    """

    mean: RegularVariation
    last_range_interval: tuple[float, float] | None
    last_index_interval: tuple[float, float]
    runs: int


def seed_variation(
    times: Float[np.ndarray, " time"],
    taus: Float[np.ndarray, "run time"],
    *,
    seed: int = 0,
    draws: int = 400,
    tolerance: float = 0.1,
    accuracy: float = 0.01,
    unit: float = 1.0,
) -> SeedVariation:
    """Estimate the index from runs that differ in their seed, by a bootstrap over runs.

    Times of one run are alike, so they are never drawn one by one.

    Args:
        times: Positive, increasing, common to all runs.
        taus: Positive.
        seed: Of the bootstrap.
        draws: Of the bootstrap.
        tolerance: As for `regular_variation`, like `accuracy` and `unit`.
        accuracy: See there.
        unit: See there.

    Raises:
        ArgumentError: If there are fewer than 3 runs, or as for `regular_variation`.
    """
    taus = np.asarray(taus, dtype=np.float64)
    if taus.ndim != 2 or len(taus) < 3:
        raise ArgumentError(f"`taus` must be (run, time) with at least 3 runs, but has shape {taus.shape}. Add seeds.")
    for tau in taus:
        _check(np.asarray(times, dtype=np.float64), tau)
    logs, rng = np.log(taus), np.random.default_rng(seed)
    drawn = [np.exp(logs[rng.integers(0, len(logs), len(logs))].mean(0)) for _ in range(draws)]
    ranges = [found[0] for tau in drawn if (found := ratio_ranges(times, tau)) is not None]
    last = [float(ratio_index(times, tau, min(FACTORS[-1], times[-1] / times[0]))[1][-1]) for tau in drawn]
    mean = regular_variation(times, np.exp(logs.mean(0)), tolerance=tolerance, accuracy=accuracy, unit=unit)
    return SeedVariation(mean, _interval(ranges) if ranges else None, _interval(last), len(taus))


def _interval(values: list[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def ratio_ranges(times: Float[np.ndarray, " time"], tau: Float[np.ndarray, " time"]) -> tuple[float, float] | None:
    """Largest minus smallest ratio index, all factors, with ends in the last and in the previous decade.

    Returns:
        None for fewer than 2.9 decades, and where a decade holds no measured end.
    """
    if times[-1] / times[0] < LEAST_RANGE:
        return None
    ratios = [ratio_index(times, tau, factor) for factor in FACTORS]
    found = []
    for high in (times[-1], times[-1] / 10):
        kept = [values[(ends >= high / 10) & (ends <= high)] for ends, values in ratios]
        if not all(map(len, kept)):
            return None
        found.append(float(np.ptp(np.concatenate(kept))))
    return found[0], found[1]


def _status(last: float | None, previous: float | None, tolerance: float) -> RegularVariationStatus:
    if last is None or previous is None:
        return RegularVariationStatus.TOO_SHORT
    if last > tolerance:
        return RegularVariationStatus.REJECTED
    if last > max(previous, NO_SWING * tolerance):
        return RegularVariationStatus.NOT_SHRINKING
    return RegularVariationStatus.NOT_REJECTED


def _karamata(times: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """t tau / int_0^t tau - 1; tau is taken as a power of t between points, and before the first one."""
    slopes = np.diff(np.log(tau)) / np.diff(np.log(times))
    moments = times * tau
    # int of t^a from s to t is (t tau(t) - s tau(s)) / (1 + a), and a logarithm at a = -1.
    is_log = np.abs(1 + slopes) < 1e-9
    pieces = np.where(
        is_log, moments[:-1] * np.diff(np.log(times)), np.diff(moments) / np.where(is_log, 1.0, 1 + slopes)
    )
    before = moments[0] / (1 + max(slopes[0], -0.5))
    return moments / (before + np.append(0.0, np.cumsum(pieces))) - 1


def _check(times: np.ndarray, tau: np.ndarray) -> None:
    if times.ndim != 1 or times.shape != tau.shape or len(times) < 8:
        raise ArgumentError(
            f"`times` and `tau` must be two equally long rows of at least 8 numbers, but have shapes {times.shape} and "
            f"{tau.shape}. Measure more times."
        )
    if not (np.isfinite(times).all() and np.isfinite(tau).all() and (times > 0).all() and (tau > 0).all()):
        raise ArgumentError(
            f"`times` and `tau` must be positive and finite, but begin with {times[:3]} and {tau[:3]}. "
            f"Leave out time 0, and times at which nothing was learned."
        )
    if (np.diff(times) <= 0).any():
        raise ArgumentError(f"`times` must increase, but do not after {times[np.argmax(np.diff(times) <= 0)]:g}.")
