"""Predictive 90 % intervals that were checked on curves nobody had seen.

The interval of ln(loss) at a point is the forecast, plus and minus a quantile of Student's law times the root of a
weighted sum, scaled to the study at hand by its own backtests (`error_scale`):

    parameters   over what the curves leave open of them (`Fit.log_moments`), times how much further the fit lies from
                 its prior than the prior expects: a covariance trusts the prior, and is then too small
    noise        point noise of the known curves
    misfit       mean squared residual of the fit, times (1 + d)^2, d = how far ahead of the known curves, in e-folds
    laws         mean squared distance to what other laws, fitted to the same curves, forecast for the point
    runs         spread between repeats, if the curve is another run than the ones fitted
    size         distance of ln(size) from the fitted sizes, in the law's own change of ln(loss) per e-fold
    peak         the same of the peak rate
    departure    squared distance from the forecast to the nearest known curve: a law that says that much happens may be
                 wrong by a share of it

A misfit cannot be seen in the residuals of the law that has it; its sign is that laws of equal
standing disagree ahead. Weights and factor are learned by backtests on other sets (`calibration`), and ship with
the coverage that they had there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.fitting.fit import MOST_SD, Fit
from eigenflow.forecast.fitting.points import LEAST_FOR_NOISE, point_noise
from eigenflow.forecast.intervals.distances import departure, peak_variance, size_variance, time_ahead
from eigenflow.forecast.intervals.error_scale import COMPONENTS, Calibration, OwnError
from eigenflow.forecast.intervals.rest_of_run import rest_of_run
from eigenflow.forecast.laws.protocol import History

__all__ = [
    "STACKED",
    "Fitted",
    "PredictedCurve",
    "measure_spread",
    "posterior_moments",
    "predict_interval",
]

# Distances beyond this say "do not know"; a diverged alternative must not say more.
MOST_DISAGREEMENT = 0.3
# Standard deviation of ln(loss) between two runs of one setting: 0.0025 nats mean distance at 3.2 nats.
TYPICAL_RUN_SD = 7e-4

# The law whose forecasts of the rest of a run are means with others.
STACKED = "transport"

Points = Float[np.ndarray, " point"]


@runtime_checkable
class Fitted(Protocol):
    """What an interval needs of a fit."""

    @property
    def residuals(self) -> Sequence[Float[np.ndarray, " _"]]: ...

    @property
    def covariance(self) -> Float[np.ndarray, "free free"]: ...

    def log_prediction(
        self, history: History, size: float | None = None
    ) -> tuple[Points, Float[np.ndarray, "point free"]]: ...


@dataclass(frozen=True, repr=False)
class PredictedCurve(FieldsPrinted):
    """A forecast with its 90 % interval, in the unit of the loss.

    Attributes:
        steps: Completed updates.
        loss: Forecast.
        lower: Lower end.
        upper: Upper end.
        spread: Variances of ln(loss) behind the interval, one column for each of `COMPONENTS`.
        calibration: Weights, factor, and the coverage that they had on unseen curves.
    """

    steps: np.ndarray
    loss: Points
    lower: Points
    upper: Points
    spread: Float[np.ndarray, "point component"]
    calibration: Calibration


def predict_interval(
    fit: Fitted,
    known: Sequence[Curve],
    history: History,
    calibration: Calibration,
    *,
    size: float | None = None,
    alternatives: Mapping[str, Fitted] | None = None,
    is_same_run: bool = False,
    is_stacked: bool = False,
    own: Sequence[OwnError] = (),
) -> PredictedCurve:
    """Forecast a curve with its interval.

    Args:
        fit: The law's fit.
        known: The curves it was fitted to.
        history: Where to forecast, and every learning rate up to there.
        calibration: Of this law, as from `shipped_calibration`.
        size: Of the model, for fits that join several sizes.
        alternatives: Other laws fitted to the same curves, by name; without any, the interval knows nothing of misfit
            ahead.
        is_same_run: Whether the forecast goes on with a run that is among `known`.
        is_stacked: Whether it is then the mean with other laws (`rest_of_run`) where that is better.
        own: Backtests within `known` (`own_errors`); without any, errors are taken to be as in an average study.
    """
    log_loss, variance = posterior_moments(fit, history, size)
    others = _forecasts(alternatives or {}, history, size)
    if is_stacked:
        log_loss = rest_of_run(log_loss, known[0], history, others)
    apart = list(others.values())
    spread = measure_spread(fit, known, history, log_loss, variance, apart, size=size, is_same_run=is_same_run)
    half = calibration.half_width(spread, own)
    return PredictedCurve(
        history.steps, np.exp(log_loss), np.exp(log_loss - half), np.exp(log_loss + half), spread, calibration
    )


def posterior_moments(fit: Fitted, history: History, size: float | None) -> tuple[Points, Points]:
    """Mean and variance of ln(loss) over what the curves leave open of the parameters."""
    if isinstance(fit, Fit):
        return fit.log_moments(history, size)
    log_loss, jacobian = fit.log_prediction(history, size)
    return log_loss, np.maximum(np.einsum("pf,fg,pg->p", jacobian, fit.covariance, jacobian), 0.0)


def _forecasts(alternatives: Mapping[str, Fitted], history: History, size: float | None) -> dict[str, Points]:
    """What the other laws say; one that knows nothing of this size has no say."""
    found = {}
    for name, other in alternatives.items():
        try:
            found[name] = other.log_prediction(history, size)[0]
        except ArgumentError:
            continue
    return found


def measure_spread(
    fit: Fitted,
    known: Sequence[Curve],
    history: History,
    log_loss: Points,
    parameters: Points,
    alternatives: Sequence[Points],
    *,
    size: float | None = None,
    is_same_run: bool,
) -> Float[np.ndarray, "point component"]:
    """Measure the variances of ln(loss) at every point of a forecast, in the order of `COMPONENTS`.

    `log_loss` and `parameters` are its mean and variance over what the curves leave open (`posterior_moments`).
    """
    if len(fit.residuals) != len(known):
        raise ArgumentError(f"`known` must be the {len(fit.residuals)} curves of the fit, but has {len(known)}.")
    residuals = np.concatenate(list(fit.residuals))
    misfit = float(residuals @ residuals) / max(len(residuals) - len(fit.covariance), 1)
    ahead = time_ahead(known, history)
    columns = {
        "parameters": np.minimum(parameters, MOST_SD**2),
        "noise": np.full(len(log_loss), _noise_variance(fit, known, misfit)),
        "misfit": misfit * (1.0 + ahead) ** 2,
        "laws": _disagreement(log_loss, alternatives),
        "runs": np.full(len(log_loss), 0.0 if is_same_run else TYPICAL_RUN_SD**2),
        "size": size_variance(fit, known, history, log_loss, size),
        "peak": peak_variance(fit, known, history, log_loss, size),
        "departure": departure(fit, known, history, log_loss, size) ** 2,
    }
    return np.stack([columns[name] for name in COMPONENTS], axis=1)


def _noise_variance(fit: Fitted, known: Sequence[Curve], misfit: float) -> float:
    """Of one logged point; of few points that do not tell it, the whole misfit."""
    if isinstance(fit, Fit):
        return fit.point_noise**2
    floors = [point_noise(curve) for curve in known if len(curve) >= LEAST_FOR_NOISE]
    return float(np.mean(np.square(floors))) if floors else misfit


def _disagreement(log_loss: Points, alternatives: Sequence[Points]) -> Points:
    if not alternatives:
        return np.zeros(len(log_loss))
    distances = np.minimum(np.abs(np.stack(alternatives) - log_loss), MOST_DISAGREEMENT)
    return (distances**2).mean(axis=0)
