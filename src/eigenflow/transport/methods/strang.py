"""Sources in steps that keep every mass >= 0: Strang splitting on few geometric steps.

Half a step of drift and dissipation by an exact jump of cell masses (its parabolas are never
negative, see `remap`), a whole step of the source, half a step of the jump again. The source's matrix is
Metzler, so its exponential has no negative entry; steps are a power of two long wherever they can, so that
few exponentials serve them all. Second order in the steps and in the cells.

Reference: Strang (1968), SIAM J. Numer. Anal. 5, 506.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.transport.methods.cells import CellGrid
from eigenflow.transport.methods.estimate import with_estimate
from eigenflow.transport.methods.generator import MATRICES, source_matrix
from eigenflow.transport.methods.outcome import Evolved, Progress, still_finite, tell
from eigenflow.transport.methods.propagator import Propagator
from eigenflow.transport.methods.remap import coefficients, make_remap
from eigenflow.transport.motion.stepping import make_paths
from eigenflow.transport.problem import TransportProblem
from eigenflow.transport.sources import GivenSource, KernelSource, SgdNoise

__all__ = ["Strang"]

Array = Float[np.ndarray, "..."]
# Takes masses, the time and the step; returns masses and what they have gained in sum.
SourceStep = Callable[[Array, float, float], tuple[Array, float]]
_NODES = 3
# Jumps prepared at once.
_CHUNK = 128
_CELLS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Strang:
    """No mass is ever negative, if the source is not.

    Attributes:
        step: Share of the time by which a step advances, in (0, 0.5].
    """

    step: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.step <= 0.5:
            raise ArgumentError(f"`step` must be in (0, 0.5], but is {self.step}. 0.1 is a good choice.")

    def run(
        self,
        problem: TransportProblem,
        times: Float[np.ndarray, " time"],
        log_edges: Float[np.ndarray, " edge"],
        progress: Progress | None = None,
        shared: dict | None = None,
    ) -> Evolved:
        """Carry the initial state to all output times; arguments as in `Ladder.run`."""
        known = {} if shared is None else shared

        def on(edges: Array, start: Array, is_rough: bool) -> Evolved:
            step = 2 * self.step if is_rough else self.step
            return _stepped(problem, times, edges, start, step, None if is_rough else progress, known)

        # A method of order 2 leaves a third of the difference.
        return with_estimate(on, problem.initial, log_edges, 1 / 2)


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


def _stepped(
    problem: TransportProblem,
    times: Array,
    log_edges: Array,
    masses: Array,
    step: float,
    progress: Progress | None,
    shared: dict,
) -> Evolved:
    grid = CellGrid(log_edges, 1)
    gain, fastest, base = _source_step(problem, grid, shared)
    first = float(times[times > 0].min(initial=np.inf))
    unit = step * min(first, 1.0 / fastest if fastest > 0 else np.inf)
    if max(base, unit) < np.inf:
        unit = base * 2.0 ** np.floor(np.log2(unit / base))
    plan = _plan(times, step, unit)
    ends = (float(log_edges[0]), float(log_edges[-1]))
    paths, _ = make_paths(problem.drift, problem.dissipation, float(times[-1]), ends, may_turn=True)
    initial = float(masses.sum())
    rows, kept = np.repeat(masses[None], len(times), axis=0), np.zeros((len(times), 4))
    books = np.zeros(4)
    row, taken, now = int(np.count_nonzero(times == 0)), 0, 0.0
    at_once = max(1, min(_CHUNK, _CELLS_AT_ONCE // grid.count))
    for begin in range(0, len(plan.starts), at_once):
        chunk = slice(begin, begin + at_once)
        starts, stops = np.array(plan.starts[chunk]), np.array(plan.ends[chunk])
        remap = make_remap(paths, log_edges, starts, stops, _NODES)
        for index, is_last in enumerate(plan.is_last[chunk]):
            parabolas = coefficients(masses / grid.width)
            masses = remap.apply(index, parabolas)
            books[:3] += [np.vdot(part[index], parabolas) for part in (remap.lost, remap.below, remap.above)]
            if is_last:
                rows[row], kept[row] = masses, books
                row += 1
                tell(progress, row, len(times))
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                masses, gained = gain(masses, now, plan.spans[taken])
            still_finite(masses)
            books[3] += gained
            now += plan.spans[taken]
            taken += 1
    tell(progress, len(times), len(times))
    dissipated, below, above, gained_by_source = np.ascontiguousarray(kept.T)
    return Evolved(initial, rows, dissipated, below, above, gained_by_source, np.zeros(len(times)))


def _source_step(problem: TransportProblem, grid: CellGrid, shared: dict) -> tuple[SourceStep, float, float]:
    """Give a whole step of the source, its fastest rate, and of which length steps are cheap multiples."""
    source = problem.source
    if isinstance(source, SgdNoise):
        taken = grid.integrals(source.per_log)
        growth, floor = float(taken.sum()), float(source.label_noise)

        def fed(masses: Array, t: float, span: float) -> tuple[Array, float]:
            # The total obeys E' = growth (E + floor), and each cell takes its share of what is added.
            gained = (masses.sum() + floor) * np.expm1(growth * span)
            return masses + (taken / growth if growth > 0 else taken) * gained, float(gained)

        return fed, growth, np.inf
    if isinstance(source, KernelSource):
        within("entries", MATRICES * grid.count**2, f"The method 'positive' on {grid.count:,} cells")
        key = ("strang", source, problem.domain, grid.count)
        if key not in shared:
            matrix = source_matrix(grid, source)[0]
            shared[key] = Propagator(matrix, is_metzler=True), -float(np.diag(matrix).min())
        propagator, fastest = shared[key]

        def jumped(masses: Array, t: float, span: float) -> tuple[Array, float]:
            return propagator.carry(span, masses), 0.0

        return jumped, fastest, propagator.step
    assert isinstance(source, GivenSource)

    def given(masses: Array, t: float, span: float) -> tuple[Array, float]:
        points = t + 0.5 * span * (1.0 + np.array([-1.0, 1.0]) / np.sqrt(3.0))
        gained = sum(grid.integrals(lambda x, s=s: source.per_log(x, s)) for s in points) * 0.5 * span
        return masses + gained, float(np.sum(gained))

    return given, 0.0, np.inf
