"""Tables that trackers export (W&B, MLflow, Comet, Neptune, Aim, TensorBoard), brought into rows with a step."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.forecast.reading.columns.names import loss_rank, rate_rank
from eigenflow.forecast.reading.files.tables import LogTable, joined, refuse_doubled

__all__ = ["tracker_form"]

# Names of the column that says which metric a row is of, and of its value.
_KEYS = ("key", "metric", "metric_name", "metricname", "metric.name", "tag", "metric_key")
_VALUES = ("value", "metricvalue", "metric_value", "metric.value")
_STEPS = ("step", "steps", "_step", "global_step", "iteration", "iter", "epoch", "x")
_CONTEXTS = ("runcontext", "metric.context.subset", "context.subset", "subset", "context")
_TENSORBOARD = re.compile(r"(?:run-(?P<run>.+?)-tag-)?(?P<tag>.+)")


def tracker_form(table: LogTable) -> LogTable:
    """Bring an export into rows with a step; other tables stay as they are."""
    columns = {str(column).strip().lower(): str(column) for column in table.frame.columns}
    value = next((columns[name] for name in _VALUES if name in columns), None)
    key = next((columns[name] for name in _KEYS if name in columns), None)
    if value is not None and "step" in columns and key is not None:
        return _long_metrics(table, key, value, columns)
    if {"step", "value"} <= set(columns) <= {"step", "value", "wall time", "timestamp", "wall_time", "index", "time"}:
        return _one_metric(table, columns["value"])
    pages = [re.fullmatch(r"(.+) - (.+)", str(column)) for column in table.frame.columns]
    if any(pages):
        step = next((own for name, own in columns.items() if name.rpartition("/")[2] in _STEPS), None)
        if step is not None:
            return _wandb_page(table, step, [page for page in pages if page])
        _refuse_times(table, columns)
    is_history = "_step" in columns or {"_runtime", "_timestamp"} & set(columns)
    return replace(table, is_sparse=table.is_sparse or bool(is_history))


def _long_metrics(table: LogTable, key: str, value: str, columns: Mapping[str, str]) -> LogTable:
    """Rows of `run, metric, value, step`: each metric becomes a column that is filled in its own rows."""
    names = table.frame[key].astype(str)
    contexts = [columns[name] for name in _CONTEXTS if name in columns]
    for context in contexts[:1]:  # train or validation, beside the metric's name
        said = table.frame[context].astype(str).str.strip()
        names = names.where(said.isin(["", "nan", "None"]), said + "_" + names)
    metrics = names.unique()
    frame = table.frame.drop(columns=[key, value, *contexts[:1]])
    within("table_cells", len(frame) * len(metrics), f"{table.file}, with {len(metrics):,} different metrics,")
    values = table.frame[value].astype(object)
    filled = {metric: values.where(names == metric, "") for metric in metrics}
    frame = pd.concat(
        [frame.drop(columns=[m for m in metrics if m in frame.columns]), pd.DataFrame(filled, index=frame.index)],
        axis=1,
    )
    return replace(table, frame=frame, is_sparse=True)


def _one_metric(table: LogTable, value: str) -> LogTable:
    """Steps and values of one metric, which the file's name tells: TensorBoard's `run-RUN-tag-TAG.csv`, Neptune's."""
    found = _TENSORBOARD.fullmatch(table.name)
    run, tag = (found["run"], found["tag"].strip("_- ")) if found else (None, table.name)
    if run is None and loss_rank(tag) is None and rate_rank(tag) is None:
        return table
    note = f"{table.file}: column {value!r} is {tag!r}, after the file's name"
    # The column stays, too, for who names it.
    frame = table.frame if tag in table.frame else table.frame.assign(**{tag: table.frame[value]})
    return replace(
        table,
        frame=frame,
        is_sparse=True,
        is_stream=run is not None,
        name=run or table.name,
        notes=(*table.notes, note),
    )


def _wandb_page(table: LogTable, step: str, pages: Sequence[re.Match[str]]) -> LogTable:
    """Columns `RUN - METRIC`, `RUN - METRIC__MIN`, `RUN - METRIC__MAX` beside one column of steps."""
    refuse_doubled(table)
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
    return replace(table, frame=joined(parts), rows=np.tile(table.rows, len(parts)), is_sparse=True)


def _refuse_times(table: LogTable, columns: Mapping[str, str]) -> None:
    times = [own for name, own in columns.items() if name.startswith(("relative time", "wall time", "timestamp"))]
    if times:
        raise ArgumentError(
            f"{table.file}: its rows are by {times[0]!r} and not by step. On the page, set the x axis to Step (or to "
            f"train/global_step) and export again."
        )
