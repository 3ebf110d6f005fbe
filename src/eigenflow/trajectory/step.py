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
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.linalg import match_modes
from eigenflow.tangent import Probe, Snapshot
from eigenflow.tangent.point import TangentPoint

__all__ = ["OneStep", "measure_step"]

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
        identity_residual: ||e' - e - Jbar dtheta|| with the path average Jbar (D1), relative to ||e|| + sqrt(f)
            ||targets||, the scale of the outputs whose rounding it shows.
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
    """
    old, new = probe.at(before), probe.at(after)
    update = {name: new.parameters[name] - old.parameters[name] for name in old.parameters}
    direction = {name: change / step_size for name, change in update.items()}
    first = probe.measure(drift=True, direction=direction, at=old)
    second = probe.measure(drift=False, at=new)

    error = first.error
    gradient = error - step_size * old.product(old.error[None])[0].to(error)
    linear = error + old.push(update).to(error)
    change = second.error - error
    path_change = _path_change(probe, old, update).to(error)
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
        identity_residual=_ratio(torch.linalg.vector_norm(change - path_change), _outputs_scale(old)),
        flow_residual=_ratio(flow_miss, torch.linalg.vector_norm(change)),
    )


def _path_change(probe: Probe, old: TangentPoint, update: Mapping[str, Tensor]) -> Tensor:
    """Jbar dtheta, with the Jacobian averaged along the straight path of the update."""
    nodes, weights = np.polynomial.legendre.leggauss(PATH_NODES)
    total = torch.zeros_like(old.error)
    for node, weight in zip(0.5 * (nodes + 1.0), 0.5 * weights, strict=True):
        moved = {name: p + float(node) * update[name] for name, p in old.parameters.items()}
        total += float(weight) * probe.at((moved, old.rest)).push(update)
    return total


def _outputs_scale(point: TangentPoint) -> Tensor:
    return torch.linalg.vector_norm(point.error) + point.factor**0.5 * torch.linalg.vector_norm(point.targets)


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if float(whole) > 0 else 0.0
