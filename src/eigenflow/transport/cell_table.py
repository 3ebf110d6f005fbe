"""Masses of cells from a CSV file, checked row by row."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from eigenflow.core.errors import ConfigError, FileError
from eigenflow.core.text import clean
from eigenflow.core.writing import explain
from eigenflow.transport.initial import CellMasses

__all__ = ["read_cells"]

COLUMNS = ["low", "high", "mass"]
MOST_CELLS = 100_000
MOST_BYTES = 64 * 2**20
# Masses whose sum is still a number, and edges within what a domain may hold.
LARGEST = 1e200
# Ends of neighbouring cells agree to this, relative.
_SAME = 1e-9


def read_cells(path: Path) -> CellMasses:
    """Read a table with the columns `low`, `high` and `mass`, cells in increasing order without gaps.

    Raises:
        ConfigError: If it is no such table, with the row.
        FileError: If it cannot be read.
    """
    what = f"`initial.table`: '{clean(str(path))}'"
    try:
        is_there = "\0" not in str(path) and path.is_file()
    except OSError as error:  # a name that is too long, a loop of links
        raise FileError(explain(clean(str(path)), error, "read")) from None
    if not is_there:
        raise ConfigError(
            f"{what} cannot be read: there is no such file. Paths are looked up from the config's folder."
        )
    table = _table(path, what)
    if not len(table):
        raise ConfigError(f"{what} has no rows. Give one cell a row: {', '.join(COLUMNS)}.")
    numbers = {name: _column(table, name, what) for name in COLUMNS}
    low, high, mass = (numbers[name] for name in COLUMNS)
    _refuse(low <= 0, what, "`low` must be positive", low)
    _refuse(high <= low, what, "`high` must be above `low`", high)
    _refuse(mass < 0, what, "`mass` must not be negative", mass)
    if len(low) > 1:
        gaps = np.append(False, np.abs(low[1:] - high[:-1]) > _SAME * high[:-1])
        _refuse(gaps, what, "a cell's `low` must be the `high` of the one before", low)
    return CellMasses(np.append(low, high[-1:]), mass)


def _table(path: Path, what: str) -> pd.DataFrame:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ConfigError(
                f"{what} has {size:,} bytes; at most {MOST_BYTES:,} are allowed, for {MOST_CELLS:,} cells."
            )
        # Neither unpacked (a small file may become a large one) nor converted: each cell is checked below.
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            table = pd.read_csv(path, dtype=str, compression=None, nrows=MOST_CELLS + 1, index_col=False)
    except pd.errors.ParserWarning:
        raise ConfigError(f"{what} has rows with more entries than its header. Give {', '.join(COLUMNS)}.") from None
    except OSError as error:
        raise FileError(explain(path, error, "read")) from None
    except (ValueError, MemoryError, RecursionError) as error:  # pandas has its own for wrong text and no columns
        raise ConfigError(f"{what} cannot be read as a table: {clean(str(error)).strip()}.") from None
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise ConfigError(f"{what} lacks the column(s) {', '.join(missing)}.")
    if len(table) > MOST_CELLS:
        raise ConfigError(f"{what} has more than {MOST_CELLS:,} rows, of one cell each. Join cells.")
    return table


def _column(table: pd.DataFrame, name: str, what: str) -> np.ndarray:
    values = np.asarray(pd.to_numeric(pd.Series(table[name]), errors="coerce"), dtype=np.float64)
    wrong = ~(np.abs(values) <= LARGEST)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ConfigError(
            f"{what}, row {row + 1}: `{name}` must be a number within 1e200, but is "
            f"'{clean(str(table[name].iloc[row]))[:40]}'."
        )
    return values


def _refuse(wrong: np.ndarray, what: str, rule: str, values: np.ndarray) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ConfigError(f"{what}, row {row + 1}: {rule}, but is {values[row]:g}.")
