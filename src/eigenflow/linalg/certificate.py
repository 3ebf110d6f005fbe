"""How far computed eigenpairs can be trusted, from their residuals alone.

Let X hold m Ritz vectors (rows) with values Theta, R = M X - Theta X their residuals, and C the operator on
the complement of X. An eigenvalue above mu >= lambda_max(C) solves

    det(Theta - lambda + R (lambda - C)^-1 R^T) = 0,      0 <= R (lambda - C)^-1 R^T <= R R^T / (lambda - mu)

so lambda_u lies between theta_u and the u-th eigenvalue of Theta + R R^T / (theta_u - mu). The error is of
second order in the residual and does not see gaps inside X. Without a usable mu the classical bounds remain:
an eigenvalue within ||r_u||, an angle of ||r_u|| / gap ([@daviskahan1970rotation]; [@parlett1998symmetric],
chapter 11).

What no residual can show is that an eigenvector was missed; the solvers look for those by random directions.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eigenflow.linalg.clusters import cluster_labels
from eigenflow.linalg.dense import EigenPairs
from eigenflow.linalg.pairs import CertifiedPairs, SolveStats, SolveStatus
from eigenflow.linalg.subspace import Subspace

__all__ = ["Accuracy", "Certificate", "certified_pairs", "certify", "certify_dense"]

# A Ritz value is settled when its residual is below this part of it.
SETTLED = 0.01
# Ritz vectors to look at behind twice the modes, for a wide gap to the complement.
GUARDS = 8


@dataclass(frozen=True)
class Certificate:
    """Bounds of the leading Ritz pairs; fields as in `CertifiedPairs`."""

    eigenvalue_bounds: Tensor
    angle_bounds: Tensor
    clusters: Tensor


@dataclass(frozen=True)
class Accuracy:
    """What is asked of a solve, and the size of its rounding errors.

    Attributes:
        modes: How many leading pairs.
        tolerance: Relative accuracy of their eigenvalues.
        rounding: Size of the rounding error in one component of a product.
        size: Length of a row.
    """

    modes: int
    tolerance: float
    rounding: float
    size: int

    @property
    def noise(self) -> float:
        """Rounding in a whole residual vector, in the mean square."""
        return self.rounding * self.size**0.5

    def cut(self, values: Float[Tensor, " ritz"], residuals: Float[Tensor, " ritz"]) -> tuple[int, float]:
        """Choose the number of Ritz vectors to certify with, and bound the operator on what is left.

        Ritz vectors behind the cut count as complement, whose largest eigenvalue lies near the value of the first
        of them. Only values that have settled may say so: others lie far below the eigenvalues of their rank.
        """
        if len(values) == self.size:
            return len(values), -torch.inf
        behind, size = values[self.modes :], residuals[self.modes :]
        if len(behind) == 0:
            return len(values), torch.inf
        is_settled = size <= SETTLED * behind.abs() + self.noise
        candidates = max(1, int(torch.cumprod(is_settled.long(), 0).sum()))
        bounds = (behind + 2.0 * size + self.noise)[:candidates]
        return self.modes + int(bounds.argmin()), float(bounds.min())

    def is_reached(self, values: Float[Tensor, " modes"], bounds: Float[Tensor, " modes"]) -> Bool[Tensor, " modes"]:
        """Whether each eigenvalue is certified to the tolerance, or is zero as far as rounding can tell."""
        values = values.abs()
        return (bounds <= self.tolerance * values) | (values + bounds <= 8.0 * self.noise)

    def is_at_rounding(
        self, residuals: Float[Tensor, " modes"], bounds: Float[Tensor, " modes"]
    ) -> Bool[Tensor, " modes"]:
        """Whether rounding in the products keeps a pair from coming nearer."""
        return (residuals <= 2.0 * self.noise) | (bounds <= 8.0 * self.rounding)


def certified_pairs(subspace: Subspace, modes: int, tolerance: float, stats: SolveStats) -> CertifiedPairs:
    """Leading Ritz pairs of a subspace, certified by residuals that are formed from vectors and images."""
    ritz = subspace.ritz()
    accuracy = Accuracy(modes, tolerance, subspace.rounding, subspace.space.size)
    count = min(subspace.count, 2 * modes + GUARDS)
    vectors = ritz.vectors(count)
    remainders = torch.addcmul(ritz.images(count), ritz.values[:count, None], vectors, value=-1.0)
    gram, values = subspace.space.inner(remainders, remainders).cpu(), ritz.values[:count].cpu()
    residuals = gram.diagonal().clamp(min=0).sqrt()
    cut, complement_bound = accuracy.cut(values, residuals)
    certificate = certify(values[:cut], gram[:cut, :cut], complement_bound, accuracy)
    is_converged = accuracy.is_reached(values[:modes], certificate.eigenvalue_bounds)
    is_at_rounding = accuracy.is_at_rounding(residuals[:modes], certificate.eigenvalue_bounds)
    device = subspace.space.device
    return CertifiedPairs(
        eigenvalues=values[:modes].to(device),
        eigenvectors=vectors[:modes].clone(),
        residuals=residuals[:modes].to(device),
        eigenvalue_bounds=certificate.eigenvalue_bounds.to(device),
        angle_bounds=certificate.angle_bounds.to(device),
        clusters=certificate.clusters.to(device),
        is_converged=is_converged.to(device),
        complement_bound=complement_bound,
        rounding=accuracy.rounding,
        tolerance=tolerance,
        status=_status(is_converged, is_at_rounding),
        stats=stats,
    )


def certify_dense(pairs: EigenPairs, size: int, modes: int) -> CertifiedPairs:
    """Certify pairs of a dense solve by their residuals and gaps.

    Args:
        pairs: The leading pairs, one more than `modes` where there is one, for the gap below the last.
        size: Length of a row.
        modes: How many pairs to return.
    """
    values, residuals = pairs.eigenvalues, pairs.residuals
    rounding = torch.finfo(torch.float64).eps * float(values[0].abs())
    clusters = cluster_labels(values[:modes], 2.0 * float(residuals[:modes].max()) + 100 * rounding)
    ends = torch.cat([values.new_tensor([torch.inf]), values, values.new_tensor([-torch.inf])])
    if len(values) == modes < size:
        ends[-1] = values[-1]
    counts = torch.bincount(clusters)
    last = torch.cumsum(counts, 0) - 1
    first = last - counts + 1
    gaps = torch.minimum(ends[first] - values[first], values[last] - ends[last + 2])
    squares = torch.zeros_like(gaps).index_add_(0, clusters, (residuals[:modes] + rounding).square())
    angles = torch.where(gaps > 0, squares.sqrt() / gaps.clamp(min=1e-300), 1.0).clamp(max=1.0)[clusters]
    return CertifiedPairs(
        eigenvalues=values[:modes],
        eigenvectors=pairs.eigenvectors[:modes],
        residuals=residuals[:modes],
        eigenvalue_bounds=residuals[:modes] + rounding,
        angle_bounds=angles,
        clusters=clusters,
        is_converged=torch.ones(modes, dtype=torch.bool, device=values.device),
        complement_bound=float(values[modes]) if len(values) > modes else -torch.inf,
        rounding=rounding,
        tolerance=0.0,
        status=SolveStatus.CONVERGED,
        stats=SolveStats(0, 0, 0, size),
    )


def _status(is_converged: Tensor, is_at_rounding: Tensor) -> SolveStatus:
    if bool(is_converged.all()):
        return SolveStatus.CONVERGED
    return SolveStatus.ROUNDING_REACHED if bool((is_converged | is_at_rounding).all()) else SolveStatus.LIMIT_REACHED


def certify(
    values: Float[Tensor, " ritz"],
    residual_gram: Float[Tensor, "ritz ritz"],
    complement_bound: float,
    accuracy: Accuracy,
) -> Certificate:
    """Bound the errors of the leading Ritz pairs.

    Args:
        values: Ritz values in decreasing order: the modes wanted and then guards.
        residual_gram: R R^T of their residuals.
        complement_bound: mu, at least the largest eigenvalue outside the Ritz vectors.
        accuracy: How many pairs to bound, and the rounding that is added: four times that of a component to an
            eigenvalue, that of a whole vector to a residual.
    """
    modes, rounding = accuracy.modes, accuracy.rounding
    residuals = residual_gram.diagonal().clamp(min=0).sqrt() + accuracy.noise
    count = min(modes + 1, len(values))  # the first guard too: it may belong to the last cluster
    shift = values[:count] - complement_bound
    bounds = torch.minimum(residuals[:count], _second_order(values, residual_gram, shift) + 4.0 * rounding)
    clusters = _clusters(values, residuals, shift, bounds)
    angles = _angles(values, residuals, shift, clusters[:modes])
    if count > modes and clusters[modes] == clusters[modes - 1]:
        angles[clusters[:modes] == clusters[modes]] = 1.0
    return Certificate(bounds[:modes], angles, clusters[:modes])


def _second_order(values: Tensor, gram: Tensor, shift: Tensor) -> Tensor:
    """How far the u-th eigenvalue of Theta + R R^T / (theta_u - mu) lies above theta_u; infinite if mu is not below."""
    bound = torch.full_like(shift, torch.inf)
    usable = torch.nonzero(shift > 0)[:, 0]
    if len(usable):
        raised = torch.diag(values)[None] + gram[None] / shift[usable, None, None]
        order = torch.linalg.eigvalsh(raised).flip(1)
        bound[usable] = (order[torch.arange(len(usable)), usable] - values[usable]).clamp(min=0)
    return bound


def _clusters(values: Tensor, residuals: Tensor, shift: Tensor, bounds: Tensor) -> Tensor:
    """Neighbours are apart if their gap exceeds both their eigenvalues' bounds and what may couple them."""
    here, after = residuals[: len(shift)][:-1], residuals[: len(shift)][1:]
    through = torch.where(shift[1:] > 0, 2.0 * here * after / shift[1:].clamp(min=1e-300), torch.inf)
    apart = torch.maximum(bounds[:-1] + bounds[1:], torch.minimum(here + after, through))
    is_apart = -torch.diff(values[: len(shift)]) > apart
    return torch.cumsum(torch.cat([torch.zeros(1, dtype=torch.int64), is_apart.long()]), 0)


