"""Operations made of elementary ones, where PyTorch 2.13 lacks a derivative of them, or has a wrong one.

Each entry of ELEMENTARY takes the arguments of the function that it stands for and returns the same values, or
NotImplemented for arguments that it does not cover; PyTorch's own operation is used then. What is wrong with it:

* no forward mode: group norm's and hardsigmoid's backward passes, weight norm, cdist, pdist, grid_sample, embedding
  bags, grouped matrix products;
* forward mode contradicts reverse mode: embeddings with `padding_idx`, whose rows the gradient leaves out (and with
  `max_norm`, which writes into the weight); J is that of the gradient, which is what trains;
* neither mode sees that it moves: what is detached from the gradient;
* a second forward derivative is wrong without a word (pytorch#196699, #198017): batch and instance norm on the
  statistics of the batch.
"""

from collections.abc import Callable
from types import NotImplementedType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from eigenflow.tangent.model.grid_sample import grid_sample

__all__ = ["ELEMENTARY", "MISSING", "constant"]


Operated = Tensor | NotImplementedType

_SIXTH = float(torch.tensor(1.0 / 6.0, dtype=torch.float32))


class _Constant(torch.autograd.Function):
    """The identity, whose gradient is zero but which moves with what it is made of.

    Reverse mode makes J, and leaves it out; forward mode follows the parameters, and sees it move.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        del ctx, inputs, output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.zeros_like(gradients[0])

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tangents[0].clone()


def constant(x: Tensor) -> Tensor:
    """x, seen as a constant by the gradient, but not by the motion of the parameters."""
    return _Constant.apply(x)  # pyright: ignore[reportReturnType]


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    normal = _normalised(input.reshape(len(input), num_groups, -1), (-1,), eps).reshape(input.shape)
    return _by_channel(normal, weight, bias)


def _normalised(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(axes, keepdim=True) + eps)


def _by_channel(normal: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (1, -1, *(1 for _ in normal.shape[2:]))
    normal = normal if weight is None else normal * weight.reshape(shape)
    return normal if bias is None else normal + bias.reshape(shape)


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
) -> Operated:
    if not training or running_mean is not None:
        return NotImplemented  # a fixed affine map; statistics that are updated are refused elsewhere
    return _by_channel(_normalised(input, (0, *range(2, input.ndim)), eps), weight, bias)


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Operated:
    if not use_input_stats:
        shape = (1, -1, *(1 for _ in input.shape[2:]))
        assert running_mean is not None and running_var is not None
        scale = torch.rsqrt(running_var.reshape(shape) + eps)
        return _by_channel((input - running_mean.reshape(shape)) * scale, weight, bias)
    if running_mean is not None:
        return NotImplemented
    return _by_channel(_normalised(input, tuple(range(2, input.ndim)), eps), weight, bias)


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Operated:
    if inplace:
        return NotImplemented
    raised = functional.relu6(input + 3.0)
    # PyTorch's backward pass multiplies by 1/6 as float32 has it, in every precision.
    return raised * _SIXTH + constant(raised / 6.0 - raised * _SIXTH)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    axes = [axis for axis in range(v.ndim) if dim == -1 or axis != dim % v.ndim]
    return v * (g / v.square().sum(axes, keepdim=True).sqrt()) if axes else v * (g / v.abs())


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    return _length(x1[..., :, None, :] - x2[..., None, :, :], p)


def _pdist(input: Tensor, p: float = 2.0) -> Tensor:
    first, second = torch.triu_indices(len(input), len(input), 1, device=input.device)
    return _length(input[first] - input[second], p)


def _length(difference: Tensor, p: float) -> Operated:
    """The p-norm of the last axis; at zero its derivative is zero, as PyTorch's own."""
    if p == 1:
        return difference.abs().sum(-1)
    if p == float("inf"):
        return difference.abs().amax(-1)
    if p <= 0:
        return NotImplemented
    total = (difference.square() if p == 2 else difference.abs() ** p).sum(-1)
    is_apart = total > 0
    return torch.where(is_apart, torch.where(is_apart, total, 1.0) ** (1.0 / p), 0.0)


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Operated:
    has_padding = padding_idx is not None and padding_idx != -1
    if scale_grad_by_freq or not (has_padding or max_norm is not None or sparse):
        return NotImplemented
    rows = functional.embedding(input, weight)
    if max_norm is not None:
        rows = _rescaled(rows, max_norm, norm_type)
    if has_padding:
        assert padding_idx is not None
        rows = torch.where((input == padding_idx % len(weight))[..., None], constant(rows), rows)
    return rows


