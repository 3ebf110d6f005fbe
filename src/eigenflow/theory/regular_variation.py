"""Is a measured tau(t) of the form t^rho L(t), with L slowly varying? What a finite range can say, and what not.

tau is regularly varying with index rho if tau(ct) / tau(t) -> c^rho for every c. No finite range verifies it: it can be
falsified (ratios that keep swinging), and the index can be bounded under a choice of forms for L. Facts and synthetic
cases: theory.md 5h; Bingham, Goldie and Teugels, "Regular Variation" (1987).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from eigenflow.core.errors import ArgumentError

__all__ = [
    "FACTORS",
    "LEAST_RANGE",
    "RegularVariation",
    "RegularVariationStatus",
    "SlowFactor",
    "ratio_index",
    "ratio_ranges",
    "regular_variation",
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
class SlowFactor:
    """One form of L, fitted together with the index to the later half of log time.

    Attributes:
        name: "constant", "power of log t", "exp(C sqrt(log t))", "1 + C t^-delta", or "log-periodic" (which is not
            slowly varying).
        index: rho under this form.
        parameters: The form's own, by name.
        rms: Root mean square of the residual in ln tau.
        aic: Akaike's criterion, with residuals below the accuracy counted as the accuracy.
        is_slowly_varying: Whether tau is regularly varying under this form.
    """

    name: str
    index: float
    parameters: dict[str, float]
    rms: float
    aic: float
    is_slowly_varying: bool


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
    forms = _fitted_forms(x, y, accuracy)
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


def _fitted_forms(x: np.ndarray, y: np.ndarray, accuracy: float) -> tuple[SlowFactor, ...]:
    is_late = (x >= (x[0] + x[-1]) / 2) & (x > 0.5)
    if is_late.sum() < 6:
        is_late = np.arange(len(x)) >= len(x) - 6
    x, y = x[is_late], y[is_late]
    fits: list[Callable[[np.ndarray, np.ndarray, float], SlowFactor]] = [_constant, _correction, _log_periodic]
    if x[0] > 0:
        fits += [_log_power, _root_of_log]
    return tuple(sorted((fit(x, y, accuracy) for fit in fits), key=lambda form: form.aic))


def _made(
    name: str, index: float, parameters: dict[str, float], residual: np.ndarray, accuracy: float, is_slow: bool = True
) -> SlowFactor:
    mean_square = float(np.mean(residual**2))
    aic = len(residual) * np.log(max(mean_square, accuracy**2)) + 2 * (2 + len(parameters))
    return SlowFactor(name, float(index), parameters, float(np.sqrt(mean_square)), float(aic), is_slow)


def _linear(columns: list[np.ndarray], y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and residual of a least-squares fit with a constant."""
    design = np.stack([np.ones_like(y), *columns], axis=1)
    found = np.linalg.lstsq(design, y, rcond=None)[0]
    return found[1:], y - design @ found


def _constant(x: np.ndarray, y: np.ndarray, accuracy: float) -> SlowFactor:
    (index,), residual = _linear([x], y)
    return _made("constant", index, {}, residual, accuracy)


def _log_power(x: np.ndarray, y: np.ndarray, accuracy: float) -> SlowFactor:
    (index, power), residual = _linear([x, np.log(x)], y)
    return _made("power of log t", index, {"power": float(power)}, residual, accuracy)


def _root_of_log(x: np.ndarray, y: np.ndarray, accuracy: float) -> SlowFactor:
    (index, amount), residual = _linear([x, np.sqrt(x)], y)
    return _made("exp(C sqrt(log t))", index, {"amount": float(amount)}, residual, accuracy)


def _correction(x: np.ndarray, y: np.ndarray, accuracy: float) -> SlowFactor:
    """1 + C t^-delta with C > -1 at the first point: a scan over delta starts the refinement."""
    shifted = x - x[0]

    def residual(parameters: np.ndarray) -> np.ndarray:
        constant, index, amount, delta = parameters
        return y - constant - index * shifted - np.log1p(amount * np.exp(-delta * shifted))

    (index,), rest = _linear([shifted], y)
    bounds = ([-np.inf, -np.inf, -0.99, 1e-2], [np.inf, np.inf, 1e3, 10.0])
    starts = [(y[0], index, amount, delta) for amount in (-0.3, 0.5) for delta in (0.15, 1.0)]
    fits = [least_squares(residual, start, bounds=bounds, x_scale=[1, 1, 1, 0.3], max_nfev=100) for start in starts]
    best = min(fits, key=lambda fit: fit.cost)
    if best.cost >= 0.5 * (rest**2).sum():
        return _made("1 + C t^-delta", index, {"amount": 0.0, "delta": 1.0}, rest, accuracy)
    amount = float(best.x[2] * np.exp(best.x[3] * x[0]))
    parameters = {"amount": amount, "delta": float(best.x[3])}
    return _made("1 + C t^-delta", best.x[1], parameters, best.fun, accuracy)


def _log_periodic(x: np.ndarray, y: np.ndarray, accuracy: float) -> SlowFactor:
    """exp(A cos(omega ln t + phase)), with at least one period in the range and four points a period."""
    slowest = 2 * np.pi / (x[-1] - x[0])
    fastest = max(2 * slowest, np.pi / (2 * float(np.median(np.diff(x)))))
    fits = []
    for frequency in np.linspace(slowest, fastest, 80):
        found, residual = _linear([x, np.cos(frequency * x), np.sin(frequency * x)], y)
        fits.append((float((residual**2).sum()), frequency, found, residual))
    _, frequency, (index, cosine, sine), residual = min(fits, key=lambda fit: fit[0])
    parameters = {
        "frequency": float(frequency),
        "amplitude": float(np.hypot(cosine, sine)),
        "phase": float(np.arctan2(-sine, cosine)),
    }
    return _made("log-periodic", index, parameters, residual, accuracy, is_slow=False)


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
