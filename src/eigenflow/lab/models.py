"""Reference networks."""

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from eigenflow.lab.config import ModelConfig
from eigenflow.lab.parametrised import linear_layer, readout
from eigenflow.lab.transformer import ByteGPT

__all__ = ["CNN", "MLP", "Centred", "Shortcut", "build_model"]

_ACTIVATIONS = {"tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU, "identity": nn.Identity}


class Shortcut(nn.Module):
    """x + factor * layer(x), without a parameter of its own.

    Where the layer has a stride or more channels than x, x is subsampled and filled up with zero channels (option A
    of [@he2015deep]).

    Args:
        layer: Whose result is added to what it takes.
        factor: On the layer's result. 1 / sqrt(number of shortcuts) keeps the variance of hidden units bounded in
            the depth [@bordelon2023depthwise].
    """

    def __init__(self, layer: nn.Module, factor: float):
        super().__init__()
        self.layer, self.factor = layer, factor

    def forward(self, inputs: Tensor) -> Tensor:
        branch = self.layer(inputs)
        return _fitted(inputs, branch) + self.factor * branch


def _fitted(inputs: Tensor, branch: Tensor) -> Tensor:
    """Inputs in the shape of what is added to them."""
    if inputs.shape == branch.shape:
        return inputs
    stride = -(-inputs.shape[-1] // branch.shape[-1])
    missing = branch.shape[1] - inputs.shape[1]
    return functional.pad(inputs[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, missing))


class MLP(nn.Module):
    """Linear layers with an activation between them and a fixed factor on the outputs."""

    def __init__(self, inputs: int, outputs: int, config: ModelConfig):
        super().__init__()
        widths = [inputs, *[config.width] * config.depth]
        kind = config.parametrisation
        hidden = [[linear_layer(a, b, kind), _ACTIVATIONS[config.activation]()] for a, b in pairwise(widths)]
        last = linear_layer(widths[-1], outputs, kind, is_output=True)
        self.body = nn.Sequential(*_joined(hidden, config.residual), last)
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
        side, channels, hidden = self.side, 1, []
        for index in range(config.depth):
            stride, width = (1, config.width) if index == 0 else (2, 2 * channels)
            convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1)
            hidden.append([convolution, _ACTIVATIONS[config.activation]()])
            side, channels = (side + stride - 1) // stride, width
        features, is_standard = channels * side**2, config.parametrisation == "standard"
        share = config.base_width / config.width
        last = [nn.Flatten(), nn.Linear(features, outputs) if is_standard else readout(features, outputs, share)]
        self.body = nn.Sequential(*_joined(hidden, config.residual), *last)
        self.output_scale = config.output_scale

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output_scale * self.body(inputs.reshape(len(inputs), 1, self.side, self.side))


class Centred(nn.Module):
    """What a network has learned: its outputs minus those of its untouched self, so that training starts at zero.

    With a factor alpha on the outputs and learning rates divided by alpha^2 this is the lazy limit of
    [@chizat2018lazy]: the operator moves by O(1 / alpha), relative to itself.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.initial = copy.deepcopy(network).requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs) - self.initial(inputs)


def _gpt(inputs: int, outputs: int, config: ModelConfig) -> nn.Module:
    """Outputs are the symbols that are told apart, at each of the `inputs` positions."""
    activation = _ACTIVATIONS[config.activation]
    base = None if config.parametrisation == "standard" else config.base_width
    return ByteGPT(outputs, inputs, config.width, config.depth, config.heads, activation, config.output_scale, base)


_MODELS = {"mlp": MLP, "cnn": CNN, "gpt": _gpt}


def build_model(inputs: int, outputs: int, config: ModelConfig) -> nn.Module:
    """Make a network in float64, weights N(0, 1 / fan-in) and biases 0, drawn from the config's seed.

    Shortcuts, centring and parametrisation change no draw: a plain and a residual network of one seed start from the
    same weights, and one in NTK parametrisation is the same function as the standard one. Embeddings are
    N(0, 1 / 2), so that those of byte and place have variance 1 together.
    """
    model = _MODELS[config.name](inputs, outputs, config).double()
    generator = torch.Generator().manual_seed(config.seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight[0].numel()
            std = getattr(module, "initial_std", fan_in**-0.5)
            nn.init.normal_(module.weight, std=std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5**0.5, generator=generator)
    return Centred(model) if config.centred else model


def _joined(hidden: list[list[nn.Module]], residual: bool) -> list[nn.Module]:
    """Hidden layers in a row, with shortcuts around all but the first if wanted."""
    if not residual:
        return [module for layer in hidden for module in layer]
    factor = (len(hidden) - 1) ** -0.5
    return [*hidden[0], *(Shortcut(nn.Sequential(*layer), factor) for layer in hidden[1:])]
