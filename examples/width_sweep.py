"""
Sweep the width
===============

Eight runs from one file, and what the width does in two parametrisations. In NTK parametrisation a wider network is a
lazier one: its operator moves less. Under maximal update it moves alike at every width, so that the width changes
nothing but the accuracy of the limit.

The same file runs on a cluster: `eigenflow sweep width_sweep.toml --engine ray --address auto`.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from eigenflow.lab.sweep import load_sweep, make_sweep, prepare_sweep
from eigenflow.theory.over_sweep import open_sweep, sweep_dataset, write_results

# The gallery runs a script without `__file__`, in its own folder.
CONFIG = Path(globals().get("__file__", "width_sweep.py")).parent / "width_sweep.toml"


def main(folder: str) -> dict[str, float]:
    outcome = make_sweep(prepare_sweep(load_sweep(CONFIG), folder))
    data = sweep_dataset(open_sweep(folder))
    write_results(data, Path(folder) / "results.zarr")
    print(outcome)
    powers = {}
    for kind in data["model.parametrisation"].values:
        distance = data["distance"].sel({"model.parametrisation": kind})
        powers[str(kind)] = float(np.polyfit(np.log(data["model.width"]), np.log(distance), 1)[0])
        print(f"{kind:15} distance of the operator ~ width^{powers[str(kind)]:.2f}")
    return powers


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
