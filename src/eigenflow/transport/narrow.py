"""Where a user's function is narrower than the panels on which it is first sampled.

A quadrature sees a function at its nodes alone: what lies between them is missed in silence, and what only one node of
a panel has seen is lost when the panel is bisected and no node of the halves falls on it. A jump or a corner is lost
between the last node of a panel and its end. So functions are looked at once on many more points than nodes. Where
values there are no smooth sequence, panels are graded towards that point from both sides, as fine as the function
varies there, and what may be a jump or a corner is located; bisection of panels then finds the rest.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

__all__ = ["graded_edges"]

Array = Float[np.ndarray, "..."]

# Fourth differences of a smooth sequence are below this share of its values; a function that varies over L spacings has
# about L^-4, so one that varies over 20 or more of them passes. Panels see those.
_SMOOTH = 1e-5
# Share of the integral below which a place is no concern.
_NEGLIGIBLE = 1e-10
# Only so many places are graded, those that differ most; a function that is rough everywhere has no narrow places.
_MAX_PLACES = 64
# One place of several neighbouring points.
_NEIGHBOURS = 8
_HALVINGS = 46
# How many points to either side of such a place are looked at closer, and in how many parts.
_AROUND = 6
_CLOSER = 192
_MAX_CORNERS = 256
_BISECTIONS = 60
# Panels are graded down to where the function changes by no more than this share.
_LEVEL = 1e-3


def graded_edges(
    function: Callable[[Array], Array], points: Float[np.ndarray, " point"], longest: float = np.inf
) -> Float[np.ndarray, " edge"]:
    """Find places at which a function is narrow, and give panel edges that shrink towards them.

    Args:
        function: Vectorised; finite at all points and between.
        points: Where to look, increasing, at least 5, evenly spaced in a variable in which the function is smooth.
        longest: Panels longer than this are no concern of the grading.

    Returns:
        Increasing, within the points, empty where nothing is narrow.
    """
    values = function(points)
    place = _stand_out(points, values)
    if not len(place):
        return np.zeros(0)
    joined = np.unique(
        np.concatenate([_graded(function, points, values, place, longest), _corners(function, points, place)])
    )
    return joined[(joined > points[0]) & (joined < points[-1])]


def _roughness(points: Array, values: Array) -> Float[np.ndarray, " difference"]:
    """Give the fourth differences that are too large for a smooth sequence, and zero for the others."""
    rough, size = np.abs(np.diff(values, 4)), np.abs(values)
    local = size[:-4]
    for shift in range(1, 5):
        local = np.maximum(local, size[shift : len(size) - 4 + shift])
    gap = np.diff(points)
    least = _NEGLIGIBLE * float(gap @ size[1:]) / gap[1:-2]
    return np.where(rough > np.maximum(_SMOOTH * local, least), rough, 0.0)


def _stand_out(points: Array, values: Array) -> np.ndarray:
    """Give the points that stand out, one of each neighbourhood."""
    rough = _roughness(points, values)
    found = np.flatnonzero(rough)
    if not len(found):
        return found
    group = found // _NEIGHBOURS
    order = np.lexsort((-rough[found], group))
    best = found[order][np.append(True, np.diff(group[order]) > 0)]
    best = best[np.argsort(-rough[best], kind="stable")][:_MAX_PLACES]
    return np.sort(best + np.argmax(np.abs(values)[best[:, None] + np.arange(5)], axis=1))


def _graded(function: Callable, points: Array, values: Array, place: np.ndarray, longest: float) -> Array:
    last = len(points) - 1
    gap = points[np.minimum(place + 1, last)] - points[np.maximum(place - 1, 0)]
    center, height = points[place][:, None, None], values[place][:, None, None]
    sign = np.array([-1.0, 1.0])[:, None]
    near = center + sign * gap[:, None, None] * 0.5 ** np.arange(_HALVINGS + 1)
    change = np.abs(function(np.clip(near, points[0], points[-1])) - height).max(axis=1)
    is_change = change > _LEVEL * np.abs(height[:, 0])
    # The last halving at which the function still changes, and one more.
    finest = np.where(is_change.any(axis=1), _HALVINGS - np.argmax(is_change[:, ::-1], axis=1) + 1, 0)
    coarsest = np.floor(np.log2(gap / min(longest, points[-1] - points[0]))).astype(int)
    edges = [points[place]]
    # Each place is graded up to half the way to the next one.
    between = 0.5 * (points[place][1:] + points[place][:-1])
    bounds = zip(np.append(-np.inf, between), np.append(between, np.inf), strict=True)
    for where, width, begin, end, (low, high) in zip(points[place], gap, coarsest, finest, bounds, strict=True):
        steps = width * 0.5 ** np.arange(begin, end + 1)
        around = np.concatenate([where - steps, where + steps])
        edges.append(around[(around > low) & (around < high)])
    return np.concatenate(edges)


def _corners(function: Callable, points: Array, place: np.ndarray) -> Array:
    """Follow the largest second differences down to single points: jumps to a rounding, corners to its root."""
    last = len(points) - 1
    low, high = points[np.maximum(place - _AROUND, 0)], points[np.minimum(place + _AROUND, last)]
    near = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, _CLOSER + 1)
    bend = np.abs(np.diff(function(near), 2, axis=1))
    beside = np.pad(bend, ((0, 0), (1, 1)))
    is_peak = (bend > 0) & (bend >= beside[:, :-2]) & (bend >= beside[:, 2:])
    row, column = np.nonzero(is_peak)
    most = np.argsort(-bend[row, column], kind="stable")[:_MAX_CORNERS]
    row, column = row[most], column[most]
    low, high = near[row, column], near[row, column + 2]
    each = np.arange(len(row))
    for _ in range(_BISECTIONS):
        five = low[:, None] + (high - low)[:, None] * (0.25 * np.arange(5))
        best = np.argmax(np.abs(np.diff(function(five), 2, axis=1)), axis=1)
        low, high = five[each, best], five[each, best + 2]
    return 0.5 * (low + high)
