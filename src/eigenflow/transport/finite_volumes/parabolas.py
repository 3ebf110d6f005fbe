"""Densities inside cells of which only the masses are known.

Parabolas on cells of any width, with edge values of fourth order
[@colella1984piecewise] and each cell's mass kept. Only what would be negative is limited, towards
the cell's mean [@zhang2010maximum]: the cumulative mass is monotone, and
smooth maxima keep the third order.
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
    left, right = _positive(mean, *_edge_values(mean, widths))
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
    """Interpolate at the inner edges (equations 1.6 and 1.7), constant beyond the ends."""
    if len(mean) == 1:
        return mean, mean
    # One ghost cell on either side keeps the formulas whole; its slope is zero.
    a = np.concatenate([mean[:1], mean, mean[-1:]])
    h = np.concatenate([widths[:1], widths, widths[-1:]])
    before, here, after = h[:-2], h[1:-1], h[2:]
    up, down = a[2:] - a[1:-1], a[1:-1] - a[:-2]
    slope = (here / (before + here + after)) * (
        (2 * before + here) / (after + here) * up + (here + 2 * after) / (before + here) * down
    )
    h0, h1, h2, h3 = h[:-3], h[1:-2], h[2:-1], h[3:]
    total = h0 + h1 + h2 + h3
    first, last = (h0 + h1) / (2 * h1 + h2), (h3 + h2) / (2 * h2 + h1)
    jump = mean[1:] - mean[:-1]
    inner = (
        mean[:-1]
        + h1 / (h1 + h2) * jump
        + 2 * h1 * h2 / (h1 + h2) * (first - last) * jump / total
        - h1 * first * slope[1:] / total
        + h2 * last * slope[:-1] / total
    )
    # Cells of very different widths can overshoot; smooth data never reach this bound.
    inner = np.clip(inner, 0.0, 1.5 * np.maximum(mean[:-1], mean[1:]))
    # At the ends the slope of the neighbour goes on, but not through zero.
    begin = np.maximum(0.0, 2.0 * mean[0] - inner[0])
    end = np.maximum(0.0, 2.0 * mean[-1] - inner[-1])
    return np.append(begin, inner), np.append(inner, end)


def _positive(mean: Array, left: Array, right: Array) -> tuple[Array, Array]:
    """Draw edge values towards the mean until the least value of the parabola is not negative."""
    bend = 6.0 * (mean - 0.5 * (left + right))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # The parabola left + y (right - left + bend (1 - y)) has its minimum here if bend < 0.
        y = np.clip(np.nan_to_num(0.5 * (1.0 + (right - left) / bend), nan=0.0), 0.0, 1.0)
        inside = left + y * (right - left + bend * (1.0 - y))
        least = np.minimum(np.minimum(left, right), np.where(bend < 0, inside, left))
        share = np.where(least < 0, mean / (mean - least), 1.0)
    return mean + share * (left - mean), mean + share * (right - mean)
