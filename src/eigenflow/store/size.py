"""What a record takes on the disk."""

import os
from dataclasses import dataclass
from pathlib import Path

from eigenflow.store.folder import as_folder, in_words
from eigenflow.store.schema import REPORT, SUMMARY

__all__ = ["RecordSize", "record_size"]

_BLOCK = 512  # of `st_blocks`, on every system that has it


@dataclass(frozen=True)
class RecordSize:
    """What a record takes.

    Attributes:
        files: Number of files.
        content_bytes: Sum of their lengths: what a copy or an archive moves.
        disk_bytes: What the disk sets aside, whole blocks a file; the same where the system does not say.
    """

    files: int
    content_bytes: int
    disk_bytes: int

    def __str__(self) -> str:
        return f"{_mega(self.content_bytes)} in {self.files:,} files, {_mega(self.disk_bytes)} on this disk"


def record_size(path: str | Path) -> RecordSize:
    """Add up the files of a run folder, without `summary.json` and `report.html`; links are not followed.

    Raises:
        FileError: If the system refuses.
    """
    files = content = disk = 0
    folder = as_folder(path)
    with in_words(folder, "read"):
        for place, _, names in os.walk(folder):
            made_later = (SUMMARY, REPORT) if Path(place) == folder else ()
            for name in set(names).difference(made_later):
                try:
                    found = os.lstat(Path(place, name))
                except FileNotFoundError:  # a file of a writer that is at work
                    continue
                files += 1
                content += found.st_size
                disk += found.st_blocks * _BLOCK if hasattr(found, "st_blocks") else found.st_size
    return RecordSize(files, content, disk)


def _mega(count: int) -> str:
    return f"{count / 1e6:,.2f} MB" if count < 1e8 else f"{count / 1e6:,.0f} MB"
