"""A measurement of double descent from its configuration to two datasets, resumable cell by cell."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from eigenflow.core.errors import FileError, RunFolderError
from eigenflow.core.limits import within
from eigenflow.core.writing import FORMAT, explain, write_whole
from eigenflow.lab.double_descent.config import DoubleDescentConfig
from eigenflow.lab.double_descent.digits import whole_task
from eigenflow.lab.double_descent.features import arc_cosine_kernel
from eigenflow.lab.double_descent.measuring import measure_features, measure_networks, recorded_steps
from eigenflow.lab.double_descent.networks import parameter_count
from eigenflow.store import claim_folder

__all__ = ["HEADER", "Cell", "StudyCost", "cells_of", "estimate_study", "measure_surfaces"]

HEADER = "measurement.json"
PARTS = "parts"
TIMED_STEPS = 30
# Eigenvalues of the population below this share of the largest are rounding.
ROUNDING = 1e-13

Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Cell:
    """A part of a measurement that is made, and kept, as a whole.

    Attributes:
        kind: "features" or "networks".
        size: Number of features, or width.
        samples: Training samples.
    """

    kind: str
    size: int
    samples: int

    @property
    def file(self) -> str:
        """Its file in the folder of parts."""
        return f"{self.kind}-{self.size}-{self.samples}.nc"


@dataclass(frozen=True)
class StudyCost:
    """What a measurement will take on this machine, in processor time, which other work does not change.

    Attributes:
        train_s: Seconds of processor time for all updates, from a few timed ones of each cell.
        measure_s: The same for kernels, eigenproblems and random features, from a timed one of each number of samples.
        peak_bytes: Memory for the kernels of one network.
        networks: Number of networks trained.
        updates: Of all cells; networks of a cell are trained side by side.
        readouts: Number of random-feature regressions.
        cells: Number of cells.
    """

    train_s: float
    measure_s: float
    peak_bytes: int
    networks: int
    updates: int
    readouts: int
    cells: int

    @property
    def total_s(self) -> float:
        """Seconds of processor time in all, without reading and drawing."""
        return self.train_s + self.measure_s

    def share_done(self, updates: int, cells: int, of_updates: int) -> float:
        """Share of the work that is done."""
        trained = self.train_s * updates / max(1, of_updates)
        return (trained + self.measure_s * min(1.0, cells / max(1, self.cells))) / max(self.total_s, 1e-9)

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.networks} networks in {self.updates:,} updates side by side, {self.readouts:,} regressions on "
            f"random features: about {self.total_s:.0f} s of one core ({self.train_s:.0f} s training, "
            f"{self.measure_s:.0f} s kernels), {self.peak_bytes / 2**20:.0f} MiB for the kernels of one network"
        )


def cells_of(config: DoubleDescentConfig) -> list[Cell]:
    """All cells, random features first."""
    samples = config.task.samples
    readouts = [Cell("features", size, n) for size in config.features.counts for n in samples]
    return readouts + [Cell("networks", size, n) for size in config.networks.widths for n in samples]


def estimate_study(config: DoubleDescentConfig) -> StudyCost:
    """Time a few updates of every cell and a few eigenproblems, and scale.

    Raises:
        LimitError: If the kernels of one network ask for more memory than is allowed.
    """
    task, widths = config.task, config.networks.widths
    rows, records = task.samples[-1] * task.outputs, len(recorded_steps(config))
    entries = records * rows * (rows + task.holdout * task.outputs) if widths else 0
    within("entries", 2 * entries, "Recording `networks.count` kernels of the largest training set")
    seeds = len(task.noise) * task.seeds
    train_s = measure_s = 0.0
    for n in task.samples:
        for width in widths:
            each, update = _timed_network(config, width, n)
            measure_s += each * records * seeds
            train_s += update * config.networks.steps
        if config.features.counts:
            measure_s += _timed_readout(config, n) * len(config.features.counts)
    return StudyCost(
        train_s=train_s,
        measure_s=measure_s,
        peak_bytes=16 * entries,
        networks=len(widths) * len(task.samples) * seeds,
        updates=len(widths) * len(task.samples) * config.networks.steps,
        readouts=len(config.features.counts) * len(task.samples) * config.features.draws * len(task.noise),
        cells=len(cells_of(config)),
    )


def _timed_network(config: DoubleDescentConfig, width: int, samples: int) -> tuple[float, float]:
    """Seconds for the kernels of one network at one record, and for one update of all networks of a cell."""
    seconds = []
    for steps in (2, TIMED_STEPS + 2):
        networks = config.networks.model_copy(update={"steps": steps, "count": 3, "widths": [width]})
        begin = time.process_time()
        measure_networks(config.model_copy(update={"networks": networks}), width, samples)
        seconds.append(time.process_time() - begin)
    networks = len(config.task.noise) * config.task.seeds
    return seconds[0] / (3 * networks), max(seconds[1] - seconds[0], 0.0) / TIMED_STEPS


def _timed_readout(config: DoubleDescentConfig, samples: int) -> float:
    """Seconds for a cell of random features of a middle number."""
    counts = config.features.counts
    few = config.features.model_copy(update={"draws": 2})
    begin = time.process_time()
    measure_features(config.model_copy(update={"features": few}), counts[len(counts) // 2], samples)
    return (time.process_time() - begin) * config.features.draws / 2


def measure_surfaces(
    config: DoubleDescentConfig, folder: Path, *, resume: bool = False, progress: Progress | None = None
) -> tuple[xr.Dataset | None, xr.Dataset | None]:
    """Measure every cell that the folder does not hold, and give both surfaces.

    Args:
        config: The measurement.
        folder: New or empty; with `resume`, one that was cut off.
        resume: Go on with what the folder holds.
        progress: Called as progress(updates, of updates, cells) now and then.

    Returns:
        Networks over (width, samples, noise, seed, time), or None; random features over (features, samples, noise,
        draw, time) and (..., ridge), or None.

    Raises:
        RunFolderError: If the folder holds something else, or another measurement.
        NonFiniteError: If a training diverges; cells that are done stay.
        FileError: If the disk refuses.
    """
    (_check_same if resume else _begin)(config, folder)
    cells = cells_of(config)
    total = sum(config.networks.steps for cell in cells if cell.kind == "networks")
    updates, parts = 0, []
    for done, cell in enumerate(cells):
        before = updates

        def show(step: int, before: int = before, done: int = done) -> None:
            if progress is not None:
                progress(before + step, total, done)

        parts.append(_part(config, cell, folder / PARTS / cell.file, show))
        updates += config.networks.steps if cell.kind == "networks" else 0
        if progress is not None:
            progress(updates, total, done + 1)
    return _joined(config, cells, parts, "networks"), _joined(config, cells, parts, "features")


def _part(config: DoubleDescentConfig, cell: Cell, path: Path, show: Callable[[int], None]) -> xr.Dataset:
    """Read a cell, or measure it and keep it."""
    if path.exists():
        try:
            with xr.open_dataset(path, engine="scipy") as stored:
                return stored.load()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunFolderError(
                f"`{path}` cannot be read ({error}). Delete it, and it is measured again with --resume."
            ) from None
    if cell.kind == "features":
        made = measure_features(config, cell.size, cell.samples)
    else:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the matrices are so small that more threads only wait for each other
        try:
            made = measure_networks(config, cell.size, cell.samples, show)
        finally:
            torch.set_num_threads(threads)
    write_whole(path, bytes(made.to_netcdf(engine="scipy")))
    return made


def _joined(config: DoubleDescentConfig, cells: list[Cell], parts: list[xr.Dataset], kind: str) -> xr.Dataset | None:
    chosen = [part for cell, part in zip(cells, parts, strict=True) if cell.kind == kind]
    if not chosen:
        return None
    size, task = {"networks": "width", "features": "features"}[kind], config.task
    rows = [
        xr.concat([part for part in chosen if int(part[size]) == value], dim="samples")
        for value in dict.fromkeys(int(part[size]) for part in chosen)
    ]
    data = xr.concat(rows, dim=size)
    data.attrs |= {
        "config": config.model_dump_json(),
        "outputs": task.outputs,
        "energy": 1.0 if task.target == "parity" else 0.9,
        "per_width": parameter_count(1, task.inputs, task.outputs) - parameter_count(0, task.inputs, task.outputs),
        "constant": parameter_count(0, task.inputs, task.outputs),
    }
    return data if kind == "networks" else data.assign(_population(config))


def _population(config: DoubleDescentConfig) -> dict[str, tuple[str, np.ndarray]]:
    """Spectrum of the mean kernel of random features over all digits, and the squares of the target in its modes."""
    inputs, targets = whole_task(config.task)
    values, vectors = np.linalg.eigh(arc_cosine_kernel(inputs, inputs) / len(inputs))
    kept = np.flatnonzero(values > ROUNDING * values[-1])[::-1]
    squares = ((vectors.T @ targets) ** 2).sum(axis=1) / len(inputs)
    return {"eigenvalues": ("mode", values[kept]), "target": ("mode", squares[kept])}


def _begin(config: DoubleDescentConfig, folder: Path) -> None:
    claim_folder(folder)
    header = {"format": FORMAT, "kind": "double-descent", "config": config.model_dump(), "checksum": _checksum(config)}
    write_whole(folder / HEADER, json.dumps(header, indent=2) + "\n")
    try:
        (folder / PARTS).mkdir()
    except OSError as error:
        raise FileError(explain(folder / PARTS, error)) from None


def _check_same(config: DoubleDescentConfig, folder: Path) -> None:
    try:
        header: Any = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        stored = header["checksum"]
    except FileNotFoundError:
        raise RunFolderError(
            f"`{folder}` holds no measurement of double descent to go on with: it has no {HEADER}. Leave out --resume "
            f"to begin one."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"`{folder / HEADER}` cannot be read ({error}). Begin in another folder.") from None
    if stored != _checksum(config):
        raise RunFolderError(
            f"`{folder}` holds a measurement of other settings, so it cannot be resumed with these. They stand in "
            f"{HEADER} under `config`; give the same, or another folder."
        )
    (folder / PARTS).mkdir(exist_ok=True)


def _checksum(config: DoubleDescentConfig) -> str:
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()
