"""A growing orthonormal basis with its images under the operator, and Rayleigh-Ritz in it.

Products may be in float32; everything here is in float64. Images are kept, so residuals of Ritz pairs are
those of the products that were made, not of a recurrence.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.linalg.operator import AbstractRowSpace, SymmetricOperator

__all__ = ["RitzPairs", "Subspace", "orthonormalised"]

# A row that keeps less than this part of its length after projection lies in the span, up to rounding.
DEPENDENT = 1e-10
ROUNDS = 4
# Rounding of the small dense eigenproblem, relative to its largest eigenvalue.
SMALL_SOLVE = 8 * 2.0**-53
# Older images that a new block's products are held against, to see the rounding in their lack of symmetry.
RECENT = 16


class RitzPairs:
    """Ritz pairs of a subspace in decreasing order, with vectors and images made when asked for, and kept."""

    def __init__(self, subspace: "Subspace"):
        values, columns = torch.linalg.eigh(subspace.compression)
        self.values: Float[Tensor, " ritz"] = values.flip(0)
        self.coefficients: Float[Tensor, "ritz basis"] = columns.flip(1).T.contiguous()
        self._basis, self._basis_images = subspace.basis, subspace.images
        self._vectors, self._images = self._basis[:0], self._basis_images[:0]

    def vectors(self, count: int) -> Float[Tensor, "count local"]:
        """The leading Ritz vectors, orthonormal rows."""
        if len(self._vectors) < count:
            self._vectors = self.coefficients[:count] @ self._basis
        return self._vectors[:count]

    def images(self, count: int) -> Float[Tensor, "count local"]:
        """M times the leading Ritz vectors, from the products that were made."""
        if len(self._images) < count:
            self._images = self.coefficients[:count] @ self._basis_images
        return self._images[:count]

    def residual_rows(self, weights: Float[Tensor, "rows ritz"], first: int = 0) -> Float[Tensor, "rows local"]:
        """Combinations of the residuals of the Ritz pairs from the `first` on, without forming all of them."""
        chosen = slice(first, first + weights.shape[1])
        coefficients = weights @ self.coefficients[chosen]
        shifted = (weights * self.values[chosen]) @ self.coefficients[chosen]
        return torch.addmm(coefficients @ self._basis_images, shifted, self._basis, alpha=-1.0)


class Subspace:
    """An orthonormal basis B (rows), its images M B, and the compression B M B^T.

    Args:
        operator: M.
        capacity: Rows to hold at most.
    """

    def __init__(self, operator: SymmetricOperator, capacity: int):
        self.operator = operator
        self.capacity = min(capacity, operator.size)
        space = operator.space
        empty = {"dtype": torch.float64, "device": space.device}
        self._basis = torch.empty(self.capacity, space.local_size, **empty)
        self._images = torch.empty(self.capacity, space.local_size, **empty)
        self._compression = torch.zeros(self.capacity, self.capacity, **empty)
        self._squares = torch.zeros(0, 0, **empty)
        self.count = 0
        self.products = self.calls = 0
        self._asymmetry, self._pairs = 0.0, 0
        self._ritz: RitzPairs | None = None

    @property
    def space(self) -> AbstractRowSpace:
        """The rows' space."""
        return self.operator.space

    @property
    def basis(self) -> Float[Tensor, "basis local"]:
        """B."""
        return self._basis[: self.count]

    @property
    def images(self) -> Float[Tensor, "basis local"]:
        """M B."""
        return self._images[: self.count]

    @property
    def compression(self) -> Float[Tensor, "basis basis"]:
        """B M B^T."""
        return self._compression[: self.count, : self.count]

    @property
    def room(self) -> int:
        """Rows that may still be added."""
        return self.capacity - self.count

    def complement(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "rank local"]:
        """Rows that span, with the basis, what the given ones span with it; orthonormal, dependent ones dropped."""
        return orthonormalised(self.space, rows, self.basis)[0]

    def extend(self, rows: Float[Tensor, "block local"]) -> tuple[Tensor, Tensor]:
        """Add orthonormal rows that are orthogonal to the basis, by one block product.

        Returns:
            Orthonormal rows Q in which the images leave the basis, and T with images = (part in the basis) + T Q.
        """
        coefficients = self.add(rows)
        scale = float(torch.linalg.vector_norm(coefficients))
        images = self.images[-len(rows) :]
        return orthonormalised(self.space, images - coefficients.T @ self.basis, self.basis, scale)

    def add(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "basis block"]:
        """Add orthonormal rows that are orthogonal to the basis; return their images' products with the basis."""
        images = self.operator.product(rows)
        self.products += len(rows)
        self.calls += 1
        return self._append(rows, images)

    @property
    def rounding(self) -> float:
        """Size of the rounding errors in an entry of the compression, seen in its lack of symmetry.

        Errors that keep the symmetry, such as those of rounded weights, do not show here.
        """
        largest = float(self.compression.diagonal().abs().max()) if self.count else 0.0
        return max(
            self.operator.unit_roundoff * largest,
            SMALL_SOLVE * largest,
            (0.5 * self._asymmetry / max(1, self._pairs)) ** 0.5,
        )

    def ritz(self) -> RitzPairs:
        """Rayleigh-Ritz in the basis as it is now."""
        if self._ritz is None:
            self._ritz = RitzPairs(self)
        return self._ritz

    def residual_gram(self, count: int) -> Float[Tensor, "count count"]:
        """Inner products of the leading Ritz pairs' residuals, from those of the images.

        Squares of residuals below about 1e-14 of the largest eigenvalue's are lost in the cancellation.
        """
        known = len(self._squares)
        if known < self.count:
            squares = self._images.new_empty(self.count, self.count)
            fresh = self.space.inner(self.images[known:], self.images)
            squares[:known, :known], squares[known:], squares[:known, known:] = self._squares, fresh, fresh[:, :known].T
            self._squares = squares
        ritz = self.ritz()
        coefficients = ritz.coefficients[:count]
        gram = coefficients @ self._squares @ coefficients.T
        return 0.5 * (gram + gram.T) - torch.diag(ritz.values[:count].square())

    def shrink(self, count: int) -> None:
        """Keep only the leading Ritz vectors (a thick restart)."""
        pairs = self.ritz()
        vectors, images = pairs.vectors(count), pairs.images(count)
        self._squares = self._squares[:0, :0]
        self.count = 0
        before = self._asymmetry, self._pairs
        self._append(vectors, images)
        self._asymmetry, self._pairs = before

    def _append(self, rows: Tensor, images: Tensor) -> Tensor:
        """Store rows and images, and return their inner products with the whole basis."""
        self._ritz = None
        old, new = slice(0, self.count), slice(self.count, self.count + len(rows))
        recent = slice(max(0, self.count - RECENT), self.count)
        reverse = self.space.inner(self._images[recent], rows)
        self._basis[new], self._images[new] = rows, images
        self.count = new.stop
        coefficients = self.space.inner(self.basis, images)
        own = coefficients[new]
        for error in (coefficients[recent] - reverse, own - own.T):
            self._asymmetry += float(error.square().sum())
            self._pairs += error.numel()
        self._compression[old, new] = coefficients[old]
        self._compression[new, old] = coefficients[old].T
        self._compression[new, new] = 0.5 * (own + own.T)
        return coefficients


