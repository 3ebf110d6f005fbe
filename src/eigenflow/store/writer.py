"""Recording into a run folder, so that a kill at any moment leaves a folder that opens and goes on."""

import operator
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsIndex
from warnings import warn

from filelock import FileLock

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.core.writing import write_whole
from eigenflow.store.checksums import Checksums, digest
from eigenflow.store.claiming import check_empty
from eigenflow.store.folder import as_folder, in_words, refuse_links, remove_leftovers
from eigenflow.store.inspection import find_half_written
from eigenflow.store.lock import acquire_lock
from eigenflow.store.loss_scan import has_no_loss, scan_losses
from eigenflow.store.losses import LossLog
from eigenflow.store.manifest import Manifest
from eigenflow.store.measurements import MeasurementWriter
from eigenflow.store.resuming import check_same_probe, sound_size, unrecorded, upgraded
from eigenflow.store.schema import (
    LOSSES,
    MEASUREMENTS,
    STATUSES,
    STEP,
    Gap,
    RecordGapWarning,
    RunFolderWarning,
    Status,
    Variable,
    require_foreign,
)
from eigenflow.store.verifying import require_sound_files, require_sound_measurements

__all__ = ["RunWriter"]


class RunWriter:
    """The one writer of a run folder. Make it with `create` or `resume`, and close it.

    As a context manager it ends a run that still is "running": as "complete", as "interrupted" at
    Ctrl-C, or as "failed" at any other exception.
    """

    def __init__(
        self,
        path: Path,
        *,
        lock: FileLock,
        manifest: Manifest,
        losses: LossLog,
        measurements: MeasurementWriter,
        lacks_losses: bool = False,
    ) -> None:
        """For `create` and `resume`."""
        self._path = path
        self._lock = lock
        self._manifest = manifest
        self._losses = losses
        self._measurements = measurements
        self._lacks_losses = lacks_losses
        self._is_open = True
        # Whether `run.json` still allows a file that was replaced.
        self._is_behind = False

    @classmethod
    def create(cls, path: str | Path, *, header: Mapping[str, Any]) -> "RunWriter":
        """Begin a run in a new or empty folder.

        Args:
            path: The folder; made if missing, with its parents.
            header: What the run is: resolved config, seeds, versions, `probe` with its description
                and `checksum`. The writer adds the schema version, the status and the times.

        Raises:
            RunFolderError: If the folder is not empty, or another writer is in it.
            ArgumentError: If the header has a reserved key or a value that JSON cannot hold.
            NonFiniteError: If a number in the header is NaN or infinite.
            FileError: If the system refuses: a full or read-only disk, a missing permission.
        """
        folder = as_folder(path)
        manifest = Manifest.new(header)
        with in_words(folder):
            check_empty(folder)
            folder.mkdir(parents=True, exist_ok=True)
            lock = acquire_lock(folder)
            try:
                check_empty(folder)
                remove_leftovers(folder)
                manifest.write(folder)
                losses = LossLog(folder / LOSSES)
            except BaseException:
                lock.release()
                raise
        measurements = MeasurementWriter(folder / MEASUREMENTS)
        return cls(folder, lock=lock, manifest=manifest, losses=losses, measurements=measurements)

    @classmethod
    def resume(
        cls, path: str | Path, *, start: SupportsIndex, header: Mapping[str, Any] | None = None, note: str = ""
    ) -> "RunWriter":
        """Go on with a run that was interrupted, or with more updates for one that ended.

        Where the record ends before `start`, as it may if no `flush` came before the checkpoint was saved, the updates
        between are marked as a gap, with a `RecordGapWarning`, and the run goes on.

        Args:
            path: The run folder.
            start: Completed updates of the network as it is now. Loss rows and measurements with a
                step from `start` on are dropped: they will be made again.
            header: The header of the resumed run. The stored one stays; entries that differ are
                kept under `resumes`.
            note: What else to say of the updates that are missing, if any are.

        Raises:
            RunFolderError: If the folder is no run, another writer is in it, `start` is negative, the probe set is
                another, something in the folder is a link, or what the run would go on from was changed since.
            FileError: If the system refuses.
        """
        folder = as_folder(path)
        Manifest.read(folder)  # before a lock file is made: the folder may be no run
        with in_words(folder):
            lock = acquire_lock(folder)
            try:
                refuse_links(folder)
                return cls._resume_locked(folder, operator.index(start), header, lock, note)
            except BaseException:
                lock.release()
                raise

    @classmethod
    def _resume_locked(
        cls, folder: Path, start: int, header: Mapping[str, Any] | None, lock: FileLock, note: str
    ) -> "RunWriter":
        stored = Manifest.read(folder)
        is_ended = stored.status != "running"
        scan = scan_losses(folder, stored.checksums, is_ended=is_ended, is_held=False)
        check_same_probe(folder, stored, header)
        gap = unrecorded(folder, start, scan, stored, note)
        rows, size = scan.cut(start)
        size = sound_size(folder, scan, size, start)
        for found in [*find_half_written(folder, stored), *(f"Run `{folder}`: {one}." for one in scan.problems)]:
            warn(found, RunFolderWarning, stacklevel=3)
        if stored.checksums is None:
            stored = upgraded(folder, stored)
        require_sound_files(folder, stored)
        require_sound_measurements(folder, stored, sum(step < start for step in stored.measured_steps))
        remove_leftovers(folder)
        manifest = stored.resumed(start, header)
        assert manifest.checksums is not None and stored.checksums is not None
        blocks = scan.blocks(size, stored.checksums.losses)
        manifest = manifest.changed(checksums=manifest.checksums.changed(losses=blocks))
        if gap is not None:
            manifest = manifest.changed(gaps=(*manifest.gaps, gap))
            warn(f"Run `{folder}`: {gap.reason}.", RecordGapWarning, stacklevel=3)
        # From here on a reader takes only what stays, so a kill further down loses nothing more.
        manifest.write(folder)
        measurements = MeasurementWriter(folder / MEASUREMENTS)
        measurements.reopen(manifest.measured_variables, len(manifest.measured_steps))
        losses = LossLog(folder / LOSSES, size=size, last_step=rows[-1][STEP] if rows else None)
        return cls(
            folder,
            lock=lock,
            manifest=manifest,
            losses=losses,
            measurements=measurements,
            lacks_losses=any(map(has_no_loss, rows)),
        )

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._path

    @property
    def measured_steps(self) -> tuple[int, ...]:
        """Steps of the committed measurements."""
        return self._manifest.measured_steps

    @property
    def has_gaps(self) -> bool:
        """Whether something is missing: a measurement, a loss, or updates."""
        return bool(self._manifest.gaps) or self._lacks_losses

    @property
    def last_logged_step(self) -> int | None:
        """Step of the last loss row, None before the first."""
        return self._losses.last_step

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a row to the loss log; a few microseconds. Not safe from several threads.

        Args:
            row: A whole-numbered `step` that increases from row to row, and what else is known:
                `time` (sum of learning rates), `loss`, `learning_rate`, ... all finite. A `loss` of None says that it
                was not; give the `reason` beside it.

        Raises:
            ArgumentError: If `step` is missing or does not increase.
            NonFiniteError: If a value is NaN or infinite.
        """
        if not self._is_open:
            self._refuse_closed()
        self._losses.append(row)
        self._lacks_losses = self._lacks_losses or has_no_loss(row)

    def log_plain(self, step: int, row: Mapping[str, Any]) -> None:
        """As `log`, of a row that nobody needs to check; a microsecond.

        Args:
            step: As in the row, later than that of the row before.
            row: Made of texts, whole numbers of 64 bits and finite floats, the loss among them. Not changed afterwards.
        """
        if not self._is_open:
            self._refuse_closed()
        self._losses.append_plain(step, row)

    def flush(self) -> None:
        """Hand waiting loss rows to the operating system.

        Call it before a checkpoint is saved, so that a kill never leaves a log that ends before the
        checkpoint from which `resume` would go on.
        """
        if not self._is_open:
            self._refuse_closed()
        self._losses.flush()

    def append(
        self,
        step: SupportsIndex,
        variables: Mapping[str, Variable],
        *,
        constants: Mapping[str, Variable] | None = None,
    ) -> None:
        """Add a measurement and commit it; when this returns, a kill does not lose it.

        Args:
            step: Completed updates of the measured network, later than the measurement before.
            variables: The measured quantities by name: at every step the same names, axes, shapes
                and dtypes.
            constants: What is fixed for the run, such as the edges of shells. Given with the first
                measurement; later it may be left out or repeated unchanged.

        Raises:
            ArgumentError: If the step does not increase, or names or dtypes differ from before.
            ShapeError: If a shape differs from before.
            NonFiniteError: If a value is NaN or infinite; nothing is written.
        """
        if not self._is_open:
            self._refuse_closed()
        measured = operator.index(step)
        constants = constants or {}
        steps = self.measured_steps
        if measured < 0 or (steps and measured <= steps[-1]):
            raise ArgumentError(
                f"`step` must be at least 0 and later than the measurements before, but is {measured} after "
                f"{list(steps[-1:])}. To measure again from an earlier step, use `RunWriter.resume`."
            )
        self._measurements.check(variables, constants)
        self._losses.flush()
        layout, sum_ = self._measurements.write(len(steps), measured, variables, constants)
        sums = self._checksums
        self._commit(
            measured_steps=(*steps, measured),
            measured_variables=self._measurements.names,
            checksums=sums.changed(layout=layout, measurements=(*sums.measurements, sum_)),
        )

    def write_file(self, name: str, content: bytes) -> None:
        """Replace a file of the recorder in the folder, as a whole; a kill leaves the old one or the new.

        Its sum stands in `run.json`: `Run.read_file` refuses a changed one, and `resume` refuses to go on from it.

        Args:
            name: Plain file name, none of the files that hold the run itself.
            content: All of it.

        Raises:
            ArgumentError: If `name` is a path, or a file of the run itself.
            FileError: If the system refuses; what was there stays.
        """
        if not self._is_open:
            self._refuse_closed()
        require_foreign(name)
        before, new = self._checksums.files.get(name, (None,)), digest(content)
        # Until the new file is in place, either is right.
        self._commit(checksums=self._checksums.with_file(name, dict.fromkeys([*before, new])))
        write_whole(self._path / name, content)
        self._manifest = self._manifest.changed(checksums=self._checksums.with_file(name, [new]))
        self._is_behind = True

    def add_gap(self, gap: Gap) -> None:
        """Say that something is missing; when this returns, a kill does not lose it."""
        if not self._is_open:
            self._refuse_closed()
        self._commit(gaps=(*self._manifest.gaps, gap))

    def add_to_header(self, entries: Mapping[str, Any]) -> None:
        """Say more of the run than was known when it began; when this returns, a kill does not lose it.

        Raises:
            ArgumentError: If an entry has the name of one of the folder's own, or a value that JSON cannot hold.
        """
        if not self._is_open:
            self._refuse_closed()
        self._commit(header=Manifest.new({**self._manifest.header, **entries}).header)

    def begin_at(self, step: SupportsIndex) -> None:
        """Say that the recording begins with a network of `step` completed updates, before anything is recorded."""
        if not self._is_open:
            self._refuse_closed()
        self._commit(first_step=operator.index(step))

    def set_status(self, status: Status) -> None:
        """Say how the run ended: "complete", "failed" or "interrupted".

        A run that is complete but for gaps gets the status "complete with gaps".

        Raises:
            ArgumentError: If the status is another.
        """
        if not self._is_open:
            self._refuse_closed()
        if status not in STATUSES[1:]:
            raise ArgumentError(
                f"`status` must be 'complete', 'failed' or 'interrupted', but is {status!r}. "
                f"A run is 'running' from `create` or `resume` on."
            )
        if status == "complete" and self.has_gaps:
            status = "complete with gaps"
        self._measurements.seal(len(self.measured_steps))
        self._commit(status=status)

    def close(self) -> None:
        """Write what waits and free the folder. A run without a status then counts as interrupted."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            try:
                if self._is_behind or self._losses.has_more:
                    self._commit()
            finally:
                self._losses.close()
            self._losses.remove_tail()
            self._measurements.seal(len(self.measured_steps))
        finally:
            self._lock.release()

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._is_open and kind is not None:
                self.set_status("interrupted" if issubclass(kind, KeyboardInterrupt) else "failed")
            elif self._is_open and self._manifest.status == "running":
                self.set_status("complete")
        finally:
            self.close()

    @property
    def _checksums(self) -> Checksums:
        assert self._manifest.checksums is not None
        return self._manifest.checksums

    def _commit(self, *, checksums: Checksums | None = None, **changes: Any) -> None:
        """Write `run.json`; what was logged is on the disk before, and covered by its sums after."""
        self._losses.flush()
        sums, stretch = checksums or self._checksums, self._losses.stretch()
        if stretch.size:
            sums = sums.changed(losses=(*sums.losses, stretch))
        manifest = self._manifest.changed(checksums=sums, **changes)
        manifest.write(self._path)
        self._manifest, self._is_behind = manifest, False
        self._losses.committed(stretch)

    def _refuse_closed(self) -> None:
        raise RunFolderError(f"The writer of `{self._path}` is closed. Use `RunWriter.resume` to go on with the run.")
