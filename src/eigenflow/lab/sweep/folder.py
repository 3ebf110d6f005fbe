"""Where a sweep keeps what: one folder, with a run folder for each run. The run folders are the truth."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import eigenflow
from eigenflow.core.errors import FileError, RunFolderError
from eigenflow.core.writing import FORMAT, explain
from eigenflow.lab.sweep.plan import SweepPlan
from eigenflow.store.folder import read_json, to_json, write_json
from eigenflow.theory.over_sweep.folder import HEADER, RUNS, SWEEP_VERSION

__all__ = ["SweepFolder"]


@dataclass(frozen=True)
class SweepFolder:
    """Paths inside of a sweep's folder.

    Attributes:
        path: The folder. On a cluster it lies where every node sees it.
    """

    path: Path

    def run(self, name: str) -> Path:
        """The run folder."""
        return self.path / RUNS / name

    def lease(self, name: str) -> Path:
        """Who makes the run just now."""
        return self.path / "leases" / f"{name}.json"

    def attempts(self, name: str) -> Path:
        """A line for each beginning and each end of an attempt."""
        return self.path / "attempts" / f"{name}.jsonl"

    def failure(self, name: str) -> Path:
        """Why the last attempt failed, with its traceback."""
        return self.path / "failures" / f"{name}.json"

    def aside(self, name: str) -> Path:
        """A free place for a run folder that cannot be gone on with."""
        number = 1
        while (place := self.path / "aside" / f"{name}.{number}").exists():
            number += 1
        return place

    def write_plan(self, plan: SweepPlan) -> None:
        """Say what the sweep is; the runs of an earlier plan stay.

        Raises:
            RunFolderError: If the folder holds something else.
            FileError: If the system refuses.
        """
        header = self.path / HEADER
        try:
            if not header.exists() and self.path.exists() and any(self.path.iterdir()):
                raise RunFolderError(
                    f"`{self.path}` is not empty, and holds no sweep. Give a new folder with --out, or that of a sweep."
                )
            for part in (RUNS, "leases", "attempts", "failures"):
                (self.path / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(explain(self.path, error, "written")) from None
        content = {"format": FORMAT, "schema_version": SWEEP_VERSION, "eigenflow": eigenflow.__version__}
        write_json(header, to_json({**content, **plan.to_dict()}, "sweep"))

    def log(self, name: str, event: str, **more: Any) -> None:
        """Add a line to the log of a run's attempts; for the attempt that holds the lease."""
        from eigenflow.lab.sweep.lease import here

        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **here(), **more}
        path = self.attempts(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)

    def told_failure(self, name: str) -> dict[str, Any] | None:
        """What `failure` holds, None without."""
        try:
            return read_json(self.failure(name))
        except (FileNotFoundError, RunFolderError):
            return None
