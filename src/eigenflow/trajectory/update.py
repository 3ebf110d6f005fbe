"""An update to be measured, as the recorder saw it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from eigenflow.trajectory.step import State

__all__ = ["Update"]


@dataclass(frozen=True)
class Update:
    """An update of the parameters.

    Attributes:
        before: State before it.
        after: State after it.
        step_size: Its length in time.
        time: Sum of learning rates before it.
        updates: How many updates of the optimizer it spans.
        preconditioner: Diagonal of P^(-1) by parameter name, or None.
        batch_size: Samples that it saw; None: not said.
        follows_gradient: Whether the optimizer is known to go along the (preconditioned) gradient.
    """

    before: State
    after: State
    step_size: float
    time: float
    updates: int = 1
    preconditioner: Mapping[str, Tensor] | None = None
    batch_size: int | None = None
    follows_gradient: bool = False