def orthonormalised(
    space: AbstractRowSpace,
    rows: Float[Tensor, "block local"],
    against: Float[Tensor, "basis local"],
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Orthonormalise rows against an orthonormal basis and each other, by projections and Gram eigenvectors.

    A round that shortens a row much has lost digits of its orthogonality, so rounds go on until none does
    ([@stathopoulos2002block]; [@parlett1998symmetric], section 6.9).

    Args:
        space: The rows' space.
        rows: What to orthonormalise.
        against: The basis.
        scale: Size against which a remainder counts as rounding, and its row as dependent; None: the largest row.

    Returns:
        Q (rank, local) and T (block, rank) with rows = (their part in the basis) + T Q.
    """
    total = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    if len(rows) == 0:
        return rows, total
    before = float(space.inner(rows, rows).diagonal().max().clamp(min=0).sqrt())
    smallest = DEPENDENT * (before if scale is None else scale)
    for _ in range(ROUNDS):
        rows = rows - space.inner(rows, against) @ against
        gram = space.inner(rows, rows)
        values, columns = torch.linalg.eigh(0.5 * (gram + gram.T))
        lengths = values.clamp(min=0).sqrt()
        kept = lengths > max(smallest, DEPENDENT * float(lengths.max()))
        lengths, columns = lengths[kept], columns[:, kept]
        rows = (columns / lengths).T @ rows
        total = total @ columns * lengths
        if len(lengths) == 0 or float(lengths.min()) > 0.1 * before:
            break
        before, smallest = 1.0, DEPENDENT
    return rows, total
