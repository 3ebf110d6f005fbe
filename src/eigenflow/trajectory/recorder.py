"""The recorder: follows any training loop and writes a run folder."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.store import Status, Variable
from eigenflow.store.schema import GapKind
from eigenflow.tangent import Probe
from eigenflow.tangent.processes import OneProcess
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.header import run_header
from eigenflow.trajectory.live import LiveParameters, are_equal
from eigenflow.trajectory.measured_updates import MeasuredUpdates
from eigenflow.trajectory.methods import MethodName, make_method
from eigenflow.trajectory.optimizers import PreconditionerLike, Preconditioning
from eigenflow.trajectory.pace import Pace
from eigenflow.trajectory.quiet import usual_row
from eigenflow.trajectory.rates import LearningRate
from eigenflow.trajectory.record_folder import RecordFolder
from eigenflow.trajectory.rows import LoggedUpdate, loss_row
from eigenflow.trajectory.said import agreed_loss, check_recorder, checked_update
from eigenflow.trajectory.schedule import Schedule
from eigenflow.trajectory.step import State
from eigenflow.trajectory.tracked import TailSettings
from eigenflow.trajectory.troubles import OnError, Troubles, Waiting, words_of
from eigenflow.trajectory.update import Update
from eigenflow.trajectory.update_cost import UpdateCost, most_seconds, update_cost

__all__ = ["Recorder"]

NO_TIME = "training ended before there was time for it"
NOT_WRITTEN = "The loss could not be written yet"
NEVER_CAME = "no update of a length other than zero came after it, or none that changed the parameters"


class Recorder:
    """Records a training run: every loss, and at chosen steps the operator and the step's budget.

    Call `step` after every update. A measurement of stored step k looks at the network after k
    updates and at the update that follows, so the recorder copies the parameters before it.

    Recording may begin at any step: the first call says how many updates the network has seen, and time is counted from
    there (`first_step` in the header).

    What cannot be measured is left out. The gap is written into the record with its reason (`run.gaps`), warned of
    (`RecordGapWarning`), and the run ends as "complete with gaps". So a training loop does not end because of an
    instrument; where it should, pass `on_error="raise"`: the error is raised after the gap has been noted, and the
    next `step` works. Wrong arguments are always raised.

    With a `ShardedProbe` every process makes a recorder with the same arguments and calls its methods together with the
    others; the first process writes the folder, and it alone needs to see it. The folder is that of one process with
    all samples, and may be resumed on any number of them. What fails on one process is raised on all. A process that
    ends or hangs ends the record too, with a `ProcessLostError` on the others: `resume_from` goes on without it.

    Args:
        path: Folder of the run. It must not exist yet, or be empty, unless `resume_from` is given.
        probe: What to measure, on the live model.
        schedule: Steps to measure, as from `log_steps`.
        modes: How many of the largest modes to store one by one; None stores all.
        method: "dense" forms M, and shells hold all of its modes. "tracked" follows the largest `modes` by products
            alone: shells above the last of them hold all of their modes, the lowest one everything below, and how
            that spreads over shells is told with error bars. "auto" tracks if `modes` is given and M has more
            than 4000 rows, or if its rows are spread over processes.
        tail: How closely "tracked" looks below the modes.
        tolerance: Relative accuracy of tracked eigenvalues, as certified.
        product_dtype: Type of the products of "tracked"; None takes the probe's. torch.float32 halves the cost.
        couplings: How many of the largest modes to store with all of their couplings and overlaps, which the mode
            equations need; None: 64, or all if there are fewer.
        preconditioner: The optimizer that trains the model (Adam, AdamW, RMSprop, or SGD with momentum), or the
            diagonal of P^(-1) by parameter name: M is then J P^(-1) J^T, the operator that trains, at the optimizer's
            state of the measured update, and time is the sum of learning rates. A scheduled step at which the optimizer
            has no state yet is a gap, and the first update that has it is measured.
        max_overhead: Share of the time that measuring may take, such as 0.05; None: every scheduled step is measured.
            Where that would take more, steps are left out evenly. The first one is measured once it is known how long
            an update takes, from copies, and a measurement says how long it took (`measurement_s`). The last step of
            the schedule is taken for the end of training.
        on_error: "skip" notes a gap and goes on, "raise" also raises.
        resume_from: Number of updates that the model has seen, to go on with a run that was cut off. What
            the folder holds from that step on is dropped. If its record ends before, because `flush` was not called
            before the checkpoint was saved, the updates between are marked as a gap.
        config: Anything that belongs to the run (JSON types): settings, seeds.

    Raises:
        RunFolderError: If the folder holds a run already, or another process writes it, or a resumed run was measured
            with another preconditioner.
        ArgumentError: If the schedule is empty or not made of whole numbers >= 0, processes differ in arguments, or a
            measurement would not fit into the memory or not be possible with this probe.
    """

    def __init__(
        self,
        path: str | Path,
        probe: Probe | ShardedProbe,
        schedule: Iterable[SupportsIndex],
        *,
        modes: int | None = None,
        method: MethodName = "auto",
        tail: TailSettings | None = None,
        tolerance: float = 1e-5,
        product_dtype: torch.dtype | None = None,
        couplings: int | None = None,
        preconditioner: PreconditionerLike = None,
        max_overhead: float | None = None,
        on_error: OnError = "skip",
        resume_from: int | None = None,
        config: Mapping[str, Any] | None = None,
    ):
        check_recorder(path, probe, config=config, resume_from=resume_from, on_error=on_error)
        self.probe, self.processes = probe, probe.processes
        self.on_error: OnError = on_error
        each = self.processes.each
        self.schedule = each(lambda: Schedule(schedule))
        options = {"tail": tail, "tolerance": tolerance, "product_dtype": product_dtype, "couplings": couplings}
        how = each(lambda: make_method(method, probe, modes, **options))
        self._live = LiveParameters(probe.network.model)
        self._preconditioning = each(lambda: Preconditioning(preconditioner, probe.network.model))
        told = {**how.describe(), **self._preconditioning.describe()}
        self.processes.require_same(
            {"schedule": list(self.schedule), "resume_from": resume_from, "on_error": on_error}
            | {"max_overhead": max_overhead, **told}
        )
        self._counts_momentum = not self._preconditioning.holds_momentum
        # By the first process's clock: others would leave out other steps, and wait for each other.
        self.pace = each(
            lambda: Pace(
                self.schedule,
                max_overhead,
                estimate=lambda: self.cost.seconds,
                bound=lambda: most_seconds(probe, how, **self._preconditioning.kind),
                agree=self.processes.first,
            )
        )
        each(lambda: how.require_possible(probe, is_preconditioned=self._preconditioning.is_given))
        self.next_step = resume_from
        self.time = 0.0
        self._is_closed = False
        header = run_header(config, probe.describe(), list(self.schedule), told)
        self._folder = RecordFolder(path, header, resume_from, self.processes)
        self._measured = MeasuredUpdates(probe, how, self.pace, self._folder)
        if resume_from is not None:
            self.time = self._measured.restore(resume_from)
        self._was_finite = True
        self._rejected: str | None = None
        self._waiting: Waiting | None = None
        self._held: tuple[int, Update] | None = None
        # The number of a run's first step is not known yet, so the state before it is kept whatever it will be.
        self._is_due = resume_from is None or resume_from in self.schedule
        self._before: State | None = probe.state() if self._is_due else None
        # Whether the next update needs nothing but its row, as long as nothing is due after it.
        self._is_quiet = False
        self._is_alone = isinstance(self.processes, OneProcess)

    def step(
        self,
        step: int,
        *,
        loss: float | Tensor,
        learning_rate: LearningRate,
        momentum: float | Tensor = 0.0,
        batch_size: int | None = None,
        updates: int = 1,
        **extra: float | int | str,
    ) -> bool:
        """Record the update that was just made.

        A loss that is not finite is logged as null with the reason. If the parameters did not change, as when a
        GradScaler skips a step, time stands still, and a measurement waits for the next update, as it also does for a
        learning rate of 0.

        Args:
            step: Number of the update, from 0, without gaps. The first call of a record may begin with any.
            loss: Training loss that the update was computed from, i.e. of the network before it. Of many processes the
                first one's is recorded: give the loss of the whole batch.
            learning_rate: Of this update, >= 0. With several parameter groups the rates of all, in their order or by
                name: the first one is the clock, and what the others do beyond it is the optimizer's part of the
                update, or of P.
            momentum: Heavy-ball mu; the update's length in time is learning_rate / (1 - mu), or learning_rate if the
                recorder reads the optimizer as its `preconditioner`.
            batch_size: Samples in the update's batch, for the record. Whether they are of the probe is found from the
                update (`batch_miss`).
            updates: How many updates were made since the last call, if more than one, as between checkpoints. `step` is
                the number of the last of them, and they count as equally long. The change is measured as a whole and
                marked: claims that need single updates are then not judged.
            **extra: More numbers or texts to log.

        Returns:
            Whether an update was measured, this one or, under `max_overhead`, one that was held.

        Raises:
            ArgumentError: If `step` is not the next one, or a rate is out of range.
            RunFolderError: If the recorder is closed.
            EigenflowError: With on_error="raise", whatever kept it from recording; what was recorded stays.
        """
        is_usual = self._is_quiet and type(step) is type(updates) is int and updates == 1
        if is_usual and step == self.next_step and step + 1 < self.pace.next_due:
            usual = usual_row(step, self.time, loss, learning_rate, momentum, batch_size, extra, self._counts_momentum)
            if usual is not None:
                if (troubles := self._logged(step, *usual)) is not None:
                    troubles.tell(self.on_error)
                return False
        if self._is_closed:
            raise RunFolderError("The recorder is closed. Make one with resume_from= to go on with the run.")
        loss, diverged = agreed_loss(self.processes, loss, step)
        try:
            said = self.processes.each(
                lambda: checked_update(
                    step,
                    loss,
                    learning_rate,
                    momentum=momentum,
                    batch_size=batch_size,
                    updates=updates,
                    extra=extra,
                    next_step=self.next_step,
                    may_skip=self._rejected is not None,
                )
            )
        except ArgumentError as error:
            self._rejected, self._is_quiet = str(error), False
            raise
        self.processes.require_same(
            {"step": step, "learning_rate": dict(said.rates), "momentum": said.momentum, "updates": said.updates}
        )
        troubles = Troubles()
        if diverged is not None and (self._was_finite or self.on_error == "raise"):
            troubles.add(diverged)
        self._was_finite = said.is_finite
        self.pace.tick(said.first)
        self._begin(said, troubles)
        was_measured = self._measure_held(troubles)
        length, is_measured = self._observe(said, troubles)
        row = loss_row(said, self.time, length, counts_momentum=self._counts_momentum)
        with troubles.caught(NOT_WRITTEN):
            self._folder.write(lambda writer: writer.log(row))
        self.time += length
        self.next_step = said.first + said.updates
        self._prepare(said.first, troubles)
        self._is_quiet = self._is_alone and not self._is_due and self._before is None and self._held is None
        troubles.tell(self.on_error)
        return is_measured or was_measured

    @cached_property
    def cost(self) -> UpdateCost:
        """What one measured update will take; the estimate takes about a second, once."""
        with self.pace.copying():
            return update_cost(self.probe, self._measured.method, **self._preconditioning.kind)

    @property
    def latest(self) -> tuple[int, dict[str, Variable]] | None:
        """Step of the last measurement, and its variables as they were written."""
        return self._measured.latest

    def looks_at(self, step: int, updates: int = 1) -> bool:
        """Whether `step(step, ..., updates=updates)` may look at the network: a model in parts is put together then."""
        # Not what there is time for: a measurement that was held, and is made by then, chooses anew.
        return self._before is not None or self._is_due or self.schedule.is_due(step - updates + 1, step + 1)

    @property
    def reads_optimizer(self) -> bool:
        """Whether P is read from an optimizer at every measured update."""
        return self._preconditioning.holds_momentum

    def flush(self) -> None:
        """Write pending loss rows to disk. Call it before saving a checkpoint that a run may be resumed from.

        What the method carried to the next measurement is kept too, until the next call: a run that goes on from that
        checkpoint is the one that nobody cut off, with the same labels of modes.
        """
        self._folder.flush()

    def write_file(self, name: str, content: bytes) -> None:
        """Keep a file of your own in the run folder, such as a checkpoint: replaced as a whole, with a checksum.

        `Run.read_file` reads it, and refuses one that was changed since; so does a recorder that goes on with the run.

        Args:
            name: Plain file name, none of the files that hold the run itself.
            content: All of it.
        """
        self._folder.write(lambda writer: writer.write_file(name, content))

    def close(self, status: Status = "complete") -> None:
        """Write what is pending, mark the run, and release the folder. Safe to call twice.

        A run that is "complete" but lacks something gets the status "complete with gaps".
        """
        if self._is_closed:
            return
        self._is_closed, self._is_quiet = True, False
        status = "failed" if status == "complete" and self.processes.lost is not None else status
        unmeasured = None
        if self._waiting is not None and not self._waiting.is_noted:
            unmeasured = self._waiting.step, NEVER_CAME
        elif self._held is not None:
            unmeasured = self._held[0], self.pace.refusal() or NO_TIME
        self._folder.end(status, unmeasured)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.close("complete" if kind is None else "interrupted" if interrupted else "failed")

    def _logged(self, step: int, row: dict[str, Any], length: float) -> Troubles | None:
        """Log an update of which nothing else is to be done; what kept it from the disk, if anything did."""
        troubles = None
        if self.pace.is_capped:
            self.pace.tick(step)
        try:
            assert self._folder.writer is not None
            self._folder.writer.log_plain(step, row)
        except BaseException as error:
            troubles = Troubles()
            troubles.add(error, f"{NOT_WRITTEN}: {words_of(error)}")
        self.time += length
        self.next_step, self._was_finite = step + 1, True
        self._live.look()
        return troubles

    def _begin(self, said: LoggedUpdate, troubles: Troubles) -> None:
        """The first step of a record, or the one after a call that was refused."""
        if self.next_step is None:
            self._is_due = said.first in self.schedule or (said.updates > 1 and self._covers(said))
            self._before = self._before if self._is_due else None
            if said.first > 0:
                with troubles.caught("The first step could not be noted"):
                    self._folder.write(lambda writer: writer.begin_at(said.first))
        elif said.first != self.next_step:
            # The copy is of the network before the update that was refused.
            self._before = None
            self._note(self.next_step, "updates", f"the call was refused: {self._rejected}", troubles)
        self._rejected = None

    def _covers(self, said: LoggedUpdate) -> bool:
        return self.schedule.is_due(said.first - 1, said.first + said.updates - 1)

    def _observe(self, said: LoggedUpdate, troubles: Troubles) -> tuple[float, bool]:
        """Measure the update if it is due. Returns its length in time, and whether it was measured."""
        length = said.length(counts_momentum=self._counts_momentum)
        before, self._before = self._before, None
        if before is None:
            is_skipped = not said.is_finite and not self._live.have_changed()
            return 0.0 if is_skipped else length, False
        waits = False
        try:
            with self.pace.copying():
                after = self.processes.each(self.probe.state)
            if length == 0 or are_equal(before[0], after[0]):
                self._wait(said.first)
                return length if said.is_finite else 0.0, False
            waits = True
            preconditioner = self.processes.each(self._preconditioning.read)
            waits = False
            follows = said.momentum > 0 or preconditioner is not None
            update = Update(before, after, length, self.time, said.updates, preconditioner, said.batch_size, follows)
            is_measured = self._may_measure()
            if is_measured:
                self._measured.measure(said.first, update, troubles)
            else:
                self._held = said.first, update
        except BaseException as error:
            self._is_due = waits
            self._fail(said.first, error, waits, troubles)
            return length, False
        self._is_due, self._waiting = False, None
        return length, is_measured

    def _may_measure(self) -> bool:
        """Whether there is time for a measurement; by the first process's clock."""
        return not self.pace.is_capped or self.processes.first(self.pace.may_measure)

    def _measure_held(self, troubles: Troubles) -> bool:
        """Measure the update that was held, once there is time for it."""
        if self._held is None:
            return False
        if not self._may_measure():
            if (refusal := self.pace.new_refusal()) is not None:
                troubles.add(None, f"Nothing is measured as yet. {refusal}")
            return False
        (step, update), self._held = self._held, None
        try:
            self._measured.measure(step, update, troubles)
        except BaseException as error:
            self._fail(step, error, False, troubles)
            return False
        return True

    def _wait(self, step: int, *, is_noted: bool = False) -> None:
        self._waiting = self._waiting or Waiting(step, is_noted)

    def _fail(self, step: int, error: BaseException, waits: bool, troubles: Troubles) -> None:
        """Note why a measurement was not made; once for one that waits for an optimizer's state."""
        if waits and self._waiting is not None and self._waiting.is_noted:
            return
        reason = words_of(error) + ("; the measurement waits for the first update that has it" if waits else "")
        troubles.add(error, f"Step {step} was not measured: {reason}")
        self._note(step, "measurement", reason, troubles)
        self._waiting = Waiting(step, is_noted=True) if waits else None

    def _note(self, step: int, kind: GapKind, reason: str, troubles: Troubles) -> None:
        with troubles.caught("The gap could not be noted"):
            self._folder.note(step, kind, reason)

    def _prepare(self, last: int, troubles: Troubles) -> None:
        """Copy the parameters if the next update is to be measured."""
        assert self.next_step is not None
        self._live.look()
        self._is_due = self._is_due or self.pace.is_due(last, self.next_step)
        self.pace.look_ahead(self.next_step)
        if self._held is not None:  # one at a time: a copy of the network is large
            self._is_due = False
        if not self._is_due:
            return
        try:
            with self.pace.copying():
                self._before = self.processes.each(self.probe.state)
        except BaseException as error:
            self._is_due = False
            self._fail(self.next_step, error, False, troubles)
