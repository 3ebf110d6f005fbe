"""One law fitted to several curves at once by robust least squares, without priors: how every baseline is fitted.

Parameters are shared by all curves; if the curves have several sizes, those that move with size are linear in
ln(size). Residuals are those of ln(loss), weighed by a soft absolute value, and the best of several starts is kept.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve, CurveSet
from eigenflow.forecast.intervals.noise import correlation_length
from eigenflow.forecast.laws.chinchilla import ChinchillaLaw
from eigenflow.forecast.laws.protocol import History, Law

__all__ = ["FitStatus", "PooledFit", "history_of", "pooled_fit", "refit"]

# Residuals beyond this (in ln(loss)) count by their absolute value: about ten times the point noise of a smooth log.
ROBUST_SCALE = 3e-3
# Standard deviation of a parameter (in ln) that nothing in the data determines.
UNKNOWN_PARAMETER = 1.5
# Starts whose cost agrees to this share have found the same optimum.
SAME_COST = 1e-3


class FitStatus(Enum):
    """How far the optimiser came."""

    CONVERGED = "converged"
    ONE_START = "one start reached this optimum, the others stopped higher"
    LIMIT = "stopped at the limit of evaluations"


@dataclass(frozen=True, repr=False)
class PooledFit(FieldsPrinted):
    """A fitted law.

    Attributes:
        law: The law.
        theta: Parameters in internal units; those that move with size again as slopes in ln(size / `reference`).
        reference: Geometric mean of the sizes, None if the fit holds for one size.
        residuals: ln(law) - ln(loss) of every curve.
        jacobians: Derivatives of ln(law) with respect to `theta`.
        status: How far the optimiser came.
        costs: Cost that every start reached.
        cpu_s: Processor seconds.
    """

    law: Law
    theta: Float[np.ndarray, " free"]
    reference: float | None
    residuals: tuple[Float[np.ndarray, " _"], ...]
    jacobians: tuple[Float[np.ndarray, "_ free"], ...]
    status: FitStatus
    costs: tuple[float, ...]
    cpu_s: float

    @property
    def covariance(self) -> Float[np.ndarray, "free free"]:
        """Laplace's approximation.

        Residuals that are correlated along a curve count as so many fewer points, and what the curves do not determine
        has a standard deviation of 1.5 (in ln).
        """
        stacked, residuals = np.concatenate(self.jacobians), np.concatenate(self.residuals)
        points, free = stacked.shape
        length = min(float(np.mean([correlation_length(one) for one in self.residuals])), points / (free + 1))
        variance = float(residuals @ residuals) / max(points - free, 1) * max(length, 1.0)
        precision = stacked.T @ stacked / max(variance, 1e-16) + np.eye(free) / UNKNOWN_PARAMETER**2
        return np.linalg.inv(precision)

    def log_prediction(
        self, history: History, size: float | None = None
    ) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "point free"]]:
        """Give ln(loss) at a history's observations, and its derivatives with respect to `theta`."""
        spread = _spread(self.law, self.reference, size)
        value, jacobian = self.law.evaluate(spread @ self.theta, _prepare(self.law, history, size, self.reference))
        return value, jacobian @ spread


def history_of(curve: Curve) -> History:
    """Give a law's view of a curve: where it was observed (from the first update on), and its learning rates."""
    return History(curve.steps, curve.schedule.rates, curve.schedule.batch)


def pooled_fit(
    curves: CurveSet | Sequence[Curve], law: Law, *, starts: int = 3, rng: np.random.Generator, evaluations: int = 300
) -> PooledFit:
    """Fit a law to curves that share its parameters.

    Args:
        curves: All of one size, or all with a size.
        law: What to fit.
        starts: Number of starts, the law's own default first.
        rng: Scatters the other starts.
        evaluations: Limit of evaluations for a start.

    Raises:
        ArgumentError: If there are no more points than parameters, a point at step 0, or sizes are missing.
    """
    begun = time.process_time()
    sizes = {curve.size for curve in curves}
    reference = None
    if len(sizes) > 1:
        known = [size for size in sizes if size is not None]
        if len(known) != len(sizes):
            raise ArgumentError("Some curves have a size and some have none; give every curve its size, or none.")
        reference = float(np.exp(np.mean(np.log(known))))
    spreads = [_spread(law, reference, curve.size) for curve in curves]
    points, free = sum(len(curve) for curve in curves), spreads[0].shape[1]
    if points <= free:
        raise ArgumentError(
            f"Law {law.name!r} has {free} free parameters here, but the curves have only {points} points. "
            f"Give more points, or a law with fewer parameters."
        )
    early = [curve.label for curve in curves if curve.steps[0] < 1]
    if early:
        raise ArgumentError(f"Curve {early[0]} has a point at step 0, before any update; drop it (`curve.after(0)`).")
    prepared = [_prepare(law, history_of(curve), curve.size, reference) for curve in curves]
    objective = _Objective(law, prepared, [np.log(curve.losses) for curve in curves], spreads)
    lower, upper = _bounds(law, free)
    found = [
        objective.minimise(np.clip(start, lower + 1e-9, upper - 1e-9), (lower, upper), evaluations)
        for start in _starts(law, prepared, objective.log_losses, free, starts, rng)
    ]
    best = min(found, key=lambda one: one.cost)
    costs = tuple(float(one.cost) for one in found)
    reached = sum(cost <= best.cost * (1 + SAME_COST) + 1e-14 for cost in costs)
    status = FitStatus.LIMIT if best.status == 0 else FitStatus.CONVERGED if reached > 1 else FitStatus.ONE_START
    residuals, jacobians = objective.parts(best.x)
    cpu_s = time.process_time() - begun
    return PooledFit(law, best.x, reference, tuple(residuals), tuple(jacobians), status, costs, cpu_s)


