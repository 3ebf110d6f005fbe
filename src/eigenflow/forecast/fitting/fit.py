"""A fitted loss law: parameters that say how well they are known, how it was found, and predictions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from eigenflow.core.checks import check_kind, check_number, check_whole
from eigenflow.core.display import AbstractPrinted, Card, FieldsPrinted, figure, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.checks import within_numbers
from eigenflow.forecast.curves import CurveSet, format_size
from eigenflow.forecast.fitting.covariates import Covariates
from eigenflow.forecast.fitting.path import forecast_nodes, forecast_steps, interpolated
from eigenflow.forecast.fitting.posterior import Component
from eigenflow.forecast.fitting.reach import reach_cautions
from eigenflow.forecast.laws.protocol import History, Law
from eigenflow.forecast.schedules.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["AbstractIntervals", "Certificate", "Fit", "FitStatus", "Forecast"]

# z of a 90 % interval.
NINETY = 1.6448536269514722
# Curves that narrow a prior to less than half, or know a parameter to a factor e where there is no prior, identify it.
NARROWED, A_FACTOR_E = 0.5, 1.0
# A standard deviation of ln(loss) beyond this says "do not know"; a direction that ran away must not say more.
MOST_SD = 0.5

Points = Float[np.ndarray, " point"]
Theta = Float[np.ndarray, " parameter"]


class FitStatus(Enum):
    """How a fit ended."""

    CONVERGED = "converged"
    DOES_NOT_DESCRIBE = "the law does not describe the curves"
    AT_BOUND = "a parameter ended at its guard"
    SEVERAL_OPTIMA = "only one start reached the best optimum"
    LIMIT = "stopped at the limit of evaluations"


@dataclass(frozen=True, repr=False)
class Certificate(FieldsPrinted):
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


@dataclass(frozen=True, repr=False)
class Forecast(AbstractPrinted):
    """A predicted loss curve.

    Attributes:
        steps: Completed updates.
        loss: Forecast, in the unit of the fitted losses.
        lower: Lower end of the 90 % interval.
        upper: Upper end.
        cautions: What the fitted runs do not cover, such as a peak rate outside theirs.
    """

    steps: Int[np.ndarray, " point"]
    loss: Points
    lower: Points
    upper: Points
    cautions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.steps)

    def _card(self) -> Card:
        shown = np.unique(np.linspace(0, len(self) - 1, 5).round().astype(int))[:-1] if len(self) else []
        rows = [(f"step {self.steps[k]}", interval(*self._at(int(k)), digits=5)) for k in shown]
        if len(self):
            rows.append(("last loss", f"{interval(*self._at(-1), digits=5)} at step {self.steps[-1]}, 90 % interval"))
        told = [("caution", caution) for caution in self.cautions]
        return Card(f"Forecast of {len(self)} steps", [*rows[::-1], *told])

    def _at(self, index: int) -> tuple[float, float, float]:
        return float(self.loss[index]), float(self.lower[index]), float(self.upper[index])

    def to_dataframe(self) -> pd.DataFrame:
        """One row a step: step, loss, lower, upper."""
        return pd.DataFrame({"step": self.steps, "loss": self.loss, "lower": self.lower, "upper": self.upper})

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the forecast in its 90 % fan; into new axes if none are given."""
        from eigenflow.plots import axes_or_new, plot_forecast

        return plot_forecast(self.steps, self.loss, self.lower, self.upper, ax=axes_or_new(ax))


class AbstractIntervals(ABC):
    """What makes intervals hold on runs that were not seen. It knows the fitted curves, not the fit."""

    @property
    @abstractmethod
    def known(self) -> CurveSet:
        """The fitted curves."""

    @abstractmethod
    def ends(self, fit: "Fit", history: History, size: float | None) -> tuple[Points, Points, Points]:
        """Give forecast, lower and upper end of the loss at a history's observations.

        Args:
            fit: Whose forecast it is.
            history: Where to forecast, and every learning rate up to there.
            size: Of the model, None if the curves have none.
        """


