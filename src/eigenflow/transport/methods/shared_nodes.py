"""One set of departure nodes for all output times, where paths do not fan out.

Where characteristics draw together, what is left of a mode is a smooth function of where it departed.
So the initial density is evaluated once, the share that is left once per node and time, and the mass
of a cell is the integral of the interpolant between the departures of its edges: the cost hardly
depends on the number of cells.
"""

import numpy as np
from jaxtyping import Float

from eigenflow.core.limits import spend
from eigenflow.transport.flows.flow import AbstractFlow
from eigenflow.transport.flows.paths import fall
from eigenflow.transport.initial import DepartureMesh
from eigenflow.transport.methods.dead_cells import ExponentTable, dead_masses
from eigenflow.transport.methods.piece_rule import CumulativePlaces, PieceRule

__all__ = ["carry", "departures", "smooth_until"]

Array = Float[np.ndarray, "..."]

# The fall is singular in ln(lambda0) where 1 + w = 0; from this w on that is 1.6 / |b - 1| away.
_LEAST_W = -0.2
# Nodes times times worked on at once.
_CHUNK = 400_000


def smooth_until(flow: AbstractFlow, times: Array, ends: tuple[float, float]) -> int:
    """Count the first times up to which no path of the domain has come near fanning out."""
    a = flow.b - 1.0
    least = np.zeros(len(times))
    with np.errstate(over="ignore", invalid="ignore"):
        for level in flow.extremes(times):
            for end in ends:
                least = np.fmin(least, a * level * np.exp(a * end))
    return int(np.count_nonzero(least >= _LEAST_W))


def carry(
    flow: AbstractFlow, mesh: DepartureMesh, times: Array, edges: Array, stay: tuple[Array, Array], rule: PieceRule
) -> tuple[Array, Array, Array]:
    """Carry a density to all times.

    Args:
        flow: Drift and dissipation.
        mesh: The initial density.
        times: Increasing, and all before the paths fan out.
        edges: ln(lambda) at the arrival cells' edges.
        stay: Between which departures modes are still in the domain, for each time.
        rule: Nodes on each panel of the mesh.

    Returns:
        Mass (time, cell), dissipated (time,) and estimated error (time,).
    """
    x, weights = rule.place(mesh.edges[:-1], mesh.edges[1:])
    carried = mesh.density(x) * weights
    rougher = None if mesh.rougher is None else mesh.rougher(x) * weights
    spend(2 * len(times) * (x.size + len(edges)))
    parts = []
    step = max(1, _CHUNK // (x.size + len(edges)))
    # With c(t) all times share one quadrature, and so one table.
    table = None if flow.is_closed else flow.exponents(x.ravel(), times)
    for begin in range(0, len(times), step):
        rows = slice(begin, begin + step)
        points = departures(flow, mesh, times[rows], edges, (stay[0][rows], stay[1][rows]))
        exponent = flow.exponents(x.ravel(), times[rows]) if table is None else table[rows]
        exponent = exponent.reshape(-1, *x.shape)
        mass, lost, wrong = _cells(mesh.edges, carried, rougher, exponent, points, rule)
        anywhere = ExponentTable(flow, times[rows], None if flow.is_closed else exponent, mesh.edges, rule.nodes)
        row, cell, dead = dead_masses(anywhere, mesh, points)
        mass[row, cell] = dead
        parts.append((mass, lost, wrong))
    mass, dissipated, error = (np.concatenate(part) for part in zip(*parts, strict=True))
    return mass, dissipated, error


def departures(
    flow: AbstractFlow, mesh: DepartureMesh, times: Array, edges: Array, stay: tuple[Array, Array]
) -> Float[np.ndarray, "time edge"]:
    """Give where what is on the edges departed, clipped to the mesh and to `stay`, what has stayed in the domain."""
    points = edges - fall(edges[None, :], -flow.accumulated(times)[:, None], flow.b)[0]
    low, high = (np.clip(end, mesh.edges[0], mesh.edges[-1])[:, None] for end in stay)
    return np.minimum(np.maximum(points, low), high)


def _cells(
    panels: Array, carried: Array, rougher: Array | None, exponent: Array, points: Array, rule: PieceRule
) -> tuple[Array, Array, Array]:
    kept = np.exp(-exponent)
    place = CumulativePlaces(panels, points)
    left = carried * kept
    mass = place.between(left, rule)
    # Rounding, or the interpolant of a steep decay, can dip below zero.
    dip = np.minimum(mass, 0.0).sum(axis=1)
    mass = np.maximum(mass, 0.0)
    if rougher is None:
        # Every edge inside a panel moves an interpolation error from one cell to the next.
        error = 2.0 * rule.partial_error(left).sum(axis=1) - dip
    else:
        coarse = place.between(rougher * kept, rule)
        error = np.abs(coarse - mass).sum(axis=1)
    ends = CumulativePlaces(panels, points[:, [0, -1]])
    lost = ends.between(-carried * np.expm1(-exponent), rule)[:, 0]
    return mass, np.maximum(lost, 0.0), error
