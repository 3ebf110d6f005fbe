"""The runs of one table, with checked numbers, before pieces are joined and schedules found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.forecast.checks import LEAST, MOST
from eigenflow.forecast.reading.cells import numbers, require_finite, require_usual, whole_numbers
from eigenflow.forecast.reading.cleaning import Points
from eigenflow.forecast.reading.columns import Columns, recognise, size_unit
from eigenflow.forecast.reading.hidden_runs import refuse_hidden_runs
from eigenflow.forecast.reading.planned import planned_total
from eigenflow.forecast.reading.quantities import A_LOSS, Quantity, quantity_of
from eigenflow.forecast.reading.signs import positive
from eigenflow.forecast.reading.tables import LogTable, refuse_doubled

__all__ = ["Draft", "drafts_of"]


@dataclass(frozen=True)
class Draft:
    """A run as its log shows it.

    Attributes:
        name: The run.
        file: Where it stands.
        points: Its losses.
        rate_steps: Steps at which a learning rate is logged; empty if none is.
        rates: The rates there.
        batch_steps: Steps at which a batch size is logged.
        batches: The sizes there.
        size: Parameters, None if unknown.
        size_column: Its column.
        role: What the table calls it.
        tokens_per_step: Tokens per update, None if unknown.
        peak: Peak rate, where a column says it.
        planned: Updates that the run shall have in all, where its log says it.
        loss_column: The file's name of the loss.
        step_unit: What one step is: "update", "epoch", or "interval" (of logging), where the log counts no updates.
        quantity: What the loss column holds.
    """

    name: str
    file: str
    points: Points
    rate_steps: Int[np.ndarray, " rate"]
    rates: Float[np.ndarray, " rate"]
    batch_steps: Int[np.ndarray, " batch"]
    batches: Float[np.ndarray, " batch"]
    size: float | None = None
    size_column: str | None = None
    role: str | None = None
    tokens_per_step: float | int | None = None
    peak: float | None = None
    planned: int | None = None
    loss_column: str = "loss"
    step_unit: str = "update"
    quantity: Quantity = A_LOSS

    @property
    def place(self) -> str:
        """File and curve, for messages."""
        size = "" if self.size is None else f" of size {self.size / size_unit(self.size_column or ''):g}"
        return f"{self.file}, curve {self.name!r}{size}"

    def followed_by(self, later: Sequence["Draft"]) -> "Draft":
        """One run of several pieces: rows and rates of this one, then those of the later ones, in their order."""
        pieces = [self, *later]
        files = [piece.file for piece in pieces]
        points = Points(
            np.concatenate([piece.points.rows for piece in pieces]),
            np.concatenate([piece.points.steps for piece in pieces]),
            np.concatenate([piece.points.losses for piece in pieces]),
            (
                *(line for piece in pieces for line in piece.points.changes),
                *(f"pieces from {' + '.join(files[:k])} and {files[k]}" for k in range(1, min(len(files), 20))),
            ),
        )
        return replace(
            self,
            file=" + ".join(files[:20]) + (f" and {len(files) - 20} more" if len(files) > 20 else ""),
            points=points,
            rate_steps=np.concatenate([piece.rate_steps for piece in pieces]),
            rates=np.concatenate([piece.rates for piece in pieces]),
            batch_steps=np.concatenate([piece.batch_steps for piece in pieces]),
            batches=np.concatenate([piece.batches for piece in pieces]),
            planned=next((piece.planned for piece in reversed(pieces) if piece.planned is not None), None),
        )


def drafts_of(
    table: LogTable, chosen: Mapping[str, str] | None, tokens_per_step: float | int | None, notes: list[str]
) -> list[Draft]:
    """Split a table into runs and check its cells.

    Raises:
        ArgumentError: If a column is missing, or a cell is no number where one must be.
        NonFiniteError: If a loss, a step or a rate is NaN or infinite.
    """
    notes += table.notes
    if not len(table.frame):
        raise ArgumentError(f"{table.file} has no rows.")
    refuse_doubled(table)
    columns = recognise([str(column) for column in table.frame.columns], chosen, table.file)
    if columns.other_losses:
        notes.append(
            f"{table.file}: the loss is column {columns.names['loss']!r}; {', '.join(columns.other_losses)} not used "
            f"(choose with `columns={{'loss': NAME}}`)"
        )
    keys = [columns.names[field] for field in ("curve", "size") if field in columns.names]
    frame = table.frame.reset_index(drop=True)
    if not keys:
        return [_draft(table, frame, table.rows, columns, tokens_per_step, notes)]
    frame = _with_numbers(frame, columns)
    groups = frame.groupby([frame[key].astype(str) for key in keys], sort=False, dropna=False).indices
    within("curves", len(groups), table.file)
    # Rows of a run stand together in most tables, and a slice costs a tenth of a choice.
    parts = (slice(at[0], at[-1] + 1) if at[-1] - at[0] == len(at) - 1 else at for at in groups.values())
    return [_draft(table, frame.iloc[at], table.rows[at], columns, tokens_per_step, notes) for at in parts]


def _with_numbers(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Columns of text that hold nothing but numbers as numbers, at once: run by run it takes most of the time.

    Others stay as they are, so that a message can name the run.
    """
    made = {}
    for field in ("step", "loss", "learning_rate", "tokens", "batch", "peak"):
        name = columns.get(field)
        if name is None or pd.api.types.is_numeric_dtype(frame[name].dtype):
            continue
        text = frame[name].astype(str).str.strip()
        values = np.asarray(pd.to_numeric(text, errors="coerce"), dtype=np.float64)
        if not np.isnan(values[(frame[name].notna() & (text != "")).to_numpy()]).any():
            made[name] = values
    return frame.assign(**made)


