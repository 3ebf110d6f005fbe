"""Logs in JSON: rows by the line, lists of rows, objects of columns, the trainer's state, series."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.core.reading import parse_json
from eigenflow.forecast.reading.columns.names import is_epoch, step_rank
from eigenflow.forecast.reading.files.exports import tracker_form
from eigenflow.forecast.reading.files.opening import whole_text
from eigenflow.forecast.reading.files.tables import LogTable, from_metrics, from_rows

__all__ = ["is_json_lines", "read_json_lines", "read_json_log"]

# Keys that only Detectron2 writes together.
_DETECTRON = {"iteration", "eta_seconds", "total_loss"}
_PRINTED = re.compile(r"\s*[\[{]+\s*'")
_WRAPPED = re.compile(
    r"\b(?:np\.|numpy\.)?(?:float\d*|int\d*|array|tensor)\((-?[\d.eE+-]+|-?nan|-?inf)(?:, dtype=[\w.]+)?\)"
)
# Names of steps and of values in a series.
_SERIES = (("steps", "values"), ("step", "value"), ("x", "y"), ("steps", "value"), ("epochs", "values"))


def is_json_lines(text: str) -> bool:
    """Whether a text is one JSON object a line: the first line is one, and another one follows."""
    first, _, rest = text.lstrip().partition("\n")
    if not first.startswith("{") or not rest.lstrip().startswith("{"):
        return False
    try:
        return isinstance(parse_json(first, "row 1"), dict)
    except ArgumentError:
        return False


def read_json_log(path: Path, name: str) -> LogTable:
    """Read a JSON file: Hugging Face's `trainer_state.json`, a list of rows, columns, or what a tracker writes."""
    text = whole_text(path)
    if is_json_lines(text):
        return read_json_lines(path, name)
    content = _parsed(text, path)
    if isinstance(content, Mapping) and "log_history" in content:
        return _trainer_state(path, content, name if path.name != "trainer_state.json" else _trainer_name(path))
    if isinstance(content, Mapping) and "cells" in content and "nbformat" in content:
        raise ArgumentError(
            f"{path} is a notebook. Save what its training cell printed as a text file, or the trainer's table as CSV."
        )
    if isinstance(content, Mapping):
        inner = content.get("metrics", content.get("history"))
        content = inner if isinstance(inner, list | Mapping) and inner else content
    series = _series_of(content, name)
    if series:
        return replace(from_metrics(f"{path}", name, series), is_sparse=True)
    rows, notes = _rows_of(path, content)
    return tracker_form(replace(from_rows(f"{path}", rows, np.arange(1, len(rows) + 1), name), notes=tuple(notes)))


def _parsed(text: str, path: Path) -> Any:
    """The values of a JSON text, or of a Python object that was printed, as by `print(history.history)`."""
    if _PRINTED.match(text):
        plain = _WRAPPED.sub(r"\1", text).replace("'", '"')
        for word, value in (
            ("None", "null"),
            ("True", "true"),
            ("False", "false"),
            ("nan", "NaN"),
            ("inf", "Infinity"),
        ):
            plain = re.sub(rf"\b{word}\b(?!\")", value, plain)
        with suppress(ArgumentError):
            return parse_json(plain, f"{path}")
    return parse_json(text, f"{path}")


def read_json_lines(path: Path, name: str) -> LogTable:
    """Read one JSON object a line; first ones without a step (settings), and a last one that is cut, are left out."""
    content: list[dict[str, Any]] = []
    rows: list[int] = []
    notes: list[str] = []
    text = whole_text(path)
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if number == len(lines) and content and _is_cut(line, text):
            notes.append(f"{path}, row {number}: the last line is cut; left out")
            break
        row = parse_json(line, f"{path}, row {number}")
        if not isinstance(row, dict):
            raise ArgumentError(f"{path}, row {number} is no JSON object: {line[:60]!r}.")
        content.append(_flat(row))
        rows.append(number)
    skipped = next((k for k, row in enumerate(content) if _has_count(row)), 0)
    if skipped:
        notes.append(f"{path}: the first {skipped} rows have no step (settings); left out")
    if content and content[skipped].keys() >= _DETECTRON:
        notes.append(f"{path}: iterations of Detectron2 count from 0; one more is completed")
        content = [_one_more(row, "iteration") for row in content]
    table = from_rows(f"{path}", content[skipped:], np.array(rows[skipped:], dtype=np.int64), name)
    return tracker_form(replace(table, notes=tuple(notes)))


def _is_cut(line: str, text: str) -> bool:
    """Whether the last line of a text is the beginning of an object."""
    if not line.startswith("{"):
        return False
    if not line.rstrip().endswith("}"):
        return True
    if text.endswith("\n"):
        return False
    try:
        parse_json(line, "")
    except ArgumentError:
        return True  # cut behind an object within
    return False


