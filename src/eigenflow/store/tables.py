"""What a run holds as plain tables: the logged losses, and one table for all measurements that share their axes."""

import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from eigenflow.core.errors import RunFolderError
from eigenflow.store.run import Run
from eigenflow.store.schema import STEP, is_variable_name

__all__ = ["Column", "Table", "loss_columns", "run_tables"]

_KEYS = {
    "mode": "number of the mode, from 0, largest eigenvalue first",
    "shell": "number of the shell, from 0 at the smallest eigenvalues: shell k lies between the edges k - 1 and k",
    "shell_from": "number of the shell that it comes from, counted as `shell`",
    "leading": "number of the mode, from 0, among those that are followed",
    "leading_from": "number of the mode that it comes from, counted as `leading`",
    "edge": "number of the edge, from 0",
}
_OF_LOSSES = {
    "step": ("update", "completed updates before this one"),
    "time": ("time", "sum of learning rates before the update"),
    "loss": ("loss", "training loss that the update was computed from"),
    "learning_rate": ("time", "learning rate of the update"),
    "batch_size": ("1", "samples in the update's batch"),
}
# Axes besides `step` from which on a table leaves out rows of zeros: matrices over shells are nearly empty.
_SPARSE_FROM = 2


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a table.

    Attributes:
        values: Booleans, integers or floats; or objects, each a text or None where there is none.
        units: Of the values; "" if nobody has said.
        long_name: What they are, in words; "" likewise.
        label_dependent: Whether they depend on labels of eigenvectors; None where that is no question.
    """

    values: np.ndarray
    units: str = ""
    long_name: str = ""
    label_dependent: bool | None = None

    @property
    def is_text(self) -> bool:
        """Whether it holds texts."""
        return self.values.dtype == object

    def attributes(self) -> dict[str, Any]:
        """Of what is known of it, in JSON types."""
        told = {"units": self.units, "long_name": self.long_name, "label_dependent": self.label_dependent}
        return {name: value for name, value in told.items() if value not in ("", None)}


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one length.

    Attributes:
        keys: Names of the columns that say which row it is.
        columns: By name, the keys first.
        is_sparse: Whether rows are left out that hold nothing but zeros beside their keys.
    """

    keys: tuple[str, ...]
    columns: Mapping[str, Column]
    is_sparse: bool = False

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())).values)


def run_tables(run: Run) -> dict[str, Table]:
    """All that was recorded, as tables by name: `losses`, and the others by their keys, such as `step_mode`.

    Raises:
        RunFolderError: If the folder is damaged, or an axis has a name that eigenflow does not write.
    """
    data = run.measurements
    shared: dict[tuple[str, ...], list[Hashable]] = {(STEP,): []}
    for name, variable in data.variables.items():
        if name not in data.dims:
            shared.setdefault(tuple(map(str, variable.dims)), []).append(name)
    for dim in map(str, data.dims):
        # The edges of shells stand on an axis of their own, with nothing else on it.
        if dim in data.coords:
            shared.setdefault((dim,), [])
    tables = {"losses": Table((STEP,), loss_columns(run.losses))}
    for dims, names in shared.items():
        if not all(map(is_variable_name, dims)):
            raise RunFolderError(f"Run `{run.path}` has axes that eigenflow does not write: {dims}. It is damaged.")
        name = "_".join(dims) or "constants"
        tables[name if name != "losses" else "losses_"] = _measured_table(data, dims, names)
    return tables


def loss_columns(losses: pd.DataFrame) -> dict[str, Column]:
    """The logged rows by column. What is neither a number nor a text stands as JSON text, as it was logged."""
    return {
        _sound(str(name)): Column(_plain(series), *_OF_LOSSES.get(str(name), ("", "")))
        for name, series in losses.items()
    }


def _plain(series: pd.Series) -> np.ndarray:
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biuf":
        return series.to_numpy()
    texts = [_text(value) for value in series.tolist()]
    found = np.empty(len(texts), dtype=object)
    found[:] = texts
    return found


def _text(value: Any) -> str | None:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return _sound(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _sound(text: str) -> str:
    """Without halves of characters, which have no UTF-8, and NUL, which ends a text in netCDF."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _measured_table(data: xr.Dataset, dims: tuple[str, ...], names: Iterable[Hashable]) -> Table:
    shape = tuple(data.sizes[dim] for dim in dims)
    arrays = {str(name): data[name].to_numpy() for name in names}
    is_sparse = len(set(dims) - {STEP}) >= _SPARSE_FROM
    if is_sparse:
        # By their bytes, so that -0.0 and NaN stay.
        kept = np.zeros(shape, dtype=bool)
        for array in arrays.values():
            kept |= (array != 0) | np.signbit(array) if array.dtype.kind == "f" else array != 0
        places = np.nonzero(kept)
    else:
        places = tuple(axis.ravel() for axis in np.indices(shape))
    columns = {dim: _key(data, dim, place) for dim, place in zip(dims, places, strict=True)}
    for name, array in arrays.items():
        attributes = data[name].attrs
        told = attributes.get("label_dependent")
        columns[name] = Column(
            array[places] if dims else array.reshape(1),
            str(attributes.get("units", "")),
            str(attributes.get("long_name", "")),
            None if told is None else bool(told),
        )
    return Table(dims, columns, is_sparse)


def _key(data: xr.Dataset, dim: str, place: np.ndarray) -> Column:
    if dim not in data.coords:
        return Column(place.astype(np.int64), "1", _KEYS.get(dim, f"position along `{dim}`, from 0"))
    attributes = data[dim].attrs
    return Column(data[dim].to_numpy()[place], str(attributes.get("units", "")), str(attributes.get("long_name", "")))
