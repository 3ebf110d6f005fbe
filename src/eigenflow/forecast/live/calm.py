"""For how long single losses can bring no news, so that they may be looked into together.

Between two updates of a training the processor's caches hold little of a program, and looking into a loss takes ten
times as long as in a loop. What is found is the same: losses wait only while each of them would be noted and no more.
"""

from math import inf
from typing import NamedTuple

__all__ = ["MOST_WAITING", "NEVER", "Calm"]

# Losses that wait: together they take less than a millisecond.
MOST_WAITING = 64


class Calm(NamedTuple):
    """Bounds within which nothing is due, nor anything odd.

    Attributes:
        above: All losses are above it.
        below: They are below it.
        step: All steps are before it.
        trained_s: Training has taken less.
        most: Losses that may wait, after which they are looked into.
    """

    above: float
    below: float
    step: float = inf
    trained_s: float = inf
    most: int = MOST_WAITING


NEVER = Calm(0.0, 0.0)
