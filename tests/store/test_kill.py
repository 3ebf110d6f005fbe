"""Kills at every write and at random moments: what was committed is there, and the run goes on."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import xarray as xr

from eigenflow.core.errors import FileError, RunFolderError
from eigenflow.store import RunFolderWarning, RunWriter, accept_run, open_run
from store import recording
from store.checks import assert_complete, assert_exact, finish, open_quietly
from store.recording import HEADER, record, row_at, variables_at

TOTAL = 7


class WriteWatch:
    """Calls back before each system call that changes a folder, as Python's audit events tell."""

    EVENTS = frozenset(
        {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.rmtree"}
    )

    def __init__(self):
        self.folder = None
        self.callback = lambda: None
        self._is_inside = threading.local()
        self._one_at_a_time = threading.Lock()  # zarr writes from several threads
        sys.addaudithook(self._hook)  # for good: Python has no way to take one out

    def _hook(self, event, args):
        if self.folder is None or event not in self.EVENTS or getattr(self._is_inside, "now", False):
            return
        if event == "open" and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if event == "os.remove" and not Path(args[0]).exists():
            return  # zarr deletes chunks whether they exist or not
        if event == "os.truncate" or str(args[0]).startswith(str(self.folder)):
            self._is_inside.now = True
            try:
                with self._one_at_a_time:
                    self.callback()
            finally:
                self._is_inside.now = False

    def __call__(self, folder, callback):
        self.folder, self.callback = folder, callback
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder = None


@pytest.fixture(scope="module")
def watch():
    return WriteWatch()


def record_and_rewind(folder, committed):
    """A run, then the same resumed from 3 updates. `committed` follows what is promised."""

    def announce(text):
        committed.append(int(text.split()[1]))

    with RunWriter.create(folder, header=HEADER) as writer:
        record(writer, 0, 5, announce=announce)
    committed[:] = [step for step in committed if step < 3]
    with RunWriter.resume(folder, start=3) as writer:
        record(writer, 3, TOTAL, announce=announce)


def copy_live(folder, copy):
    """Copy a folder in which another thread may just rename a file."""

    def copy_if_there(source, target):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(source, target)

    if folder.exists():
        shutil.copytree(folder, copy, copy_function=copy_if_there, dirs_exist_ok=True)


def freeze_moments(watch, base, every):
    """The folder as it was before every n-th of its writes: what a kill at that moment leaves."""
    folder, committed, moments, count = base / "run", [], [], 0

    def freeze():
        nonlocal count
        count += 1
        if count % every == 0:
            copy = base / str(count)
            copy.mkdir()
            copy_live(folder, copy)
            moments.append((copy, tuple(committed)))

    with watch(folder, freeze):
        record_and_rewind(folder, committed)
    assert_complete(folder, TOTAL)
    assert count > 100
    return moments


def check_moment(folder, committed):
    for path in folder.rglob("*"):
        if path.name.startswith(".tmp") or path.name.endswith(".partial"):
            os.truncate(path, path.stat().st_size // 2)
    if (folder / "run.json").exists():
        run = open_quietly(folder)
        assert_exact(run)
        assert run.status in ("interrupted", "complete")
        assert run.measured_steps[: len(committed)] == committed
        # Logged before the last measurement means kept.
        assert len(run.losses) >= max(run.measured_steps, default=0)
    else:
        assert committed == ()
    finish(folder, TOTAL)
    assert_complete(folder, TOTAL)


def test_killed_before_some_writes(watch, tmp_path):
    for folder, committed in freeze_moments(watch, tmp_path, every=37):
        check_moment(folder, committed)


@pytest.mark.slow
def test_killed_before_every_write(watch, tmp_path):
    for folder, committed in freeze_moments(watch, tmp_path, every=1):
        check_moment(folder, committed)


def fail_at_write(watch, folder, number):
    """Record with a disk that is full from the given write on; say what was promised, and if it hit."""
    count, committed = 0, []

    def refuse():
        nonlocal count
        count += 1
        if count >= number:
            raise OSError(28, "No space left on device")

    try:
        with watch(folder, refuse):
            record_and_rewind(folder, committed)
    except OSError:
        return tuple(committed), True
    return tuple(committed), False


def check_failing_disk(watch, tmp_path, numbers):
    for number in numbers:
        folder = tmp_path / str(number)
        committed, was_hit = fail_at_write(watch, folder, number)
        if not was_hit:
            assert number > 100
            return
        check_moment_after_failure(folder, committed)


def check_moment_after_failure(folder, committed):
    if (folder / "run.json").exists():
        run = open_quietly(folder)
        assert run.status != "running"
        assert_exact(run)
        assert run.measured_steps[: len(committed)] == committed
    else:
        assert committed == ()
    finish(folder, TOTAL)
    assert_complete(folder, TOTAL)


def test_disk_full_at_some_writes(watch, tmp_path):
    check_failing_disk(watch, tmp_path, range(5, 10_000, 61))


@pytest.mark.slow
def test_disk_full_at_every_write(watch, tmp_path):
    check_failing_disk(watch, tmp_path, range(1, 10_000))


def test_writer_goes_on_after_a_failed_append(watch, tmp_path):
    """A full disk that is emptied in time costs nothing."""
    folder, count = tmp_path / "run", 0

    def refuse_sixth():
        nonlocal count
        count += 1
        if count == 6:
            raise OSError(28, "No space left on device")

    with RunWriter.create(folder, header=HEADER) as writer:
        record(writer, 0, 2)
        with watch(folder, refuse_sixth), pytest.raises(FileError, match="the disk is full"):
            writer.append(2, variables_at(2))
        assert writer.measured_steps == (0,)
        record(writer, 2, TOTAL)
    assert_complete(folder, TOTAL)


def test_half_a_loss_line_is_dropped_with_a_warning(tmp_path):
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        record(writer, 0, 5)
    content = (tmp_path / "run" / "losses.jsonl").read_bytes()
    ends = [index + 1 for index, byte in enumerate(content) if byte == ord("\n")]
    for size in range(ends[3], ends[4]):
        (tmp_path / "run" / "losses.jsonl").write_bytes(content[:size])
        if size == ends[3]:
            run = open_run(tmp_path / "run")
        else:
            with pytest.warns(RunFolderWarning, match="last line of `losses.jsonl`"):
                run = open_run(tmp_path / "run")
        with pytest.warns(RunFolderWarning, match="was cut off after it was written: 1 rows are lost"):
            assert run.losses.to_dict("records") == [row_at(step) for step in range(4)]
    with pytest.warns(RunFolderWarning) as told:
        writer = RunWriter.resume(tmp_path / "run", start=4)
    assert [("last line" in str(one.message), "cut off" in str(one.message)) for one in told] == [(1, 0), (0, 1)]
    with writer:
        record(writer, 4, TOTAL)
    assert_complete(tmp_path / "run", TOTAL)


def test_damaged_loss_line_is_left_out_and_numbered(tmp_path):
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        for step in range(4):
            writer.log(row_at(step))
    path = tmp_path / "run" / "losses.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], '{"step": 1, "loss": NaN}', *lines[2:]]) + "\n")
    accept_run(tmp_path / "run")
    run = open_run(tmp_path / "run")
    with pytest.warns(RunFolderWarning, match="1 lines .* line 2"):
        assert run.losses["step"].tolist() == [0, 2, 3]


def test_half_written_measurement_is_dropped_with_a_warning(watch, tmp_path):
    folder = tmp_path / "run"
    copy = tmp_path / "killed"
    count = 0

    def freeze():
        nonlocal count
        count += 1
        if count == 6:
            shutil.copytree(folder, copy)

    with RunWriter.create(folder, header=HEADER) as writer:
        record(writer, 0, 4)
        with watch(folder, freeze):
            writer.append(4, variables_at(4))
    with pytest.warns(RunFolderWarning, match="measurement after step 2"):
        run = open_run(copy)
    assert run.measured_steps == (0, 2)
    assert_exact(run)
    with pytest.warns(RunFolderWarning, match="measurement after step 2"):
        RunWriter.resume(copy, start=4).close()
    assert open_run(copy).measured_steps == (0, 2)


def test_measurement_with_lost_files_is_left_out(tmp_path):
    """A power cut may take chunk files that were committed; missing ones are not read as zeros."""
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        record(writer, 0, TOTAL)
    group = tmp_path / "run" / "measurements.zarr"
    (group / "count" / "c.1.0").unlink()
    (group / "eigenvalue" / "c.3.0").write_bytes(b"")
    run = open_run(tmp_path / "run")
    with pytest.warns(RunFolderWarning, match="2 measurements have lost files"):
        assert run.measured_steps == (0, 4)
    assert_exact(run)


@pytest.mark.rejects
def test_chunk_that_cannot_be_decoded_is_an_error(tmp_path):
    with RunWriter.create(tmp_path / "run", header=HEADER) as writer:
        record(writer, 0, TOTAL)
    (tmp_path / "run" / "measurements.zarr" / "eigenvalue" / "c.1.0").write_bytes(b"damaged")
    with pytest.raises(RunFolderError, match=r"measurements\.zarr.: the measurement of step 2 was changed.*resume"):
        open_run(tmp_path / "run").measurements.load()


def start_recording(folder, start, total) -> subprocess.Popen:
    command = [sys.executable, recording.__file__, str(folder), str(start), str(total)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_at_random(folder, start, total, rng) -> tuple[int, ...]:
    """Let a process record, kill it, and return the steps that it had reported as committed."""
    process = start_recording(folder, start, total)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(rng.uniform(0, 0.4))
    process.send_signal(signal.SIGKILL)
    output, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    lines = output.splitlines()
    assert "done" not in lines
    return tuple(int(line.split()[1]) for line in lines if line.startswith("committed"))


def kill_and_go_on(folder, kills, rng):
    total = 10_000  # more than a process can do before it is killed
    start, kept = 0, ()
    for _ in range(kills):
        committed = kill_at_random(folder, start, total, rng)
        if not (folder / "run.json").exists():
            assert committed == ()
            continue
        run = open_quietly(folder)
        assert run.status == "interrupted"
        # The process resumed from `start`, which is measured again, unless it was killed before that.
        promised = [step for step in kept if step < start] + list(committed)
        assert list(run.measured_steps[: len(promised)]) == promised
        assert_exact(run)
        kept = run.measured_steps
        start = max(kept, default=0)
    total = start + 5
    finish(folder, total)
    assert_complete(folder, total)
    uninterrupted = folder.with_name("uninterrupted")
    with RunWriter.create(uninterrupted, header=HEADER) as writer:
        record(writer, 0, total)
    assert (folder / "losses.jsonl").read_bytes() == (uninterrupted / "losses.jsonl").read_bytes()
    datasets = [xr.open_zarr(path / "measurements.zarr").load() for path in (folder, uninterrupted)]
    xr.testing.assert_identical(*datasets)


@pytest.mark.long
def test_killed_three_times(tmp_path):
    kill_and_go_on(tmp_path / "run", kills=3, rng=random.Random(1))


@pytest.mark.slow
def test_killed_fifty_times(tmp_path):
    rng = random.Random(2)
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        kill_and_go_on(tmp_path / str(number) / "run", kills=5, rng=rng)
