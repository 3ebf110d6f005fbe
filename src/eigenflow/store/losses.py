"""The loss log of a run, `losses.jsonl`: one JSON object a line, appended only.

A logged line costs a few microseconds, so it may be called at every update. Lines wait in memory
for at most half a second of logging: a line that comes later than that after the last write is
written at once, with all that wait. A kill therefore loses at most the lines logged within half a
second of the last write, and none logged before the last committed measurement.
"""

import json
import operator
import os
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.store.folder import parse_strict, to_json
from eigenflow.store.schema import LOSS, STEP

__all__ = ["LossLog", "LossScan", "ends_in_mid_line", "has_no_loss", "scan_losses"]

_BUFFERED_S = 0.5


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(type(value).__name__)


_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, default=_plain).encode


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
        self._file = FileIO(path, "ab")
        self._file.truncate(size)
        self._lines: list[str] = []
        self._written_at = -_BUFFERED_S
        # For a writer that was never closed: runs when it is collected and when Python exits.
        self._last_flush = weakref.finalize(self, _flush_and_close, self._file, self._lines, os.getpid())

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
            line = _encode(row)
        except (ValueError, TypeError):
            line = _encode(to_json(row, "row"))  # names the key that is at fault
        self._lines.append(line)
        self.last_step = step
        if time.monotonic() - self._written_at >= _BUFFERED_S:
            self.flush()

    def flush(self) -> None:
        """Hand all waiting lines to the operating system, where a kill does not reach them."""
        self._written_at = time.monotonic()
        if self._lines:
            _write_lines(self._file, self._lines)
            self._lines.clear()

    def close(self) -> None:
        """Write what waits and close the file, whatever happens."""
        self._last_flush.detach()
        try:
            self.flush()
        finally:
            self._file.close()


def _step_of(row: Mapping[str, Any]) -> int:
    try:
        return operator.index(row[STEP])
    except KeyError:
        came = f"has only {sorted(row)}"
    except TypeError:
        came = f"has {row[STEP]!r}"
    raise ArgumentError(
        f"A logged row must have a whole number under `{STEP}`, but {came}. "
        f"Count the updates from 0 and pass that count."
    )


def _write_lines(file: FileIO, lines: list[str]) -> None:
    """Append lines, or nothing: a full disk must not leave half a line before the next."""
    content = memoryview(("\n".join(lines) + "\n").encode())
    size = os.fstat(file.fileno()).st_size
    try:
        while content:
            content = content[file.write(content) :]
    except BaseException:
        os.ftruncate(file.fileno(), size)
        raise


def _flush_and_close(file: FileIO, lines: list[str], owner: int) -> None:
    if lines and os.getpid() == owner:
        _write_lines(file, lines)
    file.close()


@dataclass(frozen=True)
class LossScan:
    """What a loss log holds.

    Attributes:
        rows: The readable rows, in the order logged.
        offsets: Of each row, the byte at which its line begins; and the end of the last whole line.
        broken_lines: Numbers, from 1, of whole lines that are no JSON object with a step.
        has_partial_line: Whether the file ends in the middle of a line, as a kill may leave it.
    """

    rows: list[dict[str, Any]]
    offsets: list[int]
    broken_lines: list[int]
    has_partial_line: bool

    def cut(self, start: int) -> tuple[list[dict[str, Any]], int]:
        """Keep what comes before a step.

        Args:
            start: The first step to drop.

        Returns:
            The kept rows and the size in bytes to which the file must be cut.
        """
        for index, row in enumerate(self.rows):
            if row[STEP] >= start:
                return self.rows[:index], self.offsets[index]
        return self.rows, self.offsets[-1]


def scan_losses(path: Path) -> LossScan:
    """Read a loss log, live or not. A missing file is an empty log."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    *lines, partial = content.split(b"\n")
    rows, offsets, broken_lines = [], [], []
    begin = 0
    for number, (line, row) in enumerate(zip(lines, _parse_lines(lines), strict=True), start=1):
        if row is None:
            broken_lines.append(number)
        else:
            rows.append(row)
            offsets.append(begin)
        begin += len(line) + 1
    return LossScan(rows, [*offsets, begin], broken_lines, bool(partial))


def _parse_lines(lines: list[bytes]) -> list[dict[str, Any] | None]:
    try:
        # One call of the parser is several times faster than one a line.
        rows = parse_strict(b"[" + b",".join(lines) + b"]")
    except ValueError:
        return [_parse_line(line) for line in lines]
    if len(rows) == len(lines) and all(_is_row(row) for row in rows):
        return rows
    return [_parse_line(line) for line in lines]


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        row = parse_strict(line)
    except ValueError:
        return None
    return row if _is_row(row) else None


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and type(row.get(STEP)) is int


def has_no_loss(row: Mapping[str, Any]) -> bool:
    """Whether a row says that its loss was not finite."""
    return LOSS in row and row[LOSS] is None


def ends_in_mid_line(path: Path) -> bool:
    """Whether the last line of a log was not written to its end. Costs one byte of reading."""
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except FileNotFoundError:
        return False
