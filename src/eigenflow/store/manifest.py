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
from eigenflow.store.checksums import Checksums, canonical, digest
from eigenflow.store.folder import in_words, read_json, to_json, write_json
from eigenflow.store.schema import (
    CHECKED_SINCE,
    HEADER,
    SCHEMA_VERSION,
    STATUSES,
    STEP,
    Gap,
    Status,
    is_step,
    is_variable_name,
)

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
    "accepted",
    "checksums",
)
# What folders of earlier schema versions lack.
_DEFAULTS: dict[str, Any] = {"first_step": 0, "gaps": [], "accepted": []}
# Key of this file's own sum among the others.
_OWN = "header"


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
        accepted: One entry for each time the sums were made anew of what stood in the folder: `time`, `reason`.
        checksums: What the files must hold; None in a folder of a schema version without sums.
        schema_version: Of the file that was read.
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
    accepted: tuple[dict[str, Any], ...] = ()
    checksums: Checksums | None = field(default_factory=Checksums)
    schema_version: int = SCHEMA_VERSION

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

    def summed(self, checksums: Checksums, reason: str) -> "Manifest":
        """The same, of this schema version, with sums made of what stood in the folder."""
        accepted = (*self.accepted, {"time": _now(), "reason": reason})
        return self.changed(checksums=checksums, accepted=accepted, schema_version=SCHEMA_VERSION)

    def resumed(self, start: int, header: Mapping[str, Any] | None) -> "Manifest":
        """Go back to `start` completed updates, and say so in `resumes`. The sums must be there."""
        new = to_json(header or {}, "header")
        changed = {key: entry for key, entry in new.items() if self.header.get(key) != entry}
        measured = tuple(step for step in self.measured_steps if step < start)
        assert self.checksums is not None
        checksums = self.checksums.changed(
            measurements=self.checksums.measurements[: len(measured)],
            layout=self.checksums.layout if measured else None,
        )
        return self.changed(
            status="running",
            resumes=(*self.resumes, {"time": _now(), "start": start, "changed": changed}),
            measured_steps=measured,
            measured_variables=self.measured_variables if measured else (),
            first_step=min(self.first_step, start),
            gaps=tuple(gap for gap in self.gaps if gap.step < start),
            checksums=checksums,
        )

    def to_dict(self) -> dict[str, Any]:
        """The content as it stands in the file."""
        own = {key: getattr(self, key) for key in _OWN_KEYS if key != "checksums"}
        own["gaps"] = [gap.to_dict() for gap in self.gaps]
        content = to_json({**own, **self.header}, "header")
        if self.checksums is None:
            return content
        content["checksums"] = self.checksums.to_dict()
        content["checksums"][_OWN] = _own_sum(content)
        return content

    def write(self, folder: Path) -> None:
        """Replace the folder's `run.json`: the one commit point of the run folder."""
        write_json(folder / HEADER, self.to_dict())

    @classmethod
    def read(cls, folder: Path, *, is_trusted: bool = False) -> "Manifest":
        """Read the folder's `run.json`.

        Args:
            folder: The run folder.
            is_trusted: Take the content as it is, whatever its sum says.

        Raises:
            RunFolderError: If the folder is missing or no run, or the file is damaged or of a
                newer eigenflow.
            FileError: If the system refuses.
        """
        path = folder / HEADER
        with in_words(path, "read"):
            try:
                stored = read_json(path)
            except FileNotFoundError:
                raise RunFolderError(_explain_no_run(folder)) from None
        content = {**_DEFAULTS, **stored}
        _check(path, content)
        version = content["schema_version"]
        checksums = None
        if version >= CHECKED_SINCE:
            if not is_trusted and stored["checksums"].get(_OWN) != _own_sum(stored):
                raise RunFolderError(_explain_changed(path))
            checksums = Checksums.from_dict(content.pop("checksums"))
        own = {key: content.pop(key) for key in _OWN_KEYS if key != "checksums"}
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
            accepted=tuple(own["accepted"]),
            checksums=checksums,
            schema_version=version,
        )


def _own_sum(content: Mapping[str, Any]) -> str:
    """Of the whole file but this sum."""
    others = {key: entry for key, entry in content["checksums"].items() if key != _OWN}
    return digest(canonical({**content, "checksums": others}))


def _explain_changed(path: Path) -> str:
    return (
        f"`{path}` was changed after eigenflow wrote it: it does not have its checksum. Restore it from a backup. "
        f"If the change is meant, or all that is left, take the folder as it is: "
        f"`eigenflow.store.accept_run({str(path.parent)!r})`."
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
    version: Any = content.get("schema_version")
    if type(version) is int and version > SCHEMA_VERSION:
        raise RunFolderError(
            f"`{path}` has schema version {version}, but this eigenflow reads up to {SCHEMA_VERSION}. "
            f"Upgrade: `pip install --upgrade eigenflow`."
        )
    steps: Any = content.get("measured_steps")
    names: Any = content.get("measured_variables")
    is_sound = {
        "schema_version": type(version) is int and version >= 1,
        "status": content.get("status") in STATUSES,
        "created": isinstance(content.get("created"), str),
        "updated": isinstance(content.get("updated"), str),
        "resumes": _are_objects(content.get("resumes")),
        "accepted": _are_objects(content["accepted"]),
        "measured_steps": isinstance(steps, list)
        and all(map(is_step, steps))
        and all(early < late for early, late in pairwise(steps)),
        "measured_variables": _are_names(names) and (STEP in names or not steps),
        "first_step": is_step(content["first_step"]),
        "gaps": isinstance(content["gaps"], list) and all(Gap.is_sound(entry) for entry in content["gaps"]),
    }
    if is_sound["schema_version"] and version >= CHECKED_SINCE:
        measured = len(steps) if isinstance(steps, list) else 0
        is_sound["checksums"] = Checksums.is_sound(content.get("checksums"), measured)
    wrong = [key for key, sound in is_sound.items() if not sound]
    if wrong:
        raise RunFolderError(
            f"`{path}` is damaged or was not written by eigenflow: {wrong} missing or wrong. "
            f"Restore it from a backup, or record the run again."
        )


def _are_objects(entries: Any) -> bool:
    return isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)


def _are_names(names: Any) -> bool:
    is_list = isinstance(names, list) and all(isinstance(name, str) and is_variable_name(name) for name in names)
    return is_list and len(set(names)) == len(names)
