"""Logs as tables: CSV, Parquet, JSON lines, and what trackers export in these formats."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from eigenflow.core.errors import ArgumentError

__all__ = ["LogTable", "from_metrics", "read_json_log", "read_table"]

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
    """

    file: str
    frame: pd.DataFrame
    rows: Int[np.ndarray, " entry"]
    is_sparse: bool = False
    name: str = "curve"
    notes: tuple[str, ...] = ()


def read_table(path: Path) -> LogTable:
    """Read a CSV, TSV, Parquet or JSON lines file."""
    ending = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).lower()
    name = path.name.removesuffix(".gz").rpartition(".")[0]
    if ending == ".parquet":
        frame = _read_parquet(path)
        return LogTable(str(path), frame, np.arange(1, len(frame) + 1), name=name)
    if ending in {".jsonl", ".ndjson"}:
        return _read_json_lines(path, name)
    separator = "\t" if ending.startswith(".tsv") else ","
    try:
        frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, skip_blank_lines=False, comment=None)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ArgumentError(
            f"{path} cannot be read as a table: {error}. The first line must name the columns."
        ) from None
    frame = frame.rename(columns=lambda column: str(column).strip())
    rows = np.arange(2, len(frame) + 2)
    is_blank = (frame.isna() | (frame == "")).all(axis=1).to_numpy()
    return _tracker_form(LogTable(str(path), frame.loc[~is_blank].reset_index(drop=True), rows[~is_blank], name=name))


def read_json_log(path: Path) -> LogTable:
    """Read a JSON file: Hugging Face's `trainer_state.json`, a list of rows, columns, or a tracker's list of "
    "metrics."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArgumentError(f"{path} is not JSON: {error}.") from None
    name = path.stem if path.name != "trainer_state.json" else _trainer_name(path)
    if isinstance(content, Mapping) and "log_history" in content:
        return _trainer_state(path, content, name)
    if isinstance(content, Mapping):
        inner = content.get("metrics", content.get("history"))
        content = inner if isinstance(inner, list) else content
    if isinstance(content, Mapping) and content and all(isinstance(value, list) for value in content.values()):
        if len({len(value) for value in content.values()}) > 1:
            raise ArgumentError(
                f"{path}: its columns have different lengths: { {k: len(v) for k, v in content.items()} }."
            )
        content = [dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=True)]
    if not isinstance(content, list) or not content or not all(isinstance(row, Mapping) for row in content):
        raise ArgumentError(
            f"{path} holds no rows. Readable are a trainer_state.json, a list of objects, an object of columns, and "
            f"lists of metrics with `key`, `value`, `step`."
        )
    return _tracker_form(_from_rows(str(path), content, np.arange(1, len(content) + 1), name))


def from_metrics(file: str, name: str, metrics: Mapping[str, Iterable[tuple[float | int, float | int]]]) -> LogTable:
    """Make one table of several streams (step, value), each in the order in which it was logged.

    A value stands in the row of its own stream; the reader brings losses and learning rates together by step.
    """
    parts = [
        pd.DataFrame({"step": [s for s, _ in pairs], key: pd.Series([_said(v) for _, v in pairs], dtype=object)})
        for key, pairs in metrics.items()
    ]
    frame = pd.concat(parts, ignore_index=True).fillna("") if parts else pd.DataFrame()
    return LogTable(file, frame, np.arange(1, len(frame) + 1), is_sparse=True, name=name)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise ArgumentError(
            f"{path}: Parquet needs pyarrow, which is not installed. Install it with: pip install -c constraints.txt "
            f"'eigenflow[logs]'"
        ) from None
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{path} is not a Parquet file: {error}.") from None
    return frame.reset_index(drop=frame.index.name is None)


def _read_json_lines(path: Path, name: str) -> LogTable:
    content, rows = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ArgumentError(f"{path}, row {number} is not JSON: {error}.") from None
        if not isinstance(row, dict):
            raise ArgumentError(f"{path}, row {number} is no JSON object: {line[:60]!r}.")
        content.append(row)
        rows.append(number)
    return _tracker_form(_from_rows(str(path), content, np.array(rows), name))


def _from_rows(file: str, content: Sequence[Mapping[str, Any]], rows: np.ndarray, name: str) -> LogTable:
    """Rows of objects: a key that a row lacks is something that it does not log; a null or NaN is one."""
    keys = list(dict.fromkeys(key for row in content for key in row))
    frame = pd.DataFrame(
        {key: pd.Series([_said(row[key]) if key in row else "" for row in content], dtype=object) for key in keys}
    )
    is_sparse = any(len(row) < len(keys) for row in content)
    return LogTable(file, frame, rows, is_sparse=is_sparse, name=name)


def _said(cell: Any) -> Any:
    """A cell that is there: NaN and null are told from cells that are not."""
    return "nan" if cell is None or (isinstance(cell, float) and cell != cell) else cell


def _trainer_name(path: Path) -> str:
    folder = path.resolve().parent
    return folder.parent.name if folder.name.startswith("checkpoint-") else folder.name


def _trainer_state(path: Path, content: Mapping[str, Any], name: str) -> LogTable:
    history = content["log_history"]
    # The last entry holds means over the whole run (train_loss beside train_runtime): not a point of the curve.
    numbered = [(n, row) for n, row in enumerate(history, start=1) if "train_runtime" not in row]
    if not numbered:
        raise ArgumentError(f"{path}: its `log_history` is empty. Set `logging_steps` lower than the number of steps.")
    table = _from_rows(str(path), [row for _, row in numbered], np.array([n for n, _ in numbered]), name)
    spacing = content.get("logging_steps")
    note = f"{path}: each training loss is the trainer's mean over the {spacing or 'logged'} steps before it"
    return LogTable(table.file, table.frame, table.rows, is_sparse=True, name=name, notes=(note,))


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


def _long_metrics(table: LogTable, columns: Mapping[str, str]) -> LogTable:
    """Rows of `run, metric, value, step`: each metric becomes a column that is filled in its own rows."""
    key = columns.get("key") or columns["metric"]
    frame = table.frame.drop(columns=[key, columns["value"]])
    for metric in table.frame[key].unique():
        cells = table.frame[columns["value"]].astype(object)
        frame[str(metric)] = cells.where(table.frame[key] == metric, "")
    return LogTable(table.file, frame, table.rows, is_sparse=True, name=table.name, notes=table.notes)


def _wandb_page(table: LogTable, pages: Sequence[re.Match[str]]) -> LogTable:
    """Columns `RUN - METRIC`, `RUN - METRIC__MIN`, `RUN - METRIC__MAX` beside one column of steps."""
    step = next(c for c in table.frame.columns if str(c).lower().rpartition("/")[2] == "step")
    wanted: dict[str, dict[str, str]] = {}
    for page in pages:
        if not page[2].endswith(("__MIN", "__MAX")) and page[2].lower() not in {"step", "_step"}:
            wanted.setdefault(page[1], {})[page[2]] = page[0]
    parts = [
        table.frame.filter([step, *metrics.values()])
        .rename(columns=dict(zip(metrics.values(), metrics, strict=True)))
        .assign(run=run)
        for run, metrics in wanted.items()
    ]
    frame = pd.concat(parts, ignore_index=True).fillna("")
    rows = np.tile(table.rows, len(parts))
    return LogTable(table.file, frame, rows, is_sparse=True, name=table.name, notes=table.notes)
