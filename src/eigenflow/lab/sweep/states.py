"""What a run's folder says: whether it is done, can be gone on with, is of another configuration, or is no run."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from eigenflow.core.errors import EigenflowError
from eigenflow.lab.config import ExperimentConfig
from eigenflow.lab.experiment import config_differences
from eigenflow.store.folder import is_leftover
from eigenflow.store.manifest import Manifest
from eigenflow.store.schema import HEADER, LOCK, REPORT, SUMMARY

__all__ = ["FolderState", "State", "state_of"]

ENDED = ("complete", "complete with gaps")


class State(StrEnum):
    """How far a run is, by its folder."""

    NEW = "new"
    CUT = "cut off"
    RECORDED = "recorded, not judged"
    DONE = "done"
    DIFFERENT = "of another configuration"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class FolderState:
    """State of a folder, and why.

    Attributes:
        state: How far it is.
        why: What differs, or what is damaged; empty otherwise.
    """

    state: State
    why: str = ""


def state_of(folder: Path, config: ExperimentConfig, *, analyse: bool = True, report: bool = True) -> FolderState:
    """Read the state of a run from its folder; changes nothing, and reads no measurement.

    Args:
        folder: Of the run, there or not.
        config: What it should be of.
        analyse: Whether it must have a summary to be done.
        report: Whether it must have a report.
    """
    try:
        inside = [path.name for path in folder.iterdir() if path.name != LOCK and not is_leftover(path.name)]
    except FileNotFoundError:
        return FolderState(State.NEW)
    except NotADirectoryError:
        return FolderState(State.DAMAGED, f"`{folder}` is a file")
    if not inside:
        return FolderState(State.NEW)
    if HEADER not in inside:
        return FolderState(State.DAMAGED, f"`{folder}` has no {HEADER}")
    try:
        manifest = Manifest.read(folder)
    except EigenflowError as error:
        return FolderState(State.DAMAGED, str(error))
    if changed := config_differences(manifest.header.get("config"), config):
        return FolderState(State.DIFFERENT, changed)
    if manifest.status not in ENDED:
        return FolderState(State.CUT)
    wanted = [name for name, is_wanted in ((SUMMARY, analyse), (REPORT, report)) if is_wanted]
    return FolderState(State.DONE if set(wanted) <= set(inside) else State.RECORDED)
