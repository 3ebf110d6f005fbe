"""Logs in folders: runs of eigenflow, of trainers and trackers, tables and text logs, and folders of all of these."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from eigenflow.core.errors import ArgumentError, EigenflowError, FileError
from eigenflow.core.limits import within
from eigenflow.core.writing import explain
from eigenflow.forecast.reading.columns.recognise import recognise
from eigenflow.forecast.reading.files.one_file import TABLE_ENDINGS, load_file
from eigenflow.forecast.reading.files.tables import LogTable, joined
from eigenflow.forecast.reading.files.trackers import has_phases, read_events, read_mlflow

__all__ = ["load_logs"]

# Levels of folders within a folder that are searched, and entries of all.
DEEPEST, MOST_ENTRIES = 8, 100_000
# Files that may hold a log, and may as well hold anything else: read where nothing better is beside them.
_MAYBE = (".json", ".json.gz", ".log", ".log.gz", ".out", ".txt", ".dat", ".err")
_LIKELY = re.compile(
    r"(?i)log|metric|history|result|lcurve|train|loss|stdout|output|console|slurm|nohup|scalar|\.out$|\.err$"
)
_IGNORED = re.compile(r"(?i)\.|__|checkpoint|ckpt|weights?$|wandb$|node_modules$|code$")


def load_logs(path: Path, pattern: str | None = None, columns: Mapping[str, str] | None = None) -> list[LogTable]:
    """Read a file or a folder of any known kind into tables.

    Args:
        path: A file or a folder.
        pattern: A regular expression for lines of text logs.
        columns: Columns that the user named: of several files in a folder those are read that have what is needed.

    Raises:
        ArgumentError: If there is nothing that can be read.
    """
    try:
        is_there = path.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or with a NUL
        raise ArgumentError(f"{str(path)[:200]!r} is no path: {error}.") from None
    if not is_there:
        raise ArgumentError(
            f"{path} does not exist. Give a table, a trainer_state.json, an event file, a text log or a folder of them."
        )
    try:
        if not path.is_dir():
            return load_file(path, pattern)
        search = _Search(path, pattern)
        tables = list(_load_folder(path, search, 0))
        if not tables and (path / "wandb").is_dir():
            tables = list(_load_folder(path / "wandb", search, 0))
    except PermissionError as error:
        raise FileError(explain(path, error, "read")) from None
    if not tables:
        raise _nothing(path, search)
    within("curves", len(tables), f"{path}")
    if search.empty:
        names = ", ".join(str(one.relative_to(path)) for one in search.empty[:5])
        note = f"{path}: left out, without a scalar in their event files: {names}"
        tables[0] = replace(tables[0], notes=(*tables[0].notes, note))
    return _with_curves(path, tables, columns)


def _nothing(path: Path, search: "_Search") -> ArgumentError:
    if search.empty:
        read_events(search.empty[0])
    return ArgumentError(
        f"{path} holds no logs. Readable are folders with run.json (eigenflow), trainer_state.json, event files, "
        f"metrics/ (MLflow), tables ({', '.join(TABLE_ENDINGS)}), logs of training programs, or folders of those."
    )


def _with_curves(path: Path, tables: list[LogTable], columns: Mapping[str, str] | None) -> list[LogTable]:
    """Those that have the columns of a curve, if any has; the others are named."""
    if len(tables) == 1:
        return tables
    kept, others = [], []
    for table in tables:
        (kept if table.is_stream or _is_curve(table, columns) else others).append(table)
    if not kept or not others:
        return tables
    names = ", ".join(
        str(Path(table.file).relative_to(path)) if _is_in(table, path) else table.file for table in others[:5]
    )
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    note = f"{path}: left out, without columns of a loss and its steps: {names}{more}"
    return [replace(kept[0], notes=(*kept[0].notes, note)), *kept[1:]]


def _is_in(table: LogTable, path: Path) -> bool:
    return Path(table.file).is_relative_to(path)


def _is_curve(table: LogTable, columns: Mapping[str, str] | None) -> bool:
    try:
        recognise(table.frame, columns, table.file, has_tokens_per_step=True)
    except ArgumentError:
        return False
    return len(table.frame) > 0


@dataclass
class _Search:
    """What was asked for, and the folders and entries that were looked at."""

    root: Path
    pattern: str | None
    seen: set[Path] = field(default_factory=set)
    entries: int = 0
    empty: list[Path] = field(default_factory=list)

    def entries_of(self, folder: Path) -> list[Path]:
        """What may hold a log."""
        found = sorted(one for one in folder.iterdir() if not _IGNORED.match(one.name))
        self.entries += len(found)
        if self.entries > MOST_ENTRIES:
            raise ArgumentError(
                f"{self.root} holds more than {MOST_ENTRIES:,} files and folders. Give the folder of the logs alone."
            )
        return found


def _load_folder(path: Path, search: _Search, depth: int) -> Iterator[LogTable]:
    """The logs of a folder: those of its own kind if it is a run, else its files and what is in its folders."""
    real = path.resolve()
    if real in search.seen or depth > DEEPEST:
        return
    search.seen.add(real)
    run = _run_of(path)
    if run is not None:
        if search.pattern is not None:
            raise ArgumentError(
                f"{path} holds no text logs, so `pattern` (--pattern) cannot be used on it. Leave it out."
            )
        found = run()
        yield from found
        if found:
            return
        search.empty.append(path)
    inner = search.entries_of(path)
    yield from _tables_in([one for one in inner if one.is_file()], search.pattern)
    for one in inner:
        if one.is_dir():
            yield from _load_folder(one, search, depth + 1)


def _run_of(path: Path) -> Callable[[], Sequence[LogTable]] | None:
    """How the run is read that a folder is, if it is one."""
    if (path / "run.json").exists() and not (path / "trainer_state.json").exists():
        return lambda: [_run_folder(path)]
    if (path / "trainer_state.json").exists():
        return lambda: load_file(path / "trainer_state.json")
    checkpoints = sorted(path.glob("checkpoint-*/trainer_state.json"), key=lambda file: _number(file.parent.name))
    if checkpoints:  # the last one holds the whole history
        return lambda: load_file(checkpoints[-1])
    if any(path.glob("*tfevents*")) or has_phases(path):
        return lambda: read_events(path, may_be_empty=True)
    if (path / "metrics").is_dir() and _is_mlflow(path / "metrics"):
        return lambda: [read_mlflow([file for file in sorted((path / "metrics").rglob("*")) if file.is_file()])]
    if any((path / "plots" / "metrics").rglob("*.tsv")):
        return lambda: [_dvclive(path)]
    if any(path.glob("*.wandb")):
        return lambda: _wandb_folder(path)
    return None


def _is_mlflow(metrics: Path) -> bool:
    """Whether a folder is MLflow's: files of metrics, without endings."""
    files = [file for file in metrics.rglob("*") if file.is_file()]
    return not files or any(file.suffix.lower() not in {".csv", ".tsv", ".json", ".jsonl"} for file in files)


