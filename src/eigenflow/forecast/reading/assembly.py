"""A schedule for every run that was read: from a table, from its own log, or from the run it branched off."""

from collections.abc import Mapping, Sequence

import numpy as np

from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.forecast.reading.drafts import Draft
from eigenflow.forecast.reading.logged_rates import schedule_from_log
from eigenflow.forecast.schedules import Schedule

__all__ = ["Draft", "attach_schedules"]

Attached = tuple[Draft, Schedule, int, list[str]]
DISAGREES = 0.05
TOKENS_LIKE = 50
LEAST_BEFORE = 5


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
            schedule = Schedule.constant(total=max(total, 1), peak=draft.peak or 1.0, warmup=warmup or 0)
            made.append((draft, schedule, 0, [f"a constant learning rate of {draft.peak or 1.0:g} is assumed"]))
        elif not len(draft.rates):
            raise ArgumentError(
                f"{draft.place}: there are no learning rates: neither a column (lr, learning_rate, ...) nor a table of "
                f"schedules. Pass `schedules` (--schedules): a table, one schedule, or 'constant'."
            )
        else:
            made.append(None)
    found = [one for one in made if one is not None]
    alone = [draft for draft, one in zip(drafts, made, strict=True) if one is None]
    # Those that start from 0 first: they are the trunks of those that start later.
    logged: dict[int, Attached] = {}
    for draft in sorted(alone, key=lambda draft: draft.rate_steps.min()):
        logged[id(draft)] = _from_log(draft, warmup, [*found, *logged.values()])
    return [one or logged[id(draft)] for draft, one in zip(drafts, made, strict=True)]


def _from_log(draft: Draft, warmup: int | None, others: Sequence[Attached]) -> Attached:
    # Of a step that was logged twice the later entry holds: it belongs to the later piece.
    last = dict(zip(draft.rate_steps.tolist(), draft.rates.tolist(), strict=True))
    steps = np.array(sorted(last))
    rates = np.array([last[step] for step in steps.tolist()])
    end = int(draft.points.steps[-1])
    if steps[-1] < end:
        steps, rates = np.append(steps, end), np.append(rates, rates[-1])
    try:
        schedule, notes = schedule_from_log(steps, rates, total=max(end, 1), warmup=warmup)
    except EigenflowError as error:
        raise ArgumentError(f"{draft.place}: {error}") from None
    first = int(steps[0])
    trunk = _trunk(draft, first, float(rates[0]), others) if first > 1 else None
    if trunk is not None:
        history = trunk[1].until(first)
        joined = np.concatenate([history.rates, schedule.rates[first:]])
        line = f"its log begins at step {first}; the history before is that of {trunk[0].name!r}"
        return draft, Schedule(joined, min(history.warmup, len(joined))), first, [line]
    return draft, _with_batch(schedule, draft), 0, notes


def _trunk(draft: Draft, first: int, rate: float, others: Sequence[Attached]) -> Attached | None:
    """A run of the same size that had the same rate where this one begins, the one nearest to its first loss."""
    level = np.log(draft.points.losses[0])
    found = []
    for other in others:
        run, schedule = other[0], other[1]
        covers = (run.points.steps < first).sum() >= LEAST_BEFORE and first <= schedule.total
        if run.size != draft.size or run.tokens_per_step != draft.tokens_per_step or not covers:
            continue
        # The rate has fallen a little by the first logged step of a cooldown.
        if abs(schedule.rates[first - 1] - rate) <= 0.1 * rate:
            there = np.interp(draft.points.steps[0], run.points.steps, np.log(run.points.losses))
            found.append((abs(there - level), other))
    best = min(found, key=lambda pair: pair[0], default=None)
    return best[1] if best is not None and best[0] < 0.05 else None


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
    return Schedule(schedule.rates, schedule.warmup, draft.batches[at], schedule.kind, schedule.parameters)
