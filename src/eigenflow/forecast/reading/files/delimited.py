"""Tables in text, whatever separates their cells and whatever the file is called: the first lines tell the layout."""

import io
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.forecast.reading.columns.names import is_epoch, step_rank
from eigenflow.forecast.reading.files.opening import whole_text

__all__ = ["Layout", "layout_of", "read_delimited", "read_laid_out"]

SEPARATORS = (",", "\t", ";", "|", r"\s+")
_WORDS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", r"\s+": "blanks"}
LOOKED_AT = 200
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?i:nan|inf(?:inity)?)")
_COMMENT = re.compile(r"\s*#(?!\d)|sep=.$")  # the second is Excel's
_RULE = re.compile(r"[\s|:+-]+")  # between the names and the rows of a table in Markdown
_DECIMAL_COMMA = re.compile(r"[-+]?\d+(?:,\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Layout:
    r"""How a table stands in its text.

    Attributes:
        separator: Of cells; `\s+` for any number of blanks.
        names: Of the columns; empty if the first line that counts names them.
        first: Number of the line of the names, from 0; of the first row if there is none.
        has_comments: Whether lines that begin with # are no rows.
        is_decimal_comma: Whether numbers are written as 1,5.
        has_names: Whether the file names its columns.
        last: Number of its last line, None for the end of the file.
    """

    separator: str
    names: tuple[str, ...] = ()
    first: int = 0
    has_comments: bool = False
    is_decimal_comma: bool = False
    has_names: bool = True
    last: int | None = None


def layout_of(text: str, preferred: str | None = None) -> Layout | None:
    """Tell the layout of a table from its first lines; None if it is no table.

    Args:
        text: The file, or its beginning.
        preferred: A separator that the file's ending names, taken if the first line has it.
    """
    lines = _lines(text.lstrip("\ufeff"))[:LOOKED_AT]
    numbered = [(k, line) for k, line in enumerate(lines) if line.strip()]
    comments = [(k, line) for k, line in numbered if _COMMENT.match(line)]
    rows = [(k, line) for k, line in numbered if not _COMMENT.match(line)]
    has_preferred = bool(preferred and rows and preferred in rows[0][1] and not comments)
    if preferred and has_preferred and not all(map(_is_number, _cells(rows[0][1], preferred))):
        return Layout(preferred, first=rows[0][0])
    for separator in (*([preferred] if preferred else []), *SEPARATORS):
        found = _fitting(separator, rows, comments)
        if found is not None:
            return found
    return _in_markdown(text)


def _in_markdown(text: str) -> Layout | None:
    """The first table with a loss among the words of a page, as in a model card."""
    lines = _lines(text)
    for k, line in enumerate(lines[:-1]):
        if line.lstrip().startswith("|") and "loss" in line.lower() and _RULE.fullmatch(lines[k + 1]):
            end = next((n for n in range(k, len(lines)) if not lines[n].lstrip().startswith("|")), len(lines))
            found = _fitting("|", list(enumerate(lines))[k:end], [])
            return None if found is None else replace(found, last=end - 1)
    return None


def _lines(text: str) -> list[str]:
    """Lines, whichever of the three signs ends them."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _fitting(separator: str, rows: list[tuple[int, str]], comments: list[tuple[int, str]]) -> Layout | None:
    """The layout with this separator, if the lines are rows of it."""
    if separator == "|":
        rows = [(k, line) for k, line in rows if not _RULE.fullmatch(line)]
    if not rows:
        return None
    split = [_cells(line, separator) for _, line in rows]
    title = next((_cells(line.lstrip().lstrip("#"), separator) for _, line in comments), None)
    has_first = not any(_is_number(cell) for cell in split[0])
    body = split[1:] if has_first else split
    width = len(split[0]) if has_first else len(body[0])
    if width == 1 and separator == SEPARATORS[-1] and len(body) > 2 and not has_first and _is_all_numbers(body):
        return Layout(separator, ("loss",), rows[0][0], bool(comments), has_names=False)
    if width < 2 or not body or sum(len(cells) == width for cells in body) < 0.9 * len(body):
        return None
    is_comma = separator != "," and not _is_numeric(body, width, _NUMBER) and _is_numeric(body, width, _DECIMAL_COMMA)
    if not is_comma and not _is_numeric(body, width, _NUMBER):
        return None
    layout = Layout(separator, (), rows[0][0], bool(comments), is_comma)
    if has_first:
        # Any three words may stand above numbers: between blanks, one must be the name of a count.
        is_title = separator != r"\s+" or any(step_rank(name) is not None or is_epoch(name) for name in split[0])
        return layout if is_title else None
    titles = [_cells(line.lstrip().lstrip("#"), separator) for _, line in comments]
    title = next((one for one in titles if len(one) == width), title)
    if title is not None and len(title) == width:
        return replace(layout, names=tuple(title))
    return replace(layout, names=_made_up(body, width), has_names=False) if _is_all_numbers(body) else None


def _cells(line: str, separator: str) -> list[str]:
    if separator == r"\s+":
        return line.split()
    if separator == "|":
        line = line.strip().strip("|")
    return [cell.strip().strip('"') for cell in line.split(separator)]


def _is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell))


def _is_numeric(body: list[list[str]], width: int, number: re.Pattern[str]) -> bool:
    """Whether at least two columns hold numbers, or nothing, in nearly every row."""
    whole = [cells for cells in body if len(cells) == width]
    numeric = 0
    for column in zip(*whole, strict=True):
        said = [cell for cell in column if cell and cell.lower() not in {"no log", "none", "null", "-"}]
        numeric += bool(said) and sum(bool(number.fullmatch(cell)) for cell in said) >= 0.9 * len(said)
    return numeric >= 2


def _is_all_numbers(body: list[list[str]]) -> bool:
    cells = [cell for row in body for cell in row]
    return sum(map(_is_number, cells)) >= 0.98 * len(cells)


def _made_up(body: list[list[str]], width: int) -> tuple[str, ...]:
    """Names for a table without: a first column that counts up is the step, and of two the other is the loss."""
    names = [f"column_{k}" for k in range(1, width + 1)]
    first = np.array([float(row[0]) for row in body if len(row) == width and _is_number(row[0])])
    if len(first) > 1 and np.all(first == np.rint(first)) and np.all(np.diff(first) > 0):
        names[0] = "step"
        if width == 2:
            names[1] = "loss"
    return tuple(names)


def read_laid_out(path: Path, layout: Layout) -> tuple[pd.DataFrame, Int[np.ndarray, " entry"], tuple[str, ...]]:
    """Read a table of a known layout.

    Returns:
        Its cells as text, the line of each row, and what was done beyond splitting lines at commas.

    Raises:
        ArgumentError: If it is no such table; LimitError if it is too large.
    """
    text = whole_text(path).rstrip("\r\n")
    if layout == Layout(layout.separator) and layout.separator != "|" and "\r" not in text:
        frame = _parsed(text, layout.separator, path)
        return frame, np.arange(2, len(frame) + 2), _done(path, layout)
    lines = _lines(text)
    within("rows", len(lines), f"{path}")
    kept = [k for k, line in enumerate(lines) if _is_row(k, line, layout)]
    numbers = np.array([0] * bool(layout.names) + [k + 1 for k in kept], dtype=np.int64)
    lines = [lines[k] for k in kept]
    if layout.separator == "|":
        lines = [line.strip().strip("|") for line in lines]
    if layout.names:
        quoted = [name.replace('"', '""') for name in layout.names]
        lines.insert(0, (" " if layout.separator == r"\s+" else layout.separator).join(f'"{name}"' for name in quoted))
    frame = _parsed("\n".join(lines), layout.separator, path)
    if layout.is_decimal_comma:
        frame = frame.replace(r"^(\s*[-+]?\d+),(\d)", r"\1.\2", regex=True)
    if layout.names == ("loss",):
        frame.insert(0, "step", [str(k) for k in range(1, len(frame) + 1)])
    return frame, numbers[1 : len(frame) + 1], _done(path, layout)


def _is_row(number: int, line: str, layout: Layout) -> bool:
    """Whether a line is one of the table: its titles, or a row."""
    if number < layout.first or (layout.last is not None and number > layout.last):
        return False
    if layout.separator == "|" and _RULE.fullmatch(line):
        return False
    # A blank line counts where a comment may stand, too; else cells of a text may have one within quotes.
    is_plain = not (layout.has_comments or layout.first or layout.names or layout.separator == "|")
    return is_plain or (bool(line.strip()) and not _COMMENT.match(line))


def _done(path: Path, layout: Layout) -> tuple[str, ...]:
    notes = []
    if layout.separator not in {",", "\t"} and layout.names != ("loss",):
        notes.append(f"{path}: cells are separated by {_WORDS[layout.separator]}")
    if layout.is_decimal_comma:
        notes.append(f"{path}: decimal commas were read as points")
    if layout.names == ("loss",):
        notes.append(f"{path}: nothing but one number a line, taken as the losses of steps 1, 2, ...")
    elif not layout.has_names:
        notes.append(f"{path}: no line names the columns; they are called {', '.join(layout.names)}")
    return tuple(notes)


def read_delimited(path: Path, separator: str = ",") -> pd.DataFrame:
    """Read a CSV or TSV file, compressed or not; every cell is text, empty where nothing stands.

    Raises:
        ArgumentError: If it is no such table; LimitError if it is too large.
    """
    return _parsed(whole_text(path).rstrip("\r\n"), separator, path)  # blank lines at the end may be many


def _parsed(text: str, separator: str, path: Path) -> pd.DataFrame:
    first = text.partition("\n")[0]
    rows = text.count("\n") + 1
    columns = len(first.split()) if separator == r"\s+" else first.count(separator) + 1
    within("rows", rows, f"{path}")
    within("table_cells", rows * columns, f"{path}, with {columns:,} columns,")
    try:
        frame = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, skip_blank_lines=False, comment=None
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = str(error).replace("Error tokenizing data. C error: ", "").strip().rstrip(".")
        raise ArgumentError(
            f"{path} cannot be read as a table: {reason}. The first line must name the columns."
        ) from None
    if not isinstance(frame.index, pd.RangeIndex):
        raise ArgumentError(
            f"{path}, row 2: the row has more cells than the first line names columns. Name every column there."
        )
    return frame
