"""One writer per run folder. The kernel releases the lock when the writer's process ends, also at a kill."""

import os
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from eigenflow.core.errors import FileError, RunFolderError
from eigenflow.store.folder import explain_link, in_words
from eigenflow.store.schema import LOCK

__all__ = ["acquire_lock", "is_locked"]

_PATIENCE_S = 0.1
# Neither follow a link nor wait for a pipe.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def acquire_lock(folder: Path) -> FileLock:
    """Take the writer's lock of a folder, at once.

    Args:
        folder: An existing folder; the lock file stays in it.

    Returns:
        The lock, to be released by its holder, from whatever thread.

    Raises:
        RunFolderError: If another writer, in this process or another, holds it, or the lock file is a link.
        FileError: If the system refuses.
    """
    if (folder / LOCK).is_symlink():
        raise RunFolderError(explain_link(folder / LOCK))
    lock = FileLock(folder / LOCK, thread_local=False)
    with in_words(folder / LOCK):
        try:
            # A reader that asks `is_locked` holds the lock for microseconds, so one refusal is not enough.
            lock.acquire(timeout=_PATIENCE_S, poll_interval=_PATIENCE_S / 5)
        except NotImplementedError:
            raise FileError(
                f"`{folder / LOCK}` cannot be locked, as the file system knows no locks. Record into a path on another "
                f"disk."
            ) from None
        except Timeout:
            raise RunFolderError(
                f"Run folder `{folder}` is in use by another writer, and there can be only one. "
                f"Wait until that run ends or stop it, or record into another path."
            ) from None
    return lock


def is_locked(folder: Path) -> bool:
    """Whether a living writer holds the folder. Neither creates nor changes a file.

    Where the file system knows no locks, the answer is no.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | _NO_LINK)
    except OSError:
        return False
    try:
        return _is_held(descriptor)
    finally:
        os.close(descriptor)


if sys.platform == "win32":

    def _is_held(descriptor: int) -> bool:
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return True
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        return False

else:

    def _is_held(descriptor: int) -> bool:
        import fcntl

        try:
            # Shared, so that readers who ask at the same time do not see each other.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
