"""One place that writes: whole or not at all, links never followed, inputs never replaced, every refusal a sentence."""

import errno
import os
import resource
import stat

import pytest

from eigenflow.core.errors import ArgumentError, FileError
from eigenflow.core.writing import TEMPORARY_PREFIX, check_free, explain, write_whole

LARGE = b"x" * 200_000


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_bytes_and_text_are_what_was_given(tmp_path):
    assert write_whole(tmp_path / "a", b"\0\xff").read_bytes() == b"\0\xff"
    assert write_whole(tmp_path / "b", "ü \ud800\n").read_bytes() == b"\xc3\xbc ?\n"
    assert left(tmp_path) == ["a", "b"]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    write_whole(tmp_path / "ours", "")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_an_existing_file_is_replaced_only_where_asked(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(ArgumentError, match=r"exists already.*--force"):
        write_whole(path, "new", replace=False)
    assert path.read_text() == "old" and left(tmp_path) == ["a"]
    write_whole(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("exists", [True, False])
def test_a_planted_link_is_replaced_and_never_followed(tmp_path, exists):
    victim, link = tmp_path / "victim", tmp_path / "link"
    if exists:
        victim.write_text("precious")
    link.symlink_to(victim)
    with pytest.raises(ArgumentError, match="exists already"):
        write_whole(link, "ours", replace=False)
    write_whole(link, "ours")
    assert not link.is_symlink() and link.read_text() == "ours"
    assert victim.read_text() == "precious" if exists else not victim.exists()


def test_a_file_that_comes_in_between_is_not_replaced(tmp_path, monkeypatch):
    """Another program makes the file after ours has looked, and before it is put in place."""
    path, sync = tmp_path / "a", os.fsync

    def late(descriptor):
        path.write_text("theirs")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", late)
    with pytest.raises(ArgumentError, match="exists already"):
        write_whole(path, "ours", replace=False)
    assert path.read_text() == "theirs" and left(tmp_path) == ["a"]


@pytest.mark.parametrize("most", [0, 1, 4096, 100_000, 199_999])
def test_a_disk_that_ends_in_the_middle_leaves_the_old_content_and_nothing_else(tmp_path, most):
    """The kernel itself refuses to write beyond a size: what was written before is cleaned away."""
    path = tmp_path / "a"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with pytest.raises(FileError, match="cannot be written: the file would be larger"):
            write_whole(path, LARGE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old" and left(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace", "link"])
@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "permission is missing"),
        (errno.EIO, "the disk reports an error"),
        (errno.ESTALE, "stale"),
    ],
)
def test_every_refusal_of_the_system_is_a_sentence_and_leaves_nothing(tmp_path, monkeypatch, call, number, reason):
    path = tmp_path / "a"

    def refused(*_args, **_keywords):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refused)
    if call == "link":  # a file system without hard links: put in place by another way
        assert write_whole(path, "new", replace=False).read_text() == "new"
        return
    with pytest.raises(FileError, match=f"(?i)`.*a` cannot be written: .*{reason}.*\\.$"):
        write_whole(path, "new")
    assert left(tmp_path) == []


def test_a_kill_in_between_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")

    def killed(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text() == "old" and not any(name.startswith(TEMPORARY_PREFIX) for name in left(tmp_path))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no/a", "mkdir -p"), ("file/a", "not a folder"), ("folder", "it is a folder"), ("n" * 300, "too long")],
)
def test_paths_that_cannot_be_written(tmp_path, name, reason):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match=reason):
        write_whole(tmp_path / name, "new")
    assert left(tmp_path) == ["file", "folder"] and (tmp_path / "file").read_text() == "mine"


def test_a_loop_of_links_and_a_pipe(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(FileError, match="loop"):
        write_whole(tmp_path / "loop" / "a", "new")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArgumentError, match="is a device"):
        check_free(tmp_path / "pipe", replace=True)
    with pytest.raises(FileError):
        write_whole(tmp_path / "pipe", "new")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def _ways_to(path):
    """Other names of one file: by a link, by a hard link, by a detour."""
    soft, hard = path.with_name("soft"), path.with_name("hard")
    soft.symlink_to(path)
    hard.hardlink_to(path)
    return [path, soft, hard, path.parent / "." / path.name, path.parent / ".." / path.parent.name / path.name]


def test_an_input_is_refused_under_every_name(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text("step,loss\n")
    for other in _ways_to(path):
        with pytest.raises(ArgumentError, match="must not be a file that is read"):
            check_free(other, replace=True, inputs=["missing.csv", path])


@pytest.mark.parametrize(
    ("name", "replace", "message"),
    [
        ("folder", True, "must be a file"),
        ("no/a", True, "no folder.*mkdir -p"),
        ("file/a", True, "no folder"),
        ("file", False, "exists already.*--force"),
        ("dangling", False, "exists already"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(tmp_path, name, replace, message):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(ArgumentError, match=f"`--picture`.*{message}"):
        check_free(tmp_path / name, option="--picture", replace=replace)


def test_a_folder_that_cannot_be_written_into_and_a_long_name(tmp_path, monkeypatch):
    assert check_free(tmp_path / "new") == tmp_path / "new"
    with pytest.raises(FileError, match="too long"):
        check_free(tmp_path / ("n" * 300))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(FileError, match="permission is missing"):
        check_free(tmp_path / "new")


def test_reading_is_told_too():
    told = explain("a.csv", OSError(errno.ENOENT, "No such file or directory"), "read")
    assert told == "`a.csv` cannot be read: no such file or directory. Check the path."
