"""Workloads W2 and W3: the MLP 64-256-256-10 in training with Adam, at chosen checkpoints."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

SAMPLES = 1000
BATCH = 100


@dataclass(frozen=True)
class Training:
    """A network with its data, and its states at checkpoints of training."""

    model: nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor
    states: list[dict[str, torch.Tensor]]


def train(spacing: int, count: int, warm_up: int = 50) -> Training:
    """Train in float64 on half the mean squared error, Adam 1e-3, and keep `count` states `spacing` steps apart."""
    model, (inputs, targets) = network(), data()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    states: list[dict[str, torch.Tensor]] = []
    for step, batch in enumerate(_batches()):
        if step >= warm_up and (step - warm_up) % spacing == 0:
            states.append({name: t.detach().clone() for name, t in model.state_dict().items()})
            if len(states) == count:
                break
        optimizer.zero_grad()
        (0.5 * (model(inputs[batch]) - targets[batch]).square().sum(1).mean()).backward()
        optimizer.step()
    return Training(model, inputs, targets, states)


def network() -> nn.Module:
    """Weights by default_rng(0): standard normal / sqrt(in), biases 0.1 times standard normal."""
    rng = np.random.default_rng(0)
    layers: list[nn.Module] = []
    for fan_in, fan_out in ((64, 256), (256, 256), (256, 10)):
        layer = nn.Linear(fan_in, fan_out).double()
        layer.weight.data = torch.from_numpy(rng.standard_normal((fan_out, fan_in)) * fan_in**-0.5)
        layer.bias.data = torch.from_numpy(rng.standard_normal(fan_out) * 0.1)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Ten Gaussian clouds by default_rng(1), one-hot targets."""
    rng = np.random.default_rng(1)
    centres, labels = rng.standard_normal((10, 64)), rng.integers(0, 10, SAMPLES)
    inputs = 0.7 * centres[labels] + 0.7 * rng.standard_normal((SAMPLES, 64))
    return torch.from_numpy(inputs), torch.from_numpy(np.eye(10)[labels])


def _batches():
    rng = np.random.default_rng(2)
    while True:
        order = rng.permutation(SAMPLES)
        yield from (order[start : start + BATCH] for start in range(0, SAMPLES, BATCH))
