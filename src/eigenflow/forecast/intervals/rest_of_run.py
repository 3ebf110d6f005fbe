"""The rest of one run: a mean over laws that see different things, where held-out rests say that it is better.

The transport law knows learning rates and many runs; the published prior of learning curves [@adriaensen2023efficient]
knows the shapes that curves have, and nothing of rates; a power of the steps knows next to nothing. How much each
counts depends on two facts that are known beforehand: whether the rate stays as it is, and which share of the run was
seen. It was decided on rests of the shared sets (benchmarks/early_forecasts.py).
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.laws.learning_curves import LearningCurveStatus, fit_learning_curve
from eigenflow.forecast.laws.protocol import History
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["rate_stays", "rest_of_run", "rest_weights"]

# A rate that differs by less than this after the first tenth of a run stays as it is.
STAYS, FIRST = 0.01, 0.1
# Of a run whose rate decays, the share that tells the transport law enough.
ENOUGH = 0.2
# Other laws come in over the first steps ahead of what was seen, by this share of it.
RAMP = 0.1
# More points than this are averaged first, so that a fit from a file, whose curves are thinned, forecasts the same.
POINTS = 60

Points = Float[np.ndarray, " point"]


def rate_stays(rates: Float[np.ndarray, " update"]) -> bool:
    """Whether a run's rate stays as it is, but for its first tenth."""
    later = rates[int(FIRST * len(rates)) :]
    return bool(later.max() <= (1.0 + STAYS) * later.min())


def rest_weights(share: float, stays: bool, available: frozenset[str]) -> dict[str, float]:
    """Give the weight of each law in the mean of ln(loss).

    Args:
        share: Part of the run's updates that was seen.
        stays: Whether the rate stays as it is.
        available: Which of "learning_curve" and "power_steps" stand beside the transport law.
    """
    late = set[str]() if share >= ENOUGH else {"learning_curve", "power_steps"}
    chosen = sorted(({"learning_curve"} if stays else late) & available)
    return {"transport": 1.0 / (1 + len(chosen))} | {name: 1.0 / (1 + len(chosen)) for name in chosen}


def rest_of_run(log_loss: Points, known: Curve, history: History, others: Mapping[str, Points]) -> Points:
    """Give the mean of ln(loss) over the laws that count, ahead of what was seen; before it, the law itself.

    Args:
        log_loss: The transport law's forecast at the history's observations.
        known: What was seen of this run.
        history: All its rates.
        others: Forecasts of other laws there, by name; "power_steps" counts.
    """
    last, total = int(known.steps[-1]), len(history.rates)
    stays, share = rate_stays(history.rates), last / total
    ahead = history.steps > last
    beside = {name: values[ahead] for name, values in others.items() if name == "power_steps"}
    if not ahead.any() or not (stays or share < ENOUGH):
        return log_loss
    curve = _learning_curve(known, history.steps[ahead], total)
    if curve is not None:
        beside["learning_curve"] = curve
    weights = rest_weights(share, stays, frozenset(beside))
    found = log_loss.copy()
    mean = weights["transport"] * log_loss[ahead]
    mean = mean + sum(weight * beside[name] for name, weight in weights.items() if name != "transport")
    grown = np.minimum((history.steps[ahead] - last) / (RAMP * last), 1.0)
    found[ahead] += grown * (mean - log_loss[ahead])
    return found


def _learning_curve(known: Curve, steps: np.ndarray, total: int) -> Points | None:
    """Forecast of the published prior of learning curves; None where it has no curve like this one."""
    flat = Curve(known.name, known.steps, known.losses, Schedule.constant(total=total, peak=1.0)).binned(POINTS)
    try:
        fit = fit_learning_curve(flat.steps, flat.losses, total=total, rng=np.random.default_rng(0))
    except ArgumentError:  # too few points
        return None
    if fit.status == LearningCurveStatus.OUTSIDE:
        return None
    return np.log(fit.predict(steps).median)
