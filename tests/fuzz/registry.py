"""Every reader of files that strangers may send, fed with broken ones: what it may do is give values or refuse.

A reader is one entry of a tuple `READERS` in one of `MODULES`. Inputs are made from a seed, the reader's name and a
number, so that each can be made again (`input_of`); they are read in a worker process with a bound on its memory, which
is ended when one input takes too long.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.mutate import Files, mutated

__all__ = [
    "FAULTS",
    "MODULES",
    "OUTCOMES",
    "Reader",
    "Report",
    "Sample",
    "input_of",
    "reader_named",
    "readers",
    "run",
    "samples_of",
]

# To add a reader: an entry in one of these, or a module of its own, named here.
MODULES = ("fuzz.forecast_readers", "fuzz.solve_readers")

OUTCOMES = ("right", "refused", "foreign", "warning", "hang", "memory")
FAULTS = ("foreign", "warning", "hang", "memory")


@dataclass(frozen=True)
class Sample:
    """A sound input.

    Attributes:
        files: Content by relative path.
        target: What of it is read; "." for the folder.
    """

    files: Files
    target: str = "."


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
        name: For the command line and the counts.
        samples: Makes the sound inputs, small; called once a process.
        read: Reads a path, and uses what it read. May raise errors of eigenflow, and nothing else.
        may_warn: Of a warning `(category, text)`: whether it is the reader's own word, not one of numpy.
    """

    name: str
    samples: Callable[[], Sequence[Sample]]
    read: Callable[[Path], Any]
    may_warn: Callable[[type[Warning], str], bool] = lambda category, text: False


@dataclass
class Report:
    """What came of the inputs of one reader.

    Attributes:
        reader: Its name.
        counts: Inputs by outcome, as in `OUTCOMES`.
        faults: Number of the input, outcome, and what was seen, for every one that is not allowed.
        seconds: Wall time of the slowest input.
    """

    reader: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, index: int, outcome: str, detail: str, seconds: float) -> None:
        """Count one input."""
        self.counts[outcome] += 1
        self.seconds = max(self.seconds, seconds)
        if outcome in FAULTS:
            self.faults.append((index, outcome, detail))


@cache
def readers() -> dict[str, Reader]:
    """All readers by name."""
    found = [reader for module in MODULES for reader in import_module(module).READERS]
    return {reader.name: reader for reader in found}


def reader_named(name: str) -> Reader:
    """One reader; `module:name` for one that is not among `readers()`."""
    module, colon, own = name.rpartition(":")
    if colon:
        return next(reader for reader in import_module(module).READERS if reader.name == own)
    if name not in readers():
        raise ValueError(f"Unknown reader {name!r}. Available: {', '.join(readers())}.")
    return readers()[name]


@cache
def samples_of(name: str) -> Sequence[Sample]:
    """The sound inputs of a reader."""
    return tuple(reader_named(name).samples())


def input_of(reader: str, seed: int, index: int) -> Sample:
    """Make one broken input."""
    rng = np.random.default_rng([seed, zlib.crc32(reader.encode()), index])
    samples = samples_of(reader)
    sample = samples[int(rng.integers(len(samples)))]
    return Sample(mutated(sample.files, sample.target, rng), sample.target)


def run(reader: str, count: int, seed: int, *, first: int = 0, worker: Any = None) -> Report:
    """Feed broken inputs to a reader.

    Args:
        reader: Its name.
        count: Number of inputs.
        seed: Of all of them.
        first: Number of the first.
        worker: An open `fuzz.worker.Worker` to be used again; None starts one, and ends it.
    """
    from fuzz.worker import Worker

    reader_named(reader)
    report = Report(reader)
    if worker is None:
        with Worker() as worker:
            return run(reader, count, seed, first=first, worker=worker)
    for index in range(first, first + count):
        report.add(index, *worker.read(reader, seed, index))
    return report
