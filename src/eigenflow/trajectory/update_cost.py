"""What recording one update will take: its two ends, by the measurement itself on a few samples."""

from dataclasses import dataclass

from eigenflow.core.display import AbstractPrinted, Card
from eigenflow.tangent import Probe, measurement_cost
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.methods import AbstractMethod, TrackedMethod

__all__ = ["UpdateCost", "update_cost"]


@dataclass(frozen=True, repr=False)
class UpdateCost(AbstractPrinted):
    """An estimate; of several processes, on this one.

    Attributes:
        flops: Operations.
        peak_bytes: Memory held at once, beyond the model.
        seconds: Of the processor, on this machine as it is now.
    """

    flops: float
    peak_bytes: int
    seconds: float

    def summary(self) -> str:
        """One line for people."""
        return f"each about {self.seconds:.2g} s of the processor and {self.peak_bytes / 2**20:.0f} MiB"

    def _card(self) -> Card:
        return Card("UpdateCost", [("one update", self.summary()), ("operations", f"{self.flops / 1e9:.3g} GFLOP")])


def update_cost(probe: Probe | ShardedProbe, method: AbstractMethod) -> UpdateCost:
    """Estimate one measured update; takes about a second for networks of a workstation.

    An update is measured at both ends, with rates at the first. Through tracked modes, products for the tail below them
    come on top: a Krylov space of the error and of each random direction.

    Args:
        probe: What is recorded.
        method: How.
    """
    here = probe.local if isinstance(probe, ShardedProbe) else probe
    if isinstance(method, TrackedMethod):
        modes = min(method.modes, here.size)
        kept = modes + max(4, modes // 4) + 1
        tail = method.tail.steps * (1 + method.tail.probes)
        first = measurement_cost(here, modes, "tracked", products=min(kept + tail, 2 * here.size))
        second = measurement_cost(here, modes, "tracked", drift=False, products=min(kept, here.size))
        peak = max(first.peak_bytes, second.peak_bytes)
    else:
        first = measurement_cost(here, None, "dense")
        second = measurement_cost(here, None, "dense", drift=False)
        peak = first.peak_bytes + second.peak_bytes  # the snapshot of the first end is kept
    return UpdateCost(first.flops + second.flops, peak, first.seconds + second.seconds)
