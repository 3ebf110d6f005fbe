"""Logs that are text for people: what a program prints while it trains, found by patterns of lines."""

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.core.text import clean
from eigenflow.forecast.reading.files.line_steps import Counted, stepped
from eigenflow.forecast.reading.files.opening import first_lines, text_blocks
from eigenflow.forecast.reading.files.programs import PATTERNS
from eigenflow.forecast.reading.files.tables import LogTable
from eigenflow.forecast.reading.files.text_patterns import ANY_EPOCH, ANY_STEP, BELOW, COUNTS, LogPattern

__all__ = ["pattern_of", "read_by_pattern", "read_text_log", "unknown_text"]

# Marked lines that are looked at to find the program, and how much of each.
LOOKED_AT, AT_ONCE = 5_000, 250
LONGEST = 4_000
LEAST_ROWS = 2
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-Z])")
# A bar with a title is of another work: loading, tokenizing.
_BAR = re.compile(r"^\W*\d+%\|.*?\| *(\d+)/(\d+) \[")
_MOST_COLUMNS = 200


@dataclass
class _Rows:
    """What was found, by name: values beside the number of their row."""

    lines: array = field(default_factory=lambda: array("q"))
    cells: dict[str, tuple[array, array]] = field(default_factory=dict)
    waiting: int = 0

    def add(self, line: int, counts: Mapping[str, float], values: Mapping[str, float]) -> None:
        self.lines.append(line)
        for name, value in counts.items():
            self._put(name, value)
        for name, value in values.items():
            self._put(name, value)

    def _put(self, name: str, value: float) -> None:
        held = self.cells.get(name)
        if held is None:
            if len(self.cells) >= _MOST_COLUMNS:
                return
            held = self.cells[name] = (array("q"), array("d"))
        held[0].append(len(self.lines) - 1)
        held[1].append(value)

    def see_bar(self, done: float) -> None:
        """Note the bar that follows the rows since the last one."""
        rows, held = self.cells.setdefault("after", (array("q"), array("d")))
        rows.extend(range(self.waiting, len(self.lines)))
        held.extend([done] * (len(self.lines) - self.waiting))
        self.waiting = len(self.lines)

    def counted(self) -> Counted:
        """As arrays: counts for every row, other values where they stand."""
        cells = {
            name: (np.array(rows, dtype=np.int64), np.array(held, dtype=np.float64))
            for name, (rows, held) in self.cells.items()
        }
        counts = {}
        for name in COUNTS:
            counts[name] = np.full(len(self.lines), np.nan)
            if name in cells:
                at, values = cells.pop(name)
                counts[name][at] = values
        return Counted(np.array(self.lines, dtype=np.int64), counts, cells)


def read_text_log(path: Path, name: str) -> LogTable | None:
    """Read what a training program printed; None if no line of it is known.

    Memory grows with the rows that are found, not with the file.
    """
    pattern = pattern_of(path)
    return None if pattern is None else _table(path, name, pattern, _collect(path, pattern))


def read_by_pattern(path: Path, name: str, pattern: str) -> LogTable:
    """Read the rows that a regular expression of the user finds.

    Args:
        path: A text file.
        name: Of the run.
        pattern: With named groups: `step` (or `epoch`), a loss, and any others, which become columns. Groups of one row
            may stand on several lines; a line without a step belongs to the step before it.

    Raises:
        ArgumentError: If it is no such expression, or finds nothing.
    """
    compiled = _checked(pattern)
    rows = _collect_own(path, compiled)
    if not len(rows.lines):
        raise ArgumentError(
            f"`pattern` {pattern!r} finds nothing in {path}, which begins so:\n{_shown(path)}\nTry it on one of its "
            f"lines: a blank stands for one blank, `\\s+` for any number of them."
        )
    return _table(path, name, LogPattern("`pattern`", ()), rows)


def pattern_of(path: Path) -> LogPattern | None:
    """The program that most of the first lines about a loss are of; lines of any form where none is known."""
    marks = {mark for one in (*PATTERNS, ANY_STEP) for mark in one.marks}
    marks = [mark for mark in marks if not any(other in mark for other in marks - {mark})]
    lines = (line[:LONGEST] for _, line in islice(_marked(path, marks), LOOKED_AT))
    seen: list[str] = []
    found = [0] * len(PATTERNS)
    while some := list(islice(lines, AT_ONCE)):
        found = [count + _count(one, some) for count, one in zip(found, PATTERNS, strict=True)]
        if max(found) >= LEAST_ROWS:
            return PATTERNS[int(np.argmax(found))]
        seen += some
    loose = next((one for one in (ANY_STEP, ANY_EPOCH) if _count(one, seen) >= LEAST_ROWS), None)
    return loose or (BELOW if _has_rows_below(path, seen) else None)


def _has_rows_below(path: Path, seen: Sequence[str]) -> bool:
    """Whether lines with a loss stand below lines with a step or an epoch."""
    if _count(BELOW, seen) < LEAST_ROWS:
        return False
    lines = (line[:LONGEST] for _, line in islice(_marked(path, BELOW.marks), LOOKED_AT))
    return sum(bool(BELOW.head_of(line)) for line in lines) >= LEAST_ROWS


def unknown_text(path: Path) -> ArgumentError:
    """What to say of a text in which nothing was found."""
    return ArgumentError(
        f"{path}: unknown kind of file. It is no table, and no line of it is one of a known training program. It "
        f"begins so:\n{_shown(path)}\nSay what its lines look like: "
        r"--pattern 'step (?P<step>\d+).*?loss (?P<loss>[\d.]+)' (`pattern=` in Python), with "
        r"'.*?lr (?P<learning_rate>[\d.e+-]+)' where it shows rates; or give a table with columns step, loss and lr."
    )


