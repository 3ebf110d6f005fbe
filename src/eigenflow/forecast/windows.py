"""Where to cut a dense log into windows, whose means a fit takes for its points."""

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.rounding import WHOLE

__all__ = ["window_starts"]

# A jump of the learning rate: by this share of it, and by so many times what it changes just before and after.
JUMP, ALONE = 0.1, 3.0


def window_starts(
    steps: Int[np.ndarray, " point"], rates: Float[np.ndarray, " update"], points: int
) -> Int[np.ndarray, " window"]:
    """Give the index of the first point of each window; even in ln(step), anew at every jump of the rate.

    A rate that falls to zero along a line or a cosine changes by large shares near its end, yet never jumps. A step on
    the border of two windows, up to rounding, is the later one's.
    """
    edges = np.geomspace(max(int(steps[0]), 1), int(steps[-1]) + 1, points + 1)
    jumps = np.cumsum(_is_jump(rates[np.maximum(steps - 1, 0)]))
    return np.flatnonzero(
        np.diff(np.searchsorted(edges * (1.0 - WHOLE), steps, side="right") + (points + 2) * jumps, prepend=-1)
    )


def _is_jump(rates: Float[np.ndarray, " point"]) -> np.ndarray:
    """Where the rate changes by more than a tenth at once, and by more than three times as much as just beside."""
    change = np.abs(np.diff(rates, prepend=rates[0]))
    beside = np.maximum(np.append(change[1:], 0.0), np.insert(change[:-1], 0, 0.0))
    level = np.maximum(rates, np.insert(rates[:-1], 0, rates[0]))
    return (change > JUMP * np.maximum(level, 1e-300)) & (change > ALONE * beside)
