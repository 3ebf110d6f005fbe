"""Source-free problems under any drift: conservative semi-Lagrangian jumps or steps.

Arrival edges are followed back along the characteristics, departure intervals are cut at the source
cells' edges (the union mesh), each piece is damped on its own characteristics and added into the cell
in which it arrives. Between steps only the masses of cells are kept, so every step smears a little:
jumps from t = 0 are better than steps, and few steps better than many. See
[@zerroukat2002slice] for the remap without damping.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.flows.drift import PowerDrift
from eigenflow.transport.flows.flow import Dissipation
from eigenflow.transport.flows.path_maps import IntegratedPaths, make_paths
from eigenflow.transport.flows.preparation import make_flow
from eigenflow.transport.initial import Initial, PointMasses, cell_masses
from eigenflow.transport.methods.exact import ExactJump
from eigenflow.transport.methods.method import AbstractMethod, Evolved, Task
from eigenflow.transport.methods.remap import Remap, coefficients, make_remap, rougher_coefficients
from eigenflow.transport.problem import TransportProblem

__all__ = ["March"]

Array = Float[np.ndarray, "..."]

# Followed paths are good to this, in ln(lambda) and in the exponent.
_TRACED = 1e-10
# At fronts steeper than a cell half the resolution is no better known than the full one.
_SAFETY = 2.0


@dataclass(frozen=True)
class March(AbstractMethod):
    """Jumps from t = 0 to every output, or steps from output to output.

    Attributes:
        from_start: Jump from t = 0 to every output, so no smearing adds up: third order in the
            cells, also where modes pile up at a front. Else march from output to output.
        steps: Steps between neighbouring outputs when marching, at least 1. More do not help: paths
            are exact, and each step adds the error of one more reconstruction.
        nodes: Gauss-Legendre nodes per piece, 2 to 12.
    """

    from_start: bool = True
    steps: int = 1
    nodes: int = 3
    name: ClassVar[str] = "march"
    advice: ClassVar[str] = "Use more `cells`."
    residual_tolerance: ClassVar[float] = 1e-9

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ArgumentError(f"`steps` must be a whole number >= 1, but is {self.steps!r}. 1 is most accurate.")
        if not 2 <= self.nodes <= 12:
            raise ArgumentError(f"`nodes` must be in [2, 12], but is {self.nodes}. 3 is below the remap's error.")
        if self.from_start and self.steps != 1:
            raise ArgumentError(
                f"`steps` must be 1 for jumps from t = 0, but is {self.steps}. To march, add `from_start=False`."
            )

    def refuses(self, problem: TransportProblem) -> str | None:
        """It takes any drift, but no source."""
        return None if problem.source is None else "it has a source."

    def recommends(self, problem: TransportProblem) -> str | None:
        """Where paths have no closed form."""
        if problem.power_drift is not None:
            return None
        return "the drift is no power law: cells are remapped along numerically followed paths"

    def run(self, task: Task) -> Evolved:
        """Carry the initial state to all output times."""
        problem = task.problem
        found = self.carry(problem.drift, problem.dissipation, problem.initial, task.times, task.log_edges)
        task.tell(len(task.times))
        return found

    def carry(
        self,
        drift: Any,
        dissipation: Dissipation,
        initial: Initial,
        times: Float[np.ndarray, " time"],
        log_edges: Float[np.ndarray, " edge"],
    ) -> Evolved:
        """Carry an initial state to all output times.

        Args:
            drift: `PowerDrift`, or anything with `velocity(eigenvalues, times)`, of either sign.
            dissipation: Factor of lambda, or a function that gives rates >= 0.
            initial: As in `TransportProblem`. A function or `CellMasses` is first averaged over the
                cells; `PointMasses` go exactly along their paths.
            times: Increasing, not negative, shape (time,).
            log_edges: ln(lambda) at the cells' edges, evenly spaced, shape (cells + 1,).

        Returns:
            Masses and budget terms, integrated separately. `error` is what twice wider parabolas
            would change, doubled and, when marching, carried on by the later steps, with that of the
            averaging and of the paths: an estimate, 3 to 100 times the error of smooth solutions.
        """
        if not hasattr(drift, "velocity"):
            raise ArgumentError(
                f"`drift` must have `velocity(eigenvalues, times)`, but is a {type(drift).__name__}. "
                f"Wrap a function as `CallableDrift(function)`."
            )
        width = np.diff(log_edges)
        if np.any(np.abs(width - width.mean()) > 1e-9 * width.mean()):
            raise ArgumentError("`log_edges` must be evenly spaced. Use np.linspace between the domain's logarithms.")
        if isinstance(initial, PointMasses):
            return _carry_points(drift, dissipation, initial, times, log_edges)
        mass, error = cell_masses(initial, log_edges)
        ends = (float(log_edges[0]), float(log_edges[-1]))
        paths, turns = make_paths(drift, dissipation, float(times[-1]), ends, may_turn=self.from_start)
        stops = times[times > 0] if self.from_start else _stops(times, turns, self.steps)
        start = np.zeros(len(stops)) if self.from_start else np.append(0.0, stops[:-1])
        remap = make_remap(paths, log_edges, start, stops, self.nodes)
        run = _jump_all if self.from_start else _march
        found = run(remap, mass, float(width.mean()))
        return _select(found, np.searchsorted(stops, times), times > 0, mass, error)


def _stops(times: Array, turns: Array, steps: int) -> Array:
    before = np.append(0.0, times[:-1])
    inner = before[:, None] + (times - before)[:, None] * np.arange(1, steps + 1) / steps
    inner[:, -1] = times
    # Closed forms need intervals in which the drift keeps its direction.
    stops = np.unique(np.concatenate([inner.ravel(), turns[turns < times[-1]]]))
    return stops[stops > 0]


def _march(remap: Remap, mass: Array, width: float) -> tuple[Array, Array, Array, Array, Array]:
    num_steps = len(remap.bounds) - 1
    history = np.empty((num_steps + 1, len(mass)))
    parabolas = np.empty((num_steps, 3, len(mass)))
    history[0] = mass
    for step in range(num_steps):
        parabolas[step] = coefficients(history[step] / width)
        history[step + 1] = remap.apply(step, parabolas[step])
    gone = [np.cumsum(np.einsum("scn,scn->s", part, parabolas)) for part in (remap.lost, remap.below, remap.above)]
    change = _SAFETY * remap.change(parabolas - rougher_coefficients(history[:-1] / width))
    for step in range(1, num_steps):
        change[step] += remap.spread(step, change[step - 1], width)
    return history[1:], gone[0], gone[1], gone[2], change.sum(axis=1)


def _jump_all(remap: Remap, mass: Array, width: float) -> tuple[Array, Array, Array, Array, Array]:
    parabolas = coefficients(mass / width)
    num_steps = len(remap.bounds) - 1
    gone = [np.einsum("scn,cn->s", part, parabolas) for part in (remap.lost, remap.below, remap.above)]
    difference = np.broadcast_to(parabolas - rougher_coefficients(mass / width), (num_steps, *parabolas.shape))
    change = _SAFETY * remap.change(difference).sum(axis=1)
    return remap.apply_all(parabolas), gone[0], gone[1], gone[2], change


def _select(found: tuple, index: np.ndarray, has_moved: np.ndarray, mass: Array, error: float) -> Evolved:
    """Pick the output times out of the steps; t = 0 is the averaged initial state."""
    rows = np.empty((len(index), len(mass)))
    rows[~has_moved], rows[has_moved] = mass, found[0][index[has_moved]]
    others = np.zeros((4, len(index)))
    for row, values in zip(others, found[1:], strict=True):
        row[has_moved] = values[index[has_moved]]
    # Sums of many pieces that may be negative by a rounding.
    dissipated, below, above, change = np.maximum(others, 0.0)
    initial = float(mass.sum())
    return Evolved(
        initial=initial,
        mass=rows,
        dissipated=dissipated,
        outflow_below=below,
        outflow_above=above,
        source=np.zeros(len(rows)),
        error=change + error + _TRACED * rows.sum(axis=1),
    )


def _carry_points(drift: Any, dissipation: Dissipation, initial: PointMasses, times: Array, edges: Array) -> Evolved:
    if isinstance(drift, PowerDrift):
        flow = make_flow(drift, dissipation, float(times[-1]))
        return ExactJump().jump(flow, initial, times, edges)
    num_cells = len(edges) - 1
    paths = IntegratedPaths(drift, dissipation, (float(edges[0]), float(edges[-1])))
    x = np.clip(np.log(np.asarray(initial.eigenvalues)), edges[0], edges[-1])
    masses = np.asarray(initial.masses)
    exponent, side = np.zeros(len(x)), np.zeros(len(x), dtype=np.int64)
    rows, before = np.zeros((len(times), num_cells)), 0.0
    dissipated, out = np.zeros(len(times)), np.zeros((2, len(times)))
    for row, time in enumerate(times):
        alive = np.flatnonzero(side == 0)
        moments = np.full((2, len(alive)), [[before], [time]])
        x[alive], spent, side[alive] = paths.carry(x[alive], moments[0], moments[1])
        exponent[alive] += spent
        kept, before = masses * np.exp(-exponent), time
        dissipated[row] = -(masses * np.expm1(-exponent)).sum()
        out[:, row] = kept[side < 0].sum(), kept[side > 0].sum()
        cell = np.clip(np.searchsorted(edges, x[side == 0], side="right") - 1, 0, num_cells - 1)
        rows[row] = np.bincount(cell, kept[side == 0], num_cells)
    error = _TRACED * rows.sum(axis=1)
    return Evolved(float(masses.sum()), rows, dissipated, out[0], out[1], np.zeros(len(times)), error)