def _rescaled(rows: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """Rows as they are rescaled in place before they are used; then they are the parameters themselves."""
    sizes = torch.linalg.vector_norm(rows, norm_type, dim=-1, keepdim=True)
    scaled = torch.where(sizes > max_norm, rows * (max_norm / (sizes + 1e-7)), rows)
    return rows + constant(scaled - rows)


def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Operated:
    if not isinstance(weight, Tensor) or weight.ndim != 2 or scale_grad_by_freq:
        return NotImplemented
    rows = functional.embedding(input, weight)
    if max_norm is not None:
        rows = _rescaled(rows, max_norm, norm_type)
    kept = torch.ones_like(input, dtype=torch.bool)
    if padding_idx is not None:
        kept = input != padding_idx % len(weight)
    shares = kept.to(rows.dtype) if per_sample_weights is None else kept * per_sample_weights
    if input.ndim == 2:
        if mode == "max":
            found = torch.where(kept[..., None], rows, float("-inf")).amax(1)
            return torch.where(kept.any(1)[:, None], found, 0.0)
        total, count = (shares[..., None] * rows).sum(1), kept.sum(1)
    else:
        if offsets is None or mode == "max":
            return NotImplemented
        starts = offsets[:-1] if include_last_offset else offsets
        bags = torch.searchsorted(starts.contiguous(), torch.arange(len(input), device=input.device), right=True) - 1
        total = rows.new_zeros(len(starts), rows.shape[1]).index_add(0, bags, shares[:, None] * rows)
        count = torch.zeros_like(starts).index_add(0, bags, kept.to(starts.dtype))
    return total if mode == "sum" else total / count.clamp(min=1)[:, None].to(total.dtype)


def _grouped_mm(mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Any = None, **_: Any) -> Operated:
    if offs is None or mat_a.ndim != 2 or mat_b.ndim != 3 or bias is not None:
        return NotImplemented
    ends = offs.tolist()
    parts = [mat_a[a:b] @ mat_b[i] for i, (a, b) in enumerate(zip([0, *ends], ends, strict=False))]
    rest = mat_a.new_zeros(len(mat_a) - ends[-1], mat_b.shape[-1])
    return torch.cat([*parts, rest])


def _detach(input: Tensor) -> Operated:
    return constant(input) if input.is_floating_point() else NotImplemented


ELEMENTARY: dict[Any, Callable[..., Operated]] = {
    functional.group_norm: _group_norm,
    functional.batch_norm: _batch_norm,
    functional.instance_norm: _instance_norm,
    functional.hardsigmoid: _hardsigmoid,
    getattr(torch, "_weight_norm"): _weight_norm,  # noqa: B009 - it has no public name
    torch.cdist: _cdist,
    functional.pdist: _pdist,
    functional.grid_sample: grid_sample,
    functional.embedding: _embedding,
    functional.embedding_bag: _embedding_bag,
    Tensor.detach: _detach,
    torch.detach: _detach,
}

# Operations that PyTorch 2.13 has in low precision only: there is nothing of its own to differentiate in the probe's.
MISSING: dict[Any, Callable[..., Operated]] = {
    getattr(room, name): _grouped_mm
    for room, name in ((torch, "_grouped_mm"), (functional, "grouped_mm"))
    if hasattr(room, name)
}
ELEMENTARY |= MISSING
