"""`SpectralCallback`: the spectrum of a run, recorded while Trainer trains it."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.live import Alarm
from eigenflow.integrations.averaged import Averaged, AveragedStates
from eigenflow.integrations.distributed import sharded_probe
from eigenflow.integrations.following import Follower, Wishes, tell, write_the_report
from eigenflow.integrations.huggingface.updates import AbstractUpdatesCallback, MadeUpdate
from eigenflow.integrations.language import evaluating, probe_arguments, read_batch
from eigenflow.integrations.loss_watch import LossWatch
from eigenflow.integrations.planned_rates import planned_rates
from eigenflow.integrations.probe_batch import first_batch, smaller_batch
from eigenflow.integrations.spread import NO_AVERAGE, Plan, SpreadModel, is_spread
from eigenflow.integrations.trackers import tracker_of
from eigenflow.tangent import Probe, ShardedProbe
from eigenflow.tangent.model.wrappers import unwrapped
from eigenflow.tangent.processes import OneProcess, ProcessGroup

__all__ = ["SpectralCallback"]

ProbeLike = Probe | ShardedProbe | Callable[[nn.Module], Probe | ShardedProbe] | Mapping[str, Any] | None


class SpectralCallback(AbstractUpdatesCallback):
    """Records the operator M = J J^T of a model while Trainer trains it, into a run folder, and forecasts the loss.

    The operator is that of the optimizer, J P^(-1) J^T, where its P is known (AdamW, RMSprop), else the plain one. The
    probe is a few samples of the training set, collated as Trainer does, with the model's own loss, in eval mode.

    Numbers of every measurement, forecasts of the rest of the run and alarms go to the trainer's own trackers, under
    `eigenflow/`.

    A run that goes on from a checkpoint (`trainer.train(resume_from_checkpoint=True)`) goes on in the same folder. Of a
    run that was cut off and begins anew, the old folder is kept under another name. If other parameters become
    trainable on the way, the record goes on in a folder beside the first, `PATH-from-STEP`.

    With several processes the first one measures, without speaking to the others, which wait for it at the next
    exchange of gradients; so a measurement must not take longer than the timeout of the process group. With `sharded`
    all of them measure together, each a part of the probe's samples.

    Of a model whose parameters are in parts on many processes (FSDP by `fully_shard`, tensor parallel plans) each
    process that measures holds a whole copy, which is put together at the updates that are measured.

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
        forecast: Whether the rest of the run is forecast, as by `LossForecastCallback`.
        on_alarm: Called with every `Alarm` of the forecast.
        report: Whether to analyse the run when it ends, and write `report.html` (seconds to minutes).
        tracker: Where numbers go besides; see `eigenflow.integrations.trackers.tracker_of`.
        ema: Averaged weights, to be recorded at the same steps in `PATH-ema`: a module, as of torch.optim.swa_utils, or
            a function that gives tensors by the model's names.
        sharded: Whether all processes measure together.
        dtype: Type in which the operator is evaluated.
        say: Called with what is to be told to who trains; None: a line on stderr.
        **recorder: More arguments of `Recorder`: method, tail, tolerance, couplings, on_error, ...

    Raises:
        ArgumentError: If the training set has no samples.
        ModelError: If the model has no loss that a probe can have.
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
        forecast: bool = True,
        on_alarm: Callable[[Alarm], None] | None = None,
        report: bool = False,
        tracker: Any = None,
        ema: Averaged | None = None,
        sharded: bool = False,
        dtype: torch.dtype = torch.float64,
        say: Callable[[str], None] | None = None,
        **recorder: Any,
    ):
        super().__init__(everywhere=sharded, with_parts=True)
        steps = None if schedule is None else list(schedule)
        self.wishes = Wishes(Path(path), modes, count, steps, max_overhead, preconditioner, recorder)
        self.probe, self.samples, self.max_rows, self.dtype = probe, samples, max_rows, dtype
        self.forecast, self.on_alarm, self.report = forecast, on_alarm, report
        self.tracker, self.ema, self.say = tracker, ema, say or tell
        self.follower: Follower | None = None
        self.watch: LossWatch | None = None
        self.parts: SpreadModel | None = None

    def begin(self, state: Any, *, model: Any, optimizer: Any, lr_scheduler: Any) -> None:
        """As in the base."""
        if not self.is_first:
            self.say = _nothing
        live = unwrapped(model)
        total = state.max_steps if state.max_steps > 0 else None
        targets = [lambda metrics, step: self.log(metrics), *([] if self.tracker is None else [self.tracker])]
        self._trackers = tracker_of(targets if self.is_first else None)
        measures = self.is_first or self.everywhere
        self.parts = SpreadModel(live, measures=measures) if is_spread(live) else None
        own = getattr(optimizer, "optimizer", optimizer)

        def make() -> Plan:
            self.follower = self._follower(live, own, total, state.global_step)
            return self.follower.plan()

        if self.parts is None:
            make()
        else:
            self.parts.begin(make, [own], all_measure=self.everywhere)
        if self.forecast and self.is_first:
            self.watch = LossWatch(
                self._trackers,
                self.say,
                on_alarm=self.on_alarm,
                total_steps=total,
                rates=planned_rates(lr_scheduler, total),
                state=self.before(state).get("forecast"),
                done_steps=state.global_step,
            )

    def _follower(self, live: nn.Module, optimizer: Any, total: int | None, done: int) -> Follower:
        ema, measured = self.ema, live if self.parts is None else self.parts.module
        if ema is not None and self.parts is not None:
            raise ArgumentError(NO_AVERAGE)
        return Follower(
            self.wishes,
            lambda: self._made_probe(measured),
            live,
            optimizer,
            total_steps=total,
            done_steps=done,
            averages=None if ema is None else lambda path: self._averages(path, ema, live),
            parts=self.parts,
            processes=ProcessGroup() if self.everywhere and dist.is_initialized() else OneProcess(),
            say=self.say,
        )

    def update(self, made: MadeUpdate) -> None:
        """As in the base."""
        if self.follower is None:  # a process that holds a part, and does not measure
            assert self.parts is not None
            self.parts.meet(made.completed - 1)
            return
        numbers = self.follower.update(
            made.completed - 1,
            loss=made.loss,
            learning_rate=made.rates,
            batch_size=made.samples or None,
            was_skipped=made.was_skipped,
        )
        if numbers:
            self._trackers.log(numbers, made.completed)
        if self.watch is not None:
            self.watch.update(made.completed, made.loss, None if made.was_skipped else made.rates[0])

    def kept(self) -> dict[str, Any]:
        """As in the base."""
        if self.follower is not None:
            self.follower.before_checkpoint()
        return {} if self.watch is None else {"forecast": self.watch.state()}

    def end(self) -> None:
        """As in the base."""
        self.parts = None
        if self.follower is None:
            return
        if self.watch is not None:
            self.watch.close()
        self.follower.close()
        path = self.follower.path
        self.follower = self.watch = None
        if self.report and self.is_first:
            write_the_report(path, self._trackers, self.say)
        else:
            self.say(f"recorded; next: eigenflow report {path}")
        self._trackers.close()

    def failed(self, error: BaseException) -> None:
        """As in the base."""
        if self.watch is not None:
            self.watch.close()
        if self.follower is not None:
            self.follower.close("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")

    def _averages(self, path: Path, ema: Averaged, model: nn.Module) -> AveragedStates:
        def made(twin: nn.Module) -> Probe:
            probe = self._made_probe(twin)
            if self.probe is probe or not isinstance(probe, Probe):
                raise ArgumentError(
                    "`ema` needs a probe of its own. Pass `probe` as a batch or a function, not sharded."
                )
            return probe

        return AveragedStates(path, ema, model, made, modes=self.wishes.modes)

    def _made_probe(self, model: nn.Module) -> Probe | ShardedProbe:
        if isinstance(self.probe, Probe | ShardedProbe):
            return self.probe
        if self.probe is not None and not isinstance(self.probe, Mapping):
            return self.probe(model)
        batch = self.probe or self._smaller(model, self._first_batch())
        smoothing = 0.0 if self.trainer is None else self.trainer.args.label_smoothing_factor
        told = probe_arguments(model, batch, dtype=self.dtype, label_smoothing=smoothing)
        with evaluating(model):
            return sharded_probe(model, **told) if self.everywhere else Probe(model, **told)

    def _smaller(self, model: nn.Module, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """The batch with so few labels that its operator can be followed."""
        name = next((key for key in batch if "label" in key), None)
        if name is None:
            return batch
        one = {key: value[:1] if isinstance(value, Tensor) else value for key, value in batch.items()}
        classes = read_batch(model, one, dtype=self.dtype).classes
        batch, left_out = smaller_batch(batch, name, classes, self.max_rows)
        if left_out is not None:
            self.say(left_out)
        return batch

    def _first_batch(self) -> Mapping[str, Any]:
        assert self.trainer is not None
        dataset = self.trainer.train_dataset
        if dataset is None:
            raise ArgumentError("`train_dataset` of the trainer is None, so there is nothing to probe. Pass probe=.")
        collate = self.trainer._get_collator_with_removed_columns(self.trainer.data_collator, description="probe")
        return first_batch(dataset, collate, self.samples)


def _nothing(text: str) -> None:
    """Only the first process speaks."""
