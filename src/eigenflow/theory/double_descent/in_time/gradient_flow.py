"""Gradient flow of least squares on given inputs: the exact excess risk at any time, a mean over the noise of labels.

With C = X'X / n of the inputs, Sigma their population's covariance and theta* the target,

    R(t) = |Sigma^(1/2) exp(-C t) theta*|^2 + (sigma^2 / n) Tr[Sigma (I - exp(-C t))^2 C^+],

and with a ridge, gradient descent or eigenvalues that drift the exponential becomes what these leave of each direction.

Source: [@ali2018continuous]; the approximation for few features per sample [@heckel2020early].
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind, check_number, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.double_descent.in_time.attenuation import (
    Attenuation,
    Motion,
    attenuate,
    descent,
    one_motion,
    ridge_flow,
)
from eigenflow.theory.double_descent.in_time.risk_form import RiskForm, RiskParts
from eigenflow.theory.double_descent.surface import RiskSurface
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["LeastSquaresFlow", "moments", "population_risk"]

Times = Float[np.ndarray, " time"]


@dataclass(frozen=True, repr=False)
class LeastSquaresFlow(AbstractPrinted):
    """Least squares on given inputs, trained from zero; make one with `LeastSquaresFlow.of`.

    Attributes:
        form: What the inputs decide.
        samples: n.
        features: p.
        noise: Variance of the labels.
        motion: How eigenvalues move; None at rest.
    """

    form: RiskForm
    samples: int
    features: int
    noise: float
    motion: Motion = None

    @classmethod
    def of(
        cls,
        inputs: Float[np.ndarray, "sample feature"],
        target: Float[np.ndarray, " feature"],
        *,
        covariance: Float[np.ndarray, " feature"] | Float[np.ndarray, "feature feature"] | None = None,
        noise: float | int = 0.0,
        drift: Motion = None,
        clock: Callable | None = None,
    ) -> "LeastSquaresFlow":
        """Decompose the inputs; costs one singular value decomposition.

        Args:
            inputs: X.
            target: theta*; labels are X theta* and noise.
            covariance: Sigma of the population, its diagonal, or None for the identity.
            noise: sigma^2, >= 0.
            drift: How eigenvalues of C move while its eigenvectors stand still; see `finite_time_risk`.
            clock: Instead of it, the effective time of all directions, a function of an array of times.

        Raises:
            ShapeError: If shapes do not fit.
            NonFiniteError: If a number is not finite.
        """
        X, theta, Sigma = _checked(inputs, target, covariance)
        n, p = X.shape
        return cls(_form(X, theta, Sigma), n, p, check_number("noise", noise, 0.0), one_motion(drift, clock))

    def risk(self, times: Any) -> RiskParts:
        """Give the parts of the risk at times >= 0, increasing."""
        return self._evaluate(self._flow(moments(times)))

    def slope(self, times: Any) -> Times:
        """Differentiate the excess risk by time, exactly.

        Raises:
            ArgumentError: If the drift gives no velocities.
        """
        kept = self._flow(moments(times))
        if kept.rates is None:
            raise ArgumentError("A common clock has no known speed. Differentiate with respect to the clock instead.")
        return self.form.slope(kept.residual, kept.learned, -kept.rates * kept.residual, self.noise)

    def ridge_risk(self, times: Any, ridge: float | int) -> RiskParts:
        """Give the parts of the risk of flow with a ridge beside the sum of squares; eigenvalues stay at rest."""
        strength = check_number("ridge", ridge, 0.0)
        return self._evaluate(ridge_flow(self.form.eigenvalues, moments(times), strength / self.samples))

    def descent_risk(self, steps: Any, learning_rate: float | int) -> RiskParts:
        """Give the parts of the risk after whole numbers of steps of gradient descent."""
        eta = check_number("learning_rate", learning_rate, 1e-300)
        return self._evaluate(descent(self.form.eigenvalues, moments(steps, "steps") * eta, eta))

    def surface(self, times: Any) -> RiskSurface:
        """Give the risk over time as other formulas do, so that its peaks can be found."""

        def evaluate(*, time: Any, samples: Any = None, noise: float = self.noise) -> RiskSurface:
            return replace(self, noise=noise).surface(time)

        parts = self.risk(np.atleast_1d(real_array("times", times)))
        return RiskSurface.over(
            {"samples": self.samples, "time": times},
            from_target=parts.from_target if np.ndim(times) else parts.from_target[0],
            from_noise=parts.from_noise if np.ndim(times) else parts.from_noise[0],
            train=parts.train if np.ndim(times) else parts.train[0],
            noise=self.noise,
            error=1e-13,
            formula="gradient flow on given inputs, exact",
            evaluate=evaluate,
        )

    def _flow(self, times: np.ndarray) -> Attenuation:
        seen = self.form.train_target + self.noise * self.form.train_noise
        return attenuate(
            self.motion,
            self.form.eigenvalues,
            times,
            seen,
            self.form.train_missing + self.noise * self.form.train_unseen,
        )

    def _evaluate(self, kept: Attenuation) -> RiskParts:
        return self.form.risk(kept.residual, kept.learned, self.noise)

    def _card(self) -> Card:
        rates = self.form.eigenvalues
        rows = [
            ("eigenvalues", f"{len(rates)} above rounding, {span(rates)}" if len(rates) else "none above rounding"),
            ("target", f"risk {figure(self.form.at_start)} at the start"),
            ("noise", f"variance {figure(self.noise)}"),
        ]
        return Card(f"LeastSquaresFlow on {self.samples} samples of {self.features} features", rows)


def population_risk(
    task: TaskSpectrum, samples: float | int, times: Any, *, learning_rate: float | int | None = None
) -> RiskParts:
    """Give the risk as if the sample had the population's eigenvectors and eigenvalues: a sum of U-curves.

    sum_i [w_i^2 exp(-2 lambda_i t) + (sigma^2 / n) (1 - exp(-lambda_i t))^2], and exp(-lambda t) -> (1 - eta lambda)^k
    for gradient descent. An approximation, good where modes are much fewer than samples.

    Args:
        task: Spectrum, target and noise.
        samples: n > 0.
        times: >= 0, increasing; with a learning rate its multiples.
        learning_rate: eta of gradient descent, or None for flow.

    Source: [@heckel2020early].
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum")
    count = check_number("samples", samples, 1e-300)
    t, rates = moments(times), task.eigenvalues
    kept = attenuate(None, rates, t, rates) if learning_rate is None else descent(rates, t, learning_rate)
    target = kept.residual**2 @ task.target
    noise = task.noise / count * (kept.learned**2 @ task.sizes)
    train = target + task.noise * (1.0 + (kept.residual**2 - 1.0) @ task.sizes / count)
    return RiskParts(target, noise, train)


