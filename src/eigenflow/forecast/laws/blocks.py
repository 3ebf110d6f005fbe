"""A schedule as few blocks of constant learning rate, with a bound on what that changes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

__all__ = ["RateBlocks", "rate_blocks"]

# Rates below this share of the peak count by their difference, not by their ratio: their noise is small.
_FLOOR = 0.03
# How much coarser blocks may be before the first observation (in warm-up, mostly), where they are long past.
_COARSER = 10.0
# The end of a decay to zero, the last few updates before it included, is one block of its own.
_ZERO = 1e-9


@dataclass(frozen=True)
class RateBlocks:
    """Blocks of (nearly) constant learning rate.

    Attributes:
        edges: Block j covers updates edges[j] ... edges[j + 1] - 1.
        rates: Mean rate of each block, so that time at the edges is exact.
        log_rates: ln(rate), 0 where the rate is 0.
        is_on: Where the rate is positive.
    """

    edges: Int[np.ndarray, " edge"]
    rates: Float[np.ndarray, " block"]
    log_rates: Float[np.ndarray, " block"]
    is_on: np.ndarray

    def powers(self, exponent: float) -> tuple[Float[np.ndarray, " block"], Float[np.ndarray, " block"]]:
        """Give rate^exponent (0 where the rate is 0), and its derivative with respect to the exponent."""
        value = np.where(self.is_on, np.exp(exponent * self.log_rates), 0.0)
        return value, value * self.log_rates


def rate_blocks(rates: Float[np.ndarray, " update"], tolerance: float, first: int = 0) -> RateBlocks:
    """Merge updates while ln(rate + 0.03 peak) stays within `tolerance`; runs of equal rate stay exact.

    A block's rate is its mean, so what it does to later points is off by tolerance^2 / 24 of itself only; at a point
    inside a block the rate of the moment is off by up to half the tolerance, and with it the part of the noise that
    relaxes within a block. A decay to zero gives ln(34) / tolerance blocks, whatever its length.

    Args:
        rates: Of every update.
        tolerance: Largest spread of ln(rate + 0.03 peak) in a block.
        first: Update before which blocks may be ten times coarser.
    """
    moved = np.abs(np.diff(np.log(rates + _FLOOR * rates.max())))
    allowed = np.full(len(moved), tolerance)
    allowed[: max(first - 1, 0)] *= _COARSER
    index = np.floor(np.concatenate([[0.0], np.cumsum(moved / allowed)]) + 1e-9)
    is_edge = np.diff(index, prepend=-1.0) != 0
    # A jump larger than a block must not be averaged with its neighbours, nor a rate of zero with a positive one.
    is_edge[1:] |= moved > 0.5 * allowed
    is_edge[1:] |= (rates[1:] <= _ZERO * rates.max()) != (rates[:-1] <= _ZERO * rates.max())
    edges = np.append(np.flatnonzero(is_edge), len(rates))
    means = np.add.reduceat(rates, edges[:-1]) / np.diff(edges)
    is_on = means > 0
    return RateBlocks(edges, means, np.log(np.where(is_on, means, 1.0)), is_on)
