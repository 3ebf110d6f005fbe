"""The open file of the loss log, and the sum of what was written into it since the last commit.

Sums of finished stretches stand in `run.json`. What came since stands in a small file beside the log, overwritten in
place after each write: rows may exceed what it covers, if a kill comes between the two, but never fall below.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from eigenflow.store.checksums import LossBlock, new_sum
from eigenflow.store.folder import in_words, parse_strict, read_file
from eigenflow.store.schema import TAIL

__all__ = ["LossFile", "encode", "read_tail"]

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
# Of the small file: one write within a page is not torn by a kill.
_TAIL_BYTES = 160


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(type(value).__name__)


# A row as a line of the log.
encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, default=_plain).encode


class LossFile:
    """The appending end of the loss log. Its folder's lock must be held."""

    def __init__(self, path: Path, size: int) -> None:
        """Open the log, made if missing, and drop what lies behind its first `size` bytes."""
        self.path = path
        # What waits: lines, and rows that are known to have a place in JSON and become lines when they are written.
        self.rows: list[str | Mapping[str, Any]] = []
        self._tail = path.with_name(TAIL)
        with in_words(path):
            # What it says of bytes that are dropped now would be taken for a loss.
            self._tail.unlink(missing_ok=True)
            self._file = FileIO(path, "ab", opener=lambda name, flags: os.open(name, flags | _NO_LINK, 0o666))
            self._file.truncate(size)
        self._begin_stretch(size)

    def _begin_stretch(self, begin: int) -> None:
        self._begin, self._rows, self._bytes, self._sum = begin, 0, 0, new_sum()

    def flush(self) -> None:
        """Write what waits, or nothing: a full disk must not leave half a line before the next."""
        if not self.rows:
            return
        lines = [row if isinstance(row, str) else encode(row) for row in self.rows]
        content = ("\n".join(lines) + "\n").encode()
        with in_words(self.path):
            self._write(content)
            self._rows += len(lines)
            self._bytes += len(content)
            self._sum.update(content)
            self.rows.clear()
            self._write_tail()

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        size = os.fstat(self._file.fileno()).st_size
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:
            os.ftruncate(self._file.fileno(), size)
            raise

    def _write_tail(self) -> None:
        told = json.dumps({"begin": self._begin, "block": asdict(self.stretch())})
        descriptor = os.open(self._tail, os.O_WRONLY | os.O_CREAT | _NO_LINK, 0o666)
        try:
            os.write(descriptor, told.ljust(_TAIL_BYTES - 1).encode() + b"\n")
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Put what was written on the disk, so that a power cut leaves no `run.json` that knows more than the log."""
        with in_words(self.path):
            os.fsync(self._file.fileno())

    def stretch(self) -> LossBlock:
        """What was written since the last commit."""
        return LossBlock(self._rows, self._bytes, self._sum.hexdigest())

    def committed(self, stretch: LossBlock) -> None:
        """Begin a new stretch, as the one so far stands in `run.json`."""
        self._begin_stretch(self._begin + stretch.size)

    def close(self) -> None:
        """Close the file; what waits is not written."""
        self._file.close()

    def remove_tail(self) -> None:
        """When `run.json` covers the whole log, the small file has nothing to add."""
        with in_words(self._tail):
            self._tail.unlink(missing_ok=True)


def read_tail(log: Path) -> tuple[int, LossBlock] | None:
    """What the small file beside a log says: where its stretch begins, and the stretch. None if there is nothing."""
    try:
        told = parse_strict(read_file(log.with_name(TAIL)))
    except (FileNotFoundError, ValueError):
        return None
    is_sound = isinstance(told, dict) and type(told.get("begin")) is int and LossBlock.is_sound(told.get("block"))
    return (told["begin"], LossBlock(**told["block"])) if is_sound else None