def _draft(
    table: LogTable,
    frame: pd.DataFrame,
    rows: Any,
    columns: Columns,
    tokens_per_step: float | int | None,
    notes: list[str],
) -> Draft:
    name = _constant_text(frame, columns.get("curve")) or table.name
    place = f"{table.file}, curve {name!r}" if columns.get("curve") else table.file
    size = _size(frame, rows, columns, place)
    if size is not None:
        place += f" of size {size / size_unit(columns.names['size']):g}"
    quantity = quantity_of(columns.names["loss"], [str(column) for column in frame.columns], place)
    steps = _steps(frame, rows, columns, place, tokens_per_step)
    losses, is_empty = numbers(frame[columns.names["loss"]], rows, place)
    is_skipped = is_empty & _logs_something_else(table, frame, columns) if is_empty.any() else is_empty
    if not (~is_skipped).any():
        raise ArgumentError(
            f"{place}: column {columns.names['loss']!r} is empty. Choose another with `columns` (--column)."
        )
    advice = "Remove the row if nothing was measured there; a run that diverged must be cut before it."
    kept = ~is_skipped
    if is_skipped.any() and not table.is_sparse:
        first = rows[is_skipped][0]
        notes.append(
            f"{place}: {is_skipped.sum()} rows without a loss (row {first} first) log something else; left out"
        )
    require_finite(losses[kept], rows[kept], place, "loss", advice)
    require_usual(losses[kept], rows[kept], place, "loss")
    points = Points(rows[kept], steps[kept], losses[kept])
    if np.any(np.diff(points.steps) < 0):
        unused, is_split = _telling(frame, columns), "curve" in columns.names
        refuse_hidden_runs(frame.loc[kept], points.rows, points.steps, unused, place, has_curves=is_split)
    points = positive(points, quantity, place)
    rate_steps, rates = _logged(frame, rows, steps, columns, "learning_rate", place)
    batch_steps, batches = _logged(frame, rows, steps, columns, "batch", place)
    _check_unit(frame, rows, columns, place)
    peak = _logged(frame, rows, steps, columns, "peak", place)[1]
    return Draft(
        name,
        table.file,
        points,
        rate_steps,
        rates,
        batch_steps,
        batches,
        size,
        columns.get("size"),
        _constant_text(frame, columns.get("role")),
        tokens_per_step or _tokens_per_step(frame, rows, steps, columns, place),
        float(peak[0]) if len(peak) else None,
        planned_total(table, frame),
        columns.names["loss"],
        quantity=quantity,
    )


