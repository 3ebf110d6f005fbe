"""What recording one update will take: the measurements of its ends, and what is computed beside them.

The ends are estimated by `tangent.measurement_cost`. Beside them stand the path identity, the test side and the plain
operator, which go with the number of samples and are made here on a few of them, and the comparison of eigenbases.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.tangent import Probe, TangentPoint, measurement_cost
from eigenflow.tangent.cost import product_flops
from eigenflow.tangent.counted import counted, timed
from eigenflow.tangent.holdout import holdout_step
from eigenflow.tangent.model.evaluation import undisturbed
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.identity import PATH_NODES, evaluations_left
from eigenflow.trajectory.identity_cost import IdentityCost, identity_cost
from eigenflow.trajectory.methods import AbstractMethod, TrackedMethod, point_like
from eigenflow.trajectory.plain import PLAIN_ROWS
from eigenflow.trajectory.step import linear_errors

__all__ = ["UpdateCost", "most_seconds", "update_cost"]

# Samples that the parts beside the measurements are made on.
FEW = 4
# Length of the update that is made for it, relative to that of the parameters.
STEP = 1e-2
# Products of two bases that an update compares: before and after it, and with those of two earlier measurements.
COMPARED = 3
# Products for each vector that is followed. Between two measurements modes move so far that most solves go cold, and in
# a single update so far that they have to be improved: in four trainings of two optimizers (relu, conv, tokens and
# large in `benchmarks/update_cost.py`) it took 3.1 to 6.6, and 1.6 to 6.6.
FIRST, SECOND = 5.0, 3.5
# What the snapshot of the first end keeps while the second is measured: vectors, rates, couplings and their bounds; of
# tracked modes the vectors and their rates.
KEPT_MATRICES, KEPT_BASES = 4, 2
# Seconds of a first update's calls whatever their sizes, and operations a second that any processor does.
CALLS_S, SLOW_FLOPS = 1.0, 2e9


@dataclass(frozen=True, repr=False)
class UpdateCost(AbstractPrinted):
    """An estimate; of several processes, on this one.

    Attributes:
        flops: Operations.
        peak_bytes: Memory held at once, beyond the model.
        seconds: Of the processor, on this machine as it is now.
        parts: Operations and seconds of its parts, by name.
    """

    flops: float
    peak_bytes: int
    seconds: float
    parts: dict[str, tuple[float, float]]

    def summary(self) -> str:
        """One line for people."""
        mebibytes = self.peak_bytes / 2**20
        memory = f"{mebibytes:.0f} MiB" if mebibytes >= 1 else "less than 1 MiB"
        return f"each about {self.seconds:.2g} s of the processor and {memory}"

    def _card(self) -> Card:
        rows = [("one update", self.summary())]
        return Card(
            "UpdateCost",
            rows + [(name, f"{figure(f / 1e9, 3)} GFLOP, {figure(s, 2)} s") for name, (f, s) in self.parts.items()],
        )


@undisturbed()
@torch.no_grad()
def update_cost(
    probe: Probe | ShardedProbe, method: AbstractMethod, *, is_preconditioned: bool = False, is_uniform: bool = False
) -> UpdateCost:
    """Estimate one measured update; takes about a second for networks of a workstation.

    An update is measured at both ends, with rates at the first, and once more where it moves buffers. Through tracked
    modes, products for the tail below them come on top: a Krylov space of the error and of each random direction.

    Args:
        probe: What is recorded.
        method: How.
        is_preconditioned: Whether M is J P^(-1) J^T.
        is_uniform: Whether P has one value for all entries of a parameter, as that of SGD with momentum.
    """
    here = probe.local if isinstance(probe, ShardedProbe) else probe
    point = point_like(here, is_preconditioned, is_uniform=is_uniform)
    later = 2 if _has_moving_buffers(here.network.model) else 1
    measure: Callable = partial(measurement_cost, here, at=point)
    if isinstance(method, TrackedMethod):
        modes, products = min(method.modes, here.size), _products(method, here)
        first = measure(modes, "tracked", products=products[0])
        second = measure(modes, "tracked", drift=False, products=products[1])
        kept, bases = KEPT_BASES * 8 * modes * here.size, (modes, modes, here.size)
    else:
        first, second = measure(None, "dense"), measure(None, "dense", drift=False)
        kept, bases = KEPT_MATRICES * 8 * here.size**2, (here.size,) * 3
    compared, beside = _multiplying(*bases), _beside(here, point)
    peak = int(max(first.peak_bytes, kept + second.peak_bytes, 2 * kept + beside.peak_bytes))
    parts = {
        "the update's begin, with rates": (first.flops, first.seconds),
        "its end": (later * second.flops, later * second.seconds),
        "what samples add up to": beside[:2],
        "bases compared": (COMPARED * compared[0], COMPARED * compared[1]),
    }
    if is_preconditioned and not isinstance(method, TrackedMethod) and here.size <= PLAIN_ROWS:
        flops = point_like(here, False).dense_plan(drift=False).cost.flops
        parts["the plain operator"] = flops, flops * first.phases[0].seconds / max(first.phases[0].flops, 1.0)
    flops, seconds = (sum(part[index] for part in parts.values()) for index in (0, 1))
    return UpdateCost(flops, peak, seconds, parts)


def most_seconds(
    probe: Probe | ShardedProbe, method: AbstractMethod, *, is_preconditioned: bool = False, is_uniform: bool = False
) -> float:
    """Seconds that one measured update hardly exceeds on any processor of today, from sizes alone. As `update_cost`.

    Operations of products are known from shapes; a slow processor does 2e9 a second, with all that stands between them.
    """
    here = probe.local if isinstance(probe, ShardedProbe) else probe
    point = point_like(here, is_preconditioned, is_uniform=is_uniform)
    one_pass = product_flops(here.structure, point.parameters, here.samples)
    if isinstance(method, TrackedMethod):
        # With rates, and two ends.
        flops = 3.0 * _products(method, here)[0] * one_pass
    else:
        forming = sum(point.dense_plan(drift=drift).cost.flops for drift in (True, False))
        flops = forming + here.width * one_pass + 2 * 18.0 * here.size**3
    identity = (PATH_NODES + evaluations_left(point.parameters, here.samples) / here.samples) * one_pass
    return CALLS_S + (flops + identity) / SLOW_FLOPS


def _products(method: TrackedMethod, probe: Probe) -> tuple[int, int]:
    """Products with M at the first end of an update, with those for the tail, and at the second."""
    modes = min(method.modes, probe.size)
    kept = modes + max(4, modes // 4) + 1
    tail = method.tail.steps * (1 + method.tail.probes)
    return round(FIRST * kept) + min(tail, probe.size), round(SECOND * kept)


def _has_moving_buffers(model: nn.Module) -> bool:
    """Whether training moves buffers: those of layers that follow their batches."""
    kinds = nn.modules.batchnorm._NormBase
    return any(isinstance(module, kinds) and module.track_running_stats for module in model.modules())


def _beside(probe: Probe, point: TangentPoint) -> IdentityCost:
    """What is computed from samples beside the measurements of both ends: the path identity, and the test side."""
    few, update = _few(probe), _small_step(point)
    before = point.parameters, point.rest
    after = {name: value + update[name] for name, value in before[0].items()}, point.rest

    def others() -> None:
        linear_errors(few.at(before), update)
        if few.holdout is not None:
            holdout_step(few, before, after, 1.0)

    scale = probe.samples / few.samples
    identity = identity_cost(probe, few, before, after)
    seconds = identity.seconds + timed(others) * identity.slower
    return identity._replace(flops=identity.flops + counted(others).flops * scale, seconds=seconds)


def _few(probe: Probe) -> Probe:
    """The same with a few of its samples."""
    some, count = copy.copy(probe), min(FEW, probe.samples)
    kept = slice(0, count)
    some.inputs, some.targets = probe.inputs[kept], probe.targets[kept]
    some.loss = probe.loss.part(kept, probe.samples)
    if probe.holdout is not None:
        inputs, targets = probe.holdout
        tests = slice(0, max(1, round(len(inputs) * count / probe.samples)))
        some.holdout = inputs[tests], targets[tests]
        some.holdout_objective = probe.holdout_objective.part(tests, len(inputs))
    return some


def _small_step(point: TangentPoint) -> Parameters:
    """A step against the gradient, of the length that steps of training have."""
    gradient = point.gradient()
    length = sum(float(g.square().sum()) for g in gradient.values()) ** 0.5
    size = sum(float(p.square().sum()) for p in point.parameters.values()) ** 0.5
    return {name: g * (-STEP * size / length if length > 0 else 0.0) for name, g in gradient.items()}


def _multiplying(rows: int, columns: int, between: int) -> tuple[float, float]:
    """Operations and seconds of one product of two bases, by the rate of a smaller one."""
    flops = 2.0 * rows * columns * between
    shape = [min(side, 256) for side in (rows, columns, between)]
    left, right = (torch.ones(shape[i], shape[2], dtype=torch.float64) for i in (0, 1))
    took = timed(lambda: [left @ right.T for _ in range(4)])
    return flops, took * flops / (8.0 * shape[0] * shape[1] * shape[2])
