"""What Windows and macOS lack or refuse, simulated here: the package goes on, or says why not."""

import errno
import os
import sys
from pathlib import Path

import pytest

from eigenflow.core import memory, writing
from eigenflow.core.errors import FileError, RunFolderError
from eigenflow.store import folder


@pytest.fixture
def refused(monkeypatch):
    """On Windows a file that is open elsewhere cannot be replaced; this many tries are refused."""
    left = [0]
    replace = type(Path()).replace

    def busy(self, target):
        if left[0] > 0:
            left[0] -= 1
            raise PermissionError(errno.EACCES, "in use")
        return replace(self, target)

    monkeypatch.setattr(type(Path()), "replace", busy)
    monkeypatch.setattr(writing.time, "sleep", lambda wait_s: None)
    return left


def test_a_file_that_is_read_elsewhere_is_replaced_a_little_later(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(writing, "_WAITS_S", (0.01, 0.02, 0.05))
    (tmp_path / "a").write_text("old")
    refused[0] = 3
    writing.write_whole(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new" and refused[0] == 0


def test_a_file_that_stays_open_elsewhere_is_left_as_it_is(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(writing, "_WAITS_S", (0.01, 0.02, 0.05))
    (tmp_path / "a").write_text("old")
    refused[0] = 100
    with pytest.raises(FileError, match="permission is missing"):
        writing.write_whole(tmp_path / "a", "new")
    assert refused[0] == 96
    assert (tmp_path / "a").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_does_not_fail_the_file(tmp_path, monkeypatch, number):
    sync, calls = os.fsync, []

    def only_files(descriptor):
        calls.append(descriptor)
        if len(calls) > 1:
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    assert writing.write_whole(tmp_path / "a", "new").read_text() == "new"
    assert len(calls) == 2


def test_a_broken_disk_is_still_told(tmp_path, monkeypatch):
    def broken(descriptor):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(FileError, match="disk reports an error"):
        writing.write_whole(tmp_path / "a", "new")


@pytest.mark.parametrize("exists", [True, False])
def test_links_are_refused_where_the_system_would_follow_them(tmp_path, monkeypatch, exists):
    monkeypatch.setattr(folder, "_KNOWS_LINKS", False)
    monkeypatch.setattr(folder, "_READ", os.O_RDONLY)
    if exists:
        (tmp_path / "secret").write_text("{}")
    (tmp_path / "run.json").symlink_to(tmp_path / "secret")
    with pytest.raises(RunFolderError, match="is a link"):
        folder.read_file(tmp_path / "run.json")


def test_memory_is_what_the_kernel_says():
    table = Path("/proc/meminfo")
    if not table.exists():
        pytest.skip("only Linux has this table")
    kibibytes = int(table.read_text().split()[1])
    assert memory.physical_bytes() == pytest.approx(kibibytes * 1024, rel=1e-3)


@pytest.mark.parametrize("failure", [AttributeError, OSError, ValueError])
def test_memory_that_the_system_does_not_tell_is_no_failure(monkeypatch, failure):
    """No `sysconf` at all, one that fails, one that does not know the name."""

    def fail(name):
        raise failure(name)

    monkeypatch.setattr(os, "sysconf", fail)
    assert memory.physical_bytes() == 0


@pytest.mark.measure
def test_measuring_goes_on_where_memory_is_not_told(monkeypatch):
    pytest.importorskip("torch")
    from eigenflow.tangent import cost

    monkeypatch.setattr(memory, "physical_bytes", lambda: 0)
    assert cost.physical_bytes() == 8 * 2**30
    cost.require_memory(cost.dense_cost(100, num_parameters=1000, drift=True), 100)


def test_windows_is_asked_by_its_own_call(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(memory, "_windows_bytes", lambda: 17)
    assert memory.physical_bytes() == 17
    assert memory.ctypes.sizeof(memory._MemoryStatus) == 64  # as the Windows API documents it


def test_a_lock_is_asked_for_without_what_the_system_lacks(tmp_path, monkeypatch):
    from eigenflow.store import lock

    monkeypatch.setattr(lock, "_NO_LINK", 0)
    assert not lock.is_locked(tmp_path)
    held = lock.acquire_lock(tmp_path)
    assert lock.is_locked(tmp_path)
    held.release()
    assert not lock.is_locked(tmp_path)
