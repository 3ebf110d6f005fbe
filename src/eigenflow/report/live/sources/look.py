"""What one look at a run that goes on has found."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["Look", "Measured", "Row", "Source"]


class Row(NamedTuple):
    """One logged loss.

    Attributes:
        step: Completed updates.
        loss: NaN where the logged one is not finite.
        rate: Learning rate of the update, None where none is logged.
    """

    step: int
    loss: float
    rate: float | None


class Measured(NamedTuple):
    """What a run folder holds of one measured network.

    Attributes:
        step: Completed updates.
        eigenvalues: The leading ones, 1 / time, from the largest down.
        edge: The eigenvalue from which on gradient descent would be unstable there; None where no rate is known.
    """

    step: int
    eigenvalues: tuple[float, ...]
    edge: float | None


@dataclass
class Look:
    """News of a run.

    Attributes:
        status: In a word or two: "waiting", "running", "complete", "interrupted", ...
        rows: What came since the last look; from the first row on where `cut` or `is_new` says so. Read once, as it is
            needed.
        measured: Measurements, likewise.
        cut: What was seen after so many updates no longer holds: the run was resumed there, or the log rewritten.
        is_new: Whether it is another run; all that was seen before is of a former one.
        name: Of the run.
        kind: "run folder" or "log".
        problem: Why there is nothing to read now, in words.
        total: Updates in all, where the run says it.
        total_told: Where that is from, in words.
        unit: What a step is, in the plural.
        preconditioner: Of which optimizer the measured operator is; empty for the plain one.
        changed_at: When the log was last written, seconds since 1970.
        happened: What else is to be told, one line each.
    """

    status: str
    rows: Iterator[Row] = field(default_factory=lambda: iter(()))
    measured: Iterator[Measured] = field(default_factory=lambda: iter(()))
    cut: int | None = None
    is_new: bool = False
    name: str = ""
    kind: str = ""
    problem: str = ""
    total: int | None = None
    total_told: str = ""
    unit: str = "updates"
    preconditioner: str = ""
    changed_at: float | None = None
    happened: tuple[str, ...] = ()


@runtime_checkable
class Source(Protocol):
    """Something that is looked at again and again, by one reader."""

    def look(self) -> Look:
        """Give what is new. What cannot be read now is told in the look, not raised."""
        ...

    def past(self) -> Iterator[Row]:
        """All rows from the first on once more, beside those of `look`; up to the last look at least."""
        ...
