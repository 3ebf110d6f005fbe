"""What a run folder stores of the test side of one measured update."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.store import Variable
from eigenflow.tangent import HoldoutPoint, Probe, holdout_step
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.update import Update

__all__ = ["holdout_variables"]


@torch.no_grad()
def holdout_variables(
    probe: Probe | ShardedProbe,
    update: Update,
    *,
    vectors: Float[Tensor, "modes size"],
    shells: Int[Tensor, " modes"],
    count: int,
) -> dict[str, Variable]:
    """Collect the test loss, the exact parts of its change, and the shells that drive it; {} without a holdout set.

    Args:
        probe: The probe that took the states.
        update: The update.
        vectors: Eigenvectors before the update.
        shells: Their shells; what no vector holds is put into shell 0.
        count: Number of shells.
    """
    if probe.holdout is None:
        return {}
    # As on the probe set: the update at the buffers before it, and their move after it.
    each, space = probe.processes.each, probe.space
    step = holdout_step(probe, update.before, (update.after[0], update.before[1]), update.step_size)
    settled = each(lambda: probe.holdout_at(update.after)).loss
    point = each(lambda: probe.holdout_at(update.before))
    gradient, optimizer, drive = step.gradient, step.optimizer, point.loss_gradient()
    if update.preconditioner is not None:
        gradient, drive = _preconditioned(probe, point, update)
        optimizer += step.gradient - gradient
    error, drive = point.train.error.to(vectors)[None], drive.to(vectors)[None]
    shares = -space.inner(vectors, drive)[:, 0] * space.inner(vectors, error)[:, 0]
    rate = torch.zeros(count, dtype=vectors.dtype).index_add_(0, shells, shares.cpu())
    rate[0] += -float(space.inner(drive, error)) - float(shares.sum())
    values = {
        "holdout_loss": (step.loss, "loss", "loss on the holdout set before the update"),
        "holdout_gradient": (
            gradient,
            "loss",
            "its change by the gradient-descent step, if the network were linear",
        ),
        "holdout_optimizer": (
            step.gradient + step.optimizer - gradient,
            "loss",
            "its change by what the optimizer did beyond that",
        ),
        "holdout_remainder": (step.remainder, "loss", "its change by nonlinearity of the network"),
        "holdout_buffers": (
            settled - step.loss_after,
            "loss",
            "its change as buffers move after the update; the four add up to the whole",
        ),
        "holdout_residual": (
            step.identity_residual,
            "1",
            "||z'_x - z_x - Jbar dtheta|| of the outputs z_x, relative (D1)",
        ),
    }
    variables = {
        name: Variable((), np.asarray(value, dtype=np.float64), units, meaning)
        for name, (value, units, meaning) in values.items()
    }
    meaning = "rate of the holdout loss under gradient flow that the shell's error drives, -<K(X, x) e_x, P_B e>"
    return {**variables, "holdout_rate": Variable(("shell",), rate.numpy(), "loss / time", meaning)}


def _preconditioned(probe: Probe | ShardedProbe, point: HoldoutPoint, update: Update) -> tuple[float, Tensor]:
    """Change of the test loss by the preconditioned step, to first order in the parameters; and J P^(-1) J_x^T e_x."""
    assert update.preconditioner is not None
    inverse = {name: p.to(update.before[0][name]) for name, p in update.preconditioner.items()}
    slopes = point.gradient()
    descent = {name: -update.step_size * inverse[name] * slopes[name] for name in slopes}
    own = probe.processes.each(lambda: point.test.loss_after(point.test.output_change(descent)))
    after = float(point.test_space.sum(torch.tensor([own], dtype=torch.float64, device=point.test_space.device)))
    pulled = point.pulled(point.test.error[None])
    drive = probe.processes.each(lambda: point.train.push({name: inverse[name] * g[0] for name, g in pulled.items()}))
    return after - point.loss, drive
