"""A schedule for every run that was read: from a table, from its own log, or from the run it branched off."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from eigenflow.core.errors import ArgumentError, EigenflowError, LimitError
from eigenflow.core.limits import current_limits, within
from eigenflow.forecast.reading.rates.logged_rates import schedule_from_log
from eigenflow.forecast.reading.rates.rate_alignment import aligned, entries_of
from eigenflow.forecast.reading.rows.drafts import Draft
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["Attached", "MissingRatesError", "attach_schedules"]

Attached = tuple[Draft, Schedule, int, list[str]]
DISAGREES = 0.05
TOKENS_LIKE = 50
LEAST_BEFORE = 5
# Usual gaps between logged rates after which a later end of the curve is said.
LOGGED_WITHIN = 3


class MissingRatesError(ArgumentError):
    """A run shows no learning rates, and no table of schedules has it."""


def attach_schedules(
    drafts: Sequence[Draft], given: Mapping[str, Schedule] | None, warmup: int | None, *, assume_constant: bool
) -> list[Attached]:
    """Find the schedule of every run.

    Args:
        drafts: Cleaned runs.
        given: Schedules by name; one alone, called "schedule", serves all runs.
        warmup: As in `read_curves`.
        assume_constant: Take a constant rate for runs without one.

    Returns:
        For each run: it, its schedule, the step at which it branched off another run, and what had to be assumed.

    Raises:
        ArgumentError: If a run has no schedule, a schedule is shorter than its run, or contradicts the logged rates.
    """
    made: list[Attached | None] = []
    within("total_steps", sum(_updates(draft) for draft in drafts), drafts[0].file)
    for draft in drafts:
        schedule = None if given is None else given.get(draft.name, given.get("schedule") if len(given) == 1 else None)
        if schedule is not None:
            made.append((draft, _checked(draft, schedule), 0, []))
        elif given is not None and not len(draft.rates):
            raise ArgumentError(
                f"{draft.place}: no schedule of that name. There are: {', '.join(given)}. Add it, or leave the run out "
                f"(`exclude`, --exclude)."
            )
        elif assume_constant:
            total = int(draft.points.steps[-1])
            try:
                schedule = Schedule.constant(total=max(total, 1), peak=draft.peak or 1.0, warmup=warmup or 0)
            except EigenflowError as error:
                raise ArgumentError(f"{draft.place}: {error}") from None
            made.append((draft, schedule, 0, [f"a constant learning rate of {draft.peak or 1.0:g} is assumed"]))
        elif not len(draft.rates):
            raise MissingRatesError(
                f"{draft.place}: there are no learning rates: neither a column (lr, learning_rate, ...) nor a table of "
                f"schedules. Pass `schedules` (--schedules): a table, one schedule, or 'constant'."
                + (f" If {name!r} holds them: --column learning_rate={name}." if (name := draft.rate_candidate) else "")
            )
        else:
            made.append(None)
    found = [one for one in made if one is not None]
    alone = [draft for draft, one in zip(drafts, made, strict=True) if one is None]
    trunks = _Trunks(found)
    logged: dict[int, Attached] = {}
    # Those that start from 0 first: they are the trunks of those that start later.
    for draft in sorted(alone, key=lambda draft: draft.rate_steps.min()):
        logged[id(draft)] = _from_log(draft, warmup, trunks)
        trunks.add(logged[id(draft)])
    return [one or logged[id(draft)] for draft, one in zip(drafts, made, strict=True)]


def _updates(draft: Draft) -> int:
    """Updates of a run, by its steps; refused where they can be none."""
    last, most = int(draft.points.steps[-1]), current_limits().steps
    if last > most:
        raise LimitError(
            f"{draft.place}, row {draft.points.rows[-1]}: the steps go to {last:,}; at most {most:,} updates are "
            f"allowed. They look like tokens: pass `columns={{'tokens': NAME}}` with the name of this column, and "
            f"`tokens_per_step` (--column tokens=NAME --tokens-per-step N). If they are updates, raise the limit: "
            f"`eigenflow --limit steps=VALUE ...`, or `with ef.limits(steps=VALUE):` in Python."
        )
    return last


class _Trunks:
    """Runs that others may have branched off, found again by what a branch must have in common with them."""

    def __init__(self, runs: Iterable[Attached]) -> None:
        self._by_kind: dict[Any, list[Attached]] = {}
        self._at: dict[Any, list[tuple[float, Attached]]] = {}
        for run in runs:
            self.add(run)

    def add(self, run: Attached) -> None:
        """Add a run; it must not begin before the ones that `of` has been asked for."""
        if len(run[0].points.steps) >= LEAST_BEFORE:
            self._by_kind.setdefault((run[0].size, run[0].tokens_per_step), []).append(run)

    def of(self, draft: Draft, first: int, rate: float) -> Attached | None:
        """A run of the same size that had the same rate where this one begins, the one nearest to its first loss."""
        key = (draft.size, draft.tokens_per_step, first)
        if key not in self._at:
            self._at[key] = [
                (float(run[1].rates[first - 1]), run)
                for run in self._by_kind.get(key[:2], ())
                if run[0].points.steps[LEAST_BEFORE - 1] < first <= run[1].total
            ]
        level, step = np.log(draft.points.losses[0]), draft.points.steps[0]
        best: tuple[float, Attached | None] = (0.05, None)
        for known, run in self._at[key]:
            # The rate has fallen a little by the first logged step of a cooldown.
            if abs(known - rate) <= 0.1 * rate:
                points = run[0].points
                apart = abs(float(np.interp(step, points.steps, np.log(points.losses))) - level)
                best = (apart, run) if apart < best[0] else best
        return best[1]


def _from_log(draft: Draft, warmup: int | None, trunks: _Trunks) -> Attached:
    raw_steps, raw_rates = entries_of(draft.rate_steps, draft.rates)
    entries = aligned(raw_steps, raw_rates, step_unit=draft.step_unit, planned=draft.planned)
    steps, rates, end = entries.steps, entries.rates, int(draft.points.steps[-1])
    said = list(entries.notes)
    if raw_steps[-1] < end:
        usual = float(np.median(np.diff(raw_steps))) if len(raw_steps) > 1 else 1.0
        if end - raw_steps[-1] > LOGGED_WITHIN * usual:
            said.append(
                f"learning rates after step {raw_steps[-1]} are not logged; the last one, {rates[-1]:g}, is held"
            )
        steps, rates = np.append(steps, end), np.append(rates, rates[-1])
    try:
        schedule, notes = schedule_from_log(steps, rates, total=max(end, 1), warmup=warmup)
    except EigenflowError as error:
        raise ArgumentError(f"{draft.place}: {error}") from None
    notes = said + notes
    first = int(steps[0])
    trunk = trunks.of(draft, first, float(rates[0])) if first > 1 else None
    if trunk is not None:
        history = trunk[1].until(first)
        joined = np.concatenate([history.rates, schedule.rates[first:]])
        line = f"its log begins at step {first}; the history before is that of {trunk[0].name!r}"
        return draft, Schedule(joined, min(history.warmup, len(joined))), first, [*said, line]
    return draft, _with_batch(schedule, draft), 0, notes


def _checked(draft: Draft, schedule: Schedule) -> Schedule:
    end = int(draft.points.steps[-1])
    if end > schedule.total:
        at = int(np.flatnonzero(draft.points.steps > schedule.total)[0])
        hint = (
            " The steps look like tokens: divide them by the tokens per update (`tokens_per_step`, --tokens-per-step)."
            if end > TOKENS_LIKE * schedule.total
            else " Give the rates of every update, or cut the curve."
        )
        raise ArgumentError(
            f"{draft.place}, row {draft.points.rows[at]}: step {draft.points.steps[at]} lies beyond its schedule, "
            "which has "
            f"{schedule.total} updates; the curve goes to step {end}.{hint}"
        )
    inside = draft.rate_steps < schedule.total
    if inside.any():
        apart = np.abs(schedule.rates[draft.rate_steps[inside]] - draft.rates[inside])
        if np.median(apart) > DISAGREES * schedule.peak:
            at = int(apart.argmax())
            step = int(draft.rate_steps[inside][at])
            raise ArgumentError(
                f"{draft.place}: its schedule contradicts the learning rates in the log: at step {step} the table has "
                f"{schedule.rates[step]:g}, the log {draft.rates[inside][at]:g}. Correct one, or leave out `schedules`."
            )
    return _with_batch(schedule, draft)


def _with_batch(schedule: Schedule, draft: Draft) -> Schedule:
    """Batch sizes of the log, where they change."""
    if schedule.batch is not None or len(draft.batches) == 0 or np.all(draft.batches == draft.batches[0]):
        return schedule
    steps = np.maximum.accumulate(draft.batch_steps)
    at = np.maximum(np.searchsorted(steps, np.arange(schedule.total), side="right") - 1, 0)
    try:
        return Schedule(schedule.rates, schedule.warmup, draft.batches[at], schedule.kind, schedule.parameters)
    except EigenflowError as error:
        raise ArgumentError(f"{draft.place}: {error}") from None
