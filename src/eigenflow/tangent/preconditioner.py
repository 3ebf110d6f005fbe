"""Optimizers that precondition: P of a diagonal preconditioner, read from a PyTorch optimizer's state.

A step theta+ = theta - eta P^(-1) grad moves the error by -eta J P^(-1) J^T e to first order, so the operator of such
a run is J P^(-1) J^T: symmetric, with the same meaning of its eigenvalues (rates per unit of summed learning rate). P
is held fixed: its own motion is not part of M-dot. Momentum averages gradients over about 1 / (1 - beta) steps, so
with it the operator describes modes that are slow against that.

* Adam, AdamW: P = sqrt(v / (1 - beta2^t)) + eps, with amsgrad the largest v.
* RMSprop: P = sqrt(v) + eps (centred: sqrt(v - m^2) + eps), and momentum as below.
* SGD with heavy ball: P = (1 - mu) / (1 - dampening), the effective rate lambda / (1 - mu) of a slow mode
  (equations/identities.md#eq-m2).

Decoupled weight decay is a force of its own, not part of the operator.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.model.slots import plain_name

__all__ = ["checked_preconditioner", "inverse_preconditioner"]


def inverse_preconditioner(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Diagonal of P^(-1) for every trainable parameter of a model, in the parameter's shape.

    Args:
        optimizer: Adam, AdamW, RMSprop or SGD after at least one step. With learning rates that differ between its
            parameter groups, each group's share of the first group's rate is part of P^(-1).
        model: Whose parameters it moves.

    Raises:
        ArgumentError: For another optimizer, one that has not made a step, or one that misses a trainable parameter.
    """
    rule = next((r for kind, r in _RULES.items() if isinstance(optimizer, kind)), None)
    if rule is None:
        names = ", ".join(kind.__name__ for kind in _RULES)
        raise ArgumentError(
            f"`optimizer` must be one of {names}, whose preconditioner is diagonal and known, but is "
            f"{type(optimizer).__name__}. Pass the diagonal of P^(-1) itself, by parameter name."
        )
    base = _rate(optimizer.param_groups[0])
    found: dict[int, Tensor] = {}
    for group in optimizer.param_groups:
        share = 1.0 if base == 0 else _rate(group) / base
        # What is frozen is often held by the optimizer too, and has no state.
        for parameter in (one for one in group["params"] if one.requires_grad):
            found[id(parameter)] = share * rule(parameter, optimizer.state.get(parameter, {}), group)
    inverse = {}
    for raw, parameter in model.named_parameters():
        name = plain_name(raw)
        if parameter.requires_grad:
            if id(parameter) not in found:
                raise ArgumentError(f"`optimizer` does not hold the trainable parameter '{name}' of `model`.")
            inverse[name] = found[id(parameter)].detach()
    return inverse


def checked_preconditioner(
    preconditioner: Mapping[str, Tensor] | torch.optim.Optimizer, model: nn.Module, parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The diagonal of P^(-1), in the dtype of `parameters`, from an optimizer or as given.

    Raises:
        ArgumentError: If a parameter is missing, or an entry is negative or not finite.
    """
    if isinstance(preconditioner, torch.optim.Optimizer):
        preconditioner = inverse_preconditioner(preconditioner, model)
    for name, parameter in parameters.items():
        if name not in preconditioner or preconditioner[name].shape != parameter.shape:
            raise ArgumentError(
                f"`preconditioner` must hold the diagonal of P^(-1) for every trainable parameter in its shape; "
                f"'{name}' with shape {tuple(parameter.shape)} is missing or has another one."
            )
        if not (torch.isfinite(preconditioner[name]).all() and (preconditioner[name] >= 0).all()):
            raise ArgumentError(f"`preconditioner` must be finite and >= 0, but has other entries in '{name}'.")
    return {name: preconditioner[name].detach().to(parameter) for name, parameter in parameters.items()}


def _rate(group: dict) -> float:
    return float(group["lr"])


def _state(state: dict, key: str) -> Tensor:
    if key not in state:
        raise ArgumentError(
            "`optimizer` has no state yet (it has made no step), so its preconditioner is not defined. Measure after "
            "the first step."
        )
    return state[key]


def _adam(parameter: Tensor, state: dict, group: dict) -> Tensor:
    second, step = _state(state, "exp_avg_sq"), float(_state(state, "step"))
    if group.get("amsgrad"):
        second = _state(state, "max_exp_avg_sq")
    corrected = second / (1.0 - group["betas"][1] ** step)
    return 1.0 / (corrected.sqrt() + group["eps"])


def _rmsprop(parameter: Tensor, state: dict, group: dict) -> Tensor:
    second = _state(state, "square_avg")
    if group["centered"]:
        second = second - _state(state, "grad_avg").square()
    return 1.0 / ((second.sqrt() + group["eps"]) * (1.0 - group["momentum"]))


def _sgd(parameter: Tensor, state: dict, group: dict) -> Tensor:
    momentum = group["momentum"]
    gain = (1.0 - group["dampening"]) / (1.0 - momentum) if momentum else 1.0
    return torch.full_like(parameter, gain)


_RULES: dict[type[torch.optim.Optimizer], Callable[[Tensor, dict, dict], Tensor]] = {
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adam,
    torch.optim.RMSprop: _rmsprop,
    torch.optim.SGD: _sgd,
}
