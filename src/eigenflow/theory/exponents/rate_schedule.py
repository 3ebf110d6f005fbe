"""Learning rates and batches of every update, cut into stretches that are constant and stretches that vary."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.checks import MOST_WHOLE, real_array
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError

__all__ = ["Block", "blocks_of", "checked_steps"]

LONG = 3000  # updates of one rate and batch that make a stretch of their own


@dataclass(frozen=True)
class Block:
    """Consecutive updates.

    Attributes:
        count: Of updates, > 0.
        rates: One for each update, or a single one for all.
        batches: As `rates`.
    """

    count: int
    rates: Float[np.ndarray, " update"]
    batches: Float[np.ndarray, " update"]

    @property
    def is_constant(self) -> bool:
        """Whether one positive rate and one batch hold for all, and they are many."""
        return len(self.rates) == 1 and self.rate > 0 and self.count >= LONG

    @property
    def rate(self) -> float:
        """The first."""
        return float(self.rates[0])

    @property
    def batch(self) -> float:
        """The first."""
        return float(self.batches[0])


def blocks_of(
    learning_rate: object, batch: object, wanted: Int[np.ndarray, " time"]
) -> tuple[list[Block], Float[np.ndarray, " time"]]:
    """Give the stretches up to the last update wanted, and the sum of rates at those wanted.

    Args:
        learning_rate: One number >= 0, or one for each update.
        batch: One whole number >= 1, or one for each update.
        wanted: Completed updates, increasing.

    Raises:
        ShapeError: If there are fewer than updates.
        NonFiniteError: If one is not finite.
        ArgumentError: If one is out of its range.
    """
    last = int(wanted[-1])
    rates, batches = real_array("learning_rate", learning_rate), real_array("batch", batch)
    for name, array, least in (("learning_rate", rates, 0.0), ("batch", batches, 1.0)):
        if array.ndim > 1 or (array.ndim == 1 and len(array) < last):
            raise ShapeError(
                f"`{name}` must be one number, or one for each of the {last} updates, but has shape {array.shape}."
            )
        if not np.isfinite(array).all():
            raise NonFiniteError(f"`{name}` must be finite, but {np.count_nonzero(~np.isfinite(array))} are not.")
        if (array < least).any() or (name == "batch" and (array != np.floor(array)).any()):
            kind = "whole numbers of samples, >= 1" if name == "batch" else ">= 0"
            raise ArgumentError(f"`{name}` must be {kind}, but the least is {array.min():g}.")
    if last == 0:
        return [], np.zeros(len(wanted))
    if rates.ndim == 0 and batches.ndim == 0 and last >= LONG:
        return [Block(last, rates[None], batches[None])], float(rates) * wanted
    rates, batches = (np.broadcast_to(array[:last] if array.ndim else array, last) for array in (rates, batches))
    return _cut(rates, batches), np.append(0.0, np.cumsum(rates))[wanted]


def checked_steps(steps: object) -> Int[np.ndarray, " time"]:
    """Give whole numbers of updates, increasing."""
    found = np.atleast_1d(real_array("steps", steps))
    if found.ndim != 1 or not found.size:
        raise ShapeError(f"`steps` must be one row of numbers, but has shape {found.shape}.")
    is_whole = np.isfinite(found) & (found == np.floor(found)) & (found >= 0) & (found <= MOST_WHOLE)
    if not is_whole.all() or (np.diff(found) <= 0).any():
        raise ArgumentError(
            f"`steps` must be whole numbers of updates, >= 0 and increasing, but begin with {found[:3]}."
        )
    return found.astype(np.int64)


def _cut(rates: np.ndarray, batches: np.ndarray) -> list[Block]:
    changes = np.flatnonzero((np.diff(rates) != 0) | (np.diff(batches) != 0)) + 1
    starts, ends = np.append(0, changes), np.append(changes, len(rates))
    found, begun = [], 0
    for start, end in zip(starts, ends, strict=True):
        if end - start >= LONG and rates[start] > 0:
            if begun < start:
                found.append(Block(int(start - begun), rates[begun:start], batches[begun:start]))
            found.append(Block(int(end - start), rates[start : start + 1], batches[start : start + 1]))
            begun = end
    if begun < len(rates):
        found.append(Block(int(len(rates) - begun), rates[begun:], batches[begun:]))
    return found
