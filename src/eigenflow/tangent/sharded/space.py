"""Rows of which every process holds a part."""

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.linalg import AbstractRowSpace
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.processes import ProcessGroup
from eigenflow.tangent.tape import batches

__all__ = ["ShardedSpace"]

# Gradients of several parameters travel together up to so many bytes: one call costs as much as some ten thousand.
BUCKET_BYTES = 32 * 2**20


class ShardedSpace(AbstractRowSpace):
    """Rows of which this process holds `local_size` entries.

    Args:
        local_sizes: Entries of every process, in the order of ranks.
        processes: Who they are.
        device: Where this process's entries live.
    """

    def __init__(self, local_sizes: list[int], processes: ProcessGroup, device: torch.device | str = "cpu"):
        self.processes, rank = processes, processes.rank
        self.size, self.local_size = sum(local_sizes), local_sizes[rank]
        self.start = sum(local_sizes[:rank])
        self.device = torch.device(device)

    def inner(self, left: Float[Tensor, "left local"], right: Float[Tensor, "right local"]) -> Float[Tensor, "l r"]:
        """Inner products of all pairs of rows, summed over the processes."""
        return self.sum(left @ right.T)

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "count local"]:
        """This process's part of the same whole rows that one process would draw."""
        whole = torch.randn(count, self.size, generator=generator, dtype=torch.float64)
        return self.part(whole).to(self.device)

    def sum(self, part: Tensor) -> Tensor:
        """Sum over the processes."""
        return self.processes.sum(part)

    def sums(self, parts: Parameters) -> dict[str, Tensor]:
        """Sums of named tensors with the same first axis, several in one call."""
        first = next(iter(parts.values()))
        columns = max(1, BUCKET_BYTES // (len(first) * first.element_size()))
        widths = {name: part[0] for name, part in parts.items()}
        found: dict[str, Tensor] = {}
        for names in batches(widths, columns):
            if len(names) == 1:
                found[names[0]] = self.sum(parts[names[0]])
                continue
            joined = self.sum(torch.cat([parts[name].reshape(len(first), -1) for name in names], dim=1))
            pieces = joined.split([widths[name].numel() for name in names], dim=1)
            found |= {name: piece.reshape(parts[name].shape) for name, piece in zip(names, pieces, strict=True)}
        return found

    def whole(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "block size"]:
        """The parts of all processes, one after another, on each of them."""
        whole = torch.zeros(len(rows), self.size, dtype=rows.dtype, device=self.device)
        whole[:, self.start : self.start + self.local_size] = rows
        return self.sum(whole)

    def part(self, whole: Float[Tensor, "block size"]) -> Float[Tensor, "block local"]:
        """This process's part of whole rows."""
        return whole[:, self.start : self.start + self.local_size].contiguous()

    def is_any(self, here: bool) -> bool:
        """Whether it is so on any process."""
        count = self.sum(torch.tensor([float(here)], dtype=torch.float64, device=self.device))
        return float(count) > 0
