"""What a training loop says of an update, checked before anything is recorded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from eigenflow.core.checks import check_kind, check_whole
from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.tangent import Probe
from eigenflow.tangent.processes import AbstractProcesses
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.rates import LearningRate, learning_rates
from eigenflow.trajectory.rows import LoggedUpdate, plain_extras
from eigenflow.trajectory.step import require_whole

__all__ = ["agreed_loss", "as_number", "check_recorder", "checked_update", "require_finite"]


def check_recorder(path: Any, probe: Any, *, config: Any, resume_from: Any, on_error: Any) -> None:
    """Check what a recorder is made with, before anything is made.

    Raises:
        ArgumentError: Naming the argument.
    """
    check_kind("probe", probe, (Probe, ShardedProbe), "a Probe, such as Probe(model, inputs, targets)")
    check_kind("path", path, (str, Path), "the path of a folder, new or empty")
    check_kind("config", config, (Mapping, type(None)), "a mapping of what describes the run")
    if resume_from is not None:
        check_whole("resume_from", resume_from)
    require_whole(probe)
    if on_error not in ("skip", "raise"):
        raise ArgumentError(f"`on_error` must be 'skip' or 'raise', but is {on_error!r}.")


def checked_update(
    step: int,
    loss: float,
    learning_rate: LearningRate,
    *,
    momentum: float | Tensor,
    batch_size: int | None,
    updates: int,
    extra: Mapping[str, Any],
    next_step: int | None,
    may_skip: bool,
) -> LoggedUpdate:
    """Give what was said of an update, or say why it cannot be true.

    Args:
        step: Number of the update, from 0.
        loss: Its loss, finite or not.
        learning_rate: One rate, or one for each group of parameters.
        momentum: Heavy-ball mu.
        batch_size: Samples of the batch, or None.
        updates: How many updates it is.
        extra: Other entries of the row.
        next_step: The step that the record expects; None: any, as nothing was recorded yet.
        may_skip: Whether one update may be missing, because its call was refused.

    Raises:
        ArgumentError: If the step is not the next one, or a number is out of range.
    """
    check_whole("step", step, what="number of the update")
    if isinstance(updates, bool) or not isinstance(updates, int) or updates < 1:
        raise ArgumentError(
            f"`updates` must be a whole number >= 1, but is {updates!r}. It counts those since the last call."
        )
    first = step - updates + 1
    is_next = first == next_step or (may_skip and first - 1 == next_step)
    if first < 0 or not (next_step is None or is_next):
        raise ArgumentError(_explained(step, updates, next_step))
    rates, momentum = learning_rates(learning_rate), float(momentum)
    if not 0 <= momentum < 1:
        raise ArgumentError(f"`momentum` must lie in [0, 1), but is {momentum} at step {step}.")
    return LoggedUpdate(first, loss, rates, momentum, batch_size, updates, plain_extras(extra))


def _explained(step: int, updates: int, next_step: int | None) -> str:
    expected = (next_step or 0) + updates - 1
    told = f"`step` must be {expected}, the number of the update just made, but is {step}. "
    if next_step is None:
        return told + f"With updates={updates} it counts from {updates - 1}."
    if step < expected:
        return told + "That step is in the record already, also if measuring it failed: count on."
    missing = step - next_step + 1
    return told + (
        f"Call recorder.step after every update; where there were several since the last call, as between "
        f"checkpoints, say so: updates={missing}."
    )


def as_number(loss: Any) -> float:
    """A loss as a float, from a number or a tensor of one entry."""
    try:
        return float(loss.detach() if isinstance(loss, Tensor) else loss)
    except (TypeError, ValueError, RuntimeError):
        came = f"of shape {tuple(loss.shape)}" if isinstance(loss, Tensor | np.ndarray) else repr(loss)
        raise ArgumentError(
            f"`loss` must be one number or a tensor of one entry, but is {came}. Pass the mean over the batch."
        ) from None


def require_finite(loss: float, step: int) -> None:
    """Refuse a loss that is no number."""
    if not np.isfinite(loss):
        raise NonFiniteError(
            f"`loss` is {loss} at step {step}: the update was skipped, or the run has diverged. The row is logged "
            f"without it"
        )


def agreed_loss(processes: AbstractProcesses, loss: float | Tensor, step: int) -> tuple[float, NonFiniteError | None]:
    """The first process's loss, or NaN if that of another one is not finite; and the error that says so."""
    own = processes.each(lambda: as_number(loss))
    recorded = processes.first(lambda: own)
    try:
        processes.each(lambda: require_finite(own, step))
    except NonFiniteError as error:
        return (float("nan") if np.isfinite(recorded) else recorded), error
    return recorded, None
