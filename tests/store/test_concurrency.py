"""One writer, any number of readers."""

import os
import subprocess
import sys
import threading

import pytest

from eigenflow.core.errors import FileError, RunFolderError
from eigenflow.store import RunWriter, open_run
from store import recording
from store.checks import assert_complete, assert_exact
from store.recording import HEADER, record


@pytest.mark.rejects
def test_second_writer_in_the_same_process_is_refused(tmp_path):
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        record(writer, 0, 3)
        with pytest.raises(RunFolderError, match=r"in use by another writer.*another path"):
            RunWriter.resume(tmp_path / "run", start=0)
        record(writer, 3, 5)
    assert_complete(tmp_path / "run", 5)


@pytest.mark.long
@pytest.mark.rejects
def test_writer_in_another_process_is_seen_and_refuses_a_second(tmp_path):
    command = [sys.executable, recording.__file__, str(tmp_path / "run"), "0", "100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.stdout.readline() == "committed 0\n"
        with pytest.raises(RunFolderError, match="in use by another writer"):
            RunWriter.resume(tmp_path / "run", start=0)
        run = open_run(tmp_path / "run")
        assert run.status == "running"
        assert run.measured_steps[0] == 0
        assert_exact(run)
    finally:
        process.kill()
        process.communicate()


def test_reading_while_writing(tmp_path):
    """Each opening is a consistent state, later ones hold what earlier ones did, and none warns."""
    folder, errors = tmp_path / "run", []
    writer = RunWriter.create(folder, header=HEADER)

    def write():
        try:
            with writer:
                record(writer, 0, 40)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    seen = ()
    while thread.is_alive():
        run = open_run(folder)
        assert run.status in ("running", "complete")
        assert run.measured_steps[: len(seen)] == seen
        assert_exact(run)
        seen = run.measured_steps
    thread.join()
    assert not errors
    assert_complete(folder, 40)


@pytest.mark.rejects
def test_run_that_was_resumed_meanwhile_must_be_opened_again(tmp_path):
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        record(writer, 0, 7)
    run = open_run(tmp_path / "run")
    with RunWriter.resume(tmp_path / "run", start=2) as writer:
        record(writer, 2, 7)
    with pytest.raises(RunFolderError, match=r"resumed while it was open.*Open it again"):
        run.measurements.load()


def tree(folder):
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize("is_live", [True, False])
def test_reader_changes_no_file(tmp_path, is_live):
    folder = tmp_path / "run"
    writer = RunWriter.create(folder, header=HEADER)
    record(writer, 0, 5)
    writer.flush()
    if not is_live:
        writer.set_status("complete")
        writer.close()
        (folder / ".lock").unlink()  # a copy made without hidden files
    before = tree(folder)
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        run = open_run(folder)
        assert run.status == ("running" if is_live else "complete")
        assert_exact(run)
        assert run.summary is None
        assert tree(folder) == before
        if os.geteuid() != 0:  # root may write anywhere
            with pytest.raises(FileError, match="permission is missing"):
                run.write_summary({})
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
        writer.close()


def test_asking_for_the_lock_does_not_disturb_a_writer(tmp_path):
    """Readers that ask all the time must not make `resume` fail."""
    RunWriter.create(tmp_path / "run", header=HEADER).close()
    is_over = threading.Event()

    def ask():
        while not is_over.is_set():
            open_run(tmp_path / "run")

    readers = [threading.Thread(target=ask) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(20):
            RunWriter.resume(tmp_path / "run", start=0).close()
    finally:
        is_over.set()
        for reader in readers:
            reader.join()
