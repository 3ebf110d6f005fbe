"""The learning rate of an update, in the forms in which training loops have it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from eigenflow.core.errors import ArgumentError

__all__ = ["LearningRate", "learning_rates"]

# A number; one for each parameter group of the optimizer, or by their names. The first one is the clock.
LearningRate = Any


def learning_rates(value: LearningRate) -> dict[str, float]:
    """Read what was passed as `learning_rate`.

    Args:
        value: A number or tensor of one entry; or the rates of all parameter groups, as a list, a tensor or a mapping.

    Returns:
        Rates by name of the group, that of the first group first; a single one is called "0".

    Raises:
        ArgumentError: If it is something else; says how to get the rate from a scheduler or an optimizer.
    """
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        entries = {str(name): entry for name, entry in value.items()}
    elif isinstance(value, list | tuple):
        entries = {str(index): entry for index, entry in enumerate(value)}
    else:
        entries = {"0": value}
    if not entries:
        raise ArgumentError(f"`learning_rate` must hold at least one rate, but is {value!r}. {_EXPLAINED}")
    return {name: _number(entry) for name, entry in entries.items()}


_EXPLAINED = "Pass the rate that the update was made with, for example optimizer.param_groups[0]['lr']."


def _number(entry: Any) -> float:
    if hasattr(entry, "get_last_lr"):
        raise ArgumentError(
            f"`learning_rate` must be the rate of the update that was just made, but is a scheduler "
            f"({type(entry).__name__}), which holds that of the next one once its step() was called. Pass "
            f"scheduler.get_last_lr() as it was before scheduler.step(): the first group's rate is the clock."
        )
    if hasattr(entry, "param_groups"):
        raise ArgumentError(
            f"`learning_rate` must be a number >= 0, or one for each parameter group, but is an optimizer "
            f"({type(entry).__name__}). Pass [group['lr'] for group in optimizer.param_groups]."
        )
    is_number = not isinstance(entry, str | bytes | bool | None)
    try:
        rate = float(entry) if is_number else float("nan")
    except (TypeError, ValueError, RuntimeError):
        rate = float("nan")
    if not (np.isfinite(rate) and rate >= 0):
        raise ArgumentError(f"`learning_rate` must be a finite number >= 0, but is {entry!r}. {_EXPLAINED}")
    return rate
