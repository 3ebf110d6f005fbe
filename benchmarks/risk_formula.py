"""Do draws of samples and features have the test risk that the formula gives, and how far is it off for few of them?

Four tables. `scan`: five spectra of 600 modes, three ridges, along samples and along features from 20 to 500 through
100 of both, 40 draws a point. `few`: the relative deviation while samples, features and modes shrink together, with so
many draws that it is seen. `kernel`: infinitely many features, and linear regression. `contains`: what the general
formula gives where a closed one is known; and peaks. The picture is a map, and a row of it with its draws.

Run:  nice -n 10 python benchmarks/risk_formula.py    (some ten minutes)
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from _machine import write
from eigenflow.lab.exact.sampled_regression import simulate_kernel_regression, simulate_random_features
from eigenflow.plots import plot_risk_curves
from eigenflow.theory.double_descent import (
    isotropic_risk,
    linear_task,
    mei_montanari_risk,
    optimal_ridge_risk,
    peak_vanishing,
    random_features_risk,
    sphere_task,
)
from eigenflow.theory.double_descent.mei_montanari import RELU
from eigenflow.theory.task_spectrum import TaskSpectrum

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "predictions_statics.png"
NOISE = 0.05
RIDGES = (0.0, 1e-4, 1e-2)
PLACES = (20, 35, 60, 80, 90, 110, 125, 170, 300, 500)


def spectra(modes: int) -> dict[str, TaskSpectrum]:
    """Of very different kinds; at the same share of modes they look alike whatever their number."""
    ranks = np.arange(1.0, modes + 1.0)
    share = ranks / modes
    first = share <= 0.1
    rows = {
        "power": (ranks**-1.5, ranks**-2.0),
        "slow power": (ranks**-0.6, ranks**-1.2),
        "exponential": (np.exp(-15.0 * share), np.exp(-7.5 * share) / modes),
        "two levels": (np.where(first, 1.0, 0.01), np.where(first, 10.0, 0.2) / modes),
        "flat": (np.full(modes, 1.0), np.full(modes, 1.0 / modes)),
    }
    return {name: TaskSpectrum(lam, target, NOISE) for name, (lam, target) in rows.items()}


def compared(
    task: TaskSpectrum, samples: int, features: int | None, ridge: float, draws: int, rng: Any
) -> dict[str, Any]:
    """Formula and draws at one point; without features, of the kernel itself."""
    surface = random_features_risk(task, samples, features or np.inf, ridge)
    if features is None:
        drawn = simulate_kernel_regression(task, samples, ridge, draws, rng)
    else:
        drawn = simulate_random_features(task, samples, features, ridge, draws, rng)
    mean, error = float(drawn.mean[0]), float(drawn.standard_error[0])
    formula = float(surface.test_error)
    return {
        "samples": samples,
        "features": features,
        "ridge": ridge,
        "formula": formula,
        "simulation": mean,
        "standard_error": error,
        "errors_apart": (mean - formula) / error,
        "train_formula": float(surface.data["train"]),
        "train_simulation": float(drawn.train_mean[0]),
        "train_standard_error": float(drawn.train_error[0]),
    }


def scan(draws: int) -> list[dict[str, Any]]:
    """Along samples and along features through 100."""
    rng, rows = np.random.default_rng(20), []
    for name, task in spectra(600).items():
        for ridge in RIDGES:
            for samples, features in [(100, k) for k in PLACES] + [(n, 100) for n in PLACES]:
                rows.append({"spectrum": name, **compared(task, samples, features, ridge, draws, rng)})
        told = [abs(row["errors_apart"]) for row in rows if row["spectrum"] == name]
        print(f"{name:12} {len(told)} points, within 1, 2, 3 errors: "
              f"{[int(np.sum(np.array(told) < b)) for b in (1, 2, 3)]}", flush=True)  # fmt: skip
    return rows


def few(draws: int) -> list[dict[str, Any]]:
    """n : k : modes = 2 : 1 : 12 and 1 : 2 : 12, with a ridge, and the same without one."""
    rng, rows = np.random.default_rng(21), []
    for name in ("power", "two levels", "flat"):
        for size in (5, 10, 20, 40):
            task = spectra(12 * size)[name]
            for samples, features in ((2 * size, size), (size, 2 * size)):
                for ridge in (0.0, 1e-2):
                    row = compared(task, samples, features, ridge, draws * 40 // size, rng)
                    row["deviation"] = row["simulation"] / row["formula"] - 1.0
                    row["deviation_error"] = row["standard_error"] / row["formula"]
                    rows.append({"spectrum": name, "size": size, **row})
                    print(f"{name:10} n {samples:3} k {features:3} ridge {ridge:g}: deviation {row['deviation']:+.4f} "
                          f"+- {row['deviation_error']:.4f}", flush=True)  # fmt: skip
    return rows


def kernel(draws: int) -> list[dict[str, Any]]:
    """The kernel itself, and linear regression with 120 inputs of variances over two decades on both sides of n = p."""
    rng, rows = np.random.default_rng(22), []
    for name, task in spectra(600).items():
        for samples, ridge in ((50, 0.0), (150, 0.0), (150, 1e-2)):
            rows.append({"spectrum": name, **compared(task, samples, None, ridge, draws, rng)})
    variances, coefficients = np.logspace(0, -2, 120), rng.standard_normal(120) / 10
    linear = linear_task(variances, coefficients, noise=0.1)
    for samples, ridge in ((60, 0.0), (90, 0.0), (150, 0.0), (300, 0.0), (60, 2.0), (300, 2.0)):
        rows.append({"spectrum": "linear, p = 120", **compared(linear, samples, None, ridge, draws, rng)})
    for row in rows:
        print(f"{row['spectrum']:16} n {row['samples']:3} ridge {row['ridge']:g}: formula {row['formula']:.4f}, draws "
              f"{row['simulation']:.4f} +- {row['standard_error']:.4f}", flush=True)  # fmt: skip
    return rows


def contains() -> list[dict[str, Any]]:
    """Relative distance of the general formula to closed ones."""
    rows: list[dict[str, Any]] = []
    for psi1, psi2 in ((1, 3), (2, 3), (6, 3), (12, 3), (0.5, 2), (3, 1), (2, 0.5)):
        closed = float(mei_montanari_risk(psi2, psi1, noise=0.2).risk)
        tasks = {"1e15": sphere_task(30, noise=0.2)}
        values = np.array([RELU[0] ** 2 / 30, RELU[1] / 2e5])
        tasks["2e5"] = TaskSpectrum(values, np.array([1.0, 0.0]), 0.2, np.array([30.0, 2e5]))
        row = {"case": "sphere, d = 30", "psi1": psi1, "psi2": psi2, "closed": closed}
        for modes, task in tasks.items():
            row[f"apart_{modes}_modes"] = (
                float(random_features_risk(task, psi2 * 30, psi1 * 30, 0.0).risk) / closed - 1.0
            )
        rows.append(row)
    flat = TaskSpectrum(np.ones(1), np.ones(1), 0.25, np.array([300.0]))
    for samples in (100, 150, 600, 3000):
        closed = float(isotropic_risk(samples, 300, noise=0.25, exact=False).risk)
        general = float(random_features_risk(flat, samples, np.inf, 0.0).risk)
        rows.append(
            {"case": "isotropic, p = 300", "samples": samples, "closed": closed, "apart": general / closed - 1.0}
        )
    for row in rows:
        print(row)
    return rows


def peaks() -> dict[str, Any]:
    """Along features at 100 samples: the peak by ridge, where it vanishes, and the best ridge."""
    task = TaskSpectrum.power_law(1.5, 2.0, modes=2000, noise=NOISE)
    places = np.geomspace(5, 5000, 60)
    table = []
    for ridge in (0.0, 1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 1e-2, 0.03, 0.1):
        found = random_features_risk(task, 100, places, ridge).peaks().table.to_dict("records")
        rows = [{key: v if np.isfinite(v) else "infinite" for key, v in row.items()} for row in found]
        table += [{"ridge": ridge, **row} for row in rows] or [{"ridge": ridge, "height": "no peak"}]
    gone = {
        "features, by ridge": peak_vanishing(
            random_features_risk(task, 100, places, 0.1), "features", "ridge", (1e-6, 10)
        ),
        "samples at 100 features, by ridge": peak_vanishing(
            random_features_risk(task, places, 100, 0.1), "samples", "ridge", (1e-6, 10)
        ),
        "features at ridge 0.03, by noise": peak_vanishing(
            random_features_risk(task, 100, places, 0.03), "features", "noise", (1e-6, 10)
        ),
    }
    best = optimal_ridge_risk(task, 100, places)
    return {
        "along_features": table,
        "vanishing": {
            name: {"value": v.value, "interval": v.interval, "position": v.position} for name, v in gone.items()
        },
        "best_ridge": {"peaks": len(best.peaks()), "largest_rise": float(np.diff(best.risk.values).max())},
    }


def picture(rows: list[dict[str, Any]]) -> None:
    task = spectra(600)["power"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.5), layout="constrained")
    places = np.geomspace(5, 2000, 160)
    many = TaskSpectrum.power_law(1.5, 2.0, modes=20_000, noise=NOISE)
    random_features_risk(many, places, places, 0.1).plot(ax=left)
    left.set_title("spectrum k$^{-1.5}$, 20,000 modes, ridge 0.1", fontsize="medium")
    places = np.geomspace(15, 700, 301)
    curves, measured = {}, {}
    for ridge in RIDGES:
        name = f"ridge {ridge:g}"
        curves[name] = random_features_risk(task, 100, places, ridge).test_error.values
        points = [row for row in rows if row["spectrum"] == "power" and row["ridge"] == ridge and row["samples"] == 100]
        columns = [[row[key] for row in points] for key in ("features", "simulation", "standard_error")]
        measured[name] = tuple(columns)
    plot_risk_curves(places, curves, ax=right, measured=measured, thresholds={"n = k": 100.0}, label="test error")
    right.set(xlim=(15, 700), ylim=(0.1, 8))
    right.set_title("600 modes, 100 samples; draws ± 2 errors", fontsize="medium")
    IMAGE.parent.mkdir(exist_ok=True)
    figure.savefig(IMAGE, dpi=110)


def rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Five digits are more than the draws have."""
    return [{key: float(f"{v:.5g}") if isinstance(v, float) else v for key, v in row.items()} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--out", default="risk_formula")
    args = parser.parse_args()
    known, rows = contains(), scan(args.draws)
    picture(rows)
    more = {"few": few(10 * args.draws), "kernel": kernel(5 * args.draws)}
    write(
        args.out,
        rounded(rows),
        "scipy",
        contains=known,
        peaks=peaks(),
        **{name: rounded(table) for name, table in more.items()},
    )


if __name__ == "__main__":
    main()
