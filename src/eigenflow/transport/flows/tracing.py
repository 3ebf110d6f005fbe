"""Paths of modes under any drift, by Dormand and Prince's method of order 8 with a clock per mode.

Modes advance together, each with its own time and step, in x = ln(lambda); the dissipation exponent
is integrated along. A table is smooth only between its knots, so a step keeps the polynomial of the
panel in which it begins and ends on the knot when it would pass it: no order is lost. The ends of the
domain are met in the same way, and a mode that reaches one stays there.

Source: [@hairer1993solving], section II.5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import spend

__all__ = ["Traced", "trace"]

Array = Float[np.ndarray, "..."]

# Local error of a step in ln(lambda) and, absolute and relative, in the exponent.
_TOLERANCE = 1e-11
# A path that ends a step this close to a knot is moved onto it, or is on it already.
_NEAR_KNOT = 1e-8
_ON_KNOT = 2e-14
_MAX_ROUNDS = 20_000
# Of a step, in units of `spend`.
_EVALUATIONS = 20
# The first step moves a mode by at most this many e-folds.
_FIRST_MOVE = 0.3


@dataclass(frozen=True)
class Traced:
    """Where modes are, what they have lost, and which have reached an end of the domain.

    Attributes:
        x: ln(lambda) at the final time, or the end of the domain that was reached.
        exponent: Integral of the rate until then; zero if no rate was given.
        side: -1 for the lower end, 1 for the upper end, 0 for a mode that is inside.
    """

    x: Float[np.ndarray, " mode"]
    exponent: Float[np.ndarray, " mode"]
    side: Int[np.ndarray, " mode"]


@dataclass
class _State:
    """The modes still under way; `index` says which they are."""

    index: np.ndarray
    x: np.ndarray
    spent: np.ndarray
    time: np.ndarray
    end: np.ndarray
    step: np.ndarray
    memory: np.ndarray
    panel: np.ndarray
    slope: np.ndarray

    def keep(self, which: np.ndarray) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name)[which])


class _Field:
    """Logarithmic velocity of a drift, with the places where it is not smooth."""

    def __init__(self, drift: Any, ends: tuple[float, float]) -> None:
        self.drift, self.ends = drift, ends
        knots = getattr(drift, "knots", np.zeros(0))
        self.breaks = getattr(drift, "breaks", np.zeros(0))
        self.is_table = len(knots) > 0
        self.below = np.maximum(np.concatenate([[-np.inf], knots]), ends[0])
        self.above = np.minimum(np.concatenate([knots, [np.inf]]), ends[1])
        self.knots = knots

    def __call__(self, x: Array, times: Array, panel: np.ndarray) -> Array:
        x = np.clip(x, self.ends[0] - 1.0, self.ends[1] + 1.0)
        if self.is_table:
            return self.drift.log_velocity(x, times, panel)
        eigenvalues = np.exp(x)
        return self.drift.velocity(eigenvalues, times) / eigenvalues


def trace(
    drift: Any,
    rate: Callable[[Array], Array] | None,
    x: Float[np.ndarray, " mode"],
    start: Float[np.ndarray, " mode"],
    end: Float[np.ndarray, " mode"],
    ends: tuple[float, float],
) -> Traced:
    """Follow modes until a time or until they reach an end of the domain.

    Args:
        drift: Anything with `velocity(eigenvalues, times)`.
        rate: Dissipation rate of the eigenvalue, or None. Only for `end` >= `start`.
        x: ln(lambda) at `start`; outside `ends` the end counts.
        start: Times, one per mode; `end` likewise, all after or all before.
        ends: ln(lambda) at the ends of the domain.

    Returns:
        Positions and exponents with an error of about 1e-10.

    Raises:
        ArgumentError: If the drift is too rough or too stiff to be followed.
    """
    field, x = _Field(drift, ends), np.clip(x, *ends)
    panel = np.searchsorted(field.knots, x, side="right")
    state = _State(
        np.arange(len(x)), x, np.zeros(len(x)), start.copy(), end, end - start, end - start, panel, np.zeros(0)
    )
    sign = -1.0 if np.any(end < start) else 1.0
    state.slope = field(state.x, state.time, panel)
    with np.errstate(divide="ignore"):
        state.step = sign * np.minimum(np.abs(end - start), _FIRST_MOVE / np.abs(state.slope))
    state.memory = state.step.copy()
    final_x, spent, side = x.copy(), np.zeros(len(x)), np.zeros(len(x), dtype=np.int64)
    for _ in range(_MAX_ROUNDS):
        gone = _enter_panels(field, state, sign)
        is_done = (gone != 0) | (state.time == state.end)
        if is_done.any():
            where = state.index[is_done]
            final_x[where], spent[where], side[where] = state.x[is_done], state.spent[is_done], gone[is_done]
            state.keep(~is_done)
        if not len(state.index):
            return Traced(final_x, spent, side)
        spend(_EVALUATIONS * len(state.index))
        _advance(field, rate, state)
    raise ArgumentError(
        f"`drift` is too rough or too stiff to be followed: {len(state.index)} paths are not through after "
        f"{_MAX_ROUNDS} steps, the first at eigenvalue {np.exp(state.x[0]):g}, t = {state.time[0]:g}. "
        f"Smooth it, or ask for earlier times."
    )


def _enter_panels(field: _Field, state: _State, sign: float) -> np.ndarray:
    """Move modes on a knot to the panel that they go into; say which have left the domain."""
    heading = sign * state.slope
    down = (state.x <= field.below[state.panel]) & (heading < 0)
    up = (state.x >= field.above[state.panel]) & (heading > 0)
    gone = np.where(down & (state.x <= field.ends[0]), -1, np.where(up & (state.x >= field.ends[1]), 1, 0))
    if field.is_table:
        change = np.where(gone != 0, 0, up.astype(np.int64) - down)
        state.panel = np.clip(state.panel + change, 0, len(field.knots))
    return gone


def _advance(field: _Field, rate: Callable[[Array], Array] | None, state: _State) -> None:
    """Try one step of every mode; those that fail keep their place and get a shorter step."""
    left = state.end - state.time
    if len(field.breaks):
        left = _to_next_break(field.breaks, state.time, left)
    step = np.where(np.abs(state.step) >= np.abs(left) * (1 - 1e-12), left, state.step)
    x, spent, error, strayed = _runge_kutta(field, rate, state, step)
    slope = field(x, state.time + step, state.panel)
    low, high = field.below[state.panel], field.above[state.panel]
    nearest = np.where(np.abs(x - low) < np.abs(x - high), low, high)
    is_on, shift = _meeting(nearest - x, slope, step, left)
    # What begins on a knot and hardly moves has not come to it.
    is_on, shift = is_on & (nearest != state.x), np.where(nearest != state.x, shift, 0.0)

    is_wrong = ~(error <= 1.0)
    is_past = ~is_wrong & ~is_on & ((x > high) | (x < low))
    # A path that left the panel and came back within the step has not seen the neighbour.
    is_stray = ~is_wrong & ~is_on & ~is_past & strayed
    is_good = ~(is_wrong | is_past | is_stray)
    factor = 0.9 * np.maximum(error, 1e-10) ** -0.125
    knot = np.where(x > high, high, low)
    trial = np.where(is_past, _time_at(knot, state, x, step, slope), np.where(is_stray, 0.5 * step, 0.0))
    trial = np.where(is_wrong, step * np.clip(np.nan_to_num(factor, nan=0.2), 0.2, 0.9), trial)
    grown = step * np.clip(factor, 0.3, 8.0)
    grown = np.where(np.abs(grown) < np.abs(state.memory), state.memory, grown)
    state.memory = np.where(is_wrong, trial, np.where(is_good, grown, step))
    state.step = np.where(is_good, grown, trial)

    if rate is not None:
        spent = spent + rate(np.exp(x)) * shift
    is_through = (step == left) & (shift == 0)
    stop = np.where(left == state.end - state.time, state.end, state.time + left)
    state.time = np.where(is_good, np.where(is_through, stop, state.time + step + shift), state.time)
    state.x = np.where(is_good, np.where(is_on, nearest, x), state.x)
    state.spent = np.where(is_good, spent, state.spent)
    state.slope = np.where(is_good, slope, state.slope)


def _meeting(gap: Array, slope: Array, step: Array, left: Array) -> tuple[np.ndarray, Array]:
    """Say which steps end on a knot, and how much later they do so than the step; else 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.nan_to_num(gap / slope, nan=np.inf, posinf=np.inf, neginf=np.inf)
        share = (step + shift) / left
    # The shift is exact to the square of the gap.
    can_shift = (np.abs(gap) <= _NEAR_KNOT) & (share > 0) & (share <= 1)
    return can_shift | (np.abs(gap) <= _ON_KNOT), np.where(can_shift, shift, 0.0)


