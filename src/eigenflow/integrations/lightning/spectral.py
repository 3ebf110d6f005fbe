"""`SpectralCallback`: the spectrum of a run, recorded while Lightning trains it."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eigenflow.core.errors import ArgumentError, ModelError
from eigenflow.forecast.live import Alarm
from eigenflow.integrations.averaged import Averaged, AveragedStates
from eigenflow.integrations.distributed import sharded_probe
from eigenflow.integrations.following import Follower, Wishes, tell, write_the_report
from eigenflow.integrations.lightning.averaging import average_of
from eigenflow.integrations.lightning.base import Callback
from eigenflow.integrations.lightning.batch import training_batch
from eigenflow.integrations.lightning.callback import (
    TOGGLED,
    AbstractUpdatesCallback,
    logged_step,
    loggers_of,
    plain_optimizers,
    total_steps,
    untoggled,
    watch_losses,
)
from eigenflow.integrations.lightning.updates import Made
from eigenflow.integrations.loss_watch import LossWatch
from eigenflow.integrations.matching import matching_probe
from eigenflow.integrations.spread import NO_AVERAGE, Plan, SpreadModel, is_spread
from eigenflow.integrations.trackers import tracker_of
from eigenflow.tangent import Probe, ShardedProbe
from eigenflow.tangent.model.wrappers import unwrapped
from eigenflow.tangent.processes import OneProcess, ProcessGroup

__all__ = ["SpectralCallback"]

AnyProbe = Probe | ShardedProbe
ProbeLike = AnyProbe | Callable[[Any], AnyProbe] | Mapping[str, Any] | Sequence[Any] | Tensor | None


class SpectralCallback(AbstractUpdatesCallback):
    """Records the operator M = J J^T of a network while Lightning trains it, into a run folder, and forecasts the loss.

    The operator is that of the optimizer, J P^(-1) J^T, where its P is known (AdamW, RMSprop), else the plain one. The
    probe is a few samples of the training set, with the network and the loss that `training_step` itself uses, in eval
    mode: the step is run on a silent copy of the module, and a reading is taken only if its loss is the step's own.

    Updates are counted of the optimizer that trains the probe's network, as of a generator's. A run that goes on from a
    checkpoint (`ckpt_path=`) goes on in the same folder. Of a run that was cut off and begins anew, the old folder is
    kept under another name. If other parameters become trainable on the way, as with `BackboneFinetuning`, the record
    goes on in a folder beside the first, `PATH-from-STEP`. Numbers go to all loggers of the trainer.

    With several processes the first one measures, with the samples of the probe and without speaking to the others,
    which wait for it at the next exchange of gradients. Losses are those of its own batches. With `sharded` all of them
    measure together, each a part of the probe's samples. Of a model in parts (`fully_shard` under
    `ModelParallelStrategy`) each process that measures holds a whole copy, which is put together at the updates that
    are measured.

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
        forecast: Whether the rest of the run is forecast, as by `LossForecastCallback`.
        on_alarm: Called with every `Alarm` of the forecast.
        report: Whether to analyse the run when it ends, and write `report.html` (seconds to minutes).
        tracker: Where numbers go besides the trainer's loggers; see `eigenflow.integrations.trackers.tracker_of`.
        ema: Averaged weights, to be recorded at the same steps in `PATH-ema`: a `WeightAveraging` callback that comes
            before this one in the trainer's list, a module that averages the LightningModule, as of
            torch.optim.swa_utils, or a function that gives tensors by the LightningModule's names.
        sharded: Whether all processes measure together.
        dtype: Type in which the operator is evaluated.
        say: Called with what is to be told to who trains; None: a line on stderr.
        **recorder: More arguments of `Recorder`: method, tail, tolerance, couplings, on_error, ...

    Raises:
        ArgumentError: When training begins, if `ema` cannot be followed.
        ModelError: Likewise, if no reading of `training_step` has its loss.
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
        forecast: bool = True,
        on_alarm: Callable[[Alarm], None] | None = None,
        report: bool = False,
        tracker: Any = None,
        ema: Averaged | Callback | None = None,
        sharded: bool = False,
        dtype: torch.dtype = torch.float64,
        say: Callable[[str], None] | None = None,
        **recorder: Any,
    ):
        super().__init__()
        steps = None if schedule is None else list(schedule)
        self.wishes = Wishes(Path(path), modes, count, steps, max_overhead, preconditioner, recorder)
        self.probe, self.samples, self.max_rows, self.dtype = probe, samples, max_rows, dtype
        self.forecast, self.on_alarm, self.report = forecast, on_alarm, report
        self.tracker, self.ema, self.sharded, self.say = tracker, ema, sharded, say or tell
        self.follower: Follower | None = None
        self.watch: LossWatch | None = None
        self.parts: SpreadModel | None = None
        self._tracker = tracker_of(None)
        self._passing: str | None = None

    @property
    def state_key(self) -> str:
        """By which a checkpoint holds the count of updates."""
        return f"SpectralCallback[{self.wishes.path.name}]"

    def begin(self, trainer: Any, module: Any) -> Any:
        """As in the base."""
        is_first = trainer.is_global_zero
        measures = is_first or self.sharded
        self.parts = SpreadModel(module, measures=measures) if is_spread(module) else None
        if not measures and self.parts is None:
            return None
        self._tracker = loggers_of(trainer, self.tracker) if is_first else tracker_of(None)
        if not is_first:
            self.say = _nothing
        optimizers = plain_optimizers(trainer.optimizers)

        def make() -> Plan:
            self.follower, index = self._follower(trainer, module, optimizers)
            return self.follower.plan(index)

        plan = make() if self.parts is None else self.parts.begin(make, optimizers, all_measure=self.sharded)
        optimizer = optimizers[plan.optimizer]
        if self.forecast and is_first:
            self.watch = watch_losses(
                trainer, module, optimizer, self._tracker, self, say=self.say, on_alarm=self.on_alarm
            )
        return optimizer

    def _follower(self, trainer: Any, module: Any, optimizers: list[Any]) -> tuple[Follower, int]:
        """The record, and the place of the optimizer whose updates it counts."""
        if self.ema is not None and self.parts is not None:
            raise ArgumentError(NO_AVERAGE)
        ema = None if self.ema is None else average_of(self.ema, trainer, self)
        measured = module if self.parts is None else self.parts.module
        measured.__dict__["_trainer"] = trainer  # Lightning leaves it out of copies, and steps may look at it
        probe: list[AnyProbe] = [self._made_probe(trainer, measured)]
        network = probe[0].network.model
        index, is_whole = self._optimizer_of(network, optimizers)
        follower = Follower(
            self._wishes(trainer, is_whole),
            lambda: probe.pop() if probe else self._made_probe(trainer, measured),
            network if self.parts is None else module,
            optimizers[index],
            total_steps=total_steps(trainer, module),
            done_steps=self.done,
            averages=None if ema is None else lambda path: self._averages(path, ema, trainer, module),
            parts=self.parts,
            processes=ProcessGroup() if self.sharded and dist.is_initialized() else OneProcess(),
            say=self.say,
        )
        return follower, index

    def update(self, made: Made, trainer: Any, module: Any) -> None:
        """As in the base."""
        numbers = self._recorded(made, module)
        if numbers:
            self._tracker.log(numbers, logged_step(trainer))
        if self.watch is not None:
            self.watch.update(self.done, made.loss, None if made.was_skipped else made.rates[0])

    def _recorded(self, made: Made, module: Any) -> dict[str, float]:
        try:
            if not getattr(module, TOGGLED, None):
                return self._told(made)
            with untoggled(module):
                return self._told(made)
        except ModelError as error:
            # Other parameters train from here on, and no probe can be made of what the step does with them.
            if self.wishes.recorder.get("on_error") == "raise":
                raise
            self.say(f"recording ends at step {self.done - 1}, training goes on: {error}")
            self._end_record("complete")
            return {}

    def _told(self, made: Made) -> dict[str, float]:
        if self.follower is None:
            if self.parts is not None:  # others may measure, or this one's record has ended
                self.parts.meet(self.done - 1, made.updates)
            return {}
        return self.follower.update(
            self.done - 1,
            loss=made.loss,
            learning_rate=made.rates,
            batch_size=made.samples * self.world_size or None,
            was_skipped=made.was_skipped,
            **({} if made.updates == 1 else {"updates": made.updates}),
        )

    def kept(self) -> dict[str, Any]:
        """As in the base."""
        return {} if self.watch is None else {"forecast": self.watch.state()}

    def to_disk(self) -> None:
        """As in the base."""
        if self.follower is not None:
            self.follower.before_checkpoint()

    def finish(self) -> None:
        """As in the base."""
        path = None if self.follower is None else self.follower.path
        self._end_record("complete", keeps_passing=True)
        if path is not None and path.exists():
            if self.report and self.say is not _nothing:
                write_the_report(path, self._tracker, self.say)
            else:
                self.say(f"recorded; next: eigenflow report {path}")
        self.close("complete")

    def close(self, status: str) -> None:
        """As in the base."""
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.close()
        self._end_record(status)
        self.parts = None

    def _end_record(self, status: str, *, keeps_passing: bool = False) -> None:
        follower, self.follower = self.follower, None
        if follower is not None:
            follower.close(status)
        if self._passing is not None and not keeps_passing:
            shutil.rmtree(self._passing, ignore_errors=True)
            self._passing = None

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

    def _averages(self, path: Path, ema: Averaged, trainer: Any, module: Any) -> AveragedStates:
        def made(twin: nn.Module) -> Probe:
            twin.__dict__["_trainer"] = trainer  # Lightning leaves it out of copies, and steps may look at it
            probe = self._made_probe(trainer, twin)
            if self.probe is probe or not isinstance(probe, Probe):
                raise ArgumentError(
                    "`ema` needs a probe of its own. Pass `probe` as a batch or a function, not sharded."
                )
            return probe

        return AveragedStates(path, ema, module, made, modes=self.wishes.modes)

    def _made_probe(self, trainer: Any, module: Any) -> AnyProbe:
        if isinstance(self.probe, Probe | ShardedProbe):
            return self.probe
        if self.probe is not None and not isinstance(self.probe, Tensor | Mapping | Sequence):
            return self.probe(module)
        batch = training_batch(trainer, module, self.samples, self.probe)
        make = sharded_probe if self.sharded else Probe
        probe = matching_probe(module, batch, dtype=self.dtype, max_rows=self.max_rows, say=self.say, make=make)
        loss, network = probe.loss.describe()["loss"], type(probe.network.model).__name__
        self.say(f"the probe is {probe.samples} training samples through {network}, with loss {loss}")
        return probe

    def _optimizer_of(self, network: nn.Module, optimizers: list[Any]) -> tuple[int, bool]:
        """The place of the optimizer that holds most of a network's trainable parameters, and whether it holds all."""
        live = {} if self.parts is None else self.parts.live()
        wanted = {id(live.get(id(p), p)): p.numel() for p in unwrapped(network).parameters() if p.requires_grad}
        shares = [
            sum(wanted.get(id(p), 0) for group in one.param_groups for p in group["params"]) for one in optimizers
        ]
        held = max(shares)
        return shares.index(held), held == sum(wanted.values())


def _nothing(text: str) -> None:
    """Only the first process speaks."""
