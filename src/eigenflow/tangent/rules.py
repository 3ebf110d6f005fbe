"""How the parameters of each kind of layer enter the Jacobian.

A rule turns a layer's inputs and signals into `Factors`: matrices `inputs` (samples, positions, in) and
`signals` (samples, outputs, positions, out) such that the layer's Jacobian row of output c of sample i is

    sum over positions t of signals[i, c, t] (x) inputs[i, t]      the outer product, over `out` x `in`

Linear layers and convolutions have this form with the layer's inputs (patches, for convolutions) and a one
appended for the bias; norms and embeddings have it with vectors that pick the entries of their weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["AbstractLayerRule", "Factors", "rule_of"]

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Factors:
    """A layer's part of the Jacobian as sums of outer products over positions.

    Attributes:
        inputs: (samples, positions, in); None where the row is the plain sum over positions of `signals`.
        signals: (samples, outputs, positions, out).
    """

    inputs: Tensor | None
    signals: Tensor


class AbstractLayerRule(ABC):
    """The rule of one layer. It holds the module's settings, never its tensors."""

    @abstractmethod
    def factors(self, layer_input: Tensor, signal: Tensor, trainable: frozenset[str], own: Tensors) -> list[Factors]:
        """Factors of the layer's Jacobian at one call.

        Args:
            layer_input: What the layer was called with, (samples, ...).
            signal: Derivatives of the outputs by what it returned, (outputs, samples, ...).
            trainable: The trainable ones among "weight" and "bias".
            own: The layer's parameters and buffers, by their names in the layer.
        """


@dataclass(frozen=True)
class LinearRule(AbstractLayerRule):
    """z = W a + b on the last axis: the row is the sum over positions of g (x) (a, 1)."""

    def factors(self, layer_input: Tensor, signal: Tensor, trainable: frozenset[str], own: Tensors) -> list[Factors]:
        a = layer_input.reshape(len(layer_input), -1, layer_input.shape[-1])
        g = signal.reshape(*signal.shape[:2], -1, signal.shape[-1]).transpose(0, 1)
        return _with_bias(a, g, trainable)


@dataclass(frozen=True)
class ConvRule(AbstractLayerRule):
    """A convolution is the linear layer of its patches; a grouped one is that of each group."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def factors(self, layer_input: Tensor, signal: Tensor, trainable: frozenset[str], own: Tensors) -> list[Factors]:
        if len(self.kernel) == 1:  # one-dimensional: a picture of height 1
            layer_input, signal = layer_input.unsqueeze(-2), signal.unsqueeze(-2)
        lift = (1,) * (2 - len(self.kernel))
        found = []
        channels = layer_input.shape[1] // self.groups
        outs = signal.shape[2] // self.groups
        for group in range(self.groups):
            patches = functional.unfold(
                layer_input[:, group * channels : (group + 1) * channels],
                kernel_size=lift + self.kernel,
                dilation=lift + self.dilation,
                padding=(0,) * len(lift) + self.padding,
                stride=lift + self.stride,
            )
            g = signal[:, :, group * outs : (group + 1) * outs].flatten(3)
            found += _with_bias(patches.transpose(1, 2), g.permute(1, 0, 3, 2), trainable)
        return found


@dataclass(frozen=True)
class NormRule(AbstractLayerRule):
    """z = weight * x_hat + bias with x_hat from the layer's own statistics; weights act entry by entry.

    Attributes:
        normalise: Name of the function: "layer", "rms" or "batch" (running statistics, so affine in x).
        features: Number of trailing axes (layer, rms), or 1 for the channel axis 1 (batch).
        eps: Of the layer.
    """

    normalise: str
    features: int
    eps: float

    def factors(self, layer_input: Tensor, signal: Tensor, trainable: frozenset[str], own: Tensors) -> list[Factors]:
        normal = self._normal(layer_input, own)
        if self.normalise == "batch":  # (samples, channels, positions) -> channels last
            normal = normal.flatten(2) if normal.ndim > 2 else normal.unsqueeze(2)
            g = signal.flatten(3) if signal.ndim > 3 else signal.unsqueeze(3)
            normal, g = normal.transpose(1, 2), g.permute(1, 0, 3, 2)
        else:
            size = int(torch.tensor(layer_input.shape[layer_input.ndim - self.features :]).prod())
            normal = normal.reshape(len(normal), -1, size)
            g = signal.reshape(*signal.shape[:2], -1, size).transpose(0, 1)
        found = []
        if "weight" in trainable:
            found.append(Factors(None, (g * normal[:, None]).sum(2, keepdim=True)))
        if "bias" in trainable:
            found.append(Factors(None, g.sum(2, keepdim=True)))
        return found

    def _normal(self, x: Tensor, own: Tensors) -> Tensor:
        if self.normalise == "batch":
            shape = (1, -1) + (1,) * (x.ndim - 2)
            mean, var = own["running_mean"].reshape(shape), own["running_var"].reshape(shape)
            return (x - mean) / torch.sqrt(var + self.eps)
        axes = tuple(range(x.ndim - self.features, x.ndim))
        if self.normalise == "layer":
            x = x - x.mean(axes, keepdim=True)
        return x / torch.sqrt((x * x).mean(axes, keepdim=True) + self.eps)


@dataclass(frozen=True)
class EmbeddingRule(AbstractLayerRule):
    """The row of token k is the sum of signals at the positions that hold k; only tokens present count."""

    padding_index: int | None

    def factors(self, layer_input: Tensor, signal: Tensor, trainable: frozenset[str], own: Tensors) -> list[Factors]:
        tokens = layer_input.reshape(len(layer_input), -1)
        present, index = torch.unique(tokens, return_inverse=True)
        one_hot = functional.one_hot(index, len(present)).to(signal.dtype)
        if self.padding_index is not None:
            one_hot = one_hot * (present != self.padding_index)
        g = signal.reshape(*signal.shape[:2], -1, signal.shape[-1]).transpose(0, 1)
        return [Factors(one_hot, g)]


def rule_of(module: nn.Module, is_training: bool) -> AbstractLayerRule | None:
    """The rule for a module in the given mode, or None if there is none for exactly its type."""
    kind = type(module)
    if kind is nn.Linear:
        return LinearRule()
    if kind in (nn.Conv1d, nn.Conv2d):
        conv = cast(nn.Conv2d, module)
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            return None
        return ConvRule(conv.kernel_size, conv.stride, tuple(conv.padding), conv.dilation, conv.groups)
    if kind is nn.LayerNorm:
        norm = cast(nn.LayerNorm, module)
        return NormRule("layer", len(norm.normalized_shape), norm.eps)
    if kind is getattr(nn, "RMSNorm", None):
        rms = cast(nn.RMSNorm, module)
        # The layer's own default depends on the dtype it runs in, which is the probe's.
        return None if rms.eps is None else NormRule("rms", len(rms.normalized_shape), rms.eps)
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d) and not is_training:
        batch = cast(nn.BatchNorm2d, module)
        return NormRule("batch", 1, batch.eps) if batch.track_running_stats else None
    if kind is nn.Embedding:
        table = cast(nn.Embedding, module)
        return EmbeddingRule(table.padding_idx) if table.max_norm is None else None
    return None


def _with_bias(a: Tensor, g: Tensor, trainable: frozenset[str]) -> list[Factors]:
    if {"weight", "bias"} <= trainable:
        return [Factors(torch.cat([a, a.new_ones(*a.shape[:-1], 1)], -1), g)]
    if "weight" in trainable:
        return [Factors(a, g)]
    return [Factors(None, g.sum(2, keepdim=True))]
