"""A run folder read while it grows: only what is new of its loss log, and of its measurements only what is asked for.

For a picture of a living run. Rows are taken as they stand, without their sums; `open_run` checks them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eigenflow.core.errors import FileError, RunFolderError
from eigenflow.core.writing import explain
from eigenflow.store.folder import explain_link
from eigenflow.store.layout import read_layout
from eigenflow.store.loss_scan import parse_lines
from eigenflow.store.manifest import Manifest
from eigenflow.store.schema import LOSSES, MEASUREMENTS

__all__ = ["LossTail", "measured_values"]

_BLOCK = 2**20
# Bytes before the place that was reached, by which a log is known again.
_SEAM = 128
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class LossTail:
    """The loss log of a run folder, whole lines only."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOSSES
        self._offset, self._seam = 0, b""

    def rewind(self) -> None:
        """Begin again with the first row."""
        self._offset, self._seam = 0, b""

    def is_rewritten(self) -> bool:
        """Whether what was read is no longer there: the log was cut, as at a resume, or replaced."""
        if self._offset == 0:
            return False
        try:
            with self._opened() as file:
                file.seek(self._offset - len(self._seam))
                return file.read(len(self._seam)) != self._seam
        except FileNotFoundError:
            return True

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows that have come since the last call; lines that are no rows are left out.

        Raises:
            FileError: If the system refuses.
            RunFolderError: If the log is a link.
        """
        try:
            file = self._opened()
        except FileNotFoundError:
            return
        with file:
            file.seek(self._offset)
            while block := file.read(_BLOCK):
                end = block.rfind(b"\n") + 1
                if end == 0 and len(block) < _BLOCK:
                    return  # a line that is being written
                lines = block[:end] if end else block  # a "line" of a megabyte is damage, and is passed over
                self._offset += len(lines)
                self._seam = (self._seam + lines)[-_SEAM:]
                file.seek(self._offset)
                yield from (row for row in parse_lines(lines.split(b"\n")[:-1]) if row is not None)

    def _opened(self) -> Any:
        try:
            if self._path.is_symlink():
                raise RunFolderError(explain_link(self._path))
            return os.fdopen(os.open(self._path, _FLAGS), "rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise FileError(explain(self._path, error, "read")) from None


def measured_values(folder: Path, manifest: Manifest, name: str, index: int) -> np.ndarray | None:
    """One variable of one committed measurement; None if the run has no such variable.

    Raises:
        RunFolderError: If it cannot be read, as while the run is being resumed.
    """
    if name not in manifest.measured_variables:
        return None
    layout = read_layout(folder / MEASUREMENTS, (name,), index + 1)
    array = layout.growing[name]
    return array.unpack(array.read_chunk(index), index)
