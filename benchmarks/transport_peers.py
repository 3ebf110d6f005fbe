"""How much cheaper is the transport solver than what a reader would use instead, at the same accuracy?

Tasks T1, T1s, T2, T3 (six-decade start, 50 outputs up to 1e4). CPU seconds are user and system seconds of
this process on one thread: all methods of a task take turns, round after round after a warm-up, and ratios are
of the least seconds of each (a shared machine only adds); medians stand beside them. e1 is the summed error of the cell
masses as a share of the mass, mean over the outputs; eL is the largest relative error of the total.

A peer that is not installed is skipped, and that is written down. They are the dependency group `peers`:

Run:  pip install -c constraints.txt --group peers -e .   (in an environment of its own)
      python benchmarks/transport_peers.py [--only T2] [--repeats 5]
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import argparse
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import _transport_lines as lines
import _transport_peers as peers
from _machine import write
from _transport_tasks import DOMAIN, TASKS, TIMES, cpu_once, errors, problem, spread, start
from eigenflow.transport import ExactJump, solve

# Settings of LSODA among which the cheapest that reaches a goal counts: relative tolerance (absolute: 1e-3 of it).
TIGHT, MIDDLE, LOOSE = 1e-6, 1e-5, 1e-4


def lsoda(scheme: Callable, rtol: float) -> Callable:
    """One finite-difference scheme at one tolerance."""

    def run(*arguments):
        return scheme(*arguments, rtol=rtol, atol=1e-3 * rtol)

    run.__name__ = f"{scheme.__name__}, rtol={rtol:g}"
    return run


def settings_of_lsoda(task: str, scheme: Callable, cells: tuple[int, ...]) -> list:
    return [(task, "scipy", lsoda(scheme, rtol), n, None) for n in cells for rtol in (TIGHT, MIDDLE, LOOSE)]


# Task, peer's package, function, cells, runs (None: as asked; 0: one run, without a warm-up).
PEERS: list[tuple[str, str, Callable, int, int | None]] = [
    *settings_of_lsoda("T1", lines.third_order, (800,)),
    *settings_of_lsoda("T1", lines.sixth_order, (80, 100, 120)),
    ("T1", "diffrax", peers.diffrax, 200, 2),
    ("T1", "FiPy", peers.fipy, 400, 0),
    ("T1", "py-pde", peers.py_pde, 100, 0),
    ("T1s", "scipy", lines.third_order, 800, 1),
    ("T1s", "FiPy", peers.fipy, 400, 0),
    *settings_of_lsoda("T2", lines.third_order, (600, 700)),
    *settings_of_lsoda("T2", lines.sixth_order, (400,)),
    ("T2", "Clawpack", peers.clawpack, 400, None),
    ("T2", "Clawpack", peers.clawpack, 600, None),
    ("T2", "Clawpack", peers.clawpack, 800, None),
    ("T2", "PyMPDATA", peers.pympdata, 800, None),
    ("T2", "diffrax", peers.diffrax, 200, 2),
    ("T2", "FiPy", peers.fipy, 400, 0),
    *settings_of_lsoda("T3", lines.sixth_order, (140, 160, 200)),
    ("T3", "scipy", lines.sixth_order, 400, 2),
]
NOT_RUN = {"pychangcooper": "has time steps of one size only, and 1e7 of them lie between 1e-3 and 1e4"}

# Task, cells, method of the solver.
OURS = [
    ("T1", 100, "auto"),
    ("T1", 100, ExactJump(tolerance=1e-5)),
    ("T1", 100, ExactJump(tolerance=1e-3)),
    ("T1", 20, "auto"),
    ("T1s", 200, "auto"),
    ("T2", 100, "auto"),
    ("T2", 20, "auto"),
    ("T2", 20, ExactJump(tolerance=1e-5)),
    ("T3", 112, "ladder"),
    ("T3", 200, "ladder"),
    ("T3", 400, "ladder"),
    ("T3", 84, "positive"),
]

# What is asked: task, which error, how small, how many times cheaper than which peer.
GOALS = [
    ("T1", "e1", 1e-3, 200, "scipy", "auto, tolerance"),
    ("T1", "eL", 2e-5, 50, "scipy", "auto, tolerance"),
    ("T1s", "e1_max", 1e-3, None, None, "auto"),
    ("T2", "e1", 2e-5, 50, "scipy", "auto, tolerance"),
    ("T2", "e1", 2e-5, 10, "Clawpack", "auto, tolerance"),
    ("T3", "e1", 1e-4, 25, "scipy", "ladder"),
    # The masses of the ladder are not negative, either; "positive" is so step by step.
    ("T3", "e1", 1e-4, 3, "scipy", "ladder"),
    ("T3", "e1", 1e-4, 3, "scipy", "positive"),
]
# A baseline counts for a goal when it comes this close, as a factor.
_CLOSE = 1.1
# What was measured for the same task before this solver stood, in seconds: the goals were set against these.
PRINTED = {
    ("T1", "e1"): 0.92,
    ("T1", "eL"): 0.19,
    ("T2", "e1", "scipy"): 0.097,
    ("T2", "e1", "Clawpack"): 0.018,
    ("T3", "e1"): 0.256,
}


def warmed(row: dict, run: Callable) -> float:
    """Add errors to a row, or why there are none; give the seconds of the first run."""
    kept = []
    seconds = 0.0
    try:
        seconds = cpu_once(lambda: kept.append(run()))
        row |= errors(row["task"], kept[0])
    except Exception as error:  # a peer's failure is a result, too
        row["failed"] = f"{type(error).__name__}: {error}"[:200]
    return seconds


def in_turns(runs: list[tuple[dict, Callable, int]]) -> None:
    """Time all methods of a task in turns and add their seconds; those with 0 repeats have their first run only."""
    first = [warmed(row, run) for row, run, _ in runs]
    seconds = [[s] if not repeats else [] for s, (_, _, repeats) in zip(first, runs, strict=True)]
    for turn in range(max(repeats for *_, repeats in runs)):
        for (row, run, repeats), taken in zip(runs, seconds, strict=True):
            if turn < repeats and "failed" not in row:
                taken.append(cpu_once(run))
    for (row, *_), taken in zip(runs, seconds, strict=True):
        if "failed" not in row:
            row |= spread(taken)
        found = row.get("failed")
        if found is None:
            found = f"{1e3 * row['cpu_min_s']:9.2f} ms" + "".join(
                f"   {k} {row[k]:.1e}" for k in ("e1", "e1_max", "eL")
            )
        print(f"{row['task']:4} {row['solver']:10} {row['method']:24} {row['cells']:4} cells  {found}", flush=True)


def is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def summary(rows: list[dict]) -> list[dict]:
    """Compare the cheapest runs that reach each goal's accuracy."""
    done = [row for row in rows if "cpu_s" in row]
    result = []
    for task, measure, limit, factor, peer, methods in GOALS:
        of_task = [row for row in done if row["task"] == task]
        ours = [
            r
            for r in of_task
            if r["solver"] == "eigenflow" and r[measure] <= limit and r["method"].split("=")[0] in methods
        ]
        theirs = [r for r in of_task if r["solver"] == peer and r[measure] <= _CLOSE * limit]
        best = min((r["cpu_min_s"] for r in ours), default=None)
        base = min(theirs, key=lambda r: r["cpu_min_s"], default=None)
        goal = {"task": task, "measure": measure, "limit": limit, "peer": peer, "method": methods, "asked": factor}
        goal |= {"ours_s": best, "peer_s": base and base["cpu_min_s"]}
        goal |= {"peer_setting": base and f"{base['method']}, {base['cells']} cells"}
        goal["ratio"] = base["cpu_min_s"] / best if base and best else None
        printed = PRINTED.get((task, measure, peer))
        goal |= {"printed_s": printed, "ratio_to_printed": printed / best if printed and best and peer else None}
        result.append(goal)
        print({k: round(v, 5) if isinstance(v, float) else v for k, v in goal.items()})
    return result


