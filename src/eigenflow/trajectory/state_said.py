"""What a caller says of a state, checked before anything is recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eigenflow.core.checks import check_number, check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.store.schema import Clock
from eigenflow.trajectory.rates import LearningRate, learning_rates
from eigenflow.trajectory.rows import plain_extras
from eigenflow.trajectory.said import as_number

__all__ = ["StateSaid", "checked_state"]


@dataclass(frozen=True)
class StateSaid:
    """What was said of a state, checked.

    Attributes:
        step: Completed updates.
        time: Sum of learning rates, or None.
        row: The entries of the loss log, without step and time; empty if nothing was said.
    """

    step: int
    time: float | None
    row: Mapping[str, Any]

    @property
    def clock(self) -> Clock:
        """What its time counts."""
        return "updates" if self.time is None else "learning rates"

    def log_row(self) -> dict[str, Any] | None:
        """The row of the loss log, None if there is nothing to log; what is not finite is null, with the reason."""
        if not self.row:
            return None
        row = {"step": self.step, **({} if self.time is None else {"time": self.time}), **self.row}
        wrong = {name: value for name, value in row.items() if isinstance(value, float) and not np.isfinite(value)}
        told = "; ".join(f"`{name}` is {value}" for name, value in wrong.items())
        return row | dict.fromkeys(wrong) | ({"reason": told} if told else {})


def checked_state(
    step: int,
    *,
    time: float | None,
    learning_rate: LearningRate | None,
    loss: Any,
    extra: Mapping[str, Any],
    before: tuple[int, float] | None,
    clock: Clock | None,
) -> StateSaid:
    """Give what was said of a state, or say why it cannot be true.

    Args:
        step: Completed updates.
        time: Sum of learning rates, or None.
        learning_rate: At the state, or None.
        loss: Number or tensor of one entry, or None.
        extra: Other entries of the row.
        before: Step and time of the last state of the record; None for none.
        clock: Of the record; None if it has none yet.

    Raises:
        ArgumentError: If the step is not later than the one before, or a number is out of range.
    """
    step = check_whole("step", step)
    if before is not None and step <= before[0]:
        raise ArgumentError(
            f"`step` must be later than {before[0]}, the last state of the record, but is {step}. Record states in "
            f"the order of their steps, each once; to put one between others, record all of them into another path."
        )
    if time is not None:
        time = check_number("time", time, 0.0)
    said = StateSaid(step, time, _row(learning_rate, loss, extra))
    if clock is not None and said.clock != clock:
        told = "without it" if clock == "updates" else "with it"
        raise ArgumentError(
            f"`time` must be given for all states of a record or for none, but is {time} at step {step} after states "
            f"{told}. It is the sum of the learning rates of all updates so far."
        )
    if time is not None and before is not None and time < before[1]:
        raise ArgumentError(
            f"`time` must not fall, but is {time:.12g} at step {step} after {before[1]:.12g} at step {before[0]}. It "
            f"is the sum of the learning rates of all updates so far."
        )
    return said


def _row(learning_rate: LearningRate | None, loss: Any, extra: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if loss is not None:
        row["loss"] = as_number(loss)
    if learning_rate is not None:
        rates = learning_rates(learning_rate)
        first = next(iter(rates.values()))
        row["learning_rate"] = first
        row |= {f"learning_rate_{name}": rate for name, rate in list(rates.items())[1:] if rate != first}
    return row | plain_extras(extra)
