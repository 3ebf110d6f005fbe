"""The recorder: follows any training loop and writes a run folder."""

import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsIndex

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import eigenflow
from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.store import RunWriter, Status, Variable, open_run
from eigenflow.tangent import Probe
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.methods import MethodName, make_method
from eigenflow.trajectory.step import require_whole
from eigenflow.trajectory.tracked import TailSettings

__all__ = ["Recorder"]

# What a tracker carries from one measurement to the next, so that a resumed run goes on with the same labels.
TRACKER = "tracker.safetensors"
# What it keeps of the first measurement.
ORIGIN = "origin.safetensors"
# Tensors of these files that are rows over the error, by the last part of their names: whole in the file, however many
# processes share them.
ROWS = ("vectors", "corrected", "scouts")


class Recorder:
    """Records a training run: every loss, and at chosen steps the operator and the step's budget.

    Call `step` after every update. A measurement of stored step k looks at the network after k
    updates and at the update that follows, so the recorder copies the parameters before it.

    With a `ShardedProbe` every process makes a recorder with the same arguments and calls its methods together with the
    others; the first process writes the folder, and it alone needs to see it. The folder is that of one process with
    all samples, and may be resumed on any number of them. What fails on one process is raised on all.

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
        resume_from: Number of updates that the model has seen, to go on with a run that was cut off. What
            the folder holds from that step on is dropped.
        config: Anything that belongs to the run (JSON types): settings, seeds.

    Raises:
        RunFolderError: If the folder holds a run already, or another process writes it.
        ArgumentError: If the schedule is empty or not made of whole numbers >= 0, or processes differ in arguments.
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
        resume_from: int | None = None,
        config: Mapping[str, Any] | None = None,
    ):
        require_whole(probe)
        self.probe, self.processes = probe, probe.processes
        self.schedule = self.processes.each(lambda: _checked_schedule(schedule))
        options = {"tail": tail, "tolerance": tolerance, "product_dtype": product_dtype, "couplings": couplings}
        self.method = self.processes.each(lambda: make_method(method, probe, modes, **options))
        self.processes.require_same(
            {"schedule": sorted(self.schedule), "resume_from": resume_from, **self.method.describe()}
        )
        self.next_step = 0 if resume_from is None else resume_from
        self.time = 0.0
        self._edges: np.ndarray | None = None
        self._stored: frozenset[str] | None = None
        self._writer: RunWriter | None = None
        self._is_closed = False
        header = self._header(config)
        self.processes.first(lambda: self._open(path, header, resume_from))
        if resume_from is not None:
            self._restore()
        self._is_due = False
        self._before: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None
        self._prepare()

    def step(
        self,
        step: int,
        *,
        loss: float | Tensor,
        learning_rate: float,
        momentum: float = 0.0,
        batch_size: int | None = None,
        **extra: float | int | str,
    ) -> bool:
        """Record the update that was just made.

        Args:
            step: Number of the update, from 0, without gaps.
            loss: Training loss that the update was computed from, i.e. of the network before it. Of many processes the
                first one's is recorded: give the loss of the whole batch.
            learning_rate: Of this update, >= 0.
            momentum: Heavy-ball mu; the update's length in time is learning_rate / (1 - mu).
            batch_size: Samples in the update's batch, for the record.
            **extra: More finite numbers or texts to log.

        Returns:
            Whether this update was measured.

        Raises:
            ArgumentError: If `step` is not the next one, or a rate is out of range.
            NonFiniteError: If `loss` or the network is not finite; what was recorded stays.
        """
        loss = float(loss)
        self.processes.each(lambda: self._check(step, loss, learning_rate, momentum))
        self.processes.require_same({"step": step, "learning_rate": learning_rate, "momentum": momentum})
        step_size = learning_rate / (1.0 - momentum)
        row = {"step": step, "time": self.time, "loss": loss, "learning_rate": learning_rate}
        if momentum:
            row["momentum"] = momentum
        if batch_size is not None:
            row["batch_size"] = batch_size
        # An update of length zero has no direction: the measurement waits for the next one.
        is_measured = self._before is not None and step_size > 0
        if is_measured:
            self._measure(step, step_size)
        self._write(lambda writer: writer.log({**row, **extra}))
        self.time += step_size
        self.next_step = step + 1
        self._prepare()
        return is_measured

    def flush(self) -> None:
        """Write pending loss rows to disk. Call it before saving a checkpoint that a run may be resumed from."""
        self._write(lambda writer: writer.flush())

    def close(self, status: Status = "complete") -> None:
        """Write what is pending, mark the run, and release the folder. Safe to call twice.

        Only "complete" waits for the other processes: one that failed may be the only one that comes here.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if status == "complete":
            self._write(lambda writer: _end(writer, status))
        elif self._writer is not None:
            _end(self._writer, status)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.close("complete" if kind is None else "interrupted" if interrupted else "failed")

    def _check(self, step: int, loss: float, learning_rate: float, momentum: float) -> None:
        if step != self.next_step:
            raise ArgumentError(
                f"`step` must be {self.next_step}, the number of the update just made, but is {step}. "
                f"Call recorder.step after every update, counting from 0."
            )
        if not np.isfinite(loss):
            raise NonFiniteError(
                f"`loss` is {loss} at step {step}: the run has diverged. What was recorded before is kept; "
                f"lower the learning rate and start a new run."
            )
        if not (np.isfinite(learning_rate) and learning_rate >= 0):
            raise ArgumentError(f"`learning_rate` must be a finite number >= 0, but is {learning_rate} at step {step}.")
        if not 0 <= momentum < 1:
            raise ArgumentError(f"`momentum` must lie in [0, 1), but is {momentum} at step {step}.")

    def _prepare(self) -> None:
        """Copy the parameters if the next update is to be measured."""
        self._is_due = (self.next_step in self.schedule) or (self._is_due and self._before is not None)
        self._before = self.probe.state() if self._is_due else None

    def _measure(self, step: int, step_size: float) -> None:
        assert self._before is not None
        self._is_due = False
        is_first = self._edges is None
        variables, self._edges = self.method.variables(
            self.probe, self._before, self.probe.state(), step_size, edges=self._edges, time=self.time
        )
        constants = None
        if is_first:
            constants = {"edge": Variable(("edge",), self._edges, "1 / time", "shell edges in the eigenvalue")}
        elif self._stored is not None and self._stored < set(variables):
            # A run that an older version began goes on with what it has.
            variables = {name: variable for name, variable in variables.items() if name in self._stored}
        self._write(lambda writer: writer.append(step, variables, constants=constants))
        self._save_method(step, is_first=is_first)
        self._before = None

    def _save_method(self, step: int, *, is_first: bool) -> None:
        files = {TRACKER: self.method.state()}
        if is_first:
            files[ORIGIN] = self.method.origin()
        # Rows are put together by all processes, before the first one writes.
        files = {name: _rows(state, self.probe.space.whole) for name, state in files.items()}

        def write(writer: RunWriter) -> None:
            for name, state in files.items():
                temporary = writer.path / (name + ".tmp")
                save_file({**state, "step": torch.tensor(step)}, str(temporary))
                temporary.replace(writer.path / name)

        self._write(write)

    def _open(self, path: str | Path, header: dict[str, Any], resume_from: int | None) -> None:
        if resume_from is None:
            self._writer = RunWriter.create(path, header=header)
        else:
            self._writer = RunWriter.resume(path, start=resume_from, header=header)

    def _write(self, work: Callable[[RunWriter], None]) -> None:
        """On the process that holds the folder; what fails there is raised on all."""

        def write() -> None:
            assert self._writer is not None
            work(self._writer)

        self.processes.first(write)

    def _restore(self) -> None:
        """Go on from what the first process finds in the folder."""
        self.time, self._edges, self._stored, states = self.processes.first(self._stored_state)
        for state in states:
            self.processes.each(lambda state=state: self.method.load_state(_rows(state, self.probe.space.part)))

    def _stored_state(self) -> tuple[float, np.ndarray | None, frozenset[str] | None, list[dict[str, Tensor]]]:
        """Time, shell edges, names of variables, and the method's state, whole."""
        assert self._writer is not None
        folder = self._writer.path
        run = open_run(folder)
        time, edges, names = 0.0, None, None
        losses = run.losses
        if len(losses):
            last = losses.iloc[-1]
            momentum = float(np.nan_to_num(last.get("momentum", 0.0)))
            time = float(last["time"] + last["learning_rate"] / (1.0 - momentum))
        if len(run.measured_steps):
            edges = run.measurements["edge"].values
            names = frozenset(str(name) for name in run.measurements.data_vars)
        states = [load_file(str(path)) for path in (folder / TRACKER, folder / ORIGIN) if path.is_file()]
        # Later modes than the state that the run goes on from would be a look ahead.
        return time, edges, names, [state for state in states if int(state.pop("step")) < self.next_step]

    def _header(self, config: Mapping[str, Any] | None) -> dict[str, Any]:
        return {
            "config": dict(config or {}),
            "probe": self.probe.describe(),
            "schedule": sorted(self.schedule),
            **self.method.describe(),
            "versions": {
                "eigenflow": eigenflow.__version__,
                "python": sys.version.split()[0],
                **{name: version(name) for name in ("torch", "numpy", "scipy", "xarray", "zarr")},
            },
            "machine": {
                "system": platform.system(),
                "processor": platform.machine(),
                "threads": torch.get_num_threads(),
            },
        }


def _end(writer: RunWriter, status: Status) -> None:
    writer.set_status(status)
    writer.close()


def _rows(state: Mapping[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """A state with its rows put together, or cut into each process's part."""
    return {name: change(x) if name.rsplit(".", 1)[-1] in ROWS else x for name, x in state.items()}


def _checked_schedule(schedule: Iterable[SupportsIndex]) -> frozenset[int]:
    steps = np.asarray(list(schedule))
    if steps.size == 0 or steps.dtype.kind not in "iu" or steps.min() < 0:
        raise ArgumentError(
            f"`schedule` must hold at least one step, whole numbers >= 0, but is {steps[:5].tolist()}. "
            f"Use eigenflow.log_steps(total, count=60)."
        )
    return frozenset(steps.tolist())
