"""Configurations of `eigenflow solve`, with the table that one may name: read, solved, and put into a data set."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from eigenflow.core.limits import limits
from eigenflow.transport import solve
from eigenflow.transport.config import load_solve_config
from eigenflow.transport.dataset import solution_dataset
from fuzz.registry import Reader, Sample

__all__ = ["READERS"]

CONFIG = """name = "t"
dissipation = 2.0
domain = [1e-6, 1e2]
drift.c = {c}
drift.b = {b}
{drift}
initial.form = "{initial}"
{table}
source.form = "{source}"
source.rate = 0.5
source.width = 0.5
source.learning_rate = 0.01
source.batch_size = 4
source.label_noise = 0.1
source.exponent = -1.5
times.first = 1e-3
times.last = 1e2
times.count = 3
solver.cells = {cells}
solver.method = "{method}"
"""
# A few seconds, so that many inputs are cheap.
WORK = 20_000_000
KINDS = [
    # source, method, c, b, decaying, from a table
    ("none", "auto", 0.5, 2.0, False, False),
    ("none", "exact", -0.5, 1.0, True, False),
    ("none", "auto", 0.5, 0.5, True, True),
    ("none", "march", 0.5, -1.0, False, True),
    ("jumps", "auto", 0.5, 2.0, False, False),
    ("jumps", "positive", -0.1, 1.5, False, True),
    ("jumps", "lines", 0.5, 1.0, True, False),
    ("noise", "auto", 0.0, 3.0, False, False),
    ("noise", "positive", 0.5, 0.0, False, False),
    ("given", "auto", 0.5, 2.0, False, False),
    ("given", "positive", 0.5, 1.0, False, False),
    ("given", "lines", 0.01, 1.0, False, True),
]


def _table() -> bytes:
    edges = np.geomspace(1e-4, 1.0, 7).tolist()
    rows = [f"{low},{high},{1.0 - low}" for low, high in pairwise(edges)]
    return "\n".join(["low,high,mass", *rows]).encode()


def _configs() -> Sequence[Sample]:
    samples = []
    for source, method, c, b, decays, from_table in KINDS:
        text = CONFIG.format(
            source=source,
            method=method,
            c=c,
            b=b,
            cells=16,
            drift="drift.decay = 0.5\ndrift.t0 = 1.0" if decays else "",
            initial="table" if from_table else "power",
            table='initial.table = "cells.csv"' if from_table else "initial.exponent = -0.5",
        )
        files = {"c.toml": text.encode()} | ({"cells.csv": _table()} if from_table else {})
        samples.append(Sample(files, "c.toml"))
    return samples


def _solved(path: Path) -> None:
    settings = load_solve_config(path)
    problem = settings.problem(path.parent)
    with limits(work=WORK):
        found = solve(problem, settings.times.build(), cells=settings.solver.cells, method=settings.solver.method)
    assert np.all(np.isfinite(found.mass)) and np.all(np.isfinite(found.budget.residual))
    solution_dataset(found)


READERS = (Reader("solve", _configs, _solved, lambda category, text: text.startswith("The solution is inaccurate")),)
