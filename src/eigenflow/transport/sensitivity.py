"""Derivatives of the total inside the domain with respect to everything that determines it.

Without a source the total is an integral over departures, each attenuated along its own
characteristic, so its derivatives are integrals of the derivatives of the exponent
(`exponent_derivatives`), plus what crosses the ends of the domain. Nothing is differenced.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.transport.flows.exponent_derivatives import exponent_derivatives
from eigenflow.transport.flows.flow import AbstractFlow
from eigenflow.transport.flows.paths import Values, fall, fall_by_exponent, panel_rule
from eigenflow.transport.flows.preparation import make_flow
from eigenflow.transport.initial import CellMasses, DepartureMesh, PointMasses, departure_mesh, refine
from eigenflow.transport.methods.exits import survivors
from eigenflow.transport.problem import TransportProblem

__all__ = ["Sensitivities", "sensitivities"]

Array = Float[np.ndarray, "..."]

_NODES, _WEIGHTS = panel_rule(10)
_COARSE_NODES, _COARSE_WEIGHTS = panel_rule(7)
_LONGEST_PIECE = 0.25
_PLACES = 200  # eigenvalues at which the derivative by a density is given
_ROUNDING = 1e-12


@dataclass(frozen=True, repr=False)
class Sensitivities(AbstractPrinted):
    """Derivatives of the total, the integral of g over the domain, at each output time.

    What has left the domain counts as gone, so a drift that carries mass out faster lowers the
    total; that part stands apart in `through_ends_c` and `through_ends_b`. Single modes
    (`PointMasses`) leave in jumps, which have no derivative: there the two are 0, and the
    derivatives hold between the jumps.

    Attributes:
        times: Output times, shape (time,).
        total: The total itself.
        c: d total / d c for a constant c; for a function c(t), the derivative by a factor on it, at
            factor 1. At c = 0, where mass at an end begins to leave on one side only, the mean of
            both one-sided derivatives.
        b: d total / d b at fixed c. It depends on the unit of the eigenvalue, as c does.
        log_dissipation: d total / d ln(factor), a factor on the dissipation rate; never positive.
        through_ends_c: The part of `c` that crosses the ends of the domain, shape (time,).
        through_ends_b: The same of `b`.
        eigenvalues: Where mass is added at t = 0, shape (place,): the modes of `PointMasses`, the
            geometric centres of the cells of `CellMasses`, else 200 points over the domain.
        initial: d total / d initial mass there, the share that is still inside the domain, in
            [0, 1], shape (time, place). For cells, of mass added in the shape that the cell has
            (even in ln(lambda) in an empty cell), so that initial @ masses is the total.
        error: Estimated error of c, b and log_dissipation, shape (time, 3); on the safe side for
            smooth initial densities.
    """

    times: Float[np.ndarray, " time"]
    total: Float[np.ndarray, " time"]
    c: Float[np.ndarray, " time"]
    b: Float[np.ndarray, " time"]
    log_dissipation: Float[np.ndarray, " time"]
    through_ends_c: Float[np.ndarray, " time"]
    through_ends_b: Float[np.ndarray, " time"]
    eigenvalues: Float[np.ndarray, " place"]
    initial: Float[np.ndarray, "time place"]
    error: Float[np.ndarray, "time three"]

    def _card(self) -> Card:
        rows = [("time", span(self.times)), ("total", span(self.total, 4))]
        for index, name in enumerate(("c", "b", "log_dissipation")):
            values, wrong = getattr(self, name), self.error[:, index].max(initial=0.0)
            what = "ln(dissipation)" if index == 2 else name
            rows.append((f"by {what}", f"{span(values, 4)}, error {figure(float(wrong), 2)} at worst"))
        rows.append(("through ends", f"by c {span(self.through_ends_c)}, by b {span(self.through_ends_b)}"))
        rows.append(("by initial", f"at {len(self.eigenvalues)} eigenvalues, {span(self.eigenvalues)}"))
        return Card(f"Sensitivities: derivatives of the total at {len(self.times)} times", rows)


def sensitivities(problem: TransportProblem, times: Values) -> Sensitivities:
    """Differentiate the total with respect to c, b, the dissipation and the initial state.

    Cost: a few milliseconds per output time with constant c, about ten times that with c(t).

    Args:
        problem: Without source, with a `PowerDrift`.
        times: Output times, increasing, not negative, shape (time,); a single number is one time.

    Returns:
        All derivatives, accurate to about 1e-11 of their size where the initial density is smooth.

    Raises:
        ArgumentError: If an argument is out of its range, naming it.
    """
    output = _checked_times(times)
    drift = problem.power_drift
    if problem.source is not None or drift is None:
        raise ArgumentError(
            "`problem` must have a `PowerDrift` and no source, but has not. With a source, difference "
            "the totals of `solve` at two values of the parameter."
        )
    flow = make_flow(drift, problem.dissipation, float(output[-1]))
    ends = (float(np.log(problem.domain[0])), float(np.log(problem.domain[1])))
    if isinstance(problem.initial, PointMasses):
        return _of_points(flow, problem.initial, output, ends)
    return _of_density(flow, problem.initial, output, ends)


def _checked_times(times: Values) -> Float[np.ndarray, " time"]:
    output = np.atleast_1d(np.array(times, dtype=np.float64))
    if output.ndim != 1 or not len(output):
        raise ShapeError(f"`times` must be one-dimensional and not empty, but has shape {output.shape}. Pass one row.")
    if not np.all(np.isfinite(output)) or output[0] < 0 or np.any(np.diff(output) <= 0):
        raise ArgumentError(
            "`times` must be finite, not negative and increasing, but they are not. "
            "Sort them and drop repeated ones with np.unique."
        )
    return output


def _of_points(flow: AbstractFlow, initial: PointMasses, times: Array, ends: tuple[float, float]) -> Sensitivities:
    start = np.clip(np.log(np.asarray(initial.eigenvalues)), *ends)
    masses = np.asarray(initial.masses)
    low, high = survivors(flow, times, ends)
    kept = np.zeros((len(times), len(start)))
    rows, sizes = np.zeros((len(times), 4)), np.zeros((len(times), 3))
    for k, time in enumerate(times):
        inside = (start >= low[k]) & (start <= high[k])
        terms, share = _integrands(flow, start[inside], float(time))
        kept[k, inside] = share
        rows[k] = terms @ masses[inside]
        sizes[k] = np.abs(terms[1:]) @ masses[inside]
    nothing = np.zeros((len(times), 2))
    return _gathered(times, rows, nothing, np.asarray(initial.eigenvalues), kept, _ROUNDING * sizes)


def _integrands(flow: AbstractFlow, start: Array, time: float) -> tuple[Array, Array]:
    """Per unit initial mass: the total and its derivatives by c, b and ln(dissipation); the share kept."""
    exponent = flow.exponent(start, np.full(start.shape, time))
    kept = np.exp(-exponent)
    by_c, by_b = exponent_derivatives(flow, start, time)
    with np.errstate(over="ignore", invalid="ignore"):
        terms = np.stack([kept, -by_c * kept, -by_b * kept, -exponent * kept])
    # Where nothing is left, nothing changes, however large the derivative of the exponent.
    return np.where(kept > 0, terms, 0.0), kept


def _of_density(flow: AbstractFlow, initial, times: Array, ends: tuple[float, float]) -> Sensitivities:
    mesh = departure_mesh(initial, ends)
    low, high = survivors(flow, times, ends)
    rows, crossed, errors = np.zeros((len(times), 4)), np.zeros((len(times), 2)), np.zeros((len(times), 3))
    for k, time in enumerate(times):
        left, right = _pieces(flow, mesh, float(time), (low[k], high[k]), ends)
        rows[k], size = _integrated(flow, mesh, left, right, float(time), (_NODES, _WEIGHTS))
        coarse, _ = _integrated(flow, mesh, left, right, float(time), (_COARSE_NODES, _COARSE_WEIGHTS))
        errors[k] = np.abs(rows[k] - coarse)[1:] + _ROUNDING * size[1:]
        crossed[k] = _through_ends(flow, mesh, float(time), (low[k], high[k]), ends)
    eigenvalues, kept = _kept_shares(flow, initial, mesh, times, (low, high), ends)
    return _gathered(times, rows, crossed, eigenvalues, kept, errors)


def _gathered(
    times: Array, rows: Array, crossed: Array, eigenvalues: Array, kept: Array, error: Array
) -> Sensitivities:
    return Sensitivities(
        times=times,
        total=rows[:, 0],
        c=rows[:, 1] + crossed[:, 0],
        b=rows[:, 2] + crossed[:, 1],
        log_dissipation=rows[:, 3],
        through_ends_c=crossed[:, 0],
        through_ends_b=crossed[:, 1],
        eigenvalues=eigenvalues,
        initial=kept,
        error=error,
    )


def _pieces(
    flow: AbstractFlow, mesh: DepartureMesh, time: float, inside: tuple[float, float], ends: tuple[float, float]
) -> tuple[Array, Array]:
    """Cut the departures of survivors so that no piece is long where it departs or where it arrives."""
    fine = refine(np.array(ends), _LONGEST_PIECE)
    arrivals = fine - fall(fine, -flow.accumulated(np.array([time])), flow.b)[0]
    points = np.concatenate([mesh.edges, arrivals, inside])
    low, high = max(inside[0], mesh.edges[0]), min(inside[1], mesh.edges[-1])
    points = np.unique(np.clip(points, low, max(low, high)))
    return points[:-1], points[1:]


def _integrated(
    flow: AbstractFlow, mesh: DepartureMesh, left: Array, right: Array, time: float, rule: tuple[Array, Array]
) -> tuple[Array, Array]:
    half = 0.5 * (right - left)[:, None]
    x = left[:, None] + half * (1.0 + rule[0])
    if not x.size:
        return np.zeros(4), np.zeros(4)
    carried = (mesh.density(x) * half * rule[1]).ravel()
    terms, _ = _integrands(flow, x.ravel(), time)
    return terms @ carried, np.abs(terms) @ carried


def _through_ends(
    flow: AbstractFlow, mesh: DepartureMesh, time: float, inside: tuple[float, float], ends: tuple[float, float]
) -> Array:
    """Derivative by c and by b of the survivors' bounds, times what arrives from there."""
    if inside[1] <= inside[0] or time == 0:
        return np.zeros(2)
    extremes = [float(e[0]) for e in flow.extremes(np.array([time]))]
    result = np.zeros(2)
    # The lower bound moves with the greatest accumulated drift, the upper one with the least.
    for bound, end, reach, side in ((inside[0], ends[0], extremes[1], -1.0), (inside[1], ends[1], extremes[0], 1.0)):
        by_c = flow.reach_by_strength(time, reach, side)
        if by_c == 0 and reach == 0:
            continue
        x = np.array([[bound - side * 1e-13 * max(1.0, abs(bound))]])
        arriving = float(mesh.density(x)[0, 0]) * float(np.exp(-flow.exponent(x[0], np.array([time])))[0])
        by_b = -float(fall_by_exponent(np.array([end]), np.array([end - bound]), flow.b)[0])
        result += side * arriving * np.array([np.exp((flow.b - 1.0) * bound) * by_c, by_b])
    return result