def _one_more(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {**row, key: row[key] + 1} if isinstance(row.get(key), int) else row


def _has_count(row: Mapping[str, Any]) -> bool:
    return any(step_rank(str(key)) is not None or is_epoch(str(key)) or "tokens" in str(key).lower() for key in row)


def _flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A row whose objects within are columns `outer/inner`."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{before}{key}/"))
        else:
            found[f"{before}{key}"] = value
    return found


def _series_of(content: Any, name: str) -> dict[str, list[tuple[float | int, float | int]]]:
    """Metrics that are steps beside values, by name: Sacred, ClearML, TensorBoard's JSON; none if it is not that."""
    if isinstance(content, list) and content and all(_is_triple(one) for one in content):
        return {name.rpartition("-tag-")[2]: [(one[1], one[2]) for one in content]}
    return {key: pairs for key, pairs in _walk(content, ()) if pairs}


def _is_triple(one: Any) -> bool:
    """TensorBoard's time, step and value."""
    return isinstance(one, list) and len(one) == 3 and all(_is_number(part) for part in one)


def _walk(content: Any, path: tuple[str, ...]) -> Iterator[tuple[str, list[tuple[float | int, float | int]]]]:
    if isinstance(content, Mapping):
        for steps, values in _SERIES:
            if isinstance(content.get(steps), list) and isinstance(content.get(values), list) and _is_series(content):
                said = content.get("name", content.get("metricName"))
                parts = path if not isinstance(said, str) or said in path else (*path, said)
                pairs = list(zip(content[steps], content[values], strict=False))
                yield "/".join(parts) or values, [pair for pair in pairs if all(_is_number(one) for one in pair)]
                return
        for key, value in content.items():
            yield from _walk(value, (*path, str(key)))
    elif isinstance(content, list) and all(
        isinstance(one, Mapping) and isinstance(one.get("y"), list) for one in content
    ):
        for one in content:
            yield from _walk(one, path)


def _is_series(content: Mapping[str, Any]) -> bool:
    """Whether nothing but times stands beside steps and values: else they are columns among others."""
    lists = [key for key, value in content.items() if isinstance(value, list)]
    return len([key for key in lists if "time" not in key.lower() and key != "ts"]) == 2


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rows_of(path: Path, content: Any) -> tuple[Sequence[Mapping[str, Any]], list[str]]:
    """Rows from a list of them, or from an object of columns, with what was assumed."""
    notes: list[str] = []
    if isinstance(content, Mapping):
        content, notes = _of_columns(path, content)
    if isinstance(content, list) and len(content) > 2 and all(_is_number(value) for value in content):
        notes.append(f"{path}: nothing but numbers, taken as the losses of steps 1, 2, ...")
        content = [{"step": k, "loss": value} for k, value in enumerate(content, start=1)]
    if not isinstance(content, list) or not content or not all(isinstance(row, Mapping) for row in content):
        raise ArgumentError(
            f"{path} holds no rows. Readable are a trainer_state.json, a list of objects, an object of columns (as "
            f"Keras' history), and lists of metrics with `key`, `value`, `step`."
        )
    return [_flat(row) for row in content], notes


def _of_columns(path: Path, content: Mapping[str, Any]) -> tuple[Any, list[str]]:
    notes: list[str] = []
    if content and all(not isinstance(value, list | Mapping) for value in content.values()):
        raise ArgumentError(
            f"{path} holds no rows: it has one value of each of {', '.join(map(repr, list(content)[:6]))}, as a "
            f"summary of a finished run (wandb-summary.json, all_results.json) has. Give the run's history."
        )
    maps = [value for value in content.values() if isinstance(value, Mapping)]
    if maps and len(maps) == len(content) and all(list(one) == list(maps[0]) for one in maps):  # pandas' to_json
        content = {key: list(value.values()) for key, value in content.items()}
    columns = {key: value for key, value in content.items() if isinstance(value, list)}
    if not columns:
        return content, notes
    if len({len(value) for value in columns.values()}) > 1:
        lengths = ", ".join(f"{key!r} {len(value)}" for key, value in list(columns.items())[:20])
        raise ArgumentError(f"{path}: its columns have different lengths: {lengths}.")
    if len(columns) < len(content):
        others = ", ".join(repr(key) for key in content if key not in columns)
        notes.append(f"{path}: {others[:200]} are no columns; left out")
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if rows and not _has_count(columns):
        rows = [{"epoch": k, **row} for k, row in enumerate(rows, start=1)]
        notes.append(
            f"{path}: its columns have no steps (as Keras' history); the k-th entry is taken as that of epoch k"
        )
    return rows, notes


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
    table = from_rows(f"{path}", [row for _, row in numbered], np.array([n for n, _ in numbered]), name)
    spacing = content.get("logging_steps")
    note = f"{path}: each training loss is the trainer's mean over the {spacing or 'logged'} steps before it"
    most = content.get("max_steps")
    planned = most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else None
    return replace(table, is_sparse=True, notes=(note,), planned=planned)
