"""Everything of a model, its optimizer and the process that a measurement must leave as it was, bit for bit."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["differences", "fingerprint"]

HOOKS = tuple(name for name in vars(nn.Module()) if name.endswith(("hooks", "with_kwargs", "always_called")))
# What every module keeps in containers of its own; the containers' entries are looked at one by one.
CONTAINERS = ("_parameters", "_buffers", "_modules", *HOOKS)


class _Same:
    """Equal only to the very same object, which it keeps alive so that no other takes its address."""

    def __init__(self, held: Any):
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)

    def __repr__(self) -> str:
        return f"<{type(self.held).__name__} at {id(self.held):#x}>"


def fingerprint(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """What must be the same after a measurement, by where it stands.

    Per slot of every module, also those under a second name: identity, type, dtype, bytes, requires_grad and grad of
    parameters and buffers; hooks; train or eval; keys of `__dict__` and plain values in it. Random states of torch,
    python and numpy, grad mode, default dtype, and every public function of torch that a measurement might replace.
    """
    found: dict[str, Any] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        found |= {f"{path}: {key}": value for key, value in _module(module).items()}
    if optimizer is not None:
        found |= {f"optimizer {key}": value for key, value in _optimizer(optimizer).items()}
    return found | _process()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Where two fingerprints differ."""
    return [key for key in (before | after) if key not in before or key not in after or before[key] != after[key]]


def _module(module: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {
        "module": _Same(module),
        "class": type(module),
        "training": module.training,
        "__dict__": tuple(vars(module)),
    }
    for slots in ("_parameters", "_buffers"):
        entries = dict(getattr(module, slots).items())
        found[slots] = tuple(entries)
        found |= {f"{slots} {name}": _slot(value) for name, value in entries.items()}
    found["_modules"] = tuple((name, _Same(child)) for name, child in module._modules.items())
    for hooks in HOOKS:
        found[hooks] = _hooks(getattr(module, hooks))
    for name, value in vars(module).items():
        if name not in CONTAINERS:
            found[f"attribute {name}"] = _attribute(value)
    return found


def _slot(value: Tensor | None) -> Any:
    if value is None:
        return None
    grad = value.grad if value.is_leaf else None
    hooks = _hooks(value._backward_hooks), _hooks(getattr(value, "_post_accumulate_grad_hooks", None))
    return _Same(value), type(value), value.requires_grad, value.is_leaf, _bytes(value), _grad(grad), hooks


def _grad(grad: Tensor | None) -> Any:
    return None if grad is None else (_Same(grad), _bytes(grad))


def _hooks(hooks: Any) -> Any:
    return tuple((key, _Same(hook)) for key, hook in hooks.items()) if hooks else ()


def _attribute(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Same(value), _bytes(value)
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    return _Same(value)


def _bytes(tensor: Tensor) -> Any:
    if is_lazy(tensor):
        return "without a shape"
    data = getattr(tensor, "_local_tensor", tensor).detach()
    if data.is_sparse or data.is_nested:
        data = data.to_dense()
    data = data.contiguous().reshape(-1)
    return tensor.dtype, tuple(tensor.shape), data.view(torch.uint8).numpy().tobytes() if data.numel() else b""


def _optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, group in enumerate(optimizer.param_groups):
        found[f"group {number}"] = tuple((k, v) for k, v in group.items() if k != "params")
        found[f"group {number} params"] = tuple(_Same(p) for p in group["params"])
    for number, (parameter, state) in enumerate(optimizer.state.items()):
        values = tuple((k, _slot(v) if isinstance(v, Tensor) else v) for k, v in state.items())
        found[f"state {number}"] = (_Same(parameter), values)
    return found


def _process() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the state that others draw from
    places = {"torch": torch, "functional": nn.functional, "Tensor": Tensor, "checkpoint": torch.utils.checkpoint}
    functions = {
        f"{place} {name}": _Same(value)
        for place, holder in places.items()
        for name, value in vars(holder).items()
        if callable(value) and not name.startswith("__")
    }
    return {
        "torch's random state": torch.get_rng_state().numpy().tobytes(),
        "python's random state": random.getstate(),
        "numpy's random state": (kind, keys.tobytes(), *rest),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "global hooks": tuple(
            len(v) for k, v in vars(nn.modules.module).items() if k.startswith("_global_") and isinstance(v, dict)
        ),
        **functions,
    }
