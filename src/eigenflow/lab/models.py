"""Reference networks."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from eigenflow.lab.config import ModelConfig

__all__ = ["CNN", "MLP", "build_model"]

_ACTIVATIONS = {"tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU, "identity": nn.Identity}


class MLP(nn.Module):
    """Linear layers with an activation between them and a fixed factor on the outputs."""

    def __init__(self, inputs: int, outputs: int, config: ModelConfig):
        super().__init__()
        widths = [inputs, *[config.width] * config.depth]
        hidden = []
        for a, b in pairwise(widths):
            hidden += [nn.Linear(a, b), _ACTIVATIONS[config.activation]()]
        self.body = nn.Sequential(*hidden, nn.Linear(widths[-1], outputs))
        self.output_scale = config.output_scale

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output_scale * self.body(inputs)


class CNN(nn.Module):
    """3 x 3 convolutions, all but the first of stride 2 and twice as many channels, then one linear layer.

    Takes pixels in rows, as the tasks give them, and sees them as square images with one channel.
    """

    def __init__(self, inputs: int, outputs: int, config: ModelConfig):
        super().__init__()
        self.side = math.isqrt(inputs)
        side, channels, layers = self.side, 1, []
        for index in range(config.depth):
            stride, width = (1, config.width) if index == 0 else (2, 2 * channels)
            layers += [nn.Conv2d(channels, width, 3, stride=stride, padding=1), _ACTIVATIONS[config.activation]()]
            side, channels = (side + stride - 1) // stride, width
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side**2, outputs))
        self.output_scale = config.output_scale

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output_scale * self.body(inputs.reshape(len(inputs), 1, self.side, self.side))


_MODELS = {"mlp": MLP, "cnn": CNN}


def build_model(inputs: int, outputs: int, config: ModelConfig) -> nn.Module:
    """Make a network in float64, weights N(0, 1 / fan-in) and biases 0, drawn from the config's seed."""
    model = _MODELS[config.name](inputs, outputs, config).double()
    generator = torch.Generator().manual_seed(config.seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=fan_in**-0.5, generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return model
