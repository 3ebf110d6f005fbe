"""What trackers write themselves: TensorBoard's event files and MLflow's store of metrics."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.core.reading import read_text, require_regular
from eigenflow.forecast.reading.tables import LogTable, from_metrics

__all__ = ["read_events", "read_mlflow"]

Pairs = list[tuple[float | int, float | int]]


def read_events(path: Path) -> LogTable:
    """Read the scalars of an event file, or of all in a folder in the order of their names.

    Raises:
        ArgumentError: If there are none, a record is damaged, or TensorBoard is not installed.
    """
    files = sorted(path.glob("*tfevents*")) if path.is_dir() else [path]
    metrics: dict[str, Pairs] = {}
    notes: list[str] = []
    entries = 0
    for file in files:
        require_regular(file)
        for step, tag, value in _scalars(file, notes):
            entries += 1
            within("rows", entries, f"{file}")
            metrics.setdefault(tag, []).append((step, value))
    if not metrics:
        raise ArgumentError(f"{path} holds no scalars.")
    folder = path if path.is_dir() else path.parent
    return from_metrics(str(path), folder.resolve().name, metrics, tuple(notes))


def _scalars(file: Path, notes: list[str]) -> Iterator[tuple[int, str, float]]:
    try:
        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    except ModuleNotFoundError:
        raise ArgumentError(
            f"{file}: event files are read by TensorBoard, which is not installed. Install it with: "
            f"pip install -c constraints.txt 'eigenflow[logs]'"
        ) from None
    events = LegacyEventFileLoader(str(file)).Load()
    read = 0
    while True:
        try:
            event = next(events, None)
            if event is None:
                break
            found = [(value.tag, _number_of(value)) for value in event.summary.value]
        except Exception as error:  # protobuf and numpy have many kinds for one damaged record
            raise ArgumentError(
                f"{file}, record {read + 1}, is damaged: {str(error).splitlines()[0] if str(error) else type(error)}."
            ) from None
        read += 1
        yield from ((int(event.step), tag, value) for tag, value in found if value is not None)
    written, is_whole = _records(file)
    if read < written:
        raise ArgumentError(
            f"{file}, record {read + 1} of {written}, is damaged: its checksum is another one. Cut the file before it."
        )
    if not is_whole:
        notes.append(f"{file} ends within a record; the {read} before it are read")


def _number_of(value: Any) -> float | None:
    """A scalar, from either of the two forms in which there are some; None for anything else."""
    from tensorboard.util.tensor_util import make_ndarray

    if value.HasField("simple_value"):
        return float(value.simple_value)
    # Of a tensor the shape is looked at first: a few bytes may claim any size.
    if not value.HasField("tensor") or any(dim.size != 1 for dim in value.tensor.tensor_shape.dim):
        return None
    array = make_ndarray(value.tensor)
    return float(array.item()) if array.size == 1 and array.dtype.kind in "fiu" else None


def _records(file: Path) -> tuple[int, bool]:
    """Number of whole records by their lengths, and whether the file ends with one."""
    size, at, count = file.stat().st_size, 0, 0
    with file.open("rb") as content:
        while at + 16 <= size:
            content.seek(at)
            (length,) = struct.unpack("<Q", content.read(8))
            if at + 16 + length > size:
                return count, False
            at, count = at + 16 + length, count + 1
    return count, at == size


def read_mlflow(files: Sequence[Path]) -> LogTable:
    """Read MLflow's own store: one file a metric, lines of `timestamp value step`.

    Raises:
        ArgumentError: If there is no file, or a line is another one.
    """
    if not files:
        raise ArgumentError("The folder `metrics` is empty. MLflow writes a file for each metric there.")
    metrics: dict[str, Pairs] = {}
    for file in files:
        pairs: Pairs = []
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            try:
                _, value, step = line.split()[:3]
                pairs.append((float(step), float(value)))
            except ValueError:
                raise ArgumentError(
                    f"{file}, row {number}: a line must be `timestamp value step`, but is {line[:60]!r}."
                ) from None
        within("rows", len(pairs), f"{file}")
        parts = file.parts
        metrics["/".join(parts[len(parts) - 1 - parts[::-1].index("metrics") + 1 :])] = pairs
    folder = files[0].parent
    while folder.name != "metrics":
        folder = folder.parent
    return from_metrics(str(folder), folder.resolve().parent.name, metrics)