def footprint() -> dict:
    """Peak memory and seconds of a fresh process that imports the solver and solves T1."""
    code = (
        "import sys, time; a = time.process_time()\n"
        "import numpy as np\n"
        "from eigenflow.transport import PowerDrift, TransportProblem, solve\n"
        "g0 = lambda x: x**-0.5 * np.exp(-1e-5 / x - (x / 10) ** 2)\n"
        "solve(TransportProblem(PowerDrift(0.5, 2.0), 1.0, g0, (1e-6, 1e2)), np.geomspace(1e-3, 1e4, 50), 100)\n"
        # Not ru_maxrss, which a new process inherits from the large one that started it.
        "status = open('/proc/self/status').read()\n"
        "peak = int(status.split('VmHWM:')[1].split()[0]) / 1024\n"
        "print(peak, time.process_time() - a, 'torch' in sys.modules)"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, seconds, torch = fresh.stdout.split()
    return {"peak_mib": float(peak), "import_and_solve_cpu_s": float(seconds), "imports_torch": torch == "True"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(TASKS))
    parser.add_argument("--repeats", type=int, default=5, help="runs of a peer; the solver has five times as many")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    rows, skipped = [], dict(NOT_RUN)
    for package in sorted({package for _, package, *_ in PEERS} - {"scipy"}):
        if not is_installed(package):
            skipped[package] = "not installed"
    for package, why in skipped.items():
        print(f"skipped: {package}, {why}")
    for task in arguments.only:
        runs = []
        for name, package, run, cells, repeats in PEERS:
            if name == task and package not in skipped:
                row = {"task": task, "solver": package, "method": run.__name__, "cells": cells}
                runs.append((
                    row,
                    lambda run=run, cells=cells, task=task: run(TASKS[task], start, DOMAIN, TIMES, cells),
                    arguments.repeats if repeats is None else repeats,
                ))  # fmt: skip
        case = problem(task)
        for name, cells, method in OURS:
            if name == task:
                label = method if isinstance(method, str) else f"tolerance={method.tolerance:g}"
                row = {"task": task, "solver": "eigenflow", "method": label, "cells": cells}
                run = lambda case=case, cells=cells, method=method: solve(case, TIMES, cells, method).mass  # noqa: E731
                runs.append((row, run, 5 * arguments.repeats))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            in_turns(runs)
        rows += [row for row, *_ in runs]
    goals, memory = summary(rows), footprint()
    print(memory)
    packages = ["scipy", *sorted({p for _, p, *_ in PEERS} - {"scipy"}), *NOT_RUN]
    print(write("transport_peers", rows, *packages, goals=goals, footprint=memory, skipped=skipped))


if __name__ == "__main__":
    main()
