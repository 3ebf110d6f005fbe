"""What a sweep will take, from timed updates and eigenproblems of a few of its runs."""

from dataclasses import dataclass

from eigenflow.lab.config import ExperimentConfig
from eigenflow.lab.experiment import estimate_cost
from eigenflow.lab.sweep.running import SweepWork

__all__ = ["SweepCost", "estimate_sweep"]

MOST_TIMED = 6
# What a run costs does not depend on these.
_FREE = {
    "task": {"seed"},
    "model": {"seed", "output_scale", "centred"},
    "train": {"seed", "learning_rate", "weight_decay"},
}


@dataclass(frozen=True)
class SweepCost:
    """Cost of the runs that are left.

    Attributes:
        runs: How many are left.
        of: How many there are.
        cpu_s: Seconds of all of them, one after another on this machine.
        longest_s: Of the longest run that was timed.
        kinds: Kinds of runs that differ in cost.
        timed: How many of the kinds were timed; others count as the mean of these.
        peak_bytes: Memory of the largest timed operator.
    """

    runs: int
    of: int
    cpu_s: float
    longest_s: float
    kinds: int
    timed: int
    peak_bytes: int

    def summary(self) -> str:
        """One line for people."""
        if not self.runs:
            return f"none of the {self.of} runs is left to make"
        how = (
            f"{self.timed} of {self.kinds} kinds of runs timed" if self.timed < self.kinds else "each kind of run timed"
        )
        return (
            f"{self.runs} of {self.of} runs to make: about {self.cpu_s:.0f} s of one machine's time one after another "
            f"({how}; the longest about {self.longest_s:.0f} s), {self.peak_bytes / 2**20:.0f} MiB for an operator"
        )


def estimate_sweep(work: SweepWork) -> SweepCost:
    """Time a few runs' updates and eigenproblems, some seconds each, and scale."""
    left = set(work.left)
    configs = [run.config for run in work.plan.runs if run.name in left]
    part = work.plan.config.sweep
    kinds: dict[str, list[ExperimentConfig]] = {}
    for config in configs:
        kinds.setdefault(_kind(config), []).append(config)
    groups = list(kinds.values())
    chosen = (
        {round(place * (len(groups) - 1) / max(1, MOST_TIMED - 1)) for place in range(MOST_TIMED)} if groups else set()
    )
    costs = {place: estimate_cost(groups[place][0]) for place in sorted(chosen)}
    seconds = {place: cost.total_s - (0.0 if part.analyse else cost.analyse_s) for place, cost in costs.items()}
    mean = sum(seconds.values()) / max(1, len(seconds))
    return SweepCost(
        runs=len(configs),
        of=len(work.plan.runs),
        cpu_s=sum(len(group) * seconds.get(place, mean) for place, group in enumerate(groups)),
        longest_s=max(seconds.values(), default=0.0),
        kinds=len(groups),
        timed=len(costs),
        peak_bytes=max((cost.peak_bytes for cost in costs.values()), default=0),
    )


def _kind(config: ExperimentConfig) -> str:
    return config.model_dump_json(exclude={"name": True, **_FREE})
