"""The networks and samples that the benchmarks of the dense operator share."""

import numpy as np
import torch
from torch import nn

__all__ = ["workload"]


def workload(kind: str, samples: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """W1a ("mlp": 64-256-256-10, tanh, P = 85,002) or W1b ("conv": three convolutions, P = 15,338), in float32."""
    rng = np.random.default_rng(0)
    layers: list[nn.Module] = []
    if kind == "conv":
        for ins, outs, stride in ((1, 16, 1), (16, 32, 2), (32, 32, 2)):
            conv = nn.Conv2d(ins, outs, 3, stride=stride, padding=1)
            layers += [_filled(conv, rng, 9 * ins), nn.Tanh()]
        layers.append(nn.Flatten())
        layers.append(_filled(nn.Linear(128, 10), rng, 128))
        inputs = np.random.default_rng(1).standard_normal((samples, 1, 8, 8))
        targets = np.zeros((samples, 10))
    else:
        for ins, outs in ((64, 256), (256, 256), (256, 10)):
            layers += [_filled(nn.Linear(ins, outs), rng, ins), nn.Tanh()]
        layers.pop()
        rng = np.random.default_rng(1)
        centres, labels = rng.standard_normal((10, 64)), rng.integers(0, 10, samples)
        inputs = 0.7 * centres[labels] + 0.7 * rng.standard_normal((samples, 64))
        targets = np.eye(10)[labels]
    return nn.Sequential(*layers).float(), torch.from_numpy(inputs).float(), torch.from_numpy(targets).float()


def _filled(layer: nn.Module, rng: np.random.Generator, fan_in: int) -> nn.Module:
    layer.weight.data = torch.from_numpy(rng.standard_normal(tuple(layer.weight.shape)) * fan_in**-0.5)
    layer.bias.data = torch.from_numpy(rng.standard_normal(len(layer.bias)) * 0.1)
    return layer
