"""Bayesian least squares: Levenberg-Marquardt steps, prior strengths and noise by their evidence.

The data are logarithms of energies with equal errors. Priors are Gaussian; those whose strength is
not known beforehand (bending of the velocity, the source) have it set by marginal likelihood, and
so has the noise when it is not given [@mackay1992bayesian].
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.transport.inverse.model import Model

__all__ = ["Fit", "Prior", "fit_model"]

Array = Float[np.ndarray, "..."]

_MOST_STEPS = 40
_ROUNDS = 10
_SETTLED = 0.02, 0.2  # last relative change of the noise and of prior strengths
_LEAST_NOISE = 1e-3  # what the spline of a smooth start leaves, so that a better fit means nothing
_PRECISIONS = 1e-8, 1e6  # bounds of prior strengths set by evidence


@dataclass
class Prior:
    """Gaussian prior: centre and precision matrix, and blocks whose precision is to be found."""

    centre: Float[np.ndarray, " parameter"]
    precision: Float[np.ndarray, "parameter parameter"]
    blocks: list[slice]


@dataclass(frozen=True)
class Fit:
    """The most probable parameters, with their covariance."""

    theta: Float[np.ndarray, " parameter"]
    covariance: Float[np.ndarray, "parameter parameter"]
    residual: Float[np.ndarray, " datum"]
    noise: float
    precision: Float[np.ndarray, "parameter parameter"]
    effective: Float[np.ndarray, " parameter"]
    evidence: float
    is_converged: bool


def fit_model(
    model: Model, theta: Float[np.ndarray, " parameter"], prior: Prior, noise: float | None, *, rounds: int = _ROUNDS
) -> Fit:
    """Fit from a start; `noise` is the relative error of the energies, or None to find it."""
    target, points = model.data.logs.ravel(), model.data.points
    sigma = 0.05 if noise is None else max(noise, _LEAST_NOISE)
    precision = prior.precision.copy()
    alphas = [1.0] * len(prior.blocks)
    fit = None
    for turn in range(rounds):
        for block, alpha in zip(prior.blocks, alphas, strict=True):
            precision[block, block] = alpha * np.eye(block.stop - block.start)
        theta, has_met = _minimise(model, theta, target, sigma, precision, prior.centre)
        found, jacobian, _, _ = model.linearised(theta)
        residual = target - found
        curvature = jacobian.T @ jacobian / sigma**2
        covariance = _inverse(curvature + precision)
        effective = np.einsum("ij,ji->i", covariance, curvature)
        before = [sigma, *alphas]
        for k, block in enumerate(prior.blocks):
            size = float((theta[block] ** 2).sum())
            alphas[k] = float(np.clip(effective[block].sum() / max(size, 1e-12), *_PRECISIONS))
        if noise is None:
            spare = max(points - effective.sum(), 1.0)
            sigma = max(float(np.sqrt((residual**2).sum() / spare)), _LEAST_NOISE)
        changes = np.abs(np.log(np.array([sigma, *alphas]) / np.array(before)))
        is_converged = has_met and bool(changes[0] < _SETTLED[0] and np.all(changes[1:] < _SETTLED[1]))
        evidence = _evidence(residual, points, theta - prior.centre, precision, covariance, sigma)
        fit = Fit(theta, covariance, residual, sigma, precision.copy(), effective, evidence, is_converged)
        if is_converged and turn:
            break
    assert fit is not None
    return fit


def _minimise(
    model: Model, theta: Array, target: Array, sigma: float, precision: Array, centre: Array
) -> tuple[Array, bool]:
    def cost_of(residual: Array, away: Array) -> float:
        value = float((residual**2).sum() / sigma**2 + away @ precision @ away)
        return value if np.isfinite(value) else np.inf

    damping = 1e-3
    found, jacobian, _, _ = model.linearised(theta)
    cost = cost_of(target - found, theta - centre)
    for _ in range(_MOST_STEPS):
        slope = jacobian.T @ (target - found) / sigma**2 - precision @ (theta - centre)
        curvature = jacobian.T @ jacobian / sigma**2 + precision
        while True:
            step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), slope)
            tried = theta + step
            new = cost_of(target - model.logs(tried), tried - centre)
            if new <= cost or damping > 1e8:
                break
            damping *= 5.0
        gained = cost - new
        if not gained >= 0:
            return theta, damping > 1e8
        theta, damping = tried, max(damping / 10.0, 1e-9)
        found, jacobian, _, _ = model.linearised(theta)
        cost = new
        if gained <= 1e-2 + 1e-7 * cost:
            return theta, True
    return theta, False


def _inverse(matrix: Array) -> Array:
    scale = 1.0 / np.sqrt(np.diag(matrix))
    return np.linalg.inv(matrix * scale[:, None] * scale) * scale[:, None] * scale


def _evidence(residual: Array, points: float, away: Array, precision: Array, covariance: Array, sigma: float) -> float:
    """Logarithm of the marginal likelihood, Laplace's approximation, without constants."""
    misfit = float((residual**2).sum()) / sigma**2 + float(away @ precision @ away)
    volume = np.linalg.slogdet(precision)[1] + np.linalg.slogdet(covariance)[1]
    return float(-0.5 * misfit - points * np.log(sigma) + 0.5 * volume)
