"""Products with M and with Mdot in blocks, from cached factors where layers have rules, by autograd elsewhere.

Factors are recorded once per instant in the probe's own precision, one forward and one backward pass per column of the
loss's root, and rounded to the product's type afterwards: products in float32 then carry rounding of the
product, not of the network. What has no rule is differentiated again at every product, with samples' outputs cached by
the reverse pass only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.linalg import RowSpace, SymmetricOperator
from eigenflow.tangent.blocks import AbstractBlock, make_block
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.point import TangentPoint

__all__ = ["CachedJacobian"]

# Working memory of a product, in bytes: vectors are taken in groups that fit. Larger groups leave the caches, smaller
# ones read the signals more often.
WORK_BYTES = 48 * 2**20


@dataclass(frozen=True)
class _Autograd:
    """What no rule covers: these parameters' part of J at a point."""

    point: TangentPoint
    names: tuple[str, ...]


class CachedJacobian:
    """J of a point, and Jdot along a direction, ready for products with blocks of rows.

    Args:
        point: The linearised network.
        direction: dtheta/dt along which Jdot is taken, or None for products with M alone.
        product_dtype: Type of the products' arithmetic; None: the probe's own.
        use_rules: Whether to use layer rules, which suppose that no output depends on another sample's input.
        like_samples: Make products in the way that is cheapest for so many samples; None: for those of the point.
    """

    def __init__(
        self,
        point: TangentPoint,
        direction: Parameters | None = None,
        product_dtype: torch.dtype | None = None,
        use_rules: bool = True,
        like_samples: int | None = None,
    ):
        self.point, self.direction = point, direction
        self.dtype = point.network.dtype if product_dtype is None else product_dtype
        self.samples = len(point.inputs)
        self.width = point.size // self.samples
        self.blocks: list[AbstractBlock] = []
        # Differences of whole products need no derivatives of the factors.
        along = None if point.rate_by_differences else direction
        collected, others = point.factors(along, self.dtype) if use_rules else ([], tuple(point.parameters))
        self.names: list[tuple[str, ...]] = []
        for factors, dots, length, names in collected:
            self.blocks.append(make_block(factors, dots, length, like_samples))
            self.names.append(names)
        self.others = _Autograd(point, others) if others else None

    @property
    def method(self) -> str:
        """How products are made, in words."""
        kind = f"products in {str(self.dtype).removeprefix('torch.')}"
        if not self.blocks:
            reason = f": {self.point.reason}" if self.point.reason else ""
            return f"{kind}, {'plain reverse mode' if self.point.reverse_only else 'automatic differentiation'}{reason}"
        if not self.uncovered:
            return f"{kind}, layer rules for all parameters"
        return f"{kind}, automatic differentiation for {', '.join(self.uncovered)}; layer rules for the rest"

    @property
    def uncovered(self) -> tuple[str, ...]:
        """Parameters that no layer rule covers, and that every product differentiates again."""
        return () if self.others is None else self.others.names

    @torch.no_grad()
    def product(self, rows: Float[Tensor, "block size"]) -> Float[Tensor, "block size"]:
        """M times each row."""

        def blocks(vectors: Tensor) -> Tensor:
            return _sum(block.push(block.pull(vectors)) for block in self.blocks)

        def others(rows: Tensor) -> Tensor:
            assert self.others is not None
            return self.point.product(rows, self.others.names)

        return self._in_groups(rows, blocks, others, copies=1)

    @torch.no_grad()
    def rate_product(self, rows: Float[Tensor, "block size"]) -> Float[Tensor, "block size"]:
        """Mdot times each row: Jdot (J^T v) + J (Jdot^T v)."""
        direction = self._direction()
        if self.point.rate_by_differences:
            return self.point.rate_product(rows.to(self.point.network.dtype), direction).to(rows.dtype)

        def blocks(vectors: Tensor) -> Tensor:
            return _sum(
                block.push_rate(block.pull(vectors)) + block.push(block.pull_rate(vectors)) for block in self.blocks
            )

        def others(rows: Tensor) -> Tensor:
            assert self.others is not None
            return self.point.rate_product(rows, direction, self.others.names)

        return self._in_groups(rows, blocks, others, copies=2)

    def operator(self) -> SymmetricOperator:
        """M as the solvers take it."""
        roundoff = 0.5 * torch.finfo(self.dtype).eps
        return SymmetricOperator(self.product, RowSpace(self.point.size, self.point.inputs.device), roundoff)

    @torch.no_grad()
    def trace(self) -> float | None:
        """Tr M, exactly; None if some parameters have no rule."""
        return None if self.others else self._row_products(False)

    @torch.no_grad()
    def trace_rate(self) -> float | None:
        """Tr Mdot, exactly; None if some parameters have no rule."""
        self._direction()
        return None if self.others or self.point.rate_by_differences else 2.0 * self._row_products(True)

    def _row_products(self, is_rate: bool) -> float:
        return sum(float(block.row_products(is_rate).sum(dtype=torch.float64)) for block in self.blocks)

    def _direction(self) -> Parameters:
        if self.direction is None:
            raise ValueError("a CachedJacobian without `direction` has no derivative")
        return self.direction

    def _in_groups(
        self, rows: Tensor, blocks: Callable[[Tensor], Tensor], others: Callable[[Tensor], Tensor], copies: int
    ) -> Tensor:
        result = torch.zeros_like(rows)
        if self.blocks:
            work = copies * max(block.work_bytes for block in self.blocks)
            step = max(1, WORK_BYTES // work)
            for start in range(0, len(rows), step):
                part = slice(start, start + step)
                vectors = rows[part].to(self.dtype).reshape(-1, self.samples, self.width).transpose(0, 1).contiguous()
                result[part] = blocks(vectors).transpose(0, 1).reshape(-1, rows.shape[1]).to(rows.dtype)
        if self.others is not None:
            result += others(rows.to(self.point.network.dtype)).to(rows.dtype)
        return result


def _sum(terms: Iterator[Tensor]) -> Tensor:
    total = next(terms)
    for term in terms:
        total = total + term
    return total
