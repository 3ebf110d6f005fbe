"""The linear part of a conservative semi-Lagrangian step, for many steps at once.

Inside a source cell the density per unit x = ln(lambda) is a parabola with three coefficients. How
much of each arrives in every cell, is dissipated, or leaves the domain depends on the paths alone, so
it is worked out once, before any mass is known.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.limits import spend
from eigenflow.transport.flows.path_maps import ClosedPaths, IntegratedPaths
from eigenflow.transport.flows.paths import panel_rule
from eigenflow.transport.initial import refine

__all__ = ["Remap", "coefficients", "make_remap", "rougher_coefficients"]

Array = Float[np.ndarray, "..."]

_LONGEST_PIECE = 0.25


@dataclass(frozen=True)
class Remap:
    """Weights of the coefficients of source parabolas.

    Attributes:
        weights: What a piece brings into its arrival cell.
        source: Source cell of each piece; `arrival` and `step` likewise.
        bounds: Where the pieces of each step begin and end, shape (step + 1,).
        lost: Dissipated on the way, shape (step, coefficient, cell).
        below: Carried out through the lower end; `above` likewise.
    """

    weights: Float[np.ndarray, "coefficient piece"]
    source: Int[np.ndarray, " piece"]
    arrival: Int[np.ndarray, " piece"]
    step: Int[np.ndarray, " piece"]
    bounds: Int[np.ndarray, " bound"]
    lost: Float[np.ndarray, "step coefficient cell"]
    below: Float[np.ndarray, "step coefficient cell"]
    above: Float[np.ndarray, "step coefficient cell"]

    def apply(self, step: int, parabolas: Float[np.ndarray, "coefficient cell"]) -> Float[np.ndarray, " cell"]:
        """Give the masses of the cells after a step."""
        here = slice(self.bounds[step], self.bounds[step + 1])
        arrived = np.einsum("cp,cp->p", self.weights[:, here], parabolas[:, self.source[here]])
        # Rounding can make a parabola that touches zero negative.
        return _added(self.arrival[here], np.maximum(arrived, 0.0), parabolas.shape[1])

    def apply_all(self, parabolas: Float[np.ndarray, "coefficient cell"]) -> Float[np.ndarray, "step cell"]:
        """Give the masses after each step, all from the same source."""
        num_steps, num_cells = len(self.bounds) - 1, parabolas.shape[1]
        arrived = np.einsum("cp,cp->p", self.weights, parabolas[:, self.source])
        slots = _added(self.step * num_cells + self.arrival, np.maximum(arrived, 0.0), num_steps * num_cells)
        return slots.reshape(num_steps, num_cells)

    def spread(self, step: int, error: Float[np.ndarray, " cell"], width: float) -> Float[np.ndarray, " cell"]:
        """Carry errors of the masses through a step, as if they were even in their cells."""
        here = slice(self.bounds[step], self.bounds[step + 1])
        return _added(self.arrival[here], self.weights[0, here] * (error / width)[self.source[here]], len(error))

    def change(self, difference: Float[np.ndarray, "step coefficient cell"]) -> Float[np.ndarray, "step cell"]:
        """Say what other parabolas would change in each step, without sign."""
        num_steps, _, num_cells = difference.shape
        arrived = np.einsum("cp,pc->p", self.weights, difference[self.step, :, self.source])
        slots = _added(self.step * num_cells + self.arrival, arrived, num_steps * num_cells)
        return np.abs(slots.reshape(num_steps, num_cells))


def make_remap(
    paths: ClosedPaths | IntegratedPaths,
    edges: Float[np.ndarray, " edge"],
    start: Float[np.ndarray, " step"],
    end: Float[np.ndarray, " step"],
    num_nodes: int,
) -> Remap:
    """Cut departure intervals at the source edges, damp each piece on its own paths, add up.

    Args:
        paths: Maps along the characteristics.
        edges: ln(lambda) at the cell edges, evenly spaced.
        start: When each step begins; `end` when it ends.
        num_nodes: Gauss-Legendre nodes per piece.
    """
    num_cells = len(edges) - 1
    left, right, step, source, arrival = _pieces(paths.departures(edges, start, end), edges)
    x, weights, basis = _nodes(left, right, edges, source, num_nodes)
    spend(4 * x.size)
    known = np.where(arrival < 0, -1, np.where(arrival >= num_cells, 1, 0))
    each = np.tile(step, num_nodes)
    exponent, side = paths.follow(x.ravel(), start[each], end[each], np.tile(known, num_nodes))
    exponent, side = exponent.reshape(x.shape), side.reshape(x.shape)
    kept, lost = weights * np.exp(-exponent), -weights * np.expm1(-exponent)
    shape = (len(start), 3, num_cells)

    def per_source(values: Float[np.ndarray, "node piece"]) -> Float[np.ndarray, "step coefficient cell"]:
        slot = step * num_cells + source
        sums = [_added(slot, row, shape[0] * num_cells) for row in _moments(values, basis)]
        return np.stack([row.reshape(shape[0], num_cells) for row in sums], axis=1)

    has_exits = bool(np.any(side))
    return Remap(
        weights=_moments(np.where(side == 0, kept, 0.0) if has_exits else kept, basis),
        source=source,
        arrival=np.clip(arrival, 0, num_cells - 1),
        step=step,
        bounds=np.searchsorted(step, np.arange(len(start) + 1)),
        lost=per_source(lost),
        below=per_source(np.where(side < 0, kept, 0.0)) if has_exits else np.zeros(shape),
        above=per_source(np.where(side > 0, kept, 0.0)) if has_exits else np.zeros(shape),
    )


def _pieces(
    departures: Float[np.ndarray, "step edge"], edges: Float[np.ndarray, " edge"]
) -> tuple[Array, Array, np.ndarray, np.ndarray, np.ndarray]:
    """Cut at departures and source edges; give ends, step, source and arrival cell (-1, n: outside)."""
    num_steps, num_edges = departures.shape
    mesh = refine(edges, _LONGEST_PIECE)
    per_cell = (len(mesh) - 1) // (num_edges - 1)
    points = np.concatenate([departures, np.broadcast_to(mesh, (num_steps, len(mesh)))], axis=1)
    order = np.argsort(points, axis=1, kind="stable")
    points = np.take_along_axis(points, order, axis=1)
    is_departure = order < num_edges
    arrival = np.cumsum(is_departure, axis=1)[:, :-1] - 1
    source = np.cumsum(~is_departure, axis=1)[:, :-1] - 1
    keep = points[:, 1:] > points[:, :-1]
    step = np.nonzero(keep)[0]
    source = np.clip(source[keep] // per_cell, 0, num_edges - 2)
    return points[:, :-1][keep], points[:, 1:][keep], step, source, arrival[keep]


def _nodes(left: Array, right: Array, edges: Array, source: np.ndarray, num_nodes: int) -> tuple[Array, Array, Array]:
    """Give points and weights, shape (node, piece), and the last two basis functions there."""
    nodes, weights = panel_rule(num_nodes)
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    half = 0.5 * (right - left)
    x = left + half * (1.0 + nodes[:, None])
    y = np.clip((x - edges[source]) / width, 0.0, 1.0)
    return x, half * weights[:, None], np.stack([y, y * (1.0 - y)])


def _moments(values: Float[np.ndarray, "node piece"], basis: Array) -> Float[np.ndarray, "coefficient piece"]:
    return np.stack([values.sum(axis=0), (basis[0] * values).sum(axis=0), (basis[1] * values).sum(axis=0)])


def coefficients(mean: Float[np.ndarray, "*row cell"]) -> Float[np.ndarray, "*row 3 cell"]:
    """Turn the means of even cells into left, rise, bend of left + y rise + y (1 - y) bend >= 0.

    Edge values are of sixth order [@colella2008limiter]. Parabolas
    that would be negative are drawn to their mean [@zhang2010maximum].
    """
    edges = np.repeat(mean, 2, axis=-1) if mean.shape[-1] == 1 else _edge_values(mean)
    right, shape = edges[..., 1:], np.empty((*mean.shape[:-1], 3, mean.shape[-1]))
    left, rise, bend = shape[..., 0, :], shape[..., 1, :], shape[..., 2, :]
    left[...] = edges[..., :-1]
    np.subtract(right, left, out=rise)
    np.subtract(6.0 * mean, 3.0 * (left + right), out=bend)
    slope = rise + bend
    dips = (bend < 0) & (np.abs(rise) < -bend) & (slope * slope > -4.0 * bend * left)
    if dips.any():
        least = left[dips] + slope[dips] ** 2 / (4.0 * bend[dips])
        share = mean[dips] / (mean[dips] - least)
        left[dips] = mean[dips] + share * (left[dips] - mean[dips])
        rise[dips], bend[dips] = share * rise[dips], share * bend[dips]
    return shape


def _edge_values(mean: Array) -> Array:
    count, outer = mean.shape[-1], mean.shape[:-1]
    first, last = mean[..., :1], mean[..., -1:]
    a = np.empty((*outer, count + 4))
    a[..., :2], a[..., 2:-2], a[..., -2:] = first, mean, last
    before, after = a[..., 2:-3], a[..., 3:-2]
    inner = (37.0 * (before + after) - 8.0 * (a[..., 1:-4] + a[..., 4:-1]) + a[..., :-5] + a[..., 5:]) / 60.0
    edges = np.empty((*outer, count + 1))
    # Overshoots of steep fronts; smooth data never reach these bounds.
    np.minimum(np.maximum(inner, 0.0), 1.5 * np.maximum(before, after), out=edges[..., 1:-1])
    np.maximum(0.0, 2.0 * first - edges[..., 1:2], out=edges[..., :1])
    np.maximum(0.0, 2.0 * last - edges[..., -2:-1], out=edges[..., -1:])
    return edges


def rougher_coefficients(mean: Float[np.ndarray, "*row cell"]) -> Float[np.ndarray, "*row 3 cell"]:
    """Give the shapes that pairs of cells have, with each cell's own mean; the difference estimates the error."""
    num_pairs = mean.shape[-1] // 2
    rough = coefficients(mean)
    if num_pairs < 2:
        rough[..., 1:, :] = 0.0
        return rough
    paired = 0.5 * (mean[..., 0 : 2 * num_pairs : 2] + mean[..., 1 : 2 * num_pairs : 2])
    left, rise, bend = np.moveaxis(coefficients(paired), -2, 0)
    middle = left + 0.5 * rise + 0.25 * bend
    rough[..., 0 : 2 * num_pairs : 2] = np.stack([left, middle - left, 0.25 * bend], axis=-2)
    rough[..., 1 : 2 * num_pairs : 2] = np.stack([middle, left + rise - middle, 0.25 * bend], axis=-2)
    rough[..., 0, :] += mean - (rough[..., 0, :] + rough[..., 1, :] / 2 + rough[..., 2, :] / 6)
    return rough


def _added(index: np.ndarray, values: Array, size: int) -> Float[np.ndarray, " slot"]:
    """Add values into slots; numpy counts in whole numbers when there are none."""
    return np.bincount(index, values, size).astype(np.float64, copy=False)
