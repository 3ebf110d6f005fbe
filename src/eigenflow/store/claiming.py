"""Taking a folder for results: a new or an empty one."""

from collections.abc import Iterable
from pathlib import Path

from eigenflow.core.errors import RunFolderError
from eigenflow.store.folder import as_folder, in_words, is_leftover
from eigenflow.store.schema import LOCK

__all__ = ["check_empty", "claim_folder"]


def claim_folder(path: str | Path) -> Path:
    """Make a folder for results, or take an empty one.

    Raises:
        RunFolderError: If something is in it already; nothing is overwritten.
        FileError: If the system refuses.
    """
    folder = as_folder(path)
    with in_words(folder):
        check_empty(folder)
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds anything but a lock and leftovers of a kill."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunFolderError(f"`{folder}` is a file, so no run can be made there. Choose another path.")
    inside = [path.name for path in folder.iterdir() if path.name != LOCK and not is_leftover(path.name)]
    if inside:
        raise RunFolderError(
            f"Folder `{folder}` is not empty; it holds {_shorten(sorted(inside))}. "
            f"Choose another path, or go on with the run in it: `--resume` on the command line, `resume_from=` "
            f"of a Recorder."
        )


def _shorten(names: Iterable[str], most: int = 4) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
