"""What stands around a model in training scripts: taken off where that changes nothing, refused where it does."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from eigenflow.core.errors import ModelError

__all__ = ["refuse_unknown_tensors", "unwrapped"]

# Their gradient hooks log and change nothing.
_TRACKERS = frozenset({"wandb", "comet_ml", "neptune", "mlflow", "aim", "clearml", "swanlab", "trackio"})


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel, DataParallel and torch.compile.

    Their forward passes talk to other processes or are compiled; inside is the same function.

    Raises:
        ModelError: For a scripted or traced module, whose tensors cannot be exchanged.
    """
    _refuse_scripted(model)
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        elif isinstance(inner := model.__dict__.get("_modules", {}).get("_orig_mod"), nn.Module):
            model = inner
        else:
            break
    return model


def _refuse_scripted(model: nn.Module) -> None:
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ModelError(
            "`model` is, or holds, a scripted or traced module (torch.jit), whose parameters cannot be exchanged for "
            "others. Pass the nn.Module that it was made from."
        )


def _is_logger(hook: Callable) -> bool:
    """Whether a gradient hook is one of a tracker's, which look and do not change."""
    return getattr(hook, "__module__", "").partition(".")[0] in _TRACKERS


def refuse_unknown_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Refuse parameters that are spread over processes, quantised, sparse, or without values.

    Raises:
        ModelError: With the parameter's name, and what to do.
    """
    for name, tensor in tensors.items():
        kind = type(tensor).__name__
        if hasattr(tensor, "full_tensor") or kind in ("DTensor", "FlatParameter", "ShardedTensor"):
            raise ModelError(
                f"`model` has parameter '{name}' spread over processes ({kind}), and its derivatives would be wrong in "
                f"silence (pytorch#182641). Load parameter.full_tensor() of each into a plain twin of the model, and "
                f"make the probe of that: eigenflow.integrations.unsharded.unsharded_twin(model).module does it."
            )
        if torch.nn.parameter.is_lazy(tensor):
            raise ModelError(
                f"`model` has parameter '{name}' without a shape (a lazy module). Run one forward pass, and then "
                f"make the probe."
            )
        if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
            problem = "has no values (meta device)" if tensor.is_meta else f"is not a plain tensor ({tensor.layout})"
            problem = "is quantised" if tensor.is_quantized else problem
            raise ModelError(
                f"`model` has parameter or buffer '{name}' that {problem}. Load its values, or convert it to a plain "
                f"floating-point tensor, before the probe is made."
            )
        if tensor.requires_grad and any(not _is_logger(hook) for hook in (tensor._backward_hooks or {}).values()):
            raise ModelError(
                f"`model` has a gradient hook on parameter '{name}', so what trains it is not the gradient of the loss "
                f"and J^T e would not be it. Remove it (the handle of register_hook, handle.remove()) and mask or "
                f"scale in the forward pass, or say it as a preconditioner: probe.at(preconditioner=...)."
            )
        if tensor.requires_grad and tensor.is_complex():
            raise ModelError(
                f"`model` has a complex trainable parameter '{name}'. Keep its real and imaginary parts as one real "
                f"parameter and join them in forward: torch.view_as_complex(parameter)."
            )
