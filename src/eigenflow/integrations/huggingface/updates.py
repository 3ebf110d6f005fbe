"""What Trainer did in every update: its loss, its rates, whether it was left out.

What Trainer does and when (transformers 5): `on_pre_optimizer_step` comes once an update, before the optimizer's step.
The rates are then those of the update; at `on_step_end` they have moved on. No callback sees the loss of a step, so
what `training_step` returns is added up here: the share of each micro-batch in the loss of the update, as Trainer has
weighed it. A step that a loss scaler leaves out counts as a step all the same. Checkpoints are saved after
`on_step_end`, `on_evaluate` or `on_epoch_end`, so everything is on disk by then. After an exception no callback is
called any more.
"""

import sys
from abc import abstractmethod
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from eigenflow.core.errors import ArgumentError
from eigenflow.integrations.spread import is_spread

__all__ = ["KEPT", "AbstractUpdatesCallback", "MadeUpdate"]

# Where a checkpoint's state of the trainer keeps what callbacks need to go on. Not by `ExportableState`, which makes
# the callback anew from what JSON can hold and so would lose a probe.
KEPT = "eigenflow"


class MadeUpdate(NamedTuple):
    """An update that Trainer made.

    Attributes:
        completed: Updates completed, this one included.
        loss: Of the network before it, as Trainer weighs its micro-batches; of this process, or the mean over all.
        rates: Of every parameter group, as the update used them.
        samples: Of its batches, on all processes.
        was_skipped: Whether a loss scaler left it out.
    """

    completed: int
    loss: float
    rates: list[float]
    samples: int
    was_skipped: bool


class AbstractUpdatesCallback(TrainerCallback):
    """Follows a Trainer update by update.

    Args:
        everywhere: On all processes, which then exchange their losses; else on the first one alone.
        with_parts: Whether it follows on all processes where the model is in parts on them.
    """

    def __init__(self, *, everywhere: bool = False, with_parts: bool = False) -> None:
        self.everywhere, self.with_parts = everywhere, with_parts
        self.trainer: Trainer | None = None
        self.is_following = False
        self._losses: list[Tensor] = []
        self._samples = 0
        self._rates: list[float] = []

    @abstractmethod
    def begin(self, state: Any, *, model: nn.Module, optimizer: Any, lr_scheduler: Any) -> None:
        """Training begins, or goes on, at `state.global_step`."""

    @abstractmethod
    def update(self, made: MadeUpdate) -> None:
        """An update was made."""

    @abstractmethod
    def kept(self) -> dict[str, Any]:
        """Bring everything to disk, and give what a checkpoint is to keep, as plain values."""

    @abstractmethod
    def end(self) -> None:
        """Training has ended."""

    @abstractmethod
    def failed(self, error: BaseException) -> None:
        """Training ends with an error, of which Trainer tells no callback."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin."""
        self.trainer = _trainer_above(sys._getframe())
        self.is_first = bool(state.is_world_process_zero)
        in_parts = self.with_parts and is_spread(kwargs["model"])
        self.is_following = self.is_first or self.everywhere or in_parts
        self._world_size = int(args.world_size)
        if not self.is_following:
            return
        self._watch_losses(self.trainer)
        names = ("model", "optimizer", "lr_scheduler")
        self.begin(state, **{name: kwargs[name] for name in names})

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The rates of the update that comes."""
        self._rates = [float(group["lr"]) for group in kwargs["optimizer"].param_groups]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hand the update on."""
        if not self.is_following:
            return
        assert self.trainer is not None
        was_skipped = bool(self.trainer.accelerator.optimizer_step_was_skipped)
        losses, self._losses = self._losses, []
        samples, self._samples = self._samples, 0
        loss, samples = self._loss(losses), samples * self._world_size
        self.update(MadeUpdate(state.global_step, loss, self._rates, samples, was_skipped))
        if control.should_save:
            self._keep(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A best model may be saved next."""
        self._keep(state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An epoch's checkpoint may be saved next."""
        self._keep(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End."""
        if self.is_following:
            self.is_following = False
            self._watched(None)
            self.end()

    def log(self, numbers: dict[str, float]) -> None:
        """To the trainer's history and trackers, which a callback that edits `logs` would not reach."""
        assert self.trainer is not None
        # Whoever logs takes back the wish of the trainer to log this step's loss.
        should_log = self.trainer.control.should_log
        self.trainer.log(dict(numbers))
        self.trainer.control.should_log = should_log

    def before(self, state: Any) -> dict[str, Any]:
        """What the checkpoint kept that training goes on from."""
        found = (state.stateful_callbacks or {}).get(KEPT, {})
        return dict(found.get("attributes", {}).get(type(self).__name__, {}))

    def _keep(self, state: Any) -> None:
        if self.is_following:
            kept = state.stateful_callbacks.setdefault(KEPT, {"args": {}, "attributes": {}})
            kept["attributes"][type(self).__name__] = self.kept()

    def _loss(self, parts: list[Tensor]) -> float:
        """Of all processes, as Trainer logs it; this one's alone if the others do not take part."""
        is_shared = self.everywhere and dist.is_initialized()
        if len(parts) == 1 and not is_shared:
            return float(parts[0].item())
        if not parts:
            return float("nan")
        loss = torch.stack([part.double() for part in parts]).sum()
        if is_shared:
            dist.all_reduce(loss)
            loss = loss / dist.get_world_size()
        return float(loss)

    def _watch_losses(self, trainer: Trainer) -> None:
        """Keep what `training_step` returns, whoever overrides it."""
        step = trainer.training_step

        def watched(model: nn.Module, inputs: dict[str, Any], *rest: Any, **named: Any) -> Tensor:
            self._samples += _count(inputs)
            try:
                loss = step(model, inputs, *rest, **named)
            except BaseException as error:
                self.failed(error)
                raise
            self._losses.append(loss.detach())
            return loss

        self._step, self._own = step, watched
        self._watched(watched)

    def _watched(self, step: Callable[..., Tensor] | None) -> None:
        """Put a training step in place of the trainer's, or take ours away; another's on top of it stays."""
        trainer = vars(self.trainer)
        if step is not None:
            self._replaced = trainer.get("training_step")
            trainer["training_step"] = step
        elif trainer.get("training_step") is self._own:
            del trainer["training_step"]
            if self._replaced is not None:
                trainer["training_step"] = self._replaced


def _trainer_above(frame: FrameType | None) -> Trainer:
    """The trainer that called; it hands its callbacks everything but itself.

    Raises:
        ArgumentError: If there is none.
    """
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, Trainer):
            return owner
        frame = frame.f_back
    raise ArgumentError(
        "The callback must be called by a Trainer: Trainer(..., callbacks=[callback]). In a loop of your own, use "
        "eigenflow.Recorder or eigenflow.forecast.LiveForecast."
    )


def _count(inputs: Any) -> int:
    """Samples of a batch."""
    values = inputs.values() if hasattr(inputs, "values") else [inputs]
    return next((len(value) for value in values if isinstance(value, Tensor) and value.ndim), 0)
