"""A given source, exactly: by Duhamel's principle a superposition of jumps that start at all times.

What is in a cell is integrated over arrival points; at each, the source is integrated back along the
path that ends there (`arrivals`), by panels that are bisected until they resolve it. What left the domain is the flux
at its ends, found in the same way, and the source itself is integrated over domain and time, so the
budget closes only if paths, attenuation and quadratures all do.
"""

import numpy as np
from jaxtyping import Float

from eigenflow.transport.flows.flow import AbstractFlow
from eigenflow.transport.flows.paths import fall
from eigenflow.transport.initial import refine
from eigenflow.transport.methods.adaptive_panels import NODES, WEIGHTS, integrate_panels
from eigenflow.transport.methods.arrivals import Arrivals
from eigenflow.transport.methods.method import Evolved, Task
from eigenflow.transport.sources import AbstractSource

__all__ = ["with_given_source"]

Array = Float[np.ndarray, "..."]
_LONGEST_PANEL = 0.25


def with_given_source(first: Evolved, flow: AbstractFlow, task: Task) -> Evolved:
    """Add what a given source has put in to what a problem without it would have.

    Args:
        first: The initial state at all output times, without the source.
        flow: Drift and dissipation, prepared up to the last time.
        task: With a source that is known beforehand.
    """
    source, times, log_edges, ends = task.problem.source, task.times, task.log_edges, task.ends
    assert source is not None
    arrivals = Arrivals(flow, source, ends)
    mass, lost, error = np.array(first.mass), np.array(first.dissipated), np.array(first.error)
    for row, time in enumerate(times):
        if time > 0:
            added, wrong = _in_cells(arrivals, flow, float(time), log_edges)
            mass[row] += added[0]
            lost[row] += added[1].sum()
            error[row] += wrong
        task.tell(row + 1)
    below, lost_below = _through(arrivals, flow, times, ends, -1.0)
    above, lost_above = _through(arrivals, flow, times, ends, 1.0)
    return Evolved(
        initial=first.initial,
        mass=mass,
        dissipated=lost + lost_below + lost_above,
        outflow_below=first.outflow_below + below,
        outflow_above=first.outflow_above + above,
        source=_given(source, flow, times, log_edges),
        error=error,
    )


def _in_cells(arrivals: Arrivals, flow: AbstractFlow, time: float, log_edges: Array) -> tuple[Array, float]:
    """Integrate over the cells, cut where paths arrive that began in a corner."""
    ends = log_edges[[0, -1]]
    begins = np.append(0.0, flow.turning_times[flow.turning_times < time])
    passed = flow.accumulated(np.array([time])) - flow.accumulated(begins)
    corners = (ends[:, None] - fall(ends[:, None], passed, flow.b)[0]).ravel()
    corners = corners[(corners > ends[0]) & (corners < ends[1])]
    points = np.unique(np.concatenate([refine(log_edges, _LONGEST_PANEL), corners]))
    cell = np.clip(np.searchsorted(log_edges, 0.5 * (points[1:] + points[:-1])) - 1, 0, len(log_edges) - 2)
    parts, error = integrate_panels(lambda x: arrivals(x, np.full(len(x), time)), points)
    return np.array([np.bincount(cell, part, len(log_edges) - 1) for part in parts]), error


def _time_edges(flow: AbstractFlow, times: Array) -> Array:
    """Panels in time: between outputs, turning points and, early on, on all scales."""
    last = times[-1]
    early = last * 2.0 ** -np.arange(0, 24)
    inner = np.concatenate([[0.0], times, flow.turning_times, early])
    return np.unique(inner[inner <= last])


def _at_outputs(parts: Array, edges: Array, times: Array) -> Array:
    sums = np.concatenate([[0.0], np.cumsum(parts)])
    return sums[np.searchsorted(edges, times)]


def _through(
    arrivals: Arrivals, flow: AbstractFlow, times: Array, ends: tuple[float, float], side: float
) -> tuple[Array, Array]:
    """What goes out through an end, and what it had lost before; `side` is the way out."""
    if times[-1] == 0 or not np.any(flow.drift.strength(_time_edges(flow, times)[1:])):
        return np.zeros(len(times)), np.zeros(len(times))
    end = ends[0] if side < 0 else ends[1]
    place = np.array(end)

    def flux(moments: Array) -> Array:
        speed = np.maximum(-side * flow.drift.strength(moments) * np.exp((flow.b - 1.0) * place), 0.0)
        result = np.zeros((2, len(moments)))
        is_out = speed > 0
        if is_out.any():
            here = np.full(int(is_out.sum()), end)
            result[:, is_out] = arrivals(here, moments[is_out]) * speed[is_out]
        return result

    # The flux bends when what began at the other end arrives.
    other = np.array([ends[0] + ends[1] - end])
    crossing = flow.exit_times(other, other - end)
    edges = np.unique(np.append(_time_edges(flow, times), crossing[crossing < times[-1]]))
    parts, _ = integrate_panels(flux, edges)
    return _at_outputs(parts[0], edges, times), _at_outputs(parts[1], edges, times)


def _given(source: AbstractSource, flow: AbstractFlow, times: Array, log_edges: Array) -> Array:
    """Integrate the source over domain and time."""
    if times[-1] == 0:
        return np.zeros(len(times))
    points = refine(log_edges[[0, -1]], _LONGEST_PANEL)
    half = 0.5 * np.diff(points)[:, None]
    x = (points[:-1, None] + half * (1.0 + NODES)).ravel()
    weights = (half * WEIGHTS).ravel()

    def rate(moments: Array) -> Array:
        return (source.per_log(x[None, :], moments[:, None]) @ weights)[None]

    edges = _time_edges(flow, times)
    return _at_outputs(integrate_panels(rate, edges)[0][0], edges, times)
