"""`SpectralCallback` for the Trainer of Hugging Face transformers: the spectrum of a run, recorded while it trains.

    trainer = Trainer(model, args, train_dataset=data, callbacks=[SpectralCallback("runs/a")])
    trainer.train()

What Trainer does and when (transformers 5): `on_pre_optimizer_step` comes once an update, before the optimizer's step.
The rates are then those of the update; at `on_step_end` they have moved on. No callback sees the loss of a step, so
what `training_step` returns is added up here: the share of each micro-batch in the loss of the update, weighed by
Trainer. A step that a loss scaler leaves out counts as a step all the same.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from eigenflow.core.errors import ArgumentError
from eigenflow.integrations.following import Follower, Wishes, tell
from eigenflow.integrations.language import language_probe, read_batch
from eigenflow.integrations.probe_batch import first_batch, smaller_batch
from eigenflow.tangent import Probe
from eigenflow.tangent.model.wrappers import unwrapped

try:
    from transformers import Trainer, TrainerCallback
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "The callback needs transformers. Install it with: pip install -c constraints.txt 'eigenflow[huggingface]'.",
        name=error.name,
    ) from None

__all__ = ["SpectralCallback"]

ProbeLike = Probe | Callable[[nn.Module], Probe] | Mapping[str, Any] | None


class SpectralCallback(TrainerCallback):
    """Records the operator M = J J^T of a model while Trainer trains it, into a run folder.

    The operator is that of the optimizer, J P^(-1) J^T, where its P is known (AdamW, RMSprop), else the plain one. The
    probe is a few samples of the training set, collated as Trainer does, with the model's own loss, in eval mode.

    A run that goes on from a checkpoint (`trainer.train(resume_from_checkpoint=True)`) goes on in the same folder. Of a
    run that was cut off and begins anew, the old folder is kept under another name. If other parameters become
    trainable on the way, the record goes on in a folder beside the first, `PATH-from-STEP`.

    With several processes the first one measures, with the samples of the probe and without speaking to the others,
    which wait for it at the next exchange of gradients.

    Args:
        path: The run folder.
        probe: A batch as the collator gives it, with labels; a `Probe`; or a function that makes one of the model.
            None: `samples` of the training set.
        samples: How many samples of the training set.
        max_rows: Rows of M that a probe of tokens may have; positions are left out, evenly, until it has no more.
        modes: Largest modes to follow; None: all.
        count: Measurements over the run, evenly in the logarithm of the step.
        schedule: Steps to measure, instead of `count`.
        max_overhead: Share of the time that measuring may take; None: every scheduled step is measured.
        preconditioner: Whether the operator is that of the optimizer; None: where its P is known and no multiple of 1.
        dtype: Type in which the operator is evaluated.
        say: Called with what is to be told to who trains; None: a line on stderr.
        **recorder: More arguments of `Recorder`: method, tail, tolerance, couplings, on_error, ...

    Raises:
        ArgumentError: If the training set has no samples, or the model no loss that a probe can have.
        RunFolderError: If the folder holds a finished run and training begins at step 0.
    """

    def __init__(
        self,
        path: str | Path,
        probe: ProbeLike = None,
        *,
        samples: int = 16,
        max_rows: int = 65_536,
        modes: int | None = 32,
        count: int = 60,
        schedule: Iterable[SupportsIndex] | None = None,
        max_overhead: float | None = 0.05,
        preconditioner: bool | None = None,
        dtype: torch.dtype = torch.float64,
        say: Callable[[str], None] | None = None,
        **recorder: Any,
    ):
        steps = None if schedule is None else list(schedule)
        self.wishes = Wishes(Path(path), modes, count, steps, max_overhead, preconditioner, recorder)
        self.probe, self.samples, self.max_rows, self.dtype = probe, samples, max_rows, dtype
        self.say = say or tell
        self.trainer: Trainer | None = None
        self.follower: Follower | None = None
        self._losses: list[Tensor] = []
        self._seen_samples = 0
        self._rates: list[float] = []
        self._was_skipped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make the probe and the record, and say what measuring will cost."""
        self.trainer = _trainer_above(sys._getframe())
        if not state.is_world_process_zero:
            return
        self._watch_losses()
        model = unwrapped(kwargs["model"])
        optimizer = kwargs["optimizer"]
        self.follower = Follower(
            self.wishes,
            lambda: self._made_probe(model),
            model,
            getattr(optimizer, "optimizer", optimizer),
            total_steps=state.max_steps if state.max_steps > 0 else None,
            done_steps=state.global_step,
            say=self.say,
        )

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The rates of the update that comes."""
        self._rates = [float(group["lr"]) for group in kwargs["optimizer"].param_groups]

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Whether it was made."""
        assert self.trainer is not None
        self._was_skipped = bool(self.trainer.accelerator.optimizer_step_was_skipped)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the update."""
        if self.follower is None or self.trainer is None:
            return
        losses, self._losses = self._losses, []
        samples, self._seen_samples = self._seen_samples, 0
        numbers = self.follower.update(
            state.global_step - 1,
            loss=torch.stack([loss.double() for loss in losses]).sum() if losses else float("nan"),
            learning_rate=self._rates,
            batch_size=samples * args.world_size or None,
            was_skipped=self._was_skipped,
        )
        if numbers:
            self._log(numbers)
        if control.should_save:
            self.follower.before_checkpoint()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A best model may be saved next."""
        if self.follower is not None:
            self.follower.before_checkpoint()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An epoch's checkpoint may be saved next."""
        if self.follower is not None:
            self.follower.before_checkpoint()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the record."""
        if self.trainer is not None:
            self.trainer.__dict__.pop("training_step", None)
        if self.follower is not None:
            self.follower.close()
            self.say(f"recorded; next: eigenflow report {self.follower.path}")
            self.follower = None

    def _watch_losses(self) -> None:
        """Keep what `training_step` returns, whoever overrides it."""
        assert self.trainer is not None
        step = self.trainer.training_step

        def watched(model: nn.Module, inputs: dict[str, Any], *rest: Any, **named: Any) -> Tensor:
            self._seen_samples += _count(inputs)
            loss = step(model, inputs, *rest, **named)
            self._losses.append(loss.detach())
            return loss

        self.trainer.training_step = watched

    def _log(self, numbers: dict[str, float]) -> None:
        """To the trainer's trackers and its history: a callback that edits `logs` would reach neither."""
        assert self.trainer is not None
        self.trainer.log(numbers)

    def _made_probe(self, model: nn.Module) -> Probe:
        if isinstance(self.probe, Probe):
            return self.probe
        if self.probe is not None and not isinstance(self.probe, Mapping):
            return self.probe(model)
        batch = self.probe or self._first_batch()
        smoothing = 0.0 if self.trainer is None else self.trainer.args.label_smoothing_factor
        name = next((key for key in batch if "label" in key), None)
        if name is not None and self.probe is None:
            one = {key: value[:1] if isinstance(value, Tensor) else value for key, value in batch.items()}
            classes = read_batch(model, one, dtype=self.dtype).classes
            batch, left_out = smaller_batch(batch, name, classes, self.max_rows)
            if left_out is not None:
                self.say(left_out)
        return language_probe(model, batch, dtype=self.dtype, label_smoothing=smoothing)

    def _first_batch(self) -> Mapping[str, Any]:
        assert self.trainer is not None
        dataset = self.trainer.train_dataset
        if dataset is None:
            raise ArgumentError("`train_dataset` of the trainer is None, so there is nothing to probe. Pass probe=.")
        collate = self.trainer._get_collator_with_removed_columns(self.trainer.data_collator, description="probe")
        return first_batch(dataset, collate, self.samples)


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
        "`SpectralCallback` must be called by a Trainer: Trainer(..., callbacks=[SpectralCallback(...)])."
    )


def _count(inputs: Any) -> int:
    """Samples of a batch."""
    tensors = (value for value in inputs.values() if isinstance(value, Tensor) and value.ndim)
    return next((len(tensor) for tensor in tensors), 0)
