"""Rows of updates at which there is nothing to do but to log them: nearly all of a run's.

A step of training evicts what a call needs from the processor's caches, so that each function called between two
updates takes about a microsecond more than in a loop of its own. So what is usual is checked and put down here at once.
Whatever is not goes to `said` and `rows`, which know the words for what is wrong.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from eigenflow.trajectory.rows import RESERVED

__all__ = ["usual_row"]

INFINITE = float("inf")
# JSON writes longer whole numbers too, but Python only up to a limit.
MOST = 2**63


def usual_row(
    step: int,
    time: float,
    loss: Any,
    learning_rate: Any,
    momentum: Any,
    batch_size: Any,
    extra: Mapping[str, Any],
    counts_momentum: bool,
) -> tuple[dict[str, Any], float] | None:
    """The row of a single update and its length in time, if all that was said of it is usual: the same as `loss_row`'s.

    Args:
        step: Number of the update, of which it is known that it is the next one.
        time: Sum of learning rates before it.
        loss: A float or a tensor of one.
        learning_rate: A float, or a list of them.
        momentum: Heavy-ball mu.
        batch_size: Samples, or None.
        extra: Other entries.
        counts_momentum: As for `LoggedUpdate.length`.

    Returns:
        None if a type is another one, a number is not finite or out of range, or a name is taken: then it is for others
        to say whether that is wrong.
    """
    if type(loss) is Tensor:
        try:
            loss = loss.item()
        except (TypeError, ValueError, RuntimeError):
            return None
    rates = learning_rate if type(learning_rate) in (list, tuple) else (learning_rate,)
    if not (type(loss) is float and type(momentum) is float and rates):
        return None
    for rate in rates:
        if not (type(rate) is float and 0.0 <= rate < INFINITE):
            return None
    if not (-INFINITE < loss < INFINITE and 0.0 <= momentum < 1.0 and time < INFINITE):
        return None
    rate = rates[0]
    row: dict[str, Any] = {"step": step, "time": time, "loss": loss, "learning_rate": rate}
    if len(rates) > 1:
        row |= {f"learning_rate_{index}": r for index, r in enumerate(rates) if index and r != rate}
    length = rate
    if momentum:
        row["momentum"] = momentum
        length = rate / (1.0 - momentum) if counts_momentum else rate
    if batch_size is not None:
        if not (type(batch_size) is int and -MOST < batch_size < MOST):
            return None
        row["batch_size"] = batch_size
    if momentum and length != rate / (1.0 - momentum):
        row["length"] = length
    if extra and not _add(row, extra):
        return None
    return row, length


def _add(row: dict[str, Any], extra: Mapping[str, Any]) -> bool:
    for name, value in extra.items():
        kind = type(value)
        is_usual = kind is str or (
            (kind is float and -INFINITE < value < INFINITE) or (kind is int and -MOST < value < MOST)
        )
        if not is_usual or name in RESERVED:
            return False
        row[name] = value
    return True
