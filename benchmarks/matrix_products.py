"""Which of the two libraries at hand multiplies the matrices of operator products faster?

PyTorch's own library and NumPy's, on the same memory and one thread, in turns; shapes of the layers 64-256 and 256-256
on 1000 samples with 4 and 40 vectors, there (inputs transposed) and back, and a square for comparison. What
`eigenflow.linalg.fast_products` picks on this machine is written beside.

Run:  OMP_NUM_THREADS=1 python benchmarks/matrix_products.py
"""

import statistics
import time

import numpy as np
import torch

from _machine import write
from eigenflow.linalg.fast_products import _better_openblas

REPEATS = 7


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for dtype in (torch.float32, torch.float64):
        for name, left, right in shapes(dtype):
            seconds: dict[str, list[float]] = {"torch": [], "numpy": []}
            for _ in range(REPEATS):
                began = time.process_time()
                left @ right
                seconds["torch"].append(time.process_time() - began)
                began = time.process_time()
                np.matmul(left.numpy(), right.numpy())
                seconds["numpy"].append(time.process_time() - began)
            gflop = 2e-9 * left.numel() * right.shape[1]
            rates = {f"{library}_gflops": gflop / min(found) for library, found in seconds.items()}
            medians = {
                f"{library}_median_gflops": gflop / statistics.median(found) for library, found in seconds.items()
            }
            rows.append({"dtype": str(dtype), "product": name, **rates, **medians})
            print(rows[-1], flush=True)
    picked = "torch" if _better_openblas() is None else "numpy for float32"
    print(write("matrix_products", rows, picked=picked))


def shapes(dtype: torch.dtype) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """Names and factors."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=dtype)

    found = [("2000 x 2000 x 2000", draw(2000, 2000), draw(2000, 2000))]
    for vectors in (4, 40):
        for ins in (65, 257):
            inputs = draw(1000, ins)
            found.append((f"to parameters, {ins} inputs, {vectors} vectors", inputs.T, draw(1000, vectors * 256)))
            found.append((f"to samples, {ins} inputs, {vectors} vectors", inputs, draw(ins, vectors * 256)))
    return found


if __name__ == "__main__":
    main()
