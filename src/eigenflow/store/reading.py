"""Reading the committed part of `measurements.zarr` into memory, also while it is being written."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from eigenflow.core.errors import RunFolderError
from eigenflow.store.manifest import Manifest
from eigenflow.store.measurements import array_dims, constant_names, stored_array
from eigenflow.store.schema import MEASUREMENTS, STEP

__all__ = ["load_measurements", "select_dims"]


def load_measurements(folder: Path, manifest: Manifest, positions: list[int]) -> xr.Dataset:
    """Load measurements from a run folder.

    Args:
        folder: The run folder.
        manifest: As read when the run was opened.
        positions: Which of `manifest.measured_steps` to load.

    Returns:
        All variables over `step`, and the constants of the run as coordinates.

    Raises:
        RunFolderError: If a file cannot be decoded, or the run was resumed from an earlier step
            since `manifest` was read.
    """
    if not positions:
        return xr.Dataset(coords={STEP: np.zeros(0, dtype=np.int64)})
    try:
        dataset = _load(folder, manifest, positions)
    except Exception as error:
        _check_not_resumed(folder, manifest)
        raise RunFolderError(
            f"`{folder / MEASUREMENTS}` cannot be read ({type(error).__name__}: {error}). A file in it was "
            f"changed or damaged after it was written: restore it from a backup, or resume the run from "
            f"an earlier step to measure again."
        ) from error
    _check_not_resumed(folder, manifest)
    return dataset


def _load(folder: Path, manifest: Manifest, positions: list[int]) -> xr.Dataset:
    group = zarr.open_group(folder / MEASUREMENTS, mode="r", use_consolidated=False)
    is_whole = len(positions) == positions[-1] + 1
    selection = slice(0, len(positions)) if is_whole else np.asarray(positions)
    variables: dict[str, xr.Variable] = {}
    constants: dict[str, xr.Variable] = {}
    for name in manifest.measured_variables:
        array = stored_array(group, name)
        values = array.oindex[(selection,) + (slice(None),) * (array.ndim - 1)]
        variables[name] = _as_xarray(array, values)
    for name in constant_names(group):
        array = stored_array(group, name)
        constants[name] = _as_xarray(array, array[...])
    stored = variables[STEP].values.tolist()
    expected = [manifest.measured_steps[index] for index in positions]
    if stored != expected:
        raise ValueError(f"the arrays hold steps {stored}, run.json says {expected}")
    coords = {STEP: variables.pop(STEP), **constants}
    return xr.Dataset(variables, coords=coords)


def _as_xarray(array: zarr.Array[Any], values: Any) -> xr.Variable:
    return xr.Variable(array_dims(array), np.asarray(values), attrs=array.attrs.asdict())


def _check_not_resumed(folder: Path, manifest: Manifest) -> None:
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
