"""Jumps in steps that keep every mass >= 0: Runge-Kutta of fourth order along the characteristics.

Drift, dissipation and what jumps away are one exact jump of cells, whose parabolas are never negative (see `remap`).
What lands is a matrix without negative entries. The classical Runge-Kutta rule has weights >= 0 and only goes
forward in time, so in the frame that moves and decays every stage is a sum of what is not negative, however
long the step. A single jump that is wrong in time shows in the books: what has left is known exactly, what has
landed is a quadrature. Their difference is in the error.

References: Lawson (1967), SIAM J. Numer. Anal. 4, 372; Isherwood, Grant and Gottlieb (2018), SIAM J. Numer. Anal. 56,
3276, on integrating factors that keep signs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import spend
from eigenflow.transport.finite_volumes.cells import CellGrid
from eigenflow.transport.flows.path_maps import make_paths
from eigenflow.transport.initial import PointMasses
from eigenflow.transport.methods.estimate import with_estimate
from eigenflow.transport.methods.method import AbstractMethod, Evolved, Task
from eigenflow.transport.methods.remap import Remap, coefficients, make_remap
from eigenflow.transport.methods.splitting import Strang
from eigenflow.transport.problem import TransportProblem

__all__ = ["IntegratingFactor"]

Array = Float[np.ndarray, "..."]
# Of the matrix of what lands. It is smooth, so that no entry is negative but by a rounding.
_ORDER = 5
_NODES = 2
# Steps prepared at once, times cells.
_CELLS_AT_ONCE = 12_800
# Products of matrix entries a unit of `spend`.
_PRODUCTS = 50.0


@dataclass(frozen=True)
class IntegratingFactor(AbstractMethod):
    """No mass is ever negative. Sources that are no jumps slower than dissipation are split off by `Strang`.

    Attributes:
        step: Share of the time by which a step advances, in (0, 1]; a quarter of it where `Strang` takes over.
    """

    step: float = 0.4
    name: ClassVar[str] = "positive"
    advice: ClassVar[str] = "Use more `cells`, or `method=IntegratingFactor(step=0.1)`."

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1:
            raise ArgumentError(f"`step` must be in (0, 1], but is {self.step}. 0.4 is a good choice.")

    def refuses(self, problem: TransportProblem) -> str | None:
        """What splitting refuses."""
        return Strang().refuses(problem)

    def recommends(self, problem: TransportProblem) -> str | None:
        """For single modes."""
        if not isinstance(problem.initial, PointMasses):
            return None
        return "point masses are too rough for a method of high order; splitting keeps them positive"

    def run(self, task: Task) -> Evolved:
        """Carry the initial state to all output times."""
        if _rates(task.problem) is None:
            return Strang(step=self.step / 4).run(task)

        def on(edges: Array, start: Array, is_rough: bool) -> Evolved:
            if is_rough:
                return _stepped(replace(task, log_edges=edges, progress=None), start, self.step, _heun, 1)
            return _stepped(task, start, self.step, _classical, 2)

        # Half as many cells, and a rule of second order. Where fronts are not resolved cells are of first order.
        return with_estimate(on, task.problem.initial, task.log_edges, 1 / 2)


def _rates(problem: TransportProblem) -> tuple[float, float] | None:
    """Give the factors of lambda in dissipation and jumps, if jumps are slower: else a step has too many of them."""
    leaving = None if problem.source is None else problem.source.leaving
    if leaving is None or callable(problem.dissipation) or leaving > problem.dissipation:
        return None
    return float(problem.dissipation), leaving


def _spans(times: Array, share: float, fastest: float) -> list[tuple[float, float, bool]]:
    """Lay steps: start, length, and whether an output follows. The first resolve the fastest rate."""
    steps, now = [], 0.0
    for target in times[times > 0]:
        while now < target:
            span = share * max(now, 1.0 / fastest if fastest > 0 else np.inf)
            left = float(target) - now
            # Two even steps rather than a long one and a rest.
            span = left if left <= span * (1 + 1e-9) else min(span, 0.5 * left)
            steps.append((now, span, span == left))
            now = float(target) if span == left else now + span
    return steps


class _Jumps:
    """Exact jumps over parts of steps, of several states at once.

    Args:
        remap: One row a part.
        width: Of the cells.
    """

    def __init__(self, remap: Remap, width: float) -> None:
        self._remap, self._width = remap, width
        # Lost, below, above; behind each other as the coefficients of parabolas are.
        self._gone = np.stack([remap.lost, remap.below, remap.above], axis=1).reshape(len(remap.lost), 3, -1)

    def carry(self, row: int, states: Float[np.ndarray, "state cell"]) -> tuple[Array, Array]:
        """Give the states after the part, and what was lost or went out, shape (state, 3)."""
        shapes = coefficients(states / self._width)
        count, cells = states.shape
        here = slice(self._remap.bounds[row], self._remap.bounds[row + 1])
        pieces = (self._remap.weights[:, here] * shapes[:, :, self._remap.source[here]]).sum(axis=1)
        slot = self._remap.arrival[here] + cells * np.arange(count)[:, None]
        # Rounding can make a parabola that touches zero negative.
        arrived = np.bincount(slot.ravel(), np.maximum(pieces, 0.0).ravel(), count * cells)
        return arrived.reshape(count, cells), shapes.reshape(count, -1) @ self._gone[row].T


def _classical(
    jumps: _Jumps, index: Sequence[int], masses: Array, span: float, landing: Array
) -> tuple[Array, Array, float]:
    """Give the masses after a step of the classical rule, what has gone (lost, below, above), and what has landed."""
    first = landing @ masses
    (kept, moved), gone_first = jumps.carry(index[0], np.stack([masses, first]))
    second = landing @ (kept + 0.5 * span * moved)
    third = landing @ (kept + 0.5 * span * second)
    inner = kept + span / 6.0 * moved + span / 3.0 * (second + third)
    (last, carried), gone_second = jumps.carry(index[1], np.stack([kept + span * third, inner]))
    fourth = landing @ last
    landed = span / 6.0 * float((first + 2.0 * (second + third) + fourth).sum())
    gone = gone_first[0] + span / 6.0 * gone_first[1] + gone_second[1]
    return carried + span / 6.0 * fourth, gone, landed


def _heun(
    jumps: _Jumps, index: Sequence[int], masses: Array, span: float, landing: Array
) -> tuple[Array, Array, float]:
    """The same by Heun's rule, of second order."""
    first = landing @ masses
    (ahead, carried), gone = jumps.carry(index[0], np.stack([masses + span * first, masses + 0.5 * span * first]))
    second = landing @ ahead
    return carried + 0.5 * span * second, gone[1], 0.5 * span * float((first + second).sum())


