"""Modes that leave the domain: which, through which end, when, and with what they still carry."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.transport.flows.flow import AbstractFlow
from eigenflow.transport.flows.paths import fall
from eigenflow.transport.initial import DepartureMesh
from eigenflow.transport.methods.piece_rule import CumulativePlaces, PieceRule

__all__ = ["Leaving", "leaving_density", "leaving_points", "survivors"]

Array = Float[np.ndarray, "..."]

# Where the drift turns, the exit time goes like a square root of the departure.
_GRADED = 0.25 * 2.0 ** -np.arange(20)
# What modes still carry when they leave may be as steep in their departure as their exit time is: with c = -1 / (t + s)
# that is exponential. Panels are bisected until each is resolved to this share of the mass.
_RESOLVED = 1e-13
_BISECTIONS = 40
_MAX_PANELS = 20_000


@dataclass(frozen=True)
class Leaving:
    """Cumulative over time: carried out through either end, and lost on the way there."""

    below: Float[np.ndarray, " time"]
    above: Float[np.ndarray, " time"]
    dissipated: Float[np.ndarray, " time"]


def survivors(flow: AbstractFlow, times: Array, ends: tuple[float, float]) -> tuple[Array, Array]:
    """Give between which departures, in ln(lambda), modes have stayed in the domain until `times`."""
    least, greatest = flow.extremes(times)
    low = ends[0] - fall(np.array(ends[0]), -greatest, flow.b)[0]
    high = ends[1] - fall(np.array(ends[1]), -least, flow.b)[0]
    low = np.clip(low, ends[0], ends[1])
    return low, np.maximum(np.clip(high, ends[0], ends[1]), low)


def leaving_density(
    flow: AbstractFlow,
    mesh: DepartureMesh,
    times: Array,
    ends: tuple[float, float],
    stay: tuple[Array, Array],
    rule: PieceRule,
) -> Leaving:
    """Integrate over the departures of all modes that leave by the last time; `stay` are the survivors.

    What a mode carries out does not depend on the output time, so each departure is followed once.
    """
    low, high = stay
    if low[-1] <= mesh.edges[0] and high[-1] >= mesh.edges[-1]:
        return Leaving(*(np.zeros(len(times)) for _ in range(3)))
    if not len(flow.turning_times):
        return _leaving_steadily(flow, mesh, (low, high), ends, rule)
    turns = survivors(flow, flow.turning_times, ends)
    graded = (np.concatenate(turns)[:, None] + np.concatenate([_GRADED, -_GRADED])).ravel()
    points = np.concatenate([mesh.edges, low, high, *turns, graded])
    points = np.unique(np.clip(points, mesh.edges[0], mesh.edges[-1]))
    middle = 0.5 * (points[1:] + points[:-1])
    is_leaving = (middle < low[-1]) | (middle > high[-1])
    left, right = points[:-1][is_leaving], points[1:][is_leaving]
    if not len(left):
        return Leaving(*(np.zeros(len(times)) for _ in range(3)))

    def follow(x: Array, weights: Array) -> Array:
        return np.stack(_followed(flow, x, mesh.density(x) * weights, ends))

    left, right, parts = _resolved(follow, left, right, rule, mesh.mass)
    below, above, lost = parts.sum(axis=2)
    return _accumulate(0.5 * (left + right), below, above, lost, low, high)


def _leaving_steadily(
    flow: AbstractFlow, mesh: DepartureMesh, stay: tuple[Array, Array], ends: tuple[float, float], rule: PieceRule
) -> Leaving:
    """Modes leave through one end and in the order of their departures: one cumulative integral for all times."""
    first, last = mesh.edges[0], mesh.edges[-1]
    is_below = stay[0][-1] > first
    cuts = np.clip(stay[0] if is_below else stay[1], first, last)
    begin, end = (first, cuts[-1]) if is_below else (cuts[-1], last)
    # Close to the end of the domain C may go like any power of the time, and what is lost on the way
    # may be steep; kinks of c show in the exit times.
    graded = ends[0] + _GRADED[:12] if is_below else ends[1] - _GRADED[:12]
    points = np.concatenate([mesh.edges, graded, *(survivors(flow, flow.kinks, ends) if len(flow.kinks) else ())])
    panels = np.unique(np.concatenate([[begin], points[(points > begin) & (points < end)], [end]]))

    def follow(x: Array, weights: Array) -> Array:
        return np.stack(_followed_to(flow, x, mesh.density(x) * weights, ends[0] if is_below else ends[1]))

    left, _, parts = _resolved(follow, panels[:-1], panels[1:], rule, mesh.mass)
    row = np.concatenate([[begin], cuts]) if is_below else np.concatenate([cuts[::-1], [end]])
    place = CumulativePlaces(np.append(left, end), np.stack([row, row]))
    steps = np.maximum(place.between(parts, rule), 0.0)
    gone = np.cumsum(steps if is_below else steps[:, ::-1], axis=1)
    nothing = np.zeros(len(cuts))
    return Leaving(gone[0] if is_below else nothing, nothing if is_below else gone[0], gone[1])


def _resolved(
    follow: Callable[[Array, Array], Array], left: Array, right: Array, rule: PieceRule, mass: float
) -> tuple[Array, Array, Float[np.ndarray, "quantity panel node"]]:
    """Bisect panels of departures until the integrals up to any point of each are known.

    Args:
        follow: Takes points and weights, shape (panel, node), gives what leaves and what is lost, times weights.
        left: Where the panels begin, increasing; `right` where they end.
        rule: Nodes on each.
        mass: That of which shares count.
    """
    done = []
    for turn in range(_BISECTIONS + 1):
        parts = follow(*rule.place(left, right))
        is_open = (rule.partial_error(parts) > _RESOLVED * mass).any(axis=0)
        middle = 0.5 * (left + right)
        is_open &= (middle > left) & (middle < right)
        if turn == _BISECTIONS or 2 * is_open.sum() + sum(len(some[0]) for some in done) > _MAX_PANELS:
            is_open[:] = False
        done.append((left[~is_open], right[~is_open], parts[:, ~is_open]))
        if not is_open.any():
            break
        left, right, middle = left[is_open], right[is_open], middle[is_open]
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
    lefts, rights, blocks = zip(*done, strict=True)
    left, right, parts = np.concatenate(lefts), np.concatenate(rights), np.concatenate(blocks, axis=1)
    order = np.argsort(left)
    return left[order], right[order], parts[:, order]


def leaving_points(
    flow: AbstractFlow, start: Array, masses: Array, ends: tuple[float, float], low: Array, high: Array
) -> Leaving:
    """Follow the single modes that leave by the last time."""
    is_leaving = (start < low[-1]) | (start > high[-1])
    start, masses = start[is_leaving], masses[is_leaving]
    below, above, lost = _followed(flow, start, masses, ends)
    return _accumulate(start, below, above, lost, low, high)


def _followed(
    flow: AbstractFlow, start: Array, carried: Array, ends: tuple[float, float]
) -> tuple[Array, Array, Array]:
    drops = start - ends[0], start - ends[1]
    times = [flow.exit_times(start, drop) for drop in drops]
    goes_below = times[0] <= times[1]
    drop = np.where(goes_below, *drops)
    # A mode on the last cut may seem to leave a rounding after the horizon.
    exit_time = np.minimum(np.minimum(*times), flow.horizon)
    exponent = flow.exit_exponent(start, drop, exit_time)
    out = carried * np.exp(-exponent)
    return np.where(goes_below, out, 0.0), np.where(goes_below, 0.0, out), -carried * np.expm1(-exponent)


def _followed_to(flow: AbstractFlow, start: Array, carried: Array, end: float) -> tuple[Array, Array]:
    drop = start - end
    # A mode on the last cut may seem to leave a rounding after the horizon.
    exit_time = np.minimum(flow.exit_times(start, drop), flow.horizon)
    exponent = flow.exit_exponent(start, drop, exit_time)
    return carried * np.exp(-exponent), -carried * np.expm1(-exponent)


def _accumulate(where: Array, below: Array, above: Array, lost: Array, low: Array, high: Array) -> Leaving:
    has_left = ((where < low[:, None]) | (where > high[:, None])).astype(np.float64)
    return Leaving(has_left @ below, has_left @ above, has_left @ lost)
