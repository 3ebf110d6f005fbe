"""Many processes: the group that torchrun asks for, each process's part of a probe set, and the probe of all parts."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any

from eigenflow.core.checks import check_number
from eigenflow.core.errors import ArgumentError, ProcessLostError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eigenflow.tangent import Probe, ShardedProbe
    from eigenflow.tangent.loss.names import LossLike
    from eigenflow.tangent.processes import ProcessGroup

__all__ = ["is_under_torchrun", "my_part", "part_of", "process_group", "processes", "sharded_probe"]

# What torchrun sets for every process that it starts.
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TIMEOUT_S = 600.0


def is_under_torchrun() -> bool:
    """Whether this process is one of several that torchrun, or a launcher that sets the same variables, has started."""
    return all(name in os.environ for name in VARIABLES) and os.environ["WORLD_SIZE"] != "1"


@contextmanager
def process_group(*, backend: str | None = None, timeout_s: float = TIMEOUT_S) -> "Iterator[ProcessGroup]":
    """The processes that torchrun has started, as a group of `torch.distributed` while the context lasts.

    A group that exists already, such as a trainer's, is used as it is and stays. One that is made here ends with the
    context: after an error at once, otherwise when all processes have come to the end. When torchrun ends this process
    because another one has failed (SIGTERM), `SystemExit` is raised, so that files are closed.

    Args:
        backend: "gloo", "nccl", or one for each kind of device; None: nccl for tensors on GPUs if there is one for
            each process of the machine, gloo for all others.
        timeout_s: How long a collective call waits for the other processes before it fails.

    Raises:
        ArgumentError: If the environment is not that of torchrun, or an argument is out of range.
        ProcessLostError: From what is called inside, if another process has ended or hangs.
    """
    import torch.distributed as dist

    from eigenflow.tangent.processes import ProcessGroup

    if not check_number("timeout_s", timeout_s) > 0:
        raise ArgumentError(f"`timeout_s` must be a number of seconds > 0, but is {timeout_s}. Use for example 600.")
    if dist.is_initialized():
        yield ProcessGroup()
        return
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        raise ArgumentError(
            f"A process group needs the environment of torchrun, but {', '.join(missing)} is not set. Start the "
            f"program with: torchrun --nproc-per-node 2 program.py; in one process, use Probe."
        )
    try:
        dist.init_process_group(backend or _backend(), timeout=timedelta(seconds=timeout_s))
    except (RuntimeError, ValueError) as error:
        raise ProcessLostError(
            f"Rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} found no group at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} within {timeout_s:g} s: {str(error).strip().partition(chr(10))[0][-200:]}. "
            f"All processes have to start, with the same backend."
        ) from error
    with _ended_by_torchrun():
        try:
            group = ProcessGroup()
            yield group
            group.wait()  # a process that leaves first closes connections that others still use
        finally:
            dist.destroy_process_group()


@contextmanager
def processes(timeout_s: float = TIMEOUT_S) -> Iterator[tuple[bool, bool]]:
    """For commands: whether torchrun has started several processes, as a group then, and whether this one speaks."""
    if not is_under_torchrun():
        yield False, True
        return
    with process_group(timeout_s=timeout_s) as group:
        yield True, group.is_first


def part_of(count: int, rank: int, processes: int) -> slice:
    """The samples of a process, in order: whole rows of M stay in the order of one process."""
    return slice(count * rank // processes, count * (rank + 1) // processes)


def my_part(inputs: Any, targets: "Tensor") -> "tuple[Any, Tensor]":
    """This process's part of a probe set that every process has: about as many samples on each, in order.

    Args:
        inputs: A tensor, or a tuple or mapping of tensors and of what all samples share; sample axis first.
        targets: As many.

    Returns:
        The same with this process's samples only.
    """
    import torch.distributed as dist

    from eigenflow.tangent.model.samples import count_samples

    if count_samples(inputs, "inputs") != len(targets):
        raise ShapeError(
            f"`inputs` and `targets` must have the same number of samples, but have {count_samples(inputs, 'inputs')} "
            f"and {len(targets)}."
        )
    if not dist.is_initialized():
        raise ArgumentError("There is no process group to share samples with. Call this inside process_group().")
    mine = part_of(len(targets), dist.get_rank(), dist.get_world_size())
    return _cut(inputs, mine), targets[mine]


def sharded_probe(
    model: "nn.Module",
    inputs: Any,
    targets: "Tensor",
    loss: "LossLike" = "mse",
    holdout: "tuple[Any, Tensor] | None" = None,
    **options: Any,
) -> "Probe | ShardedProbe":
    """A probe of samples that every process has in full: each measures its part of them.

    Args:
        model: The same on every process; DistributedDataParallel and torch.compile are taken off.
        inputs: All samples.
        targets: All targets.
        loss: As for `Probe`.
        holdout: All of the test set, or None.
        **options: As for `ShardedProbe`.

    Returns:
        A `ShardedProbe`, or in one process a `Probe`.
    """
    import torch.distributed as dist

    from eigenflow.tangent import Probe, ShardedProbe

    if not dist.is_initialized():
        return Probe(model, inputs, targets, loss, holdout, **options)
    tests = None if holdout is None else my_part(*holdout)
    return ShardedProbe(model, *my_part(inputs, targets), loss, tests, **options)


def _cut(value: Any, part: slice) -> Any:
    from torch import Tensor

    if isinstance(value, Tensor):
        return value[part] if value.ndim else value
    if isinstance(value, Mapping):
        return {key: _cut(entry, part) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_cut(entry, part) for entry in value)
    return value


def _backend() -> str:
    import torch

    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    if torch.cuda.is_available() and torch.cuda.device_count() >= here:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        return "cpu:gloo,cuda:nccl"
    return "gloo"


@contextmanager
def _ended_by_torchrun() -> Iterator[None]:
    """Turn the signal by which torchrun ends a process into an exception: the other one's failure is its message."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        rank = os.environ.get("RANK", "?")
        print(f"eigenflow: rank {rank} was told to end (signal {number}): another rank has failed.", file=sys.stderr)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
