"""Checks of what the user passes to a probe, each with the remedy in its message."""

import torch
from torch import Tensor

from eigenflow.core.errors import ArgumentError, EigenflowError, ModelError, NonFiniteError, ShapeError
from eigenflow.tangent.network import Network, Parameters

__all__ = ["checked_outputs", "checked_pair"]


def checked_pair(inputs: Tensor, targets: Tensor, names: tuple[str, str], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Check one pair of inputs and targets and convert floating-point inputs to `dtype`."""
    for name, tensor in zip(names, (inputs, targets), strict=True):
        if not isinstance(tensor, Tensor):
            raise ArgumentError(
                f"`{name}` must be a torch.Tensor, but is {type(tensor).__name__}. Convert it with torch.as_tensor."
            )
        if tensor.ndim == 0 or len(tensor) == 0:
            raise ShapeError(
                f"`{name}` must have at least one sample on its first axis, but has shape {tuple(tensor.shape)}."
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise NonFiniteError(
                f"`{name}` must be finite, but has {bad} NaN or infinite value(s). Remove or repair those samples."
            )
    if len(inputs) != len(targets):
        raise ShapeError(
            f"`{names[0]}` and `{names[1]}` must have the same number of samples, but have "
            f"{len(inputs)} and {len(targets)}."
        )
    return inputs.to(dtype) if inputs.is_floating_point() else inputs, targets


def checked_outputs(
    network: Network,
    parameters: Parameters,
    rest: Parameters,
    inputs: Tensor,
    check_determinism: bool,
) -> torch.Size:
    """Evaluate the network on the probe set, check finiteness and repeatability; returns the outputs' own shape."""
    with torch.no_grad():
        try:
            outputs = network.apply_unflattened(parameters, rest, inputs)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, EigenflowError):
                raise
            raise ArgumentError(
                f"`model` cannot be evaluated on `inputs` of shape {tuple(inputs.shape)} and dtype {inputs.dtype}: "
                f"{error}. Pass samples as the model's forward takes them, sample axis first."
            ) from error
        again = network.apply_unflattened(parameters, rest, inputs) if check_determinism else outputs
    if outputs.shape[:1] != inputs.shape[:1]:
        raise ShapeError(
            f"`model` must return one row of outputs a sample: for {len(inputs)} samples it returns shape "
            f"{tuple(outputs.shape)}."
        )
    if not torch.isfinite(outputs).all():
        raise NonFiniteError(
            "`model` returns NaN or infinite outputs on the probe inputs. Look at its weights before measuring."
        )
    # Threads may add in another order, so repeatability means equal up to rounding.
    if (outputs - again).norm() > 1e-5 * torch.finfo(outputs.dtype).eps ** 0.5 * outputs.norm():
        raise ModelError(
            "`model` gives different outputs on two calls with the same inputs, so its operator is not defined. "
            "Switch random layers off with model.eval(), or pass check_determinism=False if you know better."
        )
    return outputs.shape
