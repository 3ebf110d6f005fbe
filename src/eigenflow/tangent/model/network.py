"""A module as a pure function of its parameters, after checking that it is one."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from eigenflow.core.errors import ModelError
from eigenflow.tangent.model.evaluation import evaluation, is_transformed, undisturbed
from eigenflow.tangent.model.outputs import Output, chosen_output, name_output
from eigenflow.tangent.model.samples import Inputs, call_arguments, in_dtype
from eigenflow.tangent.model.slots import Slots
from eigenflow.tangent.model.wrappers import refuse_unknown_tensors, unwrapped

__all__ = ["Network", "Parameters"]

Parameters = Mapping[str, Tensor]


class Network:
    """A `torch.nn.Module` seen as outputs = apply(parameters, inputs).

    The module keeps the mode (train or eval, layer by layer) that it had when the network was made:
    every evaluation switches to it and back, so that a training loop may use another one.

    Args:
        model: Any module. It is referred to, not copied, and never changed. Wrappers of `DistributedDataParallel`,
            `DataParallel` and `torch.compile` are taken off.
        dtype: Floating-point type in which everything is evaluated; the module's own parameters are
            converted on the fly, and so is what the forward pass would round to a lower precision.
        output: Key, index or function that takes the outputs out of what the module returns; None: the obvious one.

    Raises:
        ModelError: If no parameter is trainable, or a layer draws random numbers or updates running
            statistics in the mode that it is in.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, output: Output = None):
        self.model = unwrapped(model)
        self.dtype = dtype
        self.output = output
        self.modes = {name: module.training for name, module in self.model.named_modules()}
        self.slots = Slots(self.model)
        tensors = self.slots.tensors()
        refuse_unknown_tensors(tensors)
        self.trainable = _trainable(tensors)
        if not self.trainable:
            raise ModelError(
                "`model` has no trainable parameters, so its Jacobian is empty. "
                "Set requires_grad_(True) on what is trained, before the probe is made."
            )
        self.shapes = {name: tensors[name].shape for name in self.trainable}
        # Tensors that the forward pass writes into, found at the first evaluation: each pass gets copies of its own.
        self.written: frozenset[str] = frozenset()
        # Whether the forward pass takes gradients by the parameters, which then have to be marked for it.
        self.differentiates = False
        _refuse_stateful_layers(self.model)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Copy the trainable parameters, and everything else the module holds, in `self.dtype`.

        Raises:
            ModelError: If other parameters are trainable than when the network was made.
        """
        with undisturbed():
            return self._state()

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        tensors = self.slots.tensors()
        self._require_same_parameters(tensors)
        copies = {name: self._convert(tensor.detach(), copy=True) for name, tensor in tensors.items()}
        parameters = {name: copies[name] for name in self.trainable}
        return parameters, {name: tensor for name, tensor in copies.items() if name not in parameters}

    def apply_in(self, dtype: torch.dtype, parameters: Parameters, rest: Parameters, inputs: Inputs) -> Tensor:
        """Outputs as PyTorch's own operations give them in another floating-point type."""
        other = copy(self)
        other.dtype = dtype
        own, fixed = ({name: other._convert(tensor) for name, tensor in side.items()} for side in (parameters, rest))
        return other.apply(own, fixed, in_dtype(inputs, dtype), elementary=False)

    def parameters(self) -> dict[str, Tensor]:
        """The trainable parameters themselves.

        Raises:
            ModelError: If one is no longer there.
        """
        tensors = self.slots.tensors()
        if any(name not in tensors for name in self.trainable):
            self._require_same_parameters(tensors)
        return {name: tensors[name] for name in self.trainable}

    def apply(
        self,
        parameters: Parameters,
        rest: Parameters,
        inputs: Inputs,
        watch: AbstractContextManager[Any] | None = None,
        *,
        elementary: bool = True,
    ) -> Tensor:
        """Evaluate the module; returns outputs of shape (samples, outputs).

        Args:
            parameters: Trainable parameters, by name.
            rest: Everything else the module holds.
            inputs: Sample axis first.
            watch: Entered around the module's own operations.
            elementary: Whether operations whose derivatives PyTorch lacks are replaced by elementary ones.
        """
        outputs = self.apply_unflattened(parameters, rest, inputs, watch, elementary=elementary)
        return outputs.reshape(len(outputs), -1) if outputs.ndim else outputs.reshape(1, 1)

    def apply_unflattened(
        self,
        parameters: Parameters,
        rest: Parameters,
        inputs: Inputs,
        watch: AbstractContextManager[Any] | None = None,
        *,
        elementary: bool = True,
    ) -> Tensor:
        """Evaluate the module; returns outputs in its own shape, sample axis first."""
        arguments, keywords = call_arguments(inputs)
        rest, parameters = (
            {name: t.clone() if name in self.written else t for name, t in side.items()} for side in (rest, parameters)
        )
        if self.differentiates and not torch.is_grad_enabled():
            parameters = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        is_recorded = torch.is_grad_enabled()
        with self.slots.holding({**rest, **parameters}), self._in_probe_mode():
            # A forward pass may differentiate by itself, so it runs as in training.
            with torch.enable_grad(), evaluation(self.dtype, elementary=elementary), watch or nullcontext():
                returned = self.model(*arguments, **keywords)
            self.output = name_output(returned, self.output)
            outputs = chosen_output(returned, self.output)
        # Inside a transform of torch.func, cutting off would drop tangents.
        return outputs if is_recorded or is_transformed(outputs) else outputs.detach()

    def note_written(self, parameters: Parameters, rest: Parameters, inputs: Inputs) -> None:
        """Find out which tensors one forward pass writes into."""
        before = {**rest, **parameters}
        after = {name: tensor.clone() for name, tensor in before.items()}
        versions = {name: tensor._version for name, tensor in after.items()}
        self.apply_unflattened({n: after[n] for n in parameters}, {n: after[n] for n in rest}, inputs)
        # A write that changes nothing here may change something later; one through `.data` counts no version.
        self.written = frozenset(
            name
            for name, tensor in before.items()
            if after[name]._version != versions[name] or not _is_same(tensor, after[name])
        )

    @torch.no_grad()
    def settled(self, parameters: Parameters, rest: Parameters, inputs: Inputs) -> dict[str, Tensor]:
        """The parameters as a forward pass leaves them: where it writes into them, training goes on from that."""
        if self.written.isdisjoint(parameters):
            return dict(parameters)
        own = {name: tensor.clone() for name, tensor in parameters.items()}
        written, self.written = self.written, self.written - own.keys()
        try:
            self.apply_unflattened(own, rest, inputs)
        finally:
            self.written = written
        return own

    def _require_same_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        now = _trainable(tensors)
        if now != self.trainable:
            frozen = [name for name in self.trainable if name not in now]
            thawed = [name for name in now if name not in self.trainable]
            changes = [
                f"{', '.join(names)} {what}" for names, what in ((frozen, "no longer"), (thawed, "now")) if names
            ]
            raise ModelError(
                f"`model` has other trainable parameters than when the probe was made: {' and '.join(changes)} "
                f"trainable. The operator is another one then: make a new probe (and a new record)."
            )
        for name, shape in self.shapes.items():
            if tensors[name].shape != shape:
                raise ModelError(
                    f"`model` has another shape in '{name}' than when the probe was made, "
                    f"{tuple(tensors[name].shape)} instead of {tuple(shape)}. Make a new probe."
                )

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


def _is_same(before: Tensor, after: Tensor) -> bool:
    """Bit for bit, also where there are NaN."""
    same = before == after
    return bool((same | (before.isnan() & after.isnan()) if before.is_floating_point() else same).all())


def _trainable(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    return tuple(name for name, t in tensors.items() if isinstance(t, nn.Parameter) and t.requires_grad)


def _refuse_stateful_layers(model: nn.Module) -> None:
    for name, module in model.named_modules():
        is_scaled = isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.scale_grad_by_freq
        if is_scaled and module.weight.requires_grad:
            raise ModelError(
                f"`model` has layer '{name}' ({type(module).__name__}) with scale_grad_by_freq=True, whose "
                f"gradient is not the derivative of any function, so no operator explains its training. Set "
                f"scale_grad_by_freq=False, or freeze the layer."
            )
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
