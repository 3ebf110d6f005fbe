"""How long do the mean losses of one-pass SGD on many modes take, and how exact are they?

The recursion of equations/identities.md#eq-s2 as it stands is the baseline: a product over all modes an update. It is
timed for some thousand updates and scaled to the number asked for, where it would take hours; its numbers are compared
where it was run.

Run:  python benchmarks/sgd_modes.py
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from _machine import write
from eigenflow.theory.exponents import SgdCurve, sgd_risk
from eigenflow.theory.task_spectrum import TaskSpectrum

RATE, BATCH, REPEATS = 0.2, 2, 3


def plain(task: TaskSpectrum, updates: int) -> np.ndarray:
    """The recursion, mode by mode."""
    lam, energies = task.eigenvalues, task.target.copy()
    kept, gain = (1 - RATE * lam) ** 2 + RATE**2 * lam**2 / BATCH, RATE**2 / BATCH * lam**2
    found = [energies.sum()]
    for _ in range(updates):
        energies *= kept
        energies += gain * (found[-1] + task.noise)
        found.append(energies.sum())
    return np.array(found)


def cpu(run: Callable[[], Any]) -> tuple[float, Any]:
    times, result = [], None
    for _ in range(REPEATS):
        start = time.process_time()
        result = run()
        times.append(time.process_time() - start)
    return median(times), result


def main() -> None:
    rows = []
    for modes in (10**4, 10**5, 10**6):
        task = TaskSpectrum.power_law(1.4, 1.7, modes=modes, noise=0.02)
        compared = 1000 if modes == 10**6 else 5000
        start = time.process_time()
        exact = plain(task, compared)
        per_update = (time.process_time() - start) / compared
        for updates, word in ((10**5, "constant"), (10**9, "constant"), (10**5, "varying")):
            steps = np.unique(np.append(np.logspace(0, np.log10(updates), 60).astype(np.int64), compared))
            rate: Any = RATE if word == "constant" else RATE * (1.0 + np.arange(updates)) ** -0.1

            def run(task: TaskSpectrum = task, steps: np.ndarray = steps, rate: Any = rate) -> SgdCurve:
                return sgd_risk(task, steps, learning_rate=rate, batch=BATCH)

            seconds, curve = cpu(run)
            row = {
                "modes": modes,
                "updates": updates,
                "rate": word,
                "cpu_s": seconds,
                "nodes": curve.nodes,
                "error_estimate": curve.error,
                "plain_cpu_s": per_update * updates,
            }
            if word == "constant":
                known = steps <= compared
                row["largest_error"] = float(np.abs(curve.risk[known] / exact[steps[known]] - 1.0).max())
            rows.append(row)
            print(row)
    print(write("sgd_modes", rows))


if __name__ == "__main__":
    main()