def _count(pattern: LogPattern, lines: Sequence[str]) -> int:
    """Lines that are rows with a loss."""
    marks = pattern.marks
    found = 0
    for line in lines:
        if any(mark in line for mark in marks):
            row = pattern.row_of(line)
            found += row is not None and any("loss" in name for name in row)
    return found


def _marked(path: Path, marks: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Lines with one of the marks, and their numbers; what a carriage return overwrites is a line of its own."""
    first = 1
    for block in text_blocks(path):
        plain = _TERMINAL.sub("", block) if "\x1b" in block else block
        number, at = first, 0
        for begin, end in _spans(plain, marks):
            number += plain.count("\n", at, begin)
            at, line = begin, plain[begin:end]
            if "\r" in line or "\b" in line:
                yield from ((number, part) for part in re.split("[\r\b]+", line) if any(m in part for m in marks))
            else:
                yield number, line
        first += block.count("\n")


def _spans(text: str, marks: Sequence[str]) -> list[tuple[int, int]]:
    """Begin and end of every line with one of the marks: marks are found first, as most lines have none."""
    found: set[tuple[int, int]] = set()
    for mark in marks:
        at = text.find(mark)
        while at >= 0:
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            found.add((text.rfind("\n", 0, at) + 1, end))
            at = text.find(mark, end + 1)
    return sorted(found)


def _collect(path: Path, pattern: LogPattern) -> _Rows:
    rows = _Rows()
    counts: dict[str, float] = {}
    held: dict[str, float] = {}
    total = ""
    for number, line in _marked(path, pattern.marks):
        if pattern.is_dict and (bar := _BAR.search(line)):
            total = total or bar[2]
            if bar[2] == total:
                rows.see_bar(float(bar[1]))
                counts.update(before=float(bar[1]), total=float(total))
            if "loss" not in line:
                continue
        row = pattern.row_of(line[:LONGEST])
        if row is None:
            head = {name: _number(text) for name, text in pattern.head_of(line[:LONGEST]).items()}
            if head.keys() & set(COUNTS):
                counts = {name: value for name, value in head.items() if name in COUNTS}
            held.update((name, value) for name, value in head.items() if name not in COUNTS)
            continue
        values = {name: _number(text) for name, text in row.items()}
        counts = _merged(counts, {name: values.pop(name) for name in COUNTS if name in values})
        if not pattern.is_whole or counts.get("at") == counts.get("of"):
            within("rows", len(rows.lines) + 1, f"{path}")
            rows.add(number, counts, {**held, **values})
    return rows


def _merged(before: dict[str, float], own: dict[str, float]) -> dict[str, float]:
    """The counts of a row: its own, and those of the lines above that it continues."""
    if "step" in own or ("epoch" in own and before.get("epoch") != own["epoch"]):
        before = {name: before[name] for name in ("before", "total") if name in before}
    return {**before, **own}


def _collect_own(path: Path, pattern: re.Pattern[str]) -> _Rows:
    rows = _Rows()
    counts: dict[str, float] = {}
    for number, line in _marked(path, ("",)):
        found: dict[str, str] = {}
        for match in pattern.finditer(line[:LONGEST]):
            found.update((name, text) for name, text in match.groupdict().items() if text is not None)
        if not found:
            continue
        values = {name: _own_number(name, text, number, path) for name, text in found.items()}
        counts = _merged(counts, {name: values.pop(name) for name in COUNTS if name in values})
        if values:
            within("rows", len(rows.lines) + 1, f"{path}")
            rows.add(number, counts, values)
    return rows


def _checked(pattern: str) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise ArgumentError(f"`pattern` must be a regular expression (text), but is {pattern!r}.")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ArgumentError(f"`pattern` {pattern!r} is no regular expression: {error}.") from None
    names = list(compiled.groupindex)
    if not {"step", "epoch"} & set(names) or not any("loss" in name for name in names):
        raise ArgumentError(
            f"`pattern` must have named groups `step` (or `epoch`) and `loss`, but has {', '.join(names) or 'none'}. "
            r"For example: 'step (?P<step>\d+) loss (?P<loss>[\d.]+) lr (?P<learning_rate>[\d.e+-]+)'."
        )
    return compiled


def _number(text: str) -> float:
    return float(text.replace(",", "") if "," in text else text)


def _own_number(name: str, text: str, line: int, path: Path) -> float:
    try:
        return _number(text.strip())
    except ValueError:
        raise ArgumentError(
            f"{path}, row {line}: group {name!r} of `pattern` must find a number, but found {text[:60]!r}."
        ) from None


def _shown(path: Path) -> str:
    """The first lines, and the first ones about a loss."""
    lines = first_lines(path)
    about = [clean(line.strip()[:100]) for _, line in islice(_marked(path, ANY_STEP.marks), 3)]
    rest = [line for line in about if line not in lines]
    shown = [f"  | {line}" for line in lines] or ["  (nothing but blanks)"]
    return "\n".join([*shown, *(["  ..."] if rest else []), *(f"  | {line}" for line in rest)])


def _table(path: Path, name: str, pattern: LogPattern, rows: _Rows) -> LogTable:
    columns = len(rows.cells)
    within("table_cells", len(rows.lines) * columns, f"{path}, with {columns:,} columns,")
    frame, lines, planned, notes = stepped(rows.counted(), pattern, f"{path}")
    said = f"{path}: read as lines of {pattern.name}" if pattern.rows else f"{path}: read by `pattern`"
    return LogTable(
        f"{path}",
        frame,
        lines,
        is_sparse=True,
        name=name,
        notes=(f"{said}; {len(lines):,} rows", *notes),
        planned=planned,
        is_converted=pattern.nats != 1.0,
    )
