"""Sums of schema 5: what was changed is said and left out or refused, what was not is given, and a run can go on."""

import json
import os
import shutil
import stat
import warnings

import pytest

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.store import RecordGapWarning, RunFolderWarning, RunWriter, accept_run, open_run
from store.checks import assert_complete, assert_exact
from store.packed import unpack
from store.recording import HEADER, constants, record, row_at, variables_at

ORIGIN = "origin.safetensors"


@pytest.fixture
def folder(tmp_path):
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        record(writer, 0, 9)
        writer.write_file(ORIGIN, b"the first modes")
    return tmp_path / "run"


def edit(path, old, new):
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def test_flipped_digit_of_a_loss_takes_its_stretch_and_no_more(folder):
    """Rows 2 and 3 were committed together, by the measurement of step 4."""
    edit(folder / "losses.jsonl", b'"loss": 0.2,', b'"loss": 0.3,')
    run = open_run(folder)
    with pytest.warns(RunFolderWarning, match=r"`losses.jsonl` was changed after it was written: 2 rows"):
        assert run.losses.to_dict("records") == [row_at(step) for step in (0, 1, 4, 5, 6, 7, 8)]


@pytest.mark.parametrize("kept", [0, 1, 8])
def test_tail_that_is_cut_at_a_line_end_is_missed(folder, kept):
    lines = (folder / "losses.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "losses.jsonl").write_bytes(b"".join(lines[:kept]))
    run = open_run(folder)
    with pytest.warns(RunFolderWarning, match="rows"):
        found = run.losses
    assert found["step"].tolist() == list(range(kept // 2 * 2 if kept < 8 else kept))


def test_deleted_log_is_missed(folder):
    (folder / "losses.jsonl").unlink()
    with pytest.warns(RunFolderWarning, match="`losses.jsonl` is missing, with 9 rows in it"):
        assert open_run(folder).losses.empty


def test_rows_behind_the_end_of_a_finished_run_are_not_its_own(folder):
    with (folder / "losses.jsonl").open("a") as log:
        log.write(json.dumps(row_at(9)) + "\n")
    with pytest.warns(RunFolderWarning, match="longer than it was written"):
        assert len(open_run(folder).losses) == 9


def test_rows_of_a_killed_run_are_covered_up_to_its_last_write(tmp_path):
    """The small file beside the log, which a closed run does not have."""
    writer = RunWriter.create(tmp_path / "run", header=HEADER)
    record(writer, 0, 3)
    for step in range(3, 6):
        writer.log(row_at(step))
    writer.flush()
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "run", killed)
    writer.close()
    assert (killed / "losses.sum").exists() and not (tmp_path / "run" / "losses.sum").exists()
    assert len(open_run(killed).losses) == 6
    with (killed / "losses.jsonl").open("a") as log:  # a kill between the row and its sum
        log.write(json.dumps(row_at(6)) + "\n")
    assert len(open_run(killed).losses) == 7
    edit(killed / "losses.jsonl", b'"step": 4, "time": 0.4', b'"step": 4, "time": 0.5')
    with pytest.warns(RunFolderWarning, match="4 rows cannot be told from changed ones"):
        assert open_run(killed).losses["step"].tolist() == [0, 1]


@pytest.mark.rejects
def test_changed_header_is_refused_until_it_is_accepted(folder):
    edit(folder / "run.json", b'"seed": 0', b'"seed": 1')
    with pytest.raises(RunFolderError, match=r"run\.json. was changed.*accept_run"):
        open_run(folder)
    with pytest.raises(RunFolderError, match=r"run\.json. was changed"):
        RunWriter.resume(folder, start=9)
    accept_run(folder)
    run = open_run(folder)
    assert run.header["config"] == {"seed": 1} and "accepted as it was" in run.header["accepted"][0]["reason"]
    assert_exact(run)


def test_header_written_in_another_form_is_the_same(folder):
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True, indent=None))
    assert_exact(open_run(folder))


