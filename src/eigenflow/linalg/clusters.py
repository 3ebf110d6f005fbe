"""Which eigenvalues belong together, and which mode became which."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.linalg.dense import EigenPairs

__all__ = ["cluster_labels", "match_modes", "resolve_clusters", "turn_clusters", "turn_rows"]


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


@torch.no_grad()
def resolve_clusters(
    pairs: EigenPairs,
    matrix: Float[Tensor, "size size"],
    rate: Float[Tensor, "size size"],
    clusters: Int[Tensor, " modes"],
) -> tuple[EigenPairs, Float[Tensor, "modes modes"]]:
    """Choose inside every cluster the eigenvectors into which the moving operator splits it.

    Equal eigenvalues leave their eigenvectors free up to a rotation. Degenerate perturbation theory (Kato,
    II.2) takes the rotation that makes P Mdot P diagonal; its diagonal holds the eigenvalues' rates.

    Args:
        pairs: Eigenpairs of `matrix`.
        matrix: M.
        rate: Mdot.
        clusters: Labels as from `cluster_labels`.

    Returns:
        The pairs, rotated inside clusters of two or more (largest rate first), and <phi_u, Mdot phi_v>.
    """
    vectors = pairs.eigenvectors
    rates = vectors @ rate @ vectors.T
    if int(torch.bincount(clusters).max()) == 1:
        return pairs, rates
    rotation = turn_clusters(rates, clusters)
    vectors = turn_rows(rotation, vectors, clusters)
    images = vectors @ matrix
    values = (images * vectors).sum(1)
    residuals = torch.linalg.vector_norm(images - values[:, None] * vectors, dim=1)
    return EigenPairs(values, vectors, residuals), rotation @ rates @ rotation.T


def turn_clusters(rates: Float[Tensor, "modes modes"], clusters: Int[Tensor, " modes"]) -> Float[Tensor, "modes modes"]:
    """The rotation inside clusters that makes Mdot diagonal there, largest rate first.

    Args:
        rates: <phi_u, Mdot phi_v>, symmetric.
        clusters: Labels, in the order of the eigenvalues.
    """
    rotation = torch.eye(len(clusters), dtype=rates.dtype, device=rates.device)
    for label in torch.nonzero(torch.bincount(clusters) > 1)[:, 0]:
        members = torch.nonzero(clusters == label)[:, 0]
        block = slice(int(members[0]), int(members[-1]) + 1)
        rotation[block, block] = torch.linalg.eigh(rates[block, block])[1].flip(1).T
    return rotation


def turn_rows(
    rotation: Float[Tensor, "modes modes"], rows: Float[Tensor, "modes local"], clusters: Int[Tensor, " modes"]
) -> Float[Tensor, "modes local"]:
    """`rotation @ rows` for a rotation as of `turn_clusters`: only rows of clusters of two or more move.

    Args:
        rotation: Orthogonal, the identity but inside clusters.
        rows: One a mode.
        clusters: Labels.
    """
    moved = torch.nonzero(torch.bincount(clusters)[clusters] > 1)[:, 0]
    if len(moved) == 0:
        return rows
    turned = rows.clone()
    turned[moved] = rotation[moved][:, moved] @ rows[moved]
    return turned


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
