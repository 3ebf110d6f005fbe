"""Rates that change at once: steps down by a factor, and cycles that begin again."""

import numpy as np
from jaxtyping import Float, Int

from eigenflow.forecast.outlook.shapes import Rates, Shape, Steps

__all__ = ["repeated", "stairs"]

Levels = Float[np.ndarray, " level"]
# A rate that differs by less from the one before is the same stair; one that is not far below it is no stair.
SAME, STAIR = 1e-3, 0.03
# A stair has this many entries at least, on average; a rise of this share of the peak is a restart.
ENTRIES, RISE = 3.0, 0.2
# A change may be spread over so many rows, where the log shows means of rates.
CHAIN = 2
# Distances and factors of stairs that go on regularly agree to this share.
REGULAR = 0.05


def stairs(x: Steps, y: Rates) -> Shape | None:
    """A rate that is held, then multiplied by a factor, again and again.

    Two changes or more at even distances and by one factor go on; else the last rate is held.
    """
    jumps = np.flatnonzero(np.abs(np.diff(y)) > SAME * np.maximum(y[1:], 1e-12)) + 1
    falls = y[jumps] <= (1.0 - STAIR) * y[jumps - 1]
    if len(jumps) == 0 or len(y) < ENTRIES * (len(jumps) + 1) or not falls.all() or _longest_chain(jumps) > CHAIN:
        return None
    levels = y[np.concatenate([[0], jumps])]
    places, kept = _joined(x, jumps, levels)
    period, factor = _regular(places, kept)
    if period is None:
        changes = np.asarray(places)
        return Shape("steps", lambda k: kept[np.searchsorted(changes, k, side="right")], 2 * len(places))
    first = float(places[0])

    def rate(k: Steps) -> Rates:
        count = np.maximum(np.floor((k - first) / period) + 1.0, 0.0)
        return kept[0] * factor**count

    return Shape(f"steps, times {factor:.3g} every {period:,.0f} updates", rate, 4)


def _longest_chain(jumps: Int[np.ndarray, " jump"]) -> int:
    """How many changes follow each other from row to row: many are a decay."""
    chains = np.split(jumps, np.flatnonzero(np.diff(jumps) > 1) + 1)
    return max(len(chain) for chain in chains)


def _joined(x: Steps, jumps: Int[np.ndarray, " jump"], levels: Levels) -> tuple[list[float], Levels]:
    """Changes and levels; entries within the gap between two rows of a log are one change, at its later end."""
    places, kept = [float(x[jumps[0]])], [float(levels[0]), float(levels[1])]
    for at, level in zip(jumps[1:], levels[2:], strict=True):
        if at - np.searchsorted(x, places[-1]) <= 1:
            places[-1], kept[-1] = float(x[at]), float(level)
        else:
            places.append(float(x[at]))
            kept.append(float(level))
    return places, np.array(kept)


def _regular(places: list[float], levels: Levels) -> tuple[float | None, float]:
    if len(places) < 2 or np.any(levels <= 0):
        return None, 1.0
    gaps, factors = np.diff([0.0, *places]), levels[1:] / levels[:-1]
    is_even = np.ptp(gaps) <= REGULAR * gaps.mean() and np.ptp(factors) <= REGULAR * factors.mean()
    return (float(gaps.mean()), float(np.exp(np.log(factors).mean()))) if is_even else (None, 1.0)


def repeated(x: Steps, y: Rates) -> Shape | None:
    """Cycles that begin again: the last whole one is repeated."""
    starts = _restarts(x, y)
    if len(starts) < 2:
        return None
    periods = np.diff(starts)
    if np.ptp(periods) > REGULAR * periods.mean():
        return None
    begin, period = float(starts[-2]), float(periods.mean())
    inside = (x >= begin) & (x < begin + period)
    phase, level = (x[inside] - begin) / period, y[inside]

    def rate(k: Steps) -> Rates:
        return np.interp(np.mod(k - begin, period) / period, phase, level)

    return Shape(f"cycles of {period:,.0f} updates", rate, 4)


def _restarts(x: Steps, y: Rates) -> Float[np.ndarray, " start"]:
    """Updates at which the rate is at a top again after it had fallen."""
    found, low, high = [float(x[0])], float(y[0]), float(y[0])
    rising, at = False, float(x[0])
    for place, value in zip(x, y, strict=True):
        if not rising:
            low = min(low, value)
            if value > low + RISE:
                rising, high, at = True, value, float(place)
        elif value > high:
            high, at = value, float(place)
        else:
            found.append(at)
            rising, low = False, value
    return np.array(found)