@pytest.mark.rejects
def test_swapped_chunks_are_refused(folder):
    """Each is whole, and unpacks; only the sums know that they are not where they belong."""
    group = folder / "measurements.zarr" / "eigenvalue"
    first, second = (group / name for name in ("c.1.0", "c.2.0"))
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    with pytest.raises(RunFolderError, match="the measurement of step 2 was changed"):
        _ = open_run(folder).measurements
    with pytest.raises(RunFolderError, match="the measurement of step 2 was changed"):
        RunWriter.resume(folder, start=8)
    with RunWriter.resume(folder, start=2) as writer:
        record(writer, 2, 9)
    assert_complete(folder, 9)


@pytest.mark.rejects
def test_changed_constant_or_unit_is_refused(folder):
    group = folder / "measurements.zarr"
    edit(group / "eigenvalue" / "zarr.json", b"the eigenvalue", b"the frequency ")
    with pytest.raises(RunFolderError, match=r"a `zarr.json`, or a constant"):
        _ = open_run(folder).measurements


@pytest.mark.rejects
@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"the last modes.")])
def test_resume_refuses_a_changed_or_deleted_origin(folder, damage):
    damage(folder / ORIGIN)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RunFolderError, match=r"origin\.safetensors. was (changed|deleted).*cannot go on.*accept_run"):
        RunWriter.resume(folder, start=4)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(RunFolderError, match=r"was (changed|deleted)"):
        open_run(folder).read_file(ORIGIN)
    accept_run(folder)
    RunWriter.resume(folder, start=4).close()


def test_file_of_the_recorder_is_old_or_new_after_a_kill(tmp_path):
    """`run.json` allows both while the file is replaced; afterwards only the new one."""
    folder, seen = tmp_path / "run", []
    with RunWriter.create(folder, header=HEADER) as writer:
        for content in (b"old", b"new"):
            writer.write_file(ORIGIN, content)
            seen.append(json.loads((folder / "run.json").read_text())["checksums"]["files"][ORIGIN])
            assert open_run(folder).read_file(ORIGIN) == content
    assert [len(one) for one in seen] == [2, 2] and seen[0][0] is None and seen[1][0] == seen[0][1]
    assert json.loads((folder / "run.json").read_text())["checksums"]["files"][ORIGIN] == seen[1][1:]
    assert open_run(folder).read_file("other") is None


@pytest.mark.rejects
@pytest.mark.parametrize("name", ["run.json", "losses.sum", "../x", ""])
def test_file_of_the_recorder_has_a_name_of_its_own(tmp_path, name):
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer, pytest.raises(ArgumentError, match="plain file"):
        writer.write_file(name, b"")


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_every_file_is_as_readable_as_the_umask_says(folder):
    """A file of a temporary name is often readable by its owner alone."""
    umask = os.umask(0o022)
    os.umask(umask)
    open_run(folder).write_summary({})
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert {name for name, mode in found.items() if mode != 0o666 & ~umask} <= {".lock"}


@pytest.mark.rejects
def test_resume_behind_changed_rows_is_refused_and_before_them_is_not(folder):
    edit(folder / "losses.jsonl", b'"loss": 0.2,', b'"loss": 0.3,')
    with pytest.raises(RunFolderError, match=r"rows before that point were changed.*resume from 2 completed updates"):
        RunWriter.resume(folder, start=9)
    with pytest.warns(RunFolderWarning, match="2 rows"):
        writer = RunWriter.resume(folder, start=2)
    with writer:
        record(writer, 2, 9)
    assert_complete(folder, 9)


