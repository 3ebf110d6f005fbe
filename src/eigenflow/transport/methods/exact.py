"""Source-free problems, exactly: every output time is one jump along the characteristics from t = 0.

A density is integrated over departure intervals. They are cut at the departures of the arrival
cells' edges and at the panels of the initial density (the union mesh), each piece is damped on its
own characteristics, and added into the cell in which it arrives.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.initial import (
    CellMasses,
    DepartureMesh,
    Initial,
    PointMasses,
    departure_mesh,
    refine,
)
from eigenflow.transport.methods.exits import Leaving, leaving_density, leaving_points, survivors
from eigenflow.transport.methods.piece_rule import PieceRule
from eigenflow.transport.motion.flow import Flow
from eigenflow.transport.motion.paths import fall

__all__ = ["ExactJump", "Jumped"]

Array = Float[np.ndarray, "..."]

# Closed forms are good to a few roundings, quadratures of the exponent to this, relative.
_ROUNDING = 1e-14
_QUADRATURE = 1e-12


@dataclass(frozen=True)
class Jumped:
    """What a method hands back: masses, and where the rest has gone."""

    initial: float
    mass: Float[np.ndarray, "time cell"]
    dissipated: Float[np.ndarray, " time"]
    outflow_below: Float[np.ndarray, " time"]
    outflow_above: Float[np.ndarray, " time"]
    error: Float[np.ndarray, " time"]


@dataclass(frozen=True)
class ExactJump:
    """One jump per output time, for problems without source.

    Attributes:
        nodes: Gauss-Legendre nodes per piece, 3 to 20.
        longest_piece: Longest piece in ln(lambda), both where it departs and where it arrives.
    """

    nodes: int = 6
    longest_piece: float = 0.25

    def __post_init__(self) -> None:
        if not 3 <= self.nodes <= 20:
            raise ArgumentError(f"`nodes` must be in [3, 20], but is {self.nodes}. 6 gives 12 digits.")
        if not 0 < self.longest_piece <= 2:
            raise ArgumentError(
                f"`longest_piece` must be in (0, 2], but is {self.longest_piece}. 0.25 gives 12 digits."
            )

    def run(self, flow: Flow, initial: Initial, times: Array, edges: Array) -> Jumped:
        """Carry an initial state to all output times.

        Args:
            flow: Drift and dissipation, prepared up to the last time.
            initial: As in `TransportProblem`, already checked.
            times: Increasing, not negative, shape (time,).
            edges: ln(lambda) at the arrival cells' edges, shape (cells + 1,).
        """
        if isinstance(initial, PointMasses):
            return _jump_points(flow, initial, times, edges)
        mesh = departure_mesh(initial, (edges[0], edges[-1]))
        if isinstance(initial, CellMasses):
            # The last digits of the edges must not put mass outside the domain.
            mesh_edges = np.clip(mesh.edges, edges[0], edges[-1])
            mesh = DepartureMesh(mesh_edges, mesh.density, mesh.rougher, mesh.mass, mesh.error)
        rule = PieceRule(self.nodes)
        stayed = _jump_density(flow, mesh, times, edges, rule, self.longest_piece)
        left = leaving_density(flow, mesh, times, (edges[0], edges[-1]), rule)
        return _combine(flow, mesh.mass, mesh.error, stayed, left)


def _combine(flow: Flow, initial: float, error: float, stayed: tuple, left: Leaving) -> Jumped:
    mass, dissipated, piece_error = stayed
    is_closed = not callable(flow.dissipation) and (flow.table is None or flow.dissipation == 0)
    rounding = (_ROUNDING if is_closed else _QUADRATURE) * mass.sum(axis=1)
    return Jumped(
        initial=initial,
        mass=mass,
        dissipated=dissipated + left.dissipated,
        outflow_below=left.below,
        outflow_above=left.above,
        error=piece_error + error + rounding,
    )


def _jump_density(
    flow: Flow, mesh: DepartureMesh, times: Array, edges: Array, rule: PieceRule, longest: float
) -> tuple[Array, Array, Array]:
    left, right, row, cell = _union_pieces(flow, mesh, times, edges, longest)
    x, weights = rule.place(left, right)
    exponent = flow.exponent(x, times[row][:, None])
    density = mesh.density(x)
    carried = density * weights
    kept = np.exp(-exponent)
    num_times, num_cells = len(times), len(edges) - 1
    index = row * num_cells + cell
    arrived = (carried * kept).sum(axis=1)
    mass = _added(index, arrived, num_times * num_cells).reshape(num_times, num_cells)
    lost = -(carried * np.expm1(-exponent)).sum(axis=1)
    dissipated = _added(row, lost, num_times)
    if mesh.rougher is None:
        error = _added(row, rule.error(density * kept, weights), num_times)
    else:
        change = ((carried - mesh.rougher(x) * weights) * kept).sum(axis=1)
        per_cell = _added(index, change, num_times * num_cells).reshape(num_times, num_cells)
        error = np.abs(per_cell).sum(axis=1)
    return mass, dissipated, error


def _union_pieces(
    flow: Flow, mesh: DepartureMesh, times: Array, edges: Array, longest: float
) -> tuple[Array, Array, np.ndarray, np.ndarray]:
    """Cut the departures of all survivors, for all times at once.

    Returns:
        Left and right ends of the pieces in x0, the index of the time and of the arrival cell.
    """
    fine = refine(edges, longest)
    per_cell = (len(fine) - 1) // (len(edges) - 1)
    low, high = survivors(flow, times, (edges[0], edges[-1]))
    accumulated = flow.accumulated(times)[:, None]
    departures = fine - fall(fine[None, :], -accumulated, flow.b)[0]
    sources = np.broadcast_to(mesh.edges, (len(times), len(mesh.edges)))
    points = np.clip(np.concatenate([departures, sources], axis=1), low[:, None], high[:, None])
    # Only what lies on the mesh carries mass.
    points = np.clip(points, mesh.edges[0], mesh.edges[-1])
    order = np.argsort(points, axis=1, kind="stable")
    points = np.take_along_axis(points, order, axis=1)
    passed = np.cumsum(order < len(fine), axis=1)[:, :-1] - 1
    cell = np.clip(passed, 0, len(fine) - 2) // per_cell
    keep = points[:, 1:] > points[:, :-1]
    row = np.nonzero(keep)[0]
    return points[:, :-1][keep], points[:, 1:][keep], row, cell[keep]


def _jump_points(flow: Flow, initial: PointMasses, times: Array, edges: Array) -> Jumped:
    start = np.clip(np.log(np.asarray(initial.eigenvalues)), edges[0], edges[-1])
    masses = np.asarray(initial.masses)
    low, high = survivors(flow, times, (edges[0], edges[-1]))
    row, mode = np.nonzero((start >= low[:, None]) & (start <= high[:, None]))
    exponent = flow.exponent(start[mode], times[row])
    arrival = flow.position(start[mode], times[row])
    num_times, num_cells = len(times), len(edges) - 1
    cell = np.clip(np.searchsorted(edges, arrival, side="right") - 1, 0, num_cells - 1)
    kept = masses[mode] * np.exp(-exponent)
    mass = _added(row * num_cells + cell, kept, num_times * num_cells).reshape(num_times, num_cells)
    dissipated = _added(row, -masses[mode] * np.expm1(-exponent), num_times)
    left = leaving_points(flow, start, masses, (edges[0], edges[-1]), low, high)
    return _combine(flow, float(masses.sum()), 0.0, (mass, dissipated, np.zeros(num_times)), left)


def _added(index: np.ndarray, values: Array, size: int) -> Float[np.ndarray, " slot"]:
    """Add values into slots; numpy counts in whole numbers when there are none."""
    return np.bincount(index, values, size).astype(np.float64, copy=False)
