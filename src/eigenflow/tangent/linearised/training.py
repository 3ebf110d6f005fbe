"""Ways to train a linearised network, as functions of an eigenvalue.

A mode of M with eigenvalue lambda has, after some training, the share p(lambda) of its error left, and has been driven
by q(lambda) = (1 - p(lambda)) / lambda times its first error. So e = p(M) e0, and the parameters have moved by
-J^T q(M) e0. Neither needs an inverse: q(0) is the time.

    gradient flow       p = exp(-lambda t)                     q = (1 - exp(-lambda t)) / lambda
    gradient descent    p' = p - eta lambda p                  q' = q + eta p
    heavy ball          b' = mu b + p,  q' = q + eta b',       p' = p - eta lambda b'

The last is the momentum of `torch.optim.SGD`, in which a learning rate that changes acts on the whole sum b.

The error of Krylov's approximation. After m steps M V' = V' T + beta v e_m' (V orthonormal rows, T tridiagonal), and
x = V' p(T) e_1 |e0| obeys the equation of the error up to beta [p(T)]_m1 v |e0|. Flow and stable descent never make an
error longer, so it is at most |e0| beta int |[p(T)]_m1| dt: a sum for descent, and for flow, where that entry never
changes its sign, |e0| beta |[q(T)]_m1| itself. Source: [@saad1992analysis], whose residual it is.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int
from scipy.integrate import solve_ivp

from eigenflow.core.checks import check_number, real_array
from eigenflow.core.errors import ArgumentError, ConvergenceError, NonFiniteError, ShapeError

__all__ = ["AbstractTraining", "GradientDescent", "GradientFlow", "make_training"]

Gradient = Callable[[np.ndarray], np.ndarray]
State = TypeVar("State")

MOST_EVALUATIONS = 200_000
MOST_GROWTH = 1e100  # of a mode, beyond which squares of outputs would overflow


class AbstractTraining(ABC):
    """How the parameters follow the gradient, and when one looks."""

    times: Float[np.ndarray, " time"]
    # J^T q is at most this times sqrt(time) long, per unit of defect: max over x of |1 - p(x)| / sqrt(x), x = lambda t.
    reach: float | None
    # Whether `follow` integrates, and so depends on its tolerance.
    integrates: bool

    @abstractmethod
    def responses(
        self, rates: Float[np.ndarray, " mode"]
    ) -> tuple[Float[np.ndarray, "mode time"], Float[np.ndarray, "mode time"]]:
        """p and q of modes with these eigenvalues, >= 0."""

    @abstractmethod
    def defect(
        self, nodes: Float[np.ndarray, " node"], weights: Float[np.ndarray, " node"]
    ) -> Float[np.ndarray, " time"] | None:
        """A bound of int |sum of weights p(nodes)| dt, grown where descent is unstable; None if there is none."""

    @abstractmethod
    def follow(
        self, gradient: Gradient, first: Float[np.ndarray, " size"], tolerance: float
    ) -> Float[np.ndarray, "time size"]:
        """The sum s of what drives the outputs, s' = gradient(s) from 0.

        Args:
            gradient: Of the loss by the outputs, when the outputs have been driven by s.
            first: The gradient at the start.
            tolerance: Relative accuracy of a step, if this is an integration.
        """


@dataclass(frozen=True)
class GradientFlow(AbstractTraining):
    """dtheta/dt = -gradient."""

    times: Float[np.ndarray, " time"]

    integrates = True
    reach = 0.6382  # at x = 1.2564, the root of exp(x) = 1 + 2 x

    def responses(self, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """exp(-lambda t), and (1 - exp(-lambda t)) / lambda."""
        spent = rates[:, None] * self.times
        shares = -np.expm1(-spent)
        # What underflows has not begun to relax: q is the time.
        driven = np.where(spent > 0, shares / np.where(rates > 0, rates, 1.0)[:, None], self.times)
        return np.exp(-spent), driven

    def defect(self, nodes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The entry [q(T)]_m1."""
        return np.abs(weights @ self.responses(nodes)[1])

    def follow(self, gradient: Gradient, first: np.ndarray, tolerance: float) -> np.ndarray:
        """By Dormand and Prince's method of order 8."""
        end = float(self.times[-1])
        if end == 0.0:
            return np.zeros((len(self.times), len(first)))
        left = MOST_EVALUATIONS

        def velocity(time: float, driven: np.ndarray) -> np.ndarray:
            nonlocal left
            left -= 1
            if left < 0:
                raise ConvergenceError(
                    f"Following the linearised network took more than {MOST_EVALUATIONS:,} products with its kernel "
                    f"and had come to time {time:.3g} of {end:.3g}. Ask for `times` up to that, or for the updates of "
                    f"gradient descent (`learning_rates`), which need one product each."
                )
            return gradient(driven)

        # Modes differ by orders of magnitude, so the absolute part is that of a short time.
        floor = max(1e-3 * tolerance * end * float(np.sqrt(np.mean(first**2))), np.finfo(np.float64).tiny)
        start = np.zeros_like(first)
        found = solve_ivp(velocity, (0.0, end), start, "DOP853", self.times, rtol=tolerance, atol=floor)
        if not found.success:
            raise ConvergenceError(f"The linearised network cannot be followed: {found.message} Ask for earlier times.")
        return found.y.T


