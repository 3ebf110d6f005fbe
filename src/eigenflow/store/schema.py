"""What a run folder holds: its version, the names of its files, and one measured variable."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped

from eigenflow.core.errors import ArgumentError, ShapeError

__all__ = [
    "CHECKED_SINCE",
    "HEADER",
    "LOCK",
    "LOSS",
    "LOSSES",
    "MEASUREMENTS",
    "REASON",
    "REPORT",
    "SCHEMA_VERSION",
    "STATES",
    "STATUSES",
    "STEP",
    "SUMMARY",
    "TAIL",
    "UPDATES",
    "Clock",
    "Gap",
    "GapKind",
    "RecordGapWarning",
    "RunFolderWarning",
    "RunKind",
    "Status",
    "Variable",
    "clock_of",
    "is_step",
    "is_variable_name",
    "kind_of",
    "require_foreign",
]

# 2: runs through k tracked modes (`cut`, `tail_...`), and the test side's one-step change (`holdout_...`).
# 3: any loss: `curvature` is a term of the budget, and `total_energy` stands beside `probe_loss`.
#    Also how the eigenbasis moves: `coupling`, `frame_overlap`, `shell_overlap`, `initial_...`, `sample_energy`.
# 4: gaps (`gaps` in the header, rows without a loss, the status that tells of them), `first_step`; what moving
#    buffers do is a term of the budget (`buffers`, `buffers_transfer`, `buffers_norm`); `updates`, how far they go.
# 5: sums of all files (`checksums`), so that a changed or lost byte is noticed; `accepted`.
# 6: records of states without updates (`kind`, `clock`), which lack all variables that need an update.
SCHEMA_VERSION = 6
# The first version with checksums.
CHECKED_SINCE = 5

HEADER = "run.json"
LOSSES = "losses.jsonl"
MEASUREMENTS = "measurements.zarr"
SUMMARY = "summary.json"
REPORT = "report.html"
LOCK = ".lock"
# Beside a loss log that grows: the sum of what was written since `run.json`.
TAIL = "losses.sum"

STEP = "step"
LOSS = "loss"
REASON = "reason"

Status = Literal["running", "complete", "complete with gaps", "failed", "interrupted"]
STATUSES: tuple[Status, ...] = ("running", "complete", "complete with gaps", "failed", "interrupted")

_LONGEST_NAME = 200

# What a folder is a record of: updates, each with the state before and after it, or states alone.
RunKind = Literal["updates", "states"]
UPDATES: RunKind = "updates"
STATES: RunKind = "states"
# What its times count: learning rates that add up, or updates, where the rates are not known.
Clock = Literal["learning rates", "updates"]

GapKind = Literal["measurement", "loss", "updates"]
GAP_KINDS: tuple[GapKind, ...] = ("measurement", "loss", "updates")


def is_variable_name(name: str) -> bool:
    """Whether a variable may have this name; a path never is one."""
    return name.isidentifier() and name.isascii() and len(name) <= _LONGEST_NAME


def kind_of(header: Mapping[str, Any]) -> RunKind:
    """What a run with this header is a record of; before schema version 6, of updates."""
    return STATES if header.get("kind") == STATES else UPDATES


def clock_of(header: Mapping[str, Any]) -> Clock:
    """What its times count."""
    return "updates" if kind_of(header) == STATES and header.get("clock") == "updates" else "learning rates"


def is_step(value: Any) -> bool:
    """Whether a value of a file counts updates."""
    return type(value) is int and 0 <= value < 2**63


def require_foreign(name: str) -> None:
    """Refuse a name that is a path, or that of a file of the run itself.

    Raises:
        ArgumentError: In these cases.
    """
    taken = (HEADER, LOSSES, MEASUREMENTS, SUMMARY, LOCK, TAIL)
    if name in (*taken, "", ".", "..") or Path(name).name != name:
        raise ArgumentError(
            f"`name` must be a plain file name and none of {taken}, but is {name!r}. "
            f"To write elsewhere, write the text yourself."
        )


class RunFolderWarning(UserWarning):
    """Something half-written or damaged in a run folder was left out."""


class RecordGapWarning(UserWarning):
    """Something could not be recorded; the gap is in the record, and the run goes on."""


@dataclass(frozen=True)
class Gap:
    """What a record lacks.

    Attributes:
        step: The first step that it concerns: completed updates before it.
        through: The last one; the same for a single step.
        kind: "measurement": a scheduled measurement was not made. "loss": the logged loss was not finite. "updates":
            updates were made that nobody recorded.
        reason: Why, in words.
    """

    step: int
    through: int
    kind: GapKind
    reason: str

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Gap":
        """What `to_dict` wrote."""
        return cls(*(entry[key] for key in ("step", "through", "kind", "reason")))

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return asdict(self)

    @staticmethod
    def is_sound(entry: Any) -> bool:
        """Whether an entry of a header is one that `to_dict` wrote."""
        return (
            isinstance(entry, dict)
            and all(is_step(entry.get(key)) for key in ("step", "through"))
            and entry.get("kind") in GAP_KINDS
            and isinstance(entry.get("reason"), str)
        )


@dataclass(frozen=True, eq=False)
class Variable:
    """One quantity at one measured step, or a constant of the whole run.

    Attributes:
        dims: Names of the axes, without `step`. A variable that shares its name with its only axis
            is the coordinate of that axis.
        values: Booleans, integers or floats; finite and not empty. One axis for each of `dims`.
        units: Of the values, `"1"` for a pure number. Avoid `"seconds"`, `"days"` and the like:
            xarray turns them into time stamps.
        long_name: What the quantity is, in words.
        label_dependent: Whether the values depend on the labels of eigenvectors, which are not
            unique where eigenvalues are close.
    """

    dims: tuple[str, ...]
    values: Shaped[np.ndarray, "..."]
    units: str
    long_name: str
    label_dependent: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(self.dims))
        object.__setattr__(self, "values", np.asarray(self.values))
        if len(self.dims) != self.values.ndim:
            raise ShapeError(
                f"`dims` must name every axis of `values`, but has {len(self.dims)} names {self.dims} "
                f"for values of shape {self.values.shape}. The axis `{STEP}` is added when written."
            )
        if STEP in self.dims or len(set(self.dims)) != len(self.dims):
            raise ArgumentError(
                f"`dims` must be distinct names without `{STEP}`, but is {self.dims}. "
                f"Give one measured step at a time, and two axes of the same kind two names."
            )
        if self.values.size == 0:
            raise ShapeError(
                f"`values` must not be empty, but has shape {self.values.shape}. "
                f"Leave the variable out of the run, or pad it with a mask beside it."
            )
        if self.values.dtype.kind not in "biuf":
            raise ArgumentError(
                f"`values` must be booleans, integers or floats, but has dtype {self.values.dtype}. "
                f"Store a complex quantity as two variables and text in the header."
            )