def _telling(frame: pd.DataFrame, columns: Columns) -> list[str]:
    """Columns that may tell runs apart: all but those that are measured, or change where a run is started again."""
    measured = {columns.get(field) for field in ("step", "loss", "learning_rate", "tokens", "batch", "curve", "size")}
    names = [str(column) for column in frame.columns]
    return [name for name in names if name not in measured and name not in columns.other_losses]


def _steps(frame: pd.DataFrame, rows: Any, columns: Columns, place: str, tokens_per_step: float | int | None) -> Any:
    name = columns.get("step")
    if name is None:
        if tokens_per_step is None:
            raise ArgumentError(
                f"{place}: there is no column of steps, only of tokens ({columns.names['tokens']!r}). Pass "
                "`tokens_per_step` "
                f"(--tokens-per-step), or map a column of steps (`columns={{'step': NAME}}`)."
            )
        name = columns.names["tokens"]
    steps, _ = numbers(frame[name], rows, place)
    require_finite(steps, rows, place, "step", "Every row needs one.")
    if name == columns.get("step"):
        return whole_numbers(steps, rows, place, "step")
    return whole_numbers(np.rint(steps / float(tokens_per_step or 1.0)), rows, place, "step (tokens / tokens per step)")


def _logs_something_else(table: LogTable, frame: pd.DataFrame, columns: Columns) -> Any:
    if table.is_sparse:
        return np.ones(len(frame), dtype=bool)
    filled = np.zeros(len(frame), dtype=bool)
    for column in columns.other_losses:
        filled |= _is_filled(frame, column)
    rate = columns.get("learning_rate")
    if rate is not None:  # a row of neither loss nor rate shows a quantity that was left out of the table
        filled |= ~_is_filled(frame, rate)
    return filled


def _is_filled(frame: pd.DataFrame, column: str) -> Any:
    cells = frame[column]
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return cells.notna().to_numpy()
    return (cells.notna() & (cells.astype(str).str.strip() != "")).to_numpy()


def _logged(frame: pd.DataFrame, rows: Any, steps: Any, columns: Columns, field: str, place: str) -> tuple[Any, Any]:
    """The steps and values of a quantity that not every row needs to show."""
    name = columns.get(field)
    if name is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    values, is_empty = numbers(frame[name], rows, place)
    shown = ~is_empty
    require_finite(values[shown], rows[shown], place, name, "Leave the cell empty where it is not known.")
    # A rate that a subtraction left a rounding error below 0 is 0.
    values = np.where((values < 0) & (values > -1e-6 * values[shown].max(initial=0.0)), 0.0, values)
    low = np.flatnonzero(values[shown] < 0)
    if len(low):
        raise ArgumentError(f"{place}, row {rows[shown][low[0]]}: {name!r} must not be negative.")
    if values[shown].max(initial=0.0) > MOST or field == "batch":
        require_usual(values[shown], rows[shown], place, repr(name))
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


def _tokens_per_step(frame: pd.DataFrame, rows: Any, steps: Any, columns: Columns, place: str) -> float | None:
    logged, tokens = _logged(frame, rows, steps, columns, "tokens", place)
    if columns.get("step") is not None and len(logged) and np.any(logged > 0):
        ratio = tokens[logged > 0] / logged[logged > 0]
        if ratio[-1] > 0 and np.all(np.abs(ratio - ratio[-1]) <= 0.01 * ratio[-1]):
            return float(ratio[-1])
    _, batches = _logged(frame, rows, steps, columns, "batch", place)
    return float(batches[0]) if len(batches) and np.all(batches == batches[0]) and batches[0] > 0 else None


def _constant_text(frame: pd.DataFrame, name: str | None) -> str | None:
    if name is None:
        return None
    text = str(frame[name].iloc[0]).strip()
    return text or None
