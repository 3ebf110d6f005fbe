"""What the path identity of an update takes, from that of an update of a few samples."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from eigenflow.tangent import Probe
from eigenflow.tangent.counted import counted, timed
from eigenflow.trajectory.identity import HELD, PATH_NODES, Path, State, evaluations_left, path_identity

__all__ = ["IdentityCost", "identity_cost"]

# Evaluations of single samples that are timed together.
TIMED = 64
# The outputs at both ends take at most as many passes.
ENDS = 2


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
    whole, whole_s = _taken(lambda: path_identity(few, before, after))
    path = Path.of(few, before, after)
    one_pass, one_pass_s = _taken(lambda: path.rate(0.5))
    all_s = timed(lambda: probe.at(before).push(path.update))
    smooth = PATH_NODES * one_pass
    scale = probe.samples / few.samples
    flops, seconds = smooth * scale, whole_s + PATH_NODES * max(0.0, all_s - one_pass_s)
    beyond, slower = whole - smooth, max(1.0, all_s / max(one_pass_s, 1e-9))
    if beyond <= ENDS * one_pass:  # nothing was followed sample by sample
        return IdentityCost(flops + max(beyond, 0.0) * scale, seconds, 0.0, slower)
    rows = torch.arange(TIMED) % few.samples
    single_s = timed(lambda: path.sample_rates(rows, torch.linspace(0.0, 1.0, TIMED, dtype=torch.float64))) / TIMED
    single, parameters = one_pass / few.samples, before[0]
    followed = beyond / single
    grown = min(followed * scale, evaluations_left(parameters, probe.samples))
    held = min(HELD, grown * 3 * sum(p.numel() for p in parameters.values()))
    seconds += max(grown - followed, 0.0) * single_s
    return IdentityCost(flops + grown * single, seconds, 8.0 * held, slower)


def _taken(work: Callable[[], object]) -> tuple[float, float]:
    return counted(work).flops, timed(work)
