"""One update of the parameters, seen from the operator before and after it.

For any update dtheta on any probe set let h = e + J dtheta, the error that the linearised network
would have, and h0 = (I - dt M) e, what a gradient-descent step of length dt would leave. With
r = e' - h the change of the energy of a shell B is exactly (theory: D3')

    E'_B - E_B = -D_B + X_B + T_B + N_B
    D_B = e'P_B e - h0'P_B h0               dissipation of the gradient-descent step
    X_B = h'P_B h - h0'P_B h0               what the optimizer did beyond it
    T_B = h'(P'_B - P_B) h,  sum_B T_B = 0  transfer between shells
    N_B = 2 r'P'_B h + r'P'_B r             nonlinear remainder

where P_B and P'_B project on the eigenvectors of M in the shell before and after the update.

All this rests on J being the Jacobian of e, so it holds for squared losses. For any other loss the root B of its
curvature moves with the outputs, and e' - e differs from J dtheta already to first order; what is exact then is the
identity of the loss's gradient r by the outputs, r' - r = (path average of H J_net) dtheta, for gradient descent
r' = (I - eta H J J^T) r. `gradient_identity` measures that for every loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.linalg import match_modes
from eigenflow.tangent import Probe, Snapshot
from eigenflow.tangent.sharded import ShardedProbe

__all__ = ["OneStep", "gradient_identity", "measure_step", "require_squared"]

State = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]

# Gauss-Legendre nodes for the path average of the Jacobian: exact for polynomials of degree 15.
PATH_NODES = 8


@dataclass(frozen=True)
class OneStep:
    """Everything measured of one update, in the eigenbases before and after it.

    Vectors are over all stacked outputs; `old` and `new` say in whose eigenbasis the components are.

    Attributes:
        before: Snapshot before the update; its drift is along the update, dtheta / dt.
        after: Snapshot after it, without drift.
        step_size: dt, the update's length in time.
        gradient_old: Components of h0 in the old basis.
        linear_old: Components of h in the old basis.
        linear_new: Components of h in the new basis.
        after_new: Components of e' in the new basis.
        overlap: <phi'_i, phi_j>.
        successor: Index of the new mode that continues each old one (label-dependent).
        identity_residual: ||e' - e - Jbar dtheta|| with the path average Jbar (D1), relative to the scale of
            the outputs whose rounding it shows; see `gradient_identity`.
        flow_residual: ||e' - e + dt M e|| / ||e' - e||: how far the update is from a gradient-flow step.
    """

    before: Snapshot
    after: Snapshot
    step_size: float
    gradient_old: Float[Tensor, " size"]
    linear_old: Float[Tensor, " size"]
    linear_new: Float[Tensor, " size"]
    after_new: Float[Tensor, " size"]
    overlap: Float[Tensor, "size size"]
    successor: Int[Tensor, " size"]
    identity_residual: float
    flow_residual: float


@torch.no_grad()
def measure_step(probe: Probe, before: State, after: State, step_size: float) -> OneStep:
    """Measure one update from the states before and after it.

    Args:
        probe: The probe that took the states.
        before: State before the update.
        after: State after it.
        step_size: Length of the update in time (learning rate; with heavy ball divided by 1 - mu), > 0.

    Returns:
        Both snapshots and the update's vectors in both eigenbases.

    Raises:
        ArgumentError: If the probe's loss is not squared.
    """
    require_squared(probe)
    old, new = probe.at(before), probe.at(after)
    update = {name: new.parameters[name] - old.parameters[name] for name in old.parameters}
    direction = {name: change / step_size for name, change in update.items()}
    first = probe.measure(drift=True, direction=direction, at=old)
    second = probe.measure(drift=False, at=new)

    error = first.error
    gradient = error - step_size * old.product(old.error[None])[0].to(error)
    linear = error + old.push(update).to(error)
    change = second.error - error
    flow_miss = torch.linalg.vector_norm(second.error - gradient)
    overlap = second.eigenvectors @ first.eigenvectors.T
    return OneStep(
        before=first,
        after=second,
        step_size=step_size,
        gradient_old=first.eigenvectors @ gradient,
        linear_old=first.eigenvectors @ linear,
        linear_new=second.eigenvectors @ linear,
        after_new=second.coefficients,
        overlap=overlap,
        successor=match_modes(overlap),
        identity_residual=gradient_identity(probe, before, after),
        flow_residual=_ratio(flow_miss, torch.linalg.vector_norm(change)),
    )


def require_squared(probe: Probe | ShardedProbe) -> None:
    """Refuse a loss for which the one-step energy budget does not hold."""
    if not probe.loss.is_quadratic:
        raise ArgumentError(
            f"The one-step energy budget needs a squared loss ('mse', 'half_mean', 'half_sum'), but `loss` is "
            f"'{probe.loss.name}': its error e follows e + J dtheta to first order only where the curvature of the "
            f"loss stands still. Exact for this loss are probe.measure(), with the motion of the curvature in its "
            f"rates, and eigenflow.trajectory.gradient_identity(probe, before, after)."
        )


@torch.no_grad()
def gradient_identity(probe: Probe, before: State, after: State) -> float:
    """How far an update is from the exact identity r' - r = (average of H J_net along the path) dtheta.

    r is the gradient of the loss by the outputs and H its Hessian, formed as B B^T from the root that the operator
    uses. For squared losses r = sqrt(f) e and H = f, so this is D1.

    Returns:
        The norm of the miss relative to ||r|| + ||H outputs||, the scale of the numbers whose rounding it shows.
        The average is by Gauss-Legendre quadrature, exact for paths that are polynomials of degree 15.
    """
    old, new = probe.at(before), probe.at(after)
    update = {name: new.parameters[name] - old.parameters[name] for name in old.parameters}
    start, end = (p.objective.gradient(p.outputs, p.targets) for p in (old, new))
    nodes, weights = np.polynomial.legendre.leggauss(PATH_NODES)
    total = torch.zeros_like(start)
    for node, weight in zip(0.5 * (nodes + 1.0), 0.5 * weights, strict=True):
        moved = {name: p + float(node) * update[name] for name, p in old.parameters.items()}
        point = probe.at((moved, old.rest))
        weighed = point.push(update).reshape(start.shape)
        total += float(weight) * point.objective.spread(point.outputs, point.targets, weighed)
    curved = old.objective.weigh(old.outputs, old.targets, old.outputs)
    curved = old.objective.spread(old.outputs, old.targets, curved)
    scale = torch.linalg.vector_norm(start) + torch.linalg.vector_norm(curved)
    return _ratio(torch.linalg.vector_norm(end - start - total), scale)


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if float(whole) > 0 else 0.0
