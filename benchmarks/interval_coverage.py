"""How often do intervals over measured times hold the truth, when times are alike?

Series are stationary autoregressions of first order, alone and with as much noise without memory. Lengths are those of
what claims are judged by: 10 cuts, 14 windows, 24 and 48 measured times. Correlation is told as the integrated time
over the length; beyond a third of the run nothing can be covered. Beside it stands the plain block bootstrap, blocks
of length^(1/3), with percentiles.

    python benchmarks/interval_coverage.py
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from eigenflow.core.resampling import block_interval, correlated_interval

RESULTS = Path(__file__).parent / "results" / "interval_coverage.json"
LENGTHS = {10: (0.0, 0.3, 0.5), 14: (0.0, 0.5, 0.6), 24: (0.0, 0.5, 0.75), 48: (0.0, 0.5, 0.85, 0.875)}


def series(rng: np.random.Generator, length: int, rho: float, noise: float) -> np.ndarray:
    """Mean 0, variance 1."""
    shocks = rng.normal(size=length)
    slow = np.empty(length)
    slow[0] = shocks[0]
    for i in range(1, length):
        slow[i] = rho * slow[i - 1] + np.sqrt(1.0 - rho**2) * shocks[i]
    return np.sqrt(1.0 - noise) * slow + np.sqrt(noise) * rng.normal(size=length)


def mean(values: np.ndarray) -> float:
    return float(values.mean())


def median(values: np.ndarray) -> float:
    return float(np.median(values))


def ratio(values: np.ndarray) -> float:
    return float(values[:, 0].sum() / values[:, 1].sum())


def measure(length: int, rho: float, noise: float, draws: int, seed: int) -> dict[str, float]:
    """Coverage of nominal 90 % intervals for a mean, a median, and a ratio of sums of log-normals."""
    rng, held = (
        np.random.default_rng([seed, length, int(1000 * rho)]),
        dict.fromkeys(("mean", "median", "ratio", "blocks"), 0),
    )
    truth = np.exp(0.5 * 0.25) / np.exp(0.5 * 0.09)
    for _ in range(draws):
        x = series(rng, length, rho, noise)
        pair = np.stack([np.exp(0.5 * x), np.exp(0.3 * rng.normal(size=length))], axis=1)
        cases = {
            "mean": (correlated_interval(x, mean, rng, is_inside=True), 0.0),
            "median": (correlated_interval(np.exp(x), median, rng, is_inside=True), 1.0),
            "ratio": (correlated_interval(pair, ratio, rng), truth),
            "blocks": (block_interval(x, mean, rng), 0.0),
        }
        for name, ((low, high), true) in cases.items():
            held[name] += low <= true <= high
    return {name: count / draws for name, count in held.items()}


def main(draws: int, seed: int) -> None:
    rows = []
    for length, coefficients in LENGTHS.items():
        for rho in coefficients:
            for noise in (0.0, 0.5):
                found = measure(length, rho, noise, draws, seed)
                share = (1.0 + rho) / (1.0 - rho) / length
                rows.append(
                    {"length": length, "rho": rho, "noise": noise, "time over length": round(share, 2), **found}
                )
                print(rows[-1], flush=True)
    RESULTS.write_text(json.dumps({"draws": draws, "seed": seed, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    main(arguments.draws, arguments.seed)
