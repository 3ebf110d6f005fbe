"""The folders of a run that somebody else's loop trains: where it goes on, and what is kept of one that was cut off."""

from collections.abc import Callable
from pathlib import Path

from eigenflow.core.errors import RunFolderError
from eigenflow.store import open_run
from eigenflow.store.lock import is_locked
from eigenflow.store.schema import HEADER

__all__ = ["part_from", "part_of", "resumable_from", "set_aside"]


def part_from(path: Path, step: int) -> Path:
    """The folder beside the first one in which a record goes on from a step."""
    return path.with_name(f"{path.name}-from-{step}")


def part_of(path: Path, done_steps: int) -> Path:
    """The folder that a run goes on in: the last one that was begun before."""
    found = [(0, path)]
    for folder in path.parent.glob(f"{path.name}-from-*"):
        step = folder.name.removeprefix(f"{path.name}-from-")
        if step.isdecimal() and int(step) < done_steps:
            found.append((int(step), folder))
    return max(found)[1]


def resumable_from(path: Path, done_steps: int, say: Callable[[str], None]) -> int | None:
    """From which update to go on in a folder; None: anew.

    Raises:
        RunFolderError: If training begins anew in the folder of a finished run.
    """
    if not (path / HEADER).exists():  # nothing, or what a run left that was killed before it had begun
        return None
    if done_steps:
        return done_steps
    run = open_run(path)
    if run.status in ("running", "failed", "interrupted") and not is_locked(path):
        set_aside(path, say)
        return None
    raise RunFolderError(
        f"`path` {path} holds a run that is {run.status}, and training begins at step 0. Choose another folder, delete "
        f"that one, or go on from a checkpoint."
    )


def set_aside(path: Path, say: Callable[[str], None]) -> None:
    """Rename what a run that was cut off left, so that nothing is lost."""
    if not path.exists():
        return
    number = next(n for n in range(1, 10_000) if not path.with_name(f"{path.name}-cut-off-{n}").exists())
    kept = path.with_name(f"{path.name}-cut-off-{number}")
    path.rename(kept)
    say(f"training begins anew; what was recorded before is kept in {kept}")
