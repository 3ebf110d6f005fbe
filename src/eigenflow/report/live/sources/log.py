"""A growing log of any kind that forecasts are made from: read anew as a whole whenever it has changed."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.forecast.reading.growing import GrowingRun, read_growing
from eigenflow.report.live.sources.look import Look, Row

__all__ = ["LogOptions", "LogSource"]

# A last line without an end is taken for whole once nothing has changed for so long.
SETTLED_S = 10.0
# A log is read again after a rest of so many times what reading it took: large ones cost at most a tenth of a core.
RESTS = 9.0
# Of a folder, newest files that tell whether it has changed.
MOST_FILES = 20_000
PACKED = (".gz", ".bz2", ".xz", ".parquet")
UNITS = {"epoch": "epochs", "interval": "logged rows"}
NONE = GrowingRun("", "", np.zeros(0, np.int64), np.zeros(0), np.zeros(0), None, "update")


@dataclass(frozen=True)
class LogOptions:
    """How a log is read; as for `read_curves`.

    Attributes:
        run: The run to watch, where there are several. None: the one that grew last.
        columns: Column of a quantity where names are not recognised.
        tokens_per_step: Tokens per update.
        pattern: A regular expression for lines of text.
    """

    run: str | None = None
    columns: Mapping[str, str] | None = None
    tokens_per_step: float | None = None
    pattern: str | None = None


class LogSource:
    """Looks at a log.

    Args:
        path: A file, or a folder of logs.
        options: How it is read.
        clock: Seconds since 1970.
    """

    def __init__(self, path: Path, options: LogOptions, clock: Callable[[], float] = time.time) -> None:
        self._path, self._options, self._clock = path, options, clock
        self._state: object = None
        self._seen = NONE
        self._counts: dict[str, int] = {}
        self._problem = ""
        self._changed_at: float | None = None
        self._rests_until = 0.0
        self._is_cut_short = False

    def look(self) -> Look:
        """Give what is new."""
        state, changed_at = _state_of(self._path)
        if state is None:
            self._state = None
            return Look("waiting", name=self._name, kind="log", problem=f"{self._path} does not exist yet.")
        is_same = state == self._state and not (self._is_cut_short and self._clock() - changed_at > SETTLED_S)
        if is_same or time.monotonic() < self._rests_until:
            return self._nothing_new()
        begun = time.monotonic()
        try:
            run, others = self._read(state, changed_at)
        except EigenflowError as error:
            # A file may be half-written; it is read again when it has changed.
            self._state, self._problem = state, str(error)
            return self._nothing_new()
        finally:
            self._rests_until = time.monotonic() + RESTS * (time.monotonic() - begun)
        self._state, self._problem, self._changed_at = state, "", changed_at
        return self._news(run, others)

    def past(self) -> Iterator[Row]:
        """All rows from the first on once more."""
        return _rows(self._seen, 0)

    @property
    def _name(self) -> str:
        return self._path.resolve().name

    def _nothing_new(self) -> Look:
        is_read = len(self._seen.steps) > 0
        return self._told(Look("running" if is_read else "waiting", problem=self._problem))

    def _told(self, look: Look) -> Look:
        look.kind, look.name, look.changed_at = "log", self._seen.name or self._name, self._changed_at
        look.unit = UNITS.get(self._seen.unit, "updates")
        if self._seen.planned is not None and self._seen.unit != "interval":
            look.total, look.total_told = self._seen.planned, "the log says it"
            if len(self._seen.steps) and self._seen.steps[-1] >= self._seen.planned:
                look.status = "complete"
        return look

    def _read(self, state: object, changed_at: float) -> tuple[GrowingRun, list[str]]:
        """The run that is watched, and the names of the others."""
        options = self._options
        is_settled = self._clock() - changed_at > SETTLED_S
        self._is_cut_short = not is_settled and not _ends_in_a_line(self._path)
        runs = read_growing(
            self._path,
            columns=options.columns,
            tokens_per_step=options.tokens_per_step,
            pattern=options.pattern,
            without_last=self._is_cut_short,
        )
        chosen = self._chosen(runs)
        self._counts = {run.name: len(run.steps) for run in runs}
        others = [run.name for run in runs if run is not chosen]
        if not self._is_cut_short and _state_of(self._path)[0] != state:
            # Written while it was read: where the reading ended, a line may have been half-written.
            chosen = replace(chosen, steps=chosen.steps[:-1], losses=chosen.losses[:-1], rates=chosen.rates[:-1])
        return chosen, others

    def _chosen(self, runs: Sequence[GrowingRun]) -> GrowingRun:
        if self._options.run is not None:
            found = next((run for run in runs if run.name == self._options.run), None)
            if found is None:
                names = ", ".join(run.name for run in runs[:10])
                raise ArgumentError(f"`--run` must be a run of the log, {names}, but is {self._options.run!r}.")
            return found
        grew = [run for run in runs if len(run.steps) != self._counts.get(run.name, 0)]
        same = [run for run in grew if run.name == self._seen.name]
        return (same or grew or [run for run in runs if run.name == self._seen.name] or runs)[-1]

    def _news(self, run: GrowingRun, others: list[str]) -> Look:
        before, self._seen = self._seen, run
        is_new = before is not NONE and run.name != before.name
        kept = 0 if is_new else _common(before, run)
        cut = None
        if not is_new and kept < len(before.steps):
            is_new = kept == 0
            cut = None if is_new else int(run.steps[kept - 1])
        first = 0 if is_new or cut is not None else kept
        happened = ()
        if cut is not None:
            happened = (f"the log goes on from step {cut:,}, what came after it was replaced",)
        if before is NONE and others:
            happened = (f"{len(others)} other runs in this log: {', '.join(others[:5])}; choose one with --run",)
        look = Look("running", rows=_rows(run, first), cut=cut, is_new=is_new, happened=happened)
        return self._told(look)


def _common(before: GrowingRun, now: GrowingRun) -> int:
    """Points from the beginning that are the same."""
    count = min(len(before.steps), len(now.steps))
    same = before.steps[:count] == now.steps[:count]
    same &= (before.losses[:count] == now.losses[:count]) | (
        np.isnan(before.losses[:count]) & np.isnan(now.losses[:count])
    )
    return count if same.all() else int(same.argmin())


def _rows(run: GrowingRun, first: int) -> Iterator[Row]:
    for step, loss, rate in zip(
        run.steps[first:].tolist(), run.losses[first:].tolist(), run.rates[first:].tolist(), strict=True
    ):
        yield Row(step, loss, None if rate != rate else rate)


def _state_of(path: Path) -> tuple[object, float]:
    """What changes when a log is written, and when that was last; None if there is nothing."""
    try:
        if not path.is_dir():
            stat = path.stat()
            return (stat.st_size, stat.st_mtime_ns, stat.st_ino), stat.st_mtime
        files: list[tuple[Any, ...]] = []
        for one in path.rglob("*"):
            if one.is_file():
                stat = one.stat()
                files.append((str(one), stat.st_size, stat.st_mtime_ns))
            if len(files) >= MOST_FILES:
                break
        return (tuple(files), max(time_ns for *_, time_ns in files) / 1e9) if files else (None, 0.0)
    except OSError:
        return None, 0.0


def _ends_in_a_line(path: Path) -> bool:
    """Whether the last line of a file is whole, or it has none that could be cut: packed, in JSON, a folder."""
    if path.is_dir() or path.suffix.lower() in (*PACKED, ".json") or "tfevents" in path.name:
        return True
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) == 0:
                return True
            file.seek(-1, 2)
            return file.read(1) in (b"\n", b"\r")
    except OSError:
        return True
