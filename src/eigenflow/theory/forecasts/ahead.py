"""What lies ahead of a run's end: the limit of the equation that forecast its own past best, carried on from there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.errors import EigenflowError
from eigenflow.core.rounding import above_rounding
from eigenflow.store import Run
from eigenflow.theory.forecasts.limits import LimitForecast, lazy_forecast, transport_forecast
from eigenflow.theory.forecasts.observed import Observed, observe_all
from eigenflow.theory.forecasts.rest_of_run import RestForecast

__all__ = ["AheadForecast", "forecast_ahead"]

LIMITS = {"lazy": lazy_forecast, "transport": transport_forecast}
# How far ahead, as a multiple of the updates that are known: the same there and on the parts of the run it is held to.
REACH = 2
POINTS = 64
# Earlier cuts say too little of the end.
LEAST_CUT = 0.25


@dataclass(frozen=True)
class AheadForecast:
    """A run carried on by a limit of the equation.

    Attributes:
        method: "lazy" or "transport".
        steps: Completed updates, from the end of the run to twice as many.
        loss: Forecast loss of each.
        lower: As far below as the same method was off on this run itself. No level of confidence belongs to it.
        upper: As far above.
        missed: The largest |ln(forecast / true)| of the method on this run, from a quarter and from half of its
            updates, to twice as many each.
        cuts: Shares of the run that `missed` is from.
    """

    method: str
    steps: Int[np.ndarray, " later"]
    loss: Float[np.ndarray, " later"]
    lower: Float[np.ndarray, " later"]
    upper: Float[np.ndarray, " later"]
    missed: float
    cuts: tuple[float, ...]


def forecast_ahead(run: Run, forecasts: Sequence[RestForecast]) -> AheadForecast | None:
    """Carry a run on to twice its updates, at its last learning rate.

    Args:
        run: As from `open_run`.
        forecasts: Those of the rest of the run from its beginning, as from `forecast_rest`: they choose the method.

    Returns:
        The forecast; None where the modes do not make the logged loss (losses that are not squared, minibatches),
        where no cut late enough was scored, and where the run has come to rounding.
    """
    scored = [one for one in forecasts if one.method in LIMITS and one.observed.cut >= LEAST_CUT]
    scored = [one for one in scored if one.observed.quantity == "loss" and one.observed.source == "logged"]
    if not scored:
        return None
    worst = {name: max(_missed(one) for one in scored if one.method == name) for name in {one.method for one in scored}}
    method = min(worst, key=lambda name: worst[name])
    if not np.isfinite(worst[method]):
        return None
    try:
        observed = observe_all(run, REACH, POINTS)
        found: LimitForecast = LIMITS[method](observed)
    except EigenflowError:
        return None
    kept = above_rounding(np.concatenate([observed.losses[:1], found.loss]))[1:] & (found.loss > 0)
    if kept.sum() < 2:
        return None
    off, cuts = worst[method], tuple(sorted({one.observed.cut for one in scored}))
    steps, loss = observed.later_steps[kept], found.loss[kept]
    return AheadForecast(method, steps, loss, loss * np.exp(-off), loss * np.exp(off), off, cuts)


def _missed(one: RestForecast) -> float:
    """The largest |ln(forecast / true)| up to twice the updates that it knew."""
    observed: Observed = one.observed
    near = observed.later_steps <= REACH * observed.cut_step
    if not near.any():
        return np.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(np.log(one.loss[near] / observed.later_losses[near]))
    return float(np.max(apart)) if np.isfinite(apart).all() else np.inf
