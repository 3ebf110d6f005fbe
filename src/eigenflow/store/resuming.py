"""Going on with a run: whether it may be, from where, and what of it is not known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from warnings import warn

from eigenflow.core.errors import RunFolderError
from eigenflow.store.accepting import with_sums
from eigenflow.store.loss_scan import LossScan
from eigenflow.store.manifest import Manifest
from eigenflow.store.schema import LOSSES, STATES, STEP, Gap, RunFolderWarning, kind_of

__all__ = ["check_same_probe", "sound_size", "unrecorded", "upgraded"]


def check_same_probe(folder: Path, stored: Manifest, header: Mapping[str, Any] | None) -> None:
    """Refuse to go on with a run that was measured on other samples."""
    checksums = [_probe_checksum(one) for one in (stored.header, header or {})]
    if None not in checksums and checksums[0] != checksums[1]:
        raise RunFolderError(
            f"Run `{folder}` was measured on another probe set: its checksum is {checksums[0]!r}, "
            f"the one given has {checksums[1]!r}. Resume with the same inputs and targets, "
            f"or record into another path."
        )


def _probe_checksum(header: Mapping[str, Any]) -> Any:
    probe = header.get("probe")
    return probe.get("checksum") if isinstance(probe, Mapping) else None


def sound_size(folder: Path, scan: LossScan, size: int, start: int) -> int:
    """Bytes of the log to keep; refuses to go on behind rows that were changed. A log that was cut off has none."""
    if size <= scan.sound_bytes:
        return size
    kept = [row[STEP] for row, begin in zip(scan.rows, scan.offsets, strict=False) if begin < scan.sound_bytes]
    last = kept[-1] + 1 if kept else 0
    if scan.is_cut or start <= last:
        return scan.sound_bytes
    raise RunFolderError(
        f"Run `{folder}` cannot go on, as rows before that point were changed: {'; '.join(scan.problems)}. Restore "
        f"`{LOSSES}` from a backup, resume from {last} completed updates or before, or take the "
        f"folder as it is: `eigenflow.store.accept_run({str(folder)!r})`."
    )


def upgraded(folder: Path, stored: Manifest) -> Manifest:
    """The manifest of a folder without checksums, with those of its files as they are now; warns."""
    warn(
        f"Run `{folder}` is of schema version {stored.schema_version}, which has no checksums: if its files were "
        f"changed before, that cannot be noticed. From now on it has them.",
        RunFolderWarning,
        stacklevel=4,
    )
    return with_sums(folder, stored, "resumed")


def unrecorded(folder: Path, start: int, scan: LossScan, stored: Manifest, note: str) -> Gap | None:
    """The updates between the end of the record and `start`; None if there are none.

    Logged rows tell how far the run came; a run that logs nothing is known by its measurements. A record of states
    holds no updates, so it lacks none.
    """
    if kind_of(stored.header) == STATES:
        return None
    known = [row[STEP] for row in scan.rows] or list(stored.measured_steps)
    spacing = known[-1] - known[-2] if len(known) > 1 and scan.rows else 1
    end = known[-1] + max(1, spacing) if known else stored.first_step
    if start < 0:
        raise RunFolderError(
            f"Run `{folder}` cannot go on from {start} completed updates: its record reaches up to {end}. Give the "
            f"number of updates that the network has seen, 0 or more."
        )
    if start <= end:
        return None
    reason = (
        f"the record reaches up to {end} completed updates and goes on from {start}: of the updates between nothing is "
        f"known. Call `flush` before a checkpoint is saved" + (f"; {note}" if note else "")
    )
    return Gap(end, start - 1, "updates", reason)
