"""Forms of the strength c(t) of the drift law: a power of time, a monotone, a piecewise or a free curve.

At a given exponent the law's squared error is, up to a constant, the weighted squared distance of the strength from the
one that fits best at each time, so every form is a weighted fit of one curve over time. All are signed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.optimize import isotonic_regression

from eigenflow.core.errors import ArgumentError
from eigenflow.core.rounding import WHOLE

__all__ = ["Form", "Strength", "fit_strength"]

Form = Literal["power", "fading", "self-similar", "monotone", "piecewise", "free"]
DECAYS = np.linspace(-2.0, 4.0, 61)
KNOTS_PER_DECADE = 2
# Fits that differ by less than this share are equal up to rounding; the first of them is taken.
TIE = 1e-12


@dataclass(frozen=True)
class Strength:
    """kappa(t) = c(t) lambda_ref^(b - 1), 1 / time, within the fitted times and continued after them.

    Attributes:
        form: "power": kappa0 (1 + t / t0)^-p, or kappa0 t^-p where t0 = 0. "fading": the same with p >= 0, for v is
            linear in the error, which fades (equations/hypotheses.md#drift-linear-in-error). "self-similar":
            kappa0 t^(b-2), all that a scale-free drift allows (equations/hypotheses.md#scale-covariance).
            "monotone": the best curve that never turns back, continued as 1 / t
            if it fades and as a constant if it grows. "piecewise": t kappa is linear in ln(t) between knots, two a
            decade, and stays at its last knot. "free": what fits best at each time, t kappa linear in ln(t) between
            times and constant after them.
        curve: kappa as a function of an array of times.
        parameters: By name.
        distance: Weighted squared distance from the best strength at each time.
    """

    form: Form
    curve: Callable[[np.ndarray], np.ndarray] = field(repr=False)
    parameters: dict[str, float]
    distance: float

    def __call__(self, times: Float[np.ndarray, " any"]) -> Float[np.ndarray, " any"]:
        """Evaluate kappa; positive moves modes down."""
        return self.curve(np.asarray(times, dtype=np.float64))


def fit_strength(
    form: Form,
    times: Float[np.ndarray, " time"],
    best: Float[np.ndarray, " time"],
    weight: Float[np.ndarray, " time"],
    b: float,
) -> Strength:
    """Fit one form to the strength that is best at each time.

    Args:
        form: One of the forms of `Strength`.
        times: Increasing, positive.
        best: Strength that fits best at each time.
        weight: How much the law's squared error grows with the square of a deviation from it.
        b: Exponent of lambda, on which only "self-similar" depends.

    Raises:
        ArgumentError: If `form` is unknown.
    """
    fits = {"power": _power, "fading": _fading, "monotone": _monotone, "piecewise": _piecewise, "free": _free}
    if form == "self-similar":
        curve, parameters = _self_similar(times, best, weight, b)
    elif form in fits:
        curve, parameters = fits[form](times, best, weight)
    else:
        allowed = ", ".join(map(repr, ["self-similar", *fits]))
        raise ArgumentError(f"`strength` must be one of {allowed}, but is {form!r}.")
    return Strength(form, curve, parameters, float((weight * (curve(times) - best) ** 2).sum()))


def _fading(times: np.ndarray, best: np.ndarray, weight: np.ndarray) -> tuple[Callable, dict[str, float]]:
    return _power(times, best, weight, least=0.0)


def _power(
    times: np.ndarray, best: np.ndarray, weight: np.ndarray, least: float = float(DECAYS[0])
) -> tuple[Callable, dict[str, float]]:
    """Search t0 and p >= least on a grid, kappa0 in closed form; then both again around the best, finer."""
    onsets, shapes = _power_shapes(tuple(times))
    skipped = int(np.searchsorted(DECAYS, least - 1e-9))
    i, j, _ = _best_power(shapes[:, skipped:], best, weight)
    around = np.linspace(-1.0, 1.0, 21)
    decays = np.maximum(DECAYS[skipped + j] + around * (DECAYS[1] - DECAYS[0]), least)
    onsets = onsets[i] * (onsets[-1] / onsets[-2]) ** around[::2] if onsets[i] else onsets[i : i + 1]
    i, j, size = _best_power(_powers(onsets, decays, times), best, weight)
    onset, decay = float(onsets[i]), float(decays[j])

    def curve(t: np.ndarray) -> np.ndarray:
        return size * (1.0 + t / onset) ** -decay if onset else size * t**-decay

    return curve, {"kappa0": size, "t0": onset, "p": decay}


def _self_similar(
    times: np.ndarray, best: np.ndarray, weight: np.ndarray, b: float
) -> tuple[Callable, dict[str, float]]:
    shape = times ** (b - 2.0)
    size = float((weight * best * shape).sum() / (weight * shape**2).sum())
    return lambda t: size * t ** (b - 2.0), {"kappa0": size, "t0": 0.0, "p": 2.0 - b}


@lru_cache(maxsize=4)
def _power_shapes(times: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    onsets = np.concatenate([[0.0], np.geomspace(times[0], times[-1], 16)])
    return onsets, _powers(onsets, DECAYS, np.array(times))


def _powers(onsets: np.ndarray, decays: np.ndarray, times: np.ndarray) -> Float[np.ndarray, "onset decay time"]:
    base = np.log1p(times / np.where(onsets > 0, onsets, 1.0)[:, None])
    base[onsets == 0] = np.log(times)
    return np.exp(-decays[None, :, None] * base[:, None, :])


def _best_power(shapes: np.ndarray, best: np.ndarray, weight: np.ndarray) -> tuple[int, int, float]:
    along, square = shapes @ (weight * best), (shapes**2) @ weight
    gain = along**2 / square
    # At p = 0 every t0 gives the same curve, and the first one stands for all.
    i, j = np.unravel_index(np.argmax(gain >= gain.max() * (1.0 - TIE)), along.shape)
    return int(i), int(j), float(along[i, j] / square[i, j])


def _monotone(times: np.ndarray, best: np.ndarray, weight: np.ndarray) -> tuple[Callable, dict[str, float]]:
    found = [isotonic_regression(best, weights=weight, increasing=up).x for up in (True, False)]
    levels = min(found, key=lambda x: float((weight * (x - best) ** 2).sum()))

    fades = abs(levels[-1]) < abs(levels[0]) * (1.0 - TIE)  # a constant does not

    def curve(t: np.ndarray) -> np.ndarray:
        after = times[-1] / np.maximum(t, times[-1]) if fades else 1.0
        return np.interp(t, times, levels) * after

    return curve, {"first": float(levels[0]), "last": float(levels[-1])}


def _piecewise(times: np.ndarray, best: np.ndarray, weight: np.ndarray) -> tuple[Callable, dict[str, float]]:
    x = np.log(times)
    knots = np.linspace(x[0], x[-1], 1 + max(1, round(KNOTS_PER_DECADE * np.ptp(x) / np.log(10) + WHOLE)))
    hats = np.stack([np.interp(x, knots, unit) for unit in np.eye(len(knots))], axis=1)
    root = np.sqrt(weight) / times
    levels = np.linalg.lstsq(hats * root[:, None], root * times * best, rcond=None)[0]
    return _interpolated(knots, levels), {
        f"t kappa at {t:.3g}": float(v) for t, v in zip(np.exp(knots), levels, strict=True)
    }


def _free(times: np.ndarray, best: np.ndarray, weight: np.ndarray) -> tuple[Callable, dict[str, float]]:
    return _interpolated(np.log(times), times * best), {}


def _interpolated(knots: np.ndarray, levels: np.ndarray) -> Callable:
    """t kappa linear in ln(t) and constant outside; before the first knot kappa itself is, for t may be 0 there."""

    def curve(t: np.ndarray) -> np.ndarray:
        t = np.maximum(t, np.exp(knots[0]))
        return np.interp(np.log(t), knots, levels) / t

    return curve
