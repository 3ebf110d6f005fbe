"""Which rows of a log are points of its curve: not those of another phase, not a trainer's summary of the whole run.

An empty cell says that a row logs something else. A NaN that a trainer wrote is a loss, of a run that diverged.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from eigenflow.forecast.reading.columns.cells import says_nan
from eigenflow.forecast.reading.columns.names import phase_of, words_of
from eigenflow.forecast.reading.columns.recognise import Columns, is_filled, usable_numbers
from eigenflow.forecast.reading.rows.several_runs import grouped

__all__ = ["Phases", "phases_of"]

# Columns whose words say of which phase a row is.
_PHASE = {"mode", "split", "phase", "stage", "subset", "set", "partition", "role", "type", "kind", "event", "tag"}
# Columns that say of themselves whether a row is one of training, by true and false.
_IS_PHASE = {"is_train", "is_training", "training", "train", "is_val", "is_validation", "is_eval", "eval", "is_test"}
_TRUE, _FALSE = {"true", "yes"}, {"false", "no"}
# What a trainer logs once, beside the mean loss of the whole run.
_SUMMARY = ("train_runtime", "train_samples_per_second")


@dataclass(frozen=True)
class Phases:
    """Of each row of a table, what it is.

    Attributes:
        is_point: It has a loss of the curve.
        is_other: It is of another phase, or a summary: nothing in it belongs to the curve.
        is_hole: It shows all that rows with a loss show, but for the loss.
        column: The one that says the phase, None if none does.
        summary: The row of the trainer's summary, None if there is none.
        notes: What was left out.
    """

    is_point: Bool[np.ndarray, " row"]
    is_other: Bool[np.ndarray, " row"]
    is_hole: Bool[np.ndarray, " row"]
    column: str | None
    summary: int | None
    notes: tuple[str, ...]

    def of(self, at: Any) -> "Phases":
        """Of some of the rows."""
        return replace(self, is_point=self.is_point[at], is_other=self.is_other[at], is_hole=self.is_hole[at])


def phases_of(
    frame: pd.DataFrame,
    columns: Columns,
    rows: Int[np.ndarray, " row"],
    place: str,
    *,
    is_sparse: bool,
) -> Phases:
    """Tell the rows of a table apart.

    Args:
        frame: The table.
        columns: What is what in it.
        rows: Where a person finds each row.
        place: The file, for messages.
        is_sparse: Whether rows without a loss are normal, so that they need no mention.
    """
    notes: list[str] = []
    loss = columns.names["loss"]
    is_point = is_filled(frame, loss) & ~_is_filled_with_nan(frame, columns)
    has_loss = is_point.copy()
    runs = grouped(frame, [columns.names[field] for field in ("curve", "size") if field in columns.names])
    column, is_train = _of_training(frame, columns, runs, is_point)
    is_other = np.zeros(len(frame), dtype=bool)
    if is_train is not None:
        is_other |= ~is_train
        other = sorted({str(cell) for cell in frame[column].to_numpy()[is_point & ~is_train]})
        _count(notes, place, is_point & ~is_train, rows, f"are of another phase ({column}: {', '.join(other[:5])})")
    is_summary = _is_summary(frame, is_point)
    is_other |= is_summary
    shown = is_summary & (is_point if is_sparse else True)
    _count(notes, place, shown, rows, "sum up the whole run (its mean loss, its run time)")
    is_point &= ~is_other
    is_hole = _is_hole(frame, columns, is_point, ~has_loss & ~is_other)
    if not is_sparse:
        _count(notes, place, ~has_loss & ~is_other & ~is_hole, rows, "log something else", "without a loss ")
    last = np.flatnonzero(is_summary)
    return Phases(is_point, is_other, is_hole, column, int(last[-1]) if len(last) else None, tuple(notes))


def _count(notes: list[str], place: str, which: Any, rows: Any, what: str, kind: str = "") -> None:
    if which.any():
        first = rows[which][0]
        notes.append(f"{place}: {which.sum()} rows {kind}(row {first} first) {what}; left out")


def _is_filled_with_nan(frame: pd.DataFrame, columns: Columns) -> Bool[np.ndarray, " row"]:
    """Rows in which a table writes nan for what it does not log: where another loss stands, that is nan elsewhere."""
    cells = frame[columns.names["loss"]]
    nothing = np.zeros(len(frame), dtype=bool)
    if pd.api.types.is_numeric_dtype(cells.dtype) or not columns.other_losses:
        return nothing
    is_nan = says_nan(cells.astype(str).str.strip())
    is_number = usable_numbers(cells)
    if not is_nan.any() or not is_number.any():
        return nothing
    for name in columns.other_losses:
        is_there = usable_numbers(frame[name])
        if np.mean(is_there[is_number]) < 0.5:
            nothing |= is_nan & is_there
    return nothing


def _of_training(
    frame: pd.DataFrame, columns: Columns, runs: Int[np.ndarray, " row"], is_point: Bool[np.ndarray, " row"]
) -> tuple[str | None, Bool[np.ndarray, " row"] | None]:
    """The column that tells rows of training from those of validation within a run, and which they are."""
    for name in map(str, frame.columns):
        if name in {columns.get(field) for field in ("curve", "loss", "step", "learning_rate", "size")}:
            continue
        words = words_of(name)
        if not words or not (words[-1] in _PHASE or "_".join(words) in _IS_PHASE):
            continue
        codes, said = pd.factorize(frame[name].astype(str).str.strip().where(frame[name].notna(), ""))
        phases = [_said_phase("_".join(words), str(text)) for text in said]
        if "train" not in phases:  # where only a validation says what it is
            phases = ["train" if text in {"", "nan"} else phase for text, phase in zip(said, phases, strict=True)]
        if "train" not in phases or "val" not in phases:
            continue
        phase = np.array([*phases, None], dtype=object)[codes]
        is_train, is_val = phase == "train", phase == "val"
        trained = set(runs[is_point & is_train].tolist())
        # A column that is constant within every run tells runs apart, and not rows.
        if trained & set(runs[is_point & is_val].tolist()):
            return name, is_train | ~(is_val | is_point)
        if len(trained) and np.any(is_val & ~is_point & np.isin(runs, list(trained))):
            return name, ~is_val
    return None, None


def _said_phase(name: str, text: str) -> str | None:
    if name in _IS_PHASE:
        plain = text.lower()
        kind = phase_of(name)
        other = "val" if kind == "train" else "train"
        return kind if plain in _TRUE else other if plain in _FALSE else None
    return phase_of(text)


def _is_summary(frame: pd.DataFrame, is_point: Bool[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
    found = np.zeros(len(frame), dtype=bool)
    for name in map(str, frame.columns):
        if name.rpartition("/")[2].strip().lower() in _SUMMARY:
            filled = is_filled(frame, name)
            # A run time that most points show is no summary.
            if 2 * np.count_nonzero(filled & is_point) < max(np.count_nonzero(is_point), 2):
                found |= filled
    return found


def _says_something(frame: pd.DataFrame, name: str) -> Bool[np.ndarray, " row"]:
    """Which rows fill a column with something else than nan."""
    filled = is_filled(frame, name)
    if pd.api.types.is_numeric_dtype(frame[name].dtype):
        return filled
    return filled & ~says_nan(frame[name].astype(str).str.strip())


def _is_hole(frame: pd.DataFrame, columns: Columns, is_point: Any, candidates: Any) -> Bool[np.ndarray, " row"]:
    """Rows without a loss that fill just those columns which nearly all points fill."""
    is_hole = np.asarray(candidates).copy()
    for name in map(str, frame.columns):
        if name == columns.names["loss"] or not is_hole.any():
            continue
        filled = _says_something(frame, name)
        is_hole &= filled == (np.mean(filled[is_point]) > 0.9) if is_point.any() else False
    return is_hole
