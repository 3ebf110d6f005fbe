"""Two ways to measure the leading modes: form M and diagonalise it, or make products with it; one kind of result."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eigenflow.core.errors import ModelError
from eigenflow.linalg import (
    CertifiedPairs,
    ModeIdentity,
    ModeTracker,
    RowSpace,
    block_eigenpairs,
    certify_dense,
    dense_eigenpairs,
    turn_rows,
)
from eigenflow.tangent.audit import DIFFERENCES, Audit, allowed_error, audit, audit_rows
from eigenflow.tangent.drift import ModeDrift, mode_drift
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.products import CachedJacobian
from eigenflow.tangent.snapshot import Snapshot
from eigenflow.tangent.tape import Tape

__all__ = [
    "Operator",
    "attempt_dense",
    "attempt_products",
    "audit_products",
    "audited_jacobian",
    "measure_dense",
    "next_way",
    "snapshot",
]


WITHOUT_RATE = "Steps, jumps and bounds in the forward pass do that. Try measure(drift=False), which does without Mdot."
# Relative to its eigenvalue, what an audit leaves unexplained of a certified one.
CERTIFIED = 1e-8


@dataclass(frozen=True)
class Operator:
    """What is known of M as a whole.

    Attributes:
        audit: Differences to plain reverse mode.
        method: How M was formed or multiplied with, in words.
        trace: Tr M, or None.
        trace_rate: Tr Mdot, or None.
    """

    audit: Audit
    method: str
    trace: float | None
    trace_rate: float | None


Attempt = tuple[Audit, Callable[[], Snapshot]]


@torch.no_grad()
def attempt_dense(
    point: TangentPoint, direction: Parameters | None, modes: int | None, method: Callable[[], str]
) -> Attempt:
    """Form M, and Mdot along a direction, and audit them; what diagonalises them is returned, to call if they hold."""
    matrix, rate = (point.dense(), None) if direction is None else point.dense_and_rate(direction)
    rows = audit_rows(point).to(matrix)
    found = audit(point, rows @ matrix, None if rate is None else rows[:2] @ rate, direction)
    return found, lambda: measure_dense(point, matrix, rate, modes, found, method())


@torch.no_grad()
def measure_dense(
    point: TangentPoint, matrix: Tensor, rate: Tensor | None, modes: int | None, found: Audit, method: str
) -> Snapshot:
    """The modes of M and how they move along Mdot, from both as matrices."""
    kept = len(matrix) if modes is None else modes
    pairs = certify_dense(dense_eigenpairs(matrix, min(kept + 1, len(matrix))), len(matrix), kept)
    drift, trace_rate = None, None
    if rate is not None:
        rate = rate.to(torch.float64)
        drift = mode_drift(pairs, pairs.eigenvectors @ rate, RowSpace(len(matrix), matrix.device))
        trace_rate = float(rate.diagonal().sum())
    vector = point.error.to(torch.float64)
    position = _quotient(vector @ (matrix.to(torch.float64) @ vector), vector)
    operator = Operator(found, method, float(matrix.diagonal().sum(dtype=torch.float64)), trace_rate)
    return _snapshot(point, operator, pairs, drift, position, None)


@torch.no_grad()
def attempt_products(
    point: TangentPoint,
    modes: int,
    direction: Parameters | None,
    *,
    tolerance: float | None,
    product_dtype: torch.dtype | None,
    tracker: ModeTracker | None,
    require_converged: bool,
    progress: Callable[[int, int], None] | None,
) -> Attempt:
    """Prepare products and audit them; what solves for the leading modes is returned, to be called if they hold."""
    jacobian = CachedJacobian(point, direction, product_dtype)
    found, image = audit_products(jacobian)

    @torch.no_grad()
    def solve() -> Snapshot:
        operator, identity = jacobian.operator(), None
        if tracker is not None:
            tracked = tracker.update(operator)
            pairs, identity = tracked.pairs, tracked.identity
        else:
            asked = (1e-6 if jacobian.dtype == torch.float32 else 1e-8) if tolerance is None else tolerance
            pairs = block_eigenpairs(
                operator, modes, tolerance=asked, require_converged=require_converged, progress=progress
            )
        drift = None
        if direction is not None:
            drift = mode_drift(pairs, jacobian.rate_product(pairs.eigenvectors), operator.space)
        vector = point.error.to(torch.float64)
        trace_rate = None if direction is None else jacobian.trace_rate()
        whole = Operator(found, jacobian.method, jacobian.trace(), trace_rate)
        return _snapshot(point, whole, pairs, drift, _quotient(vector @ image, vector), identity)

    return found, solve


def audit_products(jacobian: CachedJacobian) -> tuple[Audit, Tensor]:
    """Audit products with M, and with Mdot if there is a direction.

    Returns:
        The audit, and M e from the same block.
    """
    point, direction = jacobian.point, jacobian.direction
    rows = audit_rows(point)
    images = jacobian.product(rows)
    rates = None if direction is None else jacobian.rate_product(rows[:2])
    return audit(point, images, rates, direction, dtype=jacobian.dtype), images[2]


def audited_jacobian(
    point: TangentPoint, direction: Parameters | None = None, product_dtype: torch.dtype | None = None
) -> tuple[CachedJacobian, Audit]:
    """Products at a point by the first way that the audit confirms.

    Raises:
        ModelError: If there is none.
    """
    while True:
        jacobian = CachedJacobian(point, direction, product_dtype)
        found, _ = audit_products(jacobian)
        if found.holds:
            return jacobian, found
        next_way(point, found)


def next_way(point: TangentPoint, found: Audit) -> None:
    """Leave the way of measuring that an audit did not confirm: first the rules that are wrong, then torch.func.

    Raises:
        ModelError: If there is no other way left.
    """
    is_rate = found.product_error <= found.allowed[0]
    if is_rate and found.has_two_sides:
        # What it was held against does not exist, whichever way it is made: others would take long to say so.
        raise ModelError(f"`model` cannot be measured: {found.reason}. {WITHOUT_RATE}")
    if is_rate and not point.rate_by_differences and (found.way == DIFFERENCES or point.reverse_only):
        # The gradient is not the derivative of what the network computes: no mode of differentiation sees all of Mdot.
        point.rate_by_differences = True
        point.reason = "Mdot by central differences, as a part of the network moves that its gradient leaves out"
    elif point.structure is not None:
        wrong = set() if is_rate else _wrong_rules(point)
        if wrong and wrong < point.structure.covered:
            point.structure = point.structure.without(dict.fromkeys(wrong, "its layer rule does not hold here"))
        else:
            point.structure, point.reason = None, f"layer rules do not hold: {found.reason}"
    elif not point.reverse_only:
        point.reverse_only, point.reason = True, f"torch.func does not hold: {found.reason}"
    else:
        remedy = (
            WITHOUT_RATE
            if is_rate
            else "What the forward pass writes into its parameters (max_norm on a table that is used twice, clipping) "
            "or keeps from one call to the next does that. Make it a function of parameters and inputs alone."
        )
        raise ModelError(f"`model` cannot be measured: {found.reason}, whichever way it is made. {remedy}")


def _wrong_rules(point: TangentPoint) -> set[str]:
    """Parameters whose part of M by layer rules differs from plain reverse mode."""
    plain = point.moved(point.parameters)
    plain.preconditioner = None
    jacobian, tape = CachedJacobian(plain), Tape(plain, elementary=False)
    rows = audit_rows(point)[:2].to(point.error)
    first, second = (tape.pull(row) for row in rows)
    vectors = rows.to(jacobian.dtype).reshape(2, jacobian.samples, jacobian.width).transpose(0, 1).contiguous()
    sums: dict[tuple[str, ...], float] = {}
    for names, block in zip(jacobian.names, jacobian.blocks, strict=True):
        image = block.push(block.pull(vectors))
        sums[names] = sums.get(names, 0.0) + float((vectors[:, 0] * image[:, 1]).sum())
    wrong = set()
    for names, value in sums.items():
        a, b = (torch.cat([one[name].reshape(-1) for name in names]) for one in (first, second))
        if abs(value - float(a @ b)) > allowed_error(jacobian.dtype) * float(a.norm() * b.norm()):
            wrong.update(names)
    return wrong


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
    error, factor = point.error.to(torch.float64), point.objective.factor
    return snapshot(
        operator, pairs, drift, error=error, loss=point.loss, factor=factor, position=position, identity=identity
    )


def snapshot(
    operator: Operator,
    pairs: CertifiedPairs,
    drift: ModeDrift | None,
    *,
    error: Tensor,
    loss: float,
    factor: float,
    position: float,
    identity: ModeIdentity | None,
) -> Snapshot:
    """Put a measurement together, modes turned inside clusters as the drift asks; fields as in `Snapshot`."""
    if drift is not None:
        pairs = turned(pairs, drift.rotation)
    modes = len(pairs.eigenvalues)
    if identity is not None:
        rotation = identity.rotation[:modes, :modes]
        if drift is not None:
            rotation = rotation @ drift.rotation.to(rotation).T
        labels, overlaps = identity.labels[:modes], identity.overlaps[:modes]
        identity = replace(identity, labels=labels, overlaps=overlaps, rotation=rotation)
    product_miss, rate_miss = operator.audit.unexplained
    coupling_bounds = None
    if drift is not None:
        is_apart = pairs.clusters[:, None] != pairs.clusters[None, :]
        gaps = torch.where(is_apart, (pairs.eigenvalues[:, None] - pairs.eigenvalues[None, :]).abs(), 1.0)
        coupling_bounds = drift.coupling_bounds + rate_miss / gaps
    return Snapshot(
        eigenvalues=pairs.eigenvalues,
        eigenvectors=pairs.eigenvectors,
        residuals=pairs.residuals,
        clusters=pairs.clusters,
        coefficients=pairs.eigenvectors @ error,
        error=error,
        loss=loss,
        factor=factor,
        eigenvalue_rates=None if drift is None else drift.rate_matrix.diagonal().clone(),
        rate_matrix=None if drift is None else drift.rate_matrix,
        couplings=None if drift is None else drift.couplings,
        operator_error=operator.audit.error,
        audit=operator.audit.summary,
        method=operator.method,
        eigenvalue_bounds=pairs.eigenvalue_bounds + product_miss,
        angle_bounds=pairs.angle_bounds,
        is_converged=pairs.is_converged & (product_miss <= CERTIFIED * pairs.eigenvalues.clamp(min=0)),
        status=pairs.status,
        rate_bounds=None if drift is None else drift.rate_bounds + rate_miss,
        coupling_bounds=coupling_bounds,
        outflow=None if drift is None else drift.outflow,
        trace=operator.trace,
        trace_rate=operator.trace_rate,
        position=position,
        identity=identity,
        products=pairs.stats.products,
    )


def turned(pairs: CertifiedPairs, rotation: Tensor) -> CertifiedPairs:
    """Pairs after a rotation inside clusters: Rayleigh quotients and residuals of the new vectors."""
    is_same = rotation.diagonal() == 1.0
    if bool(is_same.all()):
        return pairs
    values = rotation.square() @ pairs.eigenvalues
    spread = (rotation.square() * (pairs.eigenvalues[None, :] - values[:, None]).square()).sum(1)
    residuals = ((rotation.abs() @ pairs.residuals).square() + spread).sqrt()
    return replace(
        pairs,
        eigenvalues=torch.where(is_same, pairs.eigenvalues, values),
        eigenvectors=turn_rows(rotation, pairs.eigenvectors, pairs.clusters),
        residuals=torch.where(is_same, pairs.residuals, residuals),
        eigenvalue_bounds=torch.where(is_same, pairs.eigenvalue_bounds, pairs.eigenvalue_bounds + spread.sqrt()),
    )