@dataclass(frozen=True)
class GradientDescent(AbstractTraining):
    """Updates with given learning rates and momentum, as of `torch.optim.SGD`.

    Attributes:
        learning_rates: One for each update.
        momentum: mu in [0, 1).
        steps: Completed updates at which one looks, increasing.
    """

    learning_rates: Float[np.ndarray, " update"]
    momentum: float
    steps: Int[np.ndarray, " time"]

    integrates = False

    @property
    def times(self) -> Float[np.ndarray, " time"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Sum of learning rates, over 1 - mu."""
        sums = np.append(0.0, np.cumsum(self.learning_rates))
        return sums[self.steps] / (1.0 - self.momentum)

    @property
    def reach(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """sqrt(2) for stable descent, from 1 - p <= min(2, lambda t); none is known with momentum."""
        return math.sqrt(2.0) if self.momentum == 0.0 else None

    def responses(self, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By the recurrence, for all modes at once."""

        def states() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            left, ball, driven = np.ones_like(rates), np.zeros_like(rates), np.zeros_like(rates)
            yield left, driven
            for rate in self.learning_rates:
                ball = self.momentum * ball + left
                driven = driven + rate * ball
                left = left - rate * rates * ball
                yield left, driven

        with np.errstate(over="ignore", invalid="ignore"):
            left, driven = zip(*self._at_steps(states()), strict=True)
        return self._finite(np.array(left)).T, self._finite(np.array(driven)).T

    def defect(self, nodes: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
        """The sum of rates times entries [p(T)]_m1; no bound with momentum."""
        if self.momentum:
            return None

        def states() -> Iterator[float]:
            left, total = np.ones_like(nodes), 0.0
            yield total
            for rate in self.learning_rates:
                growth = max(1.0, abs(1.0 - rate * float(nodes.max())))
                total = growth * total + rate * abs(float(weights @ left))
                left = left - rate * nodes * left
                yield total

        return np.array(self._at_steps(states()))

    def follow(self, gradient: Gradient, first: np.ndarray, tolerance: float) -> np.ndarray:
        """Update by update, exactly."""
        del tolerance

        def states() -> Iterator[np.ndarray]:
            driven, ball = np.zeros_like(first), np.zeros_like(first)
            yield driven
            for rate in self.learning_rates:
                ball = self.momentum * ball + gradient(driven)
                driven = driven + rate * ball
                yield driven

        return self._finite(np.array(self._at_steps(states())))

    def _at_steps(self, states: Iterator[State]) -> list[State]:
        """Of states after 0, 1, 2, ... updates, those at which one looks."""
        wanted = set(self.steps.tolist())
        return [state for step, state in zip(range(int(self.steps[-1]) + 1), states, strict=False) if step in wanted]

    def _finite(self, values: Float[np.ndarray, "time ..."]) -> Float[np.ndarray, "time ..."]:
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero(~(np.abs(values) < MOST_GROWTH).all(axis=1))
        if len(wrong):
            raise NonFiniteError(
                f"`learning_rates` make the linearised network diverge: it overflows by update {self.steps[wrong[0]]}. "
                f"Rates above 2 (1 + momentum) / the largest eigenvalue do that; lower them."
            )
        return values


def make_training(times: Any, learning_rates: Any, momentum: float, steps: Any) -> AbstractTraining:
    """Flow up to times, or updates with learning rates: what the arguments of `lazy_prediction` say.

    Raises:
        ArgumentError: If they say both, neither, or what cannot be.
    """
    if (times is None) == (learning_rates is None):
        came = "neither" if times is None else "both"
        raise ArgumentError(
            f"Give either `times`, for gradient flow, or `learning_rates`, one for each update of gradient descent, "
            f"but {came} came."
        )
    if learning_rates is None:
        if steps is not None or momentum != 0.0:
            raise ArgumentError("`steps` and `momentum` belong to gradient descent: give `learning_rates` with them.")
        return GradientFlow(_increasing("times", times, "times since the instant"))
    rates = real_array("learning_rates", learning_rates)
    if rates.ndim != 1 or not np.isfinite(rates).all() or (rates < 0).any():
        raise ArgumentError(
            "`learning_rates` must be one row of finite numbers >= 0, one for each update, such as "
            f"[0.1] * 1000, but has shape {rates.shape}{'' if rates.ndim != 1 else ' and holds others'}."
        )
    momentum = check_number("momentum", momentum, 0.0, 1.0 - 1e-9)
    at = np.arange(len(rates) + 1) if steps is None else _increasing("steps", steps, "numbers of completed updates")
    if (at != np.floor(at)).any() or at[-1] > len(rates):
        raise ArgumentError(
            f"`steps` must be whole numbers from 0 to {len(rates)}, the number of `learning_rates`, but end with "
            f"{at[-1]:g}."
        )
    return GradientDescent(rates, momentum, at.astype(np.int64))


def _increasing(name: str, values: Any, what: str) -> np.ndarray:
    found = real_array(name, values)
    if found.ndim != 1 or found.size == 0:
        raise ShapeError(f"`{name}` must be one row of {what}, but has shape {found.shape}.")
    if not np.isfinite(found).all() or (found < 0).any() or (np.diff(found) <= 0).any():
        raise ArgumentError(f"`{name}` must be finite {what}, >= 0 and increasing, but begin with {found[:3]}.")
    return found
