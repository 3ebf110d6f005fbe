"""What a recorder writes into a run's header, and what it takes from a folder to go on."""

import platform
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import eigenflow
from eigenflow.core.errors import RunFolderError
from eigenflow.store import open_run
from eigenflow.trajectory.rows import end_of_record

__all__ = ["ORIGIN", "TRACKER", "Restored", "cut_rows", "require_same_operator", "restore", "run_header", "save_states"]

# What a tracker carries from one measurement to the next, so that a resumed run goes on with the same labels.
TRACKER = "tracker.safetensors"
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


def require_same_operator(path: str | Path, header: Mapping[str, Any]) -> None:
    """Refuse to go on with a run by measuring another operator.

    Raises:
        RunFolderError: If one record would hold both J J^T and J P^(-1) J^T, or those of two optimizers.
    """
    stored = open_run(path)
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
    states = [load_file(str(path)) for path in (folder / TRACKER, folder / ORIGIN) if path.is_file()]
    # Later modes than the state that the run goes on from would be a look ahead.
    states = [state for state in states if int(state.pop("step")) < next_step]
    return time + max(0, next_step - end) * length, edges, names, states


def save_states(folder: Path, step: int, states: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Replace the files of a method's state, each as a whole."""
    for name, state in states.items():
        temporary = folder / (name + ".tmp")
        save_file({**state, "step": torch.tensor(step)}, str(temporary))
        temporary.replace(folder / name)


def cut_rows(state: Mapping[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """A state with its rows put together, or cut into each process's part."""
    return {name: change(x) if name.rsplit(".", 1)[-1] in ROWS else x for name, x in state.items()}
