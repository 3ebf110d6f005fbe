"""A plain twin of a model whose parameters are spread over processes, kept in step with it.

FSDP (`fully_shard`) and tensor-parallel plans keep parameters as DTensors, whose derivatives by `torch.func` would be
wrong in silence (pytorch#182641). The twin is the same module without their wrappers and hooks, with whole parameters
on every process: a probe of it measures what the unsharded model would show.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from eigenflow.core.errors import ArgumentError, ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from eigenflow.tangent.processes import ProcessGroup

__all__ = ["UnshardedTwin", "unsharded_twin"]

# Where fully_shard keeps its state on a module.
STATE = ("__composable_api_state_key", "_is_fsdp_managed_module", "_fsdp_use_orig_params")


class UnshardedTwin:
    """Made by `unsharded_twin`, by all processes together.

    Attributes:
        module: The plain module, to make a probe of. It is never trained: `refresh` fills it.
    """

    def __init__(self, model: "nn.Module", module: "nn.Module", processes: "ProcessGroup | None" = None):
        from eigenflow.tangent.processes import ProcessGroup

        self._model, self.module = model, module
        self._processes = processes or ProcessGroup()
        self.refresh()

    def refresh(self) -> "UnshardedTwin":
        """Take over parameters, buffers and modes of the live model. Collective: all processes call it together.

        Returns:
            Itself.

        Raises:
            ModelError: If the live model has other parameters or buffers than the twin.
            ProcessLostError: If another process has ended or hangs.
        """
        import torch

        live, own = _named(self._model), _named(self.module)
        if set(live) != set(own):
            missing = sorted(set(live) ^ set(own))[:4]
            raise ModelError(
                f"`model` and its unsharded twin must have the same parameters and buffers, but {missing} are in one "
                f"of them only. Make the twin anew with unsharded_twin(model), or let `build` make the same module."
            )
        for name, tensor in live.items():
            whole = whole_tensors({name: tensor}, self._processes)[name]
            if whole.shape != own[name].shape:
                raise ModelError(
                    f"`model` has '{name}' of shape {tuple(whole.shape)}, but its unsharded twin "
                    f"{tuple(own[name].shape)}. Make the twin anew with unsharded_twin(model)."
                )
            with torch.no_grad():
                own[name].copy_(whole)
            own[name].requires_grad_(tensor.requires_grad)
        modes = {_plain(name): module.training for name, module in self._model.named_modules()}
        for name, module in self.module.named_modules():
            module.training = modes.get(name, module.training)
        return self

    def inverse_preconditioner(self, optimizer: "torch.optim.Optimizer") -> "dict[str, Tensor]":
        """The diagonal of P^(-1) of the optimizer that trains the live model, whole, for `probe.at(preconditioner=)`.

        Collective, as `refresh`.
        """
        from eigenflow.tangent import inverse_preconditioner

        device = next(self.module.parameters()).device
        found = inverse_preconditioner(optimizer, self._model)
        return {name: tensor.to(device) for name, tensor in whole_tensors(found, self._processes).items()}


def unsharded_twin(
    model: "nn.Module",
    *,
    device: "torch.device | str | None" = None,
    build: "Callable[[], nn.Module] | None" = None,
) -> UnshardedTwin:
    """Make a plain twin of a model that FSDP or a tensor-parallel plan has spread over processes. Collective.

    Args:
        model: After `fully_shard` or `parallelize_module`, also inside torch.compile. It is not changed.
        device: Where the twin lives; None: where the model computes. "cpu" leaves the memory of the GPUs alone.
        build: Makes a plain module of the same kind, for models that cannot be copied; None: the model is copied.

    Returns:
        The twin, filled. `Probe(twin.module, ...)`, and `twin.refresh()` before every measurement.

    Raises:
        ModelError: For the older FullyShardedDataParallel, or a model that cannot be copied.
    """
    from torch import nn

    from eigenflow.tangent.model.wrappers import unwrapped

    if not isinstance(model, nn.Module):
        raise ArgumentError(f"`model` must be a torch.nn.Module, but is {type(model).__name__}.")
    model = unwrapped(model)
    return UnshardedTwin(model, plain_copy(model, device=device, build=build))


def plain_copy(
    model: "nn.Module",
    *,
    device: "torch.device | str | None" = None,
    build: "Callable[[], nn.Module] | None" = None,
) -> "nn.Module":
    """The module of a twin, not filled yet; as `unsharded_twin`, by one process alone."""
    import torch

    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise ModelError(
            "`model` is wrapped in FullyShardedDataParallel, which keeps flattened parameters. Use fully_shard of "
            "torch.distributed.fsdp, whose parameters keep their names and shapes (Trainer: "
            "fsdp_config={'version': 2}; Lightning: ModelParallelStrategy); or save a full state dict, load it into a "
            "plain model, and measure that."
        )
    where = torch.device(device or _device(model))
    if build is not None:
        with torch.device("meta"):
            made = build()
        filled = _placeholders(made, where)
        for module in made.modules():
            for table in (module._parameters, module._buffers):
                table.update({name: filled[id(t)] for name, t in table.items() if t is not None})
        return made
    try:
        with _taken_off(model):
            return copy.deepcopy(model, _placeholders(model, where) | _meshes(model))
    except Exception as error:
        raise ModelError(
            f"`model` cannot be copied ({type(error).__name__}: {str(error)[:200]}). Say how a plain one is made: "
            f"unsharded_twin(model, build=lambda: Model(config))."
        ) from error


def whole_tensors(
    tensors: "Mapping[str, Tensor]", processes: "ProcessGroup", *, keeps: bool = True
) -> "dict[str, Tensor]":
    """Tensors of which every process holds a part, whole. Collective: all of them call it, in the same order.

    Args:
        tensors: By name; what is not spread out is returned as it is.
        processes: All.
        keeps: Whether this process wants them; else nothing is returned, and no more than one is held at a time.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        whole = _whole(tensor, processes)
        if keeps:
            found[name] = whole
    return found


