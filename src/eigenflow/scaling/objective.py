"""The two objectives of a scaling fit: published Huber loss, and Student-t with a fitted scale."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.scaling.priors import ScalingPriors
from eigenflow.scaling.table import ScalingTable

__all__ = ["Huber", "StudentT", "excess_of"]

DEGREES = 4.0
# What is known of the scatter before any table: as much as four residuals of 0.4 % would say. Without that, seven
# parameters go through nine runs exactly and every interval vanishes.
SCATTER, SCATTER_RUNS = 0.004, 4.0
# Runs whose compute agrees within this (in ln C) are of one isoFLOP group.
SAME_COMPUTE = 0.4


@dataclass(frozen=True)
class Huber:
    """Sum of Huber losses: half the square up to `delta`, linear beyond."""

    delta: float

    @property
    def start(self) -> np.ndarray:
        return np.empty(0)

    def __call__(self, residual: np.ndarray, scale: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Objective over delta^2, with derivatives by the residuals and by the scale (none)."""
        size = np.abs(residual)
        inside = 0.5 * residual**2
        value = np.where(size <= self.delta, inside, self.delta * (size - 0.5 * self.delta))
        return float(value.sum()) / self.delta**2, np.clip(residual, -self.delta, self.delta) / self.delta**2, scale

    def scales(self, count: int) -> np.ndarray:
        return np.ones(count)

    def unit(self, scatter: float) -> float:
        """One residual's pull."""
        return 1.0 / self.delta

    def scatter(self, residual: np.ndarray, scale: np.ndarray) -> float:
        """Robust standard deviation."""
        return max(1.4826 * float(np.median(np.abs(residual))), 1e-12)

    def covariance(self, jacobian, residual, scatter: float, precision: np.ndarray) -> np.ndarray:
        """Sandwich estimate.

        The curvature is the expected one for normal residuals of this scatter, since few of them lie inside `delta`.
        """
        share = min(1.0, 2.0 * self.delta / scatter / np.sqrt(2.0 * np.pi))
        pull = np.clip(residual, -self.delta, self.delta)
        inverse = _inverse(share * jacobian.T @ jacobian)
        return inverse @ (jacobian.T * pull**2) @ jacobian @ inverse


@dataclass(frozen=True)
class StudentT:
    """Minus the log likelihood of Student-t residuals (4 degrees) of scale sigma * `factor`, sigma fitted."""

    factor: Float[np.ndarray, " run"]

    @property
    def start(self) -> np.ndarray:
        return np.array([np.log(0.02)])

    def __call__(self, residual: np.ndarray, scale: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        width = np.exp(scale[0]) * self.factor
        z2 = (residual / width) ** 2
        known = (SCATTER / np.exp(scale[0])) ** 2
        value = float((0.5 * (DEGREES + 1) * np.log1p(z2 / DEGREES)).sum()) + len(residual) * scale[0]
        value += SCATTER_RUNS * (scale[0] + 0.5 * known)
        pull = (DEGREES + 1) * residual / width**2 / (DEGREES + z2)
        by_scale = float((1.0 - (DEGREES + 1) * z2 / (DEGREES + z2)).sum()) + SCATTER_RUNS * (1.0 - known)
        return value, pull, np.array([by_scale])

    def scales(self, count: int) -> np.ndarray:
        return self.factor

    def unit(self, scatter: float) -> float:
        """One residual's pull."""
        return 1.0 / scatter

    def scatter(self, residual: np.ndarray, scale: np.ndarray) -> float:
        return float(np.exp(scale[0]))

    def covariance(self, jacobian, residual, scatter: float, precision: np.ndarray) -> np.ndarray:
        """Inverse of the Fisher information of the likelihood and the priors."""
        weight = (DEGREES + 1) / (DEGREES + 3) / (scatter * self.factor) ** 2
        return _inverse((jacobian.T * weight) @ jacobian + precision)


def _inverse(information: np.ndarray) -> np.ndarray:
    """Inverse with every direction's variance limited to 1e4: what the table does not say stays finite and large."""
    values, vectors = np.linalg.eigh(information)
    return (vectors / np.maximum(values, 1e-4)) @ vectors.T


def excess_of(table: ScalingTable, priors: ScalingPriors | None) -> Float[np.ndarray, " run"]:
    """By how much each run's scatter is larger than on the compute-efficient line: 1 + ln(L / best L) / excess."""
    if priors is None:
        return np.ones(len(table))
    compute, loss = np.log(table.flops), np.log(table.loss)
    best = np.array([loss[np.abs(compute - c) < SAME_COMPUTE].min() for c in compute])
    return 1.0 + (loss - best) / priors.excess
