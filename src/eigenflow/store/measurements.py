"""Writing `measurements.zarr`: an xarray dataset that grows along `step`.

Each variable is a zarr array with one chunk a step, so an append makes new files and touches none of
the old ones. While a run is written its arrays are longer than what was measured, which spares a
rewrite of every array's metadata at each append; `seal` cuts them to size and makes the group one
that `xarray.open_zarr` opens as it is. Which steps count is not said here but in `run.json`.

Each file is written under a temporary name and renamed, so neither metadata nor a chunk is ever
half-written by a kill.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.store.chunks import delete_chunks_from
from eigenflow.store.folder import in_words, remove_leftovers, write_json
from eigenflow.store.layout import COORDINATES, Layout, StoredArray, checksum_of_step, read_layout
from eigenflow.store.metadata import GROUP_METADATA, describe_array, describe_group, gather, scatter
from eigenflow.store.schema import STEP, Variable, is_variable_name

__all__ = ["MeasurementWriter"]

_FIRST_CAPACITY = 16
_STEP = Variable((), np.array(0), "update", "completed updates of the network")


class MeasurementWriter:
    """The appending end of `measurements.zarr`. Its folder's lock must be held."""

    def __init__(self, path: Path) -> None:
        """Begin a group; nothing is written before the first measurement."""
        self._path = path
        self._constants: dict[str, Variable] = {}
        self._layout: Layout | None = None
        self._layout_sum: str | None = None
        self._length = 0
        self._is_sealed = False

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays that grow along `step`, itself among them."""
        return () if self._layout is None else tuple(self._layout.growing)

    def reopen(self, names: tuple[str, ...], count: int) -> None:
        """Go on with a group of which the first `count` measurements are committed.

        All that lies behind them is deleted; with a count of 0, the group. Nothing in it may be a link.

        Raises:
            RunFolderError: If the group is not as eigenflow writes it; nothing is changed then.
            FileError: If the system refuses.
        """
        with in_words(self._path):
            if count == 0:
                self._delete()
                return
            layout = read_layout(self._path, names, count)
            self._constants = {name: _as_variable(array) for name, array in layout.constants.items()}
            self._unseal()
            self._cut(layout, count)
            self._layout = layout

    def _cut(self, layout: Layout, count: int) -> None:
        for array in layout.growing.values():
            delete_chunks_from(array.path, count)
            array.set_length(count)
        self._length = count

    def _delete(self) -> None:
        if self._path.exists():
            shutil.rmtree(self._path)

    def check(self, variables: Mapping[str, Variable], constants: Mapping[str, Variable]) -> None:
        """Refuse what cannot be written behind the measurements that are there.

        Raises:
            ArgumentError: If names, axes or dtypes differ from those of the first measurement, or a
                name is not usable.
            ShapeError: If a shape differs from the first measurement's, or axes of one name differ
                in length.
            NonFiniteError: If a value is NaN or infinite; names the variable.
        """
        for name, variable in {**variables, **constants}.items():
            _check_finite(name, variable)
        if self._layout is not None:
            self._check_same(self._layout, variables)
            self._check_same_constants(constants)
        else:
            _check_first(variables, constants)

    def write(
        self,
        index: int,
        step: int,
        variables: Mapping[str, Variable],
        constants: Mapping[str, Variable],
    ) -> tuple[str, str]:
        """Write one checked measurement at a place along `step`, over whatever lies there uncommitted.

        Returns:
            The sums of the layout and of this measurement.
        """
        with in_words(self._path):
            layout = self._layout or self._create(variables, constants)
            if self._is_sealed:
                self._unseal()
            if self._length <= index:
                length = max(2 * self._length, index + 1, _FIRST_CAPACITY)
                for array in layout.growing.values():
                    array.set_length(length)
                self._length = length
            if self._layout_sum is None:
                self._layout_sum = layout.checksum()
            values = {STEP: np.array(step)} | {name: variable.values for name, variable in variables.items()}
            chunks = {name: array.write_chunk(index, values[name]) for name, array in layout.growing.items()}
            return self._layout_sum, checksum_of_step(chunks)

    def seal(self, count: int) -> None:
        """Cut the arrays to `count` measurements and gather their metadata, for other readers."""
        if self._layout is None or self._is_sealed:
            return
        with in_words(self._path):
            self._cut(self._layout, count)
            remove_leftovers(self._path, recursive=False)  # zarr would take them for members of the group
            gather(self._path, (*self._layout.growing, *self._layout.constants))
        self._is_sealed = True

    def _unseal(self) -> None:
        scatter(self._path)
        self._is_sealed = False

    def _create(self, variables: Mapping[str, Variable], constants: Mapping[str, Variable]) -> Layout:
        # With nothing committed, whatever is there was left by a kill while it was made.
        self._delete()
        self._path.mkdir(parents=True)
        for name, constant in constants.items():
            self._make_array(name, constant, length=None)
        growing = {STEP: _STEP, **variables}
        for name, variable in growing.items():
            self._make_array(name, variable, length=_FIRST_CAPACITY)
        attributes = {COORDINATES: " ".join(constants)} if constants else {}
        write_json(self._path / GROUP_METADATA, describe_group(attributes))
        layout = read_layout(self._path, tuple(growing), 0)
        for name, array in layout.constants.items():
            array.write_chunk(None, constants[name].values)
        self._constants, self._length = dict(constants), _FIRST_CAPACITY
        self._layout, self._layout_sum, self._is_sealed = layout, None, False
        return layout

    def _make_array(self, name: str, variable: Variable, *, length: int | None) -> None:
        (self._path / name).mkdir()
        write_json(self._path / name / GROUP_METADATA, describe_array(name, variable, length), sync=False)

    @staticmethod
    def _check_same(layout: Layout, variables: Mapping[str, Variable]) -> None:
        expected = set(layout.growing) - {STEP}
        if set(variables) != expected:
            raise ArgumentError(
                f"`variables` must be those of the first measurement, but misses "
                f"{sorted(expected - set(variables))} and adds {sorted(set(variables) - expected)}. "
                f"Measure the same at every step, or record another run."
            )
        for name, variable in variables.items():
            array = layout.growing[name]
            _check_alike(name, variable, array.dims[1:], array.shape, array.dtype)

    def _check_same_constants(self, constants: Mapping[str, Variable]) -> None:
        for name, constant in constants.items():
            stored = self._constants.get(name)
            if stored is None:
                raise ArgumentError(
                    f"Constant '{name}' was not given with the first measurement; stored are "
                    f"{sorted(self._constants)}. Give every constant with the first measurement."
                )
            _check_alike(name, constant, stored.dims, stored.values.shape, stored.values.dtype)
            if not np.array_equal(stored.values, constant.values):
                raise ArgumentError(
                    f"Constant '{name}' differs from the one given with the first measurement. "
                    f"Make it a variable if it changes over a run."
                )


def _as_variable(array: StoredArray) -> Variable:
    units, long_name = (str(array.attributes.get(key, "")) for key in ("units", "long_name"))
    return Variable(array.dims, array.unpack(array.read_chunk()), units, long_name)


def _check_finite(name: str, variable: Variable) -> None:
    wrong = variable.values.size - np.count_nonzero(np.isfinite(variable.values))
    if wrong:
        raise NonFiniteError(
            f"Variable '{name}' must be finite, but {wrong} of its {variable.values.size} values are NaN "
            f"or infinite. If training diverged, end the run with `set_status('failed')`; "
            f"where a value is not known, store a mask beside it."
        )


def _check_alike(
    name: str, variable: Variable, dims: tuple[str, ...], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    came = (variable.dims, variable.values.shape, variable.values.dtype)
    if came == (dims, shape, dtype):
        return
    kind = ShapeError if came[1] != shape else ArgumentError
    raise kind(
        f"Variable '{name}' must have dims {dims}, shape {shape} and dtype {dtype} as in the first "
        f"measurement, but has dims {came[0]}, shape {came[1]} and dtype {came[2]}. "
        f"Pad it to a fixed size with a mask beside it, or record another run."
    )


def _check_first(variables: Mapping[str, Variable], constants: Mapping[str, Variable]) -> None:
    both = sorted(set(variables) & set(constants))
    if both or not variables:
        raise ArgumentError(
            f"`variables` must hold at least one variable and none of `constants`, but "
            f"{f'shares {both}' if both else 'is empty'}. Give each quantity once."
        )
    sizes: dict[str, tuple[int, str]] = {}
    everything = {**variables, **constants}
    axes = {dim for variable in everything.values() for dim in variable.dims}
    for name, variable in everything.items():
        is_own_axis = name in constants and variable.dims == (name,)
        if not is_variable_name(name) or name == STEP or (name in axes and not is_own_axis):
            raise ArgumentError(
                f"A variable cannot be named '{name}': names are ASCII identifiers, not `{STEP}`, and the "
                f"name of an axis only for a constant along it. Rename the variable."
            )
        for dim, size in zip(variable.dims, variable.values.shape, strict=True):
            first_size, first_name = sizes.setdefault(dim, (size, name))
            if size != first_size:
                raise ShapeError(
                    f"Axis '{dim}' must have one length, but has {first_size} in '{first_name}' and "
                    f"{size} in '{name}'. Give axes of different lengths different names."
                )
