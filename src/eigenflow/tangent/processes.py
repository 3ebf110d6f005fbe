"""Processes that work together: an error on one becomes an error on all, before the others wait for it.

A collective call in which one process is missing leaves the others waiting until the group's timeout. So whatever can
fail on one process alone, because its samples or its files do, runs inside `each` or `first`, which end with an
exchange of outcomes. What fails outside of them, such as memory that runs out in the middle of a product, is left to
the timeout of the process group and to torchrun, which ends the other processes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch.distributed as dist

from eigenflow.core import errors
from eigenflow.core.errors import ArgumentError, EigenflowError

__all__ = ["AbstractProcesses", "OneProcess", "ProcessGroup"]

Result = TypeVar("Result")


class AbstractProcesses(ABC):
    """The processes that hold a probe set. All of them call these methods together, in the same order."""

    is_first: bool

    @abstractmethod
    def each(self, work: Callable[[], Result]) -> Result:
        """Run on every process, without collective calls inside; if it fails on one, raise on all."""

    @abstractmethod
    def first(self, work: Callable[[], Result]) -> Result:
        """Run on the first process only, and hand its result to all; if it fails, raise on all."""

    @abstractmethod
    def require_same(self, values: Mapping[str, Any]) -> None:
        """Refuse arguments that differ between processes, on all alike."""


class OneProcess(AbstractProcesses):
    """No others."""

    is_first = True

    def each(self, work: Callable[[], Result]) -> Result:
        """Run it."""
        return work()

    def first(self, work: Callable[[], Result]) -> Result:
        """Run it."""
        return work()

    def require_same(self, values: Mapping[str, Any]) -> None:
        """There is nothing to compare with."""


class ProcessGroup(AbstractProcesses):
    """The processes of a group of `torch.distributed`; None takes all."""

    def __init__(self, group: Any = None):
        self.group = group
        self.is_first = dist.get_rank(group) == 0

    def gathered(self, value: Any) -> list[Any]:
        """The value of every process, in the order of ranks. By pickle, between processes of one program."""
        found: list[Any] = [None] * dist.get_world_size(self.group)
        dist.all_gather_object(found, value, group=self.group)
        return found

    def each(self, work: Callable[[], Result]) -> Result:
        """As in `AbstractProcesses`."""
        result, failure = _outcome(work)
        told = self.gathered(None if failure is None else _words(failure))
        if failure is not None:
            raise failure
        for rank, words in enumerate(told):
            if words is not None:
                raise _error(words, rank)
        assert result is not None
        return result[0]

    def first(self, work: Callable[[], Result]) -> Result:
        """As in `AbstractProcesses`."""
        result, failure = _outcome(work) if self.is_first else (None, None)
        told: list[Any] = [(result, None if failure is None else _words(failure))]
        source = 0 if self.group is None else dist.get_global_rank(self.group, 0)
        dist.broadcast_object_list(told, src=source, group=self.group)
        if failure is not None:
            raise failure
        result, words = told[0]
        if words is not None:
            raise _error(words, 0)
        return result[0]

    def require_same(self, values: Mapping[str, Any]) -> None:
        """As in `AbstractProcesses`."""
        told = self.gathered(dict(values))
        for rank, other in enumerate(told):
            differing = [name for name in told[0] if other.get(name) != told[0][name]]
            if differing:
                name = differing[0]
                raise ArgumentError(
                    f"`{name}` must be the same on every process, but is {told[0][name]!r} on rank 0 and "
                    f"{other.get(name)!r} on rank {rank}. All processes make this call together, with the same "
                    f"arguments."
                )


def _outcome(work: Callable[[], Result]) -> tuple[tuple[Result] | None, Exception | None]:
    try:
        return (work(),), None
    except Exception as error:
        return None, error


def _words(error: Exception) -> tuple[str, str]:
    return type(error).__name__, str(error)


def _error(words: tuple[str, str], rank: int) -> Exception:
    """The same class on the processes where nothing failed, if it is one of ours."""
    name, message = words
    if name in errors.__all__:
        return getattr(errors, name)(f"On rank {rank}: {message}")
    return EigenflowError(f"On rank {rank}: {name}: {message}")
