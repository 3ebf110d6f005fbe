"""Logs as tables: CSV, Parquet, JSON lines, and what trackers export in these formats."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.core.reading import parse_json, read_json, read_text
from eigenflow.forecast.reading.parquet import read_parquet

__all__ = ["LogTable", "from_frame", "from_metrics", "read_delimited", "read_json_log", "read_table", "refuse_doubled"]

TABLE_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".jsonl", ".ndjson")


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
    """

    file: str
    frame: pd.DataFrame
    rows: Int[np.ndarray, " entry"]
    is_sparse: bool = False
    name: str = "curve"
    notes: tuple[str, ...] = ()
    planned: int | None = None


def read_table(path: Path) -> LogTable:
    """Read a CSV, TSV, Parquet or JSON lines file."""
    ending = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).lower()
    name = path.name.removesuffix(".gz").rpartition(".")[0]
    if ending == ".parquet":
        return _tracker_form(from_frame(read_parquet(path), str(path), name))
    if ending in {".jsonl", ".ndjson"}:
        return _read_json_lines(path, name)
    frame = read_delimited(path, "\t" if ending.startswith(".tsv") else ",")
    frame = frame.rename(columns=lambda column: str(column).strip())
    rows = np.arange(2, len(frame) + 2)
    is_blank = (frame.isna() | (frame == "")).all(axis=1).to_numpy()
    return _tracker_form(LogTable(str(path), frame.loc[~is_blank].reset_index(drop=True), rows[~is_blank], name=name))


def read_delimited(path: Path, separator: str = ",") -> pd.DataFrame:
    """Read a CSV or TSV file, compressed or not; every cell is text, empty where nothing stands.

    Raises:
        ArgumentError: If it is no such table; LimitError if it is too large.
    """
    text = read_text(path).rstrip("\r\n")  # blank lines at the end may be many
    rows, columns = text.count("\n") + 1, text.partition("\n")[0].count(separator) + 1
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


def read_json_log(path: Path) -> LogTable:
    """Read a JSON file: Hugging Face's `trainer_state.json`, a list of rows, or of columns, or a tracker's list."""
    content = read_json(path)
    name = path.stem if path.name != "trainer_state.json" else _trainer_name(path)
    if isinstance(content, Mapping) and "log_history" in content:
        return _trainer_state(path, content, name)
    if isinstance(content, Mapping):
        inner = content.get("metrics", content.get("history"))
        content = inner if isinstance(inner, list) else content
    if isinstance(content, Mapping) and content and all(isinstance(value, list) for value in content.values()):
        if len({len(value) for value in content.values()}) > 1:
            lengths = ", ".join(f"{key!r} {len(value)}" for key, value in list(content.items())[:20])
            raise ArgumentError(f"{path}: its columns have different lengths: {lengths}.")
        content = [dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=True)]
    if not isinstance(content, list) or not content or not all(isinstance(row, Mapping) for row in content):
        raise ArgumentError(
            f"{path} holds no rows. Readable are a trainer_state.json, a list of objects, an object of columns, and "
            f"lists of metrics with `key`, `value`, `step`."
        )
    return _tracker_form(_from_rows(str(path), content, np.arange(1, len(content) + 1), name))


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
    frame = _joined(parts) if parts else pd.DataFrame()
    return LogTable(file, frame, np.arange(1, len(frame) + 1), is_sparse=True, name=name, notes=notes)


