"""Tables of schedules: one named schedule a row, a rate a step, or the JSON form of `Schedule.to_dict`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenflow.core.checks import check_kind, check_number, check_whole
from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.core.limits import within
from eigenflow.core.reading import read_json
from eigenflow.forecast.reading.columns.cells import numbers, require_finite, require_usual, whole_numbers
from eigenflow.forecast.reading.files.folders import load_logs
from eigenflow.forecast.reading.files.tables import LogTable, from_frame, refuse_doubled
from eigenflow.forecast.reading.rates.logged_rates import schedule_from_log
from eigenflow.forecast.schedules import kinds
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["read_schedules"]

FIELDS: dict[str, tuple[str, ...]] = {
    "curve": ("curve", "name", "run", "run_id", "schedule_name"),
    "kind": ("schedule", "kind", "type", "scheduler", "schedule_type"),
    "total": ("total_steps", "total", "steps", "iterations", "num_steps", "max_steps"),
    "warmup": ("warmup_steps_linear_from_0", "warmup_steps", "warmup", "num_warmup_steps"),
    "peak": ("peak_lr", "peak", "lr", "learning_rate", "max_lr", "peak_learning_rate"),
    "end": ("end_lr", "end", "final_lr", "min_lr", "end_learning_rate"),
    "change": ("change_step", "change", "decay_start", "decay_start_step"),
    "changes": ("changes", "milestones"),
    "factors": ("factors",),
    "period": ("period", "cycle_steps"),
    "decay": ("decay", "decay_type"),
    "decay_fraction": ("decay_fraction", "decay_frac"),
    "batch": ("batch", "tokens_per_step", "batch_size"),
}
RATE_NAMES = ("lr", "learning_rate", "rate")
STEP_NAMES = ("step", "update", "iteration", "global_step")
NO_TABLE = (
    "A table of schedules has a row for each schedule (curve, schedule, total_steps, warmup_steps, peak_lr, end_lr, "
    "change_step), or a row for each step (curve, step, lr)."
)


def read_schedules(
    source: "str | Path | Mapping[str, Schedule] | Schedule | pd.DataFrame", notes: list[str] | None = None
) -> dict[str, Schedule]:
    """Read named schedules.

    Args:
        source: A table (CSV, Parquet, JSON lines) with one schedule a row, as in the docs, or one rate a row
            (`curve, step, lr`); a JSON file of `{name: Schedule.to_dict()}`; a frame; or schedules.
        notes: Gets a line for each thing that had to be assumed.

    Returns:
        The schedule of each name; a table without names holds one, called "schedule".

    Raises:
        ArgumentError: If a column or a value is missing or wrong; names file and row.
    """
    notes = [] if notes is None else notes
    if isinstance(source, Schedule):
        return {"schedule": source}
    if isinstance(source, Mapping):
        for name, schedule in source.items():
            check_kind(f"schedules[{name!r}]", schedule, Schedule, "a `Schedule`, such as `Schedule.cosine(...)`")
        return {str(name): schedule for name, schedule in source.items()}
    if isinstance(source, pd.DataFrame):
        table = from_frame(source, "the frame of schedules")
    else:
        check_kind("schedules", source, (str, Path), "a file, a frame, a `Schedule`, or a dict of them by name")
        path = Path(source)
        if path.suffix == ".json" and path.exists():
            found = _from_json(path)
            if found is not None:
                return found
        table = load_logs(path)[0]
    if not len(table.frame):
        raise ArgumentError(f"{table.file} has no rows. {NO_TABLE}")
    refuse_doubled(table)
    columns = {str(column).strip().lower(): str(column) for column in table.frame.columns}
    step, rate = (next((columns[n] for n in names if n in columns), None) for names in (STEP_NAMES, RATE_NAMES))
    if step and rate:
        return _from_long(table, step, rate, columns, notes)
    return _from_named(table, columns)


def _from_json(path: Path) -> dict[str, Schedule] | None:
    content = read_json(path)
    if not isinstance(content, dict):
        return None
    forms = {"schedule": content} if "kind" in content else content
    if not all(isinstance(form, dict) and "kind" in form for form in forms.values()):
        return None
    made, steps = {}, 0
    for name, form in forms.items():
        try:
            made[str(name)] = Schedule.from_dict(form)
        except EigenflowError as error:
            raise ArgumentError(f"{path}, schedule {name!r}: {error}") from None
        steps += made[str(name)].total
        within("total_steps", steps, f"{path}")
    return made


def _from_long(
    table: LogTable, step: str, rate: str, columns: Mapping[str, str], notes: list[str]
) -> dict[str, Schedule]:
    name = next((columns[n] for n in FIELDS["curve"] if n in columns), None)
    names = table.frame[name].astype(str) if name else pd.Series("schedule", index=table.frame.index)
    made = {}
    groups = names.groupby(names, sort=False).indices
    within("curves", len(groups), table.file)
    total = 0
    for curve, at in groups.items():
        place = f"{table.file}, schedule {curve!r}" if name else table.file
        rows, part = table.rows[at], table.frame.iloc[at]
        (steps, _), (rates, _) = numbers(part[step], rows, table.file), numbers(part[rate], rows, table.file)
        require_finite(steps, rows, table.file, "step", "Every row needs one.")
        require_finite(rates, rows, table.file, "learning rate", "Every row needs one.")
        require_usual(rates, rows, table.file, "learning rate")
        updates = whole_numbers(steps, rows, table.file, "step")
        back = np.flatnonzero(np.diff(updates) <= 0)
        if len(back):
            raise ArgumentError(
                f"{place}, row {rows[back[0] + 1]}: step {updates[back[0] + 1]} comes after {updates[back[0]]}. "
                "Steps of a "
                f"schedule must increase; sort them and remove the doubles."
            )
        total += int(updates[-1])
        within("total_steps", total, table.file)
        made[str(curve)] = _from_rates(updates, rates, place, notes)
    return made


def _from_rates(updates: Any, rates: Any, place: str, notes: list[str]) -> Schedule:
    is_every = bool(np.all(np.diff(updates) == 1))
    try:
        if is_every and updates[0] <= 1 and len(updates) > 1:
            if updates[0] == 1:
                notes.append(f"{place}: its steps count from 1; row s is taken as update s - 1")
            return Schedule.table(rates)
        kinds.check_updates(int(updates[-1]), "steps")
        schedule, assumed = schedule_from_log(updates, rates, total=max(int(updates[-1]), 1))
    except EigenflowError as error:
        raise ArgumentError(f"{place}: {error}") from None
    notes += [f"{place}: {line}" for line in assumed]
    return schedule


def _from_named(table: LogTable, columns: Mapping[str, str]) -> dict[str, Schedule]:
    found = {field: next((columns[n] for n in names if n in columns), None) for field, names in FIELDS.items()}
    missing = [field for field in ("curve", "kind", "total", "peak") if not found[field]]
    if missing:
        raise ArgumentError(
            f"{table.file}: there is no column for {', '.join(missing)}; it has "
            f"{', '.join(map(repr, table.frame.columns))}. {NO_TABLE}"
        )
    made: dict[str, Schedule] = {}
    total = 0
    for position, row in enumerate(table.frame.itertuples(index=False)):
        cells = dict(zip(table.frame.columns, row, strict=True))
        values = {field: cells[column] for field, column in found.items() if column and not _is_empty(cells[column])}
        place = f"{table.file}, row {table.rows[position]}"
        name = str(values.get("curve", ""))
        if not name or name in made:
            raise ArgumentError(
                f"{place}: the schedule's name {name!r} is {'missing' if not name else 'taken already'}."
            )
        try:
            made[name] = _named(values)
        except EigenflowError as error:
            raise ArgumentError(f"{place} ({name!r}): {error}") from None
        total += made[name].total
        within("total_steps", total, place)
    return made


def _named(values: Mapping[str, Any]) -> Schedule:
    """Make a schedule of one row. Kinds: those of `Schedule`, and names such as `wsd_linear_decay`."""
    kind = str(values["kind"]).strip().lower().replace("-", "_") if "kind" in values else ""
    shape = next(
        (word for word in ("exponential", "sqrt", "linear") if word in f"{kind} {values.get('decay', '')}"), "linear"
    )
    family = next((family for start, family in FAMILIES if kind.startswith(start)), None)
    if family is None:
        raise ArgumentError(f"Unknown schedule {kind!r}. Available: {', '.join(start for start, _ in FAMILIES)}.")
    common = {"total": _whole(values, "total"), "peak": _number(values, "peak"), "warmup": _whole(values, "warmup", 0)}
    schedule = family({**values, "shape": shape}, common)
    return schedule.with_batch(_number(values, "batch")) if "batch" in values else schedule


def _wsd(values: Mapping[str, Any], common: dict[str, Any]) -> Schedule:
    if "change" in values:
        start = _whole(values, "change")
    else:
        share = check_number("decay_fraction", _number(values, "decay_fraction"), 0.0, 1.0)
        start = round(common["total"] * (1 - share))
    return Schedule.wsd(**common, decay_start=start, end=_number(values, "end", 0.0), decay=values["shape"])


def _linear(values: Mapping[str, Any], common: dict[str, Any]) -> Schedule:
    end = _number(values, "end", 0.0)
    if end == 0:
        return Schedule.linear_to_zero(**common)
    return Schedule.wsd(**common, decay_start=common["warmup"], end=end)


def _multi_step(values: Mapping[str, Any], common: dict[str, Any]) -> Schedule:
    lists = {}
    for field in ("changes", "factors"):
        if field not in values:
            raise ArgumentError(f"A multi-step schedule needs `{field}`, separated by blanks or semicolons.")
        cell = values[field]
        parts = (
            cell
            if isinstance(cell, list | tuple)
            else str(cell).replace(";", " ").strip("[]").replace(",", " ").split()
        )
        lists[field] = [_as_number(part, field) for part in parts]
    changes = [check_whole("changes", change) for change in lists["changes"]]
    return Schedule.multi_step(**common, changes=changes, factors=lists["factors"])


Family = Callable[[Mapping[str, Any], dict[str, Any]], Schedule]
FAMILIES: tuple[tuple[str, Family], ...] = (
    ("constant", lambda _, common: Schedule.constant(**common)),
    ("const", lambda _, common: Schedule.constant(**common)),
    ("cosine", lambda row, common: Schedule.cosine(**common, end=_number(row, "end", 0.0))),
    ("cos", lambda row, common: Schedule.cosine(**common, end=_number(row, "end", 0.0))),
    ("wsd", _wsd),
    ("warmup_stable_decay", _wsd),
    (
        "two_stage",
        lambda row, common: Schedule.two_stage(**common, end=_number(row, "end"), change=_whole(row, "change")),
    ),
    ("multi_step", _multi_step),
    ("linear", _linear),
    (
        "cyclic",
        lambda row, common: Schedule.cyclic(**common, end=_number(row, "end", 0.0), period=_whole(row, "period")),
    ),
)


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and np.isnan(cell)) or str(cell).strip() == ""


def _as_number(cell: Any, field: str) -> float:
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"`{field}` must be a number, but is {str(cell)[:60]!r}.") from None
    return check_number(field, number)


def _number(values: Mapping[str, Any], field: str, default: float | int | None = None) -> float | int:
    if field not in values:
        if default is None:
            raise ArgumentError(f"This kind of schedule needs `{FIELDS[field][0]}`, but the cell is empty or missing.")
        return default
    return _as_number(values[field], FIELDS[field][0])


def _whole(values: Mapping[str, Any], field: str, default: int | None = None) -> int:
    return check_whole(FIELDS[field][0], _number(values, field, default))
