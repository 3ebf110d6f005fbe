"""The course of a curve: does it fall, has it risen since its minimum, does it diverge, or rise from its start?

Levels are medians over a tenth of the points, in ln(loss), and each difference is judged against the error that the
scatter gives it. A law of learning curves only falls, but for changes of the rate.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.forecast.reading.rows.cleaning import Points

__all__ = ["Course", "course_of"]

# Standard errors that a difference must have: the lowest of ten levels alone lies 1.5 below their mean. More for few
# points, from which the scatter is not well known: 7.5 for eight.
ERRORS, MORE_FOR_FEW = 5.0, 4.0
# Factor by which the rate must have risen to explain a rise of the loss.
RATE_ROSE = 1.25
# Points of a level where there are fewer than 30, and where there are fewer than 9.
OF_FEW, OF_VERY_FEW, FEW = 3, 1, 9
# The standard error of a median of normal values, and the standard deviation from a median of absolute values.
MEDIAN_ERROR, NORMAL = 1.2533, 1.4826
# Medians of parts of a level, from which the error of slow scatter is seen.
PARTS = 4


@dataclass(frozen=True)
class Course:
    """Levels of a curve, in ln(loss).

    Attributes:
        start: Of the first tenth of the points.
        lowest: Of the tenth where it is lowest.
        end: Of the last tenth.
        at: Index of the point in the middle of the lowest tenth.
        width: Points of a tenth.
        spread: Standard deviation of a single point about its neighbours.
        error: Standard error of a difference of two levels.
        rate_rose: Whether the learning rate has been higher since the lowest level.
        sure: Standard errors that a difference must have.
        only_rises: Whether every point, of four at least, is above the one before it.
    """

    start: float
    lowest: float
    end: float
    at: int
    width: int
    spread: float
    error: float
    rate_rose: bool
    sure: float
    only_rises: bool

    def is_surely(self, rise: float, factor: float) -> bool:
        """Whether a rise is more than a factor, and more than the scatter explains."""
        return bool(rise > np.log(factor) and (rise > self.sure * self.error or self.only_rises))


def course_of(
    points: Points, quanta: Float[np.ndarray, " point"], rates: Float[np.ndarray, " point"] | None = None
) -> Course:
    """Levels of a curve and the errors that its scatter gives them.

    Args:
        points: Of one run.
        quanta: Rounding of each loss.
        rates: Learning rate at each point, if known.
    """
    values = np.log(points.losses)
    count = len(values)
    width = max(count // 10, OF_FEW if count >= FEW else OF_VERY_FEW)
    stride = max(width // 10, 1)
    levels = np.median(np.lib.stride_tricks.sliding_window_view(values, width)[::stride], axis=1)
    end = float(np.median(values[-width:]))
    lowest = int(levels.argmin())
    at = lowest * stride + width // 2
    rounding = float(np.median(quanta / points.losses)) / np.sqrt(12.0)
    spread = max(_spread(values), rounding)
    return Course(
        start=float(levels[0]),
        lowest=min(float(levels[lowest]), end),
        end=end,
        at=at,
        width=width,
        spread=spread,
        error=float(np.sqrt(2.0)) * _error_of_level(values, width, spread),
        rate_rose=rates is not None and bool(rates[at:].max() > RATE_ROSE * rates[at]),
        sure=ERRORS * (1.0 + MORE_FOR_FEW / count),
        only_rises=count >= 4 and bool(np.all(np.diff(values) > 0)),
    )


def _spread(values: Float[np.ndarray, " value"]) -> float:
    """Standard deviation of a value about its neighbours, from differences of two that follow each other."""
    change = np.diff(values)
    return NORMAL * float(np.median(np.abs(change - np.median(change)))) / np.sqrt(2.0)


def _error_of_level(values: Float[np.ndarray, " value"], width: int, spread: float) -> float:
    """Standard error of a median over `width` values; slow scatter is seen in medians of its parts."""
    white = spread * (MEDIAN_ERROR / np.sqrt(width) if width > OF_VERY_FEW else 1.0)
    part = width // PARTS
    if part < PARTS:
        return float(white)
    parts = np.median(values[: len(values) // part * part].reshape(-1, part), axis=1)
    return max(float(white), _spread(parts) / np.sqrt(PARTS))
