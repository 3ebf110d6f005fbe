"""Operations made of elementary ones where PyTorch lacks a derivative that the operator needs.

PyTorch 2.13 has no forward mode through the backward passes of fused attention and of group norm, and no batching
rule for the former; multi-head attention also has a fast path that skips autograd altogether.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

__all__ = ["differentiable_operations"]


@contextmanager
def differentiable_operations() -> Iterator[None]:
    """Within it, every operation can be differentiated in reverse, then in forward mode."""
    had_fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), _Elementary():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(had_fast_path)


class _Elementary(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.group_norm:
            return _group_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    grouped = x.reshape(len(x), num_groups, -1)
    centred = grouped - grouped.mean(-1, keepdim=True)
    normal = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps)
    normal = normal.reshape(x.shape)
    shape = (1, -1, *(1 for _ in x.shape[2:]))
    normal = normal if weight is None else normal * weight.reshape(shape)
    return normal if bias is None else normal + bias.reshape(shape)
