"""What a kill or a power cut has left of a run folder. Reads names and sizes of files, nothing else."""

from pathlib import Path

from eigenflow.store.chunks import present_indices
from eigenflow.store.loss_scan import ends_in_mid_line
from eigenflow.store.manifest import Manifest
from eigenflow.store.schema import LOSSES, MEASUREMENTS

__all__ = ["find_half_written", "intact_positions"]


def find_half_written(folder: Path, manifest: Manifest) -> list[str]:
    """Say what lies behind the committed part of a folder that nobody is writing.

    Returns:
        One sentence for a half-written measurement and one for a half-written loss row.
    """
    found = []
    names = manifest.measured_variables
    count = len(manifest.measured_steps)
    group = folder / MEASUREMENTS
    # Before the first commit no names are known, and whatever is there was half-written.
    if (not names and group.exists()) or (names and max(present_indices(group, names)[1], default=0) >= count):
        found.append(
            f"Run `{folder}`: a measurement after {_last(manifest)} was not written to its end and is left out."
        )
    if ends_in_mid_line(folder / LOSSES):
        found.append(f"Run `{folder}`: the last line of `{LOSSES}` was not written to its end and is left out.")
    return found


def _last(manifest: Manifest) -> str:
    return f"step {manifest.measured_steps[-1]}" if manifest.measured_steps else "the start"


def intact_positions(folder: Path, manifest: Manifest) -> list[int]:
    """Places in `measured_steps` of the committed measurements whose files are all there."""
    if not manifest.measured_steps:
        return []
    everywhere, _ = present_indices(folder / MEASUREMENTS, manifest.measured_variables)
    return [index for index in range(len(manifest.measured_steps)) if index in everywhere]
