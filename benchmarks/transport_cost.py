"""What does a digit cost, of which order are the methods, and how does the cost grow with cells and outputs?

Errors are those of `_transport_tasks` against answers that the package did not make; e1 is the mean over 50 outputs.

Run:  python benchmarks/transport_cost.py [--repeats 9]
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import itertools
import warnings

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from _machine import RESULTS, write
from _transport_tasks import TASKS, TIMES, cpu_seconds, errors, problem
from eigenflow.transport import ExactJump, solve

TOLERANCES = (1e-3, 1e-5, 1e-7, 1e-10)
CELLS = {"ladder": (50, 100, 200, 400), "positive": (50, 100, 200, 400)}


def curves(repeats: int) -> list[dict]:
    """Error and cost of the exact method by tolerance, of the others by cells."""
    rows = []
    for task in TASKS:
        case = problem(task)
        runs = [(name, cells, name) for name, many in CELLS.items() for cells in many]
        if not TASKS[task].has_source:
            runs = [("exact", 100, ExactJump(tolerance=tolerance)) for tolerance in TOLERANCES]
        for name, cells, method in runs:
            seconds = cpu_seconds(
                lambda case=case, cells=cells, method=method: solve(case, TIMES, cells, method), repeats
            )
            row = {"task": task, "method": name, "cells": cells, "tolerance": getattr(method, "tolerance", None)}
            rows.append(row | seconds | errors(task, solve(case, TIMES, cells, method).mass))
            cost = f"{1e3 * seconds['cpu_s']:8.2f} ms"
            print(f"{task:4} {name:9} {cells:4} cells {cost}  e1 {rows[-1]['e1']:.1e}", flush=True)
    return rows


def orders(rows: list[dict]) -> list[dict]:
    """Measured order of convergence in the cells between neighbouring runs."""
    found = []
    for name in CELLS:
        of_name = [row for row in rows if row["method"] == name]
        for coarse, fine in itertools.pairwise(of_name):
            order = np.log(coarse["e1"] / fine["e1"]) / np.log(fine["cells"] / coarse["cells"])
            found.append({"method": name, "from": coarse["cells"], "to": fine["cells"], "order": float(order)})
    return found


def growth(repeats: int) -> list[dict]:
    """Cost of T1 by the exact method over cells and over outputs."""
    case, rows = problem("T1"), []
    for cells, outputs in [(n, 50) for n in (50, 100, 200, 400, 800, 1600)] + [(100, n) for n in (10, 100, 400, 1600)]:
        times = np.geomspace(1e-3, 1e4, outputs)
        seconds = cpu_seconds(lambda times=times, cells=cells: solve(case, times, cells), repeats)
        rows.append({"cells": cells, "outputs": outputs, **seconds})
        print(f"{cells:5} cells {outputs:5} outputs {1e3 * seconds['cpu_s']:8.2f} ms", flush=True)
    return rows


def draw(rows: list[dict], costs: list[dict]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for task in TASKS:
        for method in dict.fromkeys(row["method"] for row in rows if row["task"] == task):
            of_both = [row for row in rows if row["task"] == task and row["method"] == method]
            cost = [1e3 * row["cpu_s"] for row in of_both]
            left.loglog(cost, [row["e1"] for row in of_both], "o-", label=f"{task}, {method}")
    left.set_xlabel("CPU time [ms]")
    left.set_ylabel("error e1 of the cell masses, 50 outputs")
    left.legend(frameon=False)
    for key, fixed, value in (("cells", "outputs", 50), ("outputs", "cells", 100)):
        line = sorted((row[key], 1e3 * row["cpu_s"]) for row in costs if row[fixed] == value)
        right.loglog(*zip(*line, strict=True), "o-", label=f"{key}, at {value} {fixed}")
    ends = np.array([100.0, 1600.0])
    right.loglog(ends, ends * 0.01, "k:", label="slope 1")
    right.set_xlabel("number of cells or of outputs")
    right.set_ylabel("CPU time of T1 [ms]")
    right.legend(frameon=False)
    figure.savefig(RESULTS / "transport_cost.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    with warnings.catch_warnings():
        # Loose tolerances are meant here.
        warnings.simplefilter("ignore")
        rows = curves(repeats)
    convergence, costs = orders(rows), growth(repeats)
    print(convergence)
    print(write("transport_cost", rows, "scipy", orders=convergence, growth=costs))
    draw(rows, costs)


if __name__ == "__main__":
    main()
