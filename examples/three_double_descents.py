"""
Three double descents
=====================

The test risk falls, rises to a peak, and falls again: over the number of features, over the number of samples, and over
training time. Points are measured, with 90 % of the draws of samples; lines are formulas that know the spectrum and the
noise, and fit nothing.

In the first two, random features learn from real handwritten digits whether a digit is even, a fifth of the labels
drawn at random. The third is a linear regression whose features have two scales: large ones are learned first, and then
their noise, before small ones are learned.

The name of a picture may be given: ``python examples/three_double_descents.py peaks.png``
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from eigenflow.lab.double_descent import load_double_descent, measure_surfaces
from eigenflow.lab.exact import simulate_kernel_regression
from eigenflow.plots import screen_style
from eigenflow.theory.double_descent.in_time.finite_time import finite_time_risk
from eigenflow.theory.double_descent.measured.comparison import population_task
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.task_spectrum import TaskSpectrum

MIDDLE, NOISE = 50, 0.2
PLACES = [6, 12, 25, 35, 50, 70, 100, 200, 400]
# Eigenvalues, the target's energy on each, noise of the labels, and how many features are of that scale.
TWO_SCALES = TaskSpectrum(np.array([1.0, 1e-4]), np.array([5.0, 7.2]), 80.0, np.array([20.0, 20.0]))
TIME_SAMPLES = 400


def measure_features(samples: list[int], features: list[int], draws: int) -> xr.Dataset:
    """Risks of random features on digits at the end of training."""
    changes = [f"task.samples={samples}", f"features.counts={features}", f"features.draws={draws}"]
    changes += [f"task.noise=[{NOISE}]", "features.ridge=[0.0]", "features.count=2", "networks.widths=[]"]
    with tempfile.TemporaryDirectory() as folder:
        _, found = measure_surfaces(load_double_descent(None, changes), Path(folder) / "features")
    assert found is not None
    return found.isel(noise=0, ridge=0)


def draw(ax: Axes, places: np.ndarray, risks: np.ndarray, line: tuple[np.ndarray, np.ndarray], across: str) -> None:
    """Measured risks, a row a draw, and what a formula says."""
    middle = np.median(risks, axis=0)
    apart = np.abs(np.quantile(risks, [0.05, 0.95], axis=0) - middle)
    fine, formula = line
    ax.plot(fine, np.where(np.isfinite(formula), formula, np.nan), color="#0072B2", linewidth=1.4, label="formula")
    ax.errorbar(
        places, middle, apart, fmt="o", color="#D55E00", markersize=3.5, linewidth=0.9, label="measured, 90 % of draws"
    )
    ax.set(xscale="log", yscale="log", xlabel=across)


def draw_features(ax: Axes, axis: str, draws: int) -> float:
    """Over features or over samples, the other of which is MIDDLE; returns the place of the highest median."""
    given = (PLACES, [MIDDLE]) if axis == "samples" else ([MIDDLE], PLACES)
    found = measure_features(*given, draws)
    task = population_task(found, NOISE)
    fine = np.geomspace(PLACES[0], PLACES[-1], 200)
    sizes = (fine, MIDDLE) if axis == "samples" else (MIDDLE, fine)
    risks = found["risk_end"].transpose("draw", ..., axis).values.reshape(draws, len(PLACES))
    formula = random_features_risk(task, *sizes, 0.0).risk.values
    draw(ax, np.array(PLACES), risks, (fine, formula), f"{'training samples' if axis == 'samples' else 'features'}")
    ax.axvline(MIDDLE, color="0.6", linewidth=0.8, linestyle=":")
    ax.set_ylim(0.2, 400)
    return float(PLACES[int(np.median(risks, axis=0).argmax())])


def draw_time(ax: Axes, draws: int) -> float:
    """Over time; returns the time of the measured peak."""
    times, fine = np.geomspace(0.02, 1e6, 24), np.geomspace(0.02, 1e6, 200)
    found = simulate_kernel_regression(TWO_SCALES, TIME_SAMPLES, 0.0, draws, np.random.default_rng(0), times=times)
    formula = finite_time_risk(TWO_SCALES, TIME_SAMPLES, fine).risk.values
    risks = found.test - TWO_SCALES.noise
    draw(ax, times, risks, (fine, formula), "training time")
    ax.set_yscale("linear")
    middle = np.median(risks, axis=0)
    first = int(middle[:10].argmin())
    return float(times[first + int(middle[first:].argmax())])


def main(picture: str | None = None, draws: int = 24) -> tuple[float, float, float]:
    with screen_style():
        figure, (wide, many, long) = plt.subplots(1, 3, figsize=(9.0, 3.2), layout="constrained")
        peaks = draw_features(wide, "features", draws), draw_features(many, "samples", draws), draw_time(long, draws)
        wide.set(title=f"{MIDDLE} samples of digits", ylabel="test risk, noise left out")
        many.set_title(f"{MIDDLE} random features, digits")
        long.set_title("two scales of features")
        long.legend(frameon=False, loc="lower left", fontsize=7)
        if picture:
            figure.savefig(picture, dpi=110)
    print("peaks at {:g} features, at {:g} samples, and at time {:.3g}".format(*peaks))
    return peaks


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
    plt.show()
