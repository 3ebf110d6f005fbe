"""What every reader gives: names, shapes and types of tensors at once, and the tensors themselves when asked for."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["AbstractWeights", "Entry", "UnreadableError", "assembled"]


class UnreadableError(Exception):
    """A checkpoint cannot be read; the message is the reason, without its path. It is skipped, and the run goes on."""


@dataclass(frozen=True)
class Entry:
    """A tensor that a checkpoint holds.

    Attributes:
        shape: Its shape.
        dtype: Its type as stored.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class AbstractWeights(ABC):
    """The tensors of one checkpoint.

    Attributes:
        format: What it is, in words.
        files: What is read.
        entries: Every tensor by its whole name; names of nested collections are joined by dots.
        content: What else the file holds: steps, rates.
        notes: What a person should know of how it is read.
    """

    format: str
    files: tuple[Path, ...]
    entries: dict[str, Entry]
    content: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @abstractmethod
    def tensor(self, name: str) -> Tensor:
        """One tensor, on the CPU, in its own type.

        Raises:
            UnreadableError: If its bytes are not there.
        """

    @property
    def bytes(self) -> int:
        """Of the files."""
        return sum(file.stat().st_size for file in self.files if file.exists())


def assembled(name: str, entry: Entry, parts: list[tuple[Tensor, tuple[int, ...]]]) -> Tensor:
    """Put a tensor together from parts at offsets; nothing is allocated before the parts are known to fill it.

    Raises:
        UnreadableError: If parts are missing, overlap, stick out, or have another type.
    """
    if any(
        part.dtype != entry.dtype
        or part.ndim != len(entry.shape)
        or len(offsets) != part.ndim
        or any(o < 0 or o + n > whole for o, n, whole in zip(offsets, part.shape, entry.shape, strict=True))
        for part, offsets in parts
    ):
        raise UnreadableError(f"tensor '{name}' has parts that do not fit into its shape {entry.shape}")
    found = sum(part.numel() for part, _ in parts)
    if found != prod(entry.shape):
        raise UnreadableError(f"tensor '{name}' has {found:,} of its {prod(entry.shape):,} numbers in the files")
    whole, is_filled = torch.empty(entry.shape, dtype=entry.dtype), torch.zeros(entry.shape, dtype=torch.bool)
    for part, offsets in parts:
        region = tuple(slice(o, o + n) for o, n in zip(offsets, part.shape, strict=True))
        whole[region], is_filled[region] = part, True
    if not bool(is_filled.all()):
        raise UnreadableError(f"tensor '{name}' has parts that overlap, and gaps")
    return whole
