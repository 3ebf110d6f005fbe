"""Finished losses over one resource: widths, training samples, times or compute, with repeats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from eigenflow.core.checks import check_choice, check_kind, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.core.errors import ArgumentError, FileError, NonFiniteError, RunFolderError, ShapeError
from eigenflow.store import Run, open_run

__all__ = ["RESOURCES", "SizeSweep", "read_sweep", "sweep_of_runs"]

RESOURCES = ("width", "data", "time", "compute")
FEWEST = 4  # sizes: a floor, an amplitude, an exponent, and one that can contradict them
# Where the size of a run stands in its configuration, the first that is set.
PLACES = {"width": (("model", "width"),), "data": (("task", "training"), ("task", "samples"))}


@dataclass(frozen=True, repr=False)
class SizeSweep(AbstractPrinted):
    """Losses of finished runs that differ in one resource, and in their seeds.

    Attributes:
        resource: "width", "data", "time" or "compute".
        sizes: Of each run, > 0, in any unit; only ratios matter.
        losses: Final loss of each run, > 0. Test losses for exponents of the population.
        repeats: Number of the repeat of each run, such as its seed. Runs of one repeat may share test samples or
            weights: what they have in common is no scatter about the law. None where all runs are independent.
        source: Where they come from, for messages.
    """

    resource: str
    sizes: Float[np.ndarray, " run"]
    losses: Float[np.ndarray, " run"]
    repeats: Int[np.ndarray, " run"] | None = None
    source: str = "arguments"

    def __post_init__(self) -> None:
        check_choice("resource", self.resource, RESOURCES)
        columns = {name: real_array(name, getattr(self, name)) for name in ("sizes", "losses")}
        for name, values in columns.items():
            if values.ndim != 1 or len(values) != len(columns["sizes"]):
                raise ShapeError(
                    f"{self.source}: `sizes` and `losses` must be rows of one length, but `{name}` has shape "
                    f"{values.shape}."
                )
            for place in np.flatnonzero(~np.isfinite(values))[:1]:
                raise NonFiniteError(
                    f"{self.source}: `{name}` must be finite, but is {values[place]} at place {place}. Leave out runs "
                    f"that diverged or did not finish."
                )
            for place in np.flatnonzero(values <= 0)[:1]:
                raise ArgumentError(
                    f"{self.source}: `{name}` must be > 0, but is {values[place]:g} at place {place}. Laws are fitted "
                    f"to logarithms."
                )
            object.__setattr__(self, name, values)
        count = len(np.unique(columns["sizes"]))
        if count < FEWEST:
            raise ArgumentError(
                f"{self.source}: a sweep needs {FEWEST} different sizes (floor, amplitude, exponent, and one that can "
                f"contradict them), but has {count}. Add runs of other sizes."
            )
        if self.repeats is not None:
            repeats = np.unique(np.asarray(self.repeats), return_inverse=True)[1].reshape(-1)
            if len(repeats) != len(columns["sizes"]):
                raise ShapeError(
                    f"{self.source}: `repeats` must have one value a run, {len(columns['sizes'])}, but has "
                    f"{len(repeats)}."
                )
            object.__setattr__(self, "repeats", repeats)

    def __len__(self) -> int:
        return len(self.losses)

    @property
    def places(self) -> Float[np.ndarray, " size"]:
        """The different sizes, increasing."""
        return np.unique(self.sizes)

    @property
    def means(self) -> Float[np.ndarray, " size"]:
        """Mean loss at each of them."""
        return np.array([self.losses[self.sizes == size].mean() for size in self.places])

    @property
    def counts(self) -> Int[np.ndarray, " size"]:
        """Runs at each of them."""
        return np.array([int((self.sizes == size).sum()) for size in self.places])

    def scatter(self) -> tuple[float, int]:
        """Standard deviation of ln(loss) between repeats of one size, and its degrees of freedom (0: not known).

        What a repeat has in common at all sizes is taken out, where repeats are numbered.
        """
        logs = np.log(self.losses)
        index = np.unique(self.sizes, return_inverse=True)[1].reshape(-1)
        design = [np.eye(index.max() + 1)[index]]
        if self.repeats is not None and self.repeats.max() > 0:
            design.append(np.eye(self.repeats.max() + 1)[self.repeats][:, 1:])
        columns = np.concatenate(design, axis=1)
        freedom = len(logs) - int(np.linalg.matrix_rank(columns))
        if freedom <= 0:
            return 0.0, 0
        left = logs - columns @ np.linalg.lstsq(columns, logs, rcond=None)[0]
        return float(np.sqrt(left @ left / freedom)), freedom

    def up_to(self, size: float) -> "SizeSweep":
        """The runs that are no larger, at least 4 sizes of them."""
        kept = self.sizes <= size
        repeats = None if self.repeats is None else self.repeats[kept]
        return SizeSweep(self.resource, self.sizes[kept], self.losses[kept], repeats, self.source)

    def _card(self) -> Card:
        scatter, freedom = self.scatter()
        return Card(
            f"SizeSweep over {self.resource}: {len(self)} runs of {len(self.places)} sizes, from {self.source}",
            [
                ("sizes", span(self.places, 4)),
                ("mean loss", span(self.means, 4)),
                ("scatter of repeats", f"{figure(scatter, 2)} in ln(loss)" if freedom else "not known: no repeats"),
            ],
        )


def read_sweep(
    path: str | Path,
    resource: str,
    *,
    size: str,
    loss: str,
    repeat: str | None = None,
    where: Mapping[str, object] | None = None,
) -> SizeSweep:
    """Read a CSV file with a row a run.

    Args:
        path: The file.
        resource: "width", "data", "time" or "compute".
        size: Name of the column with the sizes.
        loss: Name of the column with the final losses.
        repeat: Name of the column with the seeds; None without one.
        where: Rows to keep, as column -> value.

    Raises:
        FileError: If the file cannot be read.
        ArgumentError: If a column is missing, or holds what is no number.
    """
    check_kind("path", path, (str, Path), "a CSV file")
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors of parsing are ValueErrors
        raise FileError(f"`path` must be a CSV file with a header, but '{path}' cannot be read so ({error}).") from None
    wanted = [size, loss, *([] if repeat is None else [repeat]), *(where or {})]
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise ArgumentError(f"{path}: there is no column {missing[0]!r}. It has {', '.join(map(str, table.columns))}.")
    kept = np.ones(len(table), dtype=bool)
    for name, value in (where or {}).items():
        kept &= (table[name] == value).to_numpy()
    table = table.loc[kept]
    if not kept.any():
        raise ArgumentError(f"{path}: no row has {dict(where or {})}.")
    numbers = {name: real_array(name, pd.to_numeric(table[name], errors="coerce")) for name in (size, loss)}
    repeats = None if repeat is None else table[repeat].to_numpy()
    return SizeSweep(resource, numbers[size], numbers[loss], repeats, str(path))


def sweep_of_runs(runs: Sequence[Run | str | Path], resource: str) -> SizeSweep:
    """Gather finished runs of the command `eigenflow run` that differ in width or in training samples.

    Args:
        runs: Run folders, or runs as from `open_run`. Of each the test loss of the last measurement is taken, or the
            probe loss if it had no test samples.
        resource: "width" or "data".

    Raises:
        RunFolderError: If a run is not complete, or does not say its size.
    """
    check_choice("resource", resource, tuple(PLACES))
    sizes, losses, seeds = [], [], []
    for one in runs:
        run = one if isinstance(one, Run) else open_run(one)
        config = run.header.get("config") or {}
        found = [config.get(section, {}).get(key) for section, key in PLACES[resource]]
        size = next((value for value in found if value), None)
        if size is None or run.status != "complete":
            raise RunFolderError(
                f"`{run.path}` cannot be part of a sweep over {resource}: "
                + ("it is not complete." if size is not None else f"its configuration does not say its {resource}.")
            )
        data = run.measurements
        name = "holdout_loss" if "holdout_loss" in data else "probe_loss"
        sizes.append(float(size))
        losses.append(float(data[name].values[-1]))
        seeds.append(int(config.get("model", {}).get("seed", 0)))
    return SizeSweep(resource, np.array(sizes), np.array(losses), np.array(seeds), f"{len(sizes)} run folders")