def _named(model: "nn.Module") -> "dict[str, Tensor]":
    """Parameters and buffers, tied ones once."""
    from eigenflow.tangent.model.slots import Slots

    return Slots(model).tensors()


def _plain(name: str) -> str:
    from eigenflow.tangent.model.slots import plain_name

    return plain_name(name + ".").removesuffix(".")


def _whole(tensor: "Tensor", processes: "ProcessGroup") -> "Tensor":
    """All of it on this process; a collective call for what is spread out."""
    from torch.distributed.tensor import DTensor

    tensor = tensor.detach()
    if not isinstance(tensor, DTensor):
        return tensor
    found: list[Tensor] = []
    spread = tensor

    def gather() -> None:
        whole: Any = spread.full_tensor()
        found.append(whole.wait() if hasattr(whole, "wait") else whole)

    processes.together(f"full_tensor of {tensor.numel():,} numbers", gather)
    return found[0]


def _device(model: "nn.Module") -> "torch.device":
    import torch

    return next((tensor.device for tensor in _named(model).values()), torch.device("cpu"))


def _placeholders(model: "nn.Module", device: "torch.device") -> dict[int, Any]:
    """What a deep copy shall take for every parameter and buffer: empty ones of the whole shape."""
    import torch
    from torch import nn

    memo: dict[int, Any] = {}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for tensor in table.values():
                if tensor is None or id(tensor) in memo:
                    continue
                empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
                is_parameter = isinstance(tensor, nn.Parameter)
                memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    return memo


def _meshes(model: "nn.Module") -> dict[int, Any]:
    """Meshes of processes that modules refer to stay what they are."""
    from torch.distributed.device_mesh import DeviceMesh

    held = (value for module in model.modules() for value in module.__dict__.values())
    return {id(value): value for value in held if isinstance(value, DeviceMesh)}


@contextmanager
def _taken_off(model: "nn.Module") -> Iterator[None]:
    """Within it, the modules have their own classes and no hooks of torch.distributed; nothing is evaluated there."""
    before = [(module, type(module), dict(module.__dict__)) for module in model.modules()]
    try:
        for module, kind, held in before:
            module.__class__ = _own_class(kind)
            kept = {name: _without_hooks(value) for name, value in held.items() if not name.startswith(STATE)}
            module.__dict__.clear()
            module.__dict__.update(kept)
        yield
    finally:
        for module, kind, held in before:
            module.__class__ = kind
            module.__dict__.clear()
            module.__dict__.update(held)


def _without_hooks(value: Any) -> Any:
    """A table of hooks without those of torch.distributed; anything else as it is."""
    if not isinstance(value, OrderedDict) or not any(_is_distributed(hook) for hook in value.values()):
        return value
    return OrderedDict((key, hook) for key, hook in value.items() if not _is_distributed(hook))


def _own_class(kind: type) -> type:
    """The class that `fully_shard` has mixed its own into."""
    from torch.distributed.fsdp import FSDPModule

    return next(base for base in kind.__mro__ if not issubclass(base, FSDPModule))


def _is_distributed(hook: Any) -> bool:
    while isinstance(hook, partial):
        hook = hook.func
    owner = getattr(hook, "hook", hook)
    return (getattr(owner, "__module__", None) or "").startswith("torch.distributed")
