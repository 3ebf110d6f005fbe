"""Two eigenproblems at once, where a second core would wait."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["both", "is_core_free"]

FirstT = TypeVar("FirstT")
SecondT = TypeVar("SecondT")

# Rows of M up to which the matrices of two measurements are held beside each other: some 70 MB each.
MOST_ROWS = 3000


def is_core_free(rows: int) -> bool:
    """Whether PyTorch was given one thread of a machine that has more, and matrices of this size are light."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Whoever counts operations or memory does so in one thread.
    is_counted = torch._C._len_torch_dispatch_stack() > 0
    return rows <= MOST_ROWS and torch.get_num_threads() == 1 and cores > 1 and not is_counted


def both(first: Callable[[], FirstT], second: Callable[[], SecondT]) -> tuple[FirstT, SecondT]:
    """What two calls return, the first made in a thread of its own; LAPACK and products hold no lock of Python."""
    device, threads = torch.get_default_device(), torch.get_num_threads()

    def elsewhere() -> FirstT:
        # Libraries below PyTorch count threads for each thread that calls them.
        torch.set_num_threads(threads)
        with torch.no_grad(), torch.device(device):
            return first()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(elsewhere)
        found = second()
        return waiting.result(), found
