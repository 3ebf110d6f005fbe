"""Reference networks."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from eigenflow.lab.config import ModelConfig

__all__ = ["MLP", "build_model"]

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


def build_model(inputs: int, outputs: int, config: ModelConfig) -> MLP:
    """Make a network in float64, weights N(0, 1 / fan-in) and biases 0, drawn from the config's seed."""
    model = MLP(inputs, outputs, config).double()
    generator = torch.Generator().manual_seed(config.seed)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
            nn.init.zeros_(module.bias)
    return model
