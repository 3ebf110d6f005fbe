"""PyTorch operations that a rule holds for, told by their arguments.

Each entry of OPERATIONS reads the arguments of one function and says which tensor is the weight, which the bias, what
the weight meets, and by which rule; or None if the arguments are out of the rule's range.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from eigenflow.tangent.rules.uses import AbstractRule, ConvRule, EmbeddingRule, EntryRule, LinearRule

__all__ = ["OPERATIONS", "SYMMETRIC", "OperationCall"]


@dataclass(frozen=True)
class OperationCall:
    """One call of an operation. `x` is what the weight meets: inputs, tokens, or the normalised inputs of a norm."""

    rule: AbstractRule
    x: Tensor
    weight: Tensor | None
    bias: Tensor | None


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> OperationCall | None:
    return OperationCall(LinearRule(len(weight)), x, weight, bias) if weight.ndim == 2 else None


def _addmm(bias: Tensor, x: Tensor, weight: Tensor, *, beta: float = 1, alpha: float = 1) -> OperationCall | None:
    if beta != 1 or alpha != 1 or bias.ndim != 1:
        return None
    return OperationCall(LinearRule(weight.shape[1], is_transposed=True), x, weight, bias)


def _matmul(x: Tensor, weight: Tensor) -> OperationCall | None:
    if weight.ndim != 2 or x.ndim < 2:
        return None
    return OperationCall(LinearRule(weight.shape[1], is_transposed=True), x, weight, None)


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | str | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> OperationCall | None:
    kernel = tuple(weight.shape[2:])
    if x.ndim != weight.ndim:
        return None
    steps = _each(dilation, kernel)
    if padding == "same":
        spans = [d * (k - 1) for d, k in zip(steps, kernel, strict=True)]
        if any(span % 2 for span in spans):
            return None
        padding = tuple(span // 2 for span in spans)
    pads = _each(0 if padding == "valid" else padding, kernel)  # pyright: ignore[reportArgumentType]
    rule = ConvRule(len(weight), kernel, _each(stride, kernel), pads, steps, groups)
    return OperationCall(rule, x, weight, bias)


def _each(value: int | tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
    return (value,) * len(kernel) if isinstance(value, int) else tuple(value) * (len(kernel) // len(value))


def _embedding(
    x: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> OperationCall | None:
    if max_norm is not None or scale_grad_by_freq:
        return None
    padding = None if padding_idx is None or padding_idx == -1 else padding_idx % len(weight)
    return OperationCall(EmbeddingRule(padding), x, weight, None)


def _layer_norm(
    x: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> OperationCall:
    normal = functional.layer_norm(x, normalized_shape, None, None, eps)
    return OperationCall(EntryRule(tuple(normalized_shape)), normal, weight, bias)


def _rms_norm(
    x: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> OperationCall:
    normal = functional.rms_norm(x, normalized_shape, None, eps)
    return OperationCall(EntryRule(tuple(normalized_shape)), normal, weight, None)


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> OperationCall | None:
    if training:
        return None
    normal = functional.batch_norm(x, running_mean, running_var, None, None, False, momentum, eps)
    return OperationCall(EntryRule(_channels(x)), normal, weight, bias)


def _group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> OperationCall:
    normal = functional.group_norm(x, num_groups, None, None, eps)
    return OperationCall(EntryRule(_channels(x)), normal, weight, bias)


def _channels(x: Tensor) -> tuple[int, ...]:
    return (x.shape[1], *(1 for _ in x.shape[2:]))


def _add(x: Tensor, parameter: Tensor, *, alpha: float = 1) -> OperationCall | None:
    shape = _broadcast(x, parameter) if alpha == 1 else None
    return None if shape is None else OperationCall(EntryRule(shape), x, None, parameter)


def _multiply(x: Tensor, parameter: Tensor) -> OperationCall | None:
    shape = _broadcast(x, parameter)
    return None if shape is None else OperationCall(EntryRule(shape), x, parameter, None)


def _broadcast(x: Tensor, parameter: Tensor) -> tuple[int, ...] | None:
    """The parameter's shape against one sample of x, if it is the same for all samples and x has the result's shape."""
    shape = tuple(parameter.shape)
    if len(shape) == x.ndim:
        if shape[0] != 1:
            return None
        shape = shape[1:]
    full = torch.broadcast_shapes(x.shape, parameter.shape)
    return shape if len(shape) < x.ndim and full == x.shape else None


OPERATIONS: dict[Callable[..., Any], Callable[..., OperationCall | None]] = {
    functional.linear: _linear,
    torch.addmm: _addmm,
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    functional.conv1d: _conv,
    functional.conv2d: _conv,
    functional.embedding: _embedding,
    functional.layer_norm: _layer_norm,
    functional.rms_norm: _rms_norm,
    functional.batch_norm: _batch_norm,
    functional.group_norm: _group_norm,
    torch.add: _add,
    Tensor.add: _add,
    torch.mul: _multiply,
    Tensor.mul: _multiply,
}

# Either argument may be the parameter; the adapters above take it second.
SYMMETRIC = frozenset({torch.add, Tensor.add, torch.mul, Tensor.mul})
