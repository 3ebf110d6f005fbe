"""What Lightning did in every update, handed on by one callback.

What Lightning does and when (2.6): no hook of its own comes after the optimizer, and `global_step` counts the updates
of all optimizers. So PyTorch's hooks around `optimizer.step` say which updates were made and with which rates; where a
gradient scaler leaves one out, only Lightning's hook before it comes. What is to be done is done at
`on_train_batch_end`, before any checkpoint, as those callbacks run last. `outputs["loss"]` is divided by the
accumulation; in manual optimization the losses are those that `manual_backward` went back from.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from eigenflow.integrations.lightning.base import Callback
from eigenflow.integrations.lightning.batch import count_samples
from eigenflow.integrations.lightning.rates import planned_by_lightning
from eigenflow.integrations.lightning.updates import Made, Updates
from eigenflow.integrations.loss_watch import LossWatch
from eigenflow.integrations.trackers import SafeTracker, tracker_of

__all__ = [
    "TOGGLED",
    "AbstractUpdatesCallback",
    "logged_step",
    "loggers_of",
    "plain_optimizers",
    "total_steps",
    "untoggled",
    "watch_losses",
]

COUNT, KEPT = "updates", "kept"
# Where Lightning keeps which parameters a toggled optimizer has taken out.
TOGGLED = "_param_requires_grad_state"


class AbstractUpdatesCallback(Callback, ABC):
    """Follows one optimizer of a Trainer update by update.

    Attributes:
        done: Updates that were made of it, also before this process began.
        before: What a checkpoint kept that training goes on from.
        world_size: Processes that train.
    """

    def __init__(self) -> None:
        self.done = 0
        self.before: Mapping[str, Any] = {}
        self._updates: Updates | None = None
        self._restored: Mapping[str, Any] | None = None
        self._trainer: Any = None
        self.world_size = 1
        self._kept: dict[str, Any] = {}

    @abstractmethod
    def begin(self, trainer: Any, module: Any) -> Any:
        """Training begins, or goes on, after `done` updates.

        Returns:
            The optimizer whose updates count; None if this process does not follow.
        """

    @abstractmethod
    def update(self, made: Made, trainer: Any, module: Any) -> None:
        """Updates were made; `done` counts them already."""

    @abstractmethod
    def kept(self) -> dict[str, Any]:
        """What a checkpoint is to keep, as plain values."""

    @abstractmethod
    def to_disk(self) -> None:
        """A checkpoint is saved next."""

    @abstractmethod
    def finish(self) -> None:
        """Training has ended as it should."""

    @abstractmethod
    def close(self, status: str) -> None:
        """Give everything free; safe to call again, and after `finish`."""

    def state_dict(self) -> dict[str, Any]:
        """The updates that were made, of the optimizer that is followed, and what else is kept."""
        return {COUNT: self.done, KEPT: self._kept if self._updates is None else self.kept()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Likewise, of a checkpoint."""
        self._restored = state_dict

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Forget what a checkpoint said that was loaded for something else, such as a test."""
        if stage == "fit":
            self._restored = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin."""
        restored = self._restored or {}
        self.done = self._done_before(trainer)
        self.before = restored.get(KEPT, {}) if trainer.global_step else {}
        self._trainer, self.world_size = trainer, trainer.world_size
        optimizer = self.begin(trainer, pl_module)
        if optimizer is not None:
            self._updates = Updates(optimizer, getattr(trainer.precision_plugin, "scaler", None))

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Gradients of this loss come next, scaled by a scaler."""
        if self._updates is not None:
            self._updates.goes_back_from(loss, is_manual=not pl_module.automatic_optimization)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """An update comes next, if no scaler leaves it out."""
        if self._updates is not None:
            self._updates.is_asked_for(optimizer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Hand the update on, if one was made."""
        if self._updates is None:
            return
        is_automatic = pl_module.automatic_optimization
        self._updates.end_batch(
            outputs, count_samples(batch), trainer.accumulate_grad_batches if is_automatic else None
        )
        made = self._updates.taken()
        if made is not None:
            self.done += made.updates
            self.update(made, trainer, pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Mapping[str, Any]) -> None:
        """Bring everything to disk before it."""
        if self._updates is not None:
            self.to_disk()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End what was broken off."""
        is_asked = isinstance(exception, KeyboardInterrupt) or type(exception).__name__ == "SIGTERMException"
        self._stop()
        self.close("interrupted" if is_asked else "failed")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End."""
        if self._updates is not None:
            self._stop()
            self.finish()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Whatever happened, nothing stays open."""
        self._stop()
        self.close("failed")

    def _stop(self) -> None:
        updates, self._updates = self._updates, None
        if updates is not None:
            updates.stop()
            self._kept = self.kept()  # checkpoints are saved at the end of the training, too

    def _done_before(self, trainer: Any) -> int:
        """Updates that the network has seen."""
        if trainer.global_step == 0:
            return 0
        if self._restored is not None:
            return int(self._restored[COUNT])
        # The same trainer goes on; else the checkpoint was saved without the callback.
        return self.done if trainer is self._trainer else trainer.global_step


def logged_step(trainer: Any) -> int:
    """The step that Lightning gives its loggers for what a training batch logs."""
    loop = getattr(trainer.fit_loop, "epoch_loop", None)
    return int(getattr(loop, "_batches_that_stepped", trainer.global_step))


def loggers_of(trainer: Any, tracker: Any) -> SafeTracker:
    """All loggers of a trainer, and another tracker."""
    return tracker_of([*trainer.loggers, *([] if tracker is None else [tracker])])


def watch_losses(
    trainer: Any, module: Any, optimizer: Any, tracker: SafeTracker, callback: "AbstractUpdatesCallback", **told: Any
) -> LossWatch:
    """Forecast the rest of the run from the losses of an optimizer's updates; the tracker is told under its own step.

    Args:
        trainer: In training.
        module: That it trains.
        optimizer: Whose updates count.
        tracker: Of `loggers_of`.
        callback: That keeps the state.
        **told: More arguments of `LossWatch`.
    """
    total = total_steps(trainer, module)
    return LossWatch(
        tracker_of(lambda metrics, step: tracker.log(metrics, logged_step(trainer))),
        total_steps=total,
        rates=planned_by_lightning(trainer, optimizer, total),
        state=callback.before.get("forecast"),
        done_steps=callback.done,
        **told,
    )


def plain_optimizers(optimizers: Iterable[Any]) -> list[Any]:
    """What Lightning wraps, without it."""
    return [one if isinstance(one, torch.optim.Optimizer) else getattr(one, "optimizer", one) for one in optimizers]


def total_steps(trainer: Any, module: Any) -> int | None:
    """Updates in all, if that is known."""
    total = trainer.estimated_stepping_batches
    if not module.automatic_optimization and trainer.max_steps > 0:
        total = -(-trainer.max_steps // max(1, len(trainer.optimizers)))  # each optimizer's updates count
    return int(total) if 0 < total < float("inf") else None


@contextmanager
def untoggled(module: Any) -> Iterator[None]:
    """`toggle_optimizer` takes other optimizers' parameters out for a while; that is no freezing."""
    toggled = getattr(module, TOGGLED)
    now = {parameter: parameter.requires_grad for parameter in toggled}
    for parameter, was_trainable in toggled.items():
        parameter.requires_grad_(was_trainable)
    try:
        yield
    finally:
        for parameter, is_trainable in now.items():
            parameter.requires_grad_(is_trainable)
