"""The strength kappa(t) as a sum of few functions of time, with its integral, and nodes in time."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import CubicSpline

from eigenflow.transport.flows.paths import panel_rule

__all__ = ["Clock", "make_clock"]

Array = Float[np.ndarray, "..."]

_NODES, _WEIGHTS = panel_rule(4)
_FINE_NODES, _FINE_WEIGHTS = panel_rule(10)
_MOST_HALVINGS = 14


@dataclass(frozen=True)
class Clock:
    """Measured times and, between them, nodes for integrals along paths. kappa = strength @ factors.

    Attributes:
        elapsed: Measured times, counted from the first, shape (time,).
        strength: The functions of time at the measured times.
        accumulated: Their integrals from the first measured time.
        node_accumulated: The same at the nodes.
        node_weights: Quadrature weights of the nodes, in time.
        interval: To which measured interval each node belongs; 0 ends at the second measured time.
        node_times: The nodes, counted from the first measured time.
    """

    elapsed: Float[np.ndarray, " time"]
    strength: Float[np.ndarray, "time function"]
    accumulated: Float[np.ndarray, "time function"]
    node_accumulated: Float[np.ndarray, "node function"]
    node_weights: Float[np.ndarray, " node"]
    interval: Int[np.ndarray, " node"]
    node_times: Float[np.ndarray, " node"]

    @property
    def is_constant(self) -> bool:
        """Whether kappa does not depend on time."""
        return self.strength.shape[1] == 1


def make_clock(times: Float[np.ndarray, " time"], fastest: float, num_functions: int) -> Clock:
    """Lay the nodes and tabulate the functions.

    Args:
        times: Measured times, at least two.
        fastest: Largest rate of interest, 1 / time; the first interval is graded down to its inverse.
        num_functions: 1 for a constant strength, else the knots of a cubic spline in
            ln(time since the first measurement + the first interval). The first function is the
            constant; an even prior on the others is a random walk from knot to knot.
    """
    elapsed = times - times[0]
    span, first = elapsed[-1], elapsed[1]

    def functions(t: Array) -> Array:
        if num_functions == 1:
            return np.ones((*t.shape, 1)) / span
        clock = np.log(t + first)
        knots = np.linspace(np.log(first), np.log(span + first), num_functions)
        return CubicSpline(knots, _walks(num_functions), bc_type="natural")(clock) / span

    breaks, interval = _breaks(elapsed, fastest)
    half = 0.5 * np.diff(breaks)[:, None]
    nodes = breaks[:-1, None] + half * (1.0 + _NODES)
    at_breaks = np.concatenate([np.zeros((1, num_functions)), np.cumsum(_between(functions, breaks), axis=0)])
    pieces = np.stack([_from(functions, breaks[:-1], nodes[:, q]) for q in range(len(_NODES))], axis=1)
    return Clock(
        elapsed=elapsed,
        strength=functions(elapsed),
        accumulated=at_breaks[np.searchsorted(breaks, elapsed)],
        node_accumulated=(at_breaks[:-1, None, :] + pieces).reshape(-1, num_functions),
        node_weights=(half * _WEIGHTS).ravel(),
        interval=np.repeat(interval, len(_NODES)),
        node_times=nodes.ravel(),
    )


def _walks(count: int) -> Float[np.ndarray, "knot function"]:
    steps = np.diff(np.eye(count), axis=0)
    values, vectors = np.linalg.eigh(steps.T @ steps)
    return np.column_stack([np.ones(count), vectors[:, 1:] / np.sqrt(values[1:])])


def _breaks(elapsed: Array, fastest: float) -> tuple[Array, np.ndarray]:
    """Measured times, with intervals over a factor 2 in time divided evenly in its logarithm."""
    halvings = int(np.clip(np.ceil(np.log2(max(1.0, fastest * elapsed[1]))), 0, _MOST_HALVINGS))
    points = [np.append(0.0, elapsed[1] * 2.0 ** -np.arange(halvings, -1, -1.0))]
    for left, right in pairwise(elapsed[1:]):
        points.append(np.geomspace(left, right, int(np.ceil(np.log2(right / left))) + 1)[1:-1])
        points.append(np.array([right]))
    breaks = np.concatenate(points)
    return breaks, np.searchsorted(elapsed, breaks[1:]) - 1


def _from(functions, left: Array, right: Array) -> Array:
    half = 0.5 * (right - left)[:, None]
    values = functions(left[:, None] + half * (1.0 + _FINE_NODES))
    return np.einsum("pqm,pq->pm", values, half * _FINE_WEIGHTS)


def _between(functions, breaks: Array) -> Array:
    return _from(functions, breaks[:-1], breaks[1:])
