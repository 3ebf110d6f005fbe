"""What measuring checkpoints would cost, and what came of it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eigenflow.core.display import AbstractPrinted, Card
from eigenflow.integrations.checkpoints.listing import Listing
from eigenflow.tangent import Probe, ShardedProbe

__all__ = ["CheckpointCost", "CheckpointPlan", "CheckpointRecord", "LeftOutRow"]

# Of a card's lines.
MOST_LEFT_OUT, MOST_NOTES = 5, 4


@dataclass(frozen=True)
class CheckpointCost:
    """What measuring checkpoints takes.

    Attributes:
        checkpoints: How many.
        seconds: Of the processor, for measuring all of them, on this machine as it is now.
        flops: Floating-point operations in all.
        peak_bytes: Memory that a measurement holds beyond the model.
        read_bytes: To be read from the disk, at most.
        rows: Of the operator, samples * outputs.
        parameters: That are measured.
    """

    checkpoints: int
    seconds: float
    flops: float
    peak_bytes: int
    read_bytes: int
    rows: int
    parameters: int

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.checkpoints} checkpoints, {self.parameters:,} parameters, operator of {self.rows:,} rows: about "
            f"{self.seconds:.3g} s of the processor, {self.flops / 1e9:.3g} GFLOP, "
            f"{self.read_bytes / 2**20:.3g} MiB to read, {self.peak_bytes / 2**20:.3g} MiB for the operator"
        )


@dataclass(frozen=True)
class LeftOutRow:
    """A checkpoint that is not in the record.

    Attributes:
        name: Its file or folder.
        step: Or None if it is not known.
        reason: Why.
    """

    name: str
    step: int | None
    reason: str


@dataclass(frozen=True, repr=False)
class CheckpointPlan(AbstractPrinted):
    """What would be measured.

    Attributes:
        listing: Checkpoints with their steps, and what is left out.
        cost: What it takes.
        probe: With which the first state would be measured.
        notes: What a person should know.
    """

    listing: Listing
    cost: CheckpointCost
    probe: Probe | ShardedProbe
    notes: tuple[str, ...]

    def _card(self) -> Card:
        shown = self.listing.checkpoints
        rows = [
            (f"{self.listing.unit[:-1]} {one.step}", f"{one.found.path.name} ({one.format}; step from {one.source})")
            for one in (shown if len(shown) <= 4 else (*shown[:2], *shown[-2:]))
        ]
        rows += [(f"left out {path.name}", reason) for path, _, reason in self.listing.left_out[:MOST_LEFT_OUT]]
        rows += [("clock", self.listing.clock), ("cost", self.cost.summary())]
        return Card(f"CheckpointPlan: {len(shown)} checkpoints, {len(self.listing.left_out)} left out", rows)

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "checkpoints": [
                {
                    "path": str(one.found.path),
                    "step": one.step,
                    "source": one.source,
                    "format": one.format,
                    "bytes": one.bytes,
                    "learning_rate": one.learning_rate,
                    "time": one.time,
                }
                for one in self.listing.checkpoints
            ],
            "left_out": [
                {"path": str(path), "step": step, "reason": reason} for path, step, reason in self.listing.left_out
            ],
            "unit": self.listing.unit,
            "clock": self.listing.clock,
            "cost": asdict(self.cost),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, repr=False)
class CheckpointRecord(AbstractPrinted):
    """A record of checkpoints.

    Attributes:
        path: The run folder; open it with `eigenflow.open_run`.
        steps: Of all states in it.
        measured: How many were measured now.
        resumed: How many it held already.
        left_out: What is not in it, and why.
        unit: Of the steps: "updates", or "epochs".
        clock: What its time is.
        notes: How checkpoints were read: prefixes taken off, types, what was left as the model makes it.
        wall_s: Seconds in all.
        measure_s: Seconds of all processes for reading and measuring.
    """

    path: Path
    steps: tuple[int, ...]
    measured: int
    resumed: int
    left_out: tuple[LeftOutRow, ...]
    unit: str
    clock: str
    notes: tuple[str, ...]
    wall_s: float
    measure_s: float

    def _card(self) -> Card:
        ends = f", {self.unit} {self.steps[0]} to {self.steps[-1]}" if self.steps else ""
        rows = [("states", f"{len(self.steps)}{ends}; measured now: {self.measured}, before: {self.resumed}")]
        for row in self.left_out[:MOST_LEFT_OUT]:
            where = "" if row.step is None else f" ({row.step})"
            rows.append(("left out", f"{row.name}{where}: {row.reason}"))
        if len(self.left_out) > MOST_LEFT_OUT:
            rows.append(("left out", f"{len(self.left_out) - MOST_LEFT_OUT} more"))
        rows.append(("time", self.clock))
        rows += [("note", note) for note in self.notes[:MOST_NOTES]]
        rows.append(("took", f"{self.wall_s:.1f} s"))
        return Card(f"CheckpointRecord: {self.path}", rows)

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self) | {"path": str(self.path), "left_out": [asdict(row) for row in self.left_out]}
