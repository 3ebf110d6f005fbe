"""Mean test and training risk at a finite time of training, over samples, for any spectrum of the task.

Gradient flow, with or without a ridge, gradient descent, or flow whose eigenvalues drift: one quadratic form a number
of samples, evaluated at as many times as asked for. As time goes on it becomes ridge regression
(`linear_regression_risk`), and with more samples the decay of every mode by itself.

Derivation, region and checks: equations/double_descent.md#finite-time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from eigenflow.core.checks import check_kind, check_number
from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.in_time.attenuation import (
    Attenuation,
    Motion,
    attenuate,
    descent,
    has_kinks,
    one_motion,
    ridge_flow,
)
from eigenflow.theory.double_descent.in_time.mean_form import mean_forms
from eigenflow.theory.double_descent.in_time.risk_form import RiskForm, RiskParts
from eigenflow.theory.double_descent.surface import PointStatus, RiskSurface, coordinate
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["finite_time_risk"]

ACCEPTED = 1e-3  # relative error above which a point counts as not converged
# More samples give bands that floats do not resolve.
MOST = 1e15
LARGEST = 1e60
# E-folds of the eigenvalue in a panel of quadrature.
SMOOTH, KINKED = 2.5, 0.15
# What a form lacks of the target's variance, taken at the start, counts this often as a relative error at any time.
LOST = 16.0
# Below this share of what there is to learn, errors are relative to the share.
NOTHING_LEFT = 1e-8


def finite_time_risk(
    task: TaskSpectrum,
    samples: Any,
    times: Any,
    *,
    features: Any = np.inf,
    ridge: Any = 0.0,
    drift: Motion = None,
    clock: Callable | None = None,
    learning_rate: float | int | None = None,
) -> RiskSurface:
    """Give the risk of regression by a kernel or random features over samples x features x ridge x time, from zero.

    Args:
        task: Spectrum, target and noise.
        samples: n >= 1, a number or an increasing row; infinite is the population.
        times: Sums of learning rates, >= 0, likewise.
        features: k >= 1, likewise: Gaussian combinations of the modes, which stay as they are, so that only their
            weights are trained; infinite is the kernel itself.
        ridge: delta >= 0 beside the sum over samples of squares: every direction decays at (eigenvalue + delta / n).
        drift: How eigenvalues l of the sample covariance move while directions stand still: a residual decays by
            exp(-Q(l, t)) with Q the integral of the eigenvalue along its path. A `PowerDrift`, `CallableDrift` or
            `TabulatedDrift`; or a `StateDrift`, whose strength follows from the mean square on the sample.
        clock: Instead of a drift, the effective time of all directions: a function of an array of times.
        learning_rate: Instead of flow, full-batch gradient descent with this rate; `times` are multiples of it.

    Returns:
        A surface over those arguments that are rows, with `train`. It is a mean over Gaussian samples and features up
        to relative deviations of the order of 1 / n and 1 / k. `error` is numerical: the difference between two orders
        of quadrature and a sum rule, relative to the risk, or to 1e-8 of what there is to learn where less is left;
        about 1e-7 as a rule. With as many features as samples it is the mean of both sides at a distance of 1e-3, and
        late times, at which that matters, are not converged.

    Raises:
        ArgumentError: If an argument is not allowed, or two exclude each other.
        LimitError: If bands of eigenvalues are so many that their form does not fit the limit of `entries`.
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum, such as `TaskSpectrum.power_law(1.5, 2.0)`")
    if task.eigenvalues[0] > LARGEST or task.eigenvalues[-1] < 1.0 / LARGEST:
        raise ArgumentError(
            f"`task` must have eigenvalues from {1 / LARGEST:g} to {LARGEST:g}, whose squares are floats, but has "
            f"{task.eigenvalues[-1]:.3g} to {task.eigenvalues[0]:.3g}. Change units, or leave such modes out."
        )
    motion = one_motion(drift, clock)
    eta = None if learning_rate is None else check_number("learning_rate", learning_rate, 1e-300)
    if eta is not None and motion is not None:
        raise ArgumentError("`learning_rate` goes with eigenvalues at rest: leave `drift` and `clock` out, or it.")
    if np.any(np.asarray(ridge) != 0) and (motion is not None or eta is not None):
        raise ArgumentError(
            f"`ridge` must be 0 with a drift, a clock or steps, which say nothing of how a ridge takes part, but is "
            f"{ridge!r:.60}."
        )
    return _Training(task, motion, eta).surface(samples, features, ridge, times)


