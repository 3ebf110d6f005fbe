"""Power laws in time: exponent, curvature, and whether the power continues better than its alternatives."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import block_indices, percentile_interval
from eigenflow.core.rounding import EXACT

__all__ = ["MIN_TIMES", "PowerInTime", "fit_power"]

MIN_TIMES = 8


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
    skill: float
    skill_interval: tuple[float, float]
    best_alternative: str
    times: int
    decades: float


def fit_power(
    times: Float[np.ndarray, " time"], values: Float[np.ndarray, " time"], *, name: str = "values", seed: int = 0
) -> PowerInTime:
    """Fit a power of time; points where time or value is not positive are left out.

    Args:
        times: Increasing.
        values: In any unit.
        name: What is fitted, for the message if it cannot be.
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
    centred = x - x.mean()
    bends = 2.0 * _coefficients(np.stack([centred**2, centred, np.ones_like(x)]), y, draws)[:, 0]
    slopes = _coefficients(np.stack([centred, np.ones_like(x)]), y, draws)[:, 0]
    skill, skill_interval, best = _held_out(t, x, y, seed)
    return PowerInTime(
        exponent=float(slope),
        interval=percentile_interval(slopes),
        curvature=2.0 * float(np.polyfit(centred, y, 2)[0]),
        curvature_interval=percentile_interval(bends),
        amplitude=float(np.exp(offset)),
        misfit=float(np.sqrt(np.mean((y - slope * x - offset) ** 2))),
        skill=skill,
        skill_interval=skill_interval,
        best_alternative=best,
        times=len(x),
        decades=float((x[-1] - x[0]) / np.log(10.0)),
    )


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
