"""A run's checkpoints in order of their steps: opened once, doubles named, those that cannot be read named."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.integrations.checkpoints.clock import (
    RunClock,
    clock_of_checkpoints,
    clock_of_file,
    clock_of_log,
    losses_of_log,
)
from eigenflow.integrations.checkpoints.folder import Found, find_checkpoints
from eigenflow.integrations.checkpoints.formats.weights import UnreadableError
from eigenflow.integrations.checkpoints.reading import learning_rate_of, open_weights, step_of, trainer_state
from eigenflow.integrations.checkpoints.steps import Step

__all__ = ["Listed", "Listing", "list_checkpoints"]

# Names of copies of another checkpoint, which give way to one with a step in its name.
COPIES = ("last", "latest", "best", "final", "newest", "current")


@dataclass(frozen=True)
class Listed:
    """One checkpoint that is measured.

    Attributes:
        found: Where it lies.
        step: Updates (or epochs, see `Listing.unit`).
        source: What the step was read from.
        format: In words.
        bytes: Of its files.
        learning_rate: At it, or None.
        loss: Training loss that a log gives at its step, or None.
        time: Sum of learning rates, or None.
    """

    found: Found
    step: int
    source: str
    format: str
    bytes: int
    learning_rate: float | None = None
    loss: float | None = None
    time: float | None = None


@dataclass(frozen=True)
class Listing:
    """What is measured, and what is not.

    Attributes:
        checkpoints: In order of steps.
        left_out: Path, step if it is known, and reason.
        unit: "updates", or "epochs" where nothing tells updates.
        clock: What time is, in words.
        notes: What a person should know.
    """

    checkpoints: tuple[Listed, ...]
    left_out: tuple[tuple[Path, int | None, str], ...]
    unit: str
    clock: str
    notes: tuple[str, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class _Opened:
    """What is remembered of a checkpoint that was opened; `reason` is empty if it could be."""

    found: Found
    step: Step | None
    reason: str = ""
    format: str = ""
    bytes: int = 0
    rate: float | None = None


def list_checkpoints(
    paths: str | Path | Sequence[str | Path],
    updates_per_epoch: int | None = None,
    log: str | Path | None = None,
) -> Listing:
    """Find and open checkpoints, without reading their tensors.

    Args:
        paths: As for `find_checkpoints`.
        updates_per_epoch: Where only epochs are told.
        log: Of the training, with learning rates; None: what lies beside the checkpoints or in them.

    Raises:
        FileError, ArgumentError: As `find_checkpoints`; or if `log` cannot be used.
    """
    found, others = find_checkpoints(paths)
    opened = [_in_updates(_open(one), updates_per_epoch) for one in found]
    unit = _unit(opened)
    left: list[tuple[Path, int | None, str]] = [(one.path, None, one.reason) for one in others]
    by_step: dict[int, list[_Opened]] = defaultdict(list)
    for one in opened:
        step = None if one.step is None else one.step.updates if unit == "updates" else one.step.epochs
        if one.reason:
            left.append((one.found.path, step, one.reason))
        elif step is None:
            left.append((one.found.path, None, _no_step(one, unit)))
        else:
            by_step[step].append(one)
    chosen = []
    for step, same in sorted(by_step.items()):
        first, *rest = sorted(same, key=_rank)
        chosen.append((step, first))
        left += [(one.found.path, step, _double(one, first, step)) for one in rest]
    listed, clock = _with_log(chosen, unit, log)
    return Listing(tuple(listed), tuple(left), unit, clock.told, _notes(chosen, unit))


def _open(found: Found) -> _Opened:
    try:
        weights = open_weights(found)
    except UnreadableError as error:
        return _Opened(found, step_of(found, None), str(error))
    step = step_of(found, weights)
    rate = learning_rate_of(found, weights, -1 if step is None or step.updates is None else step.updates)
    return _Opened(found, step, "", weights.format, weights.bytes, rate)


def _in_updates(one: _Opened, updates_per_epoch: int | None) -> _Opened:
    """Epochs as updates, if it is known how many an epoch has."""
    step = one.step
    if step is None or step.epochs is None or step.updates is not None or updates_per_epoch is None:
        return one
    words = f"{step.source}, {updates_per_epoch} updates an epoch"
    return replace(one, step=Step(step.epochs * updates_per_epoch, step.epochs, words))


def _unit(opened: Sequence[_Opened]) -> str:
    """Epochs count where no checkpoint tells its updates."""
    steps = [one.step for one in opened if one.step is not None]
    return "updates" if not steps or any(step.updates is not None for step in steps) else "epochs"


def _no_step(one: _Opened, unit: str) -> str:
    if one.step is not None and one.step.epochs is not None:
        told = f"it tells its epoch ({one.step.epochs}), but not its updates, as the others do"
        return f"{told}; --updates-per-epoch says how many an epoch has"
    return f"neither its name nor its content tells a step ({unit}); rename it, such as step_500{one.found.path.suffix}"


def _rank(one: _Opened) -> tuple[bool, bool, str]:
    """Which of two at one step is taken: no copy, no average, and then by name."""
    name = one.found.path.name.lower()
    return any(word in name for word in COPIES), "ema" in name, str(one.found.path)


def _double(one: _Opened, first: _Opened, step: int) -> str:
    name = first.found.path.name
    if _is_same(one.found, first.found):
        return f"the same weights as '{name}'"
    return f"step {step} again, with other weights than '{name}', which is taken; name files or a pattern to choose"


def _is_same(found: Found, other_found: Found) -> bool:
    """Whether both hold the same tensors, bit for bit."""
    try:
        one, other = open_weights(found), open_weights(other_found)
        if one.entries != other.entries:
            return False
        return all(_same_bits(one.tensor(name), other.tensor(name)) for name in one.entries)
    except UnreadableError:
        return False


def _same_bits(one: Tensor, other: Tensor) -> bool:
    one, other = (t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other))
    return torch.equal(one, other)


def _with_log(
    chosen: Sequence[tuple[int, _Opened]], unit: str, log: str | Path | None
) -> tuple[list[Listed], RunClock]:
    clock, losses = _clock(chosen, unit, log)
    listed = []
    for step, one in chosen:
        assert one.step is not None
        time, loss = clock.times.get(step), losses.get(step)
        listed.append(Listed(one.found, step, one.step.source, one.format, one.bytes, one.rate, loss, time))
    return listed, clock


def _clock(
    chosen: Sequence[tuple[int, _Opened]], unit: str, log: str | Path | None
) -> tuple[RunClock, dict[int, float]]:
    """Times and training losses, from what tells most."""
    steps = [step for step, _ in chosen]
    if log is not None and steps:
        if unit != "updates":
            raise ArgumentError(
                "`log` gives times by updates, but the checkpoints tell epochs. Give `updates_per_epoch` "
                "(--updates-per-epoch) too."
            )
        return clock_of_file(log, steps)
    rows: list[Any] = []
    for _, one in reversed(chosen):  # the last one's log holds those of the others
        state = trainer_state(one.found)
        if state is not None and isinstance(state.get("log_history"), list):
            rows = [row for row in state["log_history"] if isinstance(row, dict)]
            break
    losses = losses_of_log(rows)
    if unit != "updates" or not steps:
        return RunClock({}, f"{unit} (no log of learning rates beside the checkpoints)"), losses
    if rows:
        return clock_of_log(rows, steps), losses
    return clock_of_checkpoints({step: one.rate for step, one in chosen if one.rate is not None}, steps), losses


def _notes(chosen: Sequence[tuple[int, _Opened]], unit: str) -> tuple[str, ...]:
    notes = []
    if unit == "epochs" and chosen:
        notes.append("steps are epochs: no checkpoint tells its updates; --updates-per-epoch makes updates of them")
    sources = {one.step.source.partition(" '")[0] for _, one in chosen if one.step is not None}
    if len(sources) > 1 and any(source.startswith("name") for source in sources):
        notes.append("some steps are from the files, others from names alone")
    return tuple(notes)
