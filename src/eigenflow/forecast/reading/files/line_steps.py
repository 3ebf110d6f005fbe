"""Steps of rows that were found in a text log: from epochs and batches, progress bars, or the rows' own count."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.names import step_rank
from eigenflow.forecast.reading.files.text_patterns import LN2, LogPattern

__all__ = ["Counted", "stepped"]


@dataclass(frozen=True)
class Counted:
    """Rows of a text log, before it is known what step each is of.

    Attributes:
        lines: Their lines in the file.
        counts: What was counted there, by name; NaN where a row does not say it.
        cells: Values by column, with the row of each.
    """

    lines: Int[np.ndarray, " row"]
    counts: dict[str, Float[np.ndarray, " row"]]
    cells: dict[str, tuple[Int[np.ndarray, " _"], Float[np.ndarray, " _"]]]


def stepped(
    rows: Counted, pattern: LogPattern, place: str
) -> tuple[pd.DataFrame, Int[np.ndarray, " entry"], int | None, list[str]]:
    """Give rows their steps and make a table of them.

    Args:
        rows: At least one.
        pattern: That found them.
        place: The file, for messages.

    Returns:
        The table with a column `step` (or `epoch`, where nothing else is counted), the lines of its rows, the planned
        number of updates if the log says it, and notes.

    Raises:
        ArgumentError: If no row has a step.
    """
    notes = [f"{place}: {pattern.note}"] if pattern.note else []
    name, counts, more = _counted_by(rows, pattern)
    notes += [f"{place}: {line}" for line in more]
    is_counted = np.isfinite(counts)
    if not is_counted.any():
        raise ArgumentError(
            f"{place}: {len(rows.lines)} lines of {pattern.name} show a loss, but none shows a step or an epoch. Give "
            "a table with both, or `pattern` (--pattern) with a group `step`."
        )
    if not is_counted.all():
        first = rows.lines[~is_counted][0]
        notes.append(f"{place}: {(~is_counted).sum()} rows without a step (row {first} first) left out")
    columns, more = _columns(rows, pattern, counts, merges=name == "step")
    notes += [f"{place}: {line}" for line in more]
    if pattern.nats == LN2:
        notes.append(f"{place}: losses of {pattern.name} are in bits (base 2); they were multiplied by ln 2 = 0.6931")
    frame, lines = _frame(columns, counts, rows.lines, name)
    is_of_epochs = pattern.is_loose and np.isfinite(rows.counts["epoch"]).any()
    return frame, lines, None if is_of_epochs else _planned(rows), notes


def _columns(
    rows: Counted, pattern: LogPattern, counts: Float[np.ndarray, " row"], *, merges: bool
) -> tuple[dict[str, tuple[Any, Any]], list[str]]:
    """The values of each column that have a step, in nats, and what was done to them."""
    columns, notes = {}, []
    for column, (at, values) in rows.cells.items():
        kept = np.isfinite(counts[at])
        at, values = at[kept], values[kept]
        if pattern.is_whole:
            last = np.append(np.diff(counts[at]) != 0, True)[: len(at)]
            at, values = at[last], values[last]
        elif merges:
            at, values, said = _one_a_step(at, values, counts, rows.lines, column)
            notes += said
        if pattern.nats != 1.0 and "loss" in column:
            values = values * pattern.nats
        columns[column] = (at, values)
    return columns, notes


def _counted_by(rows: Counted, pattern: LogPattern) -> tuple[str, Float[np.ndarray, " row"], list[str]]:
    """The count that serves as the step: its name, its values, and what was assumed."""
    steps, epochs = rows.counts["step"] + pattern.shift, rows.counts["epoch"]
    notes: list[str] = []
    at, of = rows.counts["at"], rows.counts["of"]
    if pattern.is_dict:
        steps, epochs = _of_columns(rows, steps, epochs)
    if pattern.is_loose and _begins_anew(steps, epochs):
        steps, at, of = np.full(len(steps), np.nan), steps, rows.counts["total"]
    is_open = np.isnan(steps) & np.isfinite(epochs) & np.isfinite(at)
    if is_open.any() and not pattern.is_whole:
        first = pattern.first_epoch if pattern.first_epoch is not None else float(np.nanmin(epochs) > 0)
        if np.isnan(of[is_open]).any():
            length, said = _batches(epochs[is_open], at[is_open])
            of = np.where(np.isnan(of), length, of)
            notes += said
        steps = np.where(is_open, (epochs - first) * of + at, steps)
    if np.isfinite(steps).any():
        return "step", steps, notes
    if pattern.is_dict:
        found = _of_bars(rows)
        if found is not None:
            return "step", found, ["the step of a printed row is that of the progress bar beside it"]
        shown = epochs[np.isfinite(epochs)]
        if len(shown) == 0 or np.ptp(shown) == 0:
            return "step", *_of_rows(rows)
    batches = of[np.isfinite(of)]
    if pattern.is_whole and len(batches):
        notes.append(f"an epoch has {batches[-1]:.0f} batches")
    if np.isfinite(epochs).any():
        return "epoch", epochs, notes
    return "step", steps, notes


def _of_columns(
    rows: Counted, steps: Float[np.ndarray, " row"], epochs: Float[np.ndarray, " row"]
) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    """Steps and epochs of printed dicts, whatever their keys are called."""
    ranked = sorted((rank, name) for name in rows.cells if (rank := step_rank(name)) is not None)
    if ranked and not np.isfinite(steps).any():
        at, values = rows.cells.pop(ranked[0][1])
        steps = np.full(len(steps), np.nan)
        steps[at] = values
    return steps, epochs


def _begins_anew(steps: Float[np.ndarray, " row"], epochs: Float[np.ndarray, " row"]) -> bool:
    """Whether steps fall back where the epoch goes on."""
    both = np.isfinite(steps) & np.isfinite(epochs)
    return bool(np.any((np.diff(steps[both]) < 0) & (np.diff(epochs[both]) > 0)))


def _batches(epochs: Float[np.ndarray, " row"], at: Float[np.ndarray, " row"]) -> tuple[float, list[str]]:
    """Batches of an epoch, where only those shown are known; 0 where batches are counted on from epoch to epoch."""
    if np.all(np.diff(at) >= 0):
        return 0.0, []
    most, spacing = float(at.max()), float(np.median(np.diff(at)[np.diff(at) > 0], axis=0)) if len(at) > 1 else 0.0
    length = most + spacing
    return length, [
        f"batches count anew in each epoch, and the log does not say how many there are: {length:.0f} are assumed (the "
        f"last one shown, {most:.0f}, and the usual spacing of {spacing:.0f})"
    ]


def _of_bars(rows: Counted) -> Float[np.ndarray, " row"] | None:
    """Steps from progress bars, if they agree with the epochs: a program's two outputs may be in disorder.

    The bar before a loss may lag behind it, and the one after it be ahead: those that are spaced more evenly are right.
    """
    before, after, epochs = (rows.counts[name] for name in ("before", "after", "epoch"))
    is_point = np.ones(len(before), dtype=bool)
    is_point[rows.cells.get("train_runtime", (slice(0), None))[0]] = False  # a summary of the whole run
    is_training = np.zeros(len(before), dtype=bool)
    is_training[rows.cells.get("loss", (slice(None), None))[0]] = True
    found, fewest = None, len(before) + 1
    # An evaluation is of the update before it.
    for first, other in ((np.where(is_training, after, before), before), (before, after)):
        steps = np.where(is_point, np.where(np.isnan(first), other, first), np.nan)
        if not _agree(steps[is_point], epochs[is_point]):
            continue
        spacings = len(np.unique(np.diff(steps[is_point & is_training], prepend=0.0)))
        if spacings < fewest:
            found, fewest = steps, spacings
    return found


def _agree(steps: Float[np.ndarray, " row"], epochs: Float[np.ndarray, " row"]) -> bool:
    """Whether steps rise, and in proportion to the epochs where these say something."""
    if len(steps) < 2 or np.isnan(steps).any() or np.any(np.diff(steps) < 0):
        return False
    if not np.ptp(epochs) > 0:  # so long an epoch, or none, says nothing
        return bool(np.all(np.diff(steps) > 0))
    is_later = (epochs > 0) & (steps > 0)
    if not is_later.any():
        return False
    rate = float(np.median((steps[is_later] / epochs[is_later])[is_later.sum() // 2 :]))
    # Epochs are printed with two decimals.
    return bool(np.mean(np.abs(steps - rate * epochs) <= 0.011 * rate + 1) >= 0.95)


def _of_rows(rows: Counted) -> tuple[Float[np.ndarray, " row"], list[str]]:
    """Rows numbered: a training loss begins the next one, an evaluation belongs to the one before."""
    begins = np.zeros(len(rows.lines), dtype=bool)
    column = next((name for name in ("loss", "train_loss", "train/loss") if name in rows.cells), None)
    begins[rows.cells[column][0] if column else slice(None)] = True
    steps = np.maximum(np.cumsum(begins), 1).astype(np.float64)
    return steps, ["no steps are shown, and no epochs that go on: a step is one printed row with a training loss"]


def _one_a_step(
    at: Int[np.ndarray, " cell"], values: Float[np.ndarray, " cell"], counts: Any, lines: Any, column: str
) -> tuple[Int[np.ndarray, " one"], Float[np.ndarray, " one"], list[str]]:
    """Values that follow each other at one step, by several ranks or micro-batches, as their mean."""
    begins = np.flatnonzero(np.append(True, np.diff(counts[at]) != 0)) if len(at) else np.zeros(0, dtype=np.int64)
    if len(begins) == len(at):
        return at, values, []
    number = np.diff(np.append(begins, len(at)))
    means = np.add.reduceat(values, begins) / number
    differ = np.maximum.reduceat(values, begins) != np.minimum.reduceat(values, begins)
    means = np.where(differ, means, values[begins])
    said = (
        [
            f"{differ.sum()} steps show {column} several times in a row (row {lines[at[begins[differ][0]]]} first), as "
            f"several ranks or micro-batches do: their mean is taken"
        ]
        if differ.any()
        else []
    )
    return at[begins], means, said


def _frame(
    columns: dict[str, tuple[Any, Any]], counts: Float[np.ndarray, " row"], lines: Int[np.ndarray, " row"], name: str
) -> tuple[pd.DataFrame, Int[np.ndarray, " entry"]]:
    """The rows that hold something, as a table."""
    used = np.unique(np.concatenate([at for at, _ in columns.values()]))
    made: dict[str, Any] = {name: _whole(counts[used])}
    for column, (at, values) in columns.items():
        made[column] = _told(np.searchsorted(used, at), values, len(used))
    return pd.DataFrame(made), lines[used]


def _whole(values: Float[np.ndarray, " row"]) -> Any:
    return (
        values.astype(np.int64)
        if np.all(values == np.rint(values)) and np.abs(values).max(initial=0) < 2**53
        else values
    )


def _told(at: Int[np.ndarray, " cell"], values: Float[np.ndarray, " cell"], size: int) -> Any:
    """A column of numbers, where NaN is an empty cell; of text where a NaN was logged, so that it is not lost."""
    cells = np.full(size, np.nan)
    cells[at] = values
    is_nan = np.isnan(values)
    if not is_nan.any():
        return cells
    text = cells.astype(object)
    text[np.isnan(cells)] = ""
    text[at[is_nan]] = "nan"
    return text


def _planned(rows: Counted) -> int | None:
    totals = rows.counts["total"][np.isfinite(rows.counts["total"])]
    return int(totals[-1]) if len(totals) and totals[-1] >= 1 else None
