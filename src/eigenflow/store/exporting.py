"""A run in the files of other programs: CSV, Parquet, netCDF."""

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from eigenflow.core.checks import check_kind
from eigenflow.core.errors import ArgumentError, FileError
from eigenflow.core.writing import FORMAT, TEMPORARY_PREFIX, check_free, write_whole
from eigenflow.store.folder import in_words
from eigenflow.store.run import Run
from eigenflow.store.tables import Column, Table, loss_columns, run_tables

__all__ = ["COLUMNS", "ExportFormat", "Exported", "export_run"]

ExportFormat = Literal["csv", "parquet", "netcdf"]
# Beside the tables: what they and their columns are.
COLUMNS = "columns.json"
# Beginnings by which a spreadsheet takes a text for a formula; and the mark itself, so that it can be taken off again.
_NO_TEXT = ("=", "+", "-", "@", "\t", "\r", "'")
_MARK = "'"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: In the order in which they were written.
        rows: Of each table, by name.
        content_bytes: Of all files.
    """

    files: tuple[Path, ...]
    rows: Mapping[str, int]
    content_bytes: int


def export_run(run: Run, out: str | Path, kind: ExportFormat = "csv", *, replace: bool = False) -> Exported:
    """Write what was recorded for other programs, every number with all its digits.

    As "csv" and "parquet" a folder of long tables: `losses`, and one table for all measurements that share their axes,
    such as `step_mode`, with those axes as its first columns; `columns.json` holds units and meanings. Tables over
    pairs leave out rows of zeros. As "netcdf" one file (netCDF-4): the measurements, and `losses` as a group of it.

    Args:
        run: The run, which may still go on: what it held when it was opened is written.
        out: The folder, made if missing; for "netcdf" the file.
        kind: "csv" needs nothing more, "parquet" pyarrow, "netcdf" h5netcdf and h5py (extra `export`).
        replace: Whether files that exist may be replaced.

    Returns:
        The files, and how many rows each table has.

    Raises:
        ArgumentError: If `kind` is unknown, or a file exists and is not to be replaced, or lies in the run folder.
        FileError: If the system refuses, or a package is missing; the message says how to install it.
        RunFolderError: If the run is damaged.
        LimitError: If its arrays would take more memory than `record_bytes` allows.
    """
    check_kind("run", run, Run, "a run, as open_run gives it")
    if kind not in get_args(ExportFormat):
        raise ArgumentError(f"`kind` must be one of {', '.join(get_args(ExportFormat))}, but is {kind!r}.")
    target = Path(out)
    if target.resolve().is_relative_to(run.path.resolve()):
        raise ArgumentError(f"`out` is '{target}', in the run folder '{run.path}'. Give a path outside of it.")
    if kind == "netcdf":
        return _export_netcdf(run, target, replace=replace)
    write = _parquet_writer() if kind == "parquet" else _csv_of
    tables = run_tables(run)
    return _write_tables(run, tables, target, kind, write, replace=replace)


def _write_tables(
    run: Run,
    tables: Mapping[str, Table],
    folder: Path,
    kind: str,
    write: Callable[[Table, Mapping[str, str]], bytes],
    *,
    replace: bool,
) -> Exported:
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"`out` must be a folder for {kind}, but '{folder}' is a file. Give another path.")
    with in_words(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.{kind}" for name in tables}
    for path in (*paths.values(), folder / COLUMNS):
        check_free(path, option="out", replace=replace)
    told = _told(run)
    size = 0
    for name, table in tables.items():
        content = write(table, told)
        size += len(content)
        write_whole(paths[name], content, replace=replace)
    columns = _columns_json(told, tables, kind)
    write_whole(folder / COLUMNS, columns, replace=replace)
    rows = {name: table.rows for name, table in tables.items()}
    return Exported((*paths.values(), folder / COLUMNS), rows, size + len(columns.encode()))


def _told(run: Run) -> dict[str, str]:
    from eigenflow import __version__

    return {"eigenflow": __version__, "status": run.status, "kind": run.kind, "clock": run.clock}


def _columns_json(told: Mapping[str, str], tables: Mapping[str, Table], kind: str) -> str:
    described = {
        name: {
            "keys": list(table.keys),
            "rows": table.rows,
            "zero_rows_left_out": table.is_sparse,
            "columns": {key: {"type": _type(one), **one.attributes()} for key, one in table.columns.items()},
        }
        for name, table in tables.items()
    }
    marked = {"text_mark": f"a {_MARK} stands before texts that begin with one of = + - @ {_MARK}, a tab or a return"}
    return json.dumps(
        {"format": FORMAT, "run": dict(told), **(marked if kind == "csv" else {}), "tables": described},
        ensure_ascii=False,
        indent=2,
    )


def _type(column: Column) -> str:
    return "text" if column.is_text else column.values.dtype.name


def _csv_of(table: Table, told: Mapping[str, str]) -> bytes:
    """Floats by the fewest digits that give them back; nothing where there is no number; texts never a formula."""
    if not table.rows:
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerow(map(_marked, table.columns))
        return stream.getvalue().encode()
    shown = {
        _marked(name): [_marked(value) for value in one.values] if one.is_text else one.values
        for name, one in table.columns.items()
    }
    return pd.DataFrame(shown).to_csv(index=False, lineterminator="\n").encode()


def _marked(text: str | None) -> str | None:
    return _MARK + text if text is not None and text.startswith(_NO_TEXT) else text


def _parquet_writer() -> Callable[[Table, Mapping[str, str]], bytes]:
    pyarrow = _needed("pyarrow", "pyarrow", "Parquet")
    from pyarrow import parquet

    def write(table: Table, told: Mapping[str, str]) -> bytes:
        fields, arrays = [], []
        for name, one in table.columns.items():
            array = pyarrow.array(one.values.tolist(), pyarrow.string()) if one.is_text else pyarrow.array(one.values)
            about = {key: str(value) for key, value in one.attributes().items()}
            fields.append(pyarrow.field(name, array.type, metadata=about))
            arrays.append(array)
        schema = pyarrow.schema(fields, metadata={f"eigenflow_{key}": value for key, value in told.items()})
        stream = pyarrow.BufferOutputStream()
        parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), stream, compression="zstd")
        return stream.getvalue().to_pybytes()

    return write


def _export_netcdf(run: Run, path: Path, *, replace: bool) -> Exported:
    for name in ("h5netcdf", "h5py"):
        _needed(name, "h5netcdf and h5py", "netCDF")
    check_free(path, option="out", replace=replace)
    data = run.measurements.copy()
    data.attrs = {f"eigenflow_{key}": value for key, value in _told(run).items()}
    for variable in data.variables.values():
        variable.attrs = {
            key: int(value) if isinstance(value, bool) else value for key, value in variable.attrs.items()
        }
    losses = _loss_dataset(run.losses)
    # The library writes piece by piece; only what is complete comes to its place.
    with in_words(path), tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=path.parent) as folder:
        made = Path(folder, "run.nc")
        data.to_netcdf(made, mode="w", engine="h5netcdf", encoding=_packed(data))
        losses.to_netcdf(made, mode="a", group="losses", engine="h5netcdf", encoding=_packed(losses))
        content = made.read_bytes()
    write_whole(path, content, replace=replace)
    return Exported((path,), {"losses": losses.sizes["row"], "measurements": data.sizes["step"]}, len(content))


def _packed(data: xr.Dataset) -> dict[Any, dict[str, Any]]:
    """Numbers packed without loss, and none of them taken for a missing one."""
    return {
        name: {"zlib": True, "complevel": 4, "shuffle": True, "_FillValue": None}
        for name, variable in data.variables.items()
        if variable.ndim and variable.size and variable.dtype != object
    }


def _loss_dataset(losses: pd.DataFrame) -> xr.Dataset:
    variables, taken = {}, set[str]()
    for index, (name, one) in enumerate(loss_columns(losses).items()):
        known = _netcdf_name(name, index, taken)
        taken.add(known)
        values = np.array(["" if text is None else text for text in one.values], object) if one.is_text else one.values
        about = one.attributes() | ({} if known == name else {"logged_as": name})
        variables[known] = xr.Variable(("row",), values, attrs=about)
    return xr.Dataset(variables)


def _netcdf_name(name: str, index: int, taken: Iterable[str]) -> str:
    """A name that netCDF allows: no slash, which would begin a group."""
    known = name.replace("/", ".")
    is_allowed = known.isprintable() and known == known.strip() and known not in ("", ".", "..", "row")
    return known if is_allowed and known not in taken else f"column_{index}"


def _needed(module: str, packages: str, what: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise FileError(
            f"{what} needs {packages}, of which {module} is not installed. Install it with: "
            f"pip install 'eigenflow[export]'. CSV needs nothing more."
        ) from None
