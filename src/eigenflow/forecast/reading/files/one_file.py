"""One file of any kind: told by its first bytes and lines, and by its name where those say too little."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from eigenflow.core.errors import ArgumentError, LimitError
from eigenflow.core.reading import require_regular
from eigenflow.forecast.reading.files.delimited import Layout, layout_of, read_laid_out
from eigenflow.forecast.reading.files.exports import tracker_form
from eigenflow.forecast.reading.files.json_logs import is_json_lines, read_json_lines, read_json_log
from eigenflow.forecast.reading.files.opening import encoding_of, head_of
from eigenflow.forecast.reading.files.parquet import read_parquet
from eigenflow.forecast.reading.files.tables import LogTable, from_frame
from eigenflow.forecast.reading.files.text_logs import read_by_pattern, read_text_log, unknown_text
from eigenflow.forecast.reading.files.trackers import is_event_file, read_events, read_mlflow

__all__ = ["TABLE_ENDINGS", "load_file", "stem_of"]

TABLE_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_BEGINS_AS_JSON = re.compile(r"\s*(?:\{\s*[\"']|\[\s*(?:[\[{]|-?[\d.]+\s*,))")
_PACKED = (".gz", ".bz2", ".xz", ".zip")

# First bytes of files that people give and that are no logs: what they are, and what to do.
_REFUSED = (
    (
        b"SQLite format 3\x00",
        "is a database (SQLite), as of MLflow. Export the run: `MlflowClient('sqlite:///FILE').get_metric_history(run, "
        "'loss')` gives rows of key, value and step; write them as CSV",
    ),
    (b":W&B", "is a run that W&B has not sent yet. Send it with `wandb sync`, then export the history as CSV"),
    (b"\x89HDF", "is HDF5, which holds weights and no log"),
    (b"\x80\x04", "is a pickle, which is never opened. Write the history as JSON or CSV"),
    (b"\x80\x03", "is a pickle, which is never opened. Write the history as JSON or CSV"),
    (b"\x80\x05", "is a pickle, which is never opened. Write the history as JSON or CSV"),
    (b"\x93NUMPY", "is an array of NumPy. Save it as text: `numpy.savetxt`"),
    (b"%PDF", "is a PDF. Give the table behind the picture"),
    (b"\x89PNG", "is a picture. Give the table behind it"),
    (b"\xff\xd8\xff", "is a picture. Give the table behind it"),
    (b"\xd0\xcf\x11\xe0", "is an Excel workbook. Save the sheet as CSV"),
)


def stem_of(path: Path) -> str:
    """The name of a file without its endings: `a.csv.gz` is a, `b.log.json` is b."""
    name = path.name
    for ending in _PACKED:
        name = name.removesuffix(ending)
    stem = name.rpartition(".")[0] or name
    return stem.removesuffix(".log") or stem


def load_file(path: Path, pattern: str | None = None) -> list[LogTable]:
    """Read one file: one table, or several where it holds runs that began anew.

    Args:
        path: The file.
        pattern: A regular expression for the lines of a text log; other kinds of files are refused then.

    Raises:
        ArgumentError: If its kind is unknown, or it is damaged.
    """
    require_regular(path)
    head = head_of(path)
    name, ending = stem_of(path), _ending(path)
    if is_event_file(path, head):
        return _without_pattern(path, pattern, read_events)
    if ending == ".parquet" or head.startswith(b"PAR1"):
        return _without_pattern(
            path, pattern, lambda one: [tracker_form(from_frame(read_parquet(one), f"{one}", name))]
        )
    _refuse_known(path, head)
    if pattern is not None:
        return [read_by_pattern(path, name, pattern)]
    if ending in {".jsonl", ".ndjson"}:
        return [read_json_lines(path, name)]
    if ending in {".json", ".ipynb"}:
        return [read_json_log(path, name)]
    if path.parent.name == "metrics" and ending not in _SEPARATORS:
        return [read_mlflow([path])]
    return [_read_text(path, name, ending, head)]


def _ending(path: Path) -> str:
    return next(
        (Path(path.name[: -len(one)]).suffix for one in _PACKED if path.name.endswith(one)), path.suffix
    ).lower()


def _without_pattern(path: Path, pattern: str | None, read: Callable[[Path], list[LogTable]]) -> list[LogTable]:
    if pattern is not None:
        raise ArgumentError(f"{path} is no text, so `pattern` (--pattern) cannot be looked for in it. Leave it out.")
    return read(path)


def _refuse_known(path: Path, head: bytes) -> None:
    for magic, words in _REFUSED:
        if head.startswith(magic):
            raise ArgumentError(f"{path} {words}.")
    if head.startswith(b"PK\x03\x04") and not path.name.lower().endswith(".zip"):
        is_sheet = b"xl/" in head or path.suffix.lower() in {".xlsx", ".ods"}
        words = "is a spreadsheet. Save the sheet as CSV" if is_sheet else "is an archive (weights, arrays) and no log"
        raise ArgumentError(f"{path} {words}.")


def _read_text(path: Path, name: str, ending: str, head: bytes) -> LogTable:
    """A table, rows in JSON, or lines of a program; a table by its name is read as one in any case."""
    encoding = encoding_of(head)
    if encoding is None and ending not in _SEPARATORS:
        raise ArgumentError(f"{path}: unknown kind of file. It is no text. {_READABLE}")
    text = head.decode(encoding or "utf-8", errors="replace").lstrip("\ufeff")
    if _BEGINS_AS_JSON.match(text) and (is_json_lines(text) or ending not in _SEPARATORS):
        try:
            return read_json_log(path, name)
        except LimitError:
            raise
        except ArgumentError:  # lines of a program may begin with a bracket
            if is_json_lines(text):
                raise
    layout = layout_of(text, _SEPARATORS.get(ending))
    if ending in _SEPARATORS:
        return _table(path, name, layout or Layout(_SEPARATORS[ending]))
    error = None
    if layout is not None:
        try:
            return _table(path, name, layout)
        except LimitError:
            raise
        except ArgumentError as found:  # it began like a table
            error = found
    found = read_text_log(path, name)
    if found is not None:
        return found
    raise error or unknown_text(path)


_READABLE = (
    f"Readable are tables ({', '.join(TABLE_ENDINGS)}, also under other names), .json (trainer_state.json, rows, "
    f"columns, metrics), TensorBoard's event files (tfevents), logs of known training programs, and folders of these."
)


def _table(path: Path, name: str, layout: Layout) -> LogTable:
    frame, rows, notes = read_laid_out(path, layout)
    frame = frame.rename(columns=lambda column: str(column).strip())
    if len(frame) and (frame.iloc[0].astype(str).str.strip() == "No log").any():  # Hugging Face's word for nothing yet
        frame = frame.replace(r"^\s*No log\s*$", "", regex=True)
    is_blank = (frame.isna() | (frame == "")).all(axis=1).to_numpy()
    is_title = (frame.iloc[:, 0] == frame.columns[0]).to_numpy()
    if is_title.any():  # one column is compared first, as it costs little
        is_title = is_title & (frame == np.array(frame.columns, dtype=object)).all(axis=1).to_numpy()
    if is_title.any():
        first = rows[is_title][0]
        notes = (*notes, f"{path}: {is_title.sum()} rows repeat the names of the columns (row {first} first)")
    kept = ~(is_blank | is_title)
    return tracker_form(
        replace(LogTable(f"{path}", frame.loc[kept].reset_index(drop=True), rows[kept], name=name), notes=notes)
    )
