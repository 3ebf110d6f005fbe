"""Sources in steps that keep every mass >= 0: Strang splitting on few geometric steps.

Half a step of drift and dissipation by an exact jump of cell masses (its parabolas are never
negative), a whole step of the source, half a step of the jump again. The source's matrix is Metzler,
so its exponential has no negative entry. Second order in the steps and in the cells.

Reference: Strang (1968), SIAM J. Numer. Anal. 5, 506.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.methods.cells import CellGrid
from eigenflow.transport.methods.generator import source_matrix
from eigenflow.transport.methods.ladder import apart, start_masses
from eigenflow.transport.methods.outcome import Evolved, Progress, tell
from eigenflow.transport.methods.propagator import Propagator
from eigenflow.transport.methods.split_step import SplitStep
from eigenflow.transport.motion.drift import PowerDrift
from eigenflow.transport.motion.flow import make_flow
from eigenflow.transport.problem import TransportProblem
from eigenflow.transport.sources import GivenSource, KernelSource, SgdNoise

__all__ = ["Strang"]

Array = Float[np.ndarray, "..."]
# Takes masses, the time and the step; returns masses and what they have gained in sum.
SourceStep = Callable[[Array, float, float], tuple[Array, float]]


@dataclass(frozen=True)
class Strang:
    """No mass is ever negative, if the source is not.

    Attributes:
        step: Share of the time by which a step advances, in (0, 0.5].
    """

    step: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.step <= 0.5:
            raise ArgumentError(f"`step` must be in (0, 0.5], but is {self.step}. 0.05 is a good choice.")

    def run(
        self,
        problem: TransportProblem,
        times: Float[np.ndarray, " time"],
        log_edges: Float[np.ndarray, " edge"],
        progress: Progress | None = None,
        shared: dict | None = None,
    ) -> Evolved:
        """Carry the initial state to all output times; arguments as in `Ladder.run`."""
        shared = {} if shared is None else shared
        fine = _stepped(problem, times, log_edges, self.step, progress, shared)
        halved = np.linspace(log_edges[0], log_edges[-1], max(4, (len(log_edges) - 1) // 2) + 1)
        rough = _stepped(problem, times, halved, 2 * self.step, None, shared)
        # A method of order 2 leaves a third of the difference.
        error = apart(fine.mass.T, rough.mass.T) / 2
        return Evolved(
            initial=fine.initial,
            mass=fine.mass,
            dissipated=fine.dissipated,
            outflow_below=fine.outflow_below,
            outflow_above=fine.outflow_above,
            source=fine.source,
            error=error,
        )


def _stepped(
    problem: TransportProblem, times: Array, log_edges: Array, step: float, progress: Progress | None, shared: dict
) -> Evolved:
    grid = CellGrid(log_edges, 1)
    gain, fastest = _source_step(problem, grid, shared)
    assert isinstance(problem.drift, PowerDrift)
    jump = SplitStep(make_flow(problem.drift, problem.dissipation, float(times[-1])), log_edges).step
    masses = start_masses(problem, log_edges)
    initial = float(masses.sum())
    books = np.zeros(4)
    rows, kept = np.zeros((len(times), grid.count)), np.zeros((len(times), 4))
    carried_to = now = 0.0
    for index, target in enumerate(times):
        for end in _steps(now, float(target), step, fastest, float(times[times > 0].min(initial=np.inf))):
            middle = 0.5 * (now + end)
            masses, lost = jump(masses, carried_to, middle)
            masses, gained = gain(masses, now, end - now)
            books[:3] += lost
            books[3] += gained
            carried_to, now = middle, end
        # Half-steps merge, except where the state is wanted.
        masses, lost = jump(masses, carried_to, now)
        books[:3] += lost
        carried_to = now
        rows[index], kept[index] = masses, books
        tell(progress, index + 1, len(times))
    dissipated, below, above, gained_by_source = np.ascontiguousarray(kept.T)
    return Evolved(initial, rows, dissipated, below, above, gained_by_source, np.zeros(len(times)))


def _steps(now: float, target: float, step: float, fastest: float, first: float) -> Array:
    """Ends of the steps from now to the target: even up to the source's own time, then geometric."""
    own = min(first, 1.0 / fastest if fastest > 0 else np.inf)
    even = max(0.0, min(target, own) - now)
    parts = [np.zeros(0)]
    if even > 0:
        count = int(np.ceil(even / (step * own) - 1e-9))
        parts.append(now + even * np.arange(1, count + 1) / count)
    begin = max(now, own)
    if target > begin:
        count = int(np.ceil(np.log(target / begin) / np.log1p(step) - 1e-9))
        parts.append(begin * (target / begin) ** (np.arange(1, count + 1) / count))
    ends = np.concatenate(parts)
    if len(ends):
        ends[-1] = target
    return ends


def _source_step(problem: TransportProblem, grid: CellGrid, shared: dict) -> tuple[SourceStep, float]:
    """Give a whole step of the source, and its fastest rate."""
    source = problem.source
    if isinstance(source, SgdNoise):
        taken = grid.integrals(source.per_log)
        growth, floor = float(taken.sum()), float(source.label_noise)

        def fed(masses: Array, t: float, span: float) -> tuple[Array, float]:
            # The total obeys E' = growth (E + floor), and each cell takes its share of what is added.
            gained = (masses.sum() + floor) * np.expm1(growth * span)
            return masses + (taken / growth if growth > 0 else taken) * gained, float(gained)

        return fed, growth
    if isinstance(source, KernelSource):
        key = ("strang", source, problem.domain, grid.count)
        if key not in shared:
            matrix = source_matrix(grid, source)[0]
            shared[key] = Propagator(matrix, is_metzler=True), -float(np.diag(matrix).min())
        propagator, fastest = shared[key]
        return lambda masses, t, span: (propagator.apply(np.array([span]), masses[:, None])[:, 0], 0.0), fastest
    assert isinstance(source, GivenSource)

    def given(masses: Array, t: float, span: float) -> tuple[Array, float]:
        points = t + 0.5 * span * (1.0 + np.array([-1.0, 1.0]) / np.sqrt(3.0))
        gained = sum(grid.integrals(lambda x, s=s: source.per_log(x, s)) for s in points) * 0.5 * span
        return masses + gained, float(np.sum(gained))

    return given, 0.0
