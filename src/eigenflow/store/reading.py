"""Reading the committed part of `measurements.zarr` into memory, also while it is being written."""

from pathlib import Path

import numpy as np
import xarray as xr

from eigenflow.core.errors import RunFolderError
from eigenflow.store.layout import Layout, StoredArray, checksum_of_step, read_layout
from eigenflow.store.manifest import Manifest
from eigenflow.store.schema import MEASUREMENTS, STEP

__all__ = ["check_not_resumed", "load_measurements", "select_dims"]


def load_measurements(folder: Path, manifest: Manifest, positions: list[int]) -> xr.Dataset:
    """Load measurements from a run folder.

    Args:
        folder: The run folder.
        manifest: As read when the run was opened.
        positions: Which of `manifest.measured_steps` to load.

    Returns:
        All variables over `step`, and the constants of the run as coordinates.

    Raises:
        RunFolderError: If a file is not as eigenflow writes it, was changed since, or the run was resumed from an
            earlier step since `manifest` was read.
        LimitError: If the arrays would take more memory than `record_bytes` allows.
        FileError: If the system refuses.
    """
    if not positions:
        return xr.Dataset(coords={STEP: np.zeros(0, dtype=np.int64)})
    try:
        dataset = _load(folder, manifest, positions)
    except RunFolderError:
        check_not_resumed(folder, manifest)
        raise
    check_not_resumed(folder, manifest)
    return dataset


def _load(folder: Path, manifest: Manifest, positions: list[int]) -> xr.Dataset:
    layout = read_layout(folder / MEASUREMENTS, manifest.measured_variables, len(manifest.measured_steps))
    constants = {name: array.unpack(array.read_chunk()) for name, array in layout.constants.items()}
    if manifest.checksums is not None and layout.checksum() != manifest.checksums.layout:
        raise RunFolderError(_explain_changed(folder, "a `zarr.json`, or a constant of the run,"))
    values = dict[str, np.ndarray]()
    for place, index in enumerate(positions):
        chunks = read_step(folder, manifest, layout, index)
        for name, array in layout.growing.items():
            value = array.unpack(chunks[name], index)
            if name not in values:  # no memory is taken for a shape that the first chunk does not have
                values[name] = np.empty((len(positions), *value.shape), value.dtype.newbyteorder("="))
            values[name][place] = value
    stored = values[STEP].tolist()
    expected = [manifest.measured_steps[index] for index in positions]
    if stored != expected:
        raise RunFolderError(_explain_changed(folder, f"`{STEP}` (it holds {stored}, but `run.json` says {expected})"))
    variables = {name: _as_xarray(array, values[name]) for name, array in layout.growing.items()}
    coords = {name: _as_xarray(layout.constants[name], value) for name, value in constants.items()}
    try:
        return xr.Dataset(variables, coords={STEP: variables.pop(STEP), **coords})
    except ValueError as error:
        raise RunFolderError(_explain_changed(folder, f"the axes of an array ({error})")) from None


def read_step(folder: Path, manifest: Manifest, layout: Layout, index: int) -> dict[str, bytes]:
    """The packed values of one measurement, by name of the array.

    Raises:
        RunFolderError: If one was changed after it was written.
    """
    chunks = {name: array.read_chunk(index) for name, array in layout.growing.items()}
    sums = manifest.checksums
    if sums is not None and checksum_of_step(chunks) != sums.measurements[index]:
        raise RunFolderError(_explain_changed(folder, f"the measurement of step {manifest.measured_steps[index]}"))
    return chunks


def _as_xarray(array: StoredArray, values: np.ndarray) -> xr.Variable:
    return xr.Variable(array.dims, values, attrs=dict(array.attributes))


def _explain_changed(folder: Path, what: str) -> str:
    return (
        f"`{folder / MEASUREMENTS}`: {what} was changed or damaged after it was written. Restore it from a backup, or "
        f"resume the run from an earlier step to measure again."
    )


def check_not_resumed(folder: Path, manifest: Manifest) -> None:
    """Refuse what may be of two records.

    Raises:
        RunFolderError: If the run was resumed since `manifest` was read.
    """
    if len(Manifest.read(folder).resumes) != len(manifest.resumes):
        raise RunFolderError(
            f"Run `{folder}` was resumed while it was open here, and may hold other measurements now. Open it again."
        )


def select_dims(dataset: xr.Dataset, dims: set[str]) -> xr.Dataset:
    """Keep the variables that have one of `dims`, and those with one value a step."""
    dropped = [
        name
        for name, variable in dataset.variables.items()
        if variable.dims != (STEP,) and not dims & set(variable.dims)
    ]
    return dataset.drop_vars(dropped)
