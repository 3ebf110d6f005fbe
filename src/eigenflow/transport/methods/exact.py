"""Source-free problems, exactly: every output time is one jump along the characteristics from t = 0.

A density is integrated over departure intervals. Where paths draw together, all times share the
nodes on the panels of the initial density (`shared_nodes`). Where they fan out, departures are cut
for each time at those of the arrival cells' edges as well (the union mesh), each piece is damped on
its own characteristics, and added into the cell in which it arrives.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import spend
from eigenflow.transport.flows.flow import AbstractFlow
from eigenflow.transport.flows.paths import fall
from eigenflow.transport.initial import (
    CellMasses,
    DepartureMesh,
    Initial,
    PointMasses,
    departure_mesh,
    refine,
)
from eigenflow.transport.methods.dead_cells import ExponentTable, dead_masses
from eigenflow.transport.methods.exits import Leaving, leaving_density, leaving_points, survivors
from eigenflow.transport.methods.given_source import with_given_source
from eigenflow.transport.methods.method import AbstractMethod, Evolved, Task
from eigenflow.transport.methods.piece_rule import PieceRule, piece_rule
from eigenflow.transport.methods.shared_nodes import carry, departures, smooth_until
from eigenflow.transport.problem import TransportProblem

__all__ = ["Duhamel", "ExactJump"]

Array = Float[np.ndarray, "..."]

# Closed forms are good to a few roundings, quadratures of the exponent to this, relative.
_ROUNDING = 1e-14
_QUADRATURE = 1e-12
# Estimated error up to which a solution counts as exact, as a share of the mass.
_PROMISED = 1e-6
_PIECES_AT_ONCE = 100_000


# Tolerance, nodes and longest panel where all times share their nodes, and the same on union pieces;
# chosen by the errors on the cases of tests/transport, which they undercut by a factor of 5 or more.
_SETTINGS = (
    (1e-3, 4, 1.0, 3, 0.5),
    (1e-5, 6, 1.0, 4, 0.5),
    (1e-7, 8, 1.0, 5, 0.5),
    (0.0, 12, 0.5, 6, 0.25),
)


@dataclass(frozen=True)
class ExactJump(AbstractMethod):
    """One jump per output time; a given source is added by Duhamel's principle.

    Attributes:
        nodes: Gauss-Legendre nodes per piece, 3 to 20; None lets the tolerance choose.
        longest_piece: Longest piece in ln(lambda), both where it departs and, if paths fan out,
            where it arrives; None lets the tolerance choose.
        tolerance: Wanted error of the masses of a smooth density, summed over the cells, as a share
            of the initial mass. Looser is faster; tighter than 1e-7 gives full precision.
    """

    nodes: int | None = None
    longest_piece: float | None = None
    tolerance: float = 1e-10
    name: ClassVar[str] = "exact"
    advice: ClassVar[str] = "Use a smoother `initial`, or `method=ExactJump(nodes=20)`."
    residual_tolerance: ClassVar[float] = 1e-9

    def __post_init__(self) -> None:
        if self.nodes is not None and not 3 <= self.nodes <= 20:
            raise ArgumentError(f"`nodes` must be in [3, 20], but is {self.nodes}. 12 gives full precision.")
        if self.longest_piece is not None and not 0 < self.longest_piece <= 2:
            raise ArgumentError(
                f"`longest_piece` must be in (0, 2], but is {self.longest_piece}. 0.25 gives full precision."
            )
        if not 0 < self.tolerance < 1:
            raise ArgumentError(
                f"`tolerance` must be in (0, 1), but is {self.tolerance}. It is a share of the initial mass; "
                f"1e-10 is usual."
            )

    def refuses(self, problem: TransportProblem) -> str | None:
        """It needs paths in closed form, and a source that is known beforehand."""
        if problem.power_drift is None:
            return "its drift is no `PowerDrift`."
        is_known = problem.source is None or problem.source.is_given
        return None if is_known else "its source depends on the state."

    def recommends(self, problem: TransportProblem) -> str | None:
        """Always: nothing is more accurate."""
        if problem.source is None:
            return "no source: every output time is one exact jump along the characteristics from t = 0"
        return "the source is given: what it has added is integrated back along the characteristics"

    def allowed_error(self, problem: TransportProblem) -> float:
        """As asked for; estimates are on the safe side by up to a hundred."""
        # How coarse given cells are is a matter of the data; it stands in the error, not in the status.
        if isinstance(problem.initial, CellMasses):
            return np.inf
        return max(_PROMISED, 100.0 * self.tolerance) if problem.source is None else _PROMISED

    def run(self, task: Task) -> Evolved:
        """Carry the initial state, and what the source adds, to all output times."""
        assert task.flow is not None
        first = self.jump(task.flow, task.problem.initial, task.times, task.log_edges)
        if task.problem.source is not None:
            return with_given_source(first, task.flow, task)
        task.tell(len(task.times))
        return first

    def jump(self, flow: AbstractFlow, initial: Initial, times: Array, edges: Array) -> Evolved:
        """Carry an initial state to all output times.

        Args:
            flow: Drift and dissipation, prepared up to the last time.
            initial: As in `TransportProblem`, already checked.
            times: Increasing, not negative, shape (time,).
            edges: ln(lambda) at the arrival cells' edges, shape (cells + 1,).
        """
        if isinstance(initial, PointMasses):
            return _jump_points(flow, initial, times, edges)
        ends = float(edges[0]), float(edges[-1])
        shared, union = self._choose(flow)
        resolved = max(1e-13, 1e-3 * self.tolerance)
        mesh = departure_mesh(initial, ends, shared.longest, resolved)
        if isinstance(initial, CellMasses):
            # The last digits of the edges must not put mass outside the domain.
            mesh_edges = np.clip(mesh.edges, *ends)
            mesh = DepartureMesh(mesh_edges, mesh.density, mesh.rougher, mesh.mass, mesh.error)
        low, high = survivors(flow, times, ends)
        num = smooth_until(flow, times, ends)
        parts = []
        if num:
            parts.append(carry(flow, mesh, times[:num], edges, (low[:num], high[:num]), shared.rule))
        if num < len(times):
            fine = refine(mesh.edges, union.longest)
            pieces = DepartureMesh(fine, mesh.density, mesh.rougher, mesh.mass, mesh.error)
            # A few times at once, as each has pieces of its own.
            at_once = max(1, _PIECES_AT_ONCE // (len(fine) + len(edges)))
            for begin in range(num, len(times), at_once):
                some = times[begin : begin + at_once]
                parts.append(_jump_density(flow, pieces, some, edges, union.rule, union.longest))
        mass, dissipated, error = (np.concatenate(part) for part in zip(*parts, strict=True))
        left = leaving_density(flow, mesh, times, ends, (low, high), shared.rule)
        return _combine(flow, mesh.mass, mesh.error, (mass, dissipated, error), left)

    def _choose(self, flow: AbstractFlow) -> tuple["_Setting", "_Setting"]:
        row = next(row for row in _SETTINGS if self.tolerance >= row[0])
        # Characteristics vary on the scale 1 / |b - 1|.
        scale = max(1.0, abs(flow.b - 1.0))
        settings = []
        for nodes, longest in (row[1:3], row[3:5]):
            rule = piece_rule(self.nodes or nodes)
            settings.append(_Setting(rule, (self.longest_piece or longest) / scale))
        return settings[0], settings[1]


@dataclass(frozen=True)
class Duhamel(AbstractMethod):
    """`ExactJump` under the name of the principle by which it adds a given source.

    Attributes:
        jump: How the initial state is carried.
    """

    jump: ExactJump = ExactJump()
    name: ClassVar[str] = ExactJump.name
    advice: ClassVar[str] = ExactJump.advice
    residual_tolerance: ClassVar[float] = ExactJump.residual_tolerance

    def refuses(self, problem: TransportProblem) -> str | None:
        """As the jump does."""
        return self.jump.refuses(problem)

    def recommends(self, problem: TransportProblem) -> str | None:
        """As the jump does."""
        return self.jump.recommends(problem)

    def allowed_error(self, problem: TransportProblem) -> float:
        """As the jump does."""
        return self.jump.allowed_error(problem)

    def run(self, task: Task) -> Evolved:
        """As the jump does."""
        return self.jump.run(task)


@dataclass(frozen=True)
class _Setting:
    rule: PieceRule
    longest: float


def _combine(flow: AbstractFlow, initial: float, error: float, stayed: tuple, left: Leaving) -> Evolved:
    mass, dissipated, piece_error = stayed
    rounding = (_ROUNDING if flow.is_exact else _QUADRATURE) * mass.sum(axis=1)
    return Evolved(
        initial=initial,
        mass=mass,
        dissipated=dissipated + left.dissipated,
        outflow_below=left.below,
        outflow_above=left.above,
        source=np.zeros(len(mass)),
        error=piece_error + error + rounding,
    )


def _jump_density(
    flow: AbstractFlow, mesh: DepartureMesh, times: Array, edges: Array, rule: PieceRule, longest: float
) -> tuple[Array, Array, Array]:
    left, right, row, cell = _union_pieces(flow, mesh, times, edges, longest)
    x, weights = rule.place(left, right)
    spend(3 * x.size)
    exponent = flow.exponent(x, times[row][:, None])
    density = mesh.density(x)
    carried = density * weights
    kept = np.exp(-exponent)
    num_times, num_cells = len(times), len(edges) - 1
    index = row * num_cells + cell
    arrived = (carried * kept).sum(axis=1)
    mass = _added(index, arrived, num_times * num_cells).reshape(num_times, num_cells)
    if flow.is_closed:
        points = departures(flow, mesh, times, edges, survivors(flow, times, (edges[0], edges[-1])))
        anywhere = ExponentTable(flow, times, None, mesh.edges, rule.nodes)
        where, which, dead = dead_masses(anywhere, mesh, points)
        mass[where, which] = dead
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
    flow: AbstractFlow, mesh: DepartureMesh, times: Array, edges: Array, longest: float
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


def _jump_points(flow: AbstractFlow, initial: PointMasses, times: Array, edges: Array) -> Evolved:
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
