"""A growing run folder: rows as they are logged, leading eigenvalues as they are measured, resumes and replacements."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eigenflow.core.errors import EigenflowError
from eigenflow.report.live.sources.look import Look, Measured, Row
from eigenflow.store.lock import is_locked
from eigenflow.store.manifest import Manifest
from eigenflow.store.schema import HEADER, LOSS, LOSSES, STEP
from eigenflow.store.tail import LossTail, measured_values

__all__ = ["RunFolderSource"]

LEADING = 8
# Measuring schedules for runs of unknown length are laid out for this many updates.
UNKNOWN_LENGTH = 1_000_000
STABLE = 2.0


class RunFolderSource:
    """Looks at a run folder; costs as much as what is new in it.

    Args:
        path: The folder, which holds a `run.json`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tail = LossTail(path)
        self._manifest: Manifest | None = None
        self._file: tuple[int, int, int] | None = None
        self._last_step = -1
        self._measured = 0
        # Of the last row, and of rows at measured steps.
        self._edge: float | None = None
        self._edges: dict[int, float] = {}

    def look(self) -> Look:
        """Give what is new."""
        try:
            before, now = self._manifest, self._read_manifest()
        except EigenflowError as error:
            return Look("waiting", kind="run folder", name=self._name, problem=str(error))
        is_new = before is not None and now.created != before.created
        cut, happened = (None, ()) if is_new else self._resumed(before, now)
        if not is_new and cut is None and self._tail.is_rewritten():
            cut = self._cut_by_rewriting()
            now = self._manifest or now
        if is_new or cut is not None:
            self._tail.rewind()
            self._measured, self._last_step, self._edge = 0, -1, None
            self._edges.clear()
        total, told = planned(now.header)
        return Look(
            self._status(now),
            rows=self._rows(frozenset(now.measured_steps[self._measured :])),
            measured=self._measurements(now),
            cut=cut,
            is_new=is_new,
            name=str(_config(now.header).get("name") or self._name),
            kind="run folder",
            total=total,
            total_told=told,
            preconditioner=str(now.header.get("preconditioner") or ""),
            changed_at=self._changed_at(),
            happened=happened,
        )

    def past(self) -> Iterator[Row]:
        """All rows from the first on once more."""
        return (one for row in LossTail(self._path).rows() if (one := as_row(row)) is not None)

    @property
    def _name(self) -> str:
        return self._path.resolve().name

    def _read_manifest(self) -> Manifest:
        try:
            stat = (self._path / HEADER).stat()
            state = stat.st_mtime_ns, stat.st_size, stat.st_ino
        except OSError:
            state = None
        if self._manifest is None or state is None or state != self._file:
            # The file may be replaced between the two; then it is read once more than needed.
            self._manifest, self._file = Manifest.read(self._path), state
        return self._manifest

    def _resumed(self, before: Manifest | None, now: Manifest) -> tuple[int | None, tuple[str, ...]]:
        if before is None or len(now.resumes) <= len(before.resumes):
            return None, ()
        starts = [_start(one) for one in now.resumes[len(before.resumes) :]]
        happened = tuple(f"resumed from {start:,} completed updates" for start in starts)
        return (min(starts) if min(starts) < self._last_step else None), happened

    def _cut_by_rewriting(self) -> int:
        """The log is cut a moment after the header says from where; or it was changed by hand, and is read anew."""
        self._file = None
        resumes = self._read_manifest().resumes
        return _start(resumes[-1]) if resumes else 0

    def _status(self, now: Manifest) -> str:
        if now.status == "running" and not is_locked(self._path):
            return "interrupted"
        return now.status

    def _rows(self, measured: frozenset[int]) -> Iterator[Row]:
        for row in self._tail.rows():
            if (found := as_row(row)) is None:
                continue
            self._last_step = found.step
            if found.rate:
                self._edge = edge_of(found.rate, row.get("momentum"))
                if row[STEP] in measured:
                    self._edges[row[STEP]] = self._edge
            yield found

    def _measurements(self, now: Manifest) -> Iterator[Measured]:
        """To be taken after the rows, which know the learning rates."""
        while self._measured < len(now.measured_steps):
            try:
                values = measured_values(self._path, now, "eigenvalue", self._measured)
            except EigenflowError:
                return  # resumed meanwhile; the next look knows
            step = now.measured_steps[self._measured]
            self._measured += 1
            if values is not None and values.ndim == 1:
                edge = self._edges.pop(step, self._edge)
                yield Measured(step, tuple(float(one) for one in values[:LEADING]), edge)

    def _changed_at(self) -> float | None:
        for name in (LOSSES, HEADER):
            with contextlib.suppress(OSError):
                return (self._path / name).stat().st_mtime
        return None


def as_row(row: Mapping[str, Any]) -> Row | None:
    """A logged row; None if it has no loss. Its `step` counts the updates before the logged one."""
    if LOSS not in row:
        return None
    loss, rate = row[LOSS], row.get("learning_rate")
    return Row(row[STEP] + 1, float("nan" if loss is None else loss), None if rate is None else float(rate))


def edge_of(rate: float, momentum: Any) -> float:
    """The eigenvalue at which gradient descent, or heavy ball, becomes unstable."""
    beta = momentum if isinstance(momentum, int | float) and 0 <= momentum < 1 else 0.0
    return STABLE * (1.0 + beta) / rate


def planned(header: Mapping[str, Any]) -> tuple[int | None, str]:
    """Updates of the whole run as its header says it, and where; None where it does not."""
    train = _config(header).get("train")
    steps = train.get("steps") if isinstance(train, Mapping) else None
    if type(steps) is int and steps > 1:
        return steps, "the run's configuration"
    schedule = header.get("schedule")
    if isinstance(schedule, list) and schedule and type(schedule[-1]) is int and 1 < schedule[-1] < UNKNOWN_LENGTH - 1:
        return schedule[-1] + 1, "the last step at which it shall be measured"
    return None, ""


def _config(header: Mapping[str, Any]) -> Mapping[str, Any]:
    config = header.get("config")
    return config if isinstance(config, Mapping) else {}


def _start(resume: Mapping[str, Any]) -> int:
    start = resume.get("start")
    return start if type(start) is int else 0
