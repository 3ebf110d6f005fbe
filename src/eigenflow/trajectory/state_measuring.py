"""Measuring one state of a network, without an update: spectrum, error, tail, test side."""

from typing import Any

import torch
from torch import Tensor

from eigenflow.core.checks import check_kind
from eigenflow.linalg import ModeTracker, SpectralDensity, SpectralMeasure, SymmetricOperator, lanczos
from eigenflow.tangent import Probe, TangentPoint
from eigenflow.tangent.measuring import audited_jacobian
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.methods import AbstractMethod, DenseMethod, MethodName, TrackedMethod, make_method
from eigenflow.trajectory.state_measurement import HoldoutShares, StateMeasurement, StateTail
from eigenflow.trajectory.state_parameters import parameter_vector
from eigenflow.trajectory.step import require_whole
from eigenflow.trajectory.tracked import TailSettings

__all__ = ["measure_by", "measure_state"]


def measure_state(
    probe: Probe | ShardedProbe,
    *,
    modes: int | None = None,
    method: MethodName = "auto",
    tail: TailSettings | None = None,
    tolerance: float = 1e-5,
    product_dtype: torch.dtype | None = None,
) -> StateMeasurement:
    """Measure the network of a probe as it is now, for a record of states.

    What comes back does not depend on states measured before, so that many can be measured side by side, in any order
    and in other processes, and be handed to `StateRecorder.append` in theirs. `measure_state(probe,
    **recorder.settings)` measures as the recorder does.

    Args:
        probe: As for `StateRecorder`; with a `ShardedProbe` all processes call this together.
        modes: As for `StateRecorder`.
        method: As for `StateRecorder`.
        tail: As for `StateRecorder`.
        tolerance: As for `StateRecorder`.
        product_dtype: As for `StateRecorder`.

    Raises:
        ArgumentError: For bad settings.
        NonFiniteError: If the network has diverged.
        ModelError: If the network cannot be measured as it is.
    """
    check_kind("probe", probe, (Probe, ShardedProbe), "a Probe, such as Probe(model, inputs, targets)")
    require_whole(probe)
    how = make_method(method, probe, modes, tail=tail, tolerance=tolerance, product_dtype=product_dtype)
    return measure_by(how, probe, probe.describe()["checksum"])


@torch.no_grad()
def measure_by(how: AbstractMethod, probe: Probe | ShardedProbe, checksum: str) -> StateMeasurement:
    """Measure with settings that were checked."""
    state = probe.processes.each(probe.state)
    point = probe.processes.each(lambda: probe.at(state))
    probe.processes.each(lambda: point.error)  # raises before the expensive part if the network has diverged
    if isinstance(how, DenseMethod):
        assert isinstance(probe, Probe)
        found, vectors = _dense(probe, point)
    else:
        assert isinstance(how, TrackedMethod)
        found, vectors = _tracked(how, probe, point)
    error = point.error.to(vectors)
    space = probe.space
    loss = space.sum(torch.tensor([point.loss], dtype=torch.float64, device=space.device))
    return StateMeasurement(
        method=how.name,
        modes=how.modes,
        probe=checksum,
        eigenvectors=vectors,
        coefficients=space.inner(vectors, error[None])[:, 0],
        error=error,
        energy=float(space.inner(error[None], error[None])),
        loss=float(loss),
        parameters=parameter_vector(state[0]),
        parameter_count=sum(parameter.numel() for parameter in state[0].values()),
        holdout=_holdout(probe, state, vectors),
        **found,
    )


def _dense(probe: Probe, point: TangentPoint) -> tuple[dict[str, Any], Tensor]:
    one = probe.measure(drift=False, at=point, method="dense")
    found = {
        "eigenvalues": one.eigenvalues,
        "residuals": one.residuals,
        "eigenvalue_bounds": one.eigenvalue_bounds,
        "angle_bounds": one.angle_bounds,
        "clusters": one.clusters,
        "is_converged": one.is_converged,
        "trace": float(one.eigenvalues.sum()),
        "trace_error": 0.0,
        "operator_error": one.operator_error,
        "products": 0,
    }
    return found, one.eigenvectors


def _tracked(how: TrackedMethod, probe: Probe | ShardedProbe, point: TangentPoint) -> tuple[dict[str, Any], Tensor]:
    if isinstance(probe, ShardedProbe):
        jacobian, operator_error = probe.audited_jacobian(point, None, how.product_dtype)
    else:
        jacobian, audit = audited_jacobian(point, None, how.product_dtype)
        operator_error = audit.error
    operator = jacobian.operator()
    pairs = ModeTracker(how.modes, tolerance=how.tolerance).update(operator).pairs
    energy, density = _below(operator, point.error.to(torch.float64), pairs.eigenvectors, how.tail)
    trace, trace_error = jacobian.trace(), 0.0
    if trace is None:
        rest, trace_error = (0.0, 0.0) if density is None else density.trace()
        trace = float(pairs.eigenvalues.sum()) + rest
    found = {
        "eigenvalues": pairs.eigenvalues,
        "residuals": pairs.residuals,
        "eigenvalue_bounds": pairs.eigenvalue_bounds,
        "angle_bounds": pairs.angle_bounds,
        "clusters": pairs.clusters,
        "is_converged": pairs.is_converged,
        "trace": trace,
        "trace_error": trace_error,
        "operator_error": operator_error,
        "products": pairs.stats.products,
        "tail": StateTail(energy, density, pairs.complement_bound),
    }
    return found, pairs.eigenvectors


def _below(
    operator: SymmetricOperator, error: Tensor, vectors: Tensor, tail: TailSettings
) -> tuple[SpectralMeasure, SpectralDensity | None]:
    """Below the modes: the Krylov space of e, and the density of eigenvalues, in the same block products."""
    dimension = operator.size - len(vectors)
    generator = torch.Generator().manual_seed(tail.seed)
    probes = operator.space.draw(tail.probes if dimension else 0, generator)
    energy, *others = lanczos(operator, torch.cat([error[None], probes]), tail.steps, deflate=vectors)
    if not others:
        return energy.measure, None
    measures = [SpectralMeasure(one.measure.diagonal, one.measure.offdiagonal, 1.0) for one in others]
    return energy.measure, SpectralDensity(measures, dimension)


def _holdout(probe: Probe | ShardedProbe, state: Any, vectors: Tensor) -> HoldoutShares | None:
    if probe.holdout is None:
        return None
    point, space = probe.processes.each(lambda: probe.holdout_at(state)), probe.space
    error, drive = point.train.error.to(vectors)[None], point.loss_gradient().to(vectors)[None]
    shares = -space.inner(vectors, drive)[:, 0] * space.inner(vectors, error)[:, 0]
    return HoldoutShares(point.loss, shares, -float(space.inner(drive, error)))
