"""The plainest laws of a loss curve: a power of the steps, or of the sum of learning rates, above a floor.

L = L0 + A x^-a,   x = completed steps (`power_steps`)  or  x = S1, the sum of learning rates (`power_time`)
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eigenflow.forecast.laws.protocol import History, Parameter
from eigenflow.forecast.laws.separable import AbstractSeparableLaw, Shapes, power_shape

__all__ = ["AMPLITUDE", "EXPONENT", "FLOOR", "PowerInSteps", "PowerInTime", "positive_times"]

FLOOR = Parameter("L0", "nats", "loss that no training removes", "log", 1e-9, 1e3)
AMPLITUDE = Parameter("A", "nats time^a", "weight of the decaying term", "log", 1e-9, 1e9)
EXPONENT = Parameter("a", "", "exponent of the decaying term", "log", 1e-2, 5.0)


def positive_times(history: History) -> Float[np.ndarray, " point"]:
    """Give S1 at each observation; where it is still zero, half the first positive learning rate stands for it."""
    positive = history.rates[history.rates > 0]
    return np.maximum(history.times, 0.5 * positive[0] if len(positive) else 1.0)


class _Power(AbstractSeparableLaw):
    weights = (FLOOR, AMPLITUDE)
    shape_parameters = (EXPONENT,)

    def shapes(self, shape_values: Float[np.ndarray, " shape"], prepared: Float[np.ndarray, " point"]) -> Shapes:
        """Evaluate 1 and x^-a."""
        value, slope = power_shape(prepared, float(shape_values[0]))
        one = np.ones_like(value)
        return Shapes(np.stack([one, value], axis=1), np.stack([0.0 * one, slope], axis=1)[None])

    def typical_shape(self, prepared: Sequence[Float[np.ndarray, " _"]]) -> Float[np.ndarray, " shape"]:
        """Square-root decay."""
        return np.array([0.5])


class PowerInSteps(_Power):
    """L0 + A n^-a in completed steps n: Chinchilla's data term along one run, blind to the learning rate."""

    name = "power_steps"

    def prepare(self, history: History) -> Float[np.ndarray, " point"]:
        """Only the steps matter."""
        return history.steps.astype(np.float64)


class PowerInTime(_Power):
    """L0 + A S1^-a in the sum of learning rates S1."""

    name = "power_time"

    def prepare(self, history: History) -> Float[np.ndarray, " point"]:
        """Only the sum of learning rates matters."""
        return positive_times(history)
