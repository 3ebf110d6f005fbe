"""What every trainer's callback does: a record of the run, its cost said first, numbers for the trainer's own tracker.

A trainer tells a `Follower` of every update that it made, and before it saves a checkpoint. The run folder is all the
state there is: a run that goes on from a checkpoint goes on in the folder, from the same update.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, SupportsIndex

import torch
from torch import nn

from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import log_steps
from eigenflow.integrations.averaged import AveragedStates
from eigenflow.integrations.numbers import measured_numbers
from eigenflow.integrations.run_paths import part_from, part_of, resumable_from, set_aside
from eigenflow.integrations.spread import Plan, SpreadModel
from eigenflow.integrations.trackers import SafeTracker
from eigenflow.store import open_run
from eigenflow.tangent import Probe
from eigenflow.tangent.processes import AbstractProcesses, OneProcess
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory import Recorder
from eigenflow.trajectory.optimizers import OptimizerElsewhere, require_known

__all__ = ["Follower", "Wishes", "tell", "write_the_report"]

# Those of this process that are open: a loop that broke off in a notebook closes nothing.
_OPEN: dict[Path, "Follower"] = {}
_TRAINS = attrgetter("requires_grad")
# Updates that a run of unknown length is planned for; the schedule is logarithmic, so more cost little.
UNKNOWN_LENGTH = 1_000_000


def tell(text: str) -> None:
    """Say something on the terminal of who trains."""
    print(f"eigenflow: {text}", file=sys.stderr, flush=True)


def write_the_report(path: Path, tracker: SafeTracker, say: Callable[[str], None]) -> None:
    """Analyse a run that has ended, write its report, and hand it to the tracker; a failure is said, not raised."""
    from eigenflow.report import analyse, write_report

    say(f"analysing {path}")
    try:
        written = write_report(analyse(open_run(path)))
    except Exception as error:  # the training is done and must not fail now
        say(f"no report was written ({type(error).__name__}: {error}). Later: eigenflow report {path}")
        return
    tracker.artifact(written)
    say(f"report: {written}")


@dataclass(frozen=True)
class Wishes:
    """How a run is to be recorded; the arguments that all callbacks share.

    Attributes:
        path: The run folder.
        modes: Largest modes to follow; None: all.
        count: Measurements over the run, evenly in the logarithm of the step.
        schedule: Steps to measure, instead of `count`.
        max_overhead: As for `Recorder`.
        preconditioner: Whether the operator is that of the optimizer; None: for Adam and its like.
        recorder: More arguments of `Recorder`.
        config: What belongs to the run, for its header.
    """

    path: Path
    modes: int | None = 32
    count: int = 60
    schedule: Iterable[SupportsIndex] | None = None
    max_overhead: float | None = 0.05
    preconditioner: bool | None = None
    recorder: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def steps(self, total_steps: int | None) -> list[SupportsIndex]:
        """Steps to measure."""
        if self.schedule is not None:
            return list(self.schedule)
        return list(log_steps(total_steps or UNKNOWN_LENGTH, count=self.count))


class Follower:
    """Records a run that somebody else's loop trains.

    Args:
        wishes: How.
        make_probe: Makes the probe on the live model; called again if other parameters become trainable.
        model: The live model, without wrappers.
        optimizer: That trains it, without wrappers.
        total_steps: Updates in all, if known.
        done_steps: Updates that the model has seen.
        averages: Makes the record of averaged weights in a folder, if there is to be one.
        parts: The whole of the model, if it is in parts on many processes; the probe is made on its copy.
        processes: Those that measure together, if there are several: the first one looks at the folders.
        say: Tells the person who trains.

    Raises:
        RunFolderError: If the folder holds another run, or a finished one that this one would begin anew.
    """

    def __init__(
        self,
        wishes: Wishes,
        make_probe: Callable[[], Probe | ShardedProbe],
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        total_steps: int | None,
        done_steps: int = 0,
        averages: Callable[[Path], AveragedStates] | None = None,
        parts: SpreadModel | None = None,
        processes: AbstractProcesses | None = None,
        say: Callable[[str], None] = tell,
    ):
        self.wishes, self.make_probe, self.model, self.optimizer, self.say = (
            wishes,
            make_probe,
            model,
            optimizer,
            say,
        )
        self._make_averages, self._parts = averages, parts
        self.steps = wishes.steps(total_steps)
        self._parameters = list(model.parameters())
        self._trainable = self._which_train()
        self._processes = processes or OneProcess()
        self.path, resume_from = self._processes.first(lambda: self._going_on(done_steps))
        self._has_momentum = False
        self.recorder = self._recorder(resume_from)
        self._averaged = self._averages()
        say(f"recording into {self.path}{'' if resume_from is None else f' from step {resume_from} on'}; {self.cost()}")

    def _going_on(self, done_steps: int) -> tuple[Path, int | None]:
        """The folder of the record, and from which update on."""
        path = part_of(self.wishes.path, done_steps)
        if (before := _OPEN.get(path.resolve())) is not None:
            before.close("interrupted")
        return path, resumable_from(path, done_steps, self.say)

    def plan(self, optimizer: int = 0) -> Plan:
        """What processes that do not measure must know; `optimizer` is the place of the one whose updates count."""
        reads = self.recorder.reads_optimizer
        return Plan(tuple(self.recorder.schedule), optimizer, reads)

    def cost(self) -> str:
        """What measuring will take, in words."""
        planned = sum(int(step) >= (self.recorder.next_step or 0) for step in self.steps)
        capped = "" if self.wishes.max_overhead is None else f", at most {self.wishes.max_overhead:.0%} of the time"
        try:
            each = self.recorder.cost.summary()
        except Exception as error:  # an estimate must not keep a training from beginning
            each = f"their cost is not known ({type(error).__name__}: {error})"
        return f"{planned} measurements planned{capped}; {each}"

    def update(
        self,
        step: int,
        *,
        loss: Any,
        learning_rate: Any,
        batch_size: int | None = None,
        was_skipped: bool = False,
        **extra: Any,
    ) -> dict[str, float]:
        """Record the update that was just made.

        Args:
            step: Its number, from 0.
            loss: Of the network before it, over all of its batches.
            learning_rate: Of every parameter group, as the update used them.
            batch_size: Samples of its batches.
            was_skipped: Whether the optimizer left it out, as a loss scaler has it do.
            **extra: More numbers to log.

        Returns:
            Numbers for a tracker, if something was measured; else nothing.
        """
        if self._parts is not None:
            self._parts.meet(step, int(extra.get("updates", 1)), self.recorder.looks_at)
            if not was_skipped and not math.isfinite(loss):
                self._parts.have_moved()
        if self._which_train() != self._trainable:
            self._begin_anew(step)
        momentum = 0.0 if not self._has_momentum else float(self.optimizer.param_groups[0].get("momentum", 0.0))
        if was_skipped:
            extra["skipped"] = "the optimizer left this update out: gradients were not finite"
            learning_rate = 0.0
        is_measured = self.recorder.step(
            step, loss=loss, learning_rate=learning_rate, momentum=momentum, batch_size=batch_size, **extra
        )
        if not is_measured or self.recorder.latest is None:
            return {}
        if self._averaged is not None:
            with self.recorder.pace.beside():
                self._averaged.record(step + 1, time=self.recorder.time)
        pace = self.recorder.pace
        return measured_numbers(*self.recorder.latest, share=pace.share if pace.is_capped else None)

    def before_checkpoint(self) -> None:
        """Bring everything to disk; a run may go on from the checkpoint that is saved next."""
        self.recorder.flush()

    def close(self, status: Any = "complete") -> None:
        """End the record. Safe to call twice."""
        self.recorder.close(status)
        if self._averaged is not None:
            self._averaged.close(status)
        _OPEN.pop(self.path.resolve(), None)

    def _recorder(self, resume_from: int | None) -> Recorder:
        probe = self.make_probe()
        recorder = Recorder(
            self.path,
            probe,
            self.steps,
            modes=None if self.wishes.modes is None else min(self.wishes.modes, probe.size),
            preconditioner=self._preconditioner(probe.network.model),
            max_overhead=self.wishes.max_overhead,
            resume_from=resume_from,
            config=self.wishes.config,
            **self.wishes.recorder,
        )
        _OPEN[self.path.resolve()] = self
        return recorder

    def _averages(self) -> AveragedStates | None:
        """The record of averaged weights, beside that of the run."""
        if self._make_averages is None:
            return None
        path = self.path.with_name(f"{self.path.name}-ema")
        if not self.recorder.next_step:
            set_aside(path, self.say)
        return self._make_averages(path)

    def _preconditioner(self, network: nn.Module) -> torch.optim.Optimizer | OptimizerElsewhere | None:
        """The optimizer, if it has a P that is known and wanted."""
        wanted = self.wishes.preconditioner
        is_plain = isinstance(self.optimizer, torch.optim.SGD)
        self._has_momentum = is_plain and not wanted
        if wanted is False or (is_plain and wanted is None):
            return None
        try:
            require_known(self.optimizer)
        except ArgumentError as error:
            if wanted:
                raise
            self.say(
                f"the plain operator J J^T is measured: {error} Under {type(self.optimizer).__name__} that is not the "
                f"operator that trains"
            )
            return None
        if (parts := self._parts) is not None:
            return OptimizerElsewhere(self.optimizer, lambda: parts.inverse(network))
        return self.optimizer

    def _which_train(self) -> list[bool]:
        # Going through the modules would take most of a call that measures nothing.
        return list(map(_TRAINS, self._parameters))

    def _begin_anew(self, step: int) -> None:
        """Other parameters train from now on: another operator, hence another record beside the first."""
        self.close()
        self._parameters = list(self.model.parameters())
        self._trainable = self._which_train()
        self.path = part_from(self.wishes.path, step)
        self._processes.first(lambda: set_aside(self.path, self.say))
        self.recorder = self._recorder(None)
        self._averaged = self._averages()
        self.say(f"other parameters are trainable from step {step} on; the record goes on in {self.path}")
