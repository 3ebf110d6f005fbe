"""Slow, dense oracles that share no code with the package: reverse mode one output at a time, and differences."""

import torch
from torch import Tensor, nn


def jacobian(model: nn.Module, inputs: Tensor) -> Tensor:
    """Rows of d outputs / d parameters, sample-major, by plain autograd."""
    outputs = model(inputs).reshape(-1)
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for output in outputs:
        gradients = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [
                    (torch.zeros_like(p) if g is None else g).reshape(-1)
                    for p, g in zip(parameters, gradients, strict=True)
                ]
            )
        )
    return torch.stack(rows)


def kernel(model: nn.Module, inputs: Tensor, factor: float) -> Tensor:
    """M = f J J^T."""
    J = jacobian(model, inputs)
    return factor * J @ J.T


def error(model: nn.Module, inputs: Tensor, targets: Tensor, factor: float) -> Tensor:
    """e = sqrt(f) (outputs - targets)."""
    with torch.no_grad():
        return factor**0.5 * (model(inputs) - targets).reshape(-1)


def get_parameters(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@torch.no_grad()
def set_parameters(model: nn.Module, flat: Tensor) -> None:
    start = 0
    for p in model.parameters():
        p.copy_(flat[start : start + p.numel()].reshape(p.shape))
        start += p.numel()


def flow_direction(model: nn.Module, inputs: Tensor, targets: Tensor, factor: float) -> Tensor:
    """dtheta/dt = -J^T e of gradient flow, as one flat vector."""
    J = factor**0.5 * jacobian(model, inputs)
    return -J.T @ error(model, inputs, targets, factor)


def flow_step(model: nn.Module, inputs: Tensor, targets: Tensor, factor: float, time: float, steps: int = 8) -> None:
    """Advance gradient flow by classical Runge-Kutta; error O((time / steps)^4)."""
    theta, h = get_parameters(model), time / steps

    def velocity(flat: Tensor) -> Tensor:
        set_parameters(model, flat)
        return flow_direction(model, inputs, targets, factor)

    for _ in range(steps):
        k1 = velocity(theta)
        k2 = velocity(theta + h / 2 * k1)
        k3 = velocity(theta + h / 2 * k2)
        k4 = velocity(theta + h * k3)
        theta = theta + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    set_parameters(model, theta)
