"""The one rule by which results become files.

A file is written under a random name beside its place, made exclusively, synced to the disk and then put there at once:
a reader sees the old content or the new, a full disk leaves the old and nothing else, and a link that somebody has
planted is replaced, never followed. An input is never overwritten, an existing file only where that was asked for.
"""

import errno
import os
import secrets
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from eigenflow.core.errors import ArgumentError, FileError

__all__ = ["FORMAT", "TEMPORARY_PREFIX", "check_free", "explain", "write_whole"]

TEMPORARY_PREFIX = ".tmp-"
# Of every JSON object of results, printed or in a file; raised when a key changes its meaning or goes away.
FORMAT = 1

# On Windows a file that somebody reads cannot be replaced; readers of this package are done within milliseconds.
_WAITS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if sys.platform == "win32" else ()

_REASONS = {
    errno.ENOSPC: "the disk is full. Free some space, or choose a path on another disk",
    errno.EDQUOT: "the quota is used up. Free some space, or choose a path on another disk",
    errno.EFBIG: "the file would be larger than the system allows. Choose a path on another disk",
    errno.EROFS: "the disk is read-only. Choose another path",
    errno.EACCES: "permission is missing. Change it, or choose another path",
    errno.EPERM: "permission is missing. Change it, or choose another path",
    errno.EISDIR: "it is a folder. Give the name of a file",
    errno.ENOTDIR: "a part of its path is a file, not a folder. Choose another path",
    errno.ENOENT: "its folder does not exist. Make it first (mkdir -p), or choose another path",
    errno.ENAMETOOLONG: "its name is too long for the system. Choose a shorter one",
    errno.ELOOP: "its path is a loop of links. Choose another path",
    errno.EIO: "the disk reports an error. Check it, and choose a path on another disk",
}


def explain(path: str | Path, error: OSError, done: str = "written") -> str:
    """A sentence on why a file could not be written (or `done` otherwise), and the next step."""
    reason = _REASONS.get(error.errno or 0)
    if reason is None or (done == "read" and error.errno == errno.ENOENT):
        reason = (error.strerror or str(error)).rstrip(".").lower() + ". Check the path"
    return f"`{path}` cannot be {done}: {reason}."


def check_free(
    path: str | Path, *, option: str = "--out", replace: bool = False, inputs: Iterable[str | Path] = ()
) -> Path:
    """Refuse, before any work is done, a file that must not or cannot be written.

    Args:
        path: The file to be made.
        option: What the user typed it under.
        replace: Whether an existing file may be replaced.
        inputs: Files and folders that are read; none of them is ever replaced.

    Returns:
        The path.

    Raises:
        ArgumentError: If the path is an input, lies in a folder that is not there, is a folder, or exists and is not
            to be replaced.
        FileError: If the system says that it cannot be written there.
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise ArgumentError(
                f"`{option}` must be a file, but '{target}' is a folder. Give the name of a file in it."
            )
        if not target.parent.is_dir():
            raise ArgumentError(
                f"`{option}` is '{target}', but there is no folder '{target.parent}'. Make it (mkdir -p "
                f"'{target.parent}'), or give another path."
            )
        if target.exists() and not target.is_file():
            raise ArgumentError(f"`{option}` must be a plain file, but '{target}' is a device. Give another path.")
        if any(_is_same(target, Path(one)) for one in inputs):
            raise ArgumentError(
                f"`{option}` must not be a file that is read, but '{target}' is one, and would be lost. "
                f"Give another path."
            )
        if os.path.lexists(target) and not replace:
            raise ArgumentError(
                f"`{option}` is '{target}', which exists already. Give another path, or replace it with --force."
            )
    except OSError as error:
        raise FileError(explain(target, error)) from None
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise FileError(explain(target, OSError(errno.EACCES, "")))
    return target


def _is_same(target: Path, other: Path) -> bool:
    try:
        return target.samefile(other)
    except (FileNotFoundError, NotADirectoryError):
        return False


def write_whole(path: str | Path, content: bytes | str, *, replace: bool = True, sync: bool = True) -> Path:
    """Write a file as a whole, and return when it is on the disk.

    A reader, and whoever comes after a kill or a power cut, sees the old content or the new.

    Args:
        path: The file; its folder must exist.
        content: All of the new content; text is written as UTF-8.
        replace: Whether a file that is there may be replaced.
        sync: Whether to wait for the disk. If not, a power cut may leave a part of it: for files whose sum is kept.

    Returns:
        The path.

    Raises:
        ArgumentError: If the file exists and must not be replaced.
        FileError: If the system refuses; nothing is left behind, and what was there stays.
    """
    target = Path(path)
    # Halves of characters, as in names of files that are no text, have no UTF-8.
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    # A name of its own length, as one that is built from a long name may be too long.
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    try:
        _write_new(temporary, data, sync=sync)
        try:
            _put_in_place(temporary, target, replace=replace)
        finally:
            temporary.unlink(missing_ok=True)
        if sync:
            _sync_folder(target.parent)
    except OSError as error:
        raise FileError(explain(target, error)) from error
    return target


def _write_new(path: Path, data: bytes, *, sync: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _put_in_place(temporary: Path, target: Path, *, replace: bool) -> None:
    if os.path.lexists(target) and not (target.is_symlink() or target.is_file() or target.is_dir()):
        raise OSError(errno.EPERM, "a device is never replaced")
    if not replace:
        try:
            os.link(temporary, target)  # the only way that never replaces, whoever comes in between
            return
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not os.path.lexists(target):
                temporary.replace(target)
                return
        raise ArgumentError(f"'{target}' exists already. Give another path, or replace it with --force.")
    for wait_s in _WAITS_S:
        try:
            temporary.replace(target)
            return
        except PermissionError:
            time.sleep(wait_s)
    temporary.replace(target)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # File systems of a network may not know how; the file itself is on the disk.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
