"""The Chinchilla form along runs of several sizes: a floor, a power of the parameters, a power of the data.

    L = E + A (N / N0)^-alpha + B n^-beta,   n completed steps (D = n times the tokens of a step), N0 the reference size

It is blind to the learning rate, and joins sizes by its own term instead of by slopes in ln(size).

Source: [@hoffmann2022training], approach 3.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from eigenflow.forecast.laws.power import EXPONENT, FLOOR
from eigenflow.forecast.laws.protocol import History, Parameter
from eigenflow.forecast.laws.separable import AbstractSeparableLaw, Shapes, power_shape

__all__ = ["ChinchillaLaw"]

Prepared = tuple[Float[np.ndarray, " point"], float]


class ChinchillaLaw(AbstractSeparableLaw):
    """E + A (N / N0)^-alpha + B n^-beta."""

    name = "chinchilla"
    weights = (
        replace(FLOOR, name="E"),
        Parameter("A", "nats", "loss for want of parameters, at the reference size", "log", 1e-9, 1e3),
        Parameter("B", "nats step^beta", "loss for want of data", "log", 1e-9, 1e9),
    )
    shape_parameters = (replace(EXPONENT, name="alpha"), replace(EXPONENT, name="beta"))

    def prepare(self, history: History) -> Prepared:
        """One size only: E and A cannot be told apart."""
        return self.prepare_sized(history, 1.0)

    def prepare_sized(self, history: History, size_ratio: float) -> Prepared:
        """Take the steps, and the size relative to the reference."""
        return history.steps.astype(np.float64), size_ratio

    def shapes(self, shape_values: Float[np.ndarray, " shape"], prepared: Prepared) -> Shapes:
        """Evaluate 1, (N / N0)^-alpha and n^-beta."""
        steps, ratio = prepared
        size, size_slope = power_shape(np.full(len(steps), ratio), float(shape_values[0]))
        data, data_slope = power_shape(steps, float(shape_values[1]))
        zero = np.zeros_like(data)
        gradients = np.stack([np.stack([zero, size_slope, zero], axis=1), np.stack([zero, zero, data_slope], axis=1)])
        return Shapes(np.stack([zero + 1.0, size, data], axis=1), gradients)

    def typical_shape(self, prepared: Sequence[Prepared]) -> Float[np.ndarray, " shape"]:
        """Of the published order."""
        return np.array([0.34, 0.37])
