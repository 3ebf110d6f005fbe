"""One update seen through k tracked modes and the tail below them; M is never formed.

The budget of `trajectory.step` holds for every family of projectors that adds up to the identity. Here these are
the tracked modes, one by one, and one tail: everything else. Tail terms come from whole norms, so all sums
are exact by construction. How the tail's energy and its eigenvalues spread over shells is a separate statement, with
error bars, from Lanczos quadrature.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.linalg import (
    AbstractRowSpace,
    CertifiedPairs,
    ModeTracker,
    SpectralDensity,
    SpectralMeasure,
    SymmetricOperator,
    TrackedPairs,
    lanczos,
    match_modes,
)
from eigenflow.linalg.krylov import KrylovBasis
from eigenflow.tangent import Probe
from eigenflow.tangent.measuring import audited_jacobian
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.products import CachedJacobian
from eigenflow.tangent.sharded import ShardedJacobian, ShardedProbe
from eigenflow.trajectory.identity import path_identity
from eigenflow.trajectory.lengths import UpdateLength, update_length
from eigenflow.trajectory.step import (
    StepPoints,
    has_moved_buffers,
    linear_errors,
    probe_gradient,
    require_whole,
    step_points,
)

__all__ = [
    "TailSettings",
    "TrackedStep",
    "measure_tracked_step",
    "mode_couplings",
]

State = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]

# A tail that moves a mode through a gap smaller than this part of it is not followed by perturbation theory.
SMALLEST_GAP = 1e-3


@dataclass(frozen=True)
class TailSettings:
    """How closely the tail below the tracked modes is looked at.

    Attributes:
        steps: Lanczos steps, for the energy and for each random direction.
        probes: Random directions for the density of eigenvalues.
        seed: Of the directions.
    """

    steps: int = 40
    probes: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "probes"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"`tail.{name}` must be at least 1, but is {getattr(self, name)}.")


@dataclass(frozen=True)
class Parts:
    """A vector in the basis of tracked modes: its components, and the squared norm of all of it."""

    components: Float[Tensor, " modes"]
    square: float


@dataclass(frozen=True, repr=False)
class TrackedStep(FieldsPrinted):
    """One update in the tracked eigenbases before and after it. `h0`, `h` and `l` are as in `trajectory.step`.

    Attributes:
        before: Tracked pairs before the update.
        after: Tracked pairs after it, at the buffers before it.
        settled: Tracked pairs after the buffers moved too; `after` itself where none did.
        step_size: dt, the update's length in time.
        error_old: e in the old basis.
        gradient_old: h0 in the old basis.
        frozen_old: h in the old basis.
        linear_old: l in the old basis.
        linear_new: l in the new basis.
        after_new: e', or e* where buffers move, in the new basis.
        carried_settled: e* in the basis after the buffers moved.
        after_settled: e' in that basis.
        overlap: <phi'_i, phi_j>.
        successor: Index of the new mode that continues each old one (label-dependent).
        rate_matrix: <phi_u, Mdot phi_v> along the update.
        kato: dt sum_v Omega_uv <phi_v, l> for each tracked mode, the tail included to first order.
        kato_angle: Angle by which Kato rotates the mode; the tail's part is an upper bound.
        tail_energy: Measure of e below the old tracked modes.
        tail_density: Eigenvalues below them, or None if there are none.
        trace: Tr M, and its standard error (0 if exact).
        trace_rate: Tr Mdot, or None where it is not known.
        remainder_norm: ||e' - l||, at the buffers before the update.
        buffers_norm: ||e' - e*||.
        loss: Probe loss before the update.
        loss_after: After it.
        identity_residual: As in `trajectory.step`.
        identity_error: As in `trajectory.step`.
        identity_share: As in `trajectory.step`.
        operator_error: Largest relative difference of products with M and Mdot to plain reverse mode.
        flow_residual: As in `trajectory.step`.
        length: As in `trajectory.step`.
    """

    before: TrackedPairs
    after: TrackedPairs
    settled: TrackedPairs
    step_size: float
    error_old: Parts
    gradient_old: Parts
    frozen_old: Parts
    linear_old: Parts
    linear_new: Parts
    after_new: Parts
    carried_settled: Parts
    after_settled: Parts
    overlap: Float[Tensor, "after before"]
    successor: Int[Tensor, " modes"]
    rate_matrix: Float[Tensor, "modes modes"]
    kato: Float[Tensor, " modes"]
    kato_angle: Float[Tensor, " modes"]
    tail_energy: SpectralMeasure
    tail_density: SpectralDensity | None
    trace: tuple[float, float]
    trace_rate: float | None
    remainder_norm: float
    buffers_norm: float
    loss: float
    loss_after: float
    identity_residual: float
    identity_error: float
    identity_share: float
    operator_error: float
    flow_residual: float
    length: UpdateLength


@torch.no_grad()
def measure_tracked_step(
    probe: Probe | ShardedProbe,
    tracker: ModeTracker,
    before: State,
    after: State,
    step_size: float,
    *,
    tail: TailSettings | None = None,
    product_dtype: torch.dtype | None = None,
    preconditioner: Parameters | None = None,
) -> TrackedStep:
    """Measure one update by products with M alone.

    Args:
        probe: The probe that took the states. With a `ShardedProbe` all processes call this together, and what fails
            on one of them is raised on all.
        tracker: Carries the modes from one measurement to the next; it is moved on to the state after the update.
        before: State before the update.
        after: State after it.
        step_size: Length of the update in time, > 0.
        tail: How closely to look below the modes; None takes the defaults.
        product_dtype: Type of the products with M; None takes the probe's.
        preconditioner: As for `measure_step`; with a `ShardedProbe` the same on all processes.

    Raises:
        ArgumentError: If the probe's loss is sketched, or parameters or preconditioner differ between processes.
        NonFiniteError: If the error, or that of the linearised network, is not finite.
    """
    require_whole(probe)
    tail = tail or TailSettings()
    has_moved = has_moved_buffers(probe, before, after)
    ends = probe.processes.each(lambda: _ends(probe, before, after, has_moved, preconditioner))
    old, new, settled = ends.points.old, ends.points.new, ends.points.settled
    update = ends.points.update
    direction = {name: change / step_size for name, change in update.items()}
    jacobian, operator_error = _jacobian(probe, old, direction, product_dtype)
    operator = jacobian.operator()
    space = operator.space
    first = tracker.update(operator)
    vectors = first.pairs.eigenvectors

    error, frozen, linear, error_after = ends.error, ends.frozen, ends.linear, ends.error_after
    gradient = error - step_size * operator.product(error[None])[0]
    rates = jacobian.rate_product(vectors)
    rate_matrix = space.inner(vectors, rates)
    rate_matrix = 0.5 * (rate_matrix + rate_matrix.T)
    energy, moving, density = _tail(operator, error, linear, vectors, tail)
    kato, kato_angle = _kato(space, first.pairs, linear, rates - rate_matrix @ vectors, rate_matrix, moving)
    trace = jacobian.trace()
    trace_rate = jacobian.trace_rate()

    second = tracker.update(_jacobian(probe, new, None, product_dtype)[0].operator())
    third = tracker.update(_jacobian(probe, settled, None, product_dtype)[0].operator()) if has_moved else second
    moved_vectors, settled_vectors = second.pairs.eigenvectors, third.pairs.eigenvectors
    overlap = space.inner(moved_vectors, vectors)
    changes = [error_after - error, error_after - gradient, error_after - linear, ends.error_settled - error_after]
    moved, missed, remainder, pushed = (_norm(space, change) for change in changes)
    identity = path_identity(probe, before, after)
    losses = space.sum(torch.tensor([old.loss, settled.loss], dtype=torch.float64, device=space.device)).tolist()
    return TrackedStep(
        before=first,
        after=second,
        settled=third,
        step_size=step_size,
        error_old=_parts(space, vectors, error),
        gradient_old=_parts(space, vectors, gradient),
        frozen_old=_parts(space, vectors, frozen),
        linear_old=_parts(space, vectors, linear),
        linear_new=_parts(space, moved_vectors, linear),
        after_new=_parts(space, moved_vectors, error_after),
        carried_settled=_parts(space, settled_vectors, error_after),
        after_settled=_parts(space, settled_vectors, ends.error_settled),
        overlap=overlap,
        successor=match_modes(overlap),
        rate_matrix=rate_matrix,
        kato=step_size * kato,
        kato_angle=step_size * kato_angle,
        tail_energy=energy.measure,
        tail_density=density,
        trace=_trace(trace, first.pairs, density),
        trace_rate=trace_rate,
        remainder_norm=remainder,
        buffers_norm=pushed,
        loss=losses[0],
        loss_after=losses[1],
        identity_residual=identity.residual,
        identity_error=identity.error,
        identity_share=identity.share,
        operator_error=operator_error,
        flow_residual=missed / moved if moved > 0 else 0.0,
        length=update_length(update, probe_gradient(probe, old), step_size, preconditioner),
    )


@dataclass(frozen=True)
class _Ends:
    """What an update does to this process's own samples; rows in float64."""

    points: StepPoints
    error: Tensor
    frozen: Tensor
    linear: Tensor
    error_after: Tensor
    error_settled: Tensor


