"""A fitted loss law: parameters that say how well they are known, how it was found, and predictions."""

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.checks import check_kind, check_number, check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.checks import within_numbers
from eigenflow.forecast.fitting.covariates import Covariates
from eigenflow.forecast.fitting.path import forecast_nodes, forecast_steps, interpolated
from eigenflow.forecast.laws.protocol import History, Law
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["Certificate", "Fit", "FitStatus", "Forecast", "Intervals"]

# z of a 90 % interval.
NINETY = 1.6448536269514722

Points = Float[np.ndarray, " point"]
Theta = Float[np.ndarray, " parameter"]


class FitStatus(Enum):
    """How a fit ended."""

    CONVERGED = "converged"
    AT_BOUND = "a parameter ended at its guard"
    SEVERAL_OPTIMA = "only one start reached the best optimum"
    LIMIT = "stopped at the limit of evaluations"


@dataclass(frozen=True)
class Certificate:
    """Why to believe that the optimum is the best one.

    Attributes:
        starts: Number of starts.
        agreed: How many reached the best cost.
        cost: Half the sum of squared rows at the optimum: misfit and prior.
        worst_cost: Highest cost at which a start ended.
        evaluations: Of the law over all curves, all starts together.
        cpu_s: Processor seconds.
    """

    starts: int
    agreed: int
    cost: float
    worst_cost: float
    evaluations: int
    cpu_s: float


@dataclass(frozen=True)
class Forecast:
    """A predicted loss curve.

    Attributes:
        steps: Completed updates.
        loss: Forecast, in the unit of the fitted losses.
        lower: Lower end of the 90 % interval.
        upper: Upper end.
    """

    steps: Int[np.ndarray, " point"]
    loss: Points
    lower: Points
    upper: Points


@runtime_checkable
class Intervals(Protocol):
    """What makes a fit's intervals hold on runs that were not seen: the fitted curves, and more (`study.StudyFit`)."""

    def predict(self, schedule: Schedule, steps: Int[np.ndarray, " point"], size: float | None) -> Forecast:
        """Forecast at given steps, with the calibrated 90 % interval."""
        ...


@dataclass(frozen=True)
class Fit:
    """A fitted law.

    Attributes:
        law: The law, in its units.
        covariates: How parameters move with size and peak rate.
        theta: The optimum, in internal units.
        covariance: Of `theta`, Laplace's approximation, prior included.
        prior_sd: Standard deviation of each parameter before the data, infinite where there is no prior.
        noise: Standard deviation of ln(loss) of one late point, after the fit.
        status: How it ended.
        certificate: Starts and cost.
        curves: Names of the fitted curves.
        sizes: Their sizes.
        residuals: ln(law) - ln(loss) of every curve at its fitted points.
        jacobians: Derivatives of ln(law) with respect to `theta` there.
        prior: Name of the prior, None without one.
        intervals: Behind the intervals of `predict`. None: they know of parameters and noise alone, and are too narrow.
    """

    law: Law
    covariates: Covariates
    theta: Theta
    covariance: Float[np.ndarray, "parameter parameter"]
    prior_sd: Theta
    noise: float
    status: FitStatus
    certificate: Certificate
    curves: tuple[str, ...]
    sizes: tuple[float | None, ...]
    residuals: tuple[Float[np.ndarray, " _"], ...]
    jacobians: tuple[Float[np.ndarray, "_ parameter"], ...]
    prior: str | None
    intervals: Intervals | None = field(default=None, repr=False, compare=False)

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """One row a parameter: name, value, lower and upper (90 %), share of its spread that the data removed."""
        rows = []
        sd = np.sqrt(np.diag(self.covariance))
        own = self.law.parameters
        for k, name in enumerate(self.covariates.names):
            to_value = own[k].to_value if k < len(own) else float
            ends = [float(to_value(self.theta[k] + shift * NINETY * sd[k])) for shift in (0.0, -1.0, 1.0)]
            learned = 1.0 - min(1.0, float((sd[k] / self.prior_sd[k]) ** 2))
            unit = own[k].unit if k < len(own) else ""
            row = {"name": name, "unit": unit, "value": ends[0], "lower": ends[1], "upper": ends[2]}
            rows.append(row | {"learned": learned})
        return rows

    def log_prediction(
        self, history: History, size: float | None = None
    ) -> tuple[Points, Float[np.ndarray, "point parameter"]]:
        """Give ln(loss) at a history's observations, and its derivatives with respect to `theta`."""
        design = self.covariates.design(self._checked_size(size), float(history.rates.max()))
        value, jacobian = self.law.evaluate(design @ self.theta, self.law.prepare(history))
        return value, jacobian @ design

    def predict(
        self, schedule: Schedule, *, size: float | None = None, every: int = 1, first: int | None = None
    ) -> Forecast:
        """Forecast the loss of a run, with its 90 % interval.

        Args:
            schedule: Every learning rate of the run, warm-up included.
            size: Parameters of the model; None: the size of the fit, if it has one only.
            every: Spacing of the forecast's steps; the last step is always there.
            first: First step; None: the end of warm-up.

        Raises:
            ArgumentError: If the fit has several sizes and none is given, or knows nothing of the one given.
        """
        check_kind(
            "schedule", schedule, Schedule, "a `Schedule`, such as `Schedule.cosine(...)` or `Schedule.table(rates)`"
        )
        known = {one for one in self.sizes if one is not None}
        if size is None and len(known) > 1:
            raise ArgumentError(
                f"`size` must be given: the fit has {len(known)} sizes, {min(known):g} to {max(known):g} parameters."
            )
        steps = forecast_steps(schedule.total, schedule.warmup, every, first)
        if self.intervals is not None:
            return self.intervals.predict(schedule, steps, self._checked_size(size))
        with within_numbers("The forecast"):
            nodes = forecast_nodes(schedule.rates, steps)
            log_loss, jacobian = self.log_prediction(History(nodes, schedule.rates, schedule.batch), size)
            variance = np.einsum("pk,kl,pl->p", jacobian, self.covariance, jacobian) + self.noise**2
            half = NINETY * np.sqrt(np.interp(steps, nodes, variance))
            loss = np.exp(interpolated(nodes, log_loss, steps))
            return Forecast(steps, loss, loss * np.exp(-half), loss * np.exp(half))

    def draws(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "draw parameter"]:
        """Draw parameters from the Gaussian around the optimum."""
        check_whole("count", count, 1, what="number of draws")
        check_kind("rng", rng, np.random.Generator, "a generator, such as `np.random.default_rng(0)`")
        return rng.multivariate_normal(self.theta, self.covariance, size=count, method="eigh")

    def at(self, theta: Theta) -> "Fit":
        """The same fit with other parameters, as from `draws`; its intervals are of parameters and noise alone."""
        return replace(self, theta=theta, intervals=None)

    def _checked_size(self, size: float | None) -> float | None:
        known = sorted({one for one in self.sizes if one is not None})
        if size is None:
            return known[0] if len(known) == 1 else None
        check_number("size", size)
        if self.covariates.reference_size is None:
            raise ArgumentError(
                f"`size` is {size:g}, but the fitted curves have no size. Give them one, or leave `size` out."
            )
        if not 0 < size < np.inf:
            raise ArgumentError(f"`size` must be a positive number of parameters, but is {size}.")
        if size not in known and not any(slope.kind == "size" for slope in self.covariates.slopes):
            raise ArgumentError(
                f"`size` is {size:g}, but the fit knows only {known[0]:g} and its law has no prior on how it moves "
                f"with size. Fit two sizes or more, or use law 'transport' with its prior."
            )
        return size
