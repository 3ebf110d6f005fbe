"""How long does a map of test risks take, beside solving two equations at every point with scipy?

The map: 200 x 200 samples and features from 5 to 20,000, spectrum k^-1.5 of 2,000 modes. The naive loop solves the
coupled equations in ln(gamma) and ln(kappa) by `scipy.optimize.root`, each point started at its neighbour's solution,
on a row of 200 points; its time for the map is that of a point times 40,000. Where it fails it has no answer; where it
has one, both must agree. CPU time of one thread.

Run:  python benchmarks/risk_maps.py
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import root

from _machine import write
from eigenflow.theory.double_descent import random_features_risk
from eigenflow.theory.task_spectrum import TaskSpectrum

POINTS = 200
REPEATS = 7


def timed(call: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Median and spread of CPU seconds, after one call that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    low, middle, high = np.percentile(seconds, [25, 50, 75])
    return {"median_s": float(middle), "iqr_s": float(high - low)}


def naive_row(task: TaskSpectrum, samples: float, features: np.ndarray, ridge: float) -> np.ndarray:
    """Test risks of a row; not a number where scipy gives up."""
    lam, counts, target = task.eigenvalues, task.sizes, task.target
    start, found = np.array([-3.0, -3.5]), np.full(len(features), np.nan)
    for place, k in enumerate(features):

        def equations(logs: np.ndarray, k: float = k) -> list[float]:
            gamma, kappa = np.exp(logs)
            z = counts @ (lam / (lam + gamma))
            return [(z + ridge / kappa) / samples - 1.0, (z + k * kappa / gamma) / k - 1.0]

        solved = root(equations, start, tol=1e-12)
        gamma, kappa = np.exp(solved.x)
        if not solved.success or np.abs(solved.fun).max() > 1e-8:
            continue
        start = solved.x
        share = lam / (lam + gamma)
        z, q = counts @ share, counts @ share**2
        left = (gamma / (lam + gamma) - kappa * lam / (lam + gamma) ** 2 * k / (k - q)) @ target
        found[place] = (left + task.noise) / (1 - (q * (k - 2 * z) + z**2) / (samples * (k - q))) - task.noise
    return found


def against_naive(task: TaskSpectrum, places: np.ndarray, ridge: float) -> dict[str, Any]:
    """Cost of the map, that of a row in a loop, and how far apart the answers are."""
    row: dict[str, Any] = {"modes": task.modes, **cost_of_map(task, places, ridge)}
    middle = len(places) // 2
    loop = timed(lambda: naive_row(task, places[middle], places, ridge), 3)
    naive = naive_row(task, places[middle], places, ridge)
    known = np.isfinite(naive)
    risk = random_features_risk(task, places[middle], places, ridge).risk.values
    row["naive_point_s"] = loop["median_s"] / len(places)
    row["naive_failed"] = f"{int((~known).sum())} of {len(places)}"
    row["naive_over_map"] = row["naive_point_s"] * len(places) ** 2 / row["median_s"]
    row["largest_difference"] = float(np.abs(naive[known] / risk[known] - 1.0).max())
    return row


def cost_of_map(task: TaskSpectrum, places: np.ndarray, ridge: float) -> dict[str, Any]:
    """Cost and certificate."""
    surface = random_features_risk(task, places, places, ridge)
    return {
        "ridge": ridge,
        "points": len(places) ** 2,
        **timed(lambda: random_features_risk(task, places, places, ridge), REPEATS),
        "largest_error": float(surface.data["error"].max()),
        "converged": surface.is_converged,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="risk_maps")
    args = parser.parse_args()
    places = np.geomspace(5, 20_000, POINTS)
    task, many = (TaskSpectrum.power_law(1.5, 2.0, modes=modes, noise=0.05) for modes in (2000, 200_000))
    steep = TaskSpectrum(np.logspace(0, -30, 2000), np.logspace(0, -20, 2000), 0.05)
    rows = [
        *({"spectrum": "k^-1.5", **against_naive(task, places, ridge)} for ridge in (1e-2, 1e-6)),
        {"spectrum": "k^-1.5", "modes": 2000, **cost_of_map(task, places, 0.0)},
        {"spectrum": "k^-1.5", "modes": 200_000, **cost_of_map(many, places, 1e-6)},
        {"spectrum": "30 decades", "modes": 2000, **cost_of_map(steep, places, 1e-20)},
    ]
    for row in rows:
        print(row, flush=True)
    write(args.out, rows, "scipy", question=(__doc__ or "").splitlines()[0])


if __name__ == "__main__":
    main()