def _ends(
    probe: Probe | ShardedProbe, before: State, after: State, has_moved: bool, preconditioner: Parameters | None
) -> _Ends:
    points = step_points(probe, before, after, has_moved=has_moved, preconditioner=preconditioner)
    rows = (points.old.error, *linear_errors(points.old, points.update), points.new.error, points.settled.error)
    return _Ends(points, *(row.to(torch.float64) for row in rows))


def _norm(space: AbstractRowSpace, row: Tensor) -> float:
    return float(space.inner(row[None], row[None])) ** 0.5


def _jacobian(
    probe: Probe | ShardedProbe, point: TangentPoint, direction: Parameters | None, product_dtype: torch.dtype | None
) -> tuple[CachedJacobian | ShardedJacobian, float]:
    """Products at a point, by the first way that holds against plain reverse mode, and what they differ by."""
    if isinstance(probe, ShardedProbe):
        return probe.audited_jacobian(point, direction, product_dtype)
    jacobian, found = audited_jacobian(point, direction, product_dtype)
    return jacobian, found.error


def _parts(space: AbstractRowSpace, vectors: Tensor, row: Tensor) -> Parts:
    return Parts(space.inner(vectors, row[None])[:, 0], float(space.inner(row[None], row[None])))


def _tail(
    operator: SymmetricOperator, error: Tensor, linear: Tensor, vectors: Tensor, tail: TailSettings
) -> tuple[KrylovBasis, KrylovBasis, SpectralDensity | None]:
    """Below the modes: Krylov spaces of e and of l, and the density of eigenvalues; all in the same block products."""
    dimension = operator.size - len(vectors)
    generator = torch.Generator().manual_seed(tail.seed)
    probes = operator.space.draw(tail.probes if dimension else 0, generator)
    rows = torch.cat([error[None], linear[None], probes])
    energy, moving, *others = lanczos(operator, rows, tail.steps, deflate=vectors)
    if not others:
        return energy, moving, None
    measures = [SpectralMeasure(b.measure.diagonal, b.measure.offdiagonal, 1.0) for b in others]
    return energy, moving, SpectralDensity(measures, dimension)


