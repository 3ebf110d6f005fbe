"""One measurement over several processes: the snapshot that one process with all samples would take."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eigenflow.core.checks import check_kind
from eigenflow.core.errors import ArgumentError
from eigenflow.linalg import ModeTracker, block_eigenpairs
from eigenflow.tangent.checks import checked_direction, checked_modes
from eigenflow.tangent.drift import mode_drift
from eigenflow.tangent.measuring import Operator, snapshot
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.snapshot import Snapshot

if TYPE_CHECKING:
    from eigenflow.tangent.sharded.probe import ShardedProbe

__all__ = ["measure"]


def measure(
    probe: "ShardedProbe",
    modes: int | None,
    drift: bool,
    direction: Mapping[str, Tensor] | None,
    *,
    at: TangentPoint | None,
    tolerance: float | None,
    product_dtype: torch.dtype | None,
    tracker: ModeTracker | None,
    require_converged: bool,
    progress: Callable[[int, int], None] | None,
) -> Snapshot:
    """Arguments as for `ShardedProbe.measure`."""
    kept = probe.processes.each(lambda: checked_modes(modes, tracker, probe.size))
    if kept is None:
        raise ArgumentError(
            "`modes` must be given for a ShardedProbe, whose M is never formed: how many of the largest, for example "
            "modes=64."
        )
    check_kind("at", at, (TangentPoint, type(None)), "an instant, as from `probe.at()`")
    state = probe.state() if at is None else None
    point = probe.processes.each(lambda: probe.at(state) if at is None else at)
    along = None
    if drift:
        given = direction if direction is not None else _descent(probe, point)
        along = probe.processes.each(lambda: checked_direction(given, point))
    jacobian, found, image = probe.audited(point, along, product_dtype)
    operator, identity, space = jacobian.operator(), None, probe.space
    if tracker is not None:
        tracked = tracker.update(operator)
        pairs, identity = tracked.pairs, tracked.identity
    else:
        asked = (1e-6 if jacobian.dtype == torch.float32 else 1e-8) if tolerance is None else tolerance
        pairs = block_eigenpairs(
            operator, kept, tolerance=asked, require_converged=require_converged, progress=progress
        )
    moved = None if along is None else mode_drift(pairs, jacobian.rate_product(pairs.eigenvectors), space)
    trace_rate = None if along is None else jacobian.trace_rate()
    whole = replace(pairs, eigenvectors=space.whole(pairs.eigenvectors))
    error = point.error.to(torch.float64)[None]
    energy, weighed = (float(space.inner(error, row)) for row in (error, image.to(error)[None]))
    loss = float(space.sum(torch.tensor([point.loss], dtype=torch.float64, device=space.device)))
    return snapshot(
        Operator(found, jacobian.method, jacobian.trace(), trace_rate),
        whole,
        moved,
        error=space.whole(error)[0],
        loss=loss,
        factor=probe.factor,
        position=weighed / energy if energy > 0 else 0.0,
        identity=identity,
    )


def _descent(probe: "ShardedProbe", point: TangentPoint) -> dict[str, Tensor]:
    """-P^(-1) times the gradient of the whole loss."""
    scales = point.preconditioner or {}
    return {name: -scales.get(name, 1.0) * g for name, g in probe.gradient(point).items()}
