"""A whole run in bounded memory: blocks of equally many losses, which are joined in pairs when they become many."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from jaxtyping import Float, Int

__all__ = ["MOST_BLOCKS", "BlockTable", "Blocks"]

# When there are so many, two become one: a run of any length has between half of it and all of it.
MOST_BLOCKS = 800
# Newest closed blocks that can be read without arrays.
NEWEST = 32
# E sqrt|x - y| of two standard normal values: 2^(1/4) 2^(1/4) Gamma(3/4) / sqrt(pi).
ROOT_OF_NORMAL = 0.9777412


@dataclass(frozen=True)
class BlockTable:
    """Closed blocks as arrays.

    Attributes:
        first: First step of each.
        last: Last step.
        counts: Losses in it.
        means: Mean ln(loss); single losses far above the level are cut (`PointWatch.ceiling`).
        roughness: Mean root of the distance between ln(loss) and the one before it.
        rates: Learning rate at its last step, NaN where none was given.
    """

    first: Int[np.ndarray, " block"]
    last: Int[np.ndarray, " block"]
    counts: Int[np.ndarray, " block"]
    means: Float[np.ndarray, " block"]
    roughness: Float[np.ndarray, " block"]
    rates: Float[np.ndarray, " block"]

    def __len__(self) -> int:
        return len(self.first)

    @property
    def middles(self) -> Float[np.ndarray, " block"]:
        """Step in the middle of each."""
        return 0.5 * (self.first + self.last)

    def after(self, step: int) -> "BlockTable":
        """The blocks that begin after a step."""
        kept = self.first > step
        return BlockTable(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))


class Blocks:
    """Losses of every step, gathered into blocks as they come.

    Attributes:
        size: Losses in a block.
        seen: Losses so far.
        newest: Means and roughness of the last closed blocks, oldest first; see `BlockTable`.
    """

    def __init__(self) -> None:
        self.size = 1
        self.seen = 0
        self.newest: deque[tuple[float, float]] = deque(maxlen=NEWEST)
        self._rows = np.zeros((6, MOST_BLOCKS + 1))
        self._fresh: list[tuple[float, ...]] = []  # closed, and not in the array yet
        self._count = 0
        self._open: list[float] = []  # first step, last step, count, sum, sum of roots, rate
        self._before: float | None = None
        self._table: BlockTable | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, step: int, value: float, rate: float, ceiling: float = float("inf")) -> bool:
        """Add ln(loss) of a step, cut at a ceiling; says whether a block was closed."""
        root = 0.0 if self._before is None else sqrt(abs(value - self._before))
        self._before = value
        self.seen += 1
        value = min(value, ceiling)
        if self._open:
            part = self._open
            part[1] = step
            part[2] += 1
            part[3] += value
            part[4] += root
            part[5] = rate
        else:
            self._open = part = [step, step, 1, value, root, rate]
        if part[2] < self.size:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Close the open block, short as it may be."""
        if not self._open:
            return
        first, last, count, total, roots, rate = self._open
        mean, rough = total / count, roots / count
        self._fresh.append((first, last, count, mean, rough, rate))
        self.newest.append((mean, rough))
        self._count += 1
        self._open, self._table = [], None
        if self._count >= MOST_BLOCKS:
            self._join()

    def _join(self) -> None:
        """Make one block of every two."""
        self._gather()
        self.size *= 2
        one, two = self._rows[:, : self._count : 2], self._rows[:, 1 : self._count : 2]
        half = self._count // 2
        counts = one[2, :half] + two[2]
        means = (one[2, :half] * one[3:5, :half] + two[2] * two[3:5]) / counts
        rest = one[:, half:].copy()  # a last one without a partner
        self._rows[:, :half] = np.stack([one[0, :half], two[1], counts, *means, two[5]])
        self._rows[:, half : half + rest.shape[1]] = rest
        self._count = half + rest.shape[1]
        self._read_newest()

    def _gather(self) -> None:
        """Bring all closed blocks into the array."""
        if self._fresh:
            self._rows[:, self._count - len(self._fresh) : self._count] = np.array(self._fresh).T
            self._fresh.clear()

    def _read_newest(self) -> None:
        begin = max(0, self._count - NEWEST)
        self.newest = deque(map(tuple, self._rows[3:5, begin : self._count].T.tolist()), maxlen=NEWEST)

    def table(self) -> BlockTable:
        """The closed blocks."""
        if self._table is None:
            self._gather()
            whole = self._rows[:3, : self._count].astype(np.int64)
            self._table = BlockTable(*whole, *self._rows[3:, : self._count].copy())
        return self._table

    def state(self) -> dict[str, Any]:
        """As plain values, to the last bit."""
        self._gather()
        return {
            "size": self.size,
            "seen": self.seen,
            "open": [_plain(value) for value in self._open],
            "before": self._before,
            "rows": [[_plain(value) for value in row] for row in self._rows[:, : self._count].tolist()],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Blocks":
        """Make it again."""
        made = cls()
        made.size, made.seen = int(state["size"]), int(state["seen"])
        made._open = [_back(value) for value in state["open"]]
        made._before = state["before"]
        made._count = len(state["rows"][0])
        made._rows[:, : made._count] = [[_back(value) for value in row] for row in state["rows"]]
        made._read_newest()
        return made


def _plain(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else value


def _back(value: float | None) -> float:
    return float("nan") if value is None else value
