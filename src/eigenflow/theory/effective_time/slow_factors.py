"""Forms of L in tau(t) = t^rho L(t), fitted together with the index: slowly varying ones, and one that is not."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

__all__ = ["SlowFactor", "fit_slow_factors"]


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


def fit_slow_factors(
    x: Float[np.ndarray, " time"], y: Float[np.ndarray, " time"], accuracy: float
) -> tuple[SlowFactor, ...]:
    """Fit every form of L to the later half of log time.

    Args:
        x: ln t.
        y: ln tau.
        accuracy: Of y; residuals below it are not told apart.

    Returns:
        The forms, the best by Akaike's criterion first.
    """
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
