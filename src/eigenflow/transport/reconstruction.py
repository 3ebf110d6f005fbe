"""Densities inside cells of which only the masses are known.

The piecewise parabolic method of Colella and Woodward (1984, J. Comput. Phys. 54, 174) on cells
of any width: edge values of fourth order where the data are smooth, monotone between neighbours,
never negative, and each cell keeps its mass.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

__all__ = ["parabolas"]

Array = Float[np.ndarray, "..."]


def parabolas(
    edges: Float[np.ndarray, " edge"], masses: Float[np.ndarray, " cell"]
) -> Callable[[Float[np.ndarray, "panel node"]], Float[np.ndarray, "panel node"]]:
    """Build the density per unit x from cell masses.

    Args:
        edges: Cell edges in x, increasing.
        masses: Mass of each cell, not negative.

    Returns:
        A function of points x of shape (panel, node), where each row lies within one cell. It is
        zero outside the cells.
    """
    widths = np.diff(edges)
    mean = masses / widths
    left, right = _limited_edges(mean, *_edge_values(mean, widths))
    bend = 6.0 * (mean - 0.5 * (left + right))

    def density(x: Array) -> Array:
        cell = np.searchsorted(edges, x[:, x.shape[1] // 2], side="right") - 1
        is_inside = (cell >= 0) & (cell < len(mean))
        cell = np.clip(cell, 0, len(mean) - 1)[:, None]
        y = np.clip((x - edges[cell]) / widths[cell], 0.0, 1.0)
        value = left[cell] + y * (right[cell] - left[cell] + bend[cell] * (1.0 - y))
        # Rounding can push a parabola that touches zero below it.
        return np.maximum(value, 0.0) * is_inside[:, None]

    return density


def _edge_values(mean: Array, widths: Array) -> tuple[Array, Array]:
    """Interpolate at the inner edges (equations 1.6 to 1.8), constant beyond the ends."""
    # One ghost cell on either side keeps the formulas whole; its slope is zero.
    a = np.concatenate([mean[:1], mean, mean[-1:]])
    h = np.concatenate([widths[:1], widths, widths[-1:]])
    slope = np.zeros(len(a))
    before, here, after = h[:-2], h[1:-1], h[2:]
    up, down = a[2:] - a[1:-1], a[1:-1] - a[:-2]
    raw = (here / (before + here + after)) * (
        (2 * before + here) / (after + here) * up + (here + 2 * after) / (before + here) * down
    )
    bound = 2.0 * np.minimum(np.abs(up), np.abs(down))
    slope[1:-1] = np.where(up * down > 0, np.sign(raw) * np.minimum(np.abs(raw), bound), 0.0)
    if len(mean) == 1:
        return mean, mean
    j = np.arange(1, len(a) - 2)
    wide = np.concatenate([h[:1], h, h[-1:]])
    h0, h1, h2, h3 = wide[j], wide[j + 1], wide[j + 2], wide[j + 3]
    total = h0 + h1 + h2 + h3
    first, last = (h0 + h1) / (2 * h1 + h2), (h3 + h2) / (2 * h2 + h1)
    inner = (
        a[j]
        + h1 / (h1 + h2) * (a[j + 1] - a[j])
        + (2 * h2 * h1 / (h1 + h2) * (first - last) * (a[j + 1] - a[j])) / total
        - h1 * first * slope[j + 1] / total
        + h2 * last * slope[j] / total
    )
    # At the ends the slope of the neighbour goes on, but not through zero.
    begin = np.maximum(0.0, mean[0] - 0.5 * (inner[0] - mean[0]) * 2.0)
    end = np.maximum(0.0, mean[-1] - 0.5 * (inner[-1] - mean[-1]) * 2.0)
    return np.append(begin, inner), np.append(inner, end)


def _limited_edges(mean: Array, left: Array, right: Array) -> tuple[Array, Array]:
    """Make every parabola monotone (equation 1.10), which also keeps it from being negative."""
    is_extremum = (right - mean) * (mean - left) <= 0
    gap, skew = right - left, 6.0 * (mean - 0.5 * (left + right))
    too_left, too_right = gap * skew > gap**2, gap * skew < -(gap**2)
    new_left = np.where(too_left, 3.0 * mean - 2.0 * right, left)
    new_right = np.where(too_right, 3.0 * mean - 2.0 * left, right)
    return np.where(is_extremum, mean, new_left), np.where(is_extremum, mean, new_right)
