"""Gauss-Legendre on many short pieces, whole or up to any point, with error estimates from the same values."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy.polynomial import legendre

from eigenflow.transport.flows.paths import panel_rule

__all__ = ["CumulativePlaces", "PieceRule", "piece_rule"]

Array = Float[np.ndarray, "..."]


class PieceRule:
    """A rule of n nodes, of order 2n, and the last two of its n Legendre coefficients.

    Attributes:
        nodes: On [-1, 1].
        weights: Of the nodes.
        partial: From values times weights to the Legendre coefficients of the integral of the
            interpolant from the left end, shape (node, n + 1).
    """

    def __init__(self, num_nodes: int) -> None:
        self.nodes, self.weights = panel_rule(num_nodes)
        degree = np.arange(num_nodes - 2, num_nodes)
        values = legendre.legvander(self.nodes, num_nodes - 1)
        self._exponent = min(2.5, 1.7 * num_nodes / (num_nodes - 2))
        self._last = values[:, -2:] * self.weights[:, None] * (degree + 0.5)
        # The integral of P_k is (P_(k+1) - P_(k-1)) / (2k + 1), that of P_0 is P_1 + P_0.
        self.partial = np.zeros((num_nodes, num_nodes + 1))
        self.partial[:, 1:] += 0.5 * values
        self.partial[:, : num_nodes - 1] -= 0.5 * values[:, 1:]
        self.partial[:, 0] += 0.5
        self._partial_exponent = 0.85 * (num_nodes + 1) / (num_nodes - 2)
        self._partial_last = values[:, -2:] * (2 * degree + 1)

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

    def partial_error(self, weighted: Float[np.ndarray, "... piece node"]) -> Float[np.ndarray, "... piece"]:
        """Estimate the error of the interpolant's integral up to any point of a piece.

        Args:
            weighted: Values that are not negative times weights.
        """
        size = weighted @ np.ones(weighted.shape[-1])
        tail = np.abs(weighted @ self._partial_last).max(axis=-1)
        share = np.minimum(tail / np.where(size > 0, size, 1.0), 1.0)
        return size * share**self._partial_exponent


@lru_cache
def piece_rule(num_nodes: int) -> PieceRule:
    """Give the rule of that many nodes, made once."""
    return PieceRule(num_nodes)


class CumulativePlaces:
    """Points in panels, one row per time, at which cumulative integrals are wanted."""

    def __init__(self, panels: Array, points: Array) -> None:
        last = len(panels) - 2
        self.panel = np.clip(np.searchsorted(panels, points, side="right") - 1, 0, last)
        begin = panels[self.panel]
        self.local = 2.0 * (points - begin) / (panels[self.panel + 1] - begin) - 1.0
        self.rows = np.arange(len(points))[:, None]

    def between(self, weighted: Array, rule: PieceRule) -> Array:
        """Integrate between neighbouring points of a row.

        Below the panel with most mass sums run from the bottom, above it from the top, so that the
        tiny masses of the tails are not differences of large numbers.

        Args:
            weighted: Values times weights, shape (time, panel, node).
            rule: The rule of the nodes.
        """
        whole = weighted @ np.ones(weighted.shape[2])
        peak = np.argmax(whole, axis=1)[:, None]
        up = np.cumsum(whole, axis=1)
        down = np.cumsum(whole[:, ::-1], axis=1)[:, ::-1]
        base = np.where(np.arange(whole.shape[1]) <= peak, up - whole, -down)
        series = (weighted.reshape(-1, weighted.shape[2]) @ rule.partial).T
        where = self.rows * whole.shape[1] + self.panel
        partial = legendre.legval(self.local.ravel(), np.take(series, where.ravel(), axis=1), tensor=False)
        level = base.ravel()[where] + partial.reshape(where.shape)
        is_above = self.panel > peak
        return np.diff(level) + np.where(is_above[:, 1:] & ~is_above[:, :-1], up[:, -1:], 0.0)