def refit(fit: PooledFit, curves: Sequence[Curve], *, evaluations: int = 30) -> PooledFit:
    """Fit the same law again to changed curves, from its optimum: what a bootstrap repeats."""
    begun = time.process_time()
    law, free = fit.law, len(fit.theta)
    objective = _Objective(
        law,
        [_prepare(law, history_of(curve), curve.size, fit.reference) for curve in curves],
        [np.log(curve.losses) for curve in curves],
        [_spread(law, fit.reference, curve.size) for curve in curves],
    )
    lower, upper = _bounds(law, free)
    found = objective.minimise(np.clip(fit.theta, lower + 1e-9, upper - 1e-9), (lower, upper), evaluations)
    residuals, jacobians = objective.parts(found.x)
    status = FitStatus.LIMIT if found.status == 0 else FitStatus.ONE_START
    cpu_s = time.process_time() - begun
    return PooledFit(
        law, found.x, fit.reference, tuple(residuals), tuple(jacobians), status, (float(found.cost),), cpu_s
    )


class _Objective:
    """Residuals and Jacobian of all curves, evaluated together and kept for the second of the two calls."""

    def __init__(self, law: Law, prepared: list[Any], log_losses: list[np.ndarray], spreads: list[np.ndarray]) -> None:
        self.law, self.prepared, self.log_losses, self.spreads = law, prepared, log_losses, spreads
        self._at: np.ndarray | None = None
        self._kept: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def parts(self, theta: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        if self._at is None or not np.array_equal(theta, self._at):
            found = [
                self.law.evaluate(spread @ theta, one) for spread, one in zip(self.spreads, self.prepared, strict=True)
            ]
            residuals = [value - true for (value, _), true in zip(found, self.log_losses, strict=True)]
            jacobians = [jacobian @ spread for (_, jacobian), spread in zip(found, self.spreads, strict=True)]
            self._at, self._kept = theta.copy(), (residuals, jacobians)
        return self._kept

    def minimise(self, start: np.ndarray, bounds: tuple[np.ndarray, np.ndarray], evaluations: int) -> Any:
        jacobian: Any = lambda theta: np.concatenate(self.parts(theta)[1])  # noqa: E731
        return least_squares(
            lambda theta: np.concatenate(self.parts(theta)[0]),
            start,
            jacobian,
            bounds=bounds,
            x_scale="jac",
            loss="soft_l1",
            f_scale=ROBUST_SCALE,
            max_nfev=evaluations,
        )


def _spread(law: Law, reference: float | None, size: float | None) -> Float[np.ndarray, "parameter free"]:
    """Give the matrix from free parameters to one curve's: a base for each, and slopes for those that move."""
    base = np.eye(len(law.parameters))
    if reference is None or isinstance(law, ChinchillaLaw):
        return base
    if size is None:
        raise ArgumentError("This fit joins several sizes, so a prediction needs `size`.")
    moves = np.array([parameter.moves_with_size for parameter in law.parameters])
    return np.concatenate([base, base[:, moves] * np.log(size / reference)], axis=1)


def _prepare(law: Law, history: History, size: float | None, reference: float | None) -> Any:
    if isinstance(law, ChinchillaLaw) and reference is not None and size is not None:
        return law.prepare_sized(history, size / reference)
    return law.prepare(history)


def _bounds(law: Law, free: int) -> tuple[np.ndarray, np.ndarray]:
    lower = np.array([float(parameter.to_theta(parameter.lower)) for parameter in law.parameters])
    upper = np.array([float(parameter.to_theta(parameter.upper)) for parameter in law.parameters])
    slopes = np.full(free - len(lower), 3.0)
    return np.concatenate([lower, -slopes]), np.concatenate([upper, slopes])


def _starts(
    law: Law, prepared: list[Any], log_losses: list[np.ndarray], free: int, count: int, rng: np.random.Generator
) -> list[np.ndarray]:
    starts = [law.start(prepared, log_losses, None if index == 0 else rng) for index in range(count)]
    return [np.concatenate([start, np.zeros(free - len(start))]) for start in starts]
