"""The eigenvalue above which modes have been learned."""

import numpy as np
from jaxtyping import Float

from eigenflow.transport.methods.exits import survivors
from eigenflow.transport.motion.flow import Flow
from eigenflow.transport.motion.paths import fall

__all__ = ["LOST_EXPONENT", "frontier"]

LOST_EXPONENT = 1.0
_SECTIONS = 32
_ROUNDS = 4


def frontier(flow: Flow, times: Float[np.ndarray, " time"], ends: tuple[float, float]) -> Float[np.ndarray, " time"]:
    """Find the lowest instantaneous eigenvalue whose path has the attenuation exponent 1.

    Args:
        flow: Drift and dissipation, prepared up to the last time.
        times: Output times.
        ends: ln(lambda) at the ends of the domain; only paths that stay inside count.

    Returns:
        Eigenvalues; inf where no path has lost that much or none is left, 0 where all have.
    """
    low, high = survivors(flow, times, ends)
    result = np.full(len(times), np.inf)
    is_left = high > low
    result[is_left] = _crossing(flow, times[is_left], low[is_left], high[is_left], ends)
    return result


def _crossing(
    flow: Flow,
    times: Float[np.ndarray, " time"],
    low: Float[np.ndarray, " time"],
    high: Float[np.ndarray, " time"],
    ends: tuple[float, float],
) -> Float[np.ndarray, " time"]:
    if not len(times):
        return np.zeros(0)
    accumulated = flow.accumulated(times)
    # Rising paths fan out, so there the grid is laid where they arrive.
    is_arrival = accumulated < 0
    drop_low, drop_high = (fall(x, accumulated, flow.b)[0] for x in (low, high))
    begin = np.where(is_arrival, np.clip(low - drop_low, *ends), low)
    end = np.where(is_arrival, np.clip(high - drop_high, *ends), high)
    fraction = np.linspace(0.0, 1.0, _SECTIONS + 1)
    never, always = np.zeros(len(times), dtype=bool), np.zeros(len(times), dtype=bool)
    rows = np.arange(len(times))
    lower, upper = np.zeros(len(times)), np.zeros(len(times))
    for turn in range(_ROUNDS):
        grid = begin[:, None] + (end - begin)[:, None] * fraction
        back = fall(grid, -accumulated[:, None], flow.b)[0]
        start = np.where(is_arrival[:, None], grid - back, grid)
        exponent = flow.exponent(start, times[:, None])
        is_over = exponent >= LOST_EXPONENT
        first = np.argmax(is_over, axis=1)
        if turn == 0:
            never, always = ~is_over.any(axis=1), is_over[:, 0]
        first = np.clip(first, 1, _SECTIONS)
        begin, end = grid[rows, first - 1], grid[rows, first]
        lower, upper = exponent[rows, first - 1], exponent[rows, first]
    with np.errstate(invalid="ignore", divide="ignore"):
        # ln Q is close to a straight line in ln(lambda).
        share = np.log(LOST_EXPONENT / lower) / np.log(upper / lower)
    middle = begin + (end - begin) * np.clip(np.nan_to_num(share, nan=0.0), 0.0, 1.0)
    now = np.where(is_arrival, middle, middle - fall(middle, accumulated, flow.b)[0])
    return np.where(never, np.inf, np.where(always, 0.0, np.exp(now)))
