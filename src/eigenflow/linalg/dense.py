"""Eigenpairs of a dense symmetric matrix, each with the residual that certifies it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.errors import NonFiniteError

__all__ = ["EigenPairs", "dense_eigenpairs"]


@dataclass(frozen=True)
class EigenPairs:
    """Eigenvalues in decreasing order, eigenvectors as rows, and how far each can be trusted.

    Attributes:
        eigenvalues: In the unit of the operator, largest first.
        eigenvectors: Orthonormal rows; signs and rotations inside equal eigenvalues are arbitrary.
        residuals: Norms of M phi - lambda phi. For a symmetric M an exact eigenvalue lies within
            this distance of the computed one.
    """

    eigenvalues: Float[Tensor, " modes"]
    eigenvectors: Float[Tensor, "modes size"]
    residuals: Float[Tensor, " modes"]


@torch.no_grad()
def dense_eigenpairs(matrix: Float[Tensor, "size size"], modes: int | None = None) -> EigenPairs:
    """Solve the full symmetric eigenproblem in float64 and keep the largest pairs.

    Args:
        matrix: Symmetric; only rounding error may break the symmetry.
        modes: How many of the largest pairs to keep; None keeps all.

    Returns:
        The pairs with their residuals, computed with `matrix` itself.

    Raises:
        NonFiniteError: If the matrix holds NaN or infinite entries.
    """
    if not torch.isfinite(matrix).all():
        raise NonFiniteError(
            "The operator M has entries that are NaN or infinite. The network has diverged or holds "
            "bad weights; look at the step before."
        )
    matrix = matrix.to(torch.float64)
    values, columns = torch.linalg.eigh(matrix)
    kept = slice(None) if modes is None else slice(-modes, None)
    values = values[kept].flip(0)
    vectors = columns[:, kept].flip(1).T.contiguous()
    residuals = torch.linalg.vector_norm(vectors @ matrix - values[:, None] * vectors, dim=1)
    return EigenPairs(values, vectors, residuals)