def _kept_shares(
    flow: AbstractFlow,
    initial,
    mesh: DepartureMesh,
    times: Array,
    inside: tuple[Array, Array],
    ends: tuple[float, float],
) -> tuple[Array, Array]:
    """The share kept of mass added at single eigenvalues, or in cells."""
    low, high = inside[0][:, None], inside[1][:, None]
    if not isinstance(initial, CellMasses):
        x = np.linspace(*ends, _PLACES)
        stayed = (x >= low) & (x <= high)
        return np.exp(x), _attenuation(flow, np.broadcast_to(x, stayed.shape), times, stayed)
    edges = np.asarray(initial.edges)
    logs = np.clip(np.log(edges), *ends)
    shares = np.zeros((len(times), len(edges) - 1))
    for k, time in enumerate(times):
        bounds = float(inside[0][k]), float(inside[1][k])
        left, right = _pieces(flow, mesh, float(time), bounds, ends)
        left, right = _split_at(left, right, logs)
        half = 0.5 * (right - left)[:, None]
        x = left[:, None] + half * (1.0 + _NODES)
        if not x.size:
            continue
        cell = np.clip(np.searchsorted(logs, x[:, 5], side="right") - 1, 0, len(edges) - 2)
        is_empty = np.asarray(initial.masses)[cell] == 0
        density = np.where(is_empty[:, None], 1.0 / np.diff(logs)[cell][:, None], mesh.density(x))
        kept = np.exp(-flow.exponent(x, np.full(x.shape, time)))
        shares[k] = np.bincount(cell, (density * kept * half * _WEIGHTS).sum(1), len(edges) - 1)
    masses = np.asarray(initial.masses)
    return np.sqrt(edges[1:] * edges[:-1]), shares / np.where(masses > 0, masses, 1.0)


def _split_at(left: Array, right: Array, cuts: Array) -> tuple[Array, Array]:
    if not len(left):
        return left, right
    points = np.append(left, right[-1])
    points = np.unique(np.concatenate([points, cuts[(cuts > points[0]) & (cuts < points[-1])]]))
    return points[:-1], points[1:]


def _attenuation(flow: AbstractFlow, x: Array, times: Array, stayed: np.ndarray) -> Array:
    kept = np.zeros(x.shape)
    row, place = np.nonzero(stayed)
    kept[row, place] = np.exp(-flow.exponent(x[row, place], times[row]))
    return kept
