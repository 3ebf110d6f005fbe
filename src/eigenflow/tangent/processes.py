"""Processes that work together: an error on one becomes an error on all, before the others wait for it.

A collective call in which one process is missing leaves the others waiting until the group's timeout. So whatever can
fail on one process alone, because its samples or its files do, runs inside `each` or `first`, which end with an
exchange of outcomes. What fails outside of them, such as memory that runs out in the middle of a product, and a process
that is killed, ends the collective call that the others wait in: at once where its connections close, else after the
group's timeout. They raise `ProcessLostError`, which names who is gone as far as the machine knows, and from then on
every call raises it without waiting.
"""

import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from eigenflow.core import errors
from eigenflow.core.errors import ArgumentError, EigenflowError, ProcessLostError

__all__ = ["AbstractProcesses", "OneProcess", "ProcessGroup"]

Result = TypeVar("Result")

# How long to wait for a process whose connections are closed to be seen as ended, in seconds.
ENDING_S = 1.0


class AbstractProcesses(ABC):
    """The processes that hold a probe set. All of them call these methods together, in the same order."""

    is_first: bool
    lost: ProcessLostError | None = None

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
    """The processes of a group of `torch.distributed`; None takes all. Made by all of them together."""

    def __init__(self, group: Any = None):
        self.group = group
        self.rank, self.count = dist.get_rank(group), dist.get_world_size(group)
        self.is_first = self.rank == 0
        self.members: list[tuple[str, int]] = []
        self.members = self.gathered((socket.gethostname(), os.getpid()))

    @property
    def timeout_s(self) -> float | None:
        """How long a collective call waits; None where the backend does not tell."""
        group = dist.distributed_c10d._get_default_group() if self.group is None else self.group
        try:
            return group._get_backend(_device_of(group)).options._timeout.total_seconds()
        except (AttributeError, RuntimeError):
            return None

    def sum(self, part: Tensor) -> Tensor:
        """The sum of a tensor over the processes, in place where it is contiguous."""
        part = part.contiguous()
        self.together(f"all_reduce of {part.numel():,} numbers", lambda: dist.all_reduce(part, group=self.group))
        return part

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        """One process's contiguous tensor, in place of those of the others."""
        self.together(
            f"broadcast of {tensor.numel():,} numbers",
            lambda: dist.broadcast(tensor, src=self._global(source), group=self.group),
        )
        return tensor

    def gathered(self, value: Any) -> list[Any]:
        """The value of every process, in the order of ranks. By pickle, between processes of one program."""
        found: list[Any] = [None] * self.count
        self.together("exchange of outcomes", lambda: dist.all_gather_object(found, value, group=self.group))
        return found

    def wait(self) -> None:
        """Until all processes have come here."""
        self.together("barrier", lambda: dist.barrier(group=self.group))

    def _global(self, rank: int) -> int:
        return rank if self.group is None else dist.get_global_rank(self.group, rank)

    def together(self, what: str, call: Callable[[], Any]) -> None:
        """Make a collective call; one that fails is the last.

        Args:
            what: What it is, for the message.
            call: Makes it.

        Raises:
            ProcessLostError: If another process has ended or hangs, now or before.
        """
        if self.lost is not None:
            raise ProcessLostError(str(self.lost))
        began = time.monotonic()
        try:
            call()
        except RuntimeError as error:
            self.lost = ProcessLostError(self._explained(what, time.monotonic() - began, error))
            raise self.lost from error

    def _explained(self, what: str, waited_s: float, error: Exception) -> str:
        limit = self.timeout_s
        allowed = "" if limit is None else f" (the group's timeout is {limit:g} s)"
        first_line = str(error).strip().partition("\n")[0][-200:]
        return (
            f"Rank {self.rank} of {self.count} ended its wait in the collective call {what!r} after {waited_s:.1f} s"
            f"{allowed}: {self._missing()}. torch.distributed says: {first_line}. What was measured before is in the "
            f"run folder: go on from a checkpoint with `resume_from`, on any number of processes."
        )

    def _missing(self) -> str:
        """Who has ended, of the processes on this machine."""
        host = socket.gethostname()
        here = {rank: pid for rank, (name, pid) in enumerate(self.members) if name == host and rank != self.rank}
        until = time.monotonic() + ENDING_S
        while not (gone := [rank for rank, pid in here.items() if not _is_running(pid)]) and time.monotonic() < until:
            time.sleep(0.05)
        if gone:
            told = ", ".join(f"rank {rank} (process {here[rank]} on {host})" for rank in gone)
            return f"{told} {'has' if len(gone) == 1 else 'have'} ended"
        others = [rank for rank in range(self.count) if rank != self.rank]
        where = "" if len(here) == len(others) else f", or rank {next(r for r in others if r not in here)} elsewhere"
        return (
            f"no other process on {host} has ended, so one of the ranks {', '.join(map(str, others))} hangs, has left "
            f"the group, or makes other calls{where}"
        )

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
        self.together(
            "broadcast of an outcome",
            lambda: dist.broadcast_object_list(told, src=self._global(0), group=self.group),
        )
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


def _device_of(group: Any) -> torch.device:
    return torch.device("cuda" if "nccl" in str(dist.get_backend(group)) else "cpu")


def _is_running(pid: int) -> bool:
    """Whether a process of this machine runs; one that waits to be collected by its parent does not."""
    status = Path(f"/proc/{pid}/stat")
    try:
        if Path("/proc/self/stat").exists():
            return status.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