def _dvclive(path: Path) -> LogTable:
    """DVCLive's folder: one table a metric."""
    metrics = path / "plots" / "metrics"
    tables = {file.relative_to(metrics).with_suffix("").as_posix(): file for file in sorted(metrics.rglob("*.tsv"))}
    frames: list[pd.DataFrame] = [
        pd.DataFrame({"step": table.frame["step"], metric: table.frame.iloc[:, -1]})
        for metric, file in tables.items()
        for table in load_file(file)
        if "step" in table.frame and len(table.frame.columns) > 1
    ]
    if not frames:
        raise ArgumentError(
            f"{metrics} holds no metrics by step. DVCLive writes a table `step, METRIC` for each there."
        )
    frame = joined(frames)
    return LogTable(f"{path}", frame, np.arange(1, len(frame) + 1), is_sparse=True, name=path.resolve().name)


def _wandb_folder(path: Path) -> Sequence[LogTable]:
    """A run that W&B keeps on the disk: its old history, or what it printed; its own file is binary."""
    for name in ("files/wandb-history.jsonl", "files/output.log"):
        if (path / name).is_file():
            found = [replace(table, name=path.resolve().name) for table in load_file(path / name)]
            return [replace(table, notes=(*table.notes, f"{path}: read from {name}")) for table in found]
    return load_file(next(path.glob("*.wandb")))


def _tables_in(files: list[Path], pattern: str | None) -> Iterator[LogTable]:
    """The tables of a folder, or, if it has none, those of its other files that hold a log."""
    if pattern is not None:
        texts = [file for file in files if file.name.lower().endswith(_MAYBE) or not file.suffix]
        for file in texts:
            yield from load_file(file, pattern)
        return
    sure = [file for file in files if file.name.lower().endswith(TABLE_ENDINGS)]
    for file in sure:
        yield from load_file(file)
    if sure:
        return
    yield from _maybe_logs([file for file in files if file.name.lower().endswith(_MAYBE)])


def _maybe_logs(files: list[Path]) -> list[LogTable]:
    """The logs among files that may be anything; where a run is logged as JSON too, what it printed is not needed."""
    left_out: list[str] = []
    found: list[LogTable] = []
    for file in sorted(files, key=lambda one: ".json" not in one.name.lower()):
        is_json = ".json" in file.name.lower()
        if not _LIKELY.search(file.name):
            continue
        if not is_json and any(".json" in table.file.lower() for table in found):
            left_out.append(file.name)
            continue
        try:
            found += load_file(file)
        except EigenflowError:
            left_out.append(file.name)
    if found and left_out:
        names = f"{', '.join(left_out[:5])}{' ...' if len(left_out) > 5 else ''}"
        note = f"{files[0].parent}: left out, as they hold no log or one that is read already: {names}"
        found[0] = replace(found[0], notes=(*found[0].notes, note))
    return found


def _run_folder(path: Path) -> LogTable:
    from eigenflow.store import open_run

    frame = open_run(path).losses
    # `step` counts the updates before the logged one, so the row's rate is that of the next update: as in a table.
    return LogTable(
        f"{path}/losses.jsonl", frame, np.arange(1, len(frame) + 1), is_sparse=True, name=path.resolve().name
    )


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1
