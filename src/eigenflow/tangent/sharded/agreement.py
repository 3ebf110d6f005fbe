"""What must not differ between processes: arguments, losses, parameters; and how parts of a loss add up."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.loss.base import AbstractLoss
from eigenflow.tangent.model.samples import named_tensors
from eigenflow.tangent.probe import Probe
from eigenflow.tangent.processes import ProcessGroup

__all__ = ["DRIFTED", "alike", "require_same_tensors", "share_of_loss", "shared_buffers"]

# Relative differences of a tensor's sums that training on processes of other kinds may leave.
DRIFTED = 1e-6


def alike(probe: Probe) -> dict[str, Any]:
    """What must not differ between processes, as the user knows it."""
    named = dict(named_tensors(probe.inputs, "inputs"))
    return {
        "loss": probe.loss.name,
        "dtype": str(probe.network.dtype),
        "inputs": list(named),
        **{f"{n}.dtype": str(t.dtype) for n, t in named.items()},
        **{f"{n}.shape[1:]": tuple(t.shape[1:]) for n, t in named.items()},
        "targets.dtype": str(probe.targets.dtype),
        "targets.shape[1:]": tuple(probe.targets.shape[1:]),
    }


def require_same_tensors(
    what: str, tensors: Mapping[str, Tensor], processes: ProcessGroup, remedy: str, *, allowed: float = 0.0
) -> None:
    """Refuse tensors that differ between processes, on all alike.

    Args:
        what: What must be the same, as a sentence begins.
        tensors: By name.
        processes: Who compares.
        remedy: What to do.
        allowed: Relative difference that is let pass.
    """
    told = processes.gathered({name: _print_of(tensor) for name, tensor in tensors.items()})
    for rank, other in enumerate(told):
        for name, numbers in told[0].items():
            if name not in other or not _are_near(numbers, other[name], allowed):
                raise ArgumentError(
                    f"{what} on every process, but '{name}' differs between rank 0 and rank {rank}. {remedy}"
                )


def shared_buffers(rest: dict[str, Tensor], processes: ProcessGroup) -> dict[str, Tensor]:
    """What is no parameter, as the first process has it; running statistics differ from process to process in training.

    DistributedDataParallel hands them out in the same way, before every forward pass.
    """
    told = processes.gathered({name: _print_of(tensor) for name, tensor in rest.items()})
    differing = [name for name in told[0] if any(one.get(name) != told[0][name] for one in told)]
    for name in differing:
        rest[name] = processes.broadcast(rest[name].contiguous())
    return rest


def share_of_loss(part: tuple[AbstractLoss, Tensor] | None, processes: ProcessGroup) -> float:
    """By how much the bound loss of this process's samples counts in that of all: its share of a mean, 1 of a sum.

    A loss that is known as a function only is held against the targets of one process.

    Args:
        part: The bound loss and its targets, or None on a process that holds no samples.
        processes: Who shares the samples.

    Raises:
        ArgumentError: On all processes, if the parts do not add up.
    """
    told = processes.gathered(None if part is None else part[0].adds_up(part[1]))
    others = None
    if False in told:
        source = next(rank for rank, one in enumerate(told) if one is not None)
        others = processes.gathered(part[1].cpu() if part and processes.rank == source else None)[source]

    def own() -> float | str | None:
        if part is None:
            return None
        loss, targets = part
        found = loss.counted(targets) if others is None else loss.counted_beside(targets, others.to(targets.device))
        return "a sum" if found is None else found

    counted = processes.each(own)
    counts = processes.gathered(counted)
    kinds = {("a sum" if isinstance(one, str) else "a mean") for one in counts if one is not None}
    if len(kinds) > 1:
        raise ArgumentError(
            f"`loss` must be a sum on every process or a mean on every process, but parts of it are both ({counts}, in "
            f"the order of ranks). All processes make this call together, with the same arguments."
        )
    if counted is None or isinstance(counted, str):
        return 1.0
    return counted / sum(one for one in counts if one is not None)


def _print_of(tensor: Tensor) -> tuple[float, ...]:
    """Sums that tell tensors apart: of entries, of squares, and weighed by place."""
    flat = tensor.detach().reshape(-1).to(torch.float64)
    places = torch.linspace(1.0, 2.0, len(flat), dtype=torch.float64, device=flat.device)
    return float(flat.sum()), float(flat.square().sum()), float(flat @ places)


def _are_near(a: tuple[float, ...], b: tuple[float, ...], allowed: float) -> bool:
    if allowed == 0.0:
        return a == b
    size = max(a[1], b[1]) ** 0.5
    return abs(a[1] - b[1]) <= allowed * size**2 and abs(a[2] - b[2]) <= allowed * max(size, abs(a[2]))
