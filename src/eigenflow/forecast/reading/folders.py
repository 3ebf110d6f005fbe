"""Logs in folders: runs of eigenflow, of the Hugging Face trainer, of TensorBoard and MLflow, and tables by the run."""

from pathlib import Path

import numpy as np

from eigenflow.core.errors import ArgumentError, FileError
from eigenflow.core.limits import within
from eigenflow.core.reading import require_regular
from eigenflow.core.writing import explain
from eigenflow.forecast.reading.tables import TABLE_ENDINGS, LogTable, read_json_log, read_table
from eigenflow.forecast.reading.trackers import read_events, read_mlflow

__all__ = ["load_logs"]


def load_logs(path: Path) -> list[LogTable]:
    """Read a file or a folder of any known kind into tables.

    Raises:
        ArgumentError: If there is nothing that can be read.
    """
    try:
        is_there = path.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or with a NUL
        raise ArgumentError(f"{str(path)[:200]!r} is no path: {error}.") from None
    if not is_there:
        raise ArgumentError(
            f"{path} does not exist. Give a table, a trainer_state.json, an event file or a folder of them."
        )
    try:
        return _load_folder(path) if path.is_dir() else [_load_file(path)]
    except PermissionError as error:
        raise FileError(explain(path, error, "read")) from None


def _load_file(path: Path) -> LogTable:
    require_regular(path)
    if "tfevents" in path.name:
        return read_events(path)
    if path.name.lower().endswith(TABLE_ENDINGS):
        return read_table(path)
    if path.suffix.lower() == ".json":
        return read_json_log(path)
    if path.parent.name == "metrics":
        return read_mlflow([path])
    raise ArgumentError(
        f"{path}: unknown kind of file. Readable are {', '.join(TABLE_ENDINGS)}, .json (trainer_state.json, rows, "
        f"metrics), TensorBoard's event files (tfevents) and folders of these."
    )


def _load_folder(path: Path) -> list[LogTable]:
    if (path / "run.json").exists():
        return [_run_folder(path)]
    if (path / "trainer_state.json").exists():
        return [read_json_log(path / "trainer_state.json")]
    checkpoints = sorted(path.glob("checkpoint-*/trainer_state.json"), key=lambda file: _number(file.parent.name))
    if checkpoints:  # the last one holds the whole history
        return [read_json_log(checkpoints[-1])]
    if any(path.glob("*tfevents*")):
        return [read_events(path)]
    if (path / "metrics").is_dir():
        return [read_mlflow([file for file in sorted((path / "metrics").rglob("*")) if file.is_file()])]
    inner = [file for file in sorted(path.iterdir()) if file.name.lower().endswith(TABLE_ENDINGS)]
    if inner:
        return [read_table(file) for file in inner]
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _is_log_folder(folder)]
    within("curves", len(folders), f"{path}")
    if folders:
        return [table for folder in folders for table in _load_folder(folder)]
    raise ArgumentError(
        f"{path} holds no logs. Readable are folders with run.json (eigenflow), trainer_state.json, event files, "
        f"metrics/ (MLflow), tables ({', '.join(TABLE_ENDINGS)}), or folders of those."
    )


def _is_log_folder(path: Path) -> bool:
    return (
        (path / "run.json").exists()
        or (path / "trainer_state.json").exists()
        or (path / "metrics").is_dir()
        or any(path.glob("*tfevents*"))
        or any(path.glob("checkpoint-*/trainer_state.json"))
    )


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