def _time_at(knot: Array, state: _State, x: Array, step: Array, slope: Array) -> Array:
    """Give the step that ends on a knot, from the cubic in x for the time."""
    with np.errstate(all="ignore"):
        span = x - state.x
        y = (knot - state.x) / span
        begin, end = span / (state.slope * step), span / (slope * step)
        share = y * (y * (3 - 2 * y) + (1 - y) * ((1 - y) * begin - y * end))
        newton = np.nan_to_num(1 - (x - knot) / (slope * step), nan=0.5)
    # The cubic is monotone for such slopes; they are far larger where a path turns.
    is_usable = (begin > 0) & (end > 0) & (begin < 3) & (end < 3)
    return step * np.where(is_usable, np.clip(share, 0.02, 1 - 1e-9), np.clip(newton, 0.2, 0.9))


def _to_next_break(breaks: Array, time: Array, left: Array) -> Array:
    padded = np.concatenate([[-np.inf], breaks, [np.inf]])
    is_back = left < 0
    ahead = padded[np.searchsorted(breaks, time, side="right") + 1] - time
    behind = padded[np.searchsorted(breaks, time, side="left")] - time
    return np.where(is_back, np.maximum(left, behind), np.minimum(left, ahead))


@cache
def _tableau() -> tuple[Array, Array, Array, Array, Array]:
    from scipy.integrate import DOP853

    stages = DOP853.n_stages
    # The error formulas do not use the slope at the end of the step.
    return DOP853.A[:stages, :stages], DOP853.B, DOP853.C[:stages], DOP853.E3[:stages], DOP853.E5[:stages]