def test_resume_behind_a_cut_log_notes_what_is_missing(folder):
    lines = (folder / "losses.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "losses.jsonl").write_bytes(b"".join(lines[:6]))
    with (
        pytest.warns(RunFolderWarning, match="cut off|changed"),
        pytest.warns(RecordGapWarning, match="reaches up to 6"),
    ):
        writer = RunWriter.resume(folder, start=8)
    with writer:
        record(writer, 8, 10)
    run = open_run(folder)
    assert run.losses["step"].tolist() == [0, 1, 2, 3, 4, 5, 8, 9]
    assert [(gap.kind, gap.step, gap.through) for gap in run.gaps] == [("updates", 6, 7)]


def test_summary_that_was_changed_is_left_out(folder):
    run = open_run(folder)
    run.write_summary({"claims": [{"estimate": 1.5}]})
    assert run.summary == {"claims": [{"estimate": 1.5}]}
    edit(folder / "summary.json", b"1.5", b"2.5")
    with pytest.warns(RunFolderWarning, match=r"summary\.json. has no checksum, or not its own"):
        assert run.summary is None
    (folder / "summary.json").write_text("{")
    with pytest.warns(RunFolderWarning, match="not valid JSON"):
        assert run.summary is None


@pytest.mark.parametrize("name", ["schema-1", "schema-2", "schema-3", "schema-4"])
def test_folder_without_sums_says_so_once_and_can_be_given_them(tmp_path, name):
    folder = unpack(name, tmp_path)
    run = open_run(folder)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        before = run.losses, run.measurements, run.gaps
        _ = run.losses, run.modes
    assert len(told) == 1 and "has no checksums" in str(told[0].message) and not run.has_checksums
    accept_run(folder)
    run = open_run(folder)  # warnings are errors
    assert run.has_checksums and run.losses.equals(before[0]) and run.measurements.identical(before[1])
    assert f"schema version {name[-1]}" in run.header["accepted"][0]["reason"]
    edit(folder / "losses.jsonl", b'{"step": 3,', b'{"step": 3 ')
    with pytest.warns(RunFolderWarning, match="18 rows cannot be told"):
        assert open_run(folder).losses.empty


def test_folder_without_sums_has_them_when_it_goes_on(tmp_path):
    folder = unpack("schema-4", tmp_path)
    with pytest.warns(RunFolderWarning, match="has no checksums.*From now on"):
        RunWriter.resume(folder, start=9).close()
    run = open_run(folder)
    assert run.has_checksums and run.measured_steps == (0, 3, 8) and len(run.losses) == 9
    edit(folder / "losses.jsonl", b'{"step": 3,', b'{"step": 3 ')
    with pytest.warns(RunFolderWarning, match="9 rows cannot be told"):
        assert open_run(folder).losses.empty


def test_logging_a_row_costs_no_more_than_its_write(tmp_path):
    """A flush makes one small write beside the log, whatever the log's length; a commit one block."""
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        writer.append(0, variables_at(0), constants=constants())
        for step in range(3000):
            writer.log(row_at(step))
        writer.flush()
        assert (tmp_path / "run" / "losses.sum").stat().st_size == 160
    (block,) = json.loads((tmp_path / "run" / "run.json").read_text())["checksums"]["losses"]
    assert block["rows"] == 3000 and block["size"] == (tmp_path / "run" / "losses.jsonl").stat().st_size


def test_clock_that_jumps_back_changes_nothing(tmp_path, monkeypatch):
    from eigenflow.store import manifest

    times = iter(f"20{30 - index:02}-01-01T00:00:00.000+00:00" for index in range(30))
    monkeypatch.setattr(manifest, "_now", lambda: next(times))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
            record(writer, 0, 5)
        with RunWriter.resume(tmp_path / "run", start=4) as writer:
            record(writer, 4, 7)
    assert_complete(tmp_path / "run", 7)


ODD = (
    "with space",
    "new\nline",
    "tab\t'quote\"",
    "λ-日本",
    "-dash",
    "%41",
    "a" * 200,
    "$(x)",
    "d/" * 80 + "deep",
    "[1]*?",
)


@pytest.mark.parametrize("name", ODD)
def test_deep_and_odd_paths(tmp_path, name):
    folder = tmp_path / name
    with RunWriter.create(folder, header=HEADER) as writer:
        record(writer, 0, 3)
    with RunWriter.resume(folder, start=2) as writer:
        record(writer, 2, 5)
    assert_complete(folder, 5)
    open_run(folder).write_summary({"a": 1})
    assert open_run(folder).summary == {"a": 1}
