"""Logs that somebody still writes: every loss as it stands, also one that is not finite, and a last line left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.files.folders import load_logs
from eigenflow.forecast.reading.files.tables import LogTable
from eigenflow.forecast.reading.rows.drafts import Part, draft_parts
from eigenflow.forecast.reading.rows.one_run import growing_points
from eigenflow.forecast.reading.rows.planned import planned_total

__all__ = ["GrowingRun", "read_growing"]


@dataclass(frozen=True)
class GrowingRun:
    """A run as far as its log goes. `read_curves` cleans and judges a log; a run that is watched may be about to fail.

    Attributes:
        name: Of the run.
        file: Where it stands.
        steps: Completed updates, increasing: of what was logged twice the later row counts, as after a restart.
        losses: NaN where the logged one is not finite.
        rates: Learning rates in the same rows, NaN where none is logged.
        planned: Updates in all, where the log says it.
        unit: What one step is: "update", "epoch", or "interval" (of logging).
        notes: What was assumed.
    """

    name: str
    file: str
    steps: Int[np.ndarray, " point"]
    losses: Float[np.ndarray, " point"]
    rates: Float[np.ndarray, " point"]
    planned: int | None
    unit: str
    notes: tuple[str, ...] = ()


def read_growing(
    source: Path,
    *,
    columns: Mapping[str, str] | None = None,
    tokens_per_step: float | int | None = None,
    pattern: str | None = None,
    without_last: bool = False,
) -> list[GrowingRun]:
    """Read the runs of a log that goes on.

    Args:
        source: A file or folder of any kind that `read_curves` reads.
        columns: As for `read_curves`.
        tokens_per_step: As for `read_curves`.
        pattern: As for `read_curves`.
        without_last: Whether to leave out the last row, as its line may be half-written.

    Returns:
        At least one run, in the order of the log.

    Raises:
        ArgumentError: If there is nothing that can be read, or not yet.
    """
    found: dict[str, GrowingRun] = {}
    for table in load_logs(source, pattern, columns):
        shown = _without_last(table) if without_last else table
        notes: list[str] = []
        for part in draft_parts(shown, columns, tokens_per_step, notes, needs_rates=False):
            run = _run(part, notes)
            before = found.get(run.name)
            found[run.name] = run if before is None else _joined((before, run))
    if not found:
        raise ArgumentError(f"{source} holds no losses.")
    return list(found.values())


def _without_last(table: LogTable) -> LogTable:
    return replace(table, frame=table.frame.iloc[:-1], rows=table.rows[:-1])


def _run(part: Part, notes: list[str]) -> GrowingRun:
    own: list[str] = []
    counted, points, rates = growing_points(part, own)
    planned = planned_total(part.table, part.frame)
    said = tuple(dict.fromkeys([*notes, *own]))
    run = GrowingRun(part.name, part.table.file, points.steps, points.losses, rates, planned, counted.unit, said)
    return _joined((run,))


def _joined(pieces: Sequence[GrowingRun]) -> GrowingRun:
    """One run of several pieces; a point stays if no later one goes back to its step or before it."""
    steps, losses, rates = (
        np.concatenate([getattr(one, name) for one in pieces]) for name in ("steps", "losses", "rates")
    )
    later = np.append(np.minimum.accumulate(steps[::-1])[::-1][1:], np.iinfo(np.int64).max)
    kept = steps < later
    last = pieces[-1]
    notes = tuple(dict.fromkeys(line for one in pieces for line in one.notes))
    return replace(last, steps=steps[kept], losses=losses[kept], rates=rates[kept], notes=notes)
