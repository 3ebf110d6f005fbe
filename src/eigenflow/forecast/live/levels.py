"""How far the loss is above its lowest level, from block to block: medians of neighbours, without arrays."""

from itertools import islice
from statistics import median

from eigenflow.forecast.live.blocks import Blocks

__all__ = ["LowestLevel"]


class LowestLevel:
    """Medians of `width` neighbouring blocks, of which the lowest and the last are kept.

    Attributes:
        lowest: Of the blocks that were looked at.
    """

    def __init__(self) -> None:
        self._size = self._count = 0
        self.lowest = self._last = 0.0

    def rise(self, blocks: Blocks, width: int) -> float:
        """From the lowest median to the last one.

        Args:
            blocks: At least `width` of them, and no fewer than before.
            width: The same for all blocks of one size.
        """
        count = len(blocks)
        new = count - self._count
        if blocks.size != self._size or new + width - 1 > len(blocks.newest):
            means = blocks.table().means.tolist()
            levels = [median(means[begin : begin + width]) for begin in range(count - width + 1)]
            self.lowest = min(levels)
        elif new:
            means = [mean for mean, _ in islice(blocks.newest, len(blocks.newest) - new - width + 1, None)]
            levels = [median(means[begin : begin + width]) for begin in range(new)]
            self.lowest = min(self.lowest, *levels)
        else:
            return self._last - self.lowest
        self._size, self._count, self._last = blocks.size, count, levels[-1]
        return self._last - self.lowest
