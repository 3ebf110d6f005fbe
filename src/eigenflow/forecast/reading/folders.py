"""Logs in folders: runs of eigenflow, of the Hugging Face trainer, of TensorBoard and MLflow, and tables by the run."""

from pathlib import Path

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.tables import TABLE_ENDINGS, LogTable, from_metrics, read_json_log, read_table

__all__ = ["load_logs"]


def load_logs(path: Path) -> list[LogTable]:
    """Read a file or a folder of any known kind into tables.

    Raises:
        ArgumentError: If there is nothing that can be read.
    """
    if not path.exists():
        raise ArgumentError(
            f"{path} does not exist. Give a table, a trainer_state.json, an event file or a folder of them."
        )
    return [_load_file(path)] if path.is_file() else _load_folder(path)


def _load_file(path: Path) -> LogTable:
    if "tfevents" in path.name:
        return _read_events(path)
    if path.name.lower().endswith(TABLE_ENDINGS):
        return read_table(path)
    if path.suffix.lower() == ".json":
        return read_json_log(path)
    if path.parent.name == "metrics":
        return _mlflow_metrics([path])
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
        return [_read_events(path)]
    if (path / "metrics").is_dir():
        return [_mlflow_metrics([file for file in sorted((path / "metrics").rglob("*")) if file.is_file()])]
    inner = [file for file in sorted(path.iterdir()) if file.name.lower().endswith(TABLE_ENDINGS)]
    if inner:
        return [read_table(file) for file in inner]
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _is_log_folder(folder)]
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


def _read_events(path: Path) -> LogTable:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray
    except ModuleNotFoundError:
        raise ArgumentError(
            f"{path}: event files are read by TensorBoard, which is not installed. Install it with: "
            f"pip install -c constraints.txt 'eigenflow[logs]'"
        ) from None

    # Restarts are stitched, and reported, with those of all other formats.
    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=False)
    events.Reload()
    tags = events.Tags()
    metrics = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
    for tag in tags["tensors"]:  # TensorFlow 2 writes its scalars as tensors
        pairs = [(e.step, make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)]
        if pairs and all(value.size == 1 for _, value in pairs):
            metrics[tag] = [(step, float(value.item())) for step, value in pairs]
    if not metrics:
        raise ArgumentError(f"{path} holds no scalars.")
    folder = path if path.is_dir() else path.parent
    return from_metrics(str(path), folder.resolve().name, metrics)


def _mlflow_metrics(files: list[Path]) -> LogTable:
    """MLflow's own store: one file a metric, lines of `timestamp value step`."""
    metrics: dict[str, list[tuple[float, float]]] = {}
    for file in files:
        pairs = []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                _, value, step = line.split()[:3]
                pairs.append((float(step), float(value)))
            except ValueError:
                raise ArgumentError(
                    f"{file}, row {number}: a line must be `timestamp value step`, but is {line!r}."
                ) from None
        parts = file.parts
        key = "/".join(parts[len(parts) - 1 - parts[::-1].index("metrics") + 1 :])
        metrics[key] = pairs
    folder = files[0].parent
    while folder.name != "metrics":
        folder = folder.parent
    return from_metrics(str(folder), folder.resolve().parent.name, metrics)


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1
