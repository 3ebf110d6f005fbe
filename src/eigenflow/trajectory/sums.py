"""Sums of a measured step over logarithmic shells: the terms of the budget, and transfer."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.core.grid import shell_index
from eigenflow.trajectory.step import OneStep

__all__ = ["buffer_sums", "shell_sums", "transfer_matrix"]


def shell_sums(one: OneStep, edges: Float[np.ndarray, " edges"]) -> dict[str, Float[Tensor, " shells"]]:
    """Sum a measured step over the shells that `edges` bound.

    Returns:
        By name, one value per shell (`len(edges) + 1` of them, the first and last open):

        - `energy`, `energy_after`: e'P_B e before and after; over all shells twice the loss if it is squared.
        - `dissipation`, `optimizer`, `curvature`, `transfer`, `remainder`: the terms D, X, C, T, N of the budget. The
          sixth, U, is in `buffer_sums`.
        - `transfer_drift`, `transfer_rotation`: T split by mode labels into eigenvalues that cross an
          edge and vectors that rotate. Their sum is T; each alone depends on the labels.
        - `mode_count`: eigenvalues in the shell.
        - `eigenvalue_sum`: Tr(P_B M), in 1 / time. Divided by `mode_count` it is the mean eigenvalue.
        - `rate_sum`: Tr(P_B Mdot), in 1 / time^2. Divided by `mode_count` it is the mean lambda-dot.
        - `energy_rate`: (P_B e)' Mdot (P_B e), how fast the shell's energy moves in eigenvalue. Divided by
          `energy` it is the velocity of the shell's energy centroid.

        All but the split are the same for any choice of eigenvectors inside a shell.
    """
    old, new = shell_indices(one, edges)
    shells = len(edges) + 1

    def total(index: Tensor, values: Tensor) -> Tensor:
        return torch.zeros(shells, dtype=values.dtype).index_add_(0, index, values)

    g = one.before.coefficients
    h0, h, e_new = one.gradient_old, one.frozen_old, one.after_new
    linear, linear_new = one.linear_old, one.linear_new
    r_new = e_new - linear_new
    rates = one.before.rate_matrix
    assert rates is not None and one.before.eigenvalue_rates is not None
    is_same_shell = old[:, None] == old[None, :]
    moved_energy = g * ((rates * is_same_shell) @ g)
    carried = torch.zeros_like(linear).index_copy_(0, one.successor, linear**2)  # old energies under the new labels
    return {
        "energy": total(old, g**2),
        "energy_after": total(new, e_new**2) + buffer_sums(one, edges)["buffers"],
        "dissipation": total(old, g**2 - h0**2),
        "optimizer": total(old, h**2 - h0**2),
        "curvature": total(old, linear**2 - h**2),
        "transfer": total(new, linear_new**2) - total(old, linear**2),
        "remainder": total(new, 2.0 * r_new * linear_new + r_new**2),
        "transfer_drift": total(new, carried) - total(old, linear**2),
        "transfer_rotation": total(new, linear_new**2 - carried),
        "mode_count": total(old, torch.ones_like(g)),
        "eigenvalue_sum": total(old, one.before.eigenvalues),
        "rate_sum": total(old, one.before.eigenvalue_rates),
        "energy_rate": total(old, moved_energy),
    }


def buffer_sums(one: OneStep, edges: Float[np.ndarray, " edges"]) -> dict[str, Float[Tensor, " shells"]]:
    """What buffers do that move after the update.

    Returns:
        `buffers`, the term U of the budget, and `buffers_transfer`, the part of it that they carry between shells,
        which sums to zero. Both are zero where no buffer moved.
    """
    zero = torch.zeros(len(edges) + 1, dtype=one.after_new.dtype)
    if one.settled is None or one.carried_settled is None:
        return {"buffers": zero, "buffers_transfer": zero.clone()}
    old = torch.from_numpy(shell_index(one.after.eigenvalues.numpy(), edges))
    new = torch.from_numpy(shell_index(one.settled.eigenvalues.numpy(), edges))
    before = zero.index_add(0, old, one.after_new**2)
    return {
        "buffers": zero.index_add(0, new, one.settled.coefficients**2) - before,
        "buffers_transfer": zero.index_add(0, new, one.carried_settled**2) - before,
    }


def transfer_matrix(one: OneStep, edges: Float[np.ndarray, " edges"]) -> Float[Tensor, "shells shells"]:
    """A[a, b] = l'P'_a P_b l: energy that the update carries from shell b to shell a.

    Columns sum to l'P_b l and rows to l'P'_a l, exactly (equations/identities.md#eq-d4), with l the error of the
    linearised network. Entries may be negative, the matrix is not symmetric, and no choice of eigenvectors enters.
    """
    old, new = shell_indices(one, edges)
    moved = one.linear_new[:, None] * one.overlap * one.linear_old[None, :]
    return block_sums(moved, new, old, len(edges) + 1)


def coupling_matrix(one: OneStep, edges: Float[np.ndarray, " edges"]) -> Float[Tensor, "shells shells"]:
    """||P_a Mdot P_b||_F^2, how strongly the operator's motion couples two shells, in 1 / time^4."""
    old, _ = shell_indices(one, edges)
    assert one.before.rate_matrix is not None
    return block_sums(one.before.rate_matrix**2, old, old, len(edges) + 1)


def shell_indices(
    one: OneStep, edges: Float[np.ndarray, " edges"]
) -> tuple[Int[Tensor, " size"], Int[Tensor, " size"]]:
    """The shell of every eigenvalue before and after the update."""
    return tuple(torch.from_numpy(shell_index(s.eigenvalues.numpy(), edges)) for s in (one.before, one.after))  # pyright: ignore


def block_sums(values: Tensor, rows: Tensor, columns: Tensor, shells: int) -> Tensor:
    """Sum a matrix over blocks given by the shell of each row and column."""
    by_row = torch.zeros(shells, values.shape[1], dtype=values.dtype).index_add_(0, rows, values)
    return torch.zeros(shells, shells, dtype=values.dtype).index_add_(1, columns, by_row)
