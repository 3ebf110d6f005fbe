"""What a solver for eigenpairs returns: the pairs, how far each can be trusted, and what they cost."""

from dataclasses import dataclass
from enum import Enum

from jaxtyping import Bool, Float, Int
from torch import Tensor

from eigenflow.core.display import FieldsPrinted

__all__ = ["CertifiedPairs", "SolveStats", "SolveStatus"]


class SolveStatus(Enum):
    """How a solve ended: all pairs converged, some kept from it by rounding in the products, or by a limit."""

    CONVERGED = "converged"
    ROUNDING_REACHED = "rounding_reached"
    LIMIT_REACHED = "limit_reached"


@dataclass(frozen=True)
class SolveStats:
    """What a solve cost.

    Attributes:
        products: Operator products, counted in single vectors.
        blocks: Operator calls.
        restarts: Times the basis was cut back to its Ritz vectors.
        basis: Largest number of basis vectors held.
    """

    products: int
    blocks: int
    restarts: int
    basis: int


@dataclass(frozen=True, repr=False)
class CertifiedPairs(FieldsPrinted):
    """Eigenpairs of a symmetric operator, largest first, each with its certificate.

    Bounds hold for the operator whose products were made, up to `rounding`, and provided that nothing was
    missed: `complement_bound` is an estimate from what was seen of the rest of the spectrum. Some eigenvalue lies
    within the residual in any case; that it is the one of this rank is what a search in the complement makes likely.

    Attributes:
        eigenvalues: Ritz values.
        eigenvectors: Orthonormal rows.
        residuals: ||M phi - lambda phi||.
        eigenvalue_bounds: The exact eigenvalue of the same rank lies within this of the computed one.
        angle_bounds: Bound of sin(angle) between the computed and the exact eigenvector; 1 if there is none. Inside
            a cluster single vectors have no meaning, and this is about the subspace of the cluster.
        clusters: Group number; modes of one group cannot be told apart at this accuracy.
        is_converged: Whether the eigenvalue's bound is within the tolerance asked for, relative to this eigenvalue.
        complement_bound: mu, from above the largest eigenvalue outside the vectors that the certificate used.
        rounding: Size of the rounding errors in the products, in the eigenvalues' unit.
        tolerance: Relative tolerance asked for.
        status: How the solve ended.
        stats: What it cost.
    """

    eigenvalues: Float[Tensor, " modes"]
    eigenvectors: Float[Tensor, "modes local"]
    residuals: Float[Tensor, " modes"]
    eigenvalue_bounds: Float[Tensor, " modes"]
    angle_bounds: Float[Tensor, " modes"]
    clusters: Int[Tensor, " modes"]
    is_converged: Bool[Tensor, " modes"]
    complement_bound: float
    rounding: float
    tolerance: float
    status: SolveStatus
    stats: SolveStats
