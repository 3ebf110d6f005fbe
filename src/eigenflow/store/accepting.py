"""Taking a run folder as it is: sums for one that has none, or new ones where a change was meant."""

from pathlib import Path

from eigenflow.store.checksums import Checksums
from eigenflow.store.folder import as_folder, in_words, refuse_links
from eigenflow.store.lock import acquire_lock
from eigenflow.store.loss_file import LossFile
from eigenflow.store.loss_scan import scan_losses
from eigenflow.store.manifest import Manifest
from eigenflow.store.schema import LOSSES, SCHEMA_VERSION
from eigenflow.store.verifying import sums_of_folder

__all__ = ["accept_run", "with_sums"]


def accept_run(path: str | Path) -> None:
    """Take what stands in a run folder for right, and write its checksums.

    For a folder of an earlier eigenflow, which has none, and for one whose change was meant, or is all that is left.
    Numbers are not changed; `accepted` in `run.json` tells that it was done and when. Loss rows that cannot be read and
    measurements that have lost files stay left out.

    Args:
        path: The run folder.

    Raises:
        RunFolderError: If the folder is no run, a writer is in it, something in it is a link, or a measurement cannot
            be unpacked.
        FileError: If the system refuses.
    """
    folder = as_folder(path)
    Manifest.read(folder, is_trusted=True)
    with in_words(folder):
        lock = acquire_lock(folder)
        try:
            refuse_links(folder)
            manifest = with_sums(folder, Manifest.read(folder, is_trusted=True), "accepted as it was")
            manifest.write(folder)
            assert manifest.checksums is not None
            # A line that was not written to its end is no part of what was accepted.
            log = LossFile(folder / LOSSES, manifest.checksums.logged_bytes)
            log.close()
        finally:
            lock.release()


def with_sums(folder: Path, manifest: Manifest, reason: str) -> Manifest:
    """The same with sums of what stands in the folder now."""
    scan = scan_losses(folder, None, is_ended=False, is_held=False)
    sums: Checksums = sums_of_folder(folder, manifest, scan.blocks(scan.offsets[-1]))
    return manifest.summed(sums, f"{reason}, of schema version {manifest.schema_version} (now {SCHEMA_VERSION})")
