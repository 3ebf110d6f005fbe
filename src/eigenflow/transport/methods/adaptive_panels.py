"""Composite Gauss-Legendre with panels bisected where the integrand is not resolved."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy.polynomial import legendre

from eigenflow.transport.flows.paths import panel_rule

__all__ = ["NODES", "WEIGHTS", "integrate_panels", "tails"]

Array = Float[np.ndarray, "..."]
NODES, WEIGHTS = panel_rule(8)
_LAST = (legendre.legvander(NODES, 7) * WEIGHTS[:, None] * (np.arange(8) + 0.5))[:, -2:]
_MAX_POINTS = 400_000


def tails(values: Float[np.ndarray, "*panel node"]) -> Float[np.ndarray, "*panel"]:
    """Give the size of the last two Legendre coefficients on each panel."""
    return np.abs(values @ _LAST).max(axis=-1)


def integrate_panels(
    function: Callable, edges: Float[np.ndarray, " edge"], resolved: float = 1e-7, rounds: int = 14
) -> tuple[Float[np.ndarray, "quantity panel"], float]:
    """Integrate several quantities over each interval between edges.

    Args:
        function: Takes points, shape (point,), returns shape (quantity, point).
        edges: Increasing.
        resolved: Tail of the Legendre series on a panel, times its length, as a share of the sum of
            all panels; the rule is of twice the order of that tail, so its error is far below.
        rounds: Bisections at most.

    Returns:
        Integrals, and the estimated error of their sum.
    """
    left, right, owner = edges[:-1], edges[1:], np.arange(len(edges) - 1)
    result, error = None, 0.0
    scale = np.zeros(1)
    for turn in range(rounds + 1):
        half = 0.5 * (right - left)
        points = (left[:, None] + half[:, None] * (1.0 + NODES)).ravel()
        values = function(points)
        values = values.reshape(len(values), len(left), len(NODES))
        parts = (values @ WEIGHTS) * half
        if result is None:
            result = np.zeros((len(values), len(edges) - 1))
        wrong = tails(values) * half
        scale = np.maximum(np.abs(result).sum(axis=1) + np.abs(parts).sum(axis=1), 1e-300)
        is_open = (wrong > resolved * scale[:, None] / 8).any(axis=0)
        if turn == rounds or 2 * is_open.sum() * len(NODES) > _MAX_POINTS:
            # What could not be resolved counts with its whole tail.
            error += float(wrong[:, is_open].sum())
            is_open[:] = False
        for quantity, part in zip(result, parts, strict=True):
            quantity += np.bincount(owner[~is_open], part[~is_open], len(quantity))
        if not is_open.any():
            break
        middle = 0.5 * (left + right)[is_open]
        left, right = (
            np.concatenate([left[is_open], middle]),
            np.concatenate([middle, right[is_open]]),
        )
        owner = np.tile(owner[is_open], 2)
    assert result is not None
    return result, error + resolved**2 * float(scale.sum())
