"""A run folder, read: the same for a run that ended, was killed, or is being written."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

import numpy as np
import pandas as pd
import xarray as xr

from eigenflow.core.checks import check_kind
from eigenflow.core.display import Card
from eigenflow.core.errors import RunFolderError
from eigenflow.core.writing import write_whole
from eigenflow.store.checksums import canonical, digest
from eigenflow.store.folder import as_folder, in_words, read_json, to_json, write_json
from eigenflow.store.inspection import find_half_written, intact_positions
from eigenflow.store.lock import is_locked
from eigenflow.store.loss_scan import LossScan, has_no_loss, scan_losses
from eigenflow.store.manifest import Manifest
from eigenflow.store.reading import check_not_resumed, load_measurements, select_dims
from eigenflow.store.schema import (
    CHECKED_SINCE,
    LOSS,
    REASON,
    STATES,
    STEP,
    SUMMARY,
    Clock,
    Gap,
    RunFolderWarning,
    RunKind,
    Status,
    clock_of,
    kind_of,
    require_foreign,
)
from eigenflow.store.spans import NO_CLOCK, NO_UPDATES, Spans, has_unsaid_updates, spans, why_no_updates
from eigenflow.store.verifying import read_checked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Run", "open_run"]

_SHELL_DIMS = {"shell", "shell_from", "edge"}
_CHECKSUM = "checksum"


def open_run(path: str | Path) -> "Run":
    """Open a run folder to read it; the folder may be live and read-only.

    Args:
        path: The folder.

    Returns:
        The run as it is now. Open it again to see what a living writer has added.

    Raises:
        RunFolderError: If the folder is missing, is no run, is damaged, or was written by a newer
            eigenflow.
        FileError: If the system refuses.

    Warns:
        RunFolderWarning: If a kill left a measurement or a loss row half-written. It is left out. Later, when losses or
            measurements are read: if some were changed or lost, and are left out; or if the folder has no checksums.
    """
    folder = as_folder(path)
    is_held = is_locked(folder)
    manifest = Manifest.read(folder)
    # A writer may have come between the two.
    is_held = is_held or is_locked(folder)
    if not is_held:
        with in_words(folder, "read"):
            half_written = find_half_written(folder, manifest)
        for found in half_written:
            warn(found, RunFolderWarning, stacklevel=2)
    return Run(folder, manifest, is_held=is_held)


class Run:
    """What a run folder holds, without changing it. Made by `open_run`.

    Header, status and measured steps are those of the moment of opening; losses and measurements
    are read when first asked for, and kept.
    """

    def __init__(self, path: Path, manifest: Manifest, *, is_held: bool) -> None:
        """For `open_run`."""
        self._path = path
        self._manifest = manifest
        self._is_held = is_held
        self._has_told = False

    def __repr__(self) -> str:
        return self._card().text()

    def _repr_html_(self) -> str:
        return self._card().html()

    def _card(self) -> Card:
        """From the header alone: nothing is read, so that printing is free and warns of nothing."""
        steps = self._manifest.measured_steps
        header = self.header
        probe = header.get("probe")
        told = {} if not isinstance(probe, dict) else probe
        rows = [
            ("status", self.status),
            ("measured", f"{len(steps)} steps" + (f", {steps[0]} to {steps[-1]}" if len(steps) else "")),
            ("schema", str(header.get("schema_version", "-"))),
        ]
        if self.kind == STATES:
            clock = "the sum of learning rates" if self.clock == "learning rates" else "completed updates"
            rows.insert(1, ("record of", f"states without the updates between them; time is {clock}"))
        names = ("samples", "outputs", "parameters", "loss")
        if probe_line := ", ".join(f"{name} {told[name]}" for name in names if name in told):
            rows.append(("probe", probe_line))
        return Card(f"Run {self._path}", rows)

    def to_dataset(self) -> xr.Dataset:
        """All that was measured, along `step`; the same as `measurements`."""
        return self.measurements

    def to_dataframe(self) -> pd.DataFrame:
        """The logged losses, one row an update; the same as `losses`."""
        return self.losses

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the logged loss, with marks where the operator was measured; into new axes if none are given."""
        from eigenflow.plots.axes import axes_or_new
        from eigenflow.plots.measured import plot_run_losses

        losses = self.losses
        steps, values = losses["step"].to_numpy(int), losses[LOSS].to_numpy(float)
        return plot_run_losses(steps, values, ax=axes_or_new(ax), measured=np.array(self.measured_steps, int))

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._path

    @property
    def header(self) -> dict[str, Any]:
        """The content of `run.json`: what the recorder said of the run, and the folder's own entries."""
        return self._manifest.to_dict()

    @property
    def status(self) -> Status:
        """Is "running", "complete", "complete with gaps" (see `gaps`), "failed" or "interrupted" (also: killed)."""
        if self._manifest.status == "running" and not self._is_held:
            return "interrupted"
        return self._manifest.status

    @cached_property
    def kind(self) -> RunKind:
        """What it is a record of: "updates", each with the state before and after it, or "states" alone."""
        return kind_of(self.header)

    @cached_property
    def clock(self) -> Clock:
        """What times count: "learning rates" that add up, or "updates" where the rates are not known."""
        return clock_of(self.header)

    @property
    def first_step(self) -> int:
        """Completed updates of the network when the recording began; time is counted from there."""
        return self._manifest.first_step

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """What the record lacks, in the order of steps; losses that were not finite one after another are one gap."""
        found = [*self._manifest.gaps, *_loss_gaps(self._scan.rows)]
        return tuple(sorted(found, key=lambda gap: (gap.step, gap.kind)))

    @property
    def why_no_updates(self) -> str | None:
        """Why the measured changes are not those of single updates, in words; None if they are, as far as is known."""
        if self.kind == STATES:
            return NO_UPDATES
        return why_no_updates(self._spans)

    @property
    def has_unsaid_updates(self) -> bool:
        """Whether states far apart seem to have been recorded as neighbours, so that times are wrong too."""
        return self.kind != STATES and has_unsaid_updates(self._spans)

    @property
    def why_no_clock(self) -> str | None:
        """Why times are not sums of learning rates, in words; None if they are, as far as is known."""
        if self.clock == "updates":
            return NO_CLOCK
        return f"{self.why_no_updates}; so times are not known" if self.has_unsaid_updates else None

    @cached_property
    def _spans(self) -> Spans:
        return spans(self.measurements)

    @property
    def has_squared_loss(self) -> bool:
        """Whether energies are twice the loss. For other losses they are ||e||^2 of the symmetrised operator."""
        probe = self.header.get("probe")
        return not isinstance(probe, dict) or bool(probe.get("is_quadratic", True))

    @property
    def measured_steps(self) -> tuple[int, ...]:
        """Steps of the measurements: completed updates of the measured networks."""
        return tuple(self._manifest.measured_steps[index] for index in self._positions)

    @property
    def has_checksums(self) -> bool:
        """Whether changed bytes would be noticed; not in folders of an earlier eigenflow (see `accept_run`)."""
        return self._manifest.checksums is not None

    def _tell_unchecked(self) -> None:
        if self.has_checksums or self._has_told:
            return
        self._has_told = True
        warn(
            f"Run `{self._path}` is of schema version {self._manifest.schema_version}, which has no checksums: if its "
            f"files were changed since, that cannot be noticed. `eigenflow.store.accept_run` takes them as they are "
            f"now and adds checksums.",
            RunFolderWarning,
            stacklevel=4,
        )

    @cached_property
    def _positions(self) -> list[int]:
        with in_words(self._path, "read"):
            positions = intact_positions(self._path, self._manifest)
        lost = len(self._manifest.measured_steps) - len(positions)
        if lost:
            message = f"Run `{self._path}`: {lost} measurements have lost files and are left out."
            warn(message, RunFolderWarning, stacklevel=4)
        return positions

    @cached_property
    def _scan(self) -> LossScan:
        is_ended = self._manifest.status != "running"
        scan = scan_losses(self._path, self._manifest.checksums, is_ended=is_ended, is_held=self._is_held)
        if scan.problems and self._is_held:
            check_not_resumed(self._path, self._manifest)
        self._tell_unchecked()
        for problem in scan.problems:
            warn(f"Run `{self._path}`: {problem}.", RunFolderWarning, stacklevel=4)
        return scan

    @cached_property
    def losses(self) -> pd.DataFrame:
        """The logged rows, with a column for each key that any row has; `step` always. NaN where a loss is missing.

        Rows that cannot be read, or were changed since, are left out with a warning.
        """
        scan = self._scan
        frame = pd.DataFrame(scan.rows) if scan.rows else pd.DataFrame({STEP: pd.Series(dtype="int64")})
        # A column that is null in every row has no numbers to tell its type by.
        is_untold = bool(scan.rows) and all(has_no_loss(row) for row in scan.rows)
        return frame.astype({LOSS: float}) if is_untold else frame

    @cached_property
    def measurements(self) -> xr.Dataset:
        """All committed measurements, in memory; the constants of the run are coordinates."""
        self._tell_unchecked()
        return load_measurements(self._path, self._manifest, self._positions)

    @property
    def modes(self) -> xr.Dataset:
        """Measurements per mode, and those with one value a step."""
        return select_dims(self.measurements, {"mode"})

    @property
    def shells(self) -> xr.Dataset:
        """Measurements per shell or edge of shells, and those with one value a step."""
        return select_dims(self.measurements, _SHELL_DIMS)

    @property
    def summary(self) -> dict[str, Any] | None:
        """What was found about the run, as it stands in `summary.json` now; None before, or if it was changed."""
        path = self._path / SUMMARY
        try:
            summary = read_json(path)
        except FileNotFoundError:
            return None
        except RunFolderError as error:
            warn(f"{error} It is left out; `eigenflow analyse` makes it anew.", RunFolderWarning, stacklevel=2)
            return None
        stored = summary.pop(_CHECKSUM, None)
        if stored is None and self._manifest.schema_version < CHECKED_SINCE:
            return summary
        if stored != digest(canonical(summary)):
            warn(
                f"`{path}` has no checksum, or not its own: it was changed, or is of an earlier eigenflow. It is left "
                f"out; `eigenflow analyse` makes it anew.",
                RunFolderWarning,
                stacklevel=2,
            )
            return None
        return summary

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replace `summary.json`, as a whole.

        Args:
            summary: Nested mappings and sequences; numpy arrays and scalars are converted.

        Raises:
            NonFiniteError: If a number is NaN or infinite; names its key path.
            ArgumentError: If a value cannot be held by JSON; names its key path.
            FileError: If the system refuses.
        """
        check_kind("summary", summary, Mapping, "a mapping")
        content = to_json(summary, "summary")
        content.pop(_CHECKSUM, None)
        write_json(self._path / SUMMARY, {**content, _CHECKSUM: digest(canonical(content))})

    def read_file(self, name: str) -> bytes | None:
        """Read a file that the recorder keeps in the folder, None if there is none.

        Raises:
            RunFolderError: If it was changed or deleted since it was written.
            FileError: If the system refuses.
        """
        require_foreign(name)
        return read_checked(self._path, name, self._manifest.checksums)

    def write_text(self, name: str, text: str) -> Path:
        """Replace a text file in the run folder, such as `report.html`, as a whole.

        Args:
            name: Plain file name, none of the files that hold the run itself.
            text: All of it; written as UTF-8.

        Returns:
            The path of the file.

        Raises:
            ArgumentError: If `name` is a path, or a file of the run itself.
        """
        check_kind("name", name, str, "a plain file name")
        check_kind("text", text, str, "a text")
        require_foreign(name)
        return write_whole(self._path / name, text)


def _loss_gaps(rows: list[dict[str, Any]]) -> list[Gap]:
    gaps: list[Gap] = []
    was_missing = False
    for row in rows:
        is_missing = has_no_loss(row)
        if is_missing and was_missing:
            gaps[-1] = replace(gaps[-1], through=row[STEP])
        elif is_missing:
            gaps.append(Gap(row[STEP], row[STEP], "loss", str(row.get(REASON, "the loss was not finite"))))
        was_missing = is_missing
    return gaps
