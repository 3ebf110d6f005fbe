"""Which eigenvalues belong together, and which mode became which."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["cluster_labels", "match_modes"]


def cluster_labels(eigenvalues: Float[Tensor, " modes"], tolerance: float) -> Int[Tensor, " modes"]:
    """Group neighbouring eigenvalues that cannot be told apart.

    Args:
        eigenvalues: In decreasing order.
        tolerance: Neighbours closer than this share a group, in the eigenvalues' unit.

    Returns:
        A group number per mode, from 0 upwards. Inside a group only the subspace has a meaning.
    """
    gaps = -torch.diff(eigenvalues)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64, device=eigenvalues.device), (gaps > tolerance).long()])
    return torch.cumsum(starts, 0)


def match_modes(overlap: Float[Tensor, "after before"]) -> Int[Tensor, " before"]:
    """Give every old mode its successor after a small change of the operator.

    Modes that are each other's largest overlap are matched; the rest, which exist only inside
    (near-)degenerate groups, are matched in the order of their eigenvalues.

    Args:
        overlap: Products of new and old eigenvectors, `overlap[i, j] = <new_i, old_j>`.

    Returns:
        For each old mode the index of its new one; a permutation.
    """
    strength = overlap.abs()
    best_new = strength.argmax(0)
    best_old = strength.argmax(1)
    size = len(best_new)
    indices = torch.arange(size, device=overlap.device)
    is_mutual = best_old[best_new] == indices
    successor = torch.full_like(best_new, -1)
    successor[is_mutual] = best_new[is_mutual]
    is_taken = torch.zeros(size, dtype=torch.bool, device=overlap.device)
    is_taken[best_new[is_mutual]] = True
    successor[~is_mutual] = indices[~is_taken]
    return successor
