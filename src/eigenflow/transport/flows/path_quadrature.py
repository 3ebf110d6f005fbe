"""Integrals along characteristics that have no closed form, by composite Gauss-Legendre.

With constant c the variable is x = ln(lambda), in which a rate is smooth. With c(t) it is time, on
panels so short that no characteristic of the group moves by more than one e-fold.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from eigenflow.core.limits import spend, within
from eigenflow.transport.flows.flow import FARTHEST
from eigenflow.transport.flows.paths import exp_ratio, fall, panel_rule

__all__ = ["along_ending", "along_path", "along_time", "along_time_until", "time_panels"]

Array = Float[np.ndarray, "..."]
Function = Callable[[Array], Array]

_NODES, _WEIGHTS = panel_rule(12)
_CHUNK = 300_000
# Minus ln of the share of a path's time that is left to a closed form.
_LEFT = 20.0


def along_path(rate: Function, log_start: Array, drop: Array, stretch: Array, b: float) -> Array:
    """Integrate a rate over the time that a mode needs to fall by `drop`, at constant c.

    With x = x0 - d y the time element is stretch * exp(a d y) dy, a = b - 1, which stays regular
    where c or a vanishes.

    Args:
        rate: Dissipation rate as a function of ln(lambda), in 1 / time.
        log_start: x0 = ln(lambda0).
        drop: d = x0 - x at the end; negative when the mode has risen.
        stretch: d * exp(-a x0) / c, in units of time.
        b: Exponent of the drift.
    """
    a = b - 1.0
    log_start, drop = np.broadcast_arrays(log_start, drop)
    flat_x, whole = np.ravel(log_start), np.ravel(drop)
    # At b = 1 modes fall without end. Where they move no more, the rate is what it is there.
    flat_d = np.clip(whole, np.minimum(flat_x - FARTHEST, 0.0), np.maximum(flat_x + FARTHEST, 0.0))
    span = np.abs(flat_d) * max(1.0, abs(a))
    doublings = np.ceil(np.log2(np.maximum(span, 1.0))).astype(int)
    value = np.zeros(flat_x.shape)
    spend(len(_NODES) * float(np.sum(2.0**doublings)))
    for doubling in np.unique(doublings):
        members = np.flatnonzero(doublings == doubling)
        x, d = flat_x[members], flat_d[members]
        panels = 2**doubling
        for index in range(panels):
            for node, weight in zip(_NODES, _WEIGHTS, strict=True):
                fraction = (index + 0.5 * (1.0 + node)) / panels
                value[members] += 0.5 * weight / panels * rate(x - d * fraction) * np.exp(a * d * fraction)
    far = np.flatnonzero(flat_d != whole)
    if len(far):
        d, rest = flat_d[far], whole[far] - flat_d[far]
        share = np.exp(a * d) * exp_ratio(-a * rest) * rest / whole[far]
        value[far] = value[far] * d / whole[far] + share * rate(flat_x[far] - d)
    return value.reshape(np.shape(drop)) * stretch


def time_panels(accumulated: Function, breaks: Array, log_ends: Array, b: float) -> tuple[Array, Array]:
    """Bisect time panels until the outermost characteristics move by at most an e-fold on each, as far as floats go.

    Args:
        accumulated: C as a function of time, zero at the start.
        breaks: Times between which c is smooth and of one sign, increasing.
        log_ends: ln(lambda0) of the lowest and the highest mode of the group.
        b: Exponent of the drift.
    """
    longest = 1.0 / max(1.0, abs(b - 1.0))
    points = breaks
    for _ in range(200):
        log_now = np.clip(log_ends - fall(log_ends, accumulated(points)[:, None], b)[0], -FARTHEST, FARTHEST)
        moved = np.abs(np.diff(log_now, axis=0)).max(axis=1)
        middle = 0.5 * (points[1:] + points[:-1])
        is_long = (moved > longest) & (middle > points[:-1]) & (middle < points[1:])
        if not is_long.any():
            break
        points = np.sort(np.concatenate([points, middle[is_long]]))
    return points[:-1], points[1:]


def along_time(accumulated: Function, left: Array, right: Array, function: Function) -> Array:
    """Integrate a function of C over each time panel.

    Args:
        accumulated: C as a function of time.
        left: Where the panels begin, shape (panel,); `right` likewise.
        function: Takes C of shape (time,), returns shape (..., time).

    Returns:
        Shape (..., panel).
    """
    half = 0.5 * (right - left)
    levels = accumulated((left[:, None] + half[:, None] * (1.0 + _NODES)).ravel())
    weights = (half[:, None] * _WEIGHTS).ravel()
    probe = function(levels[:1])
    within("entries", probe.size * len(left), "The quadrature of the drift's time dependence")
    spend(probe.size * len(levels))
    step = max(1, _CHUNK // max(1, probe.size) // len(_NODES)) * len(_NODES)
    parts = []
    for begin in range(0, len(levels), step):
        block = slice(begin, begin + step)
        values = function(levels[block]) * weights[block]
        parts.append(values.reshape(*values.shape[:-1], -1, len(_NODES)).sum(axis=-1))
    return np.concatenate(parts, axis=-1)


def along_time_until(accumulated: Function, left: Array, right: Array, function: Function, times: Array) -> Array:
    """Integrate one function of C per mode from the first panel to a time of each mode's own.

    Args:
        accumulated: C as a function of time.
        left: Where the panels begin, shape (panel,); `right` likewise, without gaps.
        function: Takes C of shape (time,) or (mode, time), returns shape (mode, time).
        times: Where each mode's integral ends, shape (mode,).
    """
    whole = along_time(accumulated, left, right, function)
    before = np.concatenate([np.zeros((len(whole), 1)), np.cumsum(whole, axis=1)], axis=1)
    panel = np.clip(np.searchsorted(left, times, side="right") - 1, 0, len(left) - 1)
    half = 0.5 * np.maximum(times - left[panel], 0.0)[:, None]
    last = function(accumulated(left[panel][:, None] + half * (1.0 + _NODES)))
    return before[np.arange(len(times)), panel] + ((last * half) @ _WEIGHTS)


def along_ending(
    position: Function,
    knots: Array,
    start: float,
    end: Float[np.ndarray, " mode"],
    stop: Float[np.ndarray, " mode"],
    b: float,
    rate: Function,
) -> tuple[Float[np.ndarray, " mode"], Float[np.ndarray, " mode"]]:
    """Integrate a rate along paths that end, each at a time of its own.

    Panels shrink towards the end, where ln(lambda) goes like ln(end - t) / (1 - b).

    Args:
        position: Takes times (mode, time), gives ln(lambda).
        knots: Times between which c is smooth.
        start: When the paths begin; `end` when they end, all later.
        stop: Until when to integrate, but no further than to where a share e^-20 of the path's time is left.
        b: Exponent of the drift.
        rate: Dissipation rate as a function of ln(lambda), in 1 / time.

    Returns:
        Integrals, and the times that they reach.
    """
    shrink = np.exp(-min(np.log(2.0), abs(b - 1.0)))
    count = int(np.ceil(_LEFT / -np.log(shrink)))
    graded = end[:, None] - (end - start)[:, None] * shrink ** np.arange(count + 1)
    last = np.minimum(graded[:, -1], stop)[:, None]
    inner = np.broadcast_to(knots, (len(end), len(knots)))
    points = np.sort(np.clip(np.concatenate([graded, inner, last], axis=1), start, last), axis=1)
    half = 0.5 * np.diff(points, axis=1)[:, :, None]
    spend(half.size * len(_NODES))
    times = (points[:, :-1, None] + half * (1.0 + _NODES)).reshape(len(end), -1)
    values = rate(position(times)).reshape(*half.shape[:2], len(_NODES))
    return ((values * half) @ _WEIGHTS).sum(axis=1), last[:, 0]