def _angles(values: Tensor, residuals: Tensor, shift: Tensor, clusters: Tensor) -> Tensor:
    """Smaller of residual / gap and the bound through the complement, for each cluster's subspace."""
    counts = torch.bincount(clusters)
    last = torch.cumsum(counts, 0) - 1
    first = last - counts + 1
    squares = values.new_zeros(len(counts)).index_add(0, clusters, residuals[: len(clusters)].square())
    size = squares.sqrt()
    # Nothing stands above the first value; what stands below the last one is not known.
    above = torch.cat([values.new_tensor([torch.inf]), values - residuals])[first] - values[first]
    below = values[last] - torch.cat([values + residuals, values.new_tensor([torch.inf])])[last + 1]
    gap = torch.minimum(above, below)
    by_gap = torch.where(gap > 0, size / gap.clamp(min=1e-300), 1.0)
    index = torch.arange(len(values))
    is_above, is_below = index < first[:, None], index > last[:, None]
    gaps = torch.where(is_above, values - values[first, None], values[last, None] - values).clamp(min=1e-300)
    mixing = torch.linalg.vector_norm(torch.where(is_above | is_below, residuals / gaps, 0.0), dim=1)
    away = shift[last]
    by_shift = torch.where(away > 0, size / away.clamp(min=1e-300) * (1.0 + mixing), 1.0)
    return torch.minimum(by_gap, by_shift).clamp(max=1.0)[clusters]
