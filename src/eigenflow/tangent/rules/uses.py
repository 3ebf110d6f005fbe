"""How parameters enter J through the operations that use them.

A rule turns what an operation was called with, and the signals (derivatives of the outputs by what it returned), into
factors of the parameter's part of J. There are three kinds:

    outer     row of output c of sample i = sum over positions t of signals[i, c, t] (x) inputs[i, t]
    token     the same with a one-hot input, given as the token's number
    entries   the row itself: sums of signals, or of signals times what the parameter multiplies

Linear maps and convolutions (of their patches) are outer, embeddings token; biases, scales of norms and free
parameters that are added or multiplied are entries.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["AbstractRule", "ConvRule", "EmbeddingRule", "EntryRule", "FactorSize", "Factors", "LinearRule"]


@dataclass(frozen=True)
class Factors:
    """A part of J.

    Attributes:
        inputs: (samples, positions, in); whole numbers (samples, positions) for tokens; None for entries.
        signals: (samples, outputs, positions, out); (samples, outputs, 1, entries) for entries.
        is_transposed: Whether the parameter lies as (in, out) in memory.
    """

    inputs: Tensor | None
    signals: Tensor
    is_transposed: bool = False

    @property
    def is_token(self) -> bool:
        """Whether the inputs are token numbers."""
        return self.inputs is not None and not self.inputs.is_floating_point()


@dataclass(frozen=True)
class FactorSize:
    """Size of factors per sample, known without making them.

    Attributes:
        positions: Summed over in a row; 0 for entries.
        ins: Length of an input; for tokens, how many tokens there are.
        outs: Length of a signal; for entries, how many there are.
        is_token: Whether inputs are token numbers.
        blocks: How many such factors there are (groups).
    """

    positions: int
    ins: int
    outs: int
    is_token: bool = False
    blocks: int = 1

    @property
    def columns(self) -> int:
        """Columns of explicit rows, of all blocks."""
        return self.blocks * self.outs * (self.ins if self.positions else 1)

    def elements(self, width: int) -> int:
        """Numbers that the factors hold per sample."""
        inputs = 0 if self.is_token else self.positions * self.ins
        return self.blocks * (inputs + width * max(1, self.positions) * self.outs)


class AbstractRule(ABC):
    """The rule of one operation. It holds settings, never tensors."""

    @abstractmethod
    def weight_size(self, met: torch.Size, result: torch.Size, rows: int, length: int) -> FactorSize:
        """Size of `weight_factors`.

        Args:
            met: Shape of what the weight meets, without its first axis.
            result: Shape of the result, without its first axis.
            rows: Rows of the first axis per sample.
            length: First axis of the weight.
        """

    @abstractmethod
    def weight_factors(self, x: Tensor, signal: Tensor, samples: int) -> list[Factors]:
        """Factors of the weight at one call; more than one where parts of it never meet (groups).

        Args:
            x: What the weight met, first axis sample-major.
            signal: Derivatives of the outputs by what was returned, (outputs, first axis, ...).
            samples: Number of samples.
        """

    @property
    @abstractmethod
    def bias_shape(self) -> tuple[int, ...]:
        """Shape in which the bias is broadcast against one sample's output."""

    def with_bias(self, x: Tensor, signal: Tensor, samples: int) -> list[Factors]:
        """Factors of weight and bias together: a one appended to the inputs, or two parts."""
        found = self.weight_factors(x, signal, samples)
        if any(f.inputs is None or f.is_token for f in found):
            return [*found, self.bias_factors(signal, samples)]
        joined = []
        for factor in found:
            assert factor.inputs is not None
            ones = factor.inputs.new_ones(*factor.inputs.shape[:-1], 1)
            joined.append(Factors(torch.cat([factor.inputs, ones], -1), factor.signals, factor.is_transposed))
        return joined

    def bias_factors(self, signal: Tensor, samples: int) -> Factors:
        """Factors of what is added to the result."""
        return _entries(signal, self.bias_shape, samples)


