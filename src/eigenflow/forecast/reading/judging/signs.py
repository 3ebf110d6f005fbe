"""Values of a loss column that have no logarithm, or are one's argument: negative losses, zeros, perplexities."""

import numpy as np
from jaxtyping import Bool, Float

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.quantities import Quantity
from eigenflow.forecast.reading.judging.rounding import printed_quanta
from eigenflow.forecast.reading.rows.cleaning import Points

__all__ = ["positive"]

# A share of zeros above which the quantity itself is 0; zeros at the end that are no single failure.
MOST_ZEROS, LASTING = 0.5, 3
# A level in quanta below which a printed 0 is a small number.
ROUNDED_AWAY = 3.0
NEAR = 10


def positive(points: Points, quantity: Quantity, place: str) -> Points:
    """Losses whose logarithms can be fitted: perplexities as their logarithm, zeros left out and counted.

    Args:
        points: Finite values of one run.
        quantity: What they are.
        place: File and curve, for messages.

    Raises:
        ArgumentError: If a value is negative, a perplexity is below 1, or most values are 0.
    """
    low = np.flatnonzero(points.losses < 0)
    if len(low):
        raise ArgumentError(
            f"{place}, row {points.rows[low[0]]}: the loss is {points.losses[low[0]]:g}, but laws are fitted to "
            f"ln(loss), so it must be positive ({len(low)} of {len(points.losses)} values of {quantity.named} are "
            f"negative). If the column is no loss, choose another with `columns` (--column): rewards, policy losses "
            f"(GRPO, PPO) and log-likelihoods may be negative and may rise, and cannot be forecast here. "
            f"{quantity.advice}"
        )
    if quantity.kind == "perplexity":
        return _logarithms(points, place)
    return _without_zeros(points, quantity, place)


def _logarithms(points: Points, place: str) -> Points:
    below = np.flatnonzero(points.losses < 1)
    if len(below):
        raise ArgumentError(
            f"{place}, row {points.rows[below[0]]}: the perplexity is {points.losses[below[0]]:g}, but one is at least "
            f"1. If the column is a loss, call it so."
        )
    kept = points.keep(points.losses > 1.0, "perplexities: their logarithms are the losses, in nats")
    return Points(kept.rows, kept.steps, np.log(kept.losses), kept.changes)


def _without_zeros(points: Points, quantity: Quantity, place: str) -> Points:
    is_zero = points.losses == 0
    count, of = int(is_zero.sum()), len(is_zero)
    if count == 0:
        return points
    first = int(np.flatnonzero(is_zero)[0])
    if count == of or count > MOST_ZEROS * of:
        raise ArgumentError(
            f"{place}, row {points.rows[first]}: the loss is 0 in {count} of {of} rows, but laws are fitted to "
            f"ln(loss), so it must be positive. {quantity.named} is no loss that falls by a power, or it is rounded "
            f"away; log more digits. {quantity.advice}"
        )
    is_small = is_zero & _rounded_away(points, is_zero)
    lasting = int(is_zero[::-1].argmin())
    if lasting >= LASTING and not is_small[-1]:
        at = of - lasting
        line = (
            f"the run diverged: its loss is exactly 0 from step {points.steps[at]} (row {points.rows[at]}) to the end, "
            f"as the Hugging Face trainer writes it where every loss is NaN (logging_nan_inf_filter); the {at} rows "
            f"before it are read"
        )
        return _without_zeros(points.keep(np.arange(at), line), quantity, place)
    lines = []
    if (is_zero & ~is_small).any():
        lines.append(_said(points, is_zero & ~is_small, "as a trainer's filter of NaN writes it"))
    if is_small.any():
        lines.append(_said(points, is_small, "rounded away in the log; so the points that are left lie too high"))
    return points.keep(~is_zero, *lines)


def _said(points: Points, which: Bool[np.ndarray, " point"], why: str) -> str:
    first = int(np.flatnonzero(which)[0])
    rows = "1 row" if which.sum() == 1 else f"{which.sum()} rows"
    return f"{rows} with a loss of exactly 0 (row {points.rows[first]} first) left out, {why}"


def _rounded_away(points: Points, is_zero: Bool[np.ndarray, " point"]) -> Bool[np.ndarray, " point"]:
    """Whether the losses before a zero are of the order of the quantum to which they are printed."""
    shown: Float[np.ndarray, " shown"] = points.losses[~is_zero]
    quanta = printed_quanta(shown)
    before = np.cumsum(~is_zero)
    small = np.zeros(len(is_zero), dtype=bool)
    for at in np.flatnonzero(is_zero):
        near = slice(max(before[at] - NEAR, 0), max(before[at], 1))
        small[at] = np.median(shown[near]) <= ROUNDED_AWAY * np.median(quanta[near])
    return small
