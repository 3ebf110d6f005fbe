"""Rows of the loss log, as a recorder writes and reads them: strict JSON, whatever the training loop computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.store.folder import to_json

__all__ = ["LoggedUpdate", "end_of_record", "loss_row", "plain_extras"]

# Written by the recorder itself.
RESERVED = ("time", "length", "reason", "updates")


@dataclass(frozen=True)
class LoggedUpdate:
    """What was said of an update, checked.

    Attributes:
        first: Completed updates before it.
        loss: As it came, finite or not.
        rates: Learning rate of each parameter group, the first one the clock.
        momentum: Heavy-ball mu.
        batch_size: Samples of the batch, or None.
        updates: How many updates it is.
        extra: Other entries, numbers finite or not.
    """

    first: int
    loss: float
    rates: Mapping[str, float]
    momentum: float
    batch_size: int | None
    updates: int
    extra: Mapping[str, Any]

    @property
    def rate(self) -> float:
        """The first group's learning rate."""
        return next(iter(self.rates.values()))

    @property
    def is_finite(self) -> bool:
        """Whether the loss is."""
        return bool(np.isfinite(self.loss))

    def length(self, *, counts_momentum: bool) -> float:
        """In time, unless it was skipped."""
        return self.updates * self.rate / (1.0 - (self.momentum if counts_momentum else 0.0))


def plain_extras(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Entries in JSON types; tensors of one entry become numbers. What is not finite stays as it is.

    Raises:
        ArgumentError: If a name is the recorder's own, or JSON has no place for a value.
    """
    taken = [name for name in RESERVED if name in extra]
    if taken:
        raise ArgumentError(
            f"`{taken[0]}` cannot be logged beside the loss: the recorder writes it itself. Give it another name."
        )
    found = {}
    for name, value in extra.items():
        plain: Any = value.tolist() if isinstance(value, Tensor | np.generic | np.ndarray) else value
        found[name] = plain if isinstance(plain, float) else to_json(plain, name)
    return found


def loss_row(said: LoggedUpdate, time: float, length: float, *, counts_momentum: bool) -> dict[str, Any]:
    """The row of an update; numbers that are not finite become null, with the reason beside them.

    Args:
        said: What was said of it.
        time: Sum of learning rates before it.
        length: Its own length in time.
        counts_momentum: As for `LoggedUpdate.length`.
    """
    row: dict[str, Any] = {"step": said.first, "time": time, "loss": said.loss, "learning_rate": said.rate}
    row |= {f"learning_rate_{name}": r for name, r in list(said.rates.items())[1:] if r != said.rate}
    if said.momentum:
        row["momentum"] = said.momentum
    if said.batch_size is not None:
        row["batch_size"] = said.batch_size
    if said.updates > 1:
        row["updates"] = said.updates
    if length != said.updates * said.rate / (1.0 - said.momentum):
        row["length"] = length
    row |= said.extra
    wrong = {name: value for name, value in row.items() if isinstance(value, float) and not np.isfinite(value)}
    row |= dict.fromkeys(wrong)
    told = [f"`{name}` is {value}" for name, value in wrong.items()]
    if not said.is_finite and length == 0.0 < said.length(counts_momentum=counts_momentum):
        told.append("the parameters did not change, so the update counts as skipped")
    return {**row, "reason": "; ".join(told)} if told else row


def end_of_record(losses: pd.DataFrame) -> tuple[int, float, float]:
    """Where a loss log ends: completed updates, time, and the length of a single update there."""
    if not len(losses):
        return 0, 0.0, 0.0

    def last(name: str, default: float) -> float:
        value = losses[name].iloc[-1] if name in losses else default
        return default if pd.isna(value) else float(value)

    updates = last("updates", 1.0)
    length = last("length", updates * last("learning_rate", 0.0) / (1.0 - last("momentum", 0.0)))
    return int(losses["step"].iloc[-1] + updates), last("time", 0.0) + length, length / updates
