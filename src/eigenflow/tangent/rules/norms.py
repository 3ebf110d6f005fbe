"""Norm layers in plain operations, for derivatives of second order.

torch 2.13 differentiates its fused layer, RMS and batch norms once in forward mode; a second forward derivative comes
out wrong, without a word (pytorch#196699, #198017). Written in plain operations they are right to every order.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["PlainNorms"]


class PlainNorms(TorchFunctionMode):
    """Replaces fused norms by plain operations while it is active."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = _PLAIN.get(func)
        return (func if plain is None else plain)(*args, **(kwargs or {}))


def _scaled(normal: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    normal = normal if weight is None else normal * weight
    return normal if bias is None else normal + bias


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    centred = input - input.mean(axes, keepdim=True)
    return _scaled(centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps), weight, bias)


def _rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    return _scaled(input * torch.rsqrt(input.square().mean(axes, keepdim=True) + eps), weight, None)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    shape = (1, -1, *(1 for _ in input.shape[2:]))
    if training or running_mean is None or running_var is None:
        axes = (0, *range(2, input.ndim))
        mean, variance = input.mean(axes, keepdim=True), input.var(axes, correction=0, keepdim=True)
    else:
        mean, variance = running_mean.reshape(shape), running_var.reshape(shape)
    normal = (input - mean) * torch.rsqrt(variance + eps)
    weight, bias = (None if t is None else t.reshape(shape) for t in (weight, bias))
    return _scaled(normal, weight, bias)


_PLAIN = {
    functional.batch_norm: _batch_norm,
    torch.batch_norm: _batch_norm,
    functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    functional.rms_norm: _rms_norm,
    torch.rms_norm: _rms_norm,
}
