"""No samples at all: what a process is to the others that has no part of a test set."""

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.tangent.model.network import Parameters

__all__ = ["EmptyPoint"]


class EmptyPoint:
    """The linearised network on no samples; what is asked of a test set's `TangentPoint`.

    Args:
        parameters: Trainable parameters, by name.
        rest: Everything else the module holds.
        width: Entries of the error per sample.
        outputs: Per sample.
    """

    size = 0
    loss = 0.0

    def __init__(self, parameters: Parameters, rest: Parameters, width: int, outputs: int):
        self.parameters, self.rest, self.width = dict(parameters), dict(rest), width
        like = next(iter(self.parameters.values()))
        self.outputs = like.new_zeros(0, outputs)
        self.error = like.new_zeros(0)

    def output_change(self, direction: Parameters) -> Float[Tensor, "0 outputs"]:
        """Of no outputs."""
        del direction
        return self.outputs

    def error_after(self, change: Tensor) -> Float[Tensor, " 0"]:
        """Of no outputs."""
        del change
        return self.error

    def loss_after(self, change: Tensor) -> float:
        """A sum over nothing."""
        del change
        return 0.0

    def pull(self, rows: Float[Tensor, "block 0"]) -> dict[str, Tensor]:
        """J^T times empty rows."""
        return {name: torch.zeros(len(rows), *p.shape).to(p) for name, p in self.parameters.items()}

    def push_all(self, directions: Parameters) -> Float[Tensor, "block 0"]:
        """No rows of J times each direction."""
        return self.error.new_zeros(len(next(iter(directions.values()))), 0)
