"""Curves that no law describes are refused: those that rise, those that diverge. A rise of less is a caution."""

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.forecast.reading.columns.quantities import Quantity
from eigenflow.forecast.reading.judging.course import Course
from eigenflow.forecast.reading.judging.monotone import CLEAR, turn_of
from eigenflow.forecast.reading.judging.spikes import far_above
from eigenflow.forecast.reading.rows.cleaning import Points

__all__ = ["refuse_blow_up", "refuse_divergence", "refuse_rising", "rise_caution"]

# Factors between the lowest level and the end above which a run diverges; the second where the rate rose meanwhile.
DIVERGED, DIVERGED_AT_HIGHER_RATE = 1.5, 3.0
# Factor between start and end above which values that are lowest at the start are no loss, and one worth a word.
RISEN, RISEN_A_LITTLE, RISEN_AT_HIGHER_RATE = 1.2, 1.03, 1.5
# Points at the end that stand far above all before them: three are no spike.
BLOWN_UP = 3
# A rise since the minimum that is worth a word, and the fewest points that can show it.
WORTH_A_WORD, FEWEST, MOST_WINDOWS = 0.01, 6, 40


def refuse_rising(points: Points, course: Course, quantity: Quantity, place: str) -> None:
    """Refuse values that are lowest at their start and rise from there by more than a fifth and their scatter.

    Raises:
        ArgumentError: Says from where to where they rise, and which other columns could be meant.
    """
    # A log that begins in its warm-up is lowest there for a moment only, and a second warm-up costs less than that.
    factor = RISEN_AT_HIGHER_RATE if course.rate_rose else RISEN
    if not _starts_lowest(course) or not course.is_surely(course.end - course.start, factor):
        return
    raise ArgumentError(
        f"{place}: the values rise: {quantity.named} goes from {np.exp(course.start):.4g} to {np.exp(course.end):.4g} "
        f"({_windows(course)}), so this is no loss that falls as a law of learning does. {quantity.advice}"
    )


def refuse_divergence(points: Points, course: Course, quantity: Quantity, place: str) -> None:
    """Refuse a curve that ends at more than 1.5 times its lowest level, and at more than its scatter explains.

    Raises:
        NonFiniteError: Names both levels and the row to cut at.
    """
    factor = DIVERGED_AT_HIGHER_RATE if course.rate_rose else DIVERGED
    if not course.is_surely(course.end - course.lowest, factor):
        return
    at = course.at
    what = "the validation loss rises again (over-fitting)" if quantity.is_validation else "the run diverges"
    raise NonFiniteError(
        f"{place}: {what}: its loss falls to {np.exp(course.lowest):.4g} around step {points.steps[at]} (row "
        f"{points.rows[at]}) and ends at {np.exp(course.end):.4g} at step {points.steps[-1]} (row {points.rows[-1]}), "
        f"{np.exp(course.end - course.lowest):.3g} times as high ({_windows(course)}; scatter explains a factor of "
        f"{np.exp(2.0 * course.error):.3g}). No law of learning describes that. Cut the table at row "
        f"{points.rows[at]}, or leave the run out (`exclude`, --exclude)."
    )


def refuse_blow_up(points: Points, quanta: Float[np.ndarray, " point"], course: Course, place: str) -> None:
    """Refuse a curve whose last points, three or more, stand far above all that came before, and do not come down.

    Raises:
        NonFiniteError: Names the first of them.
    """
    count = far_above(points, quanta, course.lowest, course.spread, least=float(np.log(DIVERGED)))
    if not BLOWN_UP <= count <= course.width or course.rate_rose:
        return
    first = len(points.steps) - count
    usual = float(np.median(points.losses[max(first - course.width, 0) : first]))
    if np.log(points.losses[first:].min() / usual) <= np.log(DIVERGED):
        return
    raise NonFiniteError(
        f"{place}: the run diverges: its last {count} losses, from step {points.steps[first]} (row "
        f"{points.rows[first]}) on, are {points.losses[first:].min():.4g} or more, after {usual:.4g} before. No law of "
        f"learning describes that. Cut the table at row {points.rows[first]}, or leave the run out (`exclude`, "
        f"--exclude)."
    )


def rise_caution(points: Points, quanta: Float[np.ndarray, " point"], course: Course, quantity: Quantity) -> str:
    """What to say of a curve that has risen since its minimum, or from its start; nothing where it has not.

    Nothing is said of a rise since the minimum where the learning rate rose meanwhile, which laws take into account.
    """
    if len(points.steps) < FEWEST:
        return ""
    if _starts_lowest(course) and course.is_surely(course.end - course.start, RISEN_A_LITTLE):
        also = ", if that is not the rise of the learning rate" if course.rate_rose else ""
        return (
            f"the values rise from {np.exp(course.start):.4g} to {np.exp(course.end):.4g}: the law only falls, and "
            f"{quantity.named} may be no loss{also}"
        )
    if course.rate_rose:
        return ""
    if course.width > 1 and course.end - course.lowest < max(WORTH_A_WORD, course.error):
        return ""  # a low point among noisy ones
    windows = np.array_split(np.arange(len(points.steps)), min(MOST_WINDOWS, len(points.steps)))
    levels = np.array([np.median(np.log(points.losses[one])) for one in windows])
    floor = float(np.median(quanta / points.losses)) / np.sqrt(12.0 * len(windows[0]))
    turn = turn_of(levels, floor)
    if turn.clearness < CLEAR or turn.rise < WORTH_A_WORD or turn.later < 2:
        return ""
    at = int(np.median(windows[turn.at]))
    name = "the validation loss" if quantity.is_validation else "the loss"
    over = ", as in over-fitting" if quantity.is_validation else ""
    return (
        f"{name} has risen since step {points.steps[at]}, from {np.exp(levels[turn.at]):.4g} to "
        f"{np.exp(levels[turn.at] + turn.rise):.4g}{over}: the law only falls, so its forecast is too low if that "
        f"goes on"
    )


def _starts_lowest(course: Course) -> bool:
    """Whether the lowest level is that of the start, up to the scatter."""
    return bool(course.start - course.lowest <= course.error)


def _windows(course: Course) -> str:
    return "single points" if course.width == 1 else f"medians of {course.width} points"
