"""What a run folder stores of the test side of one measured update."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.store import Variable
from eigenflow.tangent import Probe, holdout_step
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.step import State

__all__ = ["holdout_variables"]


@torch.no_grad()
def holdout_variables(
    probe: Probe | ShardedProbe,
    before: State,
    after: State,
    step_size: float,
    *,
    vectors: Float[Tensor, "modes size"],
    shells: Int[Tensor, " modes"],
    count: int,
) -> dict[str, Variable]:
    """Collect the test loss, the exact parts of its change, and the shells that drive it; {} without a holdout set.

    Args:
        probe: The probe that took the states.
        before: State before the update.
        after: State after it.
        step_size: Its length in time.
        vectors: Eigenvectors before the update.
        shells: Their shells; what no vector holds is put into shell 0.
        count: Number of shells.
    """
    if isinstance(probe, ShardedProbe) or probe.holdout is None:
        return {}
    step = holdout_step(probe, before, after, step_size)
    point = probe.holdout_at(before)
    error, drive = point.train.error.to(vectors), point.loss_gradient().to(vectors)
    shares = -(vectors @ drive) * (vectors @ error)
    rate = torch.zeros(count, dtype=vectors.dtype).index_add_(0, shells, shares.cpu())
    rate[0] += -float(drive @ error) - float(shares.sum())
    values = {
        "holdout_loss": (step.loss, "loss", "loss on the holdout set before the update"),
        "holdout_gradient": (
            step.gradient,
            "loss",
            "its change by the gradient-descent step, if the network were linear",
        ),
        "holdout_optimizer": (step.optimizer, "loss", "its change by what the optimizer did beyond that"),
        "holdout_remainder": (step.remainder, "loss", "its change by nonlinearity; the three add up to the whole"),
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
