"""Small pieces that many architectures of the zoo are made of."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Fn", "image", "mlp", "points", "tokens"]


class Fn(nn.Module):
    """A forward pass written as a function of the module and its inputs; keywords become attributes."""

    def __init__(self, function: Callable[..., Any], **attributes: Any):
        super().__init__()
        self.function = function
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        return self.function(self, *inputs, **named)


def points(n: int = 5, size: int = 4) -> Tensor:
    """Inputs of an MLP."""
    return torch.randn(n, size)


def image(n: int = 4, channels: int = 2, height: int = 6, width: int = 6) -> Tensor:
    """Inputs of a CNN."""
    return torch.randn(n, channels, height, width)


def tokens(n: int = 3, length: int = 4, words: int = 7) -> Tensor:
    """Inputs of a language model."""
    return torch.randint(0, words, (n, length))


def mlp(activation: nn.Module, inner: int = 6) -> nn.Sequential:
    """Two linear layers with an activation between."""
    return nn.Sequential(nn.Linear(4, 6), activation, nn.Linear(inner, 3))
