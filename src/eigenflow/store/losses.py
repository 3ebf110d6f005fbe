"""The loss log of a run, `losses.jsonl`: one JSON object a line, appended only.

A logged line costs a few microseconds, so it may be called at every update. Rows of a recorder that
are known to have a place in JSON become lines when they are written. Lines wait in memory
for at most half a second of logging: a line that comes later than that after the last write is
written at once, with all that wait. A kill therefore loses at most the lines logged within half a
second of the last write, and none logged before the last committed measurement.
"""

import operator
import os
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eigenflow.core.errors import ArgumentError
from eigenflow.store.checksums import LossBlock
from eigenflow.store.folder import to_json
from eigenflow.store.loss_file import LossFile, encode
from eigenflow.store.schema import STEP, is_step

__all__ = ["LossLog"]

_BUFFERED_S = 0.5


class LossLog:
    """The appending end of the loss log. Its folder's lock must be held."""

    def __init__(self, path: Path, *, size: int = 0, last_step: int | None = None) -> None:
        """Open the log and drop what lies behind its first `size` bytes.

        Args:
            path: The file; made if missing.
            size: Bytes to keep, up to the end of a line.
            last_step: Step of the last row in them, None if there is none.
        """
        self.last_step = last_step
        self._file = LossFile(path, size)
        self._waiting = self._file.rows
        self._written_at = -_BUFFERED_S
        # For a writer that was never closed: runs when it is collected and when Python exits.
        self._last_flush = weakref.finalize(self, _flush_and_close, self._file, os.getpid())

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row.

        Raises:
            ArgumentError: If the row has no whole-numbered `step`, a step that does not increase,
                or a value that JSON cannot hold.
            NonFiniteError: If a value is NaN or infinite; names its key.
        """
        step = _step_of(row)
        if self.last_step is not None and step <= self.last_step:
            raise ArgumentError(
                f"Logged steps must increase, but {step} comes after {self.last_step}. "
                f"To go back to an earlier step, use `RunWriter.resume(path, start=step)`."
            )
        try:
            line = encode(row)
        except (ValueError, TypeError):
            line = encode(to_json(row, "row"))  # names the key that is at fault
        self._waiting.append(line)
        self.last_step = step
        if time.monotonic() - self._written_at >= _BUFFERED_S:
            self.flush()

    def append_plain(self, step: int, row: Mapping[str, Any]) -> None:
        """Add a row whose `step` is next, of texts, whole numbers of 64 bits and finite floats: nothing is checked.

        It becomes a line when it is written, with others, which costs less than one by one between updates.
        """
        self._waiting.append(row)
        self.last_step = step
        if time.monotonic() - self._written_at >= _BUFFERED_S:
            self.flush()

    def flush(self) -> None:
        """Hand all waiting lines to the operating system, where a kill does not reach them."""
        self._written_at = time.monotonic()
        self._file.flush()

    @property
    def has_more(self) -> bool:
        """Whether there are rows that no commit covers."""
        return bool(self._waiting) or self._file.stretch().size > 0

    def stretch(self) -> LossBlock:
        """What was written since the last commit, safe from a power cut."""
        stretch = self._file.stretch()
        if stretch.size:
            self._file.sync()
        return stretch

    def committed(self, stretch: LossBlock) -> None:
        """Go on behind a stretch whose sum now stands in `run.json`."""
        self._file.committed(stretch)

    def close(self) -> None:
        """Write what waits and close the file, whatever happens."""
        self._last_flush.detach()
        try:
            self.flush()
        finally:
            self._file.close()

    def remove_tail(self) -> None:
        """When `run.json` covers the whole log, no other file needs to."""
        self._file.remove_tail()


def _step_of(row: Mapping[str, Any]) -> int:
    try:
        step = operator.index(row[STEP])
        if is_step(step):
            return step
        came = f"has {step}"
    except KeyError:
        came = f"has only {sorted(row)}"
    except TypeError:
        came = f"has {row[STEP]!r}"
    raise ArgumentError(
        f"A logged row must have a whole number >= 0 under `{STEP}`, but {came}. "
        f"Count the updates from 0 and pass that count."
    )


def _flush_and_close(file: LossFile, owner: int) -> None:
    try:
        if os.getpid() == owner:
            file.flush()
    finally:
        file.close()
