"""What trackers write themselves: TensorBoard's event files and MLflow's store of metrics."""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.core.limits import within
from eigenflow.core.reading import read_text, require_regular
from eigenflow.forecast.reading.files.tables import LogTable, from_metrics
from eigenflow.forecast.reading.rows.hidden_runs import begins_anew

__all__ = ["has_phases", "is_event_file", "read_events", "read_mlflow"]

Pairs = list[tuple[float | int, float | int]]
# Values of a stream that make a run of their own.
SHORTEST = 3


def is_event_file(path: Path, head: bytes) -> bool:
    """Whether a file is one of TensorBoard's, by its name or its first record."""
    return "tfevents" in path.name or b"brain.Event:" in head[:64]


def read_events(path: Path, *, may_be_empty: bool = False) -> list[LogTable]:
    """Read the scalars of an event file, or of all in a folder and in its `train` and `validation`, in order of name.

    Files of one folder are pieces of one run, unless a later one begins anew after as many steps.

    Args:
        path: A file or a folder.
        may_be_empty: Give no table where there are no scalars.

    Raises:
        ArgumentError: If there are none, a record is damaged, or TensorBoard is not installed.
    """
    notes: list[str] = []
    streams = _streams(path, notes)
    if not streams:
        if may_be_empty:
            return []
        raise ArgumentError(
            f"{path} holds no scalars (texts, pictures and histograms are left out). Give the file of the run's losses."
        )
    name = _run_name(path if path.is_dir() else path.parent)
    if len(streams) == 1:
        return [_events_table(path, name, streams[0], notes)]
    notes.append(
        f"{path}: its files begin anew {len(streams) - 1} times after as many steps: {len(streams)} runs, not pieces"
    )
    return [_events_table(path, f"{name}-{k}", one, notes if k == 1 else []) for k, one in enumerate(streams, start=1)]


def _streams(path: Path, notes: list[str]) -> list[dict[str, Pairs]]:
    """Steps and values by tag, of each run that the files hold."""
    streams: list[dict[str, Pairs]] = []
    entries = 0
    for phase, file in _event_files(path):
        require_regular(file)
        found: dict[str, Pairs] = {}
        for step, tag, value in _scalars(file, notes):
            entries += 1
            within("rows", entries, f"{file}")
            found.setdefault(_named(tag, phase), []).append((step, value))
        if not streams or _is_other_run(streams[-1], found):
            streams.append({})
        for tag, pairs in found.items():
            streams[-1].setdefault(tag, []).extend(pairs)
    return [one for one in streams if one]


# Folders within a run, by what they hold: those of Keras, and of PyTorch's `add_scalars("loss", {"train": ...})`.
_PHASE = re.compile(r"(?i)(?:\w*(?:loss|acc|metric|lr)\w*_)?(train(?:ing)?|val(?:id(?:ation)?)?|eval|test)")


def _phase_of(folder: Path) -> str | None:
    """What goes before the tags in a folder that holds but a phase of its run; None for a run."""
    found = _PHASE.fullmatch(folder.name)
    if found is None:
        return None
    word = found[1].lower()
    return "" if word.startswith("train") else "val_" if word.startswith("val") else f"{word}_"


def has_phases(folder: Path) -> bool:
    """Whether a folder holds one run whose training and validation are in folders of their own."""
    phases = [_phase_of(one) for one in folder.iterdir() if one.is_dir() and any(one.glob("*tfevents*"))]
    return "" in phases and None not in phases


def _event_files(path: Path) -> list[tuple[str, Path]]:
    if not path.is_dir():
        return [("", path)]
    files = [("", file) for file in sorted(path.glob("*tfevents*"))]
    for inner in sorted(path.iterdir()) if has_phases(path) else ():
        files += [(_phase_of(inner) or "", file) for file in sorted(inner.glob("*tfevents*"))]
    return files


def _named(tag: str, phase: str) -> str:
    """The tag, with the phase that its folder says."""
    return f"{phase}{tag.removeprefix('epoch_')}" if phase else tag


def _run_name(folder: Path) -> str:
    """The folder's name, or that of the run around it, where it is but a phase."""
    found = folder.resolve()
    return found.parent.name if _phase_of(found) is not None and found.parent.name else found.name


def _is_other_run(before: Mapping[str, Pairs], found: Mapping[str, Pairs]) -> bool:
    """Whether the streams of a file are those of another run: they replace those before, which went nearly as far."""
    for tag, pairs in found.items():
        if len(before.get(tag, ())) >= SHORTEST and len(pairs) >= SHORTEST:
            steps = np.array([step for step, _ in before[tag]])
            if begins_anew(steps, int(pairs[0][0])) and steps.max() >= 0.5 * max(step for step, _ in pairs):
                return True
    return False


def _events_table(path: Path, name: str, streams: dict[str, Pairs], notes: Sequence[str]) -> LogTable:
    """A table of streams; Keras logs by the epoch, from 0, under names of its own."""
    if not any(tag.removeprefix("val_") in {"epoch_loss", "loss"} and tag != "loss" for tag in streams) or not any(
        tag.startswith("epoch_") for tag in streams
    ):
        return from_metrics(f"{path}", name, streams, tuple(notes))
    kept = {tag: pairs for tag, pairs in streams.items() if tag.startswith(("epoch_", "val_"))}
    kept = {tag: pairs for tag, pairs in kept.items() if not tag.endswith("_vs_iterations")}
    table = from_metrics(
        f"{path}", name, {tag.removeprefix("epoch_"): pairs for tag, pairs in kept.items()}, tuple(notes)
    )
    return replace(table, frame=table.frame.rename(columns={"step": "epoch"}))


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
    return from_metrics(str(folder), _mlflow_name(folder.resolve().parent), metrics)


def _mlflow_name(run: Path) -> str:
    """The name that the run was given, else its id."""
    try:
        return read_text(run / "tags" / "mlflow.runName").strip()[:200] or run.name
    except (EigenflowError, OSError):
        return run.name