# Takes jumps and which of them are the step's, masses, the step and the matrix of what lands.
Rule = Callable[[_Jumps, Sequence[int], Array, float, Array], tuple[Array, Array, float]]


def _stepped(task: Task, masses: Array, share: float, rule: Rule, parts: int) -> Evolved:
    """Step by a rule that needs jumps over each of `parts` even parts of a step."""
    problem, times, log_edges = task.problem, task.times, task.log_edges
    rates = _rates(problem)
    assert rates is not None and problem.source is not None and task.flow is not None
    grid = CellGrid(log_edges, _ORDER)
    landing = problem.source.landing(grid, task.shared)
    assert landing is not None
    fastest = sum(rates) * float(np.exp(log_edges[-1]))
    steps = _spans(times, share, fastest)
    paths, _ = make_paths(problem.drift, sum(rates), float(times[-1]), task.ends, may_turn=True)
    initial, is_steady = float(masses.sum()), task.flow.is_steady
    rows, kept = np.repeat(masses[None], len(times), axis=0), np.zeros((len(times), 4))
    books = np.zeros(4)  # dissipated, below, above, and what is uncertain of the jumps
    row = int(np.count_nonzero(times == 0))
    at_once = max(1, _CELLS_AT_ONCE // grid.count)
    for begin in range(0, len(steps), at_once):
        some = steps[begin : begin + at_once]
        starts = np.array([start for start, _, _ in some])
        lengths = np.array([span for _, span, _ in some]) / parts
        # At constant c all parts of a step are alike.
        begins = [np.zeros(len(some))] if is_steady else [starts + part * lengths for part in range(parts)]
        stops = np.concatenate([begun + lengths for begun in begins])
        jumps = _Jumps(make_remap(paths, log_edges, np.concatenate(begins), stops, _NODES), grid.width)
        for index, (_, span, is_output) in enumerate(some):
            row_of = [index + (0 if is_steady else part * len(some)) for part in range(parts)]
            spend(4 * landing.size / _PRODUCTS)
            masses, gone, landed = rule(jumps, row_of, masses, span, landing)
            # A jump puts down what it takes up: all else that was lost is dissipated.
            books[:3] += gone[0] - landed, gone[1], gone[2]
            books[3] += abs(gone[0] * rates[1] / sum(rates) - landed) if rates[1] else 0.0
            if is_output:
                rows[row], kept[row] = masses, books
                row += 1
                task.tell(row)
    task.tell(len(times))
    dissipated, below, above, uncertain = np.ascontiguousarray(kept.T)
    return Evolved(initial, rows, dissipated, below, above, np.zeros(len(times)), uncertain)
