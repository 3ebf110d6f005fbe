"""Schedules in a word: `cosine:total=8000,end=0`, or a table of them.

What is left out is as in the run: its total, its highest rate, its warm-up. `from=STEP`, or `from=now`, keeps what the
run has done up to there, and begins at the rate that it has there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.forecast.outlook.rest import PlannedRun, continued
from eigenflow.forecast.reading.rates.schedule_tables import read_schedules
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["WhatIf", "asked_schedules"]

WhatIf = str | Path | Schedule | Mapping[str, Schedule]

# Names of a short form, and the column of a table of schedules that each is.
NAMES = {
    "total": "total_steps",
    "steps": "total_steps",
    "warmup": "warmup_steps",
    "peak": "peak_lr",
    "lr": "peak_lr",
    "end": "end_lr",
    "min": "end_lr",
    "decay_start": "change_step",
    "change": "change_step",
    "decay_fraction": "decay_fraction",
    "decay": "decay",
    "changes": "changes",
    "factors": "factors",
    "period": "period",
}
KINDS = ("constant", "cosine", "linear", "wsd", "two_stage", "multi_step", "cyclic")
DECAYS = ("linear", "exponential", "sqrt")
# The part of a WSD that decays, where a short form does not say it.
DECAY_FRACTION = 0.2


def asked_schedules(asked: Sequence[WhatIf], run: PlannedRun) -> dict[str, Schedule]:
    """Make the schedules that a user asks about.

    Args:
        asked: Short forms, files of tables of schedules, schedules, or schedules by name.
        run: Whose total, highest rate and warm-up stand for what a short form leaves out.

    Raises:
        ArgumentError: If one is neither a short form nor a table, or a number of it is not allowed.
    """
    found: dict[str, Schedule] = {}
    for one in asked:
        if isinstance(one, Schedule):
            found[one.summary] = one
        elif not isinstance(one, str | Path | Mapping):
            raise ArgumentError(f"`what_if` must hold short forms, tables or schedules, but has {str(one)[:60]!r}.")
        elif isinstance(one, Mapping | Path) or _is_file(one):
            found |= read_schedules(one)
        else:
            found[one.strip()] = _short_form(one.strip(), run)
    return found


def _is_file(text: str) -> bool:
    kind = text.partition(":")[0].strip().lower()
    return kind not in KINDS and (Path(text).exists() or Path(text).suffix in {".csv", ".json", ".tsv", ".parquet"})


def _short_form(text: str, run: PlannedRun) -> Schedule:
    kind, _, numbers = text.partition(":")
    kind = kind.strip().lower().replace("-", "_")
    if kind not in KINDS:
        raise ArgumentError(
            f"`what_if` must be a table of schedules or a short form such as cosine:total=8000,end=0, of kind "
            f"{', '.join(KINDS)}, but is {text!r}."
        )
    cells: dict[str, str] = {}
    begin: int | None = None
    for pair in filter(None, (part.strip() for part in numbers.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if name == "from" and equals:
            begin = _begin(value, run, text)
            continue
        if name not in NAMES or not equals or not value:
            raise ArgumentError(
                f"`what_if` {text!r}: {pair!r} must be NAME=VALUE, where NAME is from or one of {', '.join(NAMES)}."
            )
        cells[NAMES[name]] = value
    try:
        return _whole(kind, cells, run) if begin is None else _going_on(kind, cells, run, begin)
    except EigenflowError as error:
        raise ArgumentError(f"`what_if` {text!r}: {error}") from None


def _begin(value: str, run: PlannedRun, text: str) -> int:
    step = run.last if value == "now" else int(value) if value.isdigit() else -1
    if not 1 <= step <= run.last:
        raise ArgumentError(
            f"`what_if` {text!r}: `from` must be 'now' or a step from 1 to {run.last:,}, the last one that is known, "
            f"but is {value!r}."
        )
    return step


def _whole(kind: str, cells: Mapping[str, str], run: PlannedRun) -> Schedule:
    """A run of its own, from its first update on."""
    own = {"total_steps": run.total, "warmup_steps": run.schedule.warmup, "peak_lr": run.schedule.peak}
    made = _of_table(kind, {**own, **cells})
    return made if run.schedule.batch is None else made.with_batch(float(run.schedule.batch[-1]))


def _going_on(kind: str, cells: Mapping[str, str], run: PlannedRun, begin: int) -> Schedule:
    """What the run has done up to a step, and then a schedule from its rate there; steps are those of the run."""
    seen = run.schedule.until(begin)
    total = int(float(cells.get("total_steps", run.total)))
    if total <= begin:
        raise ArgumentError(f"`total` must lie beyond step {begin:,}, from which it goes on, but is {total:,}.")
    now = float(seen.rates[np.flatnonzero(seen.rates > 0)[-1]])
    moved = {"total_steps": total - begin, "warmup_steps": 0, "peak_lr": now} | {
        name: value for name, value in cells.items() if name not in {"total_steps", "warmup_steps", "change_step"}
    }
    if "change_step" in cells:
        moved["change_step"] = int(float(cells["change_step"])) - begin
    return continued(seen, _of_table(kind, moved).rates)


def _of_table(kind: str, cells: Mapping[str, object]) -> Schedule:
    row = {"curve": "asked", "schedule": "linear_to_zero" if kind == "linear" else kind, **cells}
    if kind == "wsd":
        if row.get("decay", "linear") not in DECAYS:
            raise ArgumentError(f"`decay` must be one of {', '.join(DECAYS)}, but is {row['decay']!r}.")
        if "change_step" not in row:
            row.setdefault("decay_fraction", DECAY_FRACTION)
    return read_schedules(pd.DataFrame([row]))["asked"]
