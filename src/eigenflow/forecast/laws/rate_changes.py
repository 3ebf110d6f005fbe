"""The learning-rate changes and blocks of a history, compressed for laws that sum over steps.

A law that sums over every step costs observations x steps. Steps where the rate does not change add nothing to a sum
over changes, and a block of steps at one rate has a closed form, so exactly as many terms are needed as there are
changes. A schedule that changes at every step is cut into about `most` groups of neighbouring changes of one sign, each
standing at its centre of weight: second order in the group's length, as no group reaches across an observation
(unless there are more observations than groups).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.rounding import WHOLE
from eigenflow.forecast.laws.protocol import History

__all__ = ["RateBlocks", "RateChanges", "rate_blocks", "rate_changes", "warmup_end"]

MOST_GROUPS = 256


@dataclass(frozen=True)
class RateChanges:
    """Drops eta_(k-1) - eta_k of the learning rate after warm-up.

    Attributes:
        drops: Learning rate taken away (negative where it rises).
        rates: Learning rate after the change, floored at 1e-6 of the largest: the law divides by a power of it.
        starts: Sum of learning rates before update k, at the change.
    """

    drops: Float[np.ndarray, " change"]
    rates: Float[np.ndarray, " change"]
    starts: Float[np.ndarray, " change"]


@dataclass(frozen=True)
class RateBlocks:
    """Runs of neighbouring steps that stand for one block.

    Attributes:
        edges: Sum of learning rates at the block's borders.
        squares: Sum of eta^2 over the block, divided by its length in time: its mean learning rate.
    """

    edges: Float[np.ndarray, " edge"]
    squares: Float[np.ndarray, " block"]


def warmup_end(rates: Float[np.ndarray, " update"]) -> int:
    """Give the last update before the rate falls for the first time: rises up to there are warm-up."""
    falls = np.flatnonzero(np.diff(rates) < -WHOLE * rates[:-1])  # a plateau that falls by rounding is one
    return int(falls[0]) if len(falls) else len(rates) - 1


def rate_changes(history: History, most: int = MOST_GROUPS) -> RateChanges:
    """Collect the changes of the learning rate after warm-up, at most about `most` of them."""
    rates = history.rates
    sums = np.concatenate([[0.0], np.cumsum(rates)])
    jumps = -np.diff(rates)
    jumps[: warmup_end(rates)] = 0.0
    where = np.flatnonzero(jumps) + 1
    if len(where) == 0:
        return RateChanges(np.zeros(1), np.array([rates.max()]), np.zeros(1))
    drops, after, starts = jumps[where - 1], np.maximum(rates[where], 1e-6 * rates.max()), sums[where]
    first = _group_starts(drops, most, np.searchsorted(where, history.steps))
    size = np.add.reduceat(np.abs(drops), first)
    centred = [np.add.reduceat(np.abs(drops) * column, first) / size for column in (np.log(after), starts)]
    return RateChanges(np.add.reduceat(drops, first), np.exp(centred[0]), centred[1])


def rate_blocks(history: History, most: int = MOST_GROUPS) -> RateBlocks:
    """Cut all updates into blocks of one rate, or of neighbouring rates if there are more than `most`."""
    rates = history.rates[: history.steps[-1]]
    sums = np.concatenate([[0.0], np.cumsum(rates)])
    first = np.concatenate([[0], np.flatnonzero(np.diff(rates)) + 1])
    if len(first) > most:
        first = first[_even(len(first), most, np.searchsorted(first, history.steps))]
    edges = sums[np.concatenate([first, [len(rates)]])]
    lengths = np.diff(edges)
    squares = np.add.reduceat(rates**2, first) / np.where(lengths > 0, lengths, 1.0)
    return RateBlocks(edges, squares)


def _group_starts(
    drops: Float[np.ndarray, " change"], most: int, observed: Int[np.ndarray, " point"]
) -> Int[np.ndarray, " group"]:
    if len(drops) <= most:
        return np.arange(len(drops))
    even = _even(len(drops), most, observed)
    turns = np.flatnonzero(np.diff(np.sign(drops))) + 1
    return np.unique(np.concatenate([even, turns])) if len(turns) <= most else even


def _even(length: int, most: int, observed: Int[np.ndarray, " point"]) -> Int[np.ndarray, " group"]:
    """Give about `most` even starts of groups in a row of `length` terms, and one at every observation if they fit."""
    borders = np.unique(observed[observed < length]) if len(observed) < most else np.zeros(0, dtype=np.int64)
    even = np.linspace(0, length, max(most - len(borders), 1), endpoint=False).astype(np.int64)
    return np.unique(np.concatenate([even, borders]))
