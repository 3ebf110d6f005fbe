"""Mean test and training risk at a finite time of training, over samples, for any spectrum of the task.

Gradient flow, with or without a ridge, gradient descent, or flow whose eigenvalues drift: one quadratic form a number
of samples, evaluated at as many times as asked for. As time goes on it becomes ridge regression
(`linear_regression_risk`), and with more samples the decay of every mode by itself.

Derivation, region and checks: equations/double_descent.md#finite-time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eigenflow.core.checks import check_kind, check_number
from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.attenuation import (
    Attenuation,
    Motion,
    attenuate,
    descent,
    has_kinks,
    one_motion,
    ridge_flow,
)
from eigenflow.theory.double_descent.mean_form import mean_forms
from eigenflow.theory.double_descent.risk_form import RiskForm, RiskParts
from eigenflow.theory.double_descent.surface import PointStatus, RiskSurface, coordinate
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["finite_time_risk"]

ACCEPTED = 1e-3  # relative error above which a point counts as not converged
# E-folds of the eigenvalue in a panel of quadrature.
SMOOTH, KINKED = 2.5, 0.15
# Below this share of what there is to learn, errors are relative to the share.
NOTHING_LEFT = 1e-8


def finite_time_risk(
    task: TaskSpectrum,
    samples: Any,
    times: Any,
    *,
    ridge: Any = 0.0,
    drift: Motion = None,
    clock: Callable | None = None,
    learning_rate: float | int | None = None,
) -> RiskSurface:
    """Give the risk of linear regression, or regression by a kernel, over samples x ridge x time from a start at zero.

    Args:
        task: Spectrum, target and noise.
        samples: n >= 1, a number or an increasing row; infinite is the population.
        times: Sums of learning rates, >= 0, likewise.
        ridge: delta >= 0 beside the sum over samples of squares: every direction decays at (eigenvalue + delta / n).
        drift: How eigenvalues l of the sample covariance move while directions stand still: a residual decays by
            exp(-Q(l, t)) with Q the integral of the eigenvalue along its path. A `PowerDrift`, `CallableDrift` or
            `TabulatedDrift`; or a `StateDrift`, whose strength follows from the mean square on the sample.
        clock: Instead of a drift, the effective time of all directions: a function of an array of times.
        learning_rate: Instead of flow, full-batch gradient descent with this rate; `times` are multiples of it.

    Returns:
        A surface over those arguments that are rows, with `train`. It is a mean over Gaussian samples up to relative
        deviations of the order of 1 / n. `error` is numerical: the difference between two orders of quadrature,
        relative to the risk, or to 1e-8 of what there is to learn where less is left; about 1e-7 as a rule.

    Raises:
        ArgumentError: If an argument is not allowed, or two exclude each other.
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum, such as `TaskSpectrum.power_law(1.5, 2.0)`")
    motion = one_motion(drift, clock)
    eta = None if learning_rate is None else check_number("learning_rate", learning_rate, 1e-300)
    if eta is not None and motion is not None:
        raise ArgumentError("`learning_rate` goes with eigenvalues at rest: leave `drift` and `clock` out, or it.")
    if np.any(np.asarray(ridge) != 0) and (motion is not None or eta is not None):
        raise ArgumentError(
            f"`ridge` must be 0 with a drift, a clock or steps, which say nothing of how a ridge takes part, but is "
            f"{ridge!r:.60}."
        )
    return _Training(task, motion, eta).surface(samples, times, ridge)


@dataclass(frozen=True)
class _Training:
    """How a task is trained, with the forms of samples that were looked at."""

    task: TaskSpectrum
    motion: Motion
    learning_rate: float | None
    forms: dict[float, tuple[RiskForm, RiskForm]] = field(default_factory=dict, repr=False)

    def surface(self, samples: Any, times: Any, ridge: Any) -> RiskSurface:
        """Evaluate on the grid of those that are rows."""
        axes = {"samples": samples, "ridge": ridge, "time": times}
        places = {name: coordinate(name, values) for name, values in axes.items()}
        n, delta, t = (np.atleast_1d(place) for place in places.values())
        if n[0] < 1.0:
            raise ArgumentError(f"`samples` must be >= 1, but holds {n[0]:g}.")
        rows = [[self._parts(float(one), float(strength), t) for strength in delta] for one in n]
        shape = tuple(place.size for place in places.values() if place.ndim)
        target, gain, train = (
            np.array([[getattr(parts, name) for parts, _ in row] for row in rows]).reshape(shape)
            for name in ("from_target", "from_noise", "train")
        )
        error = np.array([[error for _, error in row] for row in rows]).reshape(shape)
        return RiskSurface.over(
            axes,
            from_target=target,
            from_noise=gain,
            train=train,
            noise=self.task.noise,
            formula=f"{self._named()}, mean over samples of {self.task.modes:.6g} modes",
            error=error,
            status=np.where(error > ACCEPTED, PointStatus.NOT_CONVERGED, PointStatus.CONVERGED),
            evaluate=self._elsewhere,
        )

    def _elsewhere(self, *, samples: Any, time: Any, ridge: Any = 0.0, noise: float | None = None) -> RiskSurface:
        task = self.task if noise is None else replace(self.task, noise=noise)
        return _Training(task, self.motion, self.learning_rate, self.forms).surface(samples, time, ridge)

    def _parts(self, samples: float, ridge: float, times: np.ndarray) -> tuple[RiskParts, np.ndarray]:
        """Risks of one number of samples, with their relative error."""
        if samples not in self.forms:
            self.forms[samples] = mean_forms(self.task, samples, widest=KINKED if has_kinks(self.motion) else SMOOTH)
        noise = self.task.noise
        found, coarse = (self._evaluate(form, samples, ridge, times) for form in self.forms[samples])
        parts = found[0]
        floor = NOTHING_LEFT * (self.task.energy + noise / samples)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.abs(parts.risk - coarse[0].risk) / np.maximum(parts.risk, floor)
        error = np.where(np.isfinite(error), error, 0.0) + found[1] + np.finfo(float).eps
        return RiskParts(np.maximum(parts.from_target, 0.0), parts.from_noise, np.maximum(parts.train, 0.0)), error

    def _evaluate(self, form: RiskForm, samples: float, ridge: float, times: np.ndarray) -> tuple[RiskParts, float]:
        kept = self._attenuation(form, samples, ridge, times)
        return form.risk(kept.residual, kept.learned, self.task.noise), kept.error

    def _attenuation(self, form: RiskForm, samples: float, ridge: float, times: np.ndarray) -> Attenuation:
        if self.learning_rate is not None:
            return descent(form.eigenvalues, times, self.learning_rate)
        if ridge > 0.0:
            return ridge_flow(form.eigenvalues, times, ridge / samples)
        noise = self.task.noise
        seen = form.train_target + noise * form.train_noise
        return attenuate(self.motion, form.eigenvalues, times, seen, noise * form.train_unseen)

    def _named(self) -> str:
        if self.learning_rate is not None:
            return "gradient descent"
        return "gradient flow" if self.motion is None else "flow with eigenvalues that move"
