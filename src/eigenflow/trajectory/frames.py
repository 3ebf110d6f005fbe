"""The eigenbases that a method carries along: of its measurement before, and of its first one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Frame", "Frames"]


@dataclass(frozen=True)
class Frame:
    """Eigenpairs of M at one measurement, all of them or the leading ones.

    Attributes:
        time: Sum of learning rates at the measurement.
        eigenvalues: In decreasing order.
        vectors: Rows.
        shells: Shell of each eigenvalue; shell 0 also holds what no vector does.
    """

    time: float
    eigenvalues: Float[Tensor, " modes"]
    vectors: Float[Tensor, "modes size"]
    shells: Int[Tensor, " modes"]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """For safetensors, each key beginning with `name`."""
        return {
            f"{name}.time": torch.tensor(self.time, dtype=torch.float64),
            f"{name}.eigenvalues": self.eigenvalues.contiguous(),
            f"{name}.vectors": self.vectors.contiguous(),
            f"{name}.shells": self.shells.contiguous(),
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], name: str) -> "Frame | None":
        """What `tensors` made, or None if it is not there."""
        if f"{name}.time" not in tensors:
            return None
        # Copies are aligned in memory, as a file's tensors need not be: products round alike.
        eigenvalues, vectors, shells = (
            tensors[f"{name}.{key}"].clone() for key in ("eigenvalues", "vectors", "shells")
        )
        return cls(float(tensors[f"{name}.time"]), eigenvalues, vectors, shells)


class Frames:
    """The frame of the first measurement of a run, and of the one before; None where there is none (any more)."""

    def __init__(self) -> None:
        self.initial: Frame | None = None
        self.previous: Frame | None = None

    def advance(self, frame: Frame) -> None:
        """Go on to the next measurement."""
        # In the layout that a file gives back, so that a resumed run has the same rounding.
        frame = replace(frame, vectors=frame.vectors.contiguous())
        self.initial = frame if self.initial is None else self.initial
        self.previous = frame

    def state(self) -> dict[str, Tensor]:
        """The frame before, which changes at every measurement."""
        return {} if self.previous is None else self.previous.tensors("previous")

    def origin(self) -> dict[str, Tensor]:
        """The first frame, which stays."""
        return {} if self.initial is None else self.initial.tensors("initial")

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take whichever frame is among them."""
        self.initial = Frame.of(tensors, "initial") or self.initial
        self.previous = Frame.of(tensors, "previous") or self.previous
