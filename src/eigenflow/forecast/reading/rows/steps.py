"""Completed updates of every row of a run, from whatever its log counts: updates, epochs, batches of an epoch, tokens.

Where only epochs are known, an epoch is a step. A whole number of epochs that begins at 0 is the number of the epoch
that a row is about, so one more is completed. Fractions of epochs are turned into steps of even logging.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.cells import numbers, require_finite, whole_numbers
from eigenflow.forecast.reading.columns.recognise import Columns, usable_numbers

__all__ = ["Counted", "PerEpoch", "count_updates", "order_of", "total_of", "updates_per_epoch"]

# Columns that say how many batches an epoch has.
_PER_EPOCH = ("steps_per_epoch", "iters_per_epoch", "batches_per_epoch", "num_batches", "total_batches", "epoch_length")
MOST_DECIMALS = 6
MOST_EPOCHS = 1e9
# Steps beyond this are refused later; here they only have an order, which must not overflow.
FARTHEST = 1e100


@dataclass(frozen=True)
class PerEpoch:
    """Updates of an epoch.

    Attributes:
        updates: Their number.
        source: What says so.
    """

    updates: float
    source: str


@dataclass(frozen=True)
class Counted:
    """Steps of the rows of one run.

    Attributes:
        steps: Completed updates; -1 where a row has none, or needs none.
        unit: What one step is: "update", "epoch" or "interval".
        notes: What was assumed.
    """

    steps: Int[np.ndarray, " row"]
    unit: str
    notes: tuple[str, ...] = ()


def count_updates(
    frame: pd.DataFrame,
    rows: Int[np.ndarray, " row"],
    used: Bool[np.ndarray, " row"],
    is_point: Bool[np.ndarray, " row"],
    columns: Columns,
    place: str,
    tokens_per_step: float | int | None,
    per_epoch: PerEpoch | None = None,
) -> Counted:
    """Give every row of a run its step.

    Args:
        frame: Rows of one run.
        rows: Where a person finds them.
        used: Rows that need a step; of the others it is not looked at.
        is_point: Rows with a loss, all of which need one.
        columns: What is what.
        place: File and curve, for messages.
        tokens_per_step: Tokens per update, where they are counted.
        per_epoch: Updates of an epoch, if the log says it outside of these rows.

    Raises:
        ArgumentError: If a cell is no number, or no whole one where it counts updates.
        NonFiniteError: If a row with a loss has no step.
    """
    name = columns.get("step")
    if name is None:
        return _from_tokens(frame, rows, used, is_point, columns, place, tokens_per_step)
    values, used = _counts(frame[name], rows, used, is_point, place)
    if columns.counts_epochs:
        per_epoch = per_epoch or _said_length(frame, np.flatnonzero(is_point & used))
        return _from_epochs(values, used, is_point, rows, place, name, per_epoch)
    steps = np.full(len(values), -1, dtype=np.int64)
    steps[used] = whole_numbers(values[used], rows[used], place, "step")
    epochs = None if columns.epoch is None else usable_numbers(frame[columns.epoch], np.nan)
    return _made_global(frame, steps, used, is_point, epochs, name)


def _counts(cells: Any, rows: Any, used: Any, is_point: Any, place: str) -> tuple[Any, Any]:
    """Numbers of a column that counts, and the rows that have one and need it.

    A row with a loss has a step, but for a first or a last one, which says something of the whole run.
    """
    values, is_empty = np.full(len(cells), np.nan), np.zeros(len(cells), dtype=bool)
    values[used], is_empty[used] = numbers(cells if used.all() else cells[used], rows[used], place)
    points = np.flatnonzero(is_point)
    kept = used & ~(is_empty & ~is_point)
    if len(points) > 3:
        for at in points[[0, -1]]:
            kept[at] &= not is_empty[at]
    require_finite(values[kept], rows[kept], place, "step", "Every row with a loss needs one.")
    return values, kept


def order_of(frame: pd.DataFrame, columns: Columns) -> Float[np.ndarray, " row"]:
    """A number that rises along a run: its step, or epoch and step where both are there; NaN if unknown."""
    name = columns.get("step") or columns.get("tokens")
    if name is None:
        return np.full(len(frame), np.nan)
    steps = np.clip(usable_numbers(frame[name], np.nan), -FARTHEST, FARTHEST)
    if columns.epoch is None or columns.counts_epochs or not np.isfinite(steps).any():
        return steps
    epochs = np.floor(np.clip(usable_numbers(frame[columns.epoch], np.nan), -FARTHEST, FARTHEST))
    if not np.isfinite(epochs[np.isfinite(steps)]).all():
        return steps
    return epochs * (float(np.nanmax(steps)) + 1.0) + steps


def total_of(frame: pd.DataFrame, columns: Columns) -> int | None:
    """The total of a column of steps that are written `50/546`, None for any other."""
    name = columns.get("step")
    if name is None or pd.api.types.is_numeric_dtype(frame[name].dtype):
        return None
    if "/" not in str(frame[name].iloc[0]):
        return None
    totals = frame[name].astype(str).str.extract(r"^\s*\d+\s*/\s*(\d+)\s*$", expand=False).dropna()
    return int(totals.iloc[-1]) if len(totals) else None


def updates_per_epoch(summary: Any) -> PerEpoch | None:
    """Updates of an epoch by what a trainer sums up, run time times steps a second over the epochs; None if unknown."""
    found = {str(name).rpartition("/")[2].lower(): cell for name, cell in summary.items()}
    cells = [found.get(name) for name in ("train_runtime", "train_steps_per_second", "epoch")]
    runtime, speed, epochs = usable_numbers(pd.Series(cells, dtype=object), 0.0)
    updates = runtime * speed
    if not 1 <= updates <= MOST_EPOCHS or epochs <= 1e-6:
        return None
    return PerEpoch(float(updates / epochs), "by the run time and the steps a second that the trainer sums up")


def _from_tokens(
    frame: pd.DataFrame,
    rows: Any,
    used: Any,
    is_point: Any,
    columns: Columns,
    place: str,
    tokens_per_step: float | int | None,
) -> Counted:
    name = columns.names["tokens"]
    if tokens_per_step is None:
        raise ArgumentError(
            f"{place}: there is no column of steps, only of tokens ({name!r}). Pass `tokens_per_step` "
            f"(--tokens-per-step), or map a column of steps (`columns={{'step': NAME}}`). If each row is a finished "
            f"run, it is a table for `eigenflow forecast plan`."
        )
    values, used = _counts(frame[name], rows, used, is_point, place)
    steps = np.full(len(values), -1, dtype=np.int64)
    updates = np.rint(values[used] / float(tokens_per_step))
    steps[used] = whole_numbers(updates, rows[used], place, "step (tokens / tokens per step)")
    return Counted(steps, "update")


def _from_epochs(
    values: Float[np.ndarray, " row"],
    used: Any,
    is_point: Any,
    rows: Any,
    place: str,
    name: str,
    per_epoch: PerEpoch | None,
) -> Counted:
    epochs = values[used]
    wrong = np.flatnonzero((epochs < 0) | (epochs > MOST_EPOCHS))
    if len(wrong):
        raise ArgumentError(
            f"{place}, row {rows[used][wrong[0]]}: {name!r} must lie within 0 and {MOST_EPOCHS:g}, but is "
            f"{epochs[wrong[0]]:g}."
        )
    steps = np.full(len(values), -1, dtype=np.int64)
    if np.any(epochs != np.rint(epochs)):
        return _from_fractions(values, is_point & used, name, per_epoch)
    repeats = _repeats(values[is_point & used])
    if repeats > 1:
        points = np.flatnonzero(is_point & used)
        first = values[points[0]]
        within = np.arange(len(points)) % repeats
        steps[points] = ((values[points] - first) * repeats).astype(np.int64) + within + 1
        line = f"each epoch ({name!r}) has {repeats} rows, so a step is one of them: an epoch is {repeats} steps"
        return Counted(steps, "interval", (line,))
    begins_at_zero = float(epochs.min()) == 0
    steps[used] = whole_numbers(epochs, rows[used], place, "epoch") + int(begins_at_zero)
    counted = "; it counts from 0, and after epoch 0 one is completed" if begins_at_zero else ""
    return Counted(steps, "epoch", (f"steps are epochs (column {name!r}){counted}",))


def _repeats(epochs: Float[np.ndarray, " point"]) -> int:
    """Rows of each epoch, if all but the last have the same number and follow each other; else 1."""
    starts = np.flatnonzero(np.diff(epochs, prepend=np.nan) != 0)
    counts = np.diff(np.append(starts, len(epochs)))
    is_even = len(counts) > 1 and np.all(np.diff(epochs[starts]) == 1) and np.all(counts[:-1] == counts[0])
    return int(counts[0]) if is_even and counts[-1] <= counts[0] else 1


def _from_fractions(
    values: Float[np.ndarray, " row"], is_point: Bool[np.ndarray, " row"], name: str, per_epoch: PerEpoch | None
) -> Counted:
    """Steps of rows at fractions of epochs: each row is as many updates after the one before, if the epochs say so."""
    epochs = values[is_point]
    steps = np.full(len(values), -1, dtype=np.int64)
    decimals = next((d for d in range(MOST_DECIMALS) if np.allclose(epochs, np.round(epochs, d), rtol=0, atol=1e-9)), 6)
    decimals = min(decimals, 3) if epochs.max() > 1e5 else decimals  # products below must be whole numbers of 64 bits
    count = len(epochs)
    for skipped in (0, 1):  # a trainer may log its first update, and then every tenth
        number = np.arange(1, count + 1) - skipped  # the rounding of the last epoch counts as well
        spacing = float(epochs[-1] / max(number[-1], 1))
        if count > 3 and np.abs(epochs - spacing * number)[skipped:].max() <= 1.01 * 10.0**-decimals + 1e-9:
            return _evenly(values, is_point, number, spacing, name, per_epoch)
    if per_epoch is not None:
        steps[is_point] = np.rint(epochs * per_epoch.updates).astype(np.int64)
        line = f"steps are {per_epoch.updates:.6g} times the epoch (column {name!r}), {per_epoch.source}"
        return Counted(steps, "update", (line,))
    whole = np.rint(epochs * 10.0**decimals).astype(np.int64)
    # Rows that rounding has put at one epoch follow each other evenly within it.
    starts = np.flatnonzero(np.diff(whole, prepend=whole[0] - 1) != 0)
    counts = np.diff(np.append(starts, count))
    most = int(counts.max())
    steps[is_point] = whole * most + np.arange(count) - np.repeat(starts, counts)
    spread = "" if most == 1 else f", of which up to {most} stand at one rounded epoch"
    unit = 10.0**-decimals / most
    line = f"the log counts fractions of epochs (column {name!r}) and no updates: a step is {unit:g} epochs{spread}"
    return Counted(steps, "interval", (line,))


def _evenly(
    values: Any, is_point: Any, number: Int[np.ndarray, " point"], spacing: float, name: str, per_epoch: PerEpoch | None
) -> Counted:
    steps = np.full(len(values), -1, dtype=np.int64)
    if per_epoch is not None and round(per_epoch.updates * spacing) >= 1:
        every = round(per_epoch.updates * spacing)
        steps[is_point] = np.where(number > 0, number * every, 1)
        line = (
            f"steps follow from the epochs (column {name!r}) and {per_epoch.updates:.6g} updates an epoch, "
            f"{per_epoch.source}: one row every {every}"
        )
        return Counted(steps, "update", (line,))
    steps[is_point] = np.where(number > 0, number, -1)
    line = (
        f"the log counts fractions of epochs (column {name!r}) and no updates: a step is one logged row, {spacing:.4g} "
        f"epochs"
    )
    return Counted(steps, "interval", (line,))


def _made_global(
    frame: pd.DataFrame,
    steps: Int[np.ndarray, " row"],
    used: Bool[np.ndarray, " row"],
    is_point: Bool[np.ndarray, " row"],
    epochs: Float[np.ndarray, " row"] | None,
    name: str,
) -> Counted:
    """Steps that begin anew in every epoch, counted through."""
    points = np.flatnonzero(is_point & used)
    if epochs is None or len(points) < 2 or not np.isfinite(epochs[points]).all():
        return Counted(steps, "update")
    epoch, step = np.floor(epochs[points]), steps[points]
    falls = np.flatnonzero(np.diff(step) < 0)
    is_anew = len(falls) > 0 and np.all(np.diff(epoch)[falls] > 0) and np.all(np.diff(epoch) >= 0)
    if not is_anew or step[falls + 1].max() > max(2 * step[: falls[0] + 1].min(), np.diff(np.unique(step)).max()):
        return Counted(steps, "update")
    length, said = _epoch_length(frame, points, step)
    known = used & np.isfinite(epochs)
    through = (np.floor(epochs[known]) - min(epoch[0], 1.0)) * length + steps[known]
    made = np.full(len(steps), -1, dtype=np.int64)
    made[known] = np.maximum(through, 0).astype(np.int64)
    return Counted(made, "update", (f"column {name!r} begins anew in every epoch; counted through with {said}",))


def _said_length(frame: pd.DataFrame, points: Int[np.ndarray, " point"]) -> PerEpoch | None:
    """Updates of an epoch by a column that says the same in every row."""
    names = {str(column).lower().rpartition("/")[2]: str(column) for column in frame.columns}
    for name in (names[wanted] for wanted in _PER_EPOCH if wanted in names):
        values = usable_numbers(frame[name], np.nan)[points]
        is_number = len(values) > 0 and 1 <= values[0] <= MOST_EPOCHS and values[0] == np.rint(values[0])
        if is_number and np.all(values == values[0]):
            return PerEpoch(float(values[0]), f"(column {name!r})")
    return None


def _epoch_length(frame: pd.DataFrame, points: Any, step: Int[np.ndarray, " point"]) -> tuple[int, str]:
    """Updates of an epoch: as the log says, else the middle of what its spacing leaves open."""
    said = _said_length(frame, points)
    if said is not None and said.updates >= step.max():
        return int(said.updates), f"{said.updates:.0f} updates an epoch {said.source}"
    spacing = int(np.median(np.diff(step)[np.diff(step) > 0])) if np.any(np.diff(step) > 0) else 1
    least = int(step.max()) + int(step.min() == 0)
    most = least + spacing - 1
    middle = (least + most) // 2
    if most == least:
        return least, f"{least} updates an epoch, the last logged one"
    return middle, f"{middle} updates an epoch, of which the log says that they are between {least} and {most}"
