"""`SpectralCallback` for Lightning's Trainer: the spectrum of a run, recorded while it trains.

    trainer = Trainer(max_epochs=10, callbacks=[SpectralCallback("runs/a")])
    trainer.fit(module, data)

Works with `lightning.pytorch` and with `pytorch_lightning`, whichever the trainer is of.

What Lightning does and when (2.6): no hook of its own comes after the optimizer, and `global_step` counts the updates
of all optimizers. So PyTorch's hooks around `optimizer.step` say which updates were made and with which rates; where a
gradient scaler leaves one out, only Lightning's hook before it comes. What is recorded is done at `on_train_batch_end`,
before any checkpoint, as those callbacks run last. `outputs["loss"]` is divided by the accumulation; in manual
optimization the losses are those that `manual_backward` went back from.
"""

import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import torch
from torch import Tensor, nn

from eigenflow.core.errors import ModelError
from eigenflow.integrations.following import Follower, Wishes, tell, write_the_report
from eigenflow.integrations.lightning_batch import count_samples, training_batch
from eigenflow.integrations.lightning_updates import Made, Updates
from eigenflow.integrations.matching import matching_probe
from eigenflow.integrations.trackers import tracker_of
from eigenflow.tangent import Probe
from eigenflow.tangent.model.wrappers import unwrapped

if TYPE_CHECKING:
    from lightning.pytorch import Callback
else:
    # Both packages bring a Callback, and importing them takes seconds: that of who imports this is taken.
    names = ("lightning.pytorch", "pytorch_lightning")
    found = [name for name in names if name in sys.modules]
    for name in (*found, *names):
        with suppress(ModuleNotFoundError):
            Callback = importlib.import_module(name).Callback
            break
    else:
        raise ModuleNotFoundError(
            "The callback needs lightning. Install it with: pip install -c constraints.txt 'eigenflow[lightning]'.",
            name="lightning",
        )

__all__ = ["SpectralCallback"]

ProbeLike = Probe | Callable[[Any], Probe] | Mapping[str, Any] | Sequence[Any] | Tensor | None
COUNT = "updates"


