"""Folders made to harm whoever opens them: refused before a codec is made, memory is taken or a link is followed."""

import json
import os
import pickle
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from numcodecs.zstd import Zstd

from eigenflow.core.errors import ArgumentError, EigenflowError, FileError, LimitError, RunFolderError
from eigenflow.store import RunWriter, accept_run, open_run
from store.recording import HEADER, record

pytestmark = pytest.mark.rejects


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.fixture
def folder(tmp_path):
    """A good run, whose files the tests replace."""
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        record(writer, 0, 5)
    return tmp_path / "run"


def without_sums(folder):
    """As a stranger would send it: of a schema version that has none to make."""
    path = folder / "run.json"
    header = json.loads(path.read_text())
    del header["checksums"]
    path.write_text(json.dumps({**header, "schema_version": 4}))


def change_array(folder, name, **entries):
    path = folder / "measurements.zarr" / name / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def attempts(folder):
    """Everything that opens the arrays of a folder."""
    return (
        lambda: open_run(folder).measurements,
        lambda: RunWriter.resume(folder, start=4).close(),
        lambda: accept_run(folder),
    )


def assert_refused(folder, match, kind=RunFolderError):
    for attempt in attempts(folder):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(kind, match=match):
                attempt()


def write_version_2(group, marker):
    """An array of zarr's format 2 whose filter unpickles its chunk."""
    array = group / "eigenvalue"
    (array / "zarr.json").unlink()  # chunks of the good array stay, so that the measurements count as there
    (group / "zarr.json").unlink()
    (group / ".zgroup").write_text('{"zarr_format": 2}')
    told = {
        "zarr_format": 2,
        "shape": [3, 5],
        "chunks": [3, 5],
        "dtype": "|O",
        "compressor": None,
        "filters": [{"id": "pickle", "protocol": 5}],
        "fill_value": 0,
        "order": "C",
    }
    (array / ".zarray").write_text(json.dumps(told))
    (array / ".zattrs").write_text("{}")
    (array / "0.0").write_bytes(pickle.dumps(Payload(marker)))


def test_array_of_format_2_with_a_pickle_runs_nothing(folder, tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    write_version_2(folder / "measurements.zarr", marker)
    without_sums(folder)
    pickle.loads((folder / "measurements.zarr" / "eigenvalue" / "0.0").read_bytes()).close()
    assert marker.exists()  # the payload would work
    marker.unlink()
    monkeypatch.setattr("numcodecs.registry.get_codec", lambda *_: pytest.fail("a codec was made"))
    assert_refused(folder, "zarr format 3")
    (folder / "measurements.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    assert_refused(folder, "eigenvalue.zarr.json. is missing")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"zarr_format": 2}, "`zarr_format` must be 3, but is 2"),
        ({"node_type": "group"}, "`node_type`"),
        ({"data_type": "string"}, "`data_type`.*'string'"),
        ({"data_type": {"name": "structured"}}, "`data_type`"),
        ({"codecs": [{"name": "numcodecs.pickle"}]}, "`codecs`.*pickle"),
        (
            {"codecs": [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}]},
            "`codecs`",
        ),
        ({"codecs": [{"name": "sharding_indexed", "configuration": {}}]}, "`codecs`"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [5, 5]}}}, "`chunk_grid`"),
        ({"chunk_key_encoding": {"name": "v2"}}, "`chunk_key_encoding`"),
        ({"storage_transformers": [{"name": "x"}]}, "`storage_transformers`"),
        ({"shape": [1, 5]}, "`shape`.*at least"),
        ({"shape": [3, -5]}, "`shape`"),
        ({"shape": 5}, "`shape`"),
        ({"dimension_names": ["mode", "step"]}, "`dimension_names`"),
        ({"extra": 1}, "`extra` must be no such key"),
    ],
)
def test_metadata_that_eigenflow_does_not_write(folder, entries, match):
    change_array(folder, "eigenvalue", **entries)
    without_sums(folder)
    assert_refused(folder, match)


def test_shape_of_terabytes_asks_for_a_limit(folder):
    huge = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 2**40]}}, "shape": [3, 2**40]}
    change_array(folder, "eigenvalue", **huge)
    without_sums(folder)
    assert_refused(folder, "limit file_bytes=", LimitError)


@pytest.mark.long
def test_forged_shape_and_bomb_take_no_memory(folder):
    """128 MB packed, and gigabytes stated, where 40 bytes are to be."""
    chunk = folder / "measurements.zarr" / "eigenvalue" / "c.0.0"
    chunk.write_bytes(bytes(Zstd(level=1, checksum=True).encode(np.zeros(2**27, dtype=np.uint8))))
    without_sums(folder)
    with pytest.raises(RunFolderError, match="must unpack to 40 bytes, but states 134217728"):
        quietly(open_run, folder)
    size = 2**27
    told = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, size]}}, "shape": [3, size]}
    change_array(folder, "eigenvalue", **told)
    chunk.write_bytes(b"")
    code = (
        "import resource, sys, warnings; warnings.simplefilter('ignore')\n"
        "from eigenflow.store import open_run\n"
        "run = open_run(sys.argv[1])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: run.measurements\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    (folder / "measurements.zarr" / "eigenvalue" / "c.0.0").write_bytes(Zstd(level=1, checksum=True).encode(bytes(40)))
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    name, grown = done.stdout.split()
    assert name == "RunFolderError" and int(grown) < 200_000  # KiB; the stated arrays are 3 GiB


def quietly(function, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(folder).measurements


@pytest.mark.parametrize("name", ["../victim", "/etc/passwd", "a/b", "..", "", "x" * 300])
def test_names_that_are_paths(folder, name):
    path = folder / "run.json"
    header = json.loads(path.read_text())
    del header["checksums"]
    names = ["step", name]
    path.write_text(json.dumps({**header, "schema_version": 4, "measured_variables": names}))
    with pytest.raises(RunFolderError, match="measured_variables"):
        open_run(folder)


def test_constants_that_are_paths(folder):
    path = folder / "measurements.zarr" / "zarr.json"
    path.write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"coordinates": "../../x"}}))
    without_sums(folder)
    assert_refused(folder, "`coordinates` must be names of arrays")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 500 + "1" + "}" * 500, '{"a":' * 80 + "1" + "}" * 80])
