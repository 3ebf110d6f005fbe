"""How far a forecast goes from what was seen: ahead in time, to another schedule, another size, another peak rate."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from eigenflow.core.rounding import WHOLE
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.laws.protocol import History

__all__ = ["Predicting", "departure", "peak_variance", "size_variance", "time_ahead"]

# Distances beyond this say "do not know"; a law that ran away must not say more.
MOST_CHANGE = 0.3
# A log every few updates shows a peak rate to about this factor.
SAME_PEAK = 0.02

Points = Float[np.ndarray, " point"]


@runtime_checkable
class Predicting(Protocol):
    """What a distance needs of a fit."""

    def log_prediction(
        self, history: History, size: float | None = None
    ) -> tuple[Points, Float[np.ndarray, "point free"]]: ...


def time_ahead(known: Sequence[Curve], history: History) -> Points:
    """How many e-folds of steps, or of intrinsic time, a point lies ahead of everything known; 0 inside."""
    last_step = max(int(curve.steps[-1]) for curve in known)
    last_time = max(float(curve.times[-1]) for curve in known)
    ahead = [np.log(history.steps / last_step)]
    if last_time > 0:
        ahead.append(np.log(np.maximum(history.times / last_time, 1e-300)))
    return np.maximum(np.max(ahead, axis=0), 0.0)


def departure(
    fit: Predicting, known: Sequence[Curve], history: History, log_loss: Points, size: float | None
) -> Points:
    """Distance in ln(loss) from the forecast to the nearest known curve of the same size at the same step.

    Behind the end of a curve its last loss counts, so along one run it is what is still to be lost. For another size
    the law's curve at the nearest fitted size stands for the forecast.
    """
    nearest = _nearest_size(known, size)
    if nearest is not None and nearest != size:
        log_loss = fit.log_prediction(history, nearest)[0]
    apart = [
        np.abs(log_loss - np.interp(history.steps, curve.steps, np.log(curve.losses)))
        for curve in known
        if curve.size == nearest
    ]
    return np.minimum(np.min(apart, axis=0), MOST_CHANGE)


def size_variance(
    fit: Predicting, known: Sequence[Curve], history: History, log_loss: Points, size: float | None
) -> Points:
    """Variance if ln(loss) walks at random in ln(size) about the law's trend and is known at the fitted sizes.

    A step of one e-fold has the law's own change of ln(loss) per e-fold, towards the nearest fitted size, as its
    standard deviation; half-way between two it is the smaller one. Between two fitted sizes at distances a and b that
    is a bridge, a b / (a + b); beyond them, at a distance d, it is d + d^2 / span: the second term is the trend's own
    error, learned from that span.
    """
    fitted = sorted({curve.size for curve in known if curve.size is not None})
    if size is None or not fitted or size in fitted:
        return np.zeros(len(log_loss))
    nearest = _nearest_size(known, size)
    change = np.abs(log_loss - fit.log_prediction(history, nearest)[0])
    return _walk(np.log(np.array(fitted) / size), change)


def peak_variance(
    fit: Predicting, known: Sequence[Curve], history: History, log_loss: Points, size: float | None
) -> Points:
    """The same in ln(peak rate), for a schedule whose peak is none of the fitted ones."""
    peak = float(history.rates.max())
    peaks = np.array(sorted({curve.schedule.peak for curve in known}))
    ahead = np.log(peaks / peak)
    if np.abs(ahead).min() <= SAME_PEAK:
        return np.zeros(len(log_loss))
    nearest = peaks[np.abs(ahead).argmin()]
    moved = History(history.steps, history.rates * (nearest / peak), history.batch)
    return _walk(ahead, np.abs(log_loss - fit.log_prediction(moved, size)[0]))


def _nearest_size(known: Sequence[Curve], size: float | None) -> float | None:
    fitted = sorted({curve.size for curve in known if curve.size is not None})
    if size is None or not fitted:
        return fitted[0] if fitted else None
    apart = np.abs(np.log(np.array(fitted) / size))
    return fitted[int(np.argmax(apart <= apart.min() * (1.0 + WHOLE)))]


def _walk(ahead: Float[np.ndarray, " place"], change: Points) -> Points:
    """Variance of a walk that is known at increasing places, at distances `ahead` of the one that is wanted."""
    apart = np.abs(ahead)
    per_fold = np.minimum(change, MOST_CHANGE) / apart.min()
    below, above = ahead[ahead < 0], ahead[ahead > 0]
    if len(below) and len(above):
        return per_fold**2 / (1.0 / above[0] - 1.0 / below[-1])
    drift = apart.min() ** 2 / np.ptp(ahead) if len(ahead) > 1 else 0.0
    return per_fold**2 * (apart.min() + drift)