@dataclass(frozen=True)
class LinearRule(AbstractRule):
    """z = W a + b on the last axis, with W stored as (out, in), or as (in, out)."""

    outs: int
    is_transposed: bool = False

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """The shape (out,)."""
        return (self.outs,)

    def weight_size(self, met: torch.Size, result: torch.Size, rows: int, length: int) -> FactorSize:
        """Positions are all axes but the last."""
        return FactorSize(rows * prod(met[:-1]), met[-1], self.outs)

    def weight_factors(self, x: Tensor, signal: Tensor, samples: int) -> list[Factors]:
        """One outer part."""
        a = x.reshape(samples, -1, x.shape[-1])
        g = signal.reshape(len(signal), samples, -1, signal.shape[-1]).transpose(0, 1)
        return [Factors(a, g, self.is_transposed)]


@dataclass(frozen=True)
class ConvRule(AbstractRule):
    """A convolution is the linear map of its patches; a grouped one is that of each group."""

    outs: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """The shape (channels, 1, ...)."""
        return (self.outs, *(1 for _ in self.kernel))

    def weight_size(self, met: torch.Size, result: torch.Size, rows: int, length: int) -> FactorSize:
        """Positions are those of the kernel."""
        ins, outs = met[0] // self.groups * prod(self.kernel), self.outs // self.groups
        return FactorSize(rows * prod(result[1:]), ins, outs, blocks=self.groups)

    def weight_factors(self, x: Tensor, signal: Tensor, samples: int) -> list[Factors]:
        """One outer part a group."""
        if len(self.kernel) == 1:  # one-dimensional: a picture of height 1
            x, signal = x.unsqueeze(-2), signal.unsqueeze(-2)
        lift = (1,) * (2 - len(self.kernel))
        found = []
        channels, outs = x.shape[1] // self.groups, self.outs // self.groups
        for group in range(self.groups):
            patches = functional.unfold(
                x[:, group * channels : (group + 1) * channels],
                kernel_size=lift + self.kernel,
                dilation=lift + self.dilation,
                padding=(0,) * len(lift) + self.padding,
                stride=lift + self.stride,
            )
            a = patches.transpose(1, 2).reshape(samples, -1, patches.shape[1])
            g = signal[:, :, group * outs : (group + 1) * outs].flatten(3).transpose(2, 3)
            found.append(Factors(a, g.reshape(len(g), samples, -1, outs).transpose(0, 1)))
        return found


@dataclass(frozen=True)
class EmbeddingRule(AbstractRule):
    """The row of token k is the sum of signals at the positions that hold k."""

    padding_index: int | None

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """Embeddings have no bias."""
        return ()

    def weight_size(self, met: torch.Size, result: torch.Size, rows: int, length: int) -> FactorSize:
        """Positions are the tokens of a sample."""
        return FactorSize(rows * prod(met), length, result[-1], is_token=True)

    def weight_factors(self, x: Tensor, signal: Tensor, samples: int) -> list[Factors]:
        """One token part; a padded position is no position."""
        tokens = x.reshape(samples, -1)
        g = signal.reshape(len(signal), samples, -1, signal.shape[-1]).transpose(0, 1)
        if self.padding_index is not None:
            g = g * (tokens != self.padding_index)[:, None, :, None]
        return [Factors(tokens, g)]


@dataclass(frozen=True)
class EntryRule(AbstractRule):
    """z = w * x + b entry by entry, both broadcast in `shape` against one sample's output."""

    shape: tuple[int, ...]

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """The same shape."""
        return self.shape

    def weight_size(self, met: torch.Size, result: torch.Size, rows: int, length: int) -> FactorSize:
        """Entries of the parameter."""
        return FactorSize(0, 0, prod(self.shape))

    def weight_factors(self, x: Tensor, signal: Tensor, samples: int) -> list[Factors]:
        """Sums of signals times what the parameter multiplies."""
        return [_entries(signal * x, self.shape, samples)]


def _entries(signal: Tensor, shape: tuple[int, ...], samples: int) -> Factors:
    """Sum (outputs, samples * k, ...) over everything that `shape` broadcasts over."""
    outputs = len(signal)
    signal = signal.reshape(outputs, samples, -1, *signal.shape[2:])
    missing = signal.ndim - 2 - len(shape)
    axes = [2 + i for i in range(missing)]
    axes += [2 + missing + i for i, n in enumerate(shape) if n == 1]
    if axes:
        signal = signal.sum(axes, keepdim=True)
    return Factors(None, signal.reshape(outputs, samples, 1, prod(shape)).transpose(0, 1))