@dataclass(frozen=True, repr=False)
class Fit(AbstractPrinted):
    """A fitted law.

    Attributes:
        law: The law, in its units.
        covariates: How parameters move with size and peak rate.
        theta: The optimum, in internal units.
        covariance: Of `theta`, Laplace's approximation, prior included.
        prior_sd: Standard deviation of each parameter before the data, infinite where there is no prior.
        noise: Standard deviation of ln(loss) of one logged point around the law, late in a run.
        point_noise: What of it is independent from point to point.
        status: How it ended.
        certificate: Starts and cost.
        curves: Names of the fitted curves.
        sizes: Their sizes.
        residuals: ln(law) - ln(loss) of every curve at its fitted points.
        jacobians: Derivatives of ln(law) with respect to `theta` there.
        prior: Name of the prior, None without one.
        conflict: How much further the fit lies from its prior than that expects, at least 1 (`conflict_with_prior`).
        posterior: What the curves leave open, as a mixture (`posterior`); empty if the Gaussian around `theta` will do.
        intervals: The model of its intervals. None: they know of parameters and noise alone, and are too narrow.
    """

    law: Law
    covariates: Covariates
    theta: Theta
    covariance: Float[np.ndarray, "parameter parameter"]
    prior_sd: Theta
    noise: float
    point_noise: float
    status: FitStatus
    certificate: Certificate
    curves: tuple[str, ...]
    sizes: tuple[float | None, ...]
    residuals: tuple[Float[np.ndarray, " _"], ...]
    jacobians: tuple[Float[np.ndarray, "_ parameter"], ...]
    prior: str | None
    conflict: float = 1.0
    posterior: tuple[Component, ...] = ()
    intervals: AbstractIntervals | None = field(default=None, repr=False, compare=False)

    def _card(self) -> Card:
        points = sum(len(residual) for residual in self.residuals)
        sizes = ", ".join(format_size(size) for size in sorted({size for size in self.sizes if size is not None}))
        of_sizes = f", sizes {sizes}" if sizes else ""
        certificate = self.certificate
        rows = [
            ("status", f"{self.status.value}; {certificate.agreed} of {certificate.starts} starts agree"),
            ("noise", f"{figure(100 * self.noise, 3)} % of the loss; prior: {self.prior or 'none'}"),
        ]
        if told := self.open_words():
            # The criterion stands first: a card cuts long lines.
            why = "the prior decides" if self.prior else "wide"
            rows.append(("not identified", f"by Laplace's approximation: {told} ({why})"))
        own = len(self.law.parameters)
        for row in self.parameters[:own]:
            unit = f" {row['unit']}" if row["unit"] else ""
            rows.append((row["name"], f"{interval(row['value'], row['lower'], row['upper'])}{unit}"))
        if slopes := [f"{row['name']} {figure(row['value'], 2)}" for row in self.parameters[own:]]:
            rows.append(("slopes", ", ".join(slopes)))
        return Card(f"Fit of {self.law.name}: {len(self.curves)} curves, {points} points{of_sizes}", rows)

    @property
    def not_identified(self) -> tuple[str, ...]:
        """Parameters that the curves leave open, by Laplace's approximation; `profiles` looks at each along its line.

        With a prior: its width is not halved. Without: the standard deviation is a factor e or more.
        """
        sd = np.sqrt(np.diag(self.covariance))
        limit = np.where(np.isfinite(self.prior_sd), NARROWED * self.prior_sd, A_FACTOR_E)
        return tuple(name for name, is_open in zip(self.covariates.names, sd >= limit, strict=True) if is_open)

    def open_words(self) -> str:
        """The law's own parameters that are not identified, and how many slopes; empty if all are."""
        own = [parameter.name for parameter in self.law.parameters]
        slopes = sum(name not in own for name in self.not_identified)
        named = ", ".join(name for name in self.not_identified if name in own)
        count = f"{slopes} slope{'s' * (slopes > 1)}" if slopes else ""
        return " and ".join(part for part in (named, count) if part)

    @property
    def known(self) -> CurveSet:
        """The curves that were fitted.

        Raises:
            ArgumentError: If the fit has lost them (`Fit.at`).
        """
        if self.intervals is None:
            raise ArgumentError("The fit has no curves behind its intervals. Use the fit that `fit_law` returned.")
        return self.intervals.known

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
        own, by_theta = self.covariates.own(self.theta, self._checked_size(size), float(history.rates.max()))
        value, jacobian = self.law.evaluate(own, self.law.prepare(history))
        return value, jacobian @ by_theta

    def log_moments(self, history: History, size: float | None = None) -> tuple[Points, Points]:
        """Give mean and variance of ln(loss) at a history's observations over what the curves leave open."""
        size, peak, prepared = self._checked_size(size), float(history.rates.max()), self.law.prepare(history)
        values, variances, weights = [], [], []
        for one in self._components:
            own, by_theta = self.covariates.own(one.theta, size, peak)
            value, jacobian = self.law.evaluate(own, prepared)
            jacobian = jacobian @ by_theta
            spread = np.einsum("pk,kl,pl->p", jacobian, one.covariance, jacobian)
            values.append(value)
            variances.append(np.clip(one.conflict * spread, 0.0, MOST_SD**2))
            weights.append(one.weight)
        mean = np.array(weights) @ np.array(values)
        return mean, np.array(weights) @ (np.array(variances) + (np.array(values) - mean) ** 2)

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
        return self.predict_steps(schedule, steps, size=self._checked_size(size))

    def predict_steps(
        self, schedule: Schedule, steps: Int[np.ndarray, " point"], *, size: float | None = None
    ) -> Forecast:
        """Forecast at given steps, increasing, from 1; else as `predict`."""
        with within_numbers("The forecast"):
            nodes = forecast_nodes(schedule.rates, steps)
            history = History(nodes, schedule.rates, schedule.batch)
            if self.intervals is not None:
                middle, _, upper = self.intervals.ends(self, history, size)
                loss = np.exp(interpolated(nodes, np.log(middle), steps))
                ratio = np.exp(np.interp(steps, nodes, np.log(upper / middle)))
                told = reach_cautions(self, float(schedule.rates.max()))
                return Forecast(steps, loss, loss / ratio, loss * ratio, told)
            log_loss, variance = self.log_moments(history, size)
            half = NINETY * np.sqrt(np.interp(steps, nodes, variance + self.noise**2))
            loss = np.exp(interpolated(nodes, log_loss, steps))
            return Forecast(steps, loss, loss * np.exp(-half), loss * np.exp(half))

    def to_dataframe(self) -> pd.DataFrame:
        """One row a parameter: name, value, lower, upper (90 %), unit, learned, is_identified."""
        table = pd.DataFrame(self.parameters)[["name", "value", "lower", "upper", "unit", "learned"]]
        return table.assign(is_identified=[name not in self.not_identified for name in table["name"]])

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the fitted curves (dots) and the law (lines); into new axes if none are given."""
        from eigenflow.plots import axes_or_new, plot_curves

        lines = []
        for curve in self.known:
            steps = np.unique(np.maximum(curve.steps, 1))
            lines.append((steps, self.predict_steps(curve.schedule, steps, size=curve.size).loss))
        curves = [(curve.label, curve.steps, curve.losses) for curve in self.known]
        return plot_curves(curves, ax=axes_or_new(ax), laws=lines, unit=self.known.loss_unit)

    def draws(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "draw parameter"]:
        """Draw parameters from what the curves leave open, as wide as the intervals take it."""
        check_whole("count", count, 1, what="number of draws")
        check_kind("rng", rng, np.random.Generator, "a generator, such as `np.random.default_rng(0)`")
        parts = self._components
        of_each = rng.multinomial(count, [one.weight for one in parts])
        drawn = [
            rng.multivariate_normal(one.theta, one.conflict * one.covariance, size=int(number), method="eigh")
            for one, number in zip(parts, of_each, strict=True)
        ]
        return rng.permutation(np.concatenate(drawn))

    def at(self, theta: Theta) -> "Fit":
        """The same fit with other parameters, as from `draws`; its intervals are of parameters and noise alone."""
        return replace(self, theta=theta, posterior=(), intervals=None)

    @property
    def _components(self) -> tuple[Component, ...]:
        return self.posterior or (Component(1.0, self.theta, self.covariance, self.conflict),)

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
