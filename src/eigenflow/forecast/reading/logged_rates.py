"""The schedule of a run, from the learning rates that its log shows at some steps."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.core.rounding import WHOLE
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["schedule_from_log"]

JUMP = 0.05
FLAT = 0.1
COARSE = 1e-3


def schedule_from_log(
    steps: Int[np.ndarray, " entry"],
    rates: Float[np.ndarray, " entry"],
    *,
    total: int,
    warmup: int | None = None,
) -> tuple[Schedule, list[str]]:
    """Rebuild the rate of every update from logged ones.

    Between two entries rates follow a straight line, except across a jump (a change of more than 5 % of the peak
    between flat stretches), which stands at the entry after it if that one is off the log's grid, else in the middle.
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
        ramp, slope = _ramp(steps, rates)
        values = np.where(
            k < ramp, slope * k, np.where(k < steps[steps >= ramp][0], max(values[0], slope * ramp), values)
        )
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


def _ramp(steps: Float[np.ndarray, " entry"], rates: Float[np.ndarray, " entry"]) -> tuple[int, float]:
    """Length and slope of a warm-up that the entries show: a rise in a straight line from 0; (0, 0) if none.

    The corner, between the last entry of the rise and the first of the plateau, is where the line meets the plateau.
    """
    falls = np.flatnonzero(np.diff(rates) <= WHOLE * rates[:-1])  # a plateau that grows by rounding is one
    top = int(falls[0]) if len(falls) else len(rates) - 1
    rise = np.flatnonzero(steps[:top] > 0)
    if len(rise) == 0 or top == len(rates) - 1:
        return 0, 0.0
    slope = float(rates[rise[-1]] / steps[rise[-1]])
    is_straight = np.abs(slope * steps[:top] - rates[:top]).max() <= 0.02 * rates[top] and slope > 0
    corner = rates[top] / slope if is_straight else np.inf
    return (min(round(corner), int(steps[top])), slope) if corner < 1.05 * steps[top] else (0, 0.0)


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
    """Put a second entry just before each jump, so that the line between two entries does not smear it out."""
    change, gap = np.diff(rates), np.diff(steps)
    if len(change) < 2:
        return steps, rates
    slope, size = np.abs(change / gap), np.abs(change)
    beside = np.maximum(np.concatenate([[0.0], slope[:-1]]), np.concatenate([slope[1:], [0.0]]))
    is_jump = (size > JUMP * rates.max()) & (beside * gap < FLAT * size) & (gap > 1)
    usual = np.median(gap)
    for at in np.flatnonzero(is_jump)[::-1]:
        low, high = rates[at], rates[at + 1]
        place = steps[at + 1] if gap[at] < 0.9 * usual else np.floor(0.5 * (steps[at] + steps[at + 1]) + 1)
        if place < steps[at + 1]:
            steps, rates = np.insert(steps, at + 1, place), np.insert(rates, at + 1, high)
            notes.append(
                f"the learning rate changes from {low:g} to {high:g} between two logged steps; {place:g} is assumed"
            )
        if place - 1 > steps[at]:
            steps, rates = np.insert(steps, at + 1, place - 1), np.insert(rates, at + 1, low)
    return steps, rates
