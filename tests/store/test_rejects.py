import json

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError, NonFiniteError, RunFolderError, ShapeError
from eigenflow.store import SCHEMA_VERSION, RunWriter, Variable, open_run
from store.recording import HEADER, constants, record, variables_at

pytestmark = pytest.mark.rejects


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def writer(folder):
    with RunWriter.create(folder, header=HEADER) as writer:
        record(writer, 0, 3)
        yield writer


@pytest.fixture
def bare(folder):
    """A run without measurements, which costs little."""
    RunWriter.create(folder, header=HEADER).close()


def vector(*values, dims=("mode",)):
    return Variable(dims, np.array(values), "1", "a vector")


def test_missing_folder(folder):
    with pytest.raises(RunFolderError, match=r"run. does not exist.*Check the path"):
        open_run(folder)
    with pytest.raises(RunFolderError, match="does not exist"):
        RunWriter.resume(folder, start=0)
    assert not folder.exists()


def test_folder_that_is_no_run_names_the_runs_in_it(folder, bare):
    with pytest.raises(RunFolderError, match=r"no `run\.json`.*Did you mean.*'run'"):
        open_run(folder.parent)
    with pytest.raises(RunFolderError, match=r"no `run\.json`"):
        RunWriter.resume(folder.parent, start=0)
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


def test_file_instead_of_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is a file"):
        open_run(tmp_path / "file")
    with pytest.raises(RunFolderError, match="is a file"):
        RunWriter.create(tmp_path / "file", header={})


def change(folder, **entries):
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_newer_schema_version(folder, bare):
    change(folder, schema_version=99)
    with pytest.raises(RunFolderError, match=rf"schema version 99.*up to {SCHEMA_VERSION}.*[Uu]pgrade"):
        open_run(folder)


@pytest.mark.parametrize(
    "content",
    ["", '{"schema_version": 1', "[]", "{}", '{"a": NaN}', "\ud83d".encode("utf-8", "surrogatepass")],
)
def test_corrupted_run_json(folder, bare, content):
    (folder / "run.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunFolderError, match=r"run\.json.*(backup)"):
        open_run(folder)


@pytest.mark.parametrize(
    "entries",
    [
        {"status": "fine"},
        {"measured_steps": [2, 1]},
        {"measured_steps": [0.5]},
        {"measured_steps": None},
        {"measured_variables": [1]},
        {"resumes": [3]},
        {"gaps": [{"step": 1}]},
        {"first_step": -1},
        {"created": 5},
        {"schema_version": "1"},
    ],
)
def test_run_json_with_wrong_entries_names_them(folder, bare, entries):
    change(folder, **entries)
    with pytest.raises(RunFolderError, match=next(iter(entries))):
        open_run(folder)


def test_create_refuses_a_folder_with_content(folder, writer):
    writer.close()
    with pytest.raises(RunFolderError, match=r"run. is not empty.*run\.json.*another path.*resume"):
        RunWriter.create(folder, header={})
    assert len(open_run(folder).losses) == 3


def test_create_leaves_a_foreign_folder_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunFolderError, match=r"thesis\.tex"):
        RunWriter.create(tmp_path, header={})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_create_takes_an_empty_folder(folder):
    folder.mkdir()
    RunWriter.create(folder, header={}).close()
    assert open_run(folder).status == "interrupted"


@pytest.mark.parametrize(
    ("header", "error", "match"),
    [
        ({"config": {"rates": [1.0, np.nan]}}, NonFiniteError, r"header\.config\.rates\[1\]"),
        ({"config": {"rate": np.float32("inf")}}, NonFiniteError, r"header\.config\.rate"),
        ({"status": "complete"}, ArgumentError, "status.*Rename"),
        ({"model": object()}, ArgumentError, r"header\.model.*object"),
        ({"table": {(1, 2): 3}}, ArgumentError, r"header\.table"),
    ],
)
def test_header_that_is_no_json(folder, header, error, match):
    with pytest.raises(error, match=match):
        RunWriter.create(folder, header=header)
    assert not folder.exists()


def test_resume_with_another_probe_set(folder, writer):
    writer.close()
    with pytest.raises(RunFolderError, match=r"another probe set.*'abc'.*'xyz'"):
        RunWriter.resume(folder, start=2, header={"probe": {"checksum": "xyz"}})
    assert len(open_run(folder).losses) == 3


def test_resume_before_the_start(folder, writer):
    writer.close()
    with pytest.raises(RunFolderError, match=r"from -1.*up to 3"):
        RunWriter.resume(folder, start=-1)
    RunWriter.resume(folder, start=3).close()


