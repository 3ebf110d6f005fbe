"""The schedule of a run, from the learning rates that its log shows at some steps."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.core.rounding import WHOLE
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["schedule_from_log"]

JUMP, LAST_JUMP = 0.05, 0.25
FLAT = 0.1
# A jump against the slopes on both sides may stand out less.
AGAINST = 0.6
# Rates change at round numbers: at a multiple of a round unit of five gaps sooner than in the middle of one.
ROUND = 5
COARSE = 1e-3
# How far a warm-up may lie off a straight line, as a share of its end; how exactly it begins within a step of 0.
STRAIGHT, NEAR_ZERO = 0.02, 0.05


def schedule_from_log(
    steps: Int[np.ndarray, " entry"],
    rates: Float[np.ndarray, " entry"],
    *,
    total: int,
    warmup: int | None = None,
) -> tuple[Schedule, list[str]]:
    """Rebuild the rate of every update from logged ones.

    Between two entries rates follow a straight line, except across a jump (a change of more than 5 % of the peak
    between flat stretches, or against the slopes on both sides), which stands at the entry after it if that one is off
    the log's grid, at a round number if the gap has one, else in the middle.
    Rates that were rounded in the log are taken at the middle of each run of equal values. Before the first entry
    stands the ramp that `warmup` or the first entries tell, else the first rate.

    Args:
        steps: Steps of the entries, increasing.
        rates: Rate of the update that follows each step.
        total: Updates that the schedule must have.
        warmup: Updates of linear warm-up, if known.

    Returns:
        The schedule, and a line for each thing that had to be assumed.
    """
    if rates.max() <= 0:
        raise ArgumentError("All logged learning rates are 0, so time does not advance. Pass `schedules`.")
    if rates.min() < 0:
        at = int(rates.argmin())
        raise ArgumentError(f"Learning rates must not be negative, but step {steps[at]} has {rates[at]:g}.")
    notes: list[str] = []
    given_steps, given_rates = steps, rates
    steps, rates = _without_rounding(steps.astype(np.float64), rates, notes)
    steps, rates = _with_jumps(steps, rates, notes)
    k = np.arange(total, dtype=np.float64)
    values = np.interp(k, steps, rates)
    first = int(given_steps[0])
    if warmup is None:
        ramp, slope, origin = _ramp(steps, rates)
        after = steps >= ramp
        if ramp:
            corner = slope * (ramp - origin)
            values = np.interp(k, np.append(float(ramp), steps[after]), np.append(corner, rates[after]))
            values = np.where(k < ramp, np.maximum(slope * (k - origin), 0.0), values)
        if ramp and not after.any():
            notes.append("the log ends within the warm-up, so no plateau or decay of the rate is known")
    else:
        ramp, slope = warmup, float(np.interp(warmup, steps, rates)) / max(warmup, 1)
        values = np.where(k < min(ramp, first), slope * k, values)
    if first > 1 and not (ramp and ramp >= min(first, total)):
        held = "after the warm-up " if ramp else ""
        notes.append(
            f"learning rates before step {first} are not logged; {held}{given_rates[0]:g} is assumed there"
            + ("" if ramp else ", without warm-up: pass `warmup` (--warmup) or a table of schedules to say it")
        )
    return Schedule(values, min(ramp, total)), notes


def _ramp(steps: Float[np.ndarray, " entry"], rates: Float[np.ndarray, " entry"]) -> tuple[int, float, float]:
    """Length and slope of a warm-up that the entries show, a rise in a straight line, and where it would be 0; else 0s.

    The corner, between the last entry of the rise and the first of the plateau, is where the line meets the plateau.
    Two entries of the rise tell whether it begins at 0, three that it begins elsewhere.
    """
    falls = np.flatnonzero(np.diff(rates) <= WHOLE * rates[:-1])  # a plateau that grows by rounding is one
    top = int(falls[0]) if len(falls) else len(rates) - 1
    ends_within = top == len(rates) - 1
    rise = np.arange(top + 1 if ends_within else top)
    if not np.any(steps[rise] > 0) or (ends_within and len(rise) < 3):
        return 0, 0.0, 0.0
    last = rise[-1]
    slope, origin = float(rates[last] / steps[last]), 0.0
    if len(rise) > 1:
        free = float((rates[last] - rates[0]) / (steps[last] - steps[0]))
        begins = float(steps[last] - rates[last] / free)
        if abs(begins) <= 1.0 + NEAR_ZERO or len(rise) > 2:
            slope, origin = free, begins
    expected = slope * (steps[rise] - origin)
    if slope <= 0 or np.abs(expected - rates[rise]).max() > STRAIGHT * rates[top]:
        return 0, 0.0, 0.0
    if ends_within:
        return int(steps[-1]) + 1, slope, origin
    corner = origin + rates[top] / slope
    return (min(round(corner), int(steps[top])), slope, origin) if corner < 1.05 * steps[top] else (0, 0.0, 0.0)


def _without_rounding(steps: Any, rates: Any, notes: list[str]) -> tuple[Any, Any]:
    """Where coarse rounding makes stairs, one entry at the middle of each stair."""
    decimals = next((d for d in range(2, 12) if np.abs(rates - np.round(rates, d)).max() <= 1e-3 * 10.0**-d), 12)
    quantum = 10.0**-decimals
    if quantum < COARSE * rates.max():
        return steps, rates
    levels = np.rint(rates / quantum).astype(np.int64)
    starts = np.flatnonzero(np.diff(levels, prepend=-1))
    is_stairs = len(starts) >= 4 and np.mean(np.abs(np.diff(levels[starts])) == 1) > 0.8
    if not is_stairs:
        return steps, rates
    ends = np.append(starts[1:], len(levels)) - 1
    turn = np.diff(levels[starts])
    is_stair = np.zeros(len(starts), dtype=bool)
    is_stair[1:-1] = (turn[1:] == turn[:-1]) & (np.abs(turn[1:]) == 1)
    if np.all(ends[is_stair] == starts[is_stair]):
        return (
            steps,
            rates,
        )  # Each value stands once, as in an exact straight line whose fall per entry is a round number.
    # A plateau keeps both its ends; the middle of a stair is where the rate has the stair's value.
    first = np.where(is_stair, 0.5 * (steps[starts] + steps[ends]), steps[starts])
    places = np.concatenate([first, steps[ends[~is_stair]]])
    values = np.concatenate([rates[starts], rates[ends[~is_stair]]])
    places, order = np.unique(places, return_index=True)
    notes.append(
        f"learning rates are rounded to {quantum:g}, {quantum / rates.max():.1%} of the peak; stairs were smoothed. "
        "A table "
        f"of schedules would be exact"
    )
    return places, values[order]


def _with_jumps(steps: Any, rates: Any, notes: list[str]) -> tuple[Any, Any]:
    """Put two entries around each jump, so that the line between two entries does not smear it out."""
    change, gap = np.diff(rates), np.diff(steps)
    if len(change) < 2:
        return steps, rates
    usual, most = np.median(gap), rates.max()
    for at in np.flatnonzero(_is_jump(steps, rates))[::-1]:
        behind = change[at + 1] / gap[at + 1] if at + 1 < len(change) else 0.0
        is_there = _begins(rates[at + 1], behind, most) or gap[at] < 0.9 * usual
        place = steps[at + 1] if is_there else _place(steps[at], steps[at + 1])
        # On each side the line goes on that the entries there show.
        before = change[at - 1] / gap[at - 1] if at > 0 else 0.0
        low = max(rates[at] + before * (place - 1 - steps[at]), 0.0)
        high = max(rates[at + 1] - behind * (steps[at + 1] - place), 0.0)
        if place < steps[at + 1]:
            steps, rates = np.insert(steps, at + 1, place), np.insert(rates, at + 1, high)
            notes.append(
                f"the learning rate changes from {low:g} to {high:g} between two logged steps; {place:g} is assumed"
            )
        if place - 1 > steps[at]:
            steps, rates = np.insert(steps, at + 1, place - 1), np.insert(rates, at + 1, low)
    return steps, rates


def _is_jump(steps: Any, rates: Any) -> Any:
    """Gaps over which the rate jumps: between flat stretches, or against the slopes on both sides."""
    change, gap = np.diff(rates), np.diff(steps)
    slope, size = change / gap, np.abs(change)
    left, right = np.concatenate([[0.0], slope[:-1]]), np.concatenate([slope[1:], [0.0]])
    beside = np.maximum(np.abs(left), np.abs(right)) * gap
    is_against = (change * left <= 0) & (change * right <= 0)
    is_against[[0, -1]] = False
    # Behind the last gap nothing shows whether the rate goes on to change, as where a decay begins.
    least = np.full(len(size), JUMP)
    least[-1] = LAST_JUMP
    is_jump = (beside < FLAT * size) | (is_against & (beside < AGAINST * size))
    # A warm-up from 0 through the first entry reaches the second one's rate in the first gap.
    is_jump[0] &= rates[1] < rates[0] or rates[0] * steps[1] < 0.95 * rates[1] * steps[0]
    return is_jump & (size > least * rates.max()) & (gap > 1)


def _begins(rate: float, slope: float, most: float) -> bool:
    """Whether a cycle begins at an entry: at the highest rate, which then falls, or at 0, from which it rises."""
    return bool((slope < 0 and rate >= (1.0 - WHOLE) * most) or (slope > 0 and rate <= WHOLE * most))


def _place(before: float, after: float) -> float:
    """Where in a gap a jump stands: at a number that is round for a gap of that width, else in the middle."""
    unit = next(u for u in (n * 10.0**m for m in range(16) for n in (1, 2, 5)) if u >= ROUND * (after - before))
    last = np.floor(after / unit) * unit
    return float(last) if last > before else float(np.floor(0.5 * (before + after) + 1))
