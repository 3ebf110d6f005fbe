"""The header of a run, `run.json`: what was run, how it stands, and which measurements count.

A measurement counts from the moment at which `run.json`, with its step in `measured_steps`, has
replaced the one before. Whatever else lies in `measurements.zarr` does not exist for a reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.store.folder import read_json, to_json, write_json
from eigenflow.store.schema import HEADER, SCHEMA_VERSION, STATUSES, Gap, Status

__all__ = ["Manifest"]

_OWN_KEYS = (
    "schema_version",
    "status",
    "created",
    "updated",
    "resumes",
    "measured_steps",
    "measured_variables",
    "first_step",
    "gaps",
)
# What folders of schema versions before 4 lack.
_DEFAULTS: dict[str, Any] = {"first_step": 0, "gaps": []}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Manifest:
    """The content of `run.json`.

    Attributes:
        header: What the recorder said about the run: config, seeds, versions, probe.
        status: As last written; "running" also after a kill.
        created: When the run began, UTC, ISO 8601.
        updated: When this content was written.
        resumes: One entry for each time the run was resumed: `time`, `start`, `changed` (entries
            of the header that differed from the first).
        measured_steps: The committed measurements, in the order of the arrays' first axis.
        measured_variables: Names of the arrays that grow with the steps.
        first_step: Completed updates when the recording began; time is counted from there.
        gaps: Measurements that could not be made, and updates that nobody recorded. Losses that were not finite stand
            in the loss log alone.
    """

    header: dict[str, Any]
    status: Status = "running"
    created: str = field(default_factory=_now)
    updated: str = field(default_factory=_now)
    resumes: tuple[dict[str, Any], ...] = ()
    measured_steps: tuple[int, ...] = ()
    measured_variables: tuple[str, ...] = ()
    first_step: int = 0
    gaps: tuple[Gap, ...] = ()

    @classmethod
    def new(cls, header: Mapping[str, Any]) -> "Manifest":
        """Begin a run.

        Raises:
            ArgumentError: If the header has a key that the store itself writes, or a value that
                JSON cannot hold.
            NonFiniteError: If a number in it is not finite.
        """
        taken = sorted(set(header) & set(_OWN_KEYS))
        if taken:
            raise ArgumentError(
                f"`header` must not have the keys {taken}, which the run folder writes itself. Rename them."
            )
        return cls(to_json(header, "header"))

    def changed(self, **changes: Any) -> "Manifest":
        """The same with other fields, and the present time as `updated`."""
        return replace(self, updated=_now(), **changes)

    def resumed(self, start: int, header: Mapping[str, Any] | None) -> "Manifest":
        """Go back to `start` completed updates, and say so in `resumes`."""
        new = to_json(header or {}, "header")
        changed = {key: entry for key, entry in new.items() if self.header.get(key) != entry}
        measured = tuple(step for step in self.measured_steps if step < start)
        return self.changed(
            status="running",
            resumes=(*self.resumes, {"time": _now(), "start": start, "changed": changed}),
            measured_steps=measured,
            measured_variables=self.measured_variables if measured else (),
            first_step=min(self.first_step, start),
            gaps=tuple(gap for gap in self.gaps if gap.step < start),
        )

    def to_dict(self) -> dict[str, Any]:
        """The content as it stands in the file."""
        own = {"schema_version": SCHEMA_VERSION} | {key: getattr(self, key) for key in _OWN_KEYS[1:]}
        own["gaps"] = [gap.to_dict() for gap in self.gaps]
        return to_json({**own, **self.header}, "header")

    def write(self, folder: Path) -> None:
        """Replace the folder's `run.json`: the one commit point of the run folder."""
        write_json(folder / HEADER, self.to_dict())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the folder's `run.json`.

        Raises:
            RunFolderError: If the folder is missing or no run, or the file is damaged or of a
                newer eigenflow.
        """
        path = folder / HEADER
        try:
            content = read_json(path)
        except (FileNotFoundError, NotADirectoryError):
            raise RunFolderError(_explain_no_run(folder)) from None
        content = {**_DEFAULTS, **content}
        _check(path, content)
        own = {key: content.pop(key) for key in _OWN_KEYS}
        return cls(
            header=content,
            status=own["status"],
            created=own["created"],
            updated=own["updated"],
            resumes=tuple(own["resumes"]),
            measured_steps=tuple(own["measured_steps"]),
            measured_variables=tuple(own["measured_variables"]),
            first_step=own["first_step"],
            gaps=tuple(Gap.from_dict(entry) for entry in own["gaps"]),
        )


def _explain_no_run(folder: Path) -> str:
    if not folder.exists():
        return f"Run folder `{folder}` does not exist. Check the path; a run is made by `RunWriter.create`."
    if not folder.is_dir():
        return f"`{folder}` is a file, not a run folder. Give the folder that holds `{HEADER}`."
    inside = sorted(path.parent.name for path in folder.glob(f"*/{HEADER}"))
    hint = f" Did you mean one of the runs in it: {inside[:5]}?" if inside else ""
    return f"`{folder}` is no run folder: it has no `{HEADER}`.{hint} Give the folder that a run was recorded into."


def _check(path: Path, content: Mapping[str, Any]) -> None:
    version = content.get("schema_version")
    if type(version) is int and version > SCHEMA_VERSION:
        raise RunFolderError(
            f"`{path}` has schema version {version}, but this eigenflow reads up to {SCHEMA_VERSION}. "
            f"Upgrade: `pip install --upgrade eigenflow`."
        )
    steps, names, resumes = (content.get(key) for key in ("measured_steps", "measured_variables", "resumes"))
    is_sound = {
        "schema_version": type(version) is int and version >= 1,
        "status": content.get("status") in STATUSES,
        "created": isinstance(content.get("created"), str),
        "updated": isinstance(content.get("updated"), str),
        "resumes": isinstance(resumes, list) and all(isinstance(entry, dict) for entry in resumes),
        "measured_steps": isinstance(steps, list)
        and all(type(step) is int for step in steps)
        and all(early < late for early, late in pairwise(steps)),
        "measured_variables": isinstance(names, list) and all(isinstance(name, str) for name in names),
        "first_step": type(content["first_step"]) is int and content["first_step"] >= 0,
        "gaps": isinstance(content["gaps"], list) and all(Gap.is_sound(entry) for entry in content["gaps"]),
    }
    wrong = [key for key, sound in is_sound.items() if not sound]
    if wrong:
        raise RunFolderError(
            f"`{path}` is damaged or was not written by eigenflow: {wrong} missing or wrong. "
            f"Restore it from a backup, or record the run again."
        )
