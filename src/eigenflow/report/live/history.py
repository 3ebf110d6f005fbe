"""The losses of a run of any length in bounded memory, for a picture."""

from math import exp, inf, isfinite, log

__all__ = ["Course", "short"]

# Points that are drawn at most, and first losses that are kept one by one: a logarithmic axis shows them.
MOST, HEAD = 1000, 100
MOST_BAD = 50
RECENT = 100
DIGITS = 6


class Course:
    """Means of ln(loss) over equally many rows; two become one when they become many.

    Attributes:
        last: The last step; -1 before the first.
        count: Rows.
        bad: The last steps at which the loss was not finite or not positive.
    """

    def __init__(self, most: int = MOST, head: int = HEAD) -> None:
        self._most, self._head_size = most, head
        self._head: list[tuple[int, float]] = []
        # Last step, rows, sum of ln(loss), lowest and highest loss of each block.
        self._blocks: list[tuple[int, int, float, float, float]] = []
        self._open: tuple[int, int, float, float, float] | None = None
        self._size = 1
        self.last = -1
        self.count = 0
        self.bad: list[int] = []

    def add(self, step: int, loss: float) -> None:
        """Take the loss of a step that is later than the last one."""
        self.last, self.count = step, self.count + 1
        if not 0.0 < loss < inf:
            self.bad = [*self.bad, step][-MOST_BAD:]
            return
        if len(self._head) < self._head_size:
            self._head.append((step, loss))
            return
        _, rows, total, low, high = self._open or (0, 0, 0.0, inf, 0.0)
        self._open = step, rows + 1, total + log(loss), min(low, loss), max(high, loss)
        if self._open[1] >= self._size:
            self._blocks.append(self._open)
            self._open = None
            if len(self._blocks) >= self._most:
                self._halve()

    def cut(self, step: int) -> None:
        """Forget what came after a step; a block that reaches over it goes as a whole."""
        self._head = [one for one in self._head if one[0] <= step]
        self._blocks = [one for one in self._blocks if one[0] <= step]
        if self._open is not None and self._open[0] > step:
            self._open = None
        blocks = [*self._blocks, *([self._open] if self._open else [])]
        # Rows of a block that went are given again, and must find their place.
        self.last = max([one[0] for one in (*self._head, *blocks)], default=-1)
        self.bad = [one for one in self.bad if one <= self.last]
        self.count = len(self._head) + sum(one[1] for one in blocks) + len(self.bad)

    def recent(self) -> float | None:
        """Mean loss of about the last hundredth of the run; None before there is one."""
        points = self.points()
        last = points[-max(1, len(points) // RECENT) :]
        return short(exp(sum(log(one[1]) for one in last) / len(last))) if points else None

    def points(self) -> list[list[float | int]]:
        """Step, mean, lowest and highest loss, in the order of steps."""
        drawn: list[list[float | int]] = [[step, short(loss), short(loss), short(loss)] for step, loss in self._head]
        for step, rows, total, low, high in [*self._blocks, *([self._open] if self._open else [])]:
            drawn.append([step, short(exp(total / rows)), short(low), short(high)])
        return drawn

    def _halve(self) -> None:
        pairs = zip(self._blocks[::2], self._blocks[1::2], strict=False)
        merged = [(b[0], a[1] + b[1], a[2] + b[2], min(a[3], b[3]), max(a[4], b[4])) for a, b in pairs]
        if len(self._blocks) % 2:
            self._open = self._blocks[-1]
        self._blocks, self._size = merged, 2 * self._size


def short(value: float) -> float:
    """A number of six digits: enough for a picture, and short in a message."""
    return float(f"{value:.{DIGITS}g}") if isfinite(value) else value
