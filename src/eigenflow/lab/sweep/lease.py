"""Who makes a run just now, on whatever machine: a file with a sign of life, beside the kernel's lock.

The run folder's own lock (`store/lock`) is released by the kernel when its process ends. Over a network that is not
sure: some file systems know such locks only within one machine, and some keep those of a machine that died. So an
attempt holds a lease too: a file that it writes to every few seconds. Whoever finds a lease that has not changed for
`patience_s` by its own clock (clocks of two machines are never compared), or whose process is gone from this very
machine, moves the file away and makes one of its own. Whose file was moved away, or who could not write for that long,
has lost the lease: it stops at its next update, before it records more.
"""

import json
import os
import socket
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from eigenflow.core.errors import RunFolderError
from eigenflow.store.schema import LOCK

__all__ = ["Lease", "LeaseLostError", "break_lock", "here", "read_lease"]

SIZE = 1024  # bytes of the file: it is written in place, always as a whole
BEATS = 12  # signs of life within the patience of others
POLL_S = 0.2


class LeaseLostError(RunFolderError):
    """Another attempt has taken the run over; this one stops."""


def here() -> dict[str, Any]:
    """This process: host, process number, and what tells them from later ones of the same name."""
    return {"host": socket.gethostname(), "system": _system(), "process": os.getpid()}


def _system() -> str:
    """Changes when the machine starts anew, and differs between containers that count processes by themselves."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def read_lease(path: Path) -> dict[str, Any] | None:
    """What a lease says; None if there is none, an empty one while it is being written."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_gone(lease: dict[str, Any]) -> bool:
    """Whether its process was one of this machine, and is no more."""
    own = here()
    if not own["system"] or lease.get("system") != own["system"] or lease.get("host") != own["host"]:
        return False
    process = lease.get("process")
    if not isinstance(process, int) or process <= 0 or process == own["process"]:
        return False
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return not Path(f"/proc/{process}").exists()
    return state in "ZX"  # dead, and not yet collected by its parent


class Lease:
    """The right to make one run; a context manager that waits until it has it.

    Args:
        path: Of the file.
        patience_s: How long a lease without a sign of life is respected.
    """

    def __init__(self, path: Path, patience_s: float):
        self.path, self.patience_s = path, patience_s
        self.taken_from: dict[str, Any] | None = None
        self._told: dict[str, Any] = {"id": uuid.uuid4().hex, **here(), "beat": 0}
        self._descriptor = -1
        self._last, self._is_lost = 0.0, False
        self._stop, self._writing = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Lease":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        seen: tuple[dict[str, Any] | None, float] = (None, monotonic())
        while not self._created():
            found = read_lease(self.path)
            if found is None:
                continue
            if found != seen[0]:
                seen = (found, monotonic())
            if _is_gone(found) or monotonic() - seen[1] > self.patience_s:
                self._take_over(found)
            else:
                sleep(POLL_S)
        self._thread = threading.Thread(target=self._live, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._writing:
            is_own = self._is_own()
            os.close(self._descriptor)  # before: Windows deletes no file that is open
            self._descriptor = -1
            if is_own:
                self.path.unlink(missing_ok=True)

    def tell(self, done: int, of: int, measured: int) -> None:
        """Say how far the run is; written with the next sign of life.

        Raises:
            LeaseLostError: If another attempt has taken over.
        """
        self._told |= {"done": done, "of": of, "measured": measured}
        if self._is_lost or monotonic() - self._last > self.patience_s:
            raise LeaseLostError(
                f"This attempt gave no sign of life for {self.patience_s:g} s, or another one took over "
                f"`{self.path}`, so it stops. What was recorded stays."
            )

    def _created(self) -> bool:
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        self._write()
        return True

    def _take_over(self, dead: dict[str, Any]) -> None:
        """Move a dead lease away; of several who try, one succeeds."""
        moved = self.path.with_name(f"{self.path.name}.{self._told['id']}")
        try:
            self.path.rename(moved)
        except OSError:  # another one has moved it, or Windows keeps it open: look again
            sleep(POLL_S)
            return
        found = read_lease(moved)
        if found is not None and found.get("id") != dead.get("id"):  # another one was quicker: this lease is alive
            with suppress(OSError):  # else its owner notices, and stops
                os.link(moved, self.path)
        else:
            self.taken_from = dead
        moved.unlink(missing_ok=True)

    def _live(self) -> None:
        while not self._stop.wait(self.patience_s / BEATS):
            with self._writing:
                try:
                    if not self._is_own():
                        self._is_lost = True
                        return
                    self._told["beat"] += 1
                    self._write()
                except OSError:  # the disk is away for a while; `tell` counts the seconds
                    continue

    def _write(self) -> None:
        write_whole_at_start(self._descriptor, json.dumps(self._told).ljust(SIZE).encode())
        self._last = monotonic()

    def _is_own(self) -> bool:
        try:
            there, own = self.path.stat(), os.fstat(self._descriptor)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)


def write_whole_at_start(descriptor: int, content: bytes) -> None:
    """Write over the beginning of a file, by one call."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, content)


def break_lock(folder: Path) -> None:
    """Take away the lock file of a machine that died, where the file system keeps its lock.

    Only for who has taken the lease over from another machine.
    """
    (folder / LOCK).unlink(missing_ok=True)