def _read_json_lines(path: Path, name: str) -> LogTable:
    content, rows = [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        row = parse_json(line, f"{path}, row {number}")
        if not isinstance(row, dict):
            raise ArgumentError(f"{path}, row {number} is no JSON object: {line[:60]!r}.")
        content.append(row)
        rows.append(number)
    return _tracker_form(_from_rows(str(path), content, np.array(rows, dtype=np.int64), name))


def _from_rows(file: str, content: Sequence[Mapping[str, Any]], rows: np.ndarray, name: str) -> LogTable:
    """Rows of objects: a key that a row lacks is something that it does not log; a null or NaN is one."""
    keys = list(dict.fromkeys(key for row in content for key in row))
    within("rows", len(content), file)
    within("table_cells", len(content) * len(keys), f"{file}, with {len(keys):,} different keys,")
    frame = pd.DataFrame(
        {key: pd.Series([_said(row[key]) if key in row else "" for row in content], dtype=object) for key in keys}
    )
    is_sparse = any(len(row) < len(keys) for row in content)
    return LogTable(file, frame, rows, is_sparse=is_sparse, name=name)


def _said(cell: Any) -> Any:
    """A cell that is there: NaN and null are told from cells that are not."""
    return "nan" if cell is None or (isinstance(cell, float) and cell != cell) else _plain(cell)


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


def _trainer_name(path: Path) -> str:
    folder = path.resolve().parent
    return folder.parent.name if folder.name.startswith("checkpoint-") else folder.name


def _trainer_state(path: Path, content: Mapping[str, Any], name: str) -> LogTable:
    history = content["log_history"]
    if not isinstance(history, list):
        raise ArgumentError(f"{path}: `log_history` must be a list of entries, but is {str(history)[:60]!r}.")
    wrong = next((n for n, row in enumerate(history, start=1) if not isinstance(row, Mapping)), None)
    if wrong is not None:
        raise ArgumentError(
            f"{path}: entry {wrong} of `log_history` must be an object of key and value, but is "
            f"{str(history[wrong - 1])[:60]!r}."
        )
    # The last entry holds means over the whole run (train_loss beside train_runtime): not a point of the curve.
    numbered = [(n, row) for n, row in enumerate(history, start=1) if "train_runtime" not in row]
    if not numbered:
        raise ArgumentError(f"{path}: its `log_history` is empty. Set `logging_steps` lower than the number of steps.")
    table = _from_rows(str(path), [row for _, row in numbered], np.array([n for n, _ in numbered]), name)
    spacing = content.get("logging_steps")
    note = f"{path}: each training loss is the trainer's mean over the {spacing or 'logged'} steps before it"
    most = content.get("max_steps")
    planned = most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else None
    return LogTable(table.file, table.frame, table.rows, is_sparse=True, name=name, notes=(note,), planned=planned)


def _tracker_form(table: LogTable) -> LogTable:
    """Bring exports of trackers into rows with a step: W&B's page, W&B's history, MLflow's metric lists."""
    columns = {str(column).lower(): str(column) for column in table.frame.columns}
    if "value" in columns and "step" in columns and ("key" in columns or "metric" in columns):
        return _long_metrics(table, columns)
    pages = [re.fullmatch(r"(.+) - (.+)", str(column)) for column in table.frame.columns]
    if any(pages) and "step" in {name.rpartition("/")[2] for name in columns}:
        return _wandb_page(table, [page for page in pages if page])
    is_history = "_step" in columns or {"_runtime", "_timestamp"} & set(columns)
    return LogTable(table.file, table.frame, table.rows, table.is_sparse or bool(is_history), table.name, table.notes)


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other; what a part has no column for is empty."""
    frame = pd.concat(parts, ignore_index=True)
    holes: dict[str, Any] = {name: frame[name].isna() for name in frame.columns}
    filled = {name: frame[name].astype(object).mask(hole, "") for name, hole in holes.items() if hole.any()}
    return frame.assign(**filled)


def _long_metrics(table: LogTable, columns: Mapping[str, str]) -> LogTable:
    """Rows of `run, metric, value, step`: each metric becomes a column that is filled in its own rows."""
    key = columns.get("key") or columns["metric"]
    frame = table.frame.drop(columns=[key, columns["value"]])
    names = table.frame[key].astype(str)
    metrics = names.unique()
    within("table_cells", len(frame) * len(metrics), f"{table.file}, with {len(metrics):,} different metrics,")
    values = table.frame[columns["value"]].astype(object)
    filled = {metric: values.where(names == metric, "") for metric in metrics}
    frame = pd.concat([frame, pd.DataFrame(filled, index=frame.index)], axis=1)
    return LogTable(table.file, frame, table.rows, is_sparse=True, name=table.name, notes=table.notes)


def _wandb_page(table: LogTable, pages: Sequence[re.Match[str]]) -> LogTable:
    """Columns `RUN - METRIC`, `RUN - METRIC__MIN`, `RUN - METRIC__MAX` beside one column of steps."""
    refuse_doubled(table)
    step = next(c for c in table.frame.columns if str(c).lower().rpartition("/")[2] == "step")
    wanted: dict[str, dict[str, str]] = {}
    for page in pages:
        if not page[2].endswith(("__MIN", "__MAX")) and page[2].lower() not in {"step", "_step"}:
            wanted.setdefault(page[1], {})[page[2]] = page[0]
    if not wanted:
        raise ArgumentError(f"{table.file}: no column is `RUN - METRIC`, though some look like exports of W&B.")
    parts = [
        table.frame[[step, *metrics.values()]].set_axis([step, *metrics], axis=1).assign(run=run)
        for run, metrics in wanted.items()
    ]
    within("table_cells", len(parts) * len(table.frame) * len({m for one in wanted.values() for m in one}), table.file)
    frame = _joined(parts)
    rows = np.tile(table.rows, len(parts))
    return LogTable(table.file, frame, rows, is_sparse=True, name=table.name, notes=table.notes)
