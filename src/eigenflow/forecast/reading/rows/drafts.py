"""The runs of one table, before pieces are joined and schedules found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.forecast.reading.columns.names import is_epoch, loss_rank, rate_rank, step_rank
from eigenflow.forecast.reading.columns.quantities import A_LOSS, Quantity
from eigenflow.forecast.reading.columns.recognise import KNOWN, Columns, by_quantity, recognise, size_unit
from eigenflow.forecast.reading.columns.written import plain_writing
from eigenflow.forecast.reading.files.tables import LogTable, refuse_doubled
from eigenflow.forecast.reading.rows.cleaning import Points
from eigenflow.forecast.reading.rows.finished_runs import (
    refuse_final_losses,
    refuse_finished_runs,
    refuse_table_of_states,
)
from eigenflow.forecast.reading.rows.phases import Phases, phases_of
from eigenflow.forecast.reading.rows.several_runs import Runs, runs_of
from eigenflow.forecast.reading.rows.steps import PerEpoch, order_of, total_of, updates_per_epoch

__all__ = ["Draft", "Part", "draft_parts"]


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
        rate_candidate: A column that may hold the learning rates, where none is called so.
        quantity: What the column of the losses holds.
        step_unit: What one step is: "update", "epoch", or "interval" (of logging), where the log counts no updates.
        cautions: What columns beside the losses say against them.
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
    quantity: Quantity = A_LOSS
    step_unit: str = "update"
    rate_candidate: str | None = None
    cautions: tuple[str, ...] = ()

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


@dataclass(frozen=True)
class Part:
    """The rows of one run in a table, of which it is known what each is.

    Attributes:
        table: Of which they are.
        frame: They.
        rows: Where a person finds them.
        phases: What each is.
        columns: What each column is.
        name: Of the run.
        place: File and curve, for messages.
        tokens_per_step: Tokens of an update, where the user said it.
        per_epoch: Updates of an epoch, if the log says it.
    """

    table: LogTable
    frame: pd.DataFrame
    rows: Int[np.ndarray, " row"]
    phases: Phases
    columns: Columns
    name: str
    place: str
    tokens_per_step: float | int | None
    per_epoch: PerEpoch | None


def draft_parts(
    table: LogTable,
    chosen: Mapping[str, str] | None,
    tokens_per_step: float | int | None,
    notes: list[str],
    *,
    needs_rates: bool,
) -> list[Part]:
    """Split a table into runs.

    Args:
        table: The table.
        chosen: What the user said of its columns.
        tokens_per_step: Tokens of an update, where the user said it.
        notes: Gets a line for each thing that was found or done.
        needs_rates: Whether the log's own learning rates are needed.

    Raises:
        ArgumentError: If a column is missing or without values, or no run has more than one row.
    """
    notes += table.notes
    if not len(table.frame):
        raise ArgumentError(f"{table.file} has no rows.")
    refuse_doubled(table)
    as_read = table.frame.reset_index(drop=True)
    refuse_table_of_states(as_read, table.file)
    frame, lines = plain_writing(as_read, _may_be_numbers(as_read, chosen), table.rows, table.file)
    columns = recognise(
        frame, chosen, table.file, has_tokens_per_step=tokens_per_step is not None, needs_rates=needs_rates
    )
    notes += [*lines, *columns.notes]
    order = order_of(frame, columns)
    said = by_quantity(chosen or {}, KNOWN)
    if "loss" not in said:
        has_steps = columns.get("step") is not None
        refuse_final_losses(frame, columns.names["loss"], order if has_steps else None, table.file)
    phases = phases_of(frame, columns, table.rows, table.file, is_sparse=table.is_sparse)
    runs = runs_of(frame, columns, phases.is_point, order, is_said="curve" in said)
    within("curves", len(runs.names), table.file)
    notes += [*phases.notes, *(f"{table.file}: {line}" for line in runs.notes)]
    used = phases.is_point & np.isfinite(order)
    if columns.get("step") is not None or tokens_per_step is None:
        refuse_finished_runs(frame, order[used], runs.numbers[used], runs.settings, table.file)
    table = replace(table, planned=table.planned or total_of(as_read, columns))
    return list(_parts(table, frame, columns, phases, runs, tokens_per_step, notes))


def _parts(
    table: LogTable,
    frame: pd.DataFrame,
    columns: Columns,
    phases: Phases,
    runs: Runs,
    tokens_per_step: float | int | None,
    notes: list[str],
) -> list[Part]:
    per_epoch = None if phases.summary is None else updates_per_epoch(frame.iloc[phases.summary])
    found, without = [], []
    for number, at in enumerate(runs.rows()):
        name = runs.names[number] or table.name
        part = phases.of(at)
        if not part.is_point.any():
            without.append(name)
            continue
        place = f"{table.file}, curve {name!r}" if runs.names[number] else table.file
        one = Part(table, frame.iloc[at], table.rows[at], part, columns, name, place, tokens_per_step, per_epoch)
        found.append(one)
    if not found:
        raise ArgumentError(
            f"{table.file}: column {columns.names['loss']!r} is empty. Choose another with `columns` (--column)."
        )
    if without and len(runs.columns):
        notes.append(f"{table.file}: {len(without)} without a loss left out: {', '.join(without[:5])}")
    return found


def _may_be_numbers(frame: pd.DataFrame, chosen: Mapping[str, str] | None) -> dict[str, str]:
    """Columns that may hold a quantity by their name, and which; first those that the user named."""
    found: dict[str, str] = {}
    for name in map(str, frame.columns):
        plain = name.strip().lower()
        if loss_rank(name) is not None:
            found[name] = "loss"
        elif rate_rank(name) is not None:
            found[name] = "learning_rate"
        elif step_rank(name) is not None or step_rank(name, within_epoch=True) is not None or is_epoch(name):
            found[name] = "step"
        for field in ("size", "tokens", "batch", "peak"):
            if plain in KNOWN[field]:
                found[name] = field
    said = {column: field for field, column in by_quantity(chosen or {}, KNOWN).items() if field not in _TEXTS}
    return {name: field for name, field in {**found, **said}.items() if name in frame.columns}


_TEXTS = {"curve", "role", "unit"}