def _form(X: np.ndarray, theta: np.ndarray, Sigma: np.ndarray) -> RiskForm:
    n, p = X.shape
    _, roots, right = np.linalg.svd(X / np.sqrt(n), full_matrices=False)
    is_seen = roots > max(n, p) * np.finfo(float).eps * roots.max(initial=0.0)
    roots, right = roots[is_seen], right[is_seen]
    rates, held = roots**2, right @ theta
    weighted = right * Sigma if Sigma.ndim == 1 else right @ Sigma
    table = weighted @ right.T
    unseen = theta - held @ right if len(roots) < p else np.zeros(p)
    spread = Sigma * unseen if Sigma.ndim == 1 else Sigma @ unseen
    return RiskForm(
        rates,
        held[:, None] * table * held,
        held * (weighted @ unseen),
        float(unseen @ spread),
        table.diagonal() / (n * rates),
        rates * held**2,
        np.full(len(rates), 1.0 / n),
        0.0,
        1.0 - len(rates) / n,
    )


def moments(values: Any, name: str = "times") -> Times:
    """Give times as a row, or say what came."""
    found = np.atleast_1d(real_array(name, values))
    if found.ndim != 1 or not found.size or not (found >= 0).all() or not (np.diff(found) >= 0).all():
        raise ArgumentError(f"`{name}` must be a row of numbers >= 0 that does not fall, but begins with {found[:3]}.")
    return found


def _checked(inputs: Any, target: Any, covariance: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    X, theta = real_array("inputs", inputs), real_array("target", target)
    if X.ndim != 2 or not X.size:
        raise ShapeError(f"`inputs` must have shape (sample, feature), but has {X.shape}.")
    p = X.shape[1]
    if theta.shape != (p,):
        raise ShapeError(f"`target` must have one value for each of the {p} features, but has shape {theta.shape}.")
    Sigma = np.ones(p) if covariance is None else real_array("covariance", covariance)
    if Sigma.shape not in ((p,), (p, p)):
        raise ShapeError(f"`covariance` must have shape ({p},) or ({p}, {p}) for {p} features, but has {Sigma.shape}.")
    for name, array in (("inputs", X), ("target", theta), ("covariance", Sigma)):
        if not np.isfinite(array).all():
            raise NonFiniteError(f"`{name}` must be finite, but holds NaN or infinity.")
    return X, theta, Sigma
