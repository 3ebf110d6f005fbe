"""Power laws in time: exponent, how far it swings, and whether the power continues better than its alternatives.

A power has one exponent. So the index ln[value(8 t) / value(t)] / ln 8 is followed over the last decade, and its range
is given relative to its mean: an exponential comes to 1 and more, exp(-t^.3) to .7, a clock that swings by a third to
.6.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import block_indices, correlated_quantiles, percentile_interval
from eigenflow.core.rounding import EXACT, WHOLE

__all__ = ["MIN_TIMES", "PowerInTime", "fit_power", "index_swing"]

MIN_TIMES = 8
FACTOR = 8.0  # of time over which an index is taken: wide enough that single modes average out
LEAST_INDEX = 0.25  # indices below this are compared with it, for nearly constant values have no relative change


@dataclass(frozen=True)
class PowerInTime:
    """A positive quantity as a power of time, value = A t^exponent.

    Attributes:
        exponent: Slope of ln(value) against ln(t), least squares.
        interval: Its 90 % interval, block bootstrap over times.
        curvature: Second derivative of ln(value) by ln(t); 0 for a power.
        curvature_interval: Its 90 % interval.
        amplitude: A.
        misfit: Root mean square of ln(value / fit).
        swing: Range of the index over the last decade relative to its mean, see `index_swing`; None if times span less
            than a factor of 80.
        swing_interval: Its 90 % interval, from resampled modes; None without them.
        skill: The earlier half of the times, continued over the later half: 1 - (squared error of the power) / (that of
            the better alternative), in logarithms.
        skill_interval: Its 90 % interval, block bootstrap over the later times.
        best_alternative: "exponential" (ln(value) linear in t) or "constant" (as at the end of the earlier half).
        times: Number of times.
        decades: Their span.
    """

    exponent: float
    interval: tuple[float, float]
    curvature: float
    curvature_interval: tuple[float, float]
    amplitude: float
    misfit: float
    swing: float | None
    swing_interval: tuple[float, float] | None
    skill: float
    skill_interval: tuple[float, float]
    best_alternative: str
    times: int
    decades: float


def fit_power(
    times: Float[np.ndarray, " time"],
    values: Float[np.ndarray, " time"],
    *,
    name: str = "values",
    drawn: Float[np.ndarray, "draw time"] | None = None,
    seed: int = 0,
) -> PowerInTime:
    """Fit a power of time; points where time or value is not positive are left out.

    Args:
        times: Increasing.
        values: In any unit.
        name: What is fitted, for the message if it cannot be.
        drawn: The same values of resampled modes, for the interval of the swing.
        seed: Of the bootstrap.

    Raises:
        ArgumentError: If fewer than 8 points are left, or they span less than a factor of 3 in time.
    """
    kept = (times > 0) & (values > 0) & np.isfinite(values)
    t, x, y = times[kept], np.log(times[kept]), np.log(values[kept])
    if len(x) < MIN_TIMES or x[-1] - x[0] < np.log(3.0):
        span = float(np.exp(x[-1] - x[0])) if len(x) else 1.0
        raise ArgumentError(
            f"`{name}` has {len(x)} positive values over a factor {span:.3g} of time; a power of time needs "
            f"{MIN_TIMES} over a factor of 3. Measure more steps, or train longer."
        )
    draws = block_indices(len(x), np.random.default_rng(seed))
    slope, offset = np.polyfit(x, y, 1)
    centred, miss = x - x.mean(), y - slope * x - offset
    bends = 2.0 * _coefficients(np.stack([centred**2, centred, np.ones_like(x)]), y, draws)[:, 0]
    slopes = _coefficients(np.stack([centred, np.ones_like(x)]), y, draws)[:, 0]
    skill, skill_interval, best = _held_out(t, x, y, seed)
    swing = index_swing(t, values[kept][None])
    return PowerInTime(
        exponent=float(slope),
        interval=correlated_quantiles(float(slope), slopes, centred * miss, draws),
        curvature=2.0 * float(np.polyfit(centred, y, 2)[0]),
        curvature_interval=percentile_interval(bends),
        amplitude=float(np.exp(offset)),
        misfit=float(np.sqrt(np.mean(miss**2))),
        swing=None if swing is None else float(swing[0]),
        swing_interval=None if swing is None or drawn is None else _swing_interval(t, swing[0], drawn[:, kept]),
        skill=skill,
        skill_interval=skill_interval,
        best_alternative=best,
        times=len(x),
        decades=float((x[-1] - x[0]) / np.log(10.0)),
    )


def index_swing(
    times: Float[np.ndarray, " time"], values: Float[np.ndarray, "series time"]
) -> Float[np.ndarray, " series"] | None:
    """Range of ln[v(8 t) / v(t)] / ln 8 over the last decade of 8 t, over the size of its mean there, at least 1/4.

    Args:
        times: Positive and increasing.
        values: Positive; powers of time between measured times.

    Returns:
        0 for a power of time; None if the times span less than 80, so that the last decade has no whole index.
    """
    x = np.log(times)
    ends = x[x >= x[-1] - np.log(10.0) * (1.0 + WHOLE)]
    starts = ends - np.log(FACTOR)
    if len(ends) < 3 or x[0] > starts[0] + WHOLE:
        return None
    after = np.clip(np.searchsorted(x, starts), 1, len(x) - 1)
    part = (starts - x[after - 1]) / (x[after] - x[after - 1])
    logs = np.log(np.maximum(values, np.finfo(np.float64).tiny))
    before = logs[:, after - 1] * (1.0 - part) + logs[:, after] * part
    index = (logs[:, len(x) - len(ends) :] - before) / np.log(FACTOR)
    return np.ptp(index, axis=1) / np.maximum(np.abs(index.mean(1)), LEAST_INDEX)


def _swing_interval(times: np.ndarray, swing: float, drawn: np.ndarray) -> tuple[float, float]:
    """Resampled modes swing more than the modes themselves do; the interval is mirrored at the estimate."""
    found = index_swing(times, drawn)
    assert found is not None
    low, high = percentile_interval(found)
    return max(0.0, 2.0 * swing - high), max(swing, 2.0 * swing - low)


def _coefficients(columns: np.ndarray, y: np.ndarray, draws: np.ndarray) -> Float[np.ndarray, "draw column"]:
    """Least squares in every draw; draws of too few different points fall back on the smallest solution."""
    design = columns[:, draws].transpose(1, 2, 0)
    return (np.linalg.pinv(design) @ y[draws][:, :, None])[:, :, 0]


def _held_out(t: np.ndarray, x: np.ndarray, y: np.ndarray, seed: int) -> tuple[float, tuple[float, float], str]:
    half = len(x) // 2
    power = np.polyval(np.polyfit(x[:half], y[:half], 1), x[half:])
    others = {
        "exponential": np.polyval(np.polyfit(t[:half] / t[half], y[:half], 1), t[half:] / t[half]),
        "constant": np.full(len(x) - half, y[half - 1]),
    }
    found = {"power": power, **others}
    errors = {name: np.maximum((values - y[half:]) ** 2, EXACT**2) for name, values in found.items()}
    best = min(others, key=lambda name: errors[name].sum())

    def skill(index: np.ndarray) -> float:
        return float(1.0 - errors["power"][index].sum() / errors[best][index].sum())

    draws = block_indices(len(power), np.random.default_rng(seed))
    return skill(np.arange(len(power))), percentile_interval(np.array([skill(index) for index in draws])), best
