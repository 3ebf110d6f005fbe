"""What the path identity of an update takes, from that of an update of a few samples."""

from typing import NamedTuple

import torch

from eigenflow.tangent import Probe
from eigenflow.tangent.counted import counted, made_in, timed
from eigenflow.tangent.model.network import Parameters
from eigenflow.trajectory.identity import HELD, PATH_NODES, Path, State, evaluations_left, path_identity

__all__ = ["IdentityCost", "identity_cost"]

# Evaluations of single samples that are timed together.
TIMED = 64
# The outputs at both ends take as much as one pass for a rate.
ENDS = 1


class IdentityCost(NamedTuple):
    """Operations, seconds of the processor, bytes held at once, and how much longer a pass takes for all samples."""

    flops: float
    seconds: float
    peak_bytes: float
    slower: float


def identity_cost(probe: Probe, few: Probe, before: State, after: State) -> IdentityCost:
    """Estimate the identity of all samples from that of a few, and from one pass through all.

    The quadrature goes with their number. So does what samples with kinks take beyond it, as long as the budget for it
    lasts. Calls are as many for few samples as for many, which are taken together.

    Args:
        probe: All of them.
        few: The same with a few.
        before: State before an update.
        after: State after one that is as long as those of training.
    """
    identity, seconds = made_in(lambda: path_identity(few, before, after))
    path = Path.of(few, before, after)
    single = counted(lambda: path.rate(0.5)).flops / few.samples
    few_s, all_s = timed(lambda: path.rate(0.5)), timed(lambda: probe.at(before).push(path.update))
    scale, slower = probe.samples / few.samples, max(1.0, all_s / max(few_s, 1e-9))
    flops = (PATH_NODES + ENDS) * probe.samples * single
    seconds += PATH_NODES * max(0.0, all_s - few_s)
    if identity.evaluations == 0:
        return IdentityCost(flops, seconds, 0.0, slower)
    parameters = before[0]
    is_one_by_one = path.old.structure is not None and not path.old.reverse_only
    most = evaluations_left(parameters, probe.samples) if is_one_by_one else float("inf")
    followed = min(identity.evaluations * scale, most)
    rows = torch.arange(TIMED) % few.samples
    single_s = few_s / few.samples
    if is_one_by_one:
        single_s = timed(lambda: path.sample_rates(rows, torch.linspace(0.0, 1.0, TIMED, dtype=torch.float64))) / TIMED
    # The budget counts three copies of the parameters for an evaluation, of which two are held: moved ones and theirs.
    held = 2.0 / 3.0 * min(HELD, followed * 3 * _numbers(parameters)) if is_one_by_one else 0.0
    seconds += max(followed - identity.evaluations, 0.0) * single_s
    return IdentityCost(flops + followed * single, seconds, 8.0 * held, slower)


def _numbers(parameters: Parameters) -> int:
    return sum(parameter.numel() for parameter in parameters.values())
