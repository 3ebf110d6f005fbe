"""A module as a pure function of its parameters, after checking that it is one."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from eigenflow.core.errors import ModelError
from eigenflow.tangent.forward_mode import differentiable_operations

__all__ = ["Network", "Parameters"]

Parameters = Mapping[str, Tensor]


class Network:
    """A `torch.nn.Module` seen as outputs = apply(parameters, inputs).

    The module keeps the mode (train or eval, layer by layer) that it had when the network was made:
    every evaluation switches to it and back, so that a training loop may use another one.

    Args:
        model: Any module. It is referred to, not copied, and never changed.
        dtype: Floating-point type in which everything is evaluated; the module's own parameters are
            converted on the fly.

    Raises:
        ModelError: If no parameter is trainable, or a layer draws random numbers or updates running
            statistics in the mode that it is in.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        self.model = model
        self.dtype = dtype
        self.modes = {name: module.training for name, module in model.named_modules()}
        self.trainable = tuple(name for name, p in model.named_parameters() if p.requires_grad)
        if not self.trainable:
            raise ModelError(
                "`model` has no trainable parameters, so its Jacobian is empty. "
                "Set requires_grad_(True) on what is trained, before the probe is made."
            )
        _refuse_stateful_layers(model)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Copy the trainable parameters, and everything else the module holds, in `self.dtype`."""
        trainable = set(self.trainable)
        tensors = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        copies = {name: self._convert(tensor.detach(), copy=True) for name, tensor in tensors.items()}
        parameters = {name: copies[name] for name in self.trainable}
        return parameters, {name: tensor for name, tensor in copies.items() if name not in trainable}

    def apply(
        self, parameters: Parameters, rest: Parameters, inputs: Tensor, watch: AbstractContextManager[Any] | None = None
    ) -> Tensor:
        """Evaluate the module; returns outputs of shape (samples, outputs).

        Args:
            parameters: Trainable parameters, by name.
            rest: Everything else the module holds.
            inputs: Sample axis first.
            watch: Entered around the module's own operations.
        """
        outputs = self.apply_unflattened(parameters, rest, inputs, watch)
        return outputs.reshape(len(outputs), -1) if outputs.ndim else outputs.reshape(1, 1)

    def apply_unflattened(
        self, parameters: Parameters, rest: Parameters, inputs: Tensor, watch: AbstractContextManager[Any] | None = None
    ) -> Tensor:
        """Evaluate the module; returns outputs in its own shape, sample axis first."""
        with self._in_probe_mode(), differentiable_operations(), watch or nullcontext():
            outputs = functional_call(self.model, {**rest, **parameters}, (inputs,))
        if not isinstance(outputs, Tensor):
            raise ModelError(
                f"`model` must return one tensor, but returns {type(outputs).__name__}. "
                f"Wrap it in a module whose forward returns the outputs that the loss sees."
            )
        return outputs

    def _convert(self, tensor: Tensor, copy: bool = False) -> Tensor:
        return tensor.to(self.dtype if tensor.is_floating_point() else tensor.dtype, copy=copy)

    @contextmanager
    def _in_probe_mode(self) -> Iterator[None]:
        changed = [m for name, m in self.model.named_modules() if m.training != self.modes.get(name, m.training)]
        for module in changed:
            module.training = not module.training
        try:
            yield
        finally:
            for module in changed:
                module.training = not module.training


def _refuse_stateful_layers(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if not module.training:
            continue
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            problem = f"draws a new mask at every call (p = {module.p})"
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            problem = "normalises by the batch and updates its running statistics at every call"
        else:
            continue
        raise ModelError(
            f"`model` has layer '{name}' ({type(module).__name__}) in train mode, which {problem}, so the "
            f"operator M = J J^T is not one operator. Call model.eval() before making the probe, and "
            f"model.train() after it: the probe keeps measuring in the mode that it was made in."
        )
