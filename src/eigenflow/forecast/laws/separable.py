"""Laws that are sums of shapes with non-negative weights: what the published laws have in common.

    L(n) = sum_j w_j f_j(n; nu),    w_j > 0,

with a few weights w (L0, A, B or C) and a few shape parameters nu (exponents, rates). Weights enter linearly, so a
start needs shape parameters only: the weights that go with them are a non-negative least-squares problem.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from eigenflow.forecast.laws.protocol import History, Parameter

__all__ = ["AbstractSeparableLaw", "Shapes", "power_shape"]

# A loss below this share of its positive part is continued linearly in ln(loss), so that a start with a
# too large drop has a direction to go; no published fit comes near it.
SMALLEST_SHARE = 0.05
# ln(parameter) beyond which values no longer change.
FARTHEST = 100.0


@dataclass(frozen=True)
class Shapes:
    """The shapes of a law on one curve.

    Attributes:
        values: f_j at every observation; a negative column is a drop of the loss.
        gradients: Derivative of f_j with respect to shape parameter i, in internal units.
    """

    values: Float[np.ndarray, "point weight"]
    gradients: Float[np.ndarray, "shape point weight"]


def power_shape(x: Float[np.ndarray, " point"], exponent: float) -> tuple[np.ndarray, np.ndarray]:
    """Give x^-exponent, and its derivative with respect to ln(exponent)."""
    value = x**-exponent
    return value, -exponent * np.log(x) * value


class AbstractSeparableLaw(ABC):
    """A law whose parameters are weights first, shape parameters after; all positive, all in logarithms."""

    name: str
    weights: tuple[Parameter, ...]
    shape_parameters: tuple[Parameter, ...]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Weights, then shape parameters, in the order of `theta`."""
        return self.weights + self.shape_parameters

    @abstractmethod
    def prepare(self, history: History) -> Any:
        """Do everything that does not depend on parameters."""

    @abstractmethod
    def shapes(self, shape_values: Float[np.ndarray, " shape"], prepared: Any) -> Shapes:
        """Evaluate the shapes and their derivatives with respect to the logarithms of the shape parameters."""

    @abstractmethod
    def typical_shape(self, prepared: Sequence[Any]) -> Float[np.ndarray, " shape"]:
        """Give shape parameters of the right order for these curves, from their learning rates alone."""

    def evaluate(
        self, theta: Float[np.ndarray, " parameter"], prepared: Any
    ) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "point parameter"]]:
        """Give ln(loss) at each observation, and its derivatives with respect to `theta`."""
        # A joint fit may take slopes far out, where powers of powers would overflow.
        values = np.exp(np.clip(theta, -FARTHEST, FARTHEST))
        weights, shape_values = np.split(values, [len(self.weights)])
        shapes = self.shapes(shape_values, prepared)
        parts = shapes.values * weights
        moved = np.einsum("spw,w->spw", shapes.gradients, weights)
        is_positive = shapes.values >= 0
        gradient = np.concatenate([parts.T, moved.sum(axis=2)])
        rise_gradient = np.concatenate([(parts * is_positive).T, (moved * is_positive).sum(axis=2)])
        rise = (parts * is_positive).sum(axis=1)
        share = parts.sum(axis=1) / rise
        held = np.maximum(share, SMALLEST_SHARE)
        log_loss = np.log(rise) + np.log(held) + np.minimum(share / SMALLEST_SHARE - 1.0, 0.0)
        jacobian = rise_gradient / rise + (gradient - share * rise_gradient) / (rise * held)
        return log_loss, jacobian.T

    def start(
        self,
        prepared: Sequence[Any],
        log_losses: Sequence[Float[np.ndarray, " _"]],
        rng: np.random.Generator | None,
    ) -> Float[np.ndarray, " parameter"]:
        """Take shape parameters (typical, or scattered around that by `rng`), and fit the weights to them."""
        shape_values = self.typical_shape(prepared)
        if rng is not None:
            shape_values = shape_values * np.exp(rng.normal(0.0, 1.0, len(shape_values)))
        bounds = np.array([(p.lower, p.upper) for p in self.parameters]).T
        shape_values = np.clip(shape_values, *bounds[:, len(self.weights) :])
        columns = np.concatenate([self.shapes(shape_values, one).values for one in prepared])
        losses = np.exp(np.concatenate(list(log_losses)))
        relative = columns / losses[:, None]
        sizes = np.sqrt(np.mean(relative**2, axis=0))
        # A shape that these curves do not show (annealing at a constant rate) gets a weight in nats.
        sizes[sizes == 0.0] = 1.0 / losses.mean()
        weights, _ = nnls(relative / sizes, np.ones_like(losses))
        # A weight of zero has no logarithm; a thousandth of the loss leaves it free to grow again.
        weights = np.maximum(weights, 1e-3) / sizes
        return np.log(np.clip(np.concatenate([weights, shape_values]), *bounds))