def test_deep_json_is_refused(folder, content):
    for name in ("run.json", "measurements.zarr/zarr.json"):
        (folder / name).write_text(content)
        with pytest.raises(EigenflowError, match=r"run\.json.*(deeply|levels of nesting)"):
            open_run(folder)
    (folder / "losses.jsonl").write_text("[" * 100_000)


def test_number_beyond_floats_is_no_loss(folder):
    (folder / "losses.jsonl").write_text('{"step": 0, "loss": 1e400}\n{"step": 1, "loss": 2}\n')
    without_sums(folder)
    run = open_run(folder)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert run.losses["loss"].tolist() == [2]
    assert any("1 lines of `losses.jsonl` cannot be read" in str(one.message) for one in told)


@pytest.mark.parametrize("name", ["run.json", "losses.jsonl", "summary.json", "measurements.zarr/eigenvalue/c.1.0"])
def test_pipe_is_not_waited_for(folder, name):
    path = folder / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    begin = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run = open_run(folder)
            _ = run.measurements, run.losses, run.summary
        except RunFolderError:
            pass
    assert time.monotonic() - begin < 60


LINKED = ("run.json", "summary.json", "losses.jsonl", "losses.sum", "report.html", ".lock", "origin.safetensors")


@pytest.mark.parametrize(
    "name", [*LINKED, "measurements.zarr/eigenvalue/zarr.json", "measurements.zarr/eigenvalue/c.1.0"]
)
def test_planted_link_never_changes_its_victim(folder, tmp_path, name):
    """Whatever is read, written, resumed or accepted, what the link leads to stays as it is."""
    victim, path = tmp_path / "victim", folder / name
    original = path.read_bytes() if path.exists() else b"precious"
    victim.write_bytes(original)
    path.unlink(missing_ok=True)
    path.symlink_to(victim)
    before = victim.stat()
    use_in_every_way(folder)
    after = victim.stat()
    assert victim.read_bytes() == original
    assert (before.st_mtime_ns, before.st_ino, before.st_mode) == (after.st_mtime_ns, after.st_ino, after.st_mode)


@pytest.mark.parametrize("name", ["measurements.zarr", "measurements.zarr/eigenvalue"])
def test_planted_link_to_a_folder_never_changes_it(folder, tmp_path, name):
    victim, path = tmp_path / "victim", folder / name
    path.rename(victim)
    path.symlink_to(victim, target_is_directory=True)
    before = {one: one.stat().st_mtime_ns for one in [victim, *victim.rglob("*")]}
    use_in_every_way(folder)
    assert {one: one.stat().st_mtime_ns for one in [victim, *victim.rglob("*")]} == before


def use_in_every_way(folder):
    def write_results():
        run = open_run(folder)
        run.write_summary({"a": 1})
        run.write_text("report.html", "<p>")

    ways = (
        write_results,
        lambda: open_run(folder).measurements,
        lambda: open_run(folder).losses,
        lambda: RunWriter.resume(folder, start=2).close(),
        lambda: RunWriter.resume(folder, start=0).close(),
        lambda: accept_run(folder),
        lambda: RunWriter.create(folder, header={}),
    )
    for way in ways:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                way()
            except EigenflowError:
                continue


def test_link_planted_in_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(RunFolderError, match="is a link"):
        RunWriter.create(tmp_path / "run", header={})
    assert (tmp_path / "victim").read_text() == "precious"


def test_folder_itself_may_be_reached_through_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert open_run(tmp_path / "link").measured_steps == (0, 2, 4)
    with RunWriter.resume(tmp_path / "link", start=5) as writer:
        record(writer, 5, 7)
    assert open_run(folder).measured_steps == (0, 2, 4, 6)


@pytest.mark.parametrize("path", [3, None, b"x", ["a"], "a\0b"])
def test_what_is_no_path(path):
    for use in (open_run, accept_run, lambda one: RunWriter.create(one, header={})):
        with pytest.raises(ArgumentError, match="path of a run folder"):
            use(path)


def test_path_that_is_too_long(tmp_path):
    with pytest.raises(FileError, match="name is too long"):
        RunWriter.create(tmp_path / ("x" * 300), header={})
    with pytest.raises(FileError, match="name is too long"):
        open_run(tmp_path / ("x" * 300))


@pytest.mark.long
def test_every_flipped_bit_of_a_chunk_is_seen_or_harmless(folder):
    """Also without sums: a chunk's own checksum covers its values, and its header is held to what is written."""
    chunk = folder / "measurements.zarr" / "eigenvalue" / "c.1.0"
    without_sums(folder)
    truth, content = quietly(open_run, folder), chunk.read_bytes()
    seen = 0
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        chunk.write_bytes(changed)
        try:
            assert quietly(open_run, folder).identical(truth)
        except RunFolderError:
            seen += 1
    assert seen > 7 * len(content)
