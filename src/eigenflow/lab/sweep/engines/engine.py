"""What a sweep asks of an engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

__all__ = ["AbstractEngine", "Lost"]


@dataclass(frozen=True)
class Lost:
    """What came of a task whose process or machine died, and that was begun again as often as allowed.

    Attributes:
        why: In one line.
    """

    why: str


class AbstractEngine(ABC):
    """Calls a function for many values, somewhere.

    The function may be called more than once for a value: where a process or a machine dies, the engine calls it again,
    `retries` times. A context manager: leaving it ends what still runs.
    """

    @abstractmethod
    def describe(self) -> str:
        """Where it works, in words."""

    @abstractmethod
    def map(self, function: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[tuple[int, Any | Lost]]:
        """Yield the place of each value with what came of it, in the order in which they end.

        Args:
            function: Of one value; picklable, as are values and results. It does not raise.
            values: Any number.
        """

    @abstractmethod
    def close(self) -> None:
        """End what still runs, and free what was taken. May be called twice."""

    def __enter__(self) -> "AbstractEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
