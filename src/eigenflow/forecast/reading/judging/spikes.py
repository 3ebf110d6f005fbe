"""Loss spikes: single points and short bursts that stand far above their neighbours and recover.

A tail of the noise is no spike, or a mean over the rest would lie too low. So a spike is judged against the spread
where it stands, against the upper tail of the whole curve, and against the rounding of the log.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import median_filter, percentile_filter

from eigenflow.forecast.reading.rows.cleaning import Points

__all__ = ["far_above", "remove_spikes"]

# Widths of the running median, and the longest burst that it can see through.
SCALES = ((9, 2), (27, 9), (81, 27))
SIGMAS, LEAST = 8.0, 0.05
# A burst is left out with its feet, as long as they stand so many standard deviations out.
FOOT = 3.0
# A heavy tail: its largest 1 % (at least 12 points) are continued as a power, to where 0.2 points are expected.
TAIL_SHARE, TAIL_POINTS, EXPECTED, HEAVIEST = 0.01, 12, 0.2, 0.5
# A change of the learning rate, as a share of the highest one, beside which nothing is a spike.
RATE_CHANGE = 0.1
NORMAL, ONE_SIGMA = 1.4826, 84.13
# Spread of losses that do not scatter at all, as ln(loss) is rounded in a double.
EXACT = 1e-15
LISTED = 5


@dataclass(frozen=True)
class _Height:
    """How far each point stands above the running median, in ln(loss), and that in standard deviations."""

    excess: Float[np.ndarray, " point"]
    sigmas: Float[np.ndarray, " point"]
    threshold: float

    @property
    def is_far(self) -> Bool[np.ndarray, " point"]:
        return (self.sigmas > self.threshold) & (self.excess > LEAST)

    @property
    def is_raised(self) -> Bool[np.ndarray, " point"]:
        return (self.sigmas > FOOT) & (self.excess > LEAST / 3)


def remove_spikes(
    points: Points, quanta: Float[np.ndarray, " point"], rates: Float[np.ndarray, " point"] | None = None
) -> Points:
    """Leave out single points, pairs, and bursts of up to 27 points, far above their neighbours' median; says which.

    Far is 8 times the robust spread about the running median, as it is there, at least 5 %, and beyond what the upper
    tail of the curve explains. What does not come down again is no spike, nor is a rise beside a change of the rate.

    Args:
        points: Of one run.
        quanta: Rounding of each loss.
        rates: Learning rate at each point, if known.
    """
    count = len(points.steps)
    is_spike = np.zeros(count, dtype=bool)
    for width, longest in SCALES:
        if count < 3 * width:
            break
        height = _height(points, quanta, width)
        is_raised = height.is_raised
        edges = np.flatnonzero(np.diff(is_raised, prepend=False, append=False))
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            is_burst = height.is_far[begin:end].any() and end - begin <= longest
            recovers = end < count or (width == SCALES[0][0] and end - begin <= 2)
            # At the start the window is cut off, and the loss falls fast.
            if is_burst and recovers and begin >= width // 2 and not _rate_changes(rates, begin, end):
                is_spike[begin:end] = True
    return points.keep(~is_spike, _said(points, is_spike)) if is_spike.any() else points


def far_above(points: Points, quanta: Float[np.ndarray, " point"], level: float, spread: float, least: float) -> int:
    """Number of points at the end of a run that stand far above a level, one after another.

    Args:
        points: Of one run.
        quanta: Rounding of each loss.
        level: ln(loss) to compare with.
        spread: Standard deviation of a point about it.
        least: How far they must stand out in any case, in ln(loss).
    """
    excess = np.log(points.losses) - level
    is_far = excess > np.maximum(SIGMAS * np.maximum(spread, quanta / points.losses), least)
    return int(len(is_far) if is_far.all() else is_far[::-1].argmin())


def _height(points: Points, quanta: Float[np.ndarray, " point"], width: int) -> _Height:
    log_losses = np.log(points.losses)
    median = median_filter(log_losses, width, mode="mirror")
    excess = log_losses - median
    around = min(9 * width, 2 * ((len(excess) - 1) // 2) + 1)
    spread = NORMAL * median_filter(np.abs(excess), around, mode="mirror")
    # Noise that is skewed upwards has a wider upper half.
    spread = np.maximum(spread, percentile_filter(excess, ONE_SIGMA, around, mode="mirror"))
    # One quantum counts as a standard deviation: a difference of a few quanta is rounding.
    spread = np.maximum(spread, quanta / np.exp(median))
    sigmas = np.maximum(excess, 0.0) / np.maximum(spread, EXACT)
    return _Height(excess, sigmas, max(SIGMAS, _end_of_tail(_highest_of_each(sigmas[width // 2 :]))))


def _highest_of_each(sigmas: Float[np.ndarray, " point"]) -> Float[np.ndarray, " event"]:
    """The highest point of each burst, and all points outside of bursts."""
    is_raised = sigmas > FOOT
    starts = np.flatnonzero(~is_raised | np.diff(is_raised, prepend=False))
    return np.maximum.reduceat(sigmas, starts)


def _end_of_tail(sigmas: Float[np.ndarray, " point"]) -> float:
    """Where the upper tail, continued as a power law, leaves a fifth of a point.

    The exponent is taken from the tail's median, which spikes do not move while they are fewer than half of it.
    """
    among = max(int(TAIL_SHARE * len(sigmas)), TAIL_POINTS)
    if len(sigmas) <= 2 * among:
        return SIGMAS
    tail = np.partition(sigmas, len(sigmas) - among)[-among:]
    start = max(float(tail.min()), EXACT)
    power = min(float(np.log(max(float(np.median(tail)), start) / start)) / np.log(2.0), HEAVIEST)
    return start * (among / EXPECTED) ** power


def _rate_changes(rates: Float[np.ndarray, " point"] | None, begin: int, end: int) -> bool:
    """Whether the rate changes by more than a tenth of its highest value between two points around a burst."""
    if rates is None:
        return False
    near = rates[max(begin - 2, 0) : end + 2]
    return bool(near.max() - near.min() > RATE_CHANGE * rates.max())


def _said(points: Points, is_spike: Bool[np.ndarray, " point"]) -> str:
    edges = np.flatnonzero(np.diff(is_spike, prepend=False, append=False))
    bursts = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    lines = [_one(points, begin, end) for begin, end in bursts[:LISTED]]
    more = f" and {len(bursts) - LISTED} more" if len(bursts) > LISTED else ""
    count = int(is_spike.sum())
    of = f" of together {count} points" if count > len(bursts) else ""
    return f"{len(bursts)} {'spike' if len(bursts) == 1 else 'spikes'}{of} left out: {', '.join(lines)}{more}"


def _one(points: Points, begin: int, end: int) -> str:
    top = begin + int(points.losses[begin:end].argmax())
    if end - begin == 1:
        return f"step {points.steps[top]} (row {points.rows[top]}, loss {points.losses[top]:.4g})"
    return (
        f"steps {points.steps[begin]} to {points.steps[end - 1]} (rows {points.rows[begin]} to {points.rows[end - 1]}, "
        f"loss up to {points.losses[top]:.4g})"
    )
