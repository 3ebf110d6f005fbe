"""Sources in steps that keep every mass >= 0: Strang splitting on few geometric steps.

Half a step of drift and dissipation by an exact jump of cell masses (its parabolas are never
negative, see `remap`), a whole step of the source, half a step of the jump again. The source's matrix is
Metzler, so its exponential has no negative entry; steps are a power of two long wherever they can, so that
few exponentials serve them all. Second order in the steps and in the cells.

What a source puts down in the middle of a step decays over half of it, where it should have decayed over the time since
it came. Where dissipation is faster than the step that is no error of second order, and halving the steps does not
show it. So it is counted where it arises, and carried along with the masses.

Source: [@strang1968construction].
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.finite_volumes.cells import CellGrid
from eigenflow.transport.finite_volumes.propagator import still_finite
from eigenflow.transport.flows.path_maps import make_paths
from eigenflow.transport.initial import PointMasses
from eigenflow.transport.methods.estimate import with_estimate
from eigenflow.transport.methods.method import AbstractMethod, Evolved, Task
from eigenflow.transport.methods.remap import coefficients, make_remap
from eigenflow.transport.problem import TransportProblem

__all__ = ["Strang"]

Array = Float[np.ndarray, "..."]
_NODES = 3
# Jumps prepared at once.
_CHUNK = 128
_CELLS_AT_ONCE = 100_000
# What comes late also feeds the source late, which is not followed. Chosen after looking: without it, noise under fast
# drifts had its error told at 0.7 to 1 of the difference from references that are not exact there themselves.
_FED_BACK = 1.5


@dataclass(frozen=True)
class Strang(AbstractMethod):
    """No mass is ever negative, if the source is not.

    Attributes:
        step: Share of the time by which a step advances, in (0, 0.5].
    """

    step: float = 0.1
    name: ClassVar[str] = "positive"
    advice: ClassVar[str] = "Use more `cells`, or `method=Strang(step=0.02)`."

    def __post_init__(self) -> None:
        if not 0 < self.step <= 0.5:
            raise ArgumentError(f"`step` must be in (0, 0.5], but is {self.step}. 0.1 is a good choice.")

    def refuses(self, problem: TransportProblem) -> str | None:
        """It needs jumps in closed form, and steps of the source."""
        if problem.power_drift is None:
            return "its drift is no `PowerDrift`."
        if problem.source is None:
            return "it has no source, and 'exact' is exact and never negative."
        return None if problem.source.is_steppable else "its source is any function of the state."

    def recommends(self, problem: TransportProblem) -> str | None:
        """For single modes."""
        if not isinstance(problem.initial, PointMasses):
            return None
        return "point masses are too rough for a method of high order; splitting keeps them positive"

    def run(self, task: Task) -> Evolved:
        """Carry the initial state to all output times."""

        def on(edges: Array, start: Array, is_rough: bool) -> Evolved:
            if is_rough:
                return _stepped(replace(task, log_edges=edges, progress=None), start, 2 * self.step)
            return _stepped(task, start, self.step)

        # A method of order 2 leaves a third of the difference.
        return with_estimate(on, task.problem.initial, task.log_edges, 1 / 2)


@dataclass(frozen=True)
class _Plan:
    """Steps of the source, and between them jumps of half the step before and half the step after.

    Attributes:
        spans: Length of each step, shape (step,).
        starts: When each jump starts, shape (jump,); `ends` likewise. Jump i comes before step i, except that after
            the last step to an output one more jump leads there.
        is_last: Whether a jump ends at an output, so that no step follows it.
    """

    spans: list[float]
    starts: list[float]
    ends: list[float]
    is_last: list[bool]


def _plan(times: Array, step: float, unit: float) -> _Plan:
    """Lay steps so that each but the last to an output is `unit` times a power of two.

    Args:
        times: Output times.
        step: Share of the time, or of `unit / step` early on, that a step may be long.
        unit: Length of the first steps, positive.
    """
    plan = _Plan([], [], [], [])
    now = carried_to = 0.0
    for target in times[times > 0]:
        while now < target:
            span = unit * 2.0 ** max(0.0, np.floor(np.log2(max(step * now / unit, 1.0))))
            end = now + span
            if end >= target * (1 - 1e-12):
                span, end = float(target) - now, float(target)
            middle = now + 0.5 * span
            plan.spans.append(span)
            plan.starts.append(carried_to)
            plan.ends.append(middle)
            plan.is_last.append(False)
            carried_to, now = middle, end
        plan.starts.append(carried_to)
        plan.ends.append(now)
        plan.is_last.append(True)
        carried_to = now
    return plan


def _stepped(task: Task, masses: Array, step: float) -> Evolved:
    problem, times, log_edges = task.problem, task.times, task.log_edges
    grid = CellGrid(log_edges, 1)
    source = None if problem.source is None else problem.source.step(grid, task.shared)
    assert source is not None
    first = float(times[times > 0].min(initial=np.inf))
    unit = step * min(first, 1.0 / source.fastest if source.fastest > 0 else np.inf)
    if max(source.unit, unit) < np.inf:
        unit = source.unit * 2.0 ** np.floor(np.log2(unit / source.unit))
    plan = _plan(times, step, unit)
    paths, _ = make_paths(problem.drift, problem.dissipation, float(times[-1]), task.ends, may_turn=True)
    initial = float(masses.sum())
    rows, kept = np.repeat(masses[None], len(times), axis=0), np.zeros((len(times), 4))
    error = np.zeros(len(times))
    books, coming = np.zeros(4), 0.0
    late = np.zeros_like(masses)  # what came at a wrong time within its step
    rates = _rates(problem, grid)
    row, taken, now = int(np.count_nonzero(times == 0)), 0, 0.0
    at_once = max(1, min(_CHUNK, _CELLS_AT_ONCE // grid.count))
    for begin in range(0, len(plan.starts), at_once):
        chunk = slice(begin, begin + at_once)
        starts, stops = np.array(plan.starts[chunk]), np.array(plan.ends[chunk])
        remap = make_remap(paths, log_edges, starts, stops, _NODES)
        for index, is_last in enumerate(plan.is_last[chunk]):
            parabolas = coefficients(masses / grid.width)
            masses = remap.apply(index, parabolas)
            # It sinks and decays as masses do.
            late, coming = coming + remap.apply(index, coefficients(late / grid.width)), 0.0
            books[:3] += [np.vdot(part[index], parabolas) for part in (remap.lost, remap.below, remap.above)]
            if is_last:
                rows[row], kept[row], error[row] = masses, books, _FED_BACK * np.sum(late)
                row += 1
                task.tell(row)
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                after, gained = source.advance(masses, now, plan.spans[taken])
            still_finite(after)
            coming = np.abs(after - masses) * _mistimed(rates * plan.spans[taken])
            masses = after
            books[3] += gained
            now += plan.spans[taken]
            taken += 1
    task.tell(len(times))
    dissipated, below, above, gained_by_source = np.ascontiguousarray(kept.T)
    return Evolved(initial, rows, dissipated, below, above, gained_by_source, error)


def _rates(problem: TransportProblem, grid: CellGrid) -> Array:
    """Dissipation at the middle of each cell."""
    middle = np.exp(0.5 * (grid.log_edges[1:] + grid.log_edges[:-1]))
    return problem.dissipation(middle) if callable(problem.dissipation) else problem.dissipation * middle


def _mistimed(decay: Array) -> Array:
    """What half a step leaves of a mass, against the mean of what the step leaves of one that comes evenly over it."""
    decay = np.maximum(decay, 1e-8)
    return np.abs(-np.expm1(-decay) / decay - np.exp(-0.5 * decay))
