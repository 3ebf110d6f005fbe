"""Frobenius products of operators known by products, exact on known directions and estimated on the rest.

Tr(A B) = Tr(Q A B Q^T) + E[(A z) . (B z)] with Q the known orthonormal rows and z a random vector outside of them
([@hutchinson1989stochastic], with the deflation of [@meyer2021hutch]). The better the known rows carry the
operators, the smaller the error.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.linalg.operator import SymmetricOperator

__all__ = ["Estimate", "FrobeniusProducts", "frobenius_products"]


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error; 0 where it is exact."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class FrobeniusProducts:
    """All products Tr(A_i A_j) of some operators.

    Attributes:
        known: The part of the known rows, exact.
        samples: Independent estimates of the rest, one a random vector; they share their vectors between entries, so
            that ratios are more accurate than their parts.
    """

    known: Float[Tensor, "operators operators"]
    samples: Float[Tensor, "samples operators operators"]

    def estimate(self, function: Callable[[Tensor], Tensor]) -> Estimate:
        """A function of the matrix of products, with its standard error by the jackknife.

        Args:
            function: From the matrix Tr(A_i A_j) to a scalar, smooth.
        """
        count = len(self.samples)
        value = float(function(self.known + self.samples.mean(0)))
        if not bool(self.samples.any()):
            return Estimate(value, 0.0)
        total = self.samples.sum(0)
        left_out = torch.stack([function(self.known + (total - one) / (count - 1)) for one in self.samples])
        spread = (left_out - left_out.mean()).square().sum()
        return Estimate(value, math.sqrt(float(spread) * (count - 1) / count))


@torch.no_grad()
def frobenius_products(
    operators: Sequence[SymmetricOperator],
    known: Float[Tensor, "rows local"] | None = None,
    *,
    samples: int = 16,
    generator: torch.Generator | None = None,
) -> FrobeniusProducts:
    """Estimate Tr(A_i A_j) for all pairs of operators.

    Args:
        operators: Symmetric, on one row space.
        known: Orthonormal rows to treat exactly, for example leading eigenvectors: one product each and operator.
        samples: Random vectors for the rest: one product each and operator.
        generator: Of the vectors; None seeds one with 0.

    Raises:
        ArgumentError: If there are fewer than two samples, from which no error can be told.
    """
    if samples < 2:
        raise ArgumentError(f"`samples` must be at least 2, to tell an error from, but is {samples}.")
    space = operators[0].space
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    rows = space.draw(samples, generator)
    exact = torch.zeros(len(operators), len(operators), dtype=torch.float64)
    if known is not None and len(known):
        images = [operator.product(known) for operator in operators]
        exact = torch.stack([torch.stack([space.inner(a, b).trace() for b in images]) for a in images]).cpu()
        rows = rows - space.inner(rows, known) @ known
    images = [operator.product(rows) for operator in operators]
    pairs = [[space.inner(a, b).diagonal() for b in images] for a in images]
    estimates = torch.stack([torch.stack(row, -1) for row in pairs], -1).cpu()
    return FrobeniusProducts(exact, estimates)
