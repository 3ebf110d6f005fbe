"""The eigenvalue above which modes have been learned."""

import numpy as np
from jaxtyping import Float

from eigenflow.transport.flows.flow import AbstractFlow
from eigenflow.transport.flows.paths import fall
from eigenflow.transport.methods.exits import survivors
from eigenflow.transport.methods.shared_nodes import smooth_until

__all__ = ["LOST_EXPONENT", "frontier"]

LOST_EXPONENT = 1.0
_SECTIONS = 32
_ROUNDS = 4
_LONGEST_STEP = 0.25


def frontier(
    flow: AbstractFlow, times: Float[np.ndarray, " time"], ends: tuple[float, float]
) -> Float[np.ndarray, " time"]:
    """Find the lowest instantaneous eigenvalue whose path has the attenuation exponent 1.

    Args:
        flow: Drift and dissipation, prepared up to the last time.
        times: Output times.
        ends: ln(lambda) at the ends of the domain; only paths that stay inside count.

    Returns:
        Eigenvalues; inf where no path has lost that much or none is left, 0 where all have.
    """
    low, high = survivors(flow, times, ends)
    start = flow.start_for_exponent(LOST_EXPONENT, times)
    if start is None and not flow.is_steady and smooth_until(flow, times, ends) == len(times):
        start = _start_on_grid(flow, times, low, high)
    if start is not None:
        is_some = (start > low) & (start <= high) & (high > low)
        inside = np.where(is_some, start, low)
        # Paths that have left the domain may be anywhere; they are not chosen.
        with np.errstate(over="ignore", invalid="ignore"):
            now = np.exp(inside - fall(inside, flow.accumulated(times), flow.b)[0])
        return np.where(is_some, now, np.where((start <= low) & (high > low), 0.0, np.inf))
    result = np.full(len(times), np.inf)
    is_left = high > low
    result[is_left] = _crossing(flow, times[is_left], low[is_left], high[is_left], ends)
    return result


def _start_on_grid(
    flow: AbstractFlow,
    times: Float[np.ndarray, " time"],
    low: Float[np.ndarray, " time"],
    high: Float[np.ndarray, " time"],
) -> Float[np.ndarray, " time"]:
    """Find ln(lambda0) of the first path above `low` that has lost enough, on one grid for all times."""
    num = int(np.ceil((high.max() - low.min()) / _LONGEST_STEP)) + 1
    grid = np.linspace(low.min(), max(high.max(), low.min() + 1e-9), max(num, 2))
    rows = np.arange(len(times))
    with np.errstate(divide="ignore", invalid="ignore"):
        # ln Q is close to a straight line in ln(lambda).
        excess = np.log(flow.exponents(grid, times) / LOST_EXPONENT)
        is_over = (excess >= 0) & (grid > low[:, None])
        first = np.clip(np.argmax(is_over, axis=1), 1, len(grid) - 1)
        before, after = excess[rows, first - 1], excess[rows, first]
        slope = (after - before) / (grid[first] - grid[first - 1])
        x = grid[first] - after / slope
        is_never, is_always = ~is_over.any(axis=1), before >= 0
        is_sought = ~(is_never | is_always) & np.isfinite(slope)
        point, value = grid[first], after
        for _ in range(_ROUNDS - 1 if is_sought.any() else 0):
            x = np.where(is_sought, x, grid[first])
            now = np.log(np.diagonal(flow.exponents(x, times)) / LOST_EXPONENT)
            secant = (now - value) / (x - point)
            slope = np.where(np.isfinite(secant) & (secant > 0), secant, slope)
            point, value = x, now
            x = x - now / slope
    return np.where(is_sought, x, np.where(is_never, np.inf, -np.inf))


def _crossing(
    flow: AbstractFlow,
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