def test_log_needs_a_whole_step_that_increases(writer):
    with pytest.raises(ArgumentError, match=r"`step`.*\['loss'\]"):
        writer.log({"loss": 1.0})
    with pytest.raises(ArgumentError, match=r"`step`.*1\.5"):
        writer.log({"step": 1.5})
    with pytest.raises(ArgumentError, match=r"increase.*2 comes after 2.*resume"):
        writer.log({"step": 2})


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), np.float32("nan"), [1.0, float("nan")]])
def test_log_names_the_key_that_is_not_finite(writer, value):
    with pytest.raises(NonFiniteError, match=r"row\.loss"):
        writer.log({"step": 3, "loss": value})
    writer.log({"step": 3, "loss": 1.0})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_append_names_the_variable_that_is_not_finite(folder, writer, value):
    variables = variables_at(4)
    variables["eigenvalue"].values[1] = value
    with pytest.raises(NonFiniteError, match=r"'eigenvalue'.*1 of its 5"):
        writer.append(4, variables)
    assert writer.measured_steps == (0, 2)
    record(writer, 3, 5)
    assert writer.measured_steps == (0, 2, 4)


def test_append_needs_increasing_steps(writer):
    for step in (-1, 1, 2):
        with pytest.raises(ArgumentError, match=rf"is {step} after \[2\]"):
            writer.append(step, variables_at(4))


def test_append_needs_the_same_variables(writer):
    variables = variables_at(4)
    del variables["count"]
    with pytest.raises(ArgumentError, match=r"misses \['count'\]"):
        writer.append(4, variables)
    with pytest.raises(ArgumentError, match=r"adds \['more'\]"):
        writer.append(4, variables_at(4) | {"more": vector(1.0)})
    with pytest.raises(ShapeError, match=r"'eigenvalue'.*\(5,\).*\(2,\)"):
        writer.append(4, variables_at(4) | {"eigenvalue": vector(1.0, 2.0)})
    with pytest.raises(ArgumentError, match=r"'eigenvalue'.*float64.*int64"):
        writer.append(4, variables_at(4) | {"eigenvalue": vector(1, 2, 3, 4, 5)})
    with pytest.raises(ArgumentError, match=r"'eigenvalue'.*'mode'.*'shell'"):
        writer.append(4, variables_at(4) | {"eigenvalue": vector(1.0, 2.0, 3.0, 4.0, 5.0, dims=("shell",))})


def test_append_needs_the_same_constants(writer):
    with pytest.raises(ArgumentError, match=r"'shell_edges' differs"):
        writer.append(4, variables_at(4), constants={"shell_edges": vector(1.0, 2.0, dims=("edge",))})
    with pytest.raises(ArgumentError, match=r"'late' was not given with the first.*shell_edges"):
        writer.append(4, variables_at(4), constants=constants() | {"late": vector(1.0)})


@pytest.mark.parametrize(
    ("variables", "constants", "match"),
    [
        ({}, {}, "empty"),
        ({"a": vector(1.0)}, {"a": vector(1.0)}, r"shares \['a'\]"),
        ({"a/b": vector(1.0)}, {}, "'a/b'"),
        ({"step": vector(1.0)}, {}, "'step'"),
        ({"mode": vector(1.0)}, {}, "'mode'"),
        ({"a": vector(1.0), "b": vector(1.0, 2.0)}, {}, r"Axis 'mode'.*1 in 'a' and 2 in 'b'"),
    ],
)
def test_first_measurement_must_be_storable(folder, variables, constants, match):
    with RunWriter.create(folder, header={}) as writer, pytest.raises(ArgumentError, match=match):
        writer.append(0, variables, constants=constants)


def test_variable_checks_itself():
    with pytest.raises(ShapeError, match=r"2 names.*shape \(1,\)"):
        vector(1.0, dims=("a", "b"))
    with pytest.raises(ArgumentError, match="without `step`"):
        vector(1.0, dims=("step",))
    with pytest.raises(ArgumentError, match="distinct"):
        Variable(("a", "a"), np.eye(2), "1", "")
    with pytest.raises(ShapeError, match=r"empty.*\(0,\)"):
        vector()
    for values in (np.array([1j]), np.array(["x"]), np.array([None])):
        with pytest.raises(ArgumentError, match=f"dtype {values.dtype}"):
            Variable(("a",), values, "1", "")


def test_status_must_be_an_end(writer):
    with pytest.raises(ArgumentError, match=r"'complete', 'failed' or 'interrupted'.*'running'"):
        writer.set_status("running")


def test_closed_writer_says_so(writer):
    writer.close()
    for use in (
        lambda: writer.log({"step": 9}),
        lambda: writer.append(9, variables_at(9)),
        lambda: writer.set_status("failed"),
        writer.flush,
    ):
        with pytest.raises(RunFolderError, match=r"closed.*resume"):
            use()


def test_summary_must_be_strict_json(folder, bare):
    run = open_run(folder)
    with pytest.raises(NonFiniteError, match=r"summary\.claims\[0\]\.estimate"):
        run.write_summary({"claims": [{"estimate": np.float64("nan")}]})
    assert run.summary is None
    assert not list(folder.glob(".tmp*"))


@pytest.mark.parametrize("name", ["run.json", "summary.json", "", "..", "a/b.html", ".lock"])
def test_text_does_not_replace_the_run(folder, bare, name):
    with pytest.raises(ArgumentError, match="plain file name"):
        open_run(folder).write_text(name, "x")
