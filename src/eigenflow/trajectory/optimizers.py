"""The preconditioner that a run is recorded with: read from its optimizer at every measured update, or fixed.

Step t of Adam divides by v_t, which the gradient of that step is part of. So P is read after the update was made, and
applied to the network before it: M = J P^(-1) J^T is the operator by which that very update moved the error.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent import inverse_preconditioner

__all__ = ["OptimizerElsewhere", "PreconditionerLike", "Preconditioning", "require_known"]


@dataclass(frozen=True)
class OptimizerElsewhere:
    """An optimizer that moves the parts of a model of which the probe's is a whole copy.

    Attributes:
        optimizer: It.
        read: Gives the diagonal of P^(-1) as it is now, by the names of the probe's model; raises ArgumentError as long
            as the optimizer has no state.
    """

    optimizer: torch.optim.Optimizer
    read: Callable[[], Mapping[str, Tensor]]


PreconditionerLike = Mapping[str, Tensor] | torch.optim.Optimizer | OptimizerElsewhere | None

PLAIN, OWN = "J J^T", "J P^(-1) J^T"


class Preconditioning:
    """Where P^(-1) comes from.

    Args:
        source: The optimizer that trains the model, the diagonal of P^(-1) by parameter name, or None for none.
        model: The live model.

    Raises:
        ArgumentError: For an optimizer whose preconditioner is not known, one that does not hold all trainable
            parameters of the model, or a mapping that lacks one. An optimizer that made no step yet is accepted.
    """

    def __init__(self, source: PreconditionerLike, model: nn.Module):
        if not (source is None or isinstance(source, Mapping | torch.optim.Optimizer | OptimizerElsewhere)):
            raise ArgumentError(
                f"`preconditioner` must be a torch optimizer, the diagonal of P^(-1) by parameter name, or None, but "
                f"is {type(source).__name__}. Pass the optimizer that trains the model."
            )
        self.source, self.model = source, model
        if isinstance(source, torch.optim.Optimizer):
            require_known(source)
            _require_all(source, model)

    @property
    def is_given(self) -> bool:
        """Whether the operator is another one than J J^T."""
        return self.source is not None

    @property
    def holds_momentum(self) -> bool:
        """Whether P itself says how momentum stretches an update, so that time is the sum of learning rates alone."""
        return isinstance(self.source, torch.optim.Optimizer | OptimizerElsewhere)

    @property
    def kind(self) -> dict[str, bool]:
        """What measuring costs with it, as `update_cost` takes it: P of SGD has one value for all of a parameter."""
        source = self.source.optimizer if isinstance(self.source, OptimizerElsewhere) else self.source
        return {"is_preconditioned": self.is_given, "is_uniform": isinstance(source, torch.optim.SGD)}

    def read(self) -> dict[str, Tensor] | None:
        """The diagonal of P^(-1) as it is now; None for none.

        Raises:
            ArgumentError: If the optimizer has no state yet for some parameter.
        """
        if isinstance(self.source, torch.optim.Optimizer):
            return {name: p.clone() for name, p in inverse_preconditioner(self.source, self.model).items()}
        if isinstance(self.source, OptimizerElsewhere):
            return {name: p.clone() for name, p in self.source.read().items()}
        return None if self.source is None else dict(self.source)

    def describe(self) -> dict[str, Any]:
        """What the header of a run says about it."""
        if self.source is None:
            return {"operator": PLAIN, "preconditioner": None}
        optimizer = self.source.optimizer if isinstance(self.source, OptimizerElsewhere) else self.source
        name = type(optimizer).__name__ if self.holds_momentum else "given"
        return {"operator": OWN, "preconditioner": name}


def require_known(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer whose preconditioner is not known.

    Raises:
        ArgumentError: With those that are.
    """
    # Asked for the preconditioner of no parameters at all: only the kind of optimizer matters then.
    empty = copy.copy(optimizer)
    empty.param_groups = [{**optimizer.param_groups[0], "params": []}]
    inverse_preconditioner(empty, nn.Module())


def _require_all(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    if missing:
        raise ArgumentError(
            f"`preconditioner` is an optimizer that does not hold the trainable parameters {missing[:4]} of the "
            f"probe's model ({len(missing)} in all). Pass the optimizer that trains this model, or freeze them."
        )
