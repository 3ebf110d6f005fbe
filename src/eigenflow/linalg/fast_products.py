"""Large float32 matrix products on the CPU, by the faster of two libraries that are loaded anyway.

On AMD processors the MKL that PyTorch is built with reaches 35 to 67 GFLOP/s where NumPy's OpenBLAS reaches 59 to 89
(Zen 2, one thread, the shapes of `tangent.blocks`; `benchmarks/matrix_products.py`). In float64 the gain is small.
Both work on the same memory, so nothing is copied.
"""

import platform
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from threadpoolctl import ThreadpoolController
from torch import Tensor

__all__ = ["matrix_product"]

# Below this many operations the call itself counts.
LARGE = 10**7


def matrix_product(left: Float[Tensor, "rows inner"], right: Float[Tensor, "inner columns"]) -> Tensor:
    """left @ right, without derivatives, on as many threads as PyTorch uses."""
    is_float32_here = left.dtype == right.dtype == torch.float32 and left.device.type == "cpu"
    # Whoever counts operations has to see them.
    is_float32_here = is_float32_here and torch._C._len_torch_dispatch_stack() == 0
    if not is_float32_here or 2 * left.numel() * right.shape[1] < LARGE or (openblas := _better_openblas()) is None:
        return left @ right
    with openblas.limit(limits=torch.get_num_threads()):
        return torch.from_numpy(np.matmul(left.detach().numpy(), right.detach().numpy()))


@cache
def _better_openblas() -> ThreadpoolController | None:
    """Control of NumPy's OpenBLAS where it beats PyTorch's own library."""
    if not (torch.backends.mkl.is_available() and "AuthenticAMD" in _processor()):
        return None
    loaded = ThreadpoolController().select(internal_api="openblas")
    is_numpy = any("numpy" in library["filepath"] for library in loaded.info())
    return loaded if is_numpy else None


def _processor() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
