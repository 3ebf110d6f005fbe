"""The rest of a run, forecast from its beginning in three ways and scored on the truth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import EigenflowError
from eigenflow.core.scores import CurveScore, score_curve
from eigenflow.store import Run
from eigenflow.theory.forecasts.limits import lazy_forecast, transport_forecast
from eigenflow.theory.forecasts.observed import CUTS, Observed, observe_until
from eigenflow.theory.forecasts.power_law import power_law_forecast

__all__ = ["RestForecast", "forecast_rest"]


@dataclass(frozen=True)
class RestForecast:
    """One method's forecast from one cut, beside the truth.

    Attributes:
        method: "lazy", "transport" or "power_law".
        observed: The cut, with the later steps, times and true losses.
        loss: Forecast at `observed.later_steps`.
        lower: Lower end of its 90 % interval, from the uncertainty of the method's own parameter alone.
        upper: Upper end.
        parameter: What the method measured: gamma (transport), the exponent (power law), 0 (lazy).
        basis: Number of modes or points behind the forecast.
        score: Distance from the truth.
    """

    method: str
    observed: Observed
    loss: Float[np.ndarray, " later"]
    lower: Float[np.ndarray, " later"]
    upper: Float[np.ndarray, " later"]
    parameter: float
    basis: int
    score: CurveScore


def forecast_rest(run: Run, cuts: tuple[float, ...] = CUTS) -> tuple[list[RestForecast], list[str]]:
    """Forecast the later losses of a run from each cut: lazy limit, b = 1 transport, power law in time.

    Args:
        run: As from `open_run`.
        cuts: Shares of the steps that are known.

    Returns:
        The forecasts that were possible, and a line for each cut that was not.
    """
    forecasts: list[RestForecast] = []
    problems: list[str] = []
    for cut in cuts:
        try:
            forecasts += _from_cut(observe_until(run, cut))
        except EigenflowError as error:
            problems.append(f"{cut:.0%}: {error}")
    return forecasts, problems


def _from_cut(observed: Observed) -> list[RestForecast]:
    truth = observed.later_losses
    found = []
    for limit in (lazy_forecast(observed), transport_forecast(observed)):
        score = score_curve(limit.loss, truth)
        found.append(
            RestForecast(limit.name, observed, limit.loss, limit.lower, limit.upper, limit.gamma, limit.modes, score)
        )
    power = power_law_forecast(observed.times, observed.losses, observed.later_times)
    score = score_curve(power.loss, truth)
    found.append(
        RestForecast("power_law", observed, power.loss, power.lower, power.upper, power.exponent, power.points, score)
    )
    return found
