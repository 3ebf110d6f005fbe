"""What `export_run` writes, read back with other libraries: every bit, every unit, and nothing else."""

import csv
import json
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pyarrow import parquet

from eigenflow.core.errors import ArgumentError, FileError, RunFolderError
from eigenflow.store import RunFolderWarning, RunWriter, Variable, export_run, open_run, record_size
from report.recorded import record_run
from store.checks import open_quietly
from store.recording import EDGES, HEADER, MODES, SHELLS, arrays_at, constants, record, row_at, variables_at

STEPS = 7
MEASURED = [0, 2, 4, 6]
TABLES = {"losses", "step", "step_mode", "step_shell", "step_shell_shell_from", "edge"}
# What other programs trip over: signs of zero, the smallest and largest numbers, digits beyond those of a table.
ODD = np.array([-0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 1 / 3])
TEXTS = ["=1+1", "+2", "-3", "@SUM(A1)", "\t=1", "'quoted", "λ, Ω: große Schritte", 'a "b"\nc', "plain", ""]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "Läufe, λ"
    with RunWriter.create(folder, header=HEADER) as writer:
        record(writer, 0, STEPS)
    return open_run(folder)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Odd numbers, every kind of number, and texts that a spreadsheet would calculate."""
    folder = tmp_path_factory.mktemp("export") / "odd"
    with RunWriter.create(folder, header={"config": {"name": "=1+1"}}) as writer:
        for step, text in enumerate(TEXTS):
            values = {
                "half": Variable((), np.asarray(np.float32(0.1) * step), "1", "Anteil, µ"),
                "small": Variable(("mode",), ODD * (-1) ** step, "1 / time", "odd numbers"),
                "large": Variable(("mode",), np.full(5, 2**62 + 1), "1", "beyond 53 bits"),
                "is_odd": Variable(("mode",), np.arange(5) % 2 == step % 2, "1", "truth"),
                "pair": Variable(("mode", "mode_from"), np.diag(ODD[[1, 2, 3, 4, 0]]), "1", "nearly empty"),
            }
            writer.append(step, values)
            loss = None if step == 3 else 0.1 + step
            reason = {"reason": "nan"} if loss is None else {}
            writer.log({"step": step, "loss": loss, "note": text, "=eval/acc": 0.5, "tags": [step, "ü"], **reason})
    return open_run(folder)


def same_bits(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


def filled(frame: pd.DataFrame, data: xr.Dataset, name: str) -> np.ndarray:
    """A variable put together again from a long table: rows that are left out are zeros."""
    dims = data[name].dims
    whole = np.zeros(data[name].shape, data[name].dtype)
    places = [np.searchsorted(data[dim], frame[dim]) if dim in data.coords else frame[dim] for dim in dims]
    whole[tuple(np.asarray(place) for place in places)] = frame[name].to_numpy(data[name].dtype)
    return whole


def table_of(data: xr.Dataset, name: str) -> str:
    return "_".join(map(str, data[name].dims))


def test_tables_share_axes(run, tmp_path):
    made = export_run(run, tmp_path / "new" / "out", "csv")
    assert {path.stem for path in made.files} == TABLES | {"columns"}
    assert made.content_bytes == sum(path.stat().st_size for path in made.files)
    assert made.rows["losses"] == STEPS and made.rows["step_mode"] == len(MEASURED) * MODES
    with (tmp_path / "new" / "out" / "step_mode.csv").open(newline="") as lines:
        rows = list(csv.reader(lines))
    assert rows[0] == ["step", "mode", "eigenvalue", "is_resolved"]
    assert [float(row[2]) for row in rows[1:]] == [x for step in MEASURED for x in arrays_at(step)["eigenvalue"]]
    assert [row[3] for row in rows[1:]] == [str(x) for step in MEASURED for x in arrays_at(step)["is_resolved"]]
    assert pd.read_csv(tmp_path / "new" / "out" / "losses.csv").to_dict("records") == [row_at(k) for k in range(STEPS)]


@pytest.mark.parametrize("name", ["run", "odd"])
def test_csv_gives_every_bit_back(name, request, tmp_path):
    run = request.getfixturevalue(name)
    data = run.measurements
    export_run(run, tmp_path, "csv")
    for variable in data.data_vars:
        frame = pd.read_csv(tmp_path / f"{table_of(data, variable)}.csv")
        same_bits(filled(frame, data, variable), data[variable])


@pytest.mark.parametrize("name", ["run", "odd"])
def test_parquet_gives_every_bit_type_and_unit_back(name, request, tmp_path):
    run = request.getfixturevalue(name)
    data = run.measurements
    export_run(run, tmp_path, "parquet")
    for variable in data.data_vars:
        table = parquet.read_table(tmp_path / f"{table_of(data, variable)}.parquet")
        column = table[variable].to_numpy()
        assert column.dtype == data[variable].dtype
        same_bits(filled(table.to_pandas(), data, variable), data[variable])
        about = {key.decode(): value.decode() for key, value in table.schema.field(variable).metadata.items()}
        assert about == {key: str(value) for key, value in data[variable].attrs.items()}
        assert table.schema.metadata[b"eigenflow_status"].decode() == run.status
    same_bits(parquet.read_table(tmp_path / "losses.parquet")["loss"].to_numpy(), run.losses["loss"].to_numpy())


@pytest.mark.parametrize("name", ["run", "odd"])
def test_netcdf_is_the_dataset(name, request, tmp_path):
    """Without xarray too: h5py reads the numbers and their units."""
    import h5py

    run = request.getfixturevalue(name)
    data = run.measurements
    made = export_run(run, tmp_path / "run.nc", "netcdf")
    assert made.files == (tmp_path / "run.nc",) and made.content_bytes == made.files[0].stat().st_size
    with xr.open_dataset(tmp_path / "run.nc", engine="h5netcdf") as found:
        assert found.sizes == data.sizes and set(found.coords) == set(data.coords)
        assert found.attrs["eigenflow_status"] == run.status
        for variable in data.variables:
            same_bits(found[variable], data[variable])
            assert found[variable].dims == data[variable].dims
            assert found[variable].attrs == data[variable].attrs
    with xr.open_dataset(tmp_path / "run.nc", group="losses", engine="h5netcdf") as losses:
        for column in ("step", "loss"):
            same_bits(losses[column], run.losses[column])
    with h5py.File(tmp_path / "run.nc") as file:
        for variable in set(data.data_vars) - {"is_odd", "is_resolved"}:
            same_bits(file[variable][()], data[variable])
            assert file[variable].attrs["units"] == data[variable].attrs["units"]


def test_rows_of_zeros_are_left_out_of_pairs_only(odd, tmp_path):
    """-0.0 is no zero here: its sign would be lost."""
    export_run(odd, tmp_path, "parquet")
    pairs = parquet.read_table(tmp_path / "step_mode_mode_from.parquet").to_pandas()
    assert len(pairs) == 5 * len(TEXTS) and (pairs["mode"] == pairs["mode_from"]).all()
    told = json.loads((tmp_path / "columns.json").read_text())["tables"]
    assert told["step_mode_mode_from"]["zero_rows_left_out"] and not told["step_mode"]["zero_rows_left_out"]


def test_columns_json_says_what_every_column_is(run, tmp_path):
    export_run(run, tmp_path, "csv")
    told = json.loads((tmp_path / "columns.json").read_text(encoding="utf-8"))
    assert told["format"] == 1 and told["run"]["status"] == "complete" and set(told["tables"]) == TABLES
    for name, table in told["tables"].items():
        frame = pd.read_csv(tmp_path / f"{name}.csv")
        assert list(frame) == list(table["columns"]) and len(frame) == table["rows"]
        assert list(frame)[: len(table["keys"])] == table["keys"] or name == "edge"
        assert all(column["units"] and column["long_name"] for column in table["columns"].values())
    assert told["tables"]["edge"]["columns"]["shell_edges"]["units"] == "1 / time"
    same_bits(pd.read_csv(tmp_path / "edge.csv")["shell_edges"], EDGES)
    assert told["tables"]["step_mode"]["columns"]["is_resolved"] == {
        "type": "bool", "units": "1", "long_name": "the is_resolved", "label_dependent": True,
    }  # fmt: skip


def test_no_text_of_a_csv_is_a_formula_and_the_mark_comes_off(odd, tmp_path):
    export_run(odd, tmp_path, "csv")
    with (tmp_path / "losses.csv").open(newline="", encoding="utf-8") as lines:
        header, *rows = csv.reader(lines)
    assert header == ["step", "loss", "note", "'=eval/acc", "tags", "reason"]
    notes = [row[2] for row in rows]
    assert not any(note.startswith(("=", "+", "-", "@", "\t", "\r")) for note in notes)
    assert [note[1:] if note.startswith("'") else note for note in notes] == TEXTS
    assert notes[5] == "''quoted"
    assert rows[3][1] == "" and rows[3][5] == "nan" and json.loads(rows[3][4]) == [3, "ü"]
    assert "=1+1" not in (tmp_path / "columns.json").read_text(encoding="utf-8").split("tables")[0]


def test_texts_stay_what_they_are_elsewhere(odd, tmp_path):
    export_run(odd, tmp_path / "parquet", "parquet")
    export_run(odd, tmp_path / "run.nc", "netcdf")
    table = parquet.read_table(tmp_path / "parquet" / "losses.parquet")
    assert table["note"].to_pylist() == TEXTS and table["reason"].to_pylist()[2:4] == [None, "nan"]
    with xr.open_dataset(tmp_path / "run.nc", group="losses", engine="h5netcdf") as losses:
        assert losses["note"].values.tolist() == TEXTS
        (renamed,) = [name for name in losses if losses[name].attrs.get("logged_as") == "=eval/acc"]
        assert renamed == "=eval.acc" and losses[renamed].values.tolist() == [0.5] * len(TEXTS)


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["a/b", "a.b"], ["a.b", "column_1"]), (["row", " x", ".", "/"], [f"column_{k}" for k in range(1, 5)])],
)
def test_names_that_netcdf_cannot_hold(names, expected, tmp_path):
    with RunWriter.create(tmp_path / "run", header={}) as writer:
        writer.log({"step": 0, **{name: float(index) for index, name in enumerate(names)}})
    export_run(open_run(tmp_path / "run"), tmp_path / "run.nc", "netcdf")
    with xr.open_dataset(tmp_path / "run.nc", group="losses", engine="h5netcdf") as losses:
        told = {str(losses[name].attrs.get("logged_as", name)): float(losses[name][0]) for name in losses}
        assert {name: told[name] for name in names} == {name: float(index) for index, name in enumerate(names)}
        assert set(expected[1:]) <= set(map(str, losses)) or expected[0] in losses


@pytest.mark.parametrize("kind", ["csv", "parquet", "netcdf"])
def test_run_that_is_written_meanwhile(kind, tmp_path):
    """What it held when it was opened is exported; the writer goes on."""
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        record(writer, 0, 5)
        writer.flush()
        opened = open_run(tmp_path / "run")
        record(writer, 5, 9)
        made = export_run(opened, tmp_path / "out", kind)
        assert made.rows["step" if kind != "netcdf" else "measurements"] == 3
        if kind == "csv":
            assert json.loads((tmp_path / "out" / "columns.json").read_text())["run"]["status"] == "running"
    assert open_run(tmp_path / "run").status == "complete"


@pytest.mark.parametrize("kind", ["csv", "parquet", "netcdf"])
def test_run_that_was_killed_in_a_measurement(kind, tmp_path):
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        record(writer, 0, STEPS)
    (tmp_path / "run" / "measurements.zarr" / "eigenvalue" / "c.3.0").unlink()
    run = open_quietly(tmp_path / "run")
    with pytest.warns(RunFolderWarning, match="1 measurements have lost files"):
        made = export_run(run, tmp_path / "out", kind)
    assert made.rows["step" if kind != "netcdf" else "measurements"] == 3


@pytest.mark.parametrize("kind", ["csv", "parquet", "netcdf"])
@pytest.mark.parametrize("rows", [0, 2])
def test_run_without_measurements(kind, rows, tmp_path):
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        for step in range(rows):
            writer.log(row_at(step))
    made = export_run(open_run(tmp_path / "run"), tmp_path / "out", kind)
    assert made.rows["losses"] == rows
    if kind == "csv":
        assert len(pd.read_csv(tmp_path / "out" / "losses.csv")) == rows
        assert list(pd.read_csv(tmp_path / "out" / "step.csv")) == ["step"]


def test_run_of_checkpoints(tmp_path):
    """A record of states says that it is one, and what its times count."""
    with RunWriter.create(tmp_path / "run", header={"kind": "states", "clock": "updates"}) as writer:
        writer.append(3, variables_at(3), constants=constants())
    export_run(open_run(tmp_path / "run"), tmp_path / "out", "csv")
    told = json.loads((tmp_path / "out" / "columns.json").read_text())["run"]
    assert told["kind"] == "states" and told["clock"] == "updates"


@pytest.mark.rejects
@pytest.mark.parametrize("kind", ["csv", "parquet", "netcdf"])
def test_nothing_is_overwritten_unless_asked(kind, run, tmp_path):
    first = export_run(run, tmp_path / "out", kind)
    before = {path: path.read_bytes() for path in first.files}
    with pytest.raises(ArgumentError, match=r"exists already.*--force"):
        export_run(run, tmp_path / "out", kind)
    assert {path: path.read_bytes() for path in first.files} == before
    export_run(run, tmp_path / "out", kind, replace=True)
    assert {path.name for path in (tmp_path / "out").parent.rglob("*") if path.name.startswith(".tmp")} == set()


@pytest.mark.rejects
def test_one_file_in_the_way_stops_all_before_the_first(run, tmp_path):
    (tmp_path / "step_shell.csv").write_text("mine")
    with pytest.raises(ArgumentError, match=r"step_shell.csv', which exists already"):
        export_run(run, tmp_path, "csv")
    assert [path.name for path in tmp_path.iterdir()] == ["step_shell.csv"]


@pytest.mark.rejects
def test_what_is_refused(run, tmp_path):
    with pytest.raises(ArgumentError, match="`kind` must be one of csv, parquet, netcdf, but is 'xlsx'"):
        export_run(run, tmp_path, "xlsx")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match="in the run folder"):
        export_run(run, run.path / "tables", "csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="must be a folder for csv"):
        export_run(run, tmp_path / "file", "csv")
    with pytest.raises(ArgumentError, match="must be a file"):
        export_run(run, tmp_path, "netcdf")


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("module", "kind", "needs"),
    [("pyarrow", "parquet", "Parquet needs pyarrow"), ("h5netcdf", "netcdf", "netCDF needs h5netcdf")],
)
def test_missing_package_is_named_with_how_to_get_it(module, kind, needs, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FileError, match=rf"{needs}.*pip install 'eigenflow\[export\]'"):
        export_run(run, tmp_path / "out", kind)
    assert not (tmp_path / "out").exists()
    export_run(run, tmp_path / "csv", "csv")


@pytest.mark.rejects
def test_name_of_an_axis_is_never_a_path(run, tmp_path):
    """Axes come from a file of the folder: none may lead a table elsewhere."""
    planted = open_run(run.path)
    planted.__dict__["measurements"] = xr.Dataset({"x": (("step", "../../x"), np.ones((1, 1)))}, coords={"step": [0]})
    with pytest.raises(RunFolderError, match="axes that eigenflow does not write"):
        export_run(planted, tmp_path / "out", "csv")


def test_size_of_a_record_counts_what_was_recorded(tmp_path):
    record_run(tmp_path / "run", measured=(0, 1, 2))
    size = record_size(tmp_path / "run")
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert size.files == len(files) and size.content_bytes == sum(path.stat().st_size for path in files)
    if sys.platform.startswith("linux"):
        assert size.disk_bytes == sum(512 * path.stat().st_blocks for path in files)
    open_run(tmp_path / "run").write_text("report.html", "x" * 1000)
    open_run(tmp_path / "run").write_summary({"a": 1})
    assert record_size(tmp_path / "run") == size
    assert SHELLS and f"{size.files:,} files" in str(size)
