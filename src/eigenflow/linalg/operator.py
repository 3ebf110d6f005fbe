"""Symmetric operators known only by their products, and the space that their rows live in.

A row space answers what a solver asks of its vectors beyond adding them: inner products and random draws.
Keeping it apart from the operator lets the rows be spread over processes: each holds a part of every row,
and only the inner products have to be summed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.errors import NonFiniteError, ShapeError
from eigenflow.linalg.fast_products import matrix_product

__all__ = ["AbstractRowSpace", "RowSpace", "SymmetricOperator"]


class AbstractRowSpace(ABC):
    """Vectors as rows, in float64, of which this process holds `local_size` entries out of `size`."""

    size: int
    local_size: int
    device: torch.device

    @abstractmethod
    def inner(self, left: Float[Tensor, "left local"], right: Float[Tensor, "right local"]) -> Float[Tensor, "l r"]:
        """Inner products of all pairs of rows, complete: summed over the processes that share them."""

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "count local"]:
        """Standard normal rows; the same whole rows however they are shared."""

    @abstractmethod
    def sum(self, part: Tensor) -> Tensor:
        """Sum of a tensor over the processes that share the rows. May be done in place."""

    def sums(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums of named tensors over the processes that share the rows; by default one by one."""
        return {name: self.sum(part) for name, part in parts.items()}

    def is_all(self, here: bool) -> bool:
        """Whether it is so on every process."""
        missing = self.sum(torch.tensor([float(not here)], dtype=torch.float64, device=self.device))
        return float(missing) == 0

    @abstractmethod
    def whole(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "block size"]:
        """The parts of all processes, one after another."""

    @abstractmethod
    def part(self, whole: Float[Tensor, "block size"]) -> Float[Tensor, "block local"]:
        """This process's part of whole rows."""


class RowSpace(AbstractRowSpace):
    """Rows held whole by this process.

    Args:
        size: Length of a row.
        device: Where the rows live.
    """

    def __init__(self, size: int, device: torch.device | str = "cpu"):
        self.size = self.local_size = size
        self.device = torch.device(device)

    def inner(self, left: Float[Tensor, "left local"], right: Float[Tensor, "right local"]) -> Float[Tensor, "l r"]:
        """Inner products of all pairs of rows."""
        return left @ right.T

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "count local"]:
        """Standard normal rows from a generator on the CPU, so that every device gets the same."""
        return torch.randn(count, self.size, generator=generator, dtype=torch.float64).to(self.device)

    def sum(self, part: Tensor) -> Tensor:
        """The tensor itself."""
        return part

    def whole(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "block size"]:
        """The rows themselves."""
        return rows

    def part(self, whole: Float[Tensor, "block size"]) -> Float[Tensor, "block local"]:
        """The rows themselves."""
        return whole


@dataclass(frozen=True)
class SymmetricOperator:
    """A symmetric, positive semidefinite operator M that is known by its products with blocks of rows.

    Attributes:
        apply: From float64 rows (block, local_size) to M times each row, in any floating type.
        space: The rows' space.
        unit_roundoff: Of the arithmetic inside `apply`: 2^-53 for float64, 2^-24 for float32.
    """

    apply: Callable[[Tensor], Tensor]
    space: AbstractRowSpace
    unit_roundoff: float = 2.0**-53

    @classmethod
    def of_matrix(cls, matrix: Float[Tensor, "size size"], *, product_dtype: Any = None) -> "SymmetricOperator":
        """A symmetric matrix as an operator.

        Args:
            matrix: Symmetric up to rounding.
            product_dtype: Type of the products; None takes the matrix's own.
        """
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ShapeError(f"`matrix` must be square, but has shape {tuple(matrix.shape)}.")
        matrix = matrix.to(product_dtype)
        space = RowSpace(len(matrix), matrix.device)
        return cls(
            lambda rows: matrix_product(rows.to(matrix.dtype), matrix), space, 0.5 * torch.finfo(matrix.dtype).eps
        )

    @property
    def size(self) -> int:
        """Length of a whole row."""
        return self.space.size

    def product(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "block local"]:
        """M times each row, in float64.

        Raises:
            NonFiniteError: If the product is NaN or infinite.
        """
        images = self.apply(rows).to(torch.float64)
        if not torch.isfinite(images).all():
            raise NonFiniteError(
                "A product with the operator M is NaN or infinite. The network has diverged or holds bad "
                "weights (look at the step before), or float32 products overflow: use product_dtype=torch.float64."
            )
        return images
