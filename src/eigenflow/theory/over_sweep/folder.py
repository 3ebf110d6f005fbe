"""The folder of a sweep: what was swept, and where each run is."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from eigenflow.core.display import AbstractPrinted, Card
from eigenflow.core.errors import RunFolderError
from eigenflow.store.folder import as_folder, in_words, read_json

__all__ = ["HEADER", "RUNS", "SWEEP_VERSION", "Sweep", "SweepDimension", "SweptRun", "is_sweep", "open_sweep"]

HEADER = "sweep.json"
RUNS = "runs"
SWEEP_VERSION = 1
MOST_RUNS = 100_000


@dataclass(frozen=True)
class SweepDimension:
    """Keys that change together.

    Attributes:
        name: The first key; "run" for random draws, "repeat" for repeats.
        keys: Values along it by dotted name.
        length: Places along it.
    """

    name: str
    keys: dict[str, list[Any]]
    length: int


@dataclass(frozen=True)
class SweptRun:
    """One run of a sweep.

    Attributes:
        name: Of its folder.
        values: Of the swept keys.
        index: Its place along every dimension.
    """

    name: str
    values: dict[str, Any]
    index: dict[str, int]


@dataclass(frozen=True, repr=False)
class Sweep(AbstractPrinted):
    """A sweep's folder, opened.

    Attributes:
        path: The folder.
        name: Of the sweep.
        base: The configuration that runs differ from.
        dimensions: In their order.
        runs: In their order, made or not.
    """

    path: Path
    name: str
    base: dict[str, Any]
    dimensions: tuple[SweepDimension, ...]
    runs: tuple[SweptRun, ...]

    def folder(self, run: SweptRun) -> Path:
        """The run's own folder."""
        return self.path / RUNS / run.name

    @property
    def keys(self) -> list[str]:
        """Swept keys."""
        return [key for one in self.dimensions for key in one.keys]

    def failure(self, run: SweptRun) -> str | None:
        """Last line of why a run's last attempt failed, if it did."""
        try:
            return str(read_json(self.path / "failures" / f"{run.name}.json").get("error"))
        except (FileNotFoundError, RunFolderError):
            return None

    def _card(self) -> Card:
        rows = [(one.name, f"{one.length}: {_listed(one)}") for one in self.dimensions]
        return Card(f"Sweep {self.name} of {len(self.runs)} runs in {self.path}", rows)


def _listed(dimension: SweepDimension) -> str:
    return "; ".join(f"{key} = {', '.join(map(str, values))}" for key, values in dimension.keys.items())


def is_sweep(path: str | Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (Path(path) / HEADER).is_file()


def open_sweep(path: str | Path) -> Sweep:
    """Open the folder of a sweep, while it is made or later.

    Raises:
        RunFolderError: If it is none, is damaged, or was written by a newer eigenflow.
        FileError: If the system refuses.
    """
    folder = as_folder(path)
    header = folder / HEADER
    with in_words(header, "read"):
        try:
            found = read_json(header)
        except FileNotFoundError:
            raise RunFolderError(
                f"`{folder}` is no sweep: it has no `{HEADER}`. Give the folder that `eigenflow sweep` wrote."
            ) from None
    version = found.get("schema_version")
    if type(version) is int and version > SWEEP_VERSION:
        raise RunFolderError(
            f"`{header}` has schema version {version}, but this eigenflow reads up to {SWEEP_VERSION}. Upgrade: `pip "
            f"install --upgrade eigenflow`."
        )
    try:
        return _read(folder, found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(
            f"`{header}` is damaged or was not written by eigenflow ({type(error).__name__}: {error}). `eigenflow "
            f"sweep` with the same file and --out makes it anew, and keeps the runs."
        ) from None


def _read(folder: Path, found: Mapping[str, Any]) -> Sweep:
    dimensions = tuple(
        SweepDimension(str(one["name"]), {str(k): list(v) for k, v in one["keys"].items()}, int(one["length"]))
        for one in found["dimensions"]
    )
    lengths = {one.name: one.length for one in dimensions}
    if len(lengths) != len(dimensions) or min(lengths.values(), default=1) < 1:
        raise ValueError("dimensions are not distinct, or empty")
    for one in dimensions:
        if any(len(values) != one.length for values in one.keys.values()):
            raise ValueError(f"dimension {one.name} has values of another length")
    runs = tuple(SweptRun(_name(one["name"]), dict(one["values"]), dict(one["index"])) for one in found["runs"])
    for run in runs:
        if set(run.index) != set(lengths) or any(not 0 <= run.index[name] < lengths[name] for name in lengths):
            raise ValueError(f"run {run.name} has no place")
    if prod(lengths.values()) > MOST_RUNS:
        raise ValueError(f"more than {MOST_RUNS:,} places")
    return Sweep(folder, str(found["name"]), dict(found["base"]), dimensions, runs)


def _name(value: object) -> str:
    """A plain name, that leads nowhere else."""
    name = str(value)
    if Path(name).name != name or name in ("", ".", "..") or "\\" in name:
        raise ValueError(f"{name!r} is no name of a run")
    return name
