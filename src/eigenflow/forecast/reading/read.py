"""`read_curves`: logs of any kind to curves with schedules, with a report of everything that was done."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from eigenflow.core.checks import check_kind, check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.checks import check_usual
from eigenflow.forecast.curves import Curve, CurveSet, Origin
from eigenflow.forecast.reading.columns.recognise import size_unit
from eigenflow.forecast.reading.files.exports import tracker_form
from eigenflow.forecast.reading.files.folders import load_logs
from eigenflow.forecast.reading.files.naming import named_apart
from eigenflow.forecast.reading.files.tables import LogTable, from_frame
from eigenflow.forecast.reading.judging.judgement import Judged, judge, loss_unit
from eigenflow.forecast.reading.judging.units import refuse_mixed_units, shared_history
from eigenflow.forecast.reading.rates.assembly import Attached, attach_schedules
from eigenflow.forecast.reading.rates.schedule_tables import read_schedules
from eigenflow.forecast.reading.rows.cleaning import require_points, stitch
from eigenflow.forecast.reading.rows.drafts import Draft, draft_parts
from eigenflow.forecast.reading.rows.one_run import draft_of
from eigenflow.forecast.reading.rows.pieces import join_pieces
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["read_curves"]

Source = str | Path | pd.DataFrame
NATS = {"nats": 1.0, "bits": float(np.log(2))}


def read_curves(
    source: Source | Sequence[Source],
    *,
    schedules: str | Path | Mapping[str, Schedule] | Schedule | pd.DataFrame | None = None,
    columns: Mapping[str, str] | None = None,
    exclude: Iterable[str] = (),
    unit: str = "nats",
    warmup: int | None = None,
    tokens_per_step: float | int | None = None,
    keep_spikes: bool = False,
    check_units: bool = True,
    pattern: str | None = None,
) -> CurveSet:
    """Read loss curves with the learning rates that made them.

    Readable are tables (CSV, TSV and other text, Parquet, JSON), whatever the file is called, run folders of eigenflow,
    Hugging Face's `trainer_state.json`, TensorBoard's event files, exports of trackers, what training programs print,
    folders of these, and frames. Steps count completed updates. Nothing is dropped or assumed in silence: see the
    result's `.notes`.

    Args:
        source: A file, a folder, a frame, or several: pieces of one run under one name are stitched in the order given.
        schedules: A table of schedules (see `read_schedules`), schedules by curve name, or one schedule for all curves.
            "constant": a constant rate (the table's peak rate, else 1). None: the log's own column of learning rates.
        columns: Column of a quantity where names are not recognised, e.g. `{"loss": "val_loss", "curve": "run"}`.
            Quantities: step, loss, learning_rate, curve, size, role, tokens, batch, peak, unit; or a name under which
            such a column is recognised, as lr, run, params.
        exclude: Names of curves to leave out.
        unit: "nats" or "bits": what the losses are in. Bits are converted to nats.
        warmup: Updates of linear warm-up, where logs start after it and no table of schedules says it.
        tokens_per_step: Tokens per update, for tables that count tokens instead of updates.
        keep_spikes: Keep single points far above their neighbours.
        check_units: Refuse sets that look as if they mixed nats and bits, or updates and tokens.
        pattern: A regular expression for the lines of a text log that no built-in pattern knows, with named groups step
            (or epoch), loss, and others such as learning_rate: `"step (?P<step>[0-9]+) loss (?P<loss>[0-9.]+)"`.

    Returns:
        The curves.

    Raises:
        ArgumentError: If a column, a schedule or a value is missing or contradicts another; names file and row.
        NonFiniteError: If a loss is NaN or infinite, or a run diverges; names file and row.

    Examples:
        >>> log = pd.DataFrame({"curve": "a", "step": [1, 2, 3, 4, 5], "loss": [4.0, 3.5, 3.2, 3.1, 3.05], "lr": 1e-3})
        >>> curves = read_curves(log, warmup=0)
        >>> curves.names, curves.points
        (['a'], 5)
        >>> curves["a"].schedule.total
        5
    """
    _check_options(unit, warmup, tokens_per_step, columns)
    left_out = _names(exclude)
    notes: list[str] = []
    tables = _load(source, pattern, columns)
    _refuse_twice_converted(tables, unit)
    drafts: list[Draft] = []
    for table in tables:
        parts = draft_parts(table, columns, tokens_per_step, notes, needs_rates=schedules is None)
        drafts += [draft_of(part, notes) for part in parts if part.name not in left_out]
    drafts = [draft for draft in join_pieces(drafts, notes) if draft.name not in left_out]
    if not drafts:
        raise ArgumentError(
            f"No curve is left in {', '.join(table.file for table in tables)} (`exclude`: {sorted(left_out)})."
        )
    is_constant = isinstance(schedules, str) and schedules == "constant"
    given = None if schedules is None or is_constant else read_schedules(schedules, notes)
    judged = [
        judge(_stitched(draft), given, unit=unit, keep_spikes=keep_spikes, check_units=check_units) for draft in drafts
    ]
    cleaned = [one.draft for one in judged]
    if check_units:
        refuse_mixed_units(cleaned)
    attached = attach_schedules(cleaned, given, warmup, assume_constant=is_constant)
    made = shared_history([_curve(*parts, NATS[unit]) for parts in zip(judged, attached, strict=True)])
    for curve in made:
        notes += [f"{curve.label}: {line}" for line in curve.changes]
        notes += [f"{curve.label}: caution: {line}" for line in curve.cautions]
    units = {size_unit(draft.size_column) for draft in drafts if draft.size_column}
    size = units.pop() if len(units) == 1 else 1.0
    return CurveSet(tuple(made), tuple(dict.fromkeys(notes)), size, loss_unit(cleaned, unit))


def _check_options(unit: object, warmup: object, tokens_per_step: object, columns: object) -> None:
    if not isinstance(unit, str) or unit not in NATS:
        raise ArgumentError(f"`unit` must be 'nats' or 'bits', but is {unit!r}.")
    if warmup is not None:
        check_whole("warmup", warmup)
    if tokens_per_step is not None:
        check_usual("tokens_per_step", tokens_per_step)
    if columns is not None:
        check_kind("columns", columns, Mapping, "a dict of quantity and column, such as {'loss': 'val_loss'}")


def _curve(judged: Judged, attached: Attached, factor: float) -> Curve:
    """The curve of a run; `factor` takes its losses to nats."""
    draft, schedule, branch, changes = attached
    return Curve(
        name=draft.name,
        steps=draft.points.steps,
        losses=draft.points.losses * factor,
        schedule=schedule,
        size=draft.size,
        tokens_per_step=draft.tokens_per_step,
        role=draft.role,
        branch=branch,
        origin=Origin(draft.file, int(draft.points.rows.min()), int(draft.points.rows.max())),
        changes=(*draft.points.changes, *changes),
        planned_total=draft.planned,
        cautions=judged.cautions,
        rounding=judged.rounding * factor,
        step_unit=draft.step_unit,
    )


def _load(source: Source | Sequence[Source], pattern: str | None, columns: Mapping[str, str] | None) -> list[LogTable]:
    if not isinstance(source, str | Path | pd.DataFrame | list | tuple):
        raise ArgumentError(
            f"`source` must be a file, a folder, a frame, or a list of these, but is of kind {type(source).__name__}."
        )
    sources = [source] if isinstance(source, str | Path | pd.DataFrame) else list(source)
    if not sources:
        raise ArgumentError("`source` is empty: give at least one file, folder or frame.")
    tables: list[LogTable] = []
    for number, one in enumerate(sources, start=1):
        if isinstance(one, pd.DataFrame):
            file = "the frame" if len(sources) == 1 else f"frame {number}"
            tables.append(tracker_form(from_frame(one, file)))
        else:
            check_kind("source", one, (str, Path), "a file, a folder, a frame, or a list of these")
            tables += load_logs(Path(one), pattern, columns)
    return named_apart(tables)


def _refuse_twice_converted(tables: Sequence[LogTable], unit: str) -> None:
    converted = next((table for table in tables if table.is_converted), None)
    if converted is not None and unit != "nats":
        raise ArgumentError(
            f"`unit` is {unit!r}, but the losses of {converted.file} are known to be in bits, and were converted to "
            f"nats already. Leave `unit` (--unit) out."
        )


def _names(exclude: Iterable[str]) -> set[str]:
    """Names to leave out. One text would be taken letter by letter."""
    if isinstance(exclude, str) or not isinstance(exclude, Iterable):
        raise ArgumentError(f"`exclude` must be a list of names, but is {exclude!r}. Write [{exclude!r}].")
    found = list(exclude)
    for name in found:
        check_kind("exclude", name, str, "a list of names")
    return set(found)


def _stitched(draft: Draft) -> Draft:
    points = stitch(draft.points, draft.place)
    require_points(points, draft.place)
    return replace(draft, points=points)
