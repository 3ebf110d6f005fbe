"""A model in parts on many processes, put together where it is measured, at the updates that are measured.

Parts can be put together by all processes only. Which updates are measured is known to who measures, and depends on its
clock. So all of them meet at every update that the schedule has, and at the one before it: there the first process says
whether it looks at the network, and if so, parameters and P are gathered. Where one look is followed by more than the
schedule has (an optimizer without a state yet, a rate of 0), the next meeting is at the next update. At all other
updates nothing is exchanged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from eigenflow.core.errors import ArgumentError
from eigenflow.integrations.unsharded import UnshardedTwin, plain_copy, whole_tensors
from eigenflow.tangent.model.slots import Slots, plain_name
from eigenflow.tangent.preconditioner import inverse_preconditioner
from eigenflow.tangent.processes import ProcessGroup
from eigenflow.trajectory.schedule import Schedule

__all__ = ["NO_AVERAGE", "Plan", "SpreadModel", "is_spread"]

NO_AVERAGE = (
    "`ema` must be None for a model in parts on many processes (FSDP, tensor parallel), whose average is in parts too. "
    "Save the averages as checkpoints, and measure those: eigenflow measure --checkpoints."
)


def is_spread(model: nn.Module) -> bool:
    """Whether a model's parameters are in parts on many processes."""
    return any(hasattr(p, "full_tensor") for p in model.parameters()) or any(
        type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()
    )


@dataclass(frozen=True)
class Plan:
    """What all processes know of a record.

    Attributes:
        steps: That may be measured.
        optimizer: Whose updates count, by its place.
        reads_optimizer: Whether its P is read.
    """

    steps: tuple[int, ...]
    optimizer: int
    reads_optimizer: bool


class SpreadModel:
    """The whole of a model in parts, for those processes that measure it. Made by all of them together.

    Args:
        model: The live one, in parts.
        measures: Whether this process measures, and so holds a whole copy.

    Raises:
        ModelError: On all processes, if it cannot be copied.
    """

    def __init__(self, model: nn.Module, *, measures: bool):
        self.model, self.processes = model, ProcessGroup()
        copied = self.processes.each(lambda: plain_copy(model) if measures else None)
        self._twin = None if copied is None else UnshardedTwin(model, copied, self.processes)
        if self._twin is None:
            self._pass_on()
        self._parameters = list(model.parameters())
        self._trainable = self._which_train()
        self._schedule: Schedule | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._inverse: dict[str, Tensor] | ArgumentError = {}
        self._is_open = True

    @property
    def module(self) -> nn.Module:
        """The whole copy, on processes that measure."""
        assert self._twin is not None
        return self._twin.module

    def live(self) -> dict[int, Tensor]:
        """The parts that an optimizer moves, by the identity of the copy's parameter."""
        parts = {plain_name(name): part for name, part in self.model.named_parameters()}
        return {id(own): parts[plain_name(name)] for name, own in self.module.named_parameters()}

    def begin(self, make: Callable[[], Plan], optimizers: Sequence[Any], *, all_measure: bool) -> Plan:
        """Make the record where it is made, and hand on what all processes must know of it; what fails there fails all.

        Args:
            make: Makes it.
            optimizers: Of the live model, in the order that `Plan.optimizer` counts.
            all_measure: Whether `make` is called on all processes, and makes collective calls itself.
        """
        plan = make() if all_measure else self.processes.first(make)
        self._schedule = Schedule(plan.steps)
        self._optimizer = optimizers[plan.optimizer] if plan.reads_optimizer else None
        return plan

    def meet(self, step: int, updates: int = 1, looks_at: Callable[[int, int], bool] | None = None) -> None:
        """Bring the copy up to date, if somebody looks at it; called by all processes after every update.

        Args:
            step: Number of the update.
            updates: Since the last call.
            looks_at: On the first process: whether it will look at the network at this step; None: not any more.
        """
        assert self._schedule is not None
        which = self._which_train()
        changed, self._trainable = which != self._trainable, which
        if not (changed or self._is_open or self._schedule.is_due(step - updates, step + 1)):
            return
        self._is_open = self.processes.first(lambda: changed or (looks_at is not None and looks_at(step, updates)))
        if self._is_open:
            self._gather()

    def inverse(self, network: nn.Module) -> dict[str, Tensor]:
        """The diagonal of P^(-1) at the last meeting, by the names of a network that holds the copy's parameters.

        Raises:
            ArgumentError: If the optimizer had no state then.
        """
        if isinstance(self._inverse, ArgumentError):
            raise self._inverse
        by_parameter = {
            id(parameter): self._inverse[plain_name(name)]
            for name, parameter in self.module.named_parameters()
            if plain_name(name) in self._inverse
        }
        return {
            plain_name(name): by_parameter[id(parameter)]
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
        }

    def have_moved(self) -> None:
        """Say that the live parameters were written to, where nothing was gathered."""
        with torch.no_grad():
            next(self.module.parameters()).add_(0)

    def _which_train(self) -> tuple[bool, ...]:
        return tuple([parameter.requires_grad for parameter in self._parameters])

    def _gather(self) -> None:
        if self._twin is None:
            self._pass_on()
        else:
            self._twin.refresh()
        if self._optimizer is None:
            return
        held = {id(p) for group in self._optimizer.param_groups for p in group["params"]}
        moved = _Moved({name: p for name, p in self.model.named_parameters() if id(p) in held})
        try:
            found = inverse_preconditioner(self._optimizer, cast("nn.Module", moved))
        except ArgumentError as error:  # it has no state yet, on any process
            self._inverse = error
            return
        self._inverse = whole_tensors(found, self.processes, keeps=self._twin is not None)

    def _pass_on(self) -> None:
        """This process's part of a gathering whose result it does not need."""
        whole_tensors(Slots(self.model).tensors(), self.processes, keeps=False)


class _Moved:
    """Those parameters of a model that an optimizer holds, as `inverse_preconditioner` asks a module for them."""

    def __init__(self, parameters: Mapping[str, Tensor]):
        self._parameters = parameters

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        return list(self._parameters.items())
