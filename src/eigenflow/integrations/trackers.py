"""Trackers: whatever a person logs to, behind one protocol, `log(metrics, step)` and `close()`.

None of the programs is imported: an object is known by the methods that it has. What a tracker raises never ends the
training: it is warned of once, and the others go on.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, SupportsFloat

from eigenflow.core.errors import ArgumentError, FileError
from eigenflow.core.writing import explain
from eigenflow.integrations.tracker_kinds import KINDS, PREFIX, MlflowClient, Tracker, program_of

__all__ = ["PREFIX", "JsonLines", "SafeTracker", "Tracker", "tracker_of"]

KNOWN = (
    "a TensorBoard SummaryWriter, a W&B run, the mlflow module or (MlflowClient(), run_id), a Trackio or SwanLab run, "
    "an Accelerator or one of its trackers, a logger of Lightning or torchtitan, an Aim run, a ClearML task, a Neptune "
    "run, a Comet experiment, a function of (metrics, step), the path of a file, or a list of these"
)


class SafeTracker:
    """One or several trackers, which never end the training.

    Numbers that are not finite are left out, and said once a name. What a tracker raises is warned of once.

    Args:
        trackers: By the name of their program.
    """

    def __init__(self, trackers: Iterable[tuple[str, Tracker]]) -> None:
        self.trackers = tuple(trackers)
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        return f"Tracker: {', '.join(name for name, _ in self.trackers) or 'none'}"

    def log(self, metrics: Mapping[str, SupportsFloat], step: int) -> None:
        """Note numbers at a step; names that do not begin with `eigenflow/` get it."""
        kept = self._finite(metrics)
        if kept:
            for name, tracker in self.trackers:
                self._do(name, "log", lambda one=tracker: one.log(dict(kept), int(step)))

    def artifact(self, path: str | Path, name: str = "eigenflow-report") -> None:
        """Keep a file, such as the report, beside the run; trackers that keep no files say so once."""
        for program, tracker in self.trackers:
            keep = getattr(tracker, "artifact", None)
            if keep is None:
                self._warn(f"{program}/artifact", f"{program} keeps no files, so {Path(path).name} is only at {path}.")
            else:
                self._do(program, "artifact", lambda keep=keep: keep(str(path), name))

    def close(self) -> None:
        """Flush all."""
        for name, tracker in self.trackers:
            self._do(name, "close", tracker.close)

    def _finite(self, metrics: Mapping[str, SupportsFloat]) -> dict[str, float]:
        found = {}
        for name, given in metrics.items():
            value = float(given)
            if isfinite(value):
                found[name if name.startswith(PREFIX) else PREFIX + name] = value
            else:
                self._warn(f"finite/{name}", f"`{name}` is {value} and is not logged; it is said once.")
        return found

    def _do(self, program: str, what: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # another program's trouble is not the training's
            told = f"{type(error).__name__}: {error}"
            self._warn(
                f"{program}/{what}",
                f"{program} could not {what}: {told[:300]}. Training goes on; this is said once.",
            )

    def _warn(self, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            warnings.warn(text, RuntimeWarning, stacklevel=4)


def tracker_of(target: Any) -> SafeTracker:
    """Take whatever a person logs to as a tracker.

    Args:
        target: A TensorBoard SummaryWriter; a W&B run; the `mlflow` module, or `(MlflowClient(), run_id)`; a Trackio or
            SwanLab run or module; an `Accelerator` or one of its trackers; a logger of Lightning; a torchtitan logger
            or `MetricsProcessor`; an Aim run; a ClearML task; a Neptune run; a Comet experiment; a function of
            `(metrics, step)`; the path of a file, to which a JSON object a call is appended; a list of these; or None.

    Returns:
        A tracker that never ends the training. It closes nothing that the user opened.

    Raises:
        ArgumentError: If it is none of these.

    Examples:
        >>> seen = []
        >>> tracker = tracker_of(lambda metrics, step: seen.append((step, metrics)))
        >>> tracker.log({"forecast/value": 2.5}, step=100)
        >>> seen
        [(100, {'eigenflow/forecast/value': 2.5})]
    """
    if target is None:
        return SafeTracker(())
    if isinstance(target, SafeTracker):
        return target
    if isinstance(target, tuple) and len(target) == 2 and hasattr(target[0], "log_batch"):
        return SafeTracker([("MLflow", MlflowClient(*target))])
    if isinstance(target, list | tuple | set):
        return SafeTracker(part for one in target for part in tracker_of(one).trackers)
    if isinstance(target, str | Path):
        return SafeTracker([("the file", JsonLines(target))])
    for name, is_kind, adapter in KINDS:
        if is_kind(target):
            return SafeTracker([(name or program_of(target), adapter(target))])
    raise ArgumentError(f"`tracker` must be {KNOWN}, but is {str(target)[:60]!r} ({type(target).__name__}).")


class JsonLines:
    """A file to which one JSON object a call is appended, each by one write."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            self._begin = b"" if _ends_with_line(self.path) else b"\n"  # a line that a crash cut off stays alone
        except OSError as error:
            raise FileError(explain(self.path, error)) from None

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Append the numbers."""
        self._append({"step": step, **metrics})

    def artifact(self, path: str, name: str) -> None:
        """Append where the file is."""
        self._append({"artifact": name, "path": path})

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _append(self, row: Mapping[str, Any]) -> None:
        if self._file < 0:
            raise FileError(f"`{self.path}` was closed.")
        data = self._begin + json.dumps(row).encode() + b"\n"
        self._begin = b""
        # The rest of a short write would be the rest of this line.
        while data:
            data = data[os.write(self._file, data) :]


def _ends_with_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
