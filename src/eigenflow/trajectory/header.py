"""What a recorder writes into a run's header, and what it takes from a folder to go on."""

import platform
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

import eigenflow
from eigenflow.core.errors import RunFolderError
from eigenflow.store import Run, RunWriter, open_run
from eigenflow.trajectory.rows import end_of_record

__all__ = [
    "FLUSHED",
    "ORIGIN",
    "TRACKER",
    "Restored",
    "cut_rows",
    "go_back",
    "keep_flushed",
    "pack_state",
    "read_state",
    "require_resumable",
    "restore",
    "run_header",
    "save_states",
]

# What a tracker carries from one measurement to the next, so that a resumed run goes on with the same labels.
TRACKER = "tracker.safetensors"
# The same as at the last flush, if it has moved on since: a run that was killed goes on from a checkpoint of then.
FLUSHED = "tracker-flushed.safetensors"
# What it keeps of the first measurement.
ORIGIN = "origin.safetensors"
# Tensors of these files that are rows over the error, by the last part of their names: whole in the file, however many
# processes share them.
ROWS = ("vectors", "corrected", "scouts")

# Time, shell edges, names of variables, and the method's state, whole.
Restored = tuple[float, np.ndarray | None, frozenset[str] | None, list[dict[str, Tensor]]]


def run_header(
    config: Mapping[str, Any] | None, probe: Mapping[str, Any], schedule: list[int], method: Mapping[str, Any]
) -> dict[str, Any]:
    """The header of a run: what was measured how, by which versions, on which machine."""
    return {
        "config": dict(config or {}),
        "probe": probe,
        "schedule": schedule,
        **method,
        "versions": {
            "eigenflow": eigenflow.__version__,
            "python": sys.version.split()[0],
            **{name: version(name) for name in ("torch", "numpy", "scipy", "xarray", "zarr")},
        },
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
        },
    }


def require_resumable(path: str | Path, header: Mapping[str, Any]) -> None:
    """Refuse, before anything is dropped, to go on by measuring another operator or from changed files.

    Raises:
        RunFolderError: If one record would hold both J J^T and J P^(-1) J^T, or those of two optimizers; or if a file
            of the method's state was changed or deleted.
    """
    stored = open_run(path)
    for name in (TRACKER, FLUSHED, ORIGIN):
        read_state(stored, name)
    before, now = stored.header.get("preconditioner"), header["preconditioner"]
    if stored.measured_steps and before != now:
        raise RunFolderError(
            f"Run `{path}` was measured with preconditioner={before!r}, but would go on with {now!r}: two operators in "
            f"one record. Resume it with the same preconditioner, or record into another path."
        )


def restore(folder: Path, next_step: int) -> Restored:
    """Read what a recorder needs to go on from `next_step` completed updates.

    Time goes on over updates that nobody recorded as if they had been as long as the last recorded one.
    """
    run = open_run(folder)
    end, time, length = end_of_record(run.losses)
    edges, names = None, None
    if len(run.measured_steps):
        edges = run.measurements["edge"].values
        names = frozenset(str(name) for name in run.measurements.data_vars)
    found = [read_state(run, name) for name in (TRACKER, ORIGIN)]
    # Later modes than the state that the run goes on from would be a look ahead.
    states = [state for step, state in filter(None, found) if step < next_step]
    return time + max(0, next_step - end) * length, edges, names, states


def keep_flushed(writer: RunWriter) -> None:
    """Before it is replaced: keep the state that a checkpoint of the last flush goes on from."""
    content = open_run(writer.path).read_file(TRACKER)
    if content is not None:
        writer.write_file(FLUSHED, content)


def go_back(writer: RunWriter, next_step: int) -> bool:
    """Put the state of the last flush in place of one that is later than the step that a run goes on from.

    Returns:
        Whether the state that now is in place is of the run as it goes on.
    """
    run = open_run(writer.path)
    now, flushed = (read_state(run, name) for name in (TRACKER, FLUSHED))
    if now is None or now[0] < next_step:
        return now is not None
    if flushed is None or flushed[0] >= next_step:
        return False
    content = run.read_file(FLUSHED)
    assert content is not None
    writer.write_file(TRACKER, content)
    return True


def save_states(writer: RunWriter, step: int, states: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Replace the files of a method's state, each as a whole."""
    for name, state in states.items():
        writer.write_file(name, pack_state(step, state))


def pack_state(step: int, state: Mapping[str, Tensor]) -> bytes:
    """Tensors and the step that they are of, as a safetensors file."""
    return save({**state, "step": torch.tensor(step)})


def read_state(run: Run, name: str) -> tuple[int, dict[str, Tensor]] | None:
    """What `pack_state` made, from a file of a run folder; None if there is none.

    Raises:
        RunFolderError: If it was changed or deleted since it was written, or is no such file.
    """
    content = run.read_file(name)
    if content is None:
        return None
    try:
        state = load(content)
        step = state.pop("step")
        if step.dtype != torch.int64 or step.numel() != 1:
            raise ValueError("its `step` is no whole number")
        return int(step), state
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise RunFolderError(
            f"`{run.path / name}` is damaged or was not written by eigenflow ({type(error).__name__}: {error}). "
            f"Restore it from a backup, or delete it and take the folder as it is: "
            f"`eigenflow.store.accept_run({str(run.path)!r})`."
        ) from None


def cut_rows(state: Mapping[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """A state with its rows put together, or cut into each process's part."""
    return {name: change(x) if name.rsplit(".", 1)[-1] in ROWS else x for name, x in state.items()}
