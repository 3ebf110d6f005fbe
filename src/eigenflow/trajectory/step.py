"""One update of the parameters, seen from the operator before and after it.

For any update dtheta on any probe set and any loss let

    h0 = (I - dt M) e             what a gradient-descent step of length dt leaves if the loss's curvature stands still
    h  = e + J dtheta             the same of the update that was made
    l  = e(z + J_net dtheta)      the error that the linearised network would have; z are the outputs

and r = e' - l. With P_B and P'_B the projectors on the eigenvectors of M in a shell B before and after the update, the
change of the shell's energy is exactly (equations/identities.md#eq-d3-prime, with one term more)

    E'_B - E_B = -D_B + X_B + C_B + T_B + N_B
    D_B = e'P_B e - h0'P_B h0               dissipation of the gradient-descent step
    X_B = h'P_B h - h0'P_B h0               what the optimizer did beyond it
    C_B = l'P_B l - h'P_B h                 curvature of the loss: what its Hessian does by changing
    T_B = l'(P'_B - P_B) l,  sum_B T_B = 0  transfer between shells
    N_B = 2 r'P'_B l + r'P'_B r             nonlinearity of the network, |r| = O(|dtheta|^2)

For a squared loss l = h and C = 0. For any other e moves to first order not by J dtheta alone: from B e = r follows
de = B^T dz - B^+ dB e (`tangent.losses`). X is zero for full-batch gradient descent on the probe loss, N for a network
that is linear in its parameters, whatever the loss. And since e . (J dtheta) = d loss for every loss, the sum of X - D
over shells is twice the change of the loss to first order: D and X say where in the spectrum the loss falls, C what
that does to ||e||^2.

Buffers that move between the two states, such as the running statistics of batch norm, are no part of an update of
the parameters. It is evaluated with the buffers b before it, and their move after it. With e* and P* at (theta', b) in
place of e' and P' in the terms above, and e' and P' at (theta', b'),

    E'_B - E_B = -D_B + X_B + C_B + T_B + N_B + U_B
    U_B = e''P'_B e' - e*'P*_B e*  =  e*'(P'_B - P*_B) e*  +  2 s'P'_B e* + s'P'_B s,    s = e' - e*

exactly. The first part of U is transfer by the buffers, which adds up to zero over shells; the second is what their
move does to the error. U is zero where no buffer moves. Rates, couplings, the identity and the flow residual are those
at fixed buffers.

With a preconditioner P of the optimizer M is J P^(-1) J^T, and h0 what a preconditioned step leaves. P is held fixed
over the update, at the one that the update used.

What is exact besides for every loss is the identity of its gradient r by the outputs, r' - r = (path average of
H J_net) dtheta, for gradient descent r' = (I - eta H J J^T) r; see `identity`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.linalg import match_modes
from eigenflow.tangent import Probe, Snapshot, TangentPoint
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.batches import BatchFit, fit_batch
from eigenflow.trajectory.identity import path_identity
from eigenflow.trajectory.lengths import UpdateLength, update_length

__all__ = [
    "OneStep",
    "StepPoints",
    "has_moved_buffers",
    "linear_errors",
    "measure_step",
    "probe_gradient",
    "require_whole",
    "step_points",
]

State = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True, repr=False)
class OneStep(FieldsPrinted):
    """Everything measured of one update, in the eigenbases before and after it.

    Vectors are over all stacked outputs; `old` and `new` say in whose eigenbasis the components are.

    Attributes:
        before: Snapshot before the update; its drift is along the update, dtheta / dt.
        after: Snapshot after it at the buffers before it, without drift.
        step_size: dt, the update's length in time.
        gradient_old: Components of h0 in the old basis.
        frozen_old: Components of h in the old basis.
        linear_old: Components of l in the old basis.
        linear_new: Components of l in the new basis.
        after_new: Components of e', or of e* where buffers move, in the new basis.
        overlap: <phi'_i, phi_j>.
        successor: Index of the new mode that continues each old one (label-dependent).
        identity_residual: ||r' - r - (H J_net averaged along the path) dtheta||, r the loss's gradient by the outputs
            (equations/identities.md#eq-d1 for squared losses), relative to the scale whose rounding it shows; see
            `path_identity`.
        identity_error: What that may be wrong by: the error of the path average, and rounding.
        identity_share: Share of samples whose path average is known.
        flow_residual: ||e' - e + dt M e|| / ||e' - e||: how far the update is from a gradient-flow step.
        length: The update, counted in updates of the stated length.
        batch: The update as a step on some of the probe's samples.
        settled: Snapshot after the buffers moved too; None where none did.
        carried_settled: Components of e* in its eigenbasis, or None.
    """

    before: Snapshot
    after: Snapshot
    step_size: float
    gradient_old: Float[Tensor, " size"]
    frozen_old: Float[Tensor, " size"]
    linear_old: Float[Tensor, " size"]
    linear_new: Float[Tensor, " size"]
    after_new: Float[Tensor, " size"]
    overlap: Float[Tensor, "size size"]
    successor: Int[Tensor, " size"]
    identity_residual: float
    identity_error: float
    identity_share: float
    flow_residual: float
    length: UpdateLength
    batch: BatchFit
    settled: Snapshot | None = None
    carried_settled: Float[Tensor, " size"] | None = None

    @property
    def last(self) -> Snapshot:
        """After the update and any move of buffers."""
        return self.after if self.settled is None else self.settled


@torch.no_grad()
def measure_step(
    probe: Probe,
    before: State,
    after: State,
    step_size: float,
    *,
    preconditioner: Parameters | None = None,
    batch_size: int | None = None,
) -> OneStep:
    """Measure one update from the states before and after it.

    Args:
        probe: The probe that took the states.
        before: State before the update.
        after: State after it.
        step_size: Length of the update in time (learning rate; with heavy ball divided by 1 - mu), > 0.
        preconditioner: Diagonal of P^(-1) by parameter name, of the optimizer at this update; None: the identity.
        batch_size: Samples that the update saw; None: all of the probe's.

    Returns:
        The snapshots and the update's vectors in their eigenbases. Where buffers moved there is a third snapshot.

    Raises:
        ArgumentError: If the probe's loss is sketched.
        NonFiniteError: If the error, or that of the linearised network, is not finite.
    """
    require_whole(probe)
    has_moved = has_moved_buffers(probe, before, after)
    points = step_points(probe, before, after, has_moved=has_moved, preconditioner=preconditioner)
    old, update = points.old, points.update
    direction = {name: change / step_size for name, change in update.items()}
    first, second = probe.measure_update(old, points.new, direction)
    third = probe.measure(drift=False, at=points.settled) if has_moved else None

    error = first.error
    gradient = error - step_size * old.product(old.error[None])[0].to(error)
    frozen, linear = (row.to(error) for row in linear_errors(old, update))
    change = second.error - error
    flow_miss = torch.linalg.vector_norm(second.error - gradient)
    overlap = second.eigenvectors @ first.eigenvectors.T
    identity = path_identity(probe, before, after)
    batch = fit_batch(
        first.eigenvalues,
        first.eigenvectors,
        error,
        frozen - error,
        update,
        step_size=step_size,
        samples=probe.samples,
        batch_size=batch_size if isinstance(batch_size, Integral) and batch_size > 0 else probe.samples,
        preconditioner=preconditioner,
    )
    return OneStep(
        before=first,
        after=second,
        step_size=step_size,
        gradient_old=first.eigenvectors @ gradient,
        frozen_old=first.eigenvectors @ frozen,
        linear_old=first.eigenvectors @ linear,
        linear_new=second.eigenvectors @ linear,
        after_new=second.coefficients,
        overlap=overlap,
        successor=match_modes(overlap),
        identity_residual=identity.residual,
        identity_error=identity.error,
        identity_share=identity.share,
        flow_residual=_ratio(flow_miss, torch.linalg.vector_norm(change)),
        length=update_length(update, probe_gradient(probe, old), step_size, preconditioner),
        batch=batch,
        settled=third,
        carried_settled=None if third is None else third.eigenvectors @ second.error,
    )


def require_whole(probe: Probe | ShardedProbe) -> None:
    """Refuse a loss for which the one-step energy budget does not hold."""
    if not probe.loss.is_whole:
        raise ArgumentError(
            f"The one-step energy budget needs all of the error, but `loss` is '{probe.loss.name}': J^T e is not the "
            f"gradient, so a step cannot be followed in a sketch. Record with the loss itself (method='tracked' if M "
            f"has many rows). For sketches there are probe.measure() and eigenflow.trajectory.gradient_identity."
        )


@dataclass(frozen=True)
class StepPoints:
    """The ends of an update, in one frame of the loss's root.

    Attributes:
        old: Before it.
        new: After it, at the buffers before it.
        settled: After the buffers moved too; `new` itself where none did.
        update: dtheta.
    """

    old: TangentPoint
    new: TangentPoint
    settled: TangentPoint
    update: dict[str, Tensor]


def has_moved_buffers(probe: Probe | ShardedProbe, before: State, after: State) -> bool:
    """Whether anything but the parameters differs between two states, on any process."""
    here = any(not torch.equal(before[1][name], tensor) for name, tensor in after[1].items())
    return float(probe.space.sum(torch.tensor([float(here)], dtype=torch.float64, device=probe.space.device))) > 0


def step_points(
    probe: Probe | ShardedProbe,
    before: State,
    after: State,
    *,
    has_moved: bool,
    preconditioner: Parameters | None = None,
) -> StepPoints:
    """The ends of an update; `has_moved` says whether its buffers moved, see `has_moved_buffers`."""
    own = {} if preconditioner is None else {"preconditioner": preconditioner}
    parameters, buffers = after[0], before[1]
    old, new = probe.at(before, **own), probe.at((parameters, buffers), **own)
    settled = probe.at(after, **own) if has_moved else new
    for point in (old, new, *([settled] if has_moved else [])):
        point.anchor(old)
    update = {name: new.parameters[name] - old.parameters[name] for name in old.parameters}
    return StepPoints(old, new, settled, update)


def probe_gradient(probe: Probe | ShardedProbe, point: TangentPoint) -> dict[str, Tensor]:
    """The gradient of the whole probe loss at a point."""
    return probe.gradient(point) if isinstance(probe, ShardedProbe) else point.gradient()


def linear_errors(point: TangentPoint, update: Parameters) -> tuple[Tensor, Tensor]:
    """h = e + J dtheta and l = e(z + J_net dtheta), which are the same for a squared loss."""
    change = point.output_change(update)
    frozen = point.error + point.weigh(change)
    return frozen, frozen if point.objective.is_quadratic else point.error_after(change)


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if float(whole) > 0 else 0.0
