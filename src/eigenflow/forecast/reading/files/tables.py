"""Logs as tables: what every kind of file is brought into."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.forecast.reading.files.delimited import read_delimited as read_delimited

__all__ = ["LogTable", "from_frame", "from_metrics", "from_rows", "joined", "read_delimited", "refuse_doubled"]


@dataclass(frozen=True)
class LogTable:
    """The rows of one file, as they stand in it.

    Attributes:
        file: As the user gave it.
        frame: Its columns; cells of text files are text, empty where nothing was logged.
        rows: Where a person finds each entry: its line in a text file (the header is 1), else from 1.
        is_sparse: Whether a row without a loss is normal, since it logs something else.
        name: What the run is called if no column says it.
        notes: What the reader did.
        planned: Updates that the run shall have in all, where the file says it.
        is_converted: Whether its losses were brought to nats, so that their unit is no question.
        is_stream: Whether it holds one metric of a run whose others stand in files of their own.
    """

    file: str
    frame: pd.DataFrame
    rows: Int[np.ndarray, " entry"]
    is_sparse: bool = False
    name: str = "curve"
    notes: tuple[str, ...] = ()
    planned: int | None = None
    is_converted: bool = False
    is_stream: bool = False


def from_frame(frame: pd.DataFrame, file: str, name: str = "curve") -> LogTable:
    """Make a table of a frame: its index is left out, and what is neither number nor text becomes text."""
    frame = frame.reset_index(drop=True)
    made = {k: _plain_column(frame.iloc[:, k]) for k in range(frame.shape[1])}
    found = pd.DataFrame(made, index=frame.index)
    found.columns = [str(column) for column in frame.columns]
    return LogTable(file, found, np.arange(1, len(found) + 1), name=name)


def _plain_column(cells: Any) -> Any:
    is_mixed = cells.dtype == object or isinstance(cells.dtype, pd.CategoricalDtype)
    return cells.astype(object).map(_plain) if is_mixed else cells


def from_metrics(
    file: str,
    name: str,
    metrics: Mapping[str, Sequence[tuple[float | int, float | int]]],
    notes: tuple[str, ...] = (),
) -> LogTable:
    """Make one table of several streams (step, value), each in the order in which it was logged.

    A value stands in the row of its own stream; the reader brings losses and learning rates together by step.
    """
    within("table_cells", len(metrics) * sum(len(pairs) for pairs in metrics.values()), file)
    parts = [
        pd.DataFrame({"step": [s for s, _ in pairs], key: pd.Series([_said(v) for _, v in pairs], dtype=object)})
        for key, pairs in metrics.items()
    ]
    frame = joined(parts) if parts else pd.DataFrame()
    return LogTable(file, frame, np.arange(1, len(frame) + 1), is_sparse=True, name=name, notes=notes)


def from_rows(file: str, content: Sequence[Mapping[str, Any]], rows: Int[np.ndarray, " entry"], name: str) -> LogTable:
    """Rows of objects: a key that a row lacks, or that is null, is not logged there; NaN is."""
    keys = list(dict.fromkeys(key for row in content for key in row))
    within("rows", len(content), file)
    within("table_cells", len(content) * len(keys), f"{file}, with {len(keys):,} different keys,")
    frame = pd.DataFrame(
        {key: pd.Series([_said(row[key]) if key in row else "" for row in content], dtype=object) for key in keys}
    )
    is_sparse = any(len(row) < len(keys) for row in content)
    return LogTable(file, frame, rows, is_sparse=is_sparse, name=name)


def _said(cell: Any) -> Any:
    """A cell as it stands: a NaN that was written is told from null, which says that nothing was measured."""
    if cell is None:
        return ""
    return "nan" if isinstance(cell, float) and cell != cell else _plain(cell)


def _plain(cell: Any) -> Any:
    """A number, text, or nothing; of anything else the text, as it is neither."""
    if cell is None or (isinstance(cell, str | int | float) and not isinstance(cell, bool)):
        return str(cell) if isinstance(cell, int) and abs(cell) >= 2**63 else cell
    return str(cell)[:100]


def refuse_doubled(table: LogTable) -> None:
    """Refuse two columns of one name, as neither can be chosen."""
    names = table.frame.columns
    if not names.is_unique:
        raise ArgumentError(
            f"{table.file}: two columns are called {str(names[names.duplicated()][0])!r}. Rename or remove one."
        )


def joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other; what a part has no column for is empty."""
    frame = pd.concat(parts, ignore_index=True)
    holes: dict[str, Any] = {name: frame[name].isna() for name in frame.columns}
    filled = {name: frame[name].astype(object).mask(hole, "") for name, hole in holes.items() if hole.any()}
    return frame.assign(**filled)
