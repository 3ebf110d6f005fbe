"""The run folder that a recorder writes: by the first of its processes, and what fails there is raised on all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eigenflow.store import Gap, RunWriter, Status, Variable
from eigenflow.store.schema import GapKind
from eigenflow.tangent.processes import AbstractProcesses
from eigenflow.trajectory.header import (
    ORIGIN,
    TRACKER,
    Restored,
    cut_rows,
    go_back,
    keep_flushed,
    require_resumable,
    restore,
    save_states,
)
from eigenflow.trajectory.methods import AbstractMethod

__all__ = ["RecordFolder"]

MISSING_TIME = "time goes on as if each of them had been as long as the last recorded update"


class RecordFolder:
    """Opened by all processes together.

    Args:
        path: The folder.
        header: Of the run.
        resume_from: Completed updates to go on from; None: a new run.
        processes: Those that record.

    Raises:
        RunFolderError: As `Recorder` says.
    """

    def __init__(self, path: str | Path, header: dict[str, Any], resume_from: int | None, processes: AbstractProcesses):
        self.processes = processes
        self.writer: RunWriter | None = None
        # Whether a checkpoint may go on from the state that is in the folder, so that the next one may not replace it.
        self._is_flushed, self._is_of_this_run = resume_from is not None, False
        processes.first(lambda: self._open(path, header, resume_from))

    def _open(self, path: str | Path, header: dict[str, Any], resume_from: int | None) -> None:
        if resume_from is None:
            self.writer = RunWriter.create(path, header=header)
            return
        require_resumable(path, header)
        self.writer = RunWriter.resume(path, start=resume_from, header=header, note=MISSING_TIME)

    def write(self, work: Callable[[RunWriter], None]) -> None:
        """Let the first process do it."""

        def write() -> None:
            assert self.writer is not None
            work(self.writer)

        self.processes.first(write)

    def flush(self) -> None:
        """Write pending rows, and keep what a run needs that goes on from here."""
        self.write(lambda writer: writer.flush())
        self._is_flushed = True

    def note(self, step: int, kind: GapKind, reason: str) -> None:
        """Write down what the record lacks."""
        self.write(lambda writer: writer.add_gap(Gap(step, step, kind, reason)))

    def append(self, step: int, variables: dict[str, Variable], constants: Mapping[str, Variable] | None) -> None:
        """Commit a measurement."""
        self.write(lambda writer: writer.append(step, variables, constants=constants))

    def save_method(self, method: AbstractMethod, whole: Callable[[Any], Any], step: int, *, is_first: bool) -> None:
        """Keep what the method carries to the next measurement; `whole` puts the rows of all processes together."""
        files = {TRACKER: method.state()}
        if is_first:
            files[ORIGIN] = method.origin()
        # Rows are put together by all processes, before the first one writes.
        files = {name: cut_rows(state, whole) for name, state in files.items()}

        def save(writer: RunWriter) -> None:
            if self._is_flushed and self._is_of_this_run:
                keep_flushed(writer)
            save_states(writer, step, files)
            self._is_flushed, self._is_of_this_run = False, True

        self.write(save)

    def restored(self, next_step: int) -> Restored:
        """What the first process finds in the folder to go on from."""

        def found() -> Restored:
            assert self.writer is not None
            self._is_of_this_run = go_back(self.writer, next_step)
            return restore(self.writer.path, next_step)

        return self.processes.first(found)

    def end(self, status: Status, unmeasured: tuple[int, str] | None) -> None:
        """Mark the run and release the folder.

        Only "complete" waits for the other processes: one that failed may be the only one that comes here.

        Args:
            status: How it ended.
            unmeasured: A step whose measurement never came, and why.
        """
        if unmeasured is not None and self.writer is not None:
            step, reason = unmeasured
            self.writer.add_gap(Gap(step, step, "measurement", reason))
        if status == "complete":
            self.write(lambda writer: _end(writer, status))
        elif self.writer is not None:
            _end(self.writer, status)


def _end(writer: RunWriter, status: Status) -> None:
    try:
        writer.set_status(status)
    finally:
        writer.close()
