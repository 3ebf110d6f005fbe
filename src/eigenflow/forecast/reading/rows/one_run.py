"""The rows of one run to its losses and rates, with every cell checked."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.checks import LEAST, MOST
from eigenflow.forecast.reading.columns.cells import numbers, require_finite, require_usual
from eigenflow.forecast.reading.columns.guesses import rate_candidate
from eigenflow.forecast.reading.columns.quantities import Quantity, quantity_of
from eigenflow.forecast.reading.columns.recognise import Columns, is_filled, size_unit
from eigenflow.forecast.reading.judging.accumulation import against_validation
from eigenflow.forecast.reading.judging.signs import positive
from eigenflow.forecast.reading.rows.cleaning import Points
from eigenflow.forecast.reading.rows.drafts import Draft, Part
from eigenflow.forecast.reading.rows.hidden_runs import refuse_hidden_runs
from eigenflow.forecast.reading.rows.planned import planned_total
from eigenflow.forecast.reading.rows.repeated_steps import averaged
from eigenflow.forecast.reading.rows.steps import Counted, count_updates

__all__ = ["draft_of", "growing_points"]

ADVICE = "Remove the row if nothing was measured there; a run that diverged must be cut before it."


def draft_of(part: Part, notes: list[str]) -> Draft:
    """Read one run.

    Args:
        part: Its rows.
        notes: Gets a line for each thing that was assumed.

    Raises:
        ArgumentError: If a cell is no number where one must be, or contradicts another.
        NonFiniteError: If a loss, a step or a rate is NaN or infinite, but for losses of a run that ends so.
    """
    frame, rows, columns = part.frame, part.rows, part.columns
    size = _size(frame, rows, columns, part.place)
    place = part.place if size is None else f"{part.place} of size {size / size_unit(columns.names['size']):g}"
    part = replace(part, place=place)
    quantity = quantity_of(columns.names["loss"], [str(name) for name in frame.columns], place)
    counted = _counted(part, notes)
    points = _points(part, counted.steps, quantity, notes)
    shown = ~part.phases.is_other & (counted.steps >= 0)
    is_rated = shown & _in_sequence(part, counted.steps, notes)
    rate_steps, rates = _logged(part, counted.steps, is_rated, "learning_rate")
    batch_steps, batches = _logged(part, counted.steps, shown, "batch")
    _check_unit(frame, rows, columns, place)
    peak = _logged(part, counted.steps, shown, "peak")[1]
    role = columns.get("role")
    return Draft(
        name=part.name,
        file=part.table.file,
        points=points,
        rate_steps=rate_steps,
        rates=rates,
        batch_steps=batch_steps,
        batches=batches,
        size=size,
        size_column=columns.get("size"),
        role=_constant_text(frame, None if role == part.phases.column else role),
        tokens_per_step=part.tokens_per_step or _tokens_per_step(part, counted, batches),
        peak=float(peak[0]) if len(peak) else None,
        planned=planned_total(part.table, frame),
        quantity=quantity,
        step_unit=counted.unit,
        rate_candidate=None if len(rates) else rate_candidate(frame, list(columns.names.values())),
        cautions=against_validation(points, frame, counted.steps, quantity),
    )


def _points(part: Part, steps: Int[np.ndarray, " row"], quantity: Quantity, notes: list[str]) -> Points:
    """The losses of a run, one a step, all of which have a logarithm."""
    rows, place, is_point = part.rows, part.place, part.phases.is_point
    is_left_out = is_point & (steps < 0)
    if is_left_out.any():
        first = rows[is_left_out][0]
        notes.append(f"{place}: {is_left_out.sum()} rows with a loss and no step (row {first} first) left out")
    is_point = is_point & (steps >= 0)
    losses, _ = numbers(_of(part.frame[part.columns.names["loss"]], is_point), rows[is_point], place)
    points = _without_end(Points(rows[is_point], steps[is_point], losses), place)
    points = replace(points, changes=(*points.changes, *_holes(part, steps)))
    require_finite(points.losses, points.rows, place, "loss", ADVICE)
    points = positive(points, quantity, place)
    require_usual(points.losses, points.rows, place, "loss")
    return _told_apart(part, points)


def _of(cells: Any, which: Bool[np.ndarray, " row"]) -> Any:
    return cells if which.all() else cells[which]


def _counted(part: Part, notes: list[str]) -> Counted:
    used = part.phases.is_point.copy()
    for field in ("learning_rate", "batch", "peak", "tokens"):
        name = part.columns.get(field)
        if name is not None and not used.all():
            used |= is_filled(part.frame, name) & ~part.phases.is_other
    counted = count_updates(
        part.frame,
        part.rows,
        used,
        part.phases.is_point,
        part.columns,
        part.place,
        part.tokens_per_step,
        part.per_epoch,
    )
    notes += [f"{part.table.file}: {line}" for line in counted.notes]  # said once of all runs
    return counted


def _without_end(points: Points, place: str) -> Points:
    """Losses before a run diverged for good; NaN that a restart went back over is replaced by it anyway."""
    is_finite = np.isfinite(points.losses)
    if is_finite.all() or not is_finite.any():
        return points
    # The lowest step of all rows after each.
    later = np.append(np.minimum.accumulate(points.steps[::-1])[::-1][1:], np.iinfo(np.int64).max)
    is_replaced = ~is_finite & (later <= points.steps)
    if is_replaced.any():
        first = points.rows[is_replaced][0]
        line = f"{is_replaced.sum()} losses that are not finite (row {first} first) left out: a restart replaced them"
        points, is_finite = points.keep(~is_replaced, line), is_finite[~is_replaced]
    last = int(np.flatnonzero(is_finite)[-1])
    if last + 1 < len(points.steps):
        at = last + 1
        line = (
            f"the run diverged: its loss is {points.losses[at]} at step {points.steps[at]} (row {points.rows[at]}) and "
            f"never finite again; the {is_finite.sum()} points before it are read"
        )
        points = points.keep(np.arange(at), line)
    return points


def _holes(part: Part, steps: Int[np.ndarray, " row"]) -> list[str]:
    """What to say of rows that show everything but a loss."""
    is_hole = part.phases.is_hole
    if not is_hole.any():
        return []
    last = int(np.flatnonzero(part.phases.is_point)[-1])
    at_end = np.flatnonzero(is_hole[last + 1 :]) + last + 1
    within = np.flatnonzero(is_hole[:last])
    lines = []
    if len(within):
        lines.append(f"{len(within)} rows with an empty loss (row {part.rows[within[0]]} first) left out")
    if len(at_end):
        step = f", step {steps[at_end[0]]}" if steps[at_end[0]] >= 0 else ""
        lines.append(
            f"the last {len(at_end)} rows have an empty loss (row {part.rows[at_end[0]]}{step} first), left out; if "
            f"it was NaN there, the run diverged"
        )
    return lines


def _told_apart(part: Part, points: Points) -> Points:
    """Points of one run: one loss a step, and no other run behind it."""
    if np.all(np.diff(points.steps) > 0):
        return points
    kept = part.frame.loc[np.isin(part.rows, points.rows)]
    points = averaged(points, kept, part.columns.get("step"), part.place)
    if np.any(np.diff(points.steps) < 0):
        unused, is_split = part.columns.unused(part.frame), "curve" in part.columns.names
        refuse_hidden_runs(kept, points.rows, points.steps, unused, part.place, has_curves=is_split)
    return points


def _in_sequence(part: Part, steps: Int[np.ndarray, " row"], notes: list[str]) -> Bool[np.ndarray, " row"]:
    """Rows whose rate counts: if points show rates, of the others only those with a step between their neighbours'.

    A validation counts its own batches, and shows a rate beside them.
    """
    name = part.columns.get("learning_rate")
    is_point = part.phases.is_point & (steps >= 0)
    if name is None or is_point.all():
        return np.ones(len(steps), dtype=bool)
    is_rated = is_filled(part.frame, name) & ~part.phases.is_other & (steps >= 0)
    if 2 * np.count_nonzero(is_rated & is_point) < np.count_nonzero(is_point):
        return is_rated
    at = np.flatnonzero(is_point)
    after = np.searchsorted(at, np.arange(len(steps)), side="right")
    before_step = np.where(after > 0, steps[at[np.maximum(after - 1, 0)]], -1)
    after_step = np.where(after < len(at), steps[at[np.minimum(after, len(at) - 1)]], np.iinfo(np.int64).max)
    is_out = is_rated & ~is_point & ((steps < before_step) | (steps > after_step))
    if is_out.any():
        notes.append(
            f"{part.place}: {is_out.sum()} rows without a loss (row {part.rows[is_out][0]} first) count other "
            f"steps, as a validation does; their learning rates are left out"
        )
    return is_rated & ~is_out


def _logged(
    part: Part, steps: Int[np.ndarray, " row"], which: Bool[np.ndarray, " row"], field: str
) -> tuple[Int[np.ndarray, " entry"], Float[np.ndarray, " entry"]]:
    """The steps and values of a quantity that not every row needs to show."""
    name = part.columns.get(field)
    if name is None or not which.any():
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    rows, steps = part.rows[which], steps[which]
    values, is_empty = numbers(_of(part.frame[name], which), rows, part.place)
    shown = ~is_empty
    if field == "learning_rate":
        # A nan stands for an empty cell in rows without a loss, and where rates have rows of their own.
        is_point = part.phases.is_point[which]
        shown &= np.isfinite(values) | (is_point & np.isfinite(values[is_point]).any())
    require_finite(values[shown], rows[shown], part.place, name, "Leave the cell empty where it is not known.")
    # A rate that a subtraction left a rounding error below 0 is 0.
    values = np.where((values < 0) & (values > -1e-6 * values[shown].max(initial=0.0)), 0.0, values)
    low = np.flatnonzero(values[shown] < 0)
    if len(low):
        raise ArgumentError(f"{part.place}, row {rows[shown][low[0]]}: {name!r} must not be negative.")
    if values[shown].max(initial=0.0) > MOST or field == "batch":
        require_usual(values[shown], rows[shown], part.place, repr(name))
    return steps[shown], values[shown]


def _size(frame: pd.DataFrame, rows: Any, columns: Columns, place: str) -> float | None:
    name = columns.get("size")
    if name is None:
        return None
    values, is_empty = numbers(frame[name], rows, place)
    if is_empty.all():
        return None
    size = float(values[~is_empty][0]) * size_unit(name)
    if not LEAST <= size <= MOST:
        raise ArgumentError(
            f"{place}, row {rows[~is_empty][0]}: the size ({name!r}) must be positive, at most {MOST:g} parameters, "
            f"but is {size / size_unit(name):g}."
        )
    return size


def _check_unit(frame: pd.DataFrame, rows: Any, columns: Columns, place: str) -> None:
    name = columns.get("unit")
    said = sorted({str(cell).strip().lower() for cell in frame[name]} - {""}) if name else []
    if len(said) > 1:
        first = str(frame[name].iloc[0]).strip().lower()
        other = next(i for i, cell in enumerate(frame[name]) if str(cell).strip().lower() not in {first, ""})
        raise ArgumentError(
            f"{place}, row {rows[other]}: the unit of the loss changes within the curve ({', '.join(said)})."
        )


def _tokens_per_step(part: Part, counted: Counted, batches: Float[np.ndarray, " batch"]) -> float | None:
    if counted.unit != "update":
        return None
    logged, tokens = _logged(part, counted.steps, ~part.phases.is_other & (counted.steps >= 0), "tokens")
    if part.columns.get("step") is not None and len(logged) and np.any(logged > 0):
        ratio = tokens[logged > 0] / logged[logged > 0]
        if ratio[-1] > 0 and np.all(np.abs(ratio - ratio[-1]) <= 0.01 * ratio[-1]):
            return float(ratio[-1])
    return float(batches[0]) if len(batches) and np.all(batches == batches[0]) and batches[0] > 0 else None


def _constant_text(frame: pd.DataFrame, name: str | None) -> str | None:
    if name is None:
        return None
    text = str(frame[name].iloc[0]).strip()
    return text or None


def growing_points(part: Part, notes: list[str]) -> tuple[Counted, Points, Float[np.ndarray, " point"]]:
    """The losses of a run that goes on, as they stand: what is not finite stays, nothing is judged.

    Args:
        part: Its rows.
        notes: Gets a line for each thing that was assumed.

    Returns:
        What its steps are; its losses, NaN where they are none; and the rate logged in each row, NaN where none is.

    Raises:
        ArgumentError: If a cell is no number where one must be, or the column holds no loss.
    """
    columns = part.columns
    quantity = quantity_of(columns.names["loss"], [str(name) for name in part.frame.columns], part.place)
    counted = _counted(part, notes)
    is_point = part.phases.is_point & (counted.steps >= 0)
    rows = part.rows[is_point]
    losses, is_empty = numbers(_of(part.frame[columns.names["loss"]], is_point), rows, part.place)
    if quantity.kind == "perplexity":
        losses = np.log(np.where(losses > 1.0, losses, np.nan))
    rates = np.full(len(rows), np.nan)
    if (name := columns.get("learning_rate")) is not None:
        rates, _ = numbers(_of(part.frame[name], is_point), rows, part.place)
    kept = ~is_empty
    points = Points(rows, counted.steps[is_point], np.where(np.isfinite(losses), losses, np.nan)).keep(kept)
    return counted, points, np.where(np.isfinite(rates) & (rates >= 0), rates, np.nan)[kept]
