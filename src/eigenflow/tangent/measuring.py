"""Two ways to measure the leading modes: form M and diagonalise it, or make products with it; one kind of result."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eigenflow.linalg import (
    CertifiedPairs,
    ModeIdentity,
    ModeTracker,
    RowSpace,
    block_eigenpairs,
    certify_dense,
    dense_eigenpairs,
)
from eigenflow.tangent.drift import ModeDrift, mode_drift
from eigenflow.tangent.network import Parameters
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.products import CachedJacobian
from eigenflow.tangent.snapshot import Snapshot

__all__ = ["Operator", "measure_dense", "measure_products"]


@dataclass(frozen=True)
class Operator:
    """What is known of M as a whole.

    Attributes:
        error: Relative difference to one product by automatic differentiation.
        method: How M was formed or multiplied with, in words.
        trace: Tr M, or None.
        trace_rate: Tr Mdot, or None.
    """

    error: float
    method: str
    trace: float | None
    trace_rate: float | None


@torch.no_grad()
def measure_dense(
    point: TangentPoint, matrix: Tensor, rate: Tensor | None, modes: int | None, error: float, method: str
) -> Snapshot:
    """Diagonalise a dense M, and look at a dense Mdot from its modes."""
    kept = len(matrix) if modes is None else modes
    pairs = certify_dense(dense_eigenpairs(matrix, min(kept + 1, len(matrix))), len(matrix), kept)
    drift, trace_rate = None, None
    if rate is not None:
        rate = rate.to(torch.float64)
        drift = mode_drift(pairs, pairs.eigenvectors @ rate, RowSpace(len(matrix), matrix.device))
        trace_rate = float(rate.diagonal().sum())
    vector = point.error.to(torch.float64)
    position = _quotient(vector @ (matrix.to(torch.float64) @ vector), vector)
    operator = Operator(error, method, float(matrix.diagonal().sum(dtype=torch.float64)), trace_rate)
    return _snapshot(point, operator, pairs, drift, position, None)


@torch.no_grad()
def measure_products(
    point: TangentPoint,
    modes: int,
    direction: Parameters | None,
    *,
    tolerance: float | None,
    product_dtype: torch.dtype | None,
    tracker: ModeTracker | None,
    require_converged: bool,
    progress: Callable[[int, int], None] | None,
    allowed_error: float,
) -> tuple[Snapshot, bool]:
    """Solve for the leading modes by products, and make one more block of them for the drift.

    Returns:
        The snapshot, and whether the layer rules hold; where they do not, everything was done without them.
    """
    jacobian = CachedJacobian(point, direction, product_dtype)
    error, image = audit(point, jacobian)
    holds = error <= max(allowed_error, 100 * torch.finfo(jacobian.dtype).eps) or not jacobian.blocks
    if not holds:
        jacobian = CachedJacobian(point, direction, product_dtype, use_rules=False)
        error, image = audit(point, jacobian)
    operator, identity = jacobian.operator(), None
    if tracker is not None:
        tracked = tracker.update(operator)
        pairs, identity = tracked.pairs, tracked.identity
    else:
        if tolerance is None:
            tolerance = 1e-6 if jacobian.dtype == torch.float32 else 1e-8
        pairs = block_eigenpairs(
            operator, modes, tolerance=tolerance, require_converged=require_converged, progress=progress
        )
    drift = None
    if direction is not None:
        drift = mode_drift(pairs, jacobian.rate_product(pairs.eigenvectors), operator.space)
    vector = point.error.to(torch.float64)
    position = _quotient(vector @ image, vector)
    trace_rate = None if direction is None else jacobian.trace_rate()
    whole = Operator(error, jacobian.method, jacobian.trace(), trace_rate)
    return _snapshot(point, whole, pairs, drift, position, identity), holds


def audit(point: TangentPoint, jacobian: CachedJacobian) -> tuple[float, Tensor]:
    """Hold a cached product with a random vector against automatic differentiation.

    Returns:
        The relative difference, and M e from the same block.
    """
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, point.size, generator=generator, dtype=torch.float64).to(point.inputs.device)
    expected = point.product(z.to(point.error)).to(torch.float64)
    found, image = jacobian.operator().product(torch.cat([z, point.error.to(z)[None]]))
    scale = float(expected.norm())
    return float((found - expected).norm()) / scale if scale > 0 else 0.0, image


def _quotient(product: Tensor, vector: Tensor) -> float:
    square = float(vector @ vector)
    return float(product) / square if square > 0 else 0.0


def _snapshot(
    point: TangentPoint,
    operator: Operator,
    pairs: CertifiedPairs,
    drift: ModeDrift | None,
    position: float,
    identity: ModeIdentity | None,
) -> Snapshot:
    if drift is not None:
        pairs = turned(pairs, drift.rotation)
    modes = len(pairs.eigenvalues)
    if identity is not None:
        rotation = identity.rotation[:modes, :modes]
        if drift is not None:
            rotation = rotation @ drift.rotation.to(rotation).T
        labels, overlaps = identity.labels[:modes], identity.overlaps[:modes]
        identity = replace(identity, labels=labels, overlaps=overlaps, rotation=rotation)
    error = point.error.to(torch.float64)
    return Snapshot(
        eigenvalues=pairs.eigenvalues,
        eigenvectors=pairs.eigenvectors,
        residuals=pairs.residuals,
        clusters=pairs.clusters,
        coefficients=pairs.eigenvectors @ error,
        error=error,
        loss=point.loss,
        factor=point.objective.factor,
        eigenvalue_rates=None if drift is None else drift.rate_matrix.diagonal().clone(),
        rate_matrix=None if drift is None else drift.rate_matrix,
        couplings=None if drift is None else drift.couplings,
        operator_error=operator.error,
        method=operator.method,
        eigenvalue_bounds=pairs.eigenvalue_bounds,
        angle_bounds=pairs.angle_bounds,
        is_converged=pairs.is_converged,
        status=pairs.status,
        rate_bounds=None if drift is None else drift.rate_bounds,
        coupling_bounds=None if drift is None else drift.coupling_bounds,
        outflow=None if drift is None else drift.outflow,
        trace=operator.trace,
        trace_rate=operator.trace_rate,
        position=position,
        identity=identity,
        products=pairs.stats.products,
    )


def turned(pairs: CertifiedPairs, rotation: Tensor) -> CertifiedPairs:
    """Pairs after a rotation inside clusters: Rayleigh quotients and residuals of the new vectors."""
    values = rotation.square() @ pairs.eigenvalues
    spread = (rotation.square() * (pairs.eigenvalues[None, :] - values[:, None]).square()).sum(1)
    residuals = ((rotation.abs() @ pairs.residuals).square() + spread).sqrt()
    is_same = rotation.diagonal() == 1.0
    return replace(
        pairs,
        eigenvalues=torch.where(is_same, pairs.eigenvalues, values),
        eigenvectors=rotation @ pairs.eigenvectors,
        residuals=torch.where(is_same, pairs.residuals, residuals),
        eigenvalue_bounds=torch.where(is_same, pairs.eigenvalue_bounds, pairs.eigenvalue_bounds + spread.sqrt()),
    )