def _runge_kutta(
    field: _Field, rate: Callable[[Array], Array] | None, state: _State, step: Array
) -> tuple[Array, Array, Array, np.ndarray]:
    """Give positions and exponents after a step, its error over the tolerance, and who strayed."""
    a, b, c, e3, e5 = _tableau()
    slopes, places = np.empty((len(b), len(step))), np.empty((len(b), len(step)))
    slopes[0], places[0] = state.slope, state.x
    for stage in range(1, len(b)):
        places[stage] = state.x + step * (a[stage, :stage] @ slopes[:stage])
        slopes[stage] = field(places[stage], state.time + c[stage] * step, state.panel)
    x = state.x + step * (b @ slopes)
    error = _embedded(slopes, step, e3, e5) / _TOLERANCE
    spent = state.spent
    if rate is not None:
        rates = rate(np.exp(np.clip(places, field.ends[0] - 1.0, field.ends[1] + 1.0)))
        spent = spent + step * (b @ rates)
        wrong = _embedded(rates, step, e3, e5) / (_TOLERANCE * (1.0 + np.abs(spent)))
        error = np.maximum(error, wrong)
    if not field.is_table:
        return x, spent, error, np.zeros(len(x), dtype=bool)
    slack = 1e-8
    strayed = (places < field.below[state.panel] - slack) | (places > field.above[state.panel] + slack)
    # Near a knot that is only touched, halving must come to an end.
    strayed &= np.abs(step) > 1e-9 * np.abs(state.end)
    return x, spent, error, np.asarray(strayed.any(axis=0))


def _embedded(slopes: Array, step: Array, e3: Array, e5: Array) -> Array:
    """Combine the estimates of order 3 and 5 as Hairer's code does."""
    five, three = np.abs(e5 @ slopes), np.abs(e3 @ slopes)
    size = np.hypot(five, 0.1 * three)
    return np.abs(step) * five * (five / np.where(size > 0, size, 1.0))
