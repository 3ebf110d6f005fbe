"""A sweep of runs of a second, and an engine that makes them here, one after another."""

import json

from eigenflow.lab.sweep import load_sweep, prepare_sweep
from eigenflow.lab.sweep.engines import AbstractEngine

TEXT = """
name = "small"
base = "digits-width"
[task]
samples = 6
holdout = 10
[model]
depth = 1
[train]
steps = 20
[measure]
count = 2
threads = 1
[sweep]
analyse = false
report = false
[sweep.grid]
model.width = [8, 12]
"""


class Here(AbstractEngine):
    """Calls in this process; counts."""

    def __init__(self):
        self.made = []

    def describe(self):
        return "this process"

    def map(self, function, values):
        for place, value in enumerate(values):
            self.made.append(value.name)
            yield place, function(value)

    def close(self):
        pass


def prepare(tmp_path, *changes, out=None):
    path = tmp_path / "small.toml"
    path.write_text(TEXT)
    return prepare_sweep(load_sweep(path, list(changes)), out or tmp_path / "sweep")


def attempts(folder):
    """Events of each run's log."""
    return {
        path.name.removesuffix(".jsonl"): [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted((folder / "attempts").iterdir())
    }
