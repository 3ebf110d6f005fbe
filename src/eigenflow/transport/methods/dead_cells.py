"""Cells in which nearly all has been dissipated, to relative accuracy.

What is left of a mode, e^-Q, falls by many powers of ten within one panel where Q is large, and an interpolant of it is
good to a share of the panel's largest value. So pieces of such cells are cut where Q grows by a few, and each is
integrated on nodes of its own.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy.polynomial import legendre

from eigenflow.core.limits import spend
from eigenflow.transport.flows.flow import AbstractFlow
from eigenflow.transport.flows.paths import panel_rule
from eigenflow.transport.initial import DepartureMesh

__all__ = ["ExponentTable", "dead_masses"]

Array = Float[np.ndarray, "..."]
# Takes ln(lambda0) and the index of the time, of one shape.
Exponent = Callable[[Array, np.ndarray], Array]

# Below the first exponent interpolants are good to ten digits; beyond the last nothing is left that floats hold.
_ALIVE = 5.0
_GONE = 740.0
# Within a piece e^-Q falls by e^-4, which eight nodes integrate to a rounding; what lies 40 beyond the least exponent
# of a cell is below the roundings of its mass.
_STEP = 4.0
_MOST_STEPS = 10
_NODES, _WEIGHTS = panel_rule(8)


class ExponentTable:
    """Exponents anywhere, where they are closed forms or from the nodes of panels on which they are known.

    Args:
        flow: Drift and dissipation.
        times: Output times.
        table: Exponents at the nodes of all panels, shape (time, panel, node), or None to ask the flow.
        panels: Ends of the panels.
        nodes: On [-1, 1].
    """

    def __init__(self, flow: AbstractFlow, times: Array, table: Array | None, panels: Array, nodes: Array) -> None:
        self._flow, self._times, self._panels = flow, times, panels
        self._series = None
        if table is not None:
            self._series = np.linalg.solve(legendre.legvander(nodes, len(nodes) - 1), table[..., None])[..., 0]

    def __call__(self, x: Array, row: np.ndarray) -> Array:
        """Give Q for departures at the times of given indices, of one shape."""
        spend(3 * x.size)
        if self._series is None:
            return self._flow.exponent(x, self._times[row])
        panel = np.clip(np.searchsorted(self._panels, x, side="right") - 1, 0, len(self._panels) - 2)
        local = 2.0 * (x - self._panels[panel]) / (self._panels[panel + 1] - self._panels[panel]) - 1.0
        series = np.moveaxis(self._series[row, panel], -1, 0)
        return np.maximum(legendre.legval(local, series, tensor=False), 0.0)


def dead_masses(
    exponent: Exponent, mesh: DepartureMesh, points: Float[np.ndarray, "time edge"]
) -> tuple[Int[np.ndarray, " cell"], Int[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
    """Integrate cells of which little is left, each to about ten digits of its own mass.

    Args:
        exponent: What modes have lost.
        mesh: The initial density.
        points: Departures of the cells' edges in ln(lambda), clipped to those that have stayed in the domain.

    Returns:
        Times and cells that are dead, as indices, and their masses.
    """
    at_edges = exponent(points.ravel(), np.indices(points.shape)[0].ravel()).reshape(points.shape)
    least = np.minimum(at_edges[:, :-1], at_edges[:, 1:])
    row, cell = np.nonzero((least > _ALIVE) & (points[:, 1:] > points[:, :-1]))
    some = np.flatnonzero(least[row, cell] < _GONE)
    if not len(some):
        return row, cell, np.zeros(len(row))
    piece, left, right = _cut_at(mesh.edges, points[row, cell][some], points[row, cell + 1][some])
    owner, left, right = _cut_by_exponent(exponent, row, some[piece], left, right, least[row, cell])
    half = 0.5 * (right - left)[:, None]
    x = left[:, None] + half * (1.0 + _NODES)
    kept = np.exp(-exponent(x, np.broadcast_to(row[owner][:, None], x.shape)))
    pieces = ((mesh.density(x) * kept) * half) @ _WEIGHTS
    return row, cell, np.bincount(owner, pieces, len(row)).astype(np.float64, copy=False)


def _cut_at(edges: Array, left: Array, right: Array) -> tuple[np.ndarray, Array, Array]:
    """Cut intervals at the panel ends that lie inside them; give the interval of each piece."""
    first, last = np.searchsorted(edges, left, side="right"), np.searchsorted(edges, right, side="left")
    parts = np.maximum(last - first, 0) + 1
    owner = np.repeat(np.arange(len(left)), parts)
    part = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
    inner = np.minimum(first[owner] + part, len(edges) - 1)
    begin = np.where(part == 0, left[owner], edges[np.maximum(inner - 1, 0)])
    return owner, begin, np.where(part == parts[owner] - 1, right[owner], edges[inner])


def _cut_by_exponent(
    exponent: Exponent, row: np.ndarray, owner: np.ndarray, left: Array, right: Array, least: Array
) -> tuple[np.ndarray, Array, Array]:
    """Cut pieces where the exponent grows by a few, and leave out what is nothing beside the rest of its cell."""
    both = np.stack([exponent(end, row[owner]) for end in (left, right)])
    low, high = np.maximum(both.min(axis=0), 1e-300), both.max(axis=0)
    is_needed = low < least[owner] + _STEP * _MOST_STEPS
    owner, left, right, low, high, both = (a[..., is_needed] for a in (owner, left, right, low, high, both))
    steps = np.clip(np.ceil((high - low) / _STEP), 1, _MOST_STEPS).astype(int)
    piece = np.repeat(np.arange(len(owner)), steps)
    step = np.arange(len(piece)) - np.repeat(np.cumsum(steps) - steps, steps)
    # ln Q is close to a straight line in ln(lambda).
    length = np.log(high / low)

    def share(level: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.log1p(level * _STEP / low[piece]) / length[piece]
        return np.clip(np.nan_to_num(found, nan=0.0, posinf=1.0), 0.0, 1.0)

    is_last = (step == steps[piece] - 1) & (high[piece] - low[piece] <= _STEP * _MOST_STEPS)
    begin, end = share(step.astype(np.float64)), np.where(is_last, 1.0, share(step + 1.0))
    # Measured from the end at which less has been lost.
    near, span = np.where(both[0] <= both[1], left, right)[piece], (right - left)[piece]
    sign = np.where(both[0] <= both[1], 1.0, -1.0)[piece]
    here, there = near + sign * span * begin, near + sign * span * end
    return owner[piece], np.minimum(here, there), np.maximum(here, there)
