"""Reading the loss log: the rows that are as they were written, and in words what is not."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eigenflow.core.limits import within
from eigenflow.store.checksums import Checksums, LossBlock, digest
from eigenflow.store.folder import parse_strict, read_file
from eigenflow.store.loss_file import read_tail
from eigenflow.store.schema import LOSS, LOSSES, STEP, is_step

__all__ = ["LossScan", "ends_in_mid_line", "has_no_loss", "parse_lines", "scan_losses"]

_NUMBERS = ("time", LOSS, "learning_rate")
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class LossScan:
    """What a loss log holds.

    Attributes:
        rows: The rows that can be read and were not changed, in the order logged.
        offsets: Of each row, the byte at which its line begins; and the end of the last whole line.
        content: All bytes.
        problems: Sentences on what is left out.
        sound_bytes: Length of the part, from the beginning, that is as it was written.
        is_cut: Whether no row comes behind that part, as if the log had been cut off.
    """

    rows: list[dict[str, Any]]
    offsets: list[int]
    content: bytes
    problems: list[str]
    sound_bytes: int
    is_cut: bool

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

    def blocks(self, size: int, known: tuple[LossBlock, ...] = ()) -> tuple[LossBlock, ...]:
        """Sums of the first `size` bytes, those that are known as they are."""
        kept, begin = list[LossBlock](), 0
        for block in known:
            if begin + block.size > size:
                break
            kept.append(block)
            begin += block.size
        rest = self.content[begin:size]
        return (*kept, LossBlock.of(rest)) if rest else tuple(kept)


@dataclass(frozen=True)
class _Span:
    """A stretch of the file, with what it should be."""

    begin: int
    block: LossBlock

    @property
    def end(self) -> int:
        return self.begin + self.block.size

    def is_sound(self, content: bytes) -> bool:
        return self.end <= len(content) and digest(content[self.begin : self.end]) == self.block.sum

    def lines(self, content: bytes) -> int:
        """Whole lines that are left of a file that ends within the stretch; as many as there were if it does not."""
        return content.count(b"\n", self.begin) if len(content) < self.end else self.block.rows


def scan_losses(folder: Path, checksums: Checksums | None, *, is_ended: bool, is_held: bool) -> LossScan:
    """Read the loss log of a run folder, live or not.

    Args:
        folder: The run folder.
        checksums: Of the run, None if it has none.
        is_ended: Whether the run was closed, so that the sums cover the whole log.
        is_held: Whether a writer is at it; what is behind the sums then is being written.
    """
    path = folder / LOSSES
    try:
        content, is_there = read_file(path), True
    except FileNotFoundError:
        content, is_there = b"", False
    spans = _spans(path, checksums, is_held=is_held)
    bad = [span for span in spans if not span.is_sound(content)]
    covered = max((span.end for span in spans), default=0)
    problems = list[str]()
    if not is_there and (bad or checksums is None):
        problems.append(f"`{LOSSES}` is missing" + (f", with {_rows(bad):,} rows in it" if bad else ""))
    elif bad and bad == spans[-1:] and bad[0].lines(content) < bad[0].block.rows:
        lost = bad[0].block.rows - bad[0].lines(content)
        problems.append(
            f"`{LOSSES}` was cut off after it was written: {lost:,} rows are lost, the last ones by all signs"
        )
        covered, bad = len(content), []
    elif bad:
        problems.append(
            f"`{LOSSES}` was changed after it was written: {_rows(bad):,} rows cannot be told from changed ones and "
            f"are left out"
        )
    # Behind the sums of a run that goes on lie rows of its last moments; of one that ended, or was damaged, nothing.
    trusts_rest = checksums is None or not (bad or is_ended)
    if not trusts_rest and not bad and len(content) > covered:
        problems.append(f"`{LOSSES}` is {len(content) - covered} bytes longer than it was written; they are left out")
    end = len(content) if trusts_rest else min(covered, len(content))
    return _collect(content[:end], content, [(span.begin, span.end) for span in bad], problems)


def _spans(path: Path, checksums: Checksums | None, *, is_held: bool) -> list[_Span]:
    if checksums is None:
        return []
    spans, begin = list[_Span](), 0
    for block in checksums.losses:
        spans.append(_Span(begin, block))
        begin += block.size
    tail = None if is_held else read_tail(path)
    if tail is not None and tail[0] == begin:
        spans.append(_Span(*tail))
    return spans


def _rows(spans: list[_Span]) -> int:
    return sum(span.block.rows for span in spans)


def _collect(trusted: bytes, content: bytes, bad: list[tuple[int, int]], problems: list[str]) -> LossScan:
    *lines, _ = trusted.split(b"\n")
    within("rows", len(lines), f"`{LOSSES}`")
    rows, offsets, broken, backwards = [], [], [], []
    begin, sound = 0, None
    for number, (line, row) in enumerate(zip(lines, parse_lines(lines), strict=True), start=1):
        end = begin + len(line) + 1
        is_bad = any(first < end and begin < last for first, last in bad)
        is_backwards = row is not None and bool(rows) and row[STEP] <= rows[-1][STEP]
        if is_bad:
            sound = begin if sound is None else sound
        elif row is None:
            broken.append(number)
        elif is_backwards:
            backwards.append(number)
        else:
            rows.append(row)
            offsets.append(begin)
        begin = end
    if broken:
        problems.append(
            f"{len(broken)} lines of `{LOSSES}` cannot be read and are left out, the first is line {broken[0]}"
        )
    if backwards:
        problems.append(
            f"in {len(backwards)} lines of `{LOSSES}` the step does not increase; they are left out, the first is line "
            f"{backwards[0]}"
        )
    sound = begin if sound is None else sound
    is_cut = not offsets or offsets[-1] < sound
    return LossScan(rows, [*offsets, begin], content, problems, sound, is_cut)


def parse_lines(lines: list[bytes]) -> list[dict[str, Any] | None]:
    """The row in each line, None where there is none."""
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
    return isinstance(row, dict) and is_step(row.get(STEP)) and all(_is_number(row.get(key)) for key in _NUMBERS)


def _is_number(value: Any) -> bool:
    # 1e400 is JSON, but no number here.
    return value is None or (isinstance(value, int | float) and -_LARGEST <= value <= _LARGEST)


def has_no_loss(row: Mapping[str, Any]) -> bool:
    """Whether a row says that its loss was not finite."""
    return LOSS in row and row[LOSS] is None


def ends_in_mid_line(path: Path) -> bool:
    """Whether the last line of a log was not written to its end. Costs one byte of reading."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
