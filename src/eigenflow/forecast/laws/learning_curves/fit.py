"""Extrapolation of one loss curve by the published prior of learning curves, with its own predictive intervals.

It knows steps and losses only, so it is for runs whose learning rate stays as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from time import process_time
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.checks import check_kind, check_whole
from eigenflow.core.display import AbstractPrinted, Card, FieldsPrinted, figure, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.laws.learning_curves.posterior import Posterior, sample_posterior
from eigenflow.forecast.laws.learning_curves.prior import POSITIONS
from eigenflow.forecast.laws.learning_curves.units import Units
from eigenflow.forecast.laws.protocol import History
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = [
    "LearningCurveFit",
    "LearningCurveForecast",
    "LearningCurveStatus",
    "fit_learning_curve",
    "learning_curve_fitter",
]

# A longer log is averaged in windows; the prior was made for up to 100 points.
MOST_POINTS = 60
LEAST_POINTS = 3
# Of draws worth fewer than this, quantiles at 5 and 95 % are guesses.
FEW = 100.0

Points = Float[np.ndarray, " point"]


class LearningCurveStatus(Enum):
    """What the draws are worth."""

    CONVERGED = "converged"
    FEW_DRAWS = "few independent draws; the quantiles are rough"
    OUTSIDE = "no curve of the prior goes through these points; forecast by those that break its bounds the least"


@dataclass(frozen=True, repr=False)
class LearningCurveForecast(FieldsPrinted):
    """Losses to come, in the unit of the loss.

    Attributes:
        steps: Completed updates.
        median: Of the predictive law.
        lower: Its 5 % quantile.
        upper: Its 95 % quantile.
    """

    steps: Int[np.ndarray, " point"]
    median: Points
    lower: Points
    upper: Points


@dataclass(frozen=True, repr=False)
class LearningCurveFit(AbstractPrinted):
    """The posterior over curves through the known points; also a `Fitted` for `intervals.predict_interval`.

    Attributes:
        steps: Of the known points, as they were used.
        losses: There.
        units: Maps between the run and the prior.
        posterior: Draws, and what they are worth.
        status: The same in words.
        cpu_s: Processor seconds.
    """

    steps: Int[np.ndarray, " point"]
    losses: Points
    units: Units
    posterior: Posterior
    status: LearningCurveStatus
    cpu_s: float

    @cached_property
    def residuals(self) -> tuple[Points]:
        """ln(forecast) - ln(loss) at the known points."""
        return (np.log(self._quantiles(self.steps, (0.5,))[0]) - np.log(self.losses),)

    @property
    def covariance(self) -> Float[np.ndarray, "1 1"]:
        """Of the one direction that `log_prediction` gives: the standard deviation at each point, so 1."""
        return np.ones((1, 1))

    def predict(self, steps: Any, *, rng: np.random.Generator | None = None) -> LearningCurveForecast:
        """Forecast the loss with its 90 % interval.

        Args:
            steps: Completed updates, at least a hundredth of the run.
            rng: Adds the noise of single points to the interval, as in the published predictive law; None leaves it
                out: an interval for the curve itself.

        Raises:
            ArgumentError: If a step lies before the first hundredth of the run.
        """
        wanted = np.atleast_1d(np.asarray(steps))
        self._check_steps(wanted)
        low = 0.5 * (1.0 - LEVEL)
        lower, median, upper = self._quantiles(wanted, (low, 0.5, 1.0 - low), rng)
        return LearningCurveForecast(wanted, median, lower, upper)

    def log_prediction(
        self, history: History, size: float | None = None
    ) -> tuple[Points, Float[np.ndarray, "point 1"]]:
        """Give ln(median), and the posterior's standard deviation of ln(loss) in the place of a derivative.

        Half the distance of the quantiles at one standard deviation: heavy tails are the interval's business.
        """
        self._check_steps(history.steps)
        below, median, above = np.log(self._quantiles(history.steps, (0.1587, 0.5, 0.8413)))
        return median, 0.5 * (above - below)[:, None]

    def _check_steps(self, steps: np.ndarray) -> None:
        first = self.units.total / POSITIONS
        if not np.issubdtype(steps.dtype, np.integer) or len(steps) == 0 or steps.min() < first:
            raise ArgumentError(
                f"`steps` must be whole numbers of updates from {int(np.ceil(first))} on (a hundredth of the run, "
                f"where the prior begins), but are {np.array2string(steps, threshold=4)}."
            )

    def _quantiles(
        self, steps: np.ndarray, levels: Sequence[float], rng: np.random.Generator | None = None
    ) -> Float[np.ndarray, "level point"]:
        curves = self.posterior.curves(self.units.positions(steps))
        if rng is not None:
            curves = curves + self.posterior.noises[:, None] * rng.standard_normal(curves.shape)
        # The map is monotone, so quantiles of the losses are losses of the mirrored quantiles.
        return self.units.losses(np.quantile(curves, [1.0 - level for level in levels], axis=0))

    def _card(self) -> Card:
        end = self.predict([self.units.total])
        alpha, k, delta = np.exp(np.median(self.posterior.log_shapes, axis=0))
        rows = [
            ("status", self.status.value),
            ("known", f"{len(self.losses)} points, step {self.steps[0]} to {self.steps[-1]} of {self.units.total}"),
            ("end", f"{interval(end.median[0], end.lower[0], end.upper[0], 4)} (90 %, of the curve)"),
            ("shapes", f"medians: alpha {figure(alpha, 3)}, k {figure(k, 3)}, delta {figure(delta, 3)}"),
            ("draws", f"worth {self.posterior.effective:.0f} independent ones, {self.posterior.rounds} rounds"),
            ("cost", f"{figure(self.cpu_s, 2)} CPU-s"),
        ]
        return Card("Learning curve by the published prior of three curves", rows)


def fit_learning_curve(
    steps: Any, losses: Any, *, total: int, rng: np.random.Generator, draws: int = 4096
) -> LearningCurveFit:
    """Draw from the posterior over learning curves; about 0.2 CPU-s.

    Args:
        steps: Completed updates at each point, increasing.
        losses: There, positive. More than 60 points are averaged in windows even in ln(step).
        total: Updates of the whole run, the prior's position 100. The forecast depends on it.
        rng: Draws everything.
        draws: Places in a round of the sampler; its error falls as one over the root of it.

    Raises:
        ArgumentError: If fewer than 3 points lie after the first hundredth of the run, or a point beyond its end.
    """
    begun = process_time()
    check_whole("total", total, 1)
    check_whole("draws", draws, 256, 10**6, "number")
    check_kind("rng", rng, np.random.Generator, "a `numpy.random.Generator`, such as `numpy.random.default_rng(0)`")
    last = int(np.max(np.asarray(steps, dtype=np.float64), initial=0.0))
    if last > total:
        raise ArgumentError(f"`total` must be the updates of the whole run, but is {total}, and `steps` go to {last}.")
    curve = Curve("curve", steps, losses, Schedule.constant(total=total, peak=1.0))
    return _fit(curve, rng, draws, begun)


def learning_curve_fitter(seed: int = 0) -> Callable[[Sequence[Curve]], LearningCurveFit]:
    """Give a fitter for backtests: one curve, whose schedule says how long the run is."""

    def fit(curves: Sequence[Curve]) -> LearningCurveFit:
        begun = process_time()
        if len(curves) != 1:
            raise ArgumentError(f"Law 'learning_curve' is for one curve, but `curves` has {len(curves)}.")
        return _fit(curves[0], np.random.default_rng(seed), 4096, begun)

    return fit


def _fit(curve: Curve, rng: np.random.Generator, draws: int, begun: float) -> LearningCurveFit:
    total = curve.schedule.total
    kept = curve.steps >= total / POSITIONS
    if kept.sum() < LEAST_POINTS:
        raise ArgumentError(
            f"`steps` must have {LEAST_POINTS} points or more from step {int(np.ceil(total / POSITIONS))} on (a "
            f"hundredth of the run, where the prior begins), but has {int(kept.sum())}. Log more often, or wait."
        )
    used = Curve(curve.name, curve.steps[kept], curve.losses[kept], curve.schedule).binned(MOST_POINTS)
    units = Units(total, float(used.losses.max()))
    positions = units.positions(used.steps)
    # The prior's curves begin where they are first seen, at position 1; so does this one.
    whole = np.concatenate([positions[:1], np.arange(np.floor(positions[0]) + 1.0, POSITIONS + 1.0)])
    posterior = sample_posterior(positions, units.values(used.losses), whole, rng, draws)
    status = LearningCurveStatus.CONVERGED
    if not posterior.is_inside:
        status = LearningCurveStatus.OUTSIDE
    elif posterior.effective < FEW:
        status = LearningCurveStatus.FEW_DRAWS
    return LearningCurveFit(used.steps, used.losses, units, posterior, status, process_time() - begun)