def _kato(
    space: AbstractRowSpace,
    pairs: CertifiedPairs,
    linear: Tensor,
    leaving: Float[Tensor, "modes local"],
    rates: Float[Tensor, "modes modes"],
    krylov: KrylovBasis,
) -> tuple[Tensor, Tensor]:
    """sum_v Omega_uv <phi_v, l> and ||Omega_u||, over tracked modes v and over the tail.

    In the tail Omega_uv = <phi_v, Mdot phi_u> / (lambda_u - lambda_v), so the sum is <Mdot phi_u, (lambda_u - M)^-1 l>
    there, which the Lanczos run from l gives for all u at once.
    """
    values = pairs.eigenvalues
    couplings = mode_couplings(rates, values, pairs.clusters)
    inside = couplings @ space.inner(pairs.eigenvectors, linear[None])[:, 0]
    nodes, _ = krylov.measure.gauss()
    lam = values.cpu().numpy()
    smallest = SMALLEST_GAP * np.maximum(np.abs(lam), np.finfo(np.float64).tiny)
    resolvent = krylov.function(1.0 / np.maximum(lam[None, :] - nodes[:, None], smallest[None]))
    through = torch.stack([space.inner(a[None], b[None])[0, 0] for a, b in zip(leaving, resolvent, strict=True)])
    lengths = torch.stack([space.inner(row[None], row[None])[0, 0] for row in leaving]).clamp(min=0).sqrt()
    distance = (values - nodes[-1]).clamp(min=0).maximum(torch.from_numpy(smallest).to(values))
    return inside + through, (couplings.square().sum(1) + (lengths / distance).square()).sqrt()


def mode_couplings(
    rates: Float[Tensor, "modes modes"], eigenvalues: Float[Tensor, " modes"], clusters: Int[Tensor, " modes"]
) -> Float[Tensor, "modes modes"]:
    """Omega_uv = <phi_v, Mdot phi_u> / (lambda_u - lambda_v); 0 inside clusters."""
    is_apart = (clusters[:, None] != clusters[None, :]).to(eigenvalues.device)
    gaps = torch.where(is_apart, eigenvalues[:, None] - eigenvalues[None, :], 1.0)
    return torch.where(is_apart, rates, 0.0) / gaps


def _trace(exact: float | None, pairs: CertifiedPairs, density: SpectralDensity | None) -> tuple[float, float]:
    if exact is not None:
        return exact, 0.0
    tracked = float(pairs.eigenvalues.sum())
    rest, error = (0.0, 0.0) if density is None else density.trace()
    return tracked + rest, error
