"""Checksums against what stands in a run folder, before a writer goes on with it; and sums of what stands there."""

from pathlib import Path

from eigenflow.core.errors import RunFolderError
from eigenflow.store.checksums import Checksums, LossBlock, digest
from eigenflow.store.folder import is_leftover, read_file
from eigenflow.store.inspection import intact_positions
from eigenflow.store.layout import checksum_of_step, read_layout
from eigenflow.store.manifest import Manifest
from eigenflow.store.reading import read_step
from eigenflow.store.schema import MEASUREMENTS

__all__ = ["read_checked", "require_sound_files", "require_sound_measurements", "sums_of_folder"]

# Other files that hold numbers, in folders of schema versions without sums.
_STATES = ".safetensors"


def read_checked(folder: Path, name: str, checksums: Checksums | None) -> bytes | None:
    """Read a file that a writer keeps in a run folder.

    Returns:
        The content, None if there is none and should be none.

    Raises:
        RunFolderError: If it was changed or deleted, or is a link.
        FileError: If the system refuses.
    """
    try:
        content = read_file(folder / name)
    except FileNotFoundError:
        content = None
    if checksums is None or name not in checksums.files:
        return content if checksums is None else None
    if (None if content is None else digest(content)) in checksums.files[name]:
        return content
    happened = "was deleted" if content is None else "was changed after it was written"
    raise RunFolderError(
        f"`{folder / name}` {happened}, so the run cannot go on from it. Restore it from a backup. To go on without "
        f"what it held, take the folder as it is: `eigenflow.store.accept_run({str(folder)!r})`."
    )


def require_sound_files(folder: Path, manifest: Manifest) -> None:
    """Refuse to go on with a run whose files were changed or deleted.

    Raises:
        RunFolderError: Naming the first of them.
    """
    for name in manifest.checksums.files if manifest.checksums else ():
        read_checked(folder, name, manifest.checksums)


def require_sound_measurements(folder: Path, manifest: Manifest, count: int) -> None:
    """Refuse to go on behind measurements that were changed.

    Measurements that have lost files stay lost: readers leave them out.

    Raises:
        RunFolderError: Naming the first of them.
    """
    if not count:
        return
    layout = read_layout(folder / MEASUREMENTS, manifest.measured_variables, count)
    if manifest.checksums is not None and layout.checksum() != manifest.checksums.layout:
        raise RunFolderError(
            f"`{folder / MEASUREMENTS}`: a `zarr.json`, or a constant of the run, was changed after it was written. "
            f"Restore it from a backup, or record into another path."
        )
    for index in _whole(folder, manifest, count):
        chunks = read_step(folder, manifest, layout, index)
        for name, array in layout.growing.items():
            array.unpack(chunks[name], index)


def _whole(folder: Path, manifest: Manifest, count: int) -> list[int]:
    return [index for index in intact_positions(folder, manifest) if index < count]


def sums_of_folder(folder: Path, manifest: Manifest, losses: tuple[LossBlock, ...]) -> Checksums:
    """Sums of what stands in a folder now, right or wrong.

    Args:
        folder: The run folder.
        manifest: As read.
        losses: Those of the loss log.

    Raises:
        RunFolderError: If a measurement or a file cannot be read.
    """
    count = len(manifest.measured_steps)
    layout, measurements = None, [""] * count
    whole = _whole(folder, manifest, count)
    if count:
        arrays = read_layout(folder / MEASUREMENTS, manifest.measured_variables, count)
        layout = arrays.checksum()
        for index in whole:
            chunks = {name: array.read_chunk(index) for name, array in arrays.growing.items()}
            for name, array in arrays.growing.items():
                array.unpack(chunks[name], index)
            measurements[index] = checksum_of_step(chunks)
    known = manifest.checksums.files if manifest.checksums else {}
    names = [path.name for path in folder.iterdir() if path.name in known or path.name.endswith(_STATES)]
    files: dict[str, tuple[str | None, ...]] = {
        name: (digest(read_file(folder / name)),) for name in sorted(names) if not is_leftover(name)
    }
    return Checksums(layout, tuple(measurements), losses, files)
