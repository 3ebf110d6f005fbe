"""The recorder of states: writes a run folder from states of a network alone, as from checkpoints."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from warnings import warn

import torch
from torch import Tensor

from eigenflow.core.checks import check_kind, check_whole
from eigenflow.core.errors import ArgumentError, FileError, RunFolderError
from eigenflow.core.grid import shell_edges
from eigenflow.store import Gap, RecordGapWarning, RunWriter, Status, Variable, open_run
from eigenflow.store.schema import HEADER, Clock
from eigenflow.tangent import Probe
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.header import cut_rows
from eigenflow.trajectory.methods import MethodName, TrackedMethod, make_method
from eigenflow.trajectory.rates import LearningRate
from eigenflow.trajectory.state_folder import (
    Continued,
    StateMotion,
    continue_states,
    require_same_settings,
    states_header,
)
from eigenflow.trajectory.state_measurement import StateMeasurement
from eigenflow.trajectory.state_measuring import measure_by
from eigenflow.trajectory.state_said import StateSaid, checked_state
from eigenflow.trajectory.state_variables import state_variables
from eigenflow.trajectory.step import require_whole
from eigenflow.trajectory.tracked import TailSettings
from eigenflow.trajectory.troubles import words_of

__all__ = ["StateRecorder"]


class StateRecorder:
    """Records states of a network, far apart, without the updates between them.

    It gives what states alone say: spectra, coefficients, energies of shells, the test side, and how all of it differs
    from the state before and from the first one. Every state is measured by itself, so that it does not matter which
    were measured before, in which process. What needs an update is not in such a record; a `Recorder` makes one that
    has it.

    Every call leaves a folder that opens if the process is killed. A state that cannot be measured, as one that has
    diverged, is left out: the gap is written into the record with its reason (`run.gaps`), with a `RecordGapWarning`,
    and the run ends as "complete with gaps". Wrong arguments, and a disk that refuses, are raised.

    With a `ShardedProbe` every process makes a recorder with the same arguments and calls its methods together with the
    others; the first process writes the folder.

    Args:
        path: Folder of the run. It must not exist yet, or be empty, unless `resume` is given.
        probe: What to measure, on the live model: load each state into it, or step it, then call `record`.
        modes: How many of the largest modes to store one by one; None stores all.
        method: "dense" forms M, "tracked" finds the largest `modes` by products alone; "auto" as in `Recorder`.
        tail: How closely "tracked" looks below the modes.
        tolerance: Relative accuracy of the eigenvalues of "tracked", as certified.
        product_dtype: Type of the products of "tracked"; None takes the probe's.
        couplings: How many of the largest modes to store with all of their overlaps; None: 64, or all if there are
            fewer.
        resume: Go on with what the folder holds: states that are there are not measured again. A folder without a run,
            which does not exist yet or is empty, is begun.
        config: Anything that belongs to the run (JSON types).

    Raises:
        RunFolderError: If the folder holds a run already, or one of updates, of another probe or of other settings; or
            if another process writes it.
        ArgumentError: If a setting is wrong, or a measurement would not fit into the memory.
    """

    def __init__(
        self,
        path: str | Path,
        probe: Probe | ShardedProbe,
        *,
        modes: int | None = None,
        method: MethodName = "auto",
        tail: TailSettings | None = None,
        tolerance: float = 1e-5,
        product_dtype: torch.dtype | None = None,
        couplings: int | None = None,
        resume: bool = False,
        config: Mapping[str, Any] | None = None,
    ):
        check_kind("path", path, (str, Path), "the path of a folder, new or empty")
        check_kind("probe", probe, (Probe, ShardedProbe), "a Probe, such as Probe(model, inputs, targets)")
        check_kind("resume", resume, bool, "True or False")
        check_kind("config", config, (Mapping, type(None)), "a mapping of what describes the run")
        require_whole(probe)
        self.probe, self.processes = probe, probe.processes
        options: dict[str, Any] = {"tail": tail, "tolerance": tolerance, "product_dtype": product_dtype}
        each = self.processes.each
        self.method = each(lambda: make_method(method, probe, modes, couplings=couplings, **options))
        told = self.method.describe()
        self.processes.require_same({"resume": resume, **told})
        each(lambda: self.method.require_possible_state(probe))
        self._options = options
        described = probe.describe()
        self._checksum: str = described["checksum"]
        self._writer: RunWriter | None = None
        self._is_closed = False
        header = states_header(config, described, told)
        found = self.processes.first(lambda: self._open(Path(path), header, resume))
        self._steps, self._edges = list(found.steps), found.edges
        self._clock: Clock | None = found.clock
        self._before = (found.steps[-1], found.time) if found.steps else None
        self._resumed, self._skipped = frozenset(found.steps), set(found.gaps)
        self._motion = StateMotion(turn=found.turn)
        for state in found.states:
            self._motion.load(each(lambda state=state: self._part_of(state)))

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the states in the record."""
        return tuple(self._steps)

    @property
    def settings(self) -> dict[str, Any]:
        """How this recorder measures: `measure_state(probe, **recorder.settings)`, in whatever process."""
        modes = self.method.modes
        is_all = self.method.name == "dense" and modes == self.probe.size
        return {"method": self.method.name, "modes": None if is_all else modes, **self._options}

    def record(
        self,
        step: int,
        *,
        time: float | None = None,
        learning_rate: LearningRate | None = None,
        loss: float | Tensor | None = None,
        **extra: float | int | str,
    ) -> bool:
        """Measure the probe's live model as it is now, and record it.

        Args:
            step: Updates that the network has completed; later than the states before.
            time: Sum of the learning rates of all those updates (with heavy ball, over 1 - mu); None if it is not
                known. For all states of a record alike: without it the record counts updates, and what needs rates in
                1 / time is not judged.
            learning_rate: At the state, for the record.
            loss: Training loss at the state, for the record.
            **extra: More numbers or texts to log.

        Returns:
            Whether the state was measured: not if a resumed folder holds it, or if it left a gap.

        Raises:
            ArgumentError: If `step` is not later than the states before, `time` falls or is given for some states only.
            RunFolderError: If the recorder is closed.
            FileError: If the system refuses to write.
        """
        said = self._said(step, time, learning_rate, loss, extra)
        if said is None:
            return False
        try:
            self._append(said, measure_by(self.method, self.probe, self._checksum))
        except (FileError, RunFolderError):
            raise
        except Exception as error:
            reason = words_of(error)
            self._note(said.step, reason)
            warn(
                f"The state at step {said.step} was not measured: {reason}. The record goes on (`run.gaps` lists what "
                f"it lacks).",
                RecordGapWarning,
                stacklevel=2,
            )
            return False
        return True

    def append(
        self,
        step: int,
        measurement: StateMeasurement,
        *,
        time: float | None = None,
        learning_rate: LearningRate | None = None,
        loss: float | Tensor | None = None,
        **extra: float | int | str,
    ) -> bool:
        """Record a state that `measure_state` measured, maybe in another process; all else as in `record`.

        Raises:
            ArgumentError: As for `record`; or if it was measured on other samples or with other settings.
            NonFiniteError: If a number in it is not finite.
        """
        said = self._said(step, time, learning_rate, loss, extra)
        if said is None:
            return False
        self._require_fitting(measurement)
        self._append(said, measurement)
        return True

    def skip(self, step: int, reason: str) -> None:
        """Say why a state is not in the record: a gap. One that is there, or was said to be missing, stays as it is.

        Args:
            step: Its completed updates.
            reason: Why, in words.
        """
        self._require_open()
        step = check_whole("step", step)
        check_kind("reason", reason, str, "words that say why the state is missing")
        if step in self._steps or step in self._skipped:
            return
        self._note(step, reason)

    def close(self, status: Status = "complete") -> None:
        """Mark the run and release the folder. Safe to call twice.

        A run that is "complete" but lacks something gets the status "complete with gaps".
        """
        if self._is_closed:
            return
        self._is_closed = True
        if status == "complete":
            self._write(lambda writer: _end(writer, status))
        elif self._writer is not None:
            _end(self._writer, status)

    def __enter__(self) -> "StateRecorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.close("complete" if kind is None else "interrupted" if interrupted else "failed")

    def _require_open(self) -> None:
        if self._is_closed:
            raise RunFolderError("The recorder is closed. Make one with resume=True to go on with the run.")

    def _said(
        self, step: int, time: float | None, rate: LearningRate | None, loss: Any, extra: Mapping[str, Any]
    ) -> StateSaid | None:
        """What was said of a state, checked; None if a resumed folder knows all about it."""
        self._require_open()
        if step in self._resumed or (self._resumed and step in self._skipped and step < max(self._resumed)):
            return None
        told = {"time": time, "learning_rate": rate, "loss": loss, "extra": extra}
        said = self.processes.each(lambda: checked_state(step, **told, before=self._before, clock=self._clock))
        self.processes.require_same({"step": said.step, "time": said.time})
        return said

    def _append(self, said: StateSaid, one: StateMeasurement) -> None:
        """Commit a state: its row, what the next one needs, and then the measurement; or leave all as it was."""
        time = float(said.step) if said.time is None else said.time
        units = "update" if said.time is None else "time"
        is_first = self._edges is None
        edges = shell_edges(float(one.eigenvalues[0])) if self._edges is None else self._edges
        nodes = self.method.tail.steps if isinstance(self.method, TrackedMethod) else 0
        variables = state_variables(one, edges, time=time, time_units=units, nodes=nodes)
        moved, motion = self._motion.variables(self.probe, one, edges, time=time, leading=self.method.couplings)
        files = motion.files(said.step, self.probe.space.whole, is_first=is_first)
        constants = {"edge": Variable(("edge",), edges, "1 / time", "shell edges in the eigenvalue")}

        def write(writer: RunWriter) -> None:
            if self._clock is None:
                writer.add_to_header({"clock": said.clock})
            row = said.log_row()
            last = writer.last_logged_step
            if row is not None and (last is None or last < said.step):
                writer.log(row)
            for name, content in files.items():
                writer.write_file(name, content)
            writer.append(said.step, {**variables, **moved}, constants=constants if is_first else None)

        self._write(write)
        self._edges, self._clock, self._motion = edges, said.clock, motion
        self._steps.append(said.step)
        self._before = (said.step, time)

    def _note(self, step: int, reason: str) -> None:
        self._write(lambda writer: writer.add_gap(Gap(step, step, "measurement", reason)))
        self._skipped.add(step)

    def _require_fitting(self, one: StateMeasurement) -> None:
        check_kind("measurement", one, StateMeasurement, "what measure_state returned")
        own = {"method": self.method.name, "modes": self.method.modes, "probe": self._checksum}
        for name, expected in own.items():
            came = getattr(one, name)
            if came != expected:
                raise ArgumentError(
                    f"`measurement` must be made with the recorder's probe and settings, but has {name}={came!r} "
                    f"instead of {expected!r}. Measure with measure_state(probe, **recorder.settings)."
                )

    def _open(self, path: Path, header: dict[str, Any], resume: bool) -> Continued:
        if resume and (path / HEADER).exists():
            run = open_run(path)
            require_same_settings(run, header)
            start = run.header["measured_steps"][-1] + 1 if run.header["measured_steps"] else 0
            self._writer = RunWriter.resume(path, start=start, header=header)
            return continue_states(self._writer)
        self._writer = RunWriter.create(path, header=header)
        return Continued.nothing()

    def _part_of(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return cut_rows(state, self.probe.space.part)

    def _write(self, work: Callable[[RunWriter], None]) -> None:
        """On the process that holds the folder; what fails there is raised on all."""

        def write() -> None:
            assert self._writer is not None
            work(self._writer)

        self.processes.first(write)


def _end(writer: RunWriter, status: Status) -> None:
    try:
        writer.set_status(status)
    finally:
        writer.close()
