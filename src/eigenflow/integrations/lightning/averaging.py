"""Where a run of Lightning has its averaged weights."""

from typing import Any

from torch import nn

from eigenflow.core.errors import ArgumentError
from eigenflow.integrations.averaged import Averaged
from eigenflow.integrations.lightning.base import Callback

__all__ = ["average_of"]


def average_of(ema: Averaged | Callback, trainer: Any, callback: Callback) -> Averaged:
    """An average as `AveragedStates` takes it.

    Args:
        ema: A module, a function, or a callback that averages, as Lightning's `WeightAveraging`.
        trainer: In training.
        callback: That records the average, after it was brought up to date.

    Raises:
        ArgumentError: For a callback that averages nothing, or averages after the record is made.
    """
    if not isinstance(ema, Callback):
        return ema
    name = type(ema).__name__
    if not isinstance(getattr(ema, "_average_model", None), nn.Module):
        raise ArgumentError(
            f"`ema` must be a `WeightAveraging` callback of the trainer, a module or a function, but is {name}, which "
            f"holds no average. Put it into `callbacks` of the trainer, or pass a function that gives the tensors."
        )
    order = list(trainer.callbacks)
    if order.index(ema) > order.index(callback):
        raise ArgumentError(
            f"`ema` is {name}, which comes after this callback in the trainer's `callbacks`, so that the average would "
            f"be recorded before its update. Put it before: [averaging, SpectralCallback(path, ema=averaging)]."
        )
    return lambda: ema._average_model.state_dict()  # pyright: ignore[reportAttributeAccessIssue]
