"""The learning rates that a scheduler will give, without stepping it."""

import copy
import warnings
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

__all__ = ["planned_rates"]

# A schedule without a formula is stepped through only as far.
MOST_ASKED = 20_000


def planned_rates(scheduler: Any, total_steps: int | None) -> list[float] | None:
    """The first parameter group's rate of every update of a run.

    Args:
        scheduler: A scheduler of PyTorch, or one that wraps it as `.scheduler`.
        total_steps: Updates in all.

    Returns:
        Rates, one for each update; None if they are not known beforehand: no scheduler, one that looks at the loss, one
        that cannot be copied, or one without a formula that was stepped before or has more than 20,000 steps.
    """
    inner = getattr(scheduler, "scheduler", scheduler)
    if total_steps is None or not isinstance(inner, LRScheduler) or isinstance(inner, ReduceLROnPlateau):
        return None
    try:
        return _closed_form(inner, total_steps) if isinstance(inner, LambdaLR) else _stepped(inner, total_steps)
    except Exception:  # whatever a stranger's scheduler does: rates are then recognised as they come
        return None


def _closed_form(scheduler: LambdaLR, total_steps: int) -> list[float]:
    base, factor = scheduler.base_lrs[0], scheduler.lr_lambdas[0]
    return [float(base * factor(step)) for step in range(total_steps)]


def _stepped(scheduler: LRScheduler, total_steps: int) -> list[float] | None:
    """Step a twin that moves an optimizer of nothing; of one that was stepped before, the past is not known."""
    parts = getattr(scheduler, "_schedulers", [scheduler])
    if total_steps > MOST_ASKED or any(part.last_epoch > 0 for part in parts):
        return None
    twin, optimizer = _twin(scheduler)
    rates = [float(optimizer.param_groups[0]["lr"])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimizer made no step
        for _ in range(total_steps - 1):
            twin.step()
            rates.append(float(optimizer.param_groups[0]["lr"]))
    return rates


def _twin(scheduler: LRScheduler) -> tuple[LRScheduler, torch.optim.Optimizer]:
    original = getattr(scheduler, "_schedulers", [scheduler])[0].optimizer
    groups = [
        {key: copy.copy(value) for key, value in group.items() if key != "params"} for group in original.param_groups
    ]
    optimizer = torch.optim.SGD([{"params": [torch.zeros(())], **group} for group in groups], lr=0.0)
    for group, own in zip(optimizer.param_groups, groups, strict=True):
        group.update(own)
    # Copies of the original are the stand-in, so that its parameters are not copied.
    return copy.deepcopy(scheduler, {id(original): optimizer}), optimizer