@dataclass(frozen=True)
class _Training:
    """How a task is trained, with the forms of samples that were looked at."""

    task: TaskSpectrum
    motion: Motion
    learning_rate: float | None
    forms: dict[tuple[float, float], tuple] = field(default_factory=dict, repr=False)

    def surface(self, samples: Any, features: Any, ridge: Any, times: Any) -> RiskSurface:
        """Evaluate on the grid of those that are rows."""
        axes = {"samples": samples, "features": features, "ridge": ridge, "time": times}
        places = {name: coordinate(name, values) for name, values in axes.items()}
        *grid, t = (np.atleast_1d(place) for place in places.values())
        for name, place in zip(("samples", "features"), grid[:2], strict=True):
            wrong = (place < 1.0) | ((place > MOST) & np.isfinite(place))
            if wrong.any():
                came = place[int(np.argmax(wrong))]
                raise ArgumentError(f"`{name}` must be from 1 to {MOST:g}, or infinite, but holds {came:g}.")
        found = [self._parts(float(n), float(k), float(delta), t) for n, k, delta in product(*grid)]
        shape = tuple(place.size for place in places.values() if place.ndim)
        target, gain, train = (
            np.array([getattr(parts, name) for parts, _ in found]).reshape(shape)
            for name in ("from_target", "from_noise", "train")
        )
        error = np.array([error for _, error in found]).reshape(shape)
        return RiskSurface.over(
            axes,
            from_target=target,
            from_noise=gain,
            train=train,
            noise=self.task.noise,
            formula=f"{self._named()}, mean over samples of {self.task.modes:.6g} modes",
            modes=self.task.modes,
            error=error,
            status=np.where(error > ACCEPTED, PointStatus.NOT_CONVERGED, PointStatus.CONVERGED),
            evaluate=self._elsewhere,
        )

    def _elsewhere(
        self, *, samples: Any, time: Any, features: Any = np.inf, ridge: Any = 0.0, noise: float | None = None
    ) -> RiskSurface:
        task = self.task if noise is None else replace(self.task, noise=noise)
        return _Training(task, self.motion, self.learning_rate, self.forms).surface(samples, features, ridge, time)

    def _parts(self, samples: float, features: float, ridge: float, times: np.ndarray) -> tuple[RiskParts, np.ndarray]:
        """Risks of one number of samples and features, with their relative error."""
        place = (samples, features)
        if place not in self.forms:
            self.forms[place] = mean_forms(self.task, *place, widest=KINKED if has_kinks(self.motion) else SMOOTH)
        fine, coarse = ([self._evaluate(form, samples, ridge, times) for form in forms] for forms in self.forms[place])
        target, gain, train = (
            np.mean([getattr(parts, name) for parts, _ in fine], axis=0)
            for name in ("from_target", "from_noise", "train")
        )
        risk = target + gain
        off = np.abs(risk - np.mean([parts.risk for parts, _ in coarse], axis=0))
        if len(fine) > 1:
            # Their mean is off by the square of what they differ by, and by all where what lies between is learned.
            learned = np.mean([kept.learned[:, 0] for _, kept in fine], axis=0)
            off = off + 0.1 * np.abs(fine[0][0].risk - fine[1][0].risk) + learned * risk
        floor = NOTHING_LEFT * (self.task.energy + self.task.noise / samples)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = off / np.maximum(risk, floor)
        energy = self.task.energy
        lost = max(abs(form.at_start - energy) for form in self.forms[place][0]) / energy if energy > 0.0 else 0.0
        error = np.where(np.isfinite(error), error, 0.0) + fine[0][1].error + LOST * lost + np.finfo(float).eps
        return RiskParts(np.maximum(target, 0.0), gain, np.maximum(train, 0.0)), error

    def _evaluate(
        self, form: RiskForm, samples: float, ridge: float, times: np.ndarray
    ) -> tuple[RiskParts, Attenuation]:
        kept = self._attenuation(form, samples, ridge, times)
        return form.risk(kept.residual, kept.learned, self.task.noise), kept

    def _attenuation(self, form: RiskForm, samples: float, ridge: float, times: np.ndarray) -> Attenuation:
        if self.learning_rate is not None:
            return descent(form.eigenvalues, times, self.learning_rate)
        if ridge > 0.0:
            return ridge_flow(form.eigenvalues, times, ridge / samples)
        noise = self.task.noise
        seen = form.train_target + noise * form.train_noise
        return attenuate(self.motion, form.eigenvalues, times, seen, form.train_missing + noise * form.train_unseen)

    def _named(self) -> str:
        if self.learning_rate is not None:
            return "gradient descent"
        return "gradient flow" if self.motion is None else "flow with eigenvalues that move"