class SpectralCallback(Callback):
    """Records the operator M = J J^T of a network while Lightning trains it, into a run folder.

    The operator is that of the optimizer, J P^(-1) J^T, where its P is known (AdamW, RMSprop), else the plain one. The
    probe is a few samples of the training set, with the network and the loss that `training_step` itself uses, in eval
    mode: the step is run on a silent copy of the module, and a reading is taken only if its loss is the step's own.

    Updates are counted of the optimizer that trains the probe's network, as of a generator's. A run that goes on from a
    checkpoint (`ckpt_path=`) goes on in the same folder. Of a run that was cut off and begins anew, the old folder is
    kept under another name. If other parameters become trainable on the way, as with `BackboneFinetuning`, the record
    goes on in a folder beside the first, `PATH-from-STEP`. Numbers go to all loggers of the trainer.

    With several processes the first one measures, with the samples of the probe and without speaking to the others,
    which wait for it at the next exchange of gradients. Losses are those of its own batches.

    Args:
        path: The run folder.
        probe: A `Probe`; a function that makes one of the module; or a batch as the dataloader gives it. None:
            `samples` of the training set.
        samples: How many samples of the training set.
        max_rows: Rows of M that the probe may have; samples are left out first, then positions or outputs, evenly.
        modes: Largest modes to follow; None: all.
        count: Measurements over the run, evenly in the logarithm of the step.
        schedule: Steps to measure, instead of `count`.
        max_overhead: Share of the time that measuring may take; None: every scheduled step is measured.
        preconditioner: Whether the operator is that of the optimizer; None: where its P is known and no multiple of 1.
        report: Whether to analyse the run when it ends, and write `report.html` (seconds to minutes).
        tracker: Where numbers go besides the trainer's loggers; see `eigenflow.integrations.trackers.tracker_of`.
        dtype: Type in which the operator is evaluated.
        say: Called with what is to be told to who trains; None: a line on stderr.
        **recorder: More arguments of `Recorder`: method, tail, tolerance, couplings, on_error, ...

    Raises:
        ModelError: When training begins, if no reading of `training_step` has its loss.
        RunFolderError: Likewise, if the folder holds a finished run and training begins at step 0.
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
        report: bool = False,
        tracker: Any = None,
        dtype: torch.dtype = torch.float64,
        say: Callable[[str], None] | None = None,
        **recorder: Any,
    ):
        steps = None if schedule is None else list(schedule)
        self.wishes = Wishes(Path(path), modes, count, steps, max_overhead, preconditioner, recorder)
        self.probe, self.samples, self.max_rows, self.dtype = probe, samples, max_rows, dtype
        self.report, self.tracker, self.say = report, tracker, say or tell
        self.follower: Follower | None = None
        self._updates: Updates | None = None
        self._tracker = tracker_of(None)
        self._done = 0
        self._restored: int | None = None
        self._trainer: Any = None
        self._passing: str | None = None

    @property
    def state_key(self) -> str:
        """By which a checkpoint holds the count of updates."""
        return f"SpectralCallback[{self.wishes.path.name}]"

    def state_dict(self) -> dict[str, Any]:
        """The updates that were made, of the optimizer that is followed."""
        return {COUNT: self._done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Likewise, of a checkpoint."""
        self._restored = int(state_dict[COUNT])

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Forget what a checkpoint said that was loaded for something else, such as a test."""
        if stage == "fit":
            self._restored = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the probe and the record, and say what measuring will cost."""
        self._done, self._trainer = self._done_before(trainer), trainer
        if not trainer.is_global_zero:
            return
        probe: list[Probe] = [self._made_probe(trainer, pl_module)]
        network = probe[0].network.model
        optimizer, is_whole = _optimizer_of(network, trainer.optimizers)
        wishes = self._wishes(trainer, is_whole)
        self.follower = Follower(
            wishes,
            lambda: probe.pop() if probe else self._made_probe(trainer, pl_module),
            network,
            optimizer,
            total_steps=_total_steps(trainer, pl_module),
            done_steps=self._done,
            say=self.say,
        )
        self._updates = Updates(optimizer, getattr(trainer.precision_plugin, "scaler", None))
        self._tracker = tracker_of([*trainer.loggers, *([] if self.tracker is None else [self.tracker])])

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """A micro-batch begins."""
        if self._updates is not None:
            self._updates.begin_batch()

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Gradients of this loss come next, scaled by a scaler."""
        if self._updates is not None:
            self._updates.goes_back_from(loss)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """An update comes next, if no scaler leaves it out."""
        if self._updates is not None:
            self._updates.is_asked_for(optimizer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record the update, if one was made."""
        if self.follower is None or self._updates is None:
            return
        is_automatic = pl_module.automatic_optimization
        self._updates.end_batch(
            outputs, count_samples(batch), trainer.accumulate_grad_batches if is_automatic else None
        )
        made = self._updates.taken()
        if made is None:
            return
        self._done += made.updates
        numbers = self._recorded(made, trainer, pl_module)
        if numbers:
            self._tracker.log(numbers, _logged_step(trainer))

    def _recorded(self, made: Made, trainer: Any, module: Any) -> dict[str, float]:
        assert self.follower is not None
        try:
            with _untoggled(module):
                return self.follower.update(
                    self._done - 1,
                    loss=made.loss,
                    learning_rate=made.rates,
                    batch_size=made.samples * trainer.world_size or None,
                    was_skipped=made.was_skipped,
                    **({} if made.updates == 1 else {"updates": made.updates}),
                )
        except ModelError as error:
            # Other parameters train from here on, and no probe can be made of what the step does with them.
            if self.wishes.recorder.get("on_error") == "raise":
                raise
            self.say(f"recording ends at step {self._done - 1}, training goes on: {error}")
            self._end("complete")
            return {}

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Mapping[str, Any]) -> None:
        """Bring everything to disk before it."""
        if self.follower is not None:
            self.follower.before_checkpoint()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End the record of a run that was broken off."""
        is_asked = isinstance(exception, KeyboardInterrupt) or type(exception).__name__ == "SIGTERMException"
        self._end("interrupted" if is_asked else "failed")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the record."""
        path = None if self.follower is None else self.follower.path
        self._end("complete")
        if path is not None and path.exists():
            if self.report:
                write_the_report(path, self._tracker, self.say)
            else:
                self.say(f"recorded; next: eigenflow report {path}")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Whatever happened, no folder stays locked."""
        self._end("failed")

    def _end(self, status: str) -> None:
        follower, self.follower = self.follower, None
        updates, self._updates = self._updates, None
        passing, self._passing = self._passing, None
        if updates is not None:
            updates.stop()
        if follower is not None:
            follower.close(status)
        if passing is not None:
            shutil.rmtree(passing, ignore_errors=True)

    def _done_before(self, trainer: Any) -> int:
        """Updates that the network has seen."""
        if trainer.global_step == 0:
            return 0
        if self._restored is not None:
            return self._restored
        # The same trainer goes on; else the checkpoint was saved without the callback.
        return self._done if trainer is self._trainer else trainer.global_step

    def _wishes(self, trainer: Any, is_whole: bool) -> Wishes:
        wishes = self.wishes
        if trainer.fast_dev_run:
            self._passing = tempfile.mkdtemp(prefix="eigenflow-")
            self.say("fast_dev_run: everything is tried, and no folder stays")
            wishes = replace(wishes, path=Path(self._passing) / "run")
        if not is_whole and wishes.preconditioner is None:
            self.say("the plain operator J J^T is measured, as several optimizers train the probe's network")
            wishes = replace(wishes, preconditioner=False)
        return wishes

    def _made_probe(self, trainer: Any, module: Any) -> Probe:
        if isinstance(self.probe, Probe):
            return self.probe
        if self.probe is not None and not isinstance(self.probe, Tensor | Mapping | Sequence):
            return self.probe(module)
        batch = training_batch(trainer, module, self.samples, self.probe)
        probe = matching_probe(module, batch, dtype=self.dtype, max_rows=self.max_rows, say=self.say)
        loss, network = probe.describe()["loss"], type(probe.network.model).__name__
        self.say(f"the probe is {probe.samples} training samples through {network}, with loss {loss}")
        return probe


def _optimizer_of(network: nn.Module, optimizers: Iterable[Any]) -> tuple[Any, bool]:
    """The optimizer that holds most of a network's trainable parameters, and whether it holds all of them."""
    wanted = {id(p): p.numel() for p in unwrapped(network).parameters() if p.requires_grad}
    shares = []
    for one in optimizers:
        inner = getattr(one, "optimizer", one) if not isinstance(one, torch.optim.Optimizer) else one
        held = sum(wanted.get(id(p), 0) for group in inner.param_groups for p in group["params"])
        shares.append((held, inner))
    held, optimizer = max(shares, key=lambda pair: pair[0])
    return optimizer, held == sum(wanted.values())


def _total_steps(trainer: Any, module: Any) -> int | None:
    """Updates in all, if that is known."""
    total = trainer.estimated_stepping_batches
    if not module.automatic_optimization and trainer.max_steps > 0:
        total = -(-trainer.max_steps // max(1, len(trainer.optimizers)))  # each optimizer's updates count
    return int(total) if 0 < total < float("inf") else None


def _logged_step(trainer: Any) -> int:
    """The step that Lightning gives its loggers for what a training batch logs."""
    loop = getattr(trainer.fit_loop, "epoch_loop", None)
    return int(getattr(loop, "_batches_that_stepped", trainer.global_step))


@contextmanager
def _untoggled(module: Any) -> Iterator[None]:
    """`toggle_optimizer` takes other optimizers' parameters out for a while; that is no freezing."""
    toggled = getattr(module, "_param_requires_grad_state", None)
    if not toggled:
        yield
        return
    now = {parameter: parameter.requires_grad for parameter in toggled}
    for parameter, was_trainable in toggled.items():
        parameter.requires_grad_(was_trainable)
    try:
        yield
    finally:
        for parameter, is_trainable in now.items():
            parameter.requires_grad_(is_trainable)
