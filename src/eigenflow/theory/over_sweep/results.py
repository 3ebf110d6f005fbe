"""The dataset of a sweep as zarr: in a folder, or on object storage."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from zarr.abc.store import Store

from eigenflow.core.errors import ArgumentError, FileError, RunFolderError
from eigenflow.core.writing import explain

__all__ = ["open_results", "write_results"]

Place = str | Path | Store
SCHEMES = ("s3", "gs", "az", "file", "http", "https", "memory")


def write_results(data: xr.Dataset, place: Place) -> None:
    """Write a dataset as zarr; what was there under the same name is replaced as a whole.

    Args:
        data: As from `sweep_dataset`.
        place: A folder; a URL such as s3://bucket/path, gs://, az:// or file:// (needs obstore, credentials from the
            environment); or a store of zarr itself.

    Raises:
        ArgumentError: If the URL is of no known kind.
        FileError: If the system or the storage refuses.
    """
    kept = data.assign({name: _writable(values) for name, values in data.data_vars.items()})
    kept = kept.assign_coords({name: _writable(values) for name, values in data.coords.items()})
    try:
        if isinstance(place, str | Path) and "://" not in str(place):
            _replace_folder(kept, Path(place))
        else:
            kept.to_zarr(_store(place), mode="w", zarr_format=3, consolidated=False)
    except OSError as error:
        raise FileError(explain(str(place), error, "written")) from None
    except Exception as error:
        if type(error).__module__.startswith("obstore"):
            raise FileError(
                f"`{place}` cannot be written: {str(error).splitlines()[0]}. Check address and rights."
            ) from None
        raise


def open_results(place: Place) -> xr.Dataset:
    """Open what `write_results` wrote; values are read when they are asked for.

    Raises:
        RunFolderError: If there is no dataset.
    """
    target = str(place) if isinstance(place, str | Path) and "://" not in str(place) else _store(place, read_only=True)
    try:
        data = xr.open_zarr(target, consolidated=False)
        # Texts of a fixed length, which all of numpy and xarray takes.
        texts = {name: values for name, values in data.variables.items() if values.dtype.kind == "T"}
        return data.assign({name: (v.dims, v.values.astype(object).astype(str), v.attrs) for name, v in texts.items()})
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise RunFolderError(f"`{place}` holds no dataset of a sweep ({error}). `eigenflow sweep` writes it.") from None


def _writable(values: xr.DataArray) -> xr.DataArray:
    """Texts of any length: those of one fixed length are not part of zarr's specification."""
    if values.dtype.kind != "U":
        return values
    return values.astype(np.dtypes.StringDType())


def _replace_folder(data: xr.Dataset, folder: Path) -> None:
    """Beside its place first, so that a reader finds the old dataset or the new one."""
    beside = folder.with_name(f".tmp-{folder.name}")
    for old in (beside, beside.with_name(f"{beside.name}-old")):
        shutil.rmtree(old, ignore_errors=True)
    data.to_zarr(str(beside), mode="w", zarr_format=3, consolidated=False)
    if folder.exists():
        if not (folder / "zarr.json").is_file():
            shutil.rmtree(beside)
            raise RunFolderError(f"`{folder}` is there, and is no dataset. Give another place with --results.")
        folder.rename(beside.with_name(f"{beside.name}-old"))
    beside.rename(folder)
    shutil.rmtree(beside.with_name(f"{beside.name}-old"), ignore_errors=True)


def _store(place: Place, *, read_only: bool = False) -> Store:
    if isinstance(place, Store):
        return place
    from obstore.store import from_url
    from zarr.storage import ObjectStore

    url = str(place)
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise ArgumentError(f"`--results` must be a folder or a URL of one of {known}, but is '{url}'.")
    options: Mapping[str, Any] = {"mkdir": True} if scheme == "file" and not read_only else {}
    return ObjectStore(from_url(url, **options), read_only=read_only)
