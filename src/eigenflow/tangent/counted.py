"""What a computation takes: operations and memory as PyTorch's operations show them, and seconds.

Operations are those of matrix products, convolutions and attention, multiply-adds as two; an eigensolver's are taken
as 9 n^3. Memory is that of tensors: what a library takes inside of one operation does not show.
"""

import math
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

__all__ = ["Counted", "counted", "made_in", "timed"]

Made = TypeVar("Made")


@dataclass(frozen=True)
class Counted:
    """Of one computation.

    Attributes:
        flops: Operations.
        peak_bytes: Tensors that it made, at most held at once.
        kept_bytes: Those that are left when it ends.
        result: What it returned.
        storages: Of the tensors that are left.
    """

    flops: float
    peak_bytes: int
    kept_bytes: int
    result: Any
    storages: frozenset[int]


def counted(work: Callable[[], Any], known: Iterable[Tensor] = (), *, after: Iterable[Counted] = ()) -> Counted:
    """Run it and count.

    Args:
        work: What to run.
        known: Tensors that were there before.
        after: What was run before and left tensors behind.
    """
    there = {tensor.untyped_storage()._cdata for tensor in known}
    live = _LiveTensors(there.union(*(one.storages for one in after)))
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as flops, live:
        result = work()
    return Counted(float(flops.get_total_flops()), live.peak, live.now, result, frozenset(live.held))


def timed(work: Callable[[], Any]) -> float:
    """Processor seconds that it takes, all threads together; on a GPU, seconds on the clock."""
    return made_in(work)[1]


def made_in(work: Callable[[], Made]) -> tuple[Made, float]:
    """What it returns, and the seconds as in `timed`."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
        began = time.perf_counter()
        made = work()
        torch.cuda.synchronize()
        return made, time.perf_counter() - began
    began = time.process_time()
    made = work()
    return made, time.process_time() - began


class _LiveTensors(TorchDispatchMode):
    """Bytes of the storages that operations return, until they are released."""

    def __init__(self, known: set[int]):
        super().__init__()
        self.known = known
        self.held: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        hidden = _columns_bytes(func, args)
        if hidden:
            self.peak = max(self.peak, self.now + hidden)
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                self._hold(tensor)
        return found

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known or key in self.held:
            return
        self.held[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.now -= self.held.pop(key, 0)


def _columns_bytes(func: Any, args: Any) -> int:
    """What a convolution in float64 on the CPU unfolds its inputs to, inside of the operation."""
    if func is torch.ops.aten.convolution.default:
        images, weight = args[0], args[1]
        transposed, outputs = args[6], None
    elif func is torch.ops.aten.convolution_backward.default:
        outputs, images, weight = args[:3]
        transposed = args[7]
    else:
        return 0
    if images.dtype != torch.float64 or images.device.type != "cpu" or transposed:
        return 0
    count = images.shape[2:].numel() if outputs is None else outputs.shape[2:].numel()
    stride = args[3] if outputs is None else [1]
    count //= max(1, int(torch.tensor(stride).prod())) if outputs is None else 1
    return images.shape[0] * weight.shape[1:].numel() * count * images.element_size()


def _multiplied(kept: Any, left: Any, right: Any, *rest: Any, out_shape: Any = None, **named: Any) -> int:
    """Of a product, or a batch of them, that is added to what is there."""
    del kept, rest, out_shape, named
    return 2 * math.prod(left) * int(right[-1])


def _applied(matrix: Any, vector: Any, *rest: Any, out_shape: Any = None, **named: Any) -> int:
    del vector, rest, out_shape, named
    return 2 * math.prod(matrix)


def _attended(*arguments: Any, out_shape: Any = None, **named: Any) -> int:
    del named
    return sdpa_flop_count(*arguments[:3])


def _attended_back(*arguments: Any, out_shape: Any = None, **named: Any) -> int:
    del named
    return sdpa_backward_flop_count(*arguments[:4])


def _eigh_flops(shape: Any, *rest: Any, out_shape: Any = None, **named: Any) -> int:
    del rest, out_shape, named
    return 9 * int(shape[-1]) ** 3


# What PyTorch's counter leaves out: products in place or with vectors, attention on CPUs, and eigensolvers.
UNCOUNTED = {
    torch.ops.aten._linalg_eigh: _eigh_flops,
    torch.ops.aten.addmm_: _multiplied,
    torch.ops.aten.baddbmm_: _multiplied,
    torch.ops.aten.mv: _applied,
    torch.ops.aten.dot: _applied,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attended,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attended_back,
}
