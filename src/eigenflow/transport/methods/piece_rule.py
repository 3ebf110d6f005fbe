"""Gauss-Legendre on many short pieces, with an error estimate from the same values."""

import numpy as np
from jaxtyping import Float
from numpy.polynomial import legendre

from eigenflow.transport.motion.paths import panel_rule

__all__ = ["PieceRule"]


class PieceRule:
    """A rule of n nodes, of order 2n, and the last two of its n Legendre coefficients."""

    def __init__(self, num_nodes: int) -> None:
        self.nodes, self.weights = panel_rule(num_nodes)
        degree = np.arange(num_nodes - 2, num_nodes)
        values = legendre.legvander(self.nodes, num_nodes - 1)[:, -2:]
        self._exponent = min(2.5, 1.7 * num_nodes / (num_nodes - 2))
        self._last = values * self.weights[:, None] * (degree + 0.5)

    def place(
        self, left: Float[np.ndarray, " piece"], right: Float[np.ndarray, " piece"]
    ) -> tuple[Float[np.ndarray, "piece node"], Float[np.ndarray, "piece node"]]:
        """Give the points and the weights on each piece."""
        half = 0.5 * (right - left)[:, None]
        return left[:, None] + half * (1.0 + self.nodes), half * self.weights

    def error(
        self, values: Float[np.ndarray, "piece node"], weights: Float[np.ndarray, "piece node"]
    ) -> Float[np.ndarray, " piece"]:
        """Estimate the error of each integral of values that are not negative.

        The last coefficients are of order n - 2 in the length of the piece and the rule is of
        order 2n. The exponent 2n / (n - 2) is lowered by 15 % to stay on the safe side.
        """
        size = (values * weights).sum(axis=1)
        tail = np.abs(values @ self._last).max(axis=1) * weights.sum(axis=1)
        share = np.minimum(tail / np.where(size > 0, size, 1.0), 1.0)
        return size * share**self._exponent
