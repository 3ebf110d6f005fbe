"""How fast do losses saturate with the model's size? Learns the prior of nu that `fitting/covariates.py` holds.

Every ladder of three sizes or more is fitted jointly with nu held at values of a grid; the rise of the cost is a
likelihood of nu, and the ladders' values are draws from one Gaussian (empirical Bayes, on the grid).

Run:  python benchmarks/size_exponents.py [--data shared/data] [--without COLLECTION ...]
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from _forecast_sets import FOLDERS, SETS
from _machine import write
from eigenflow.forecast import Curve
from eigenflow.forecast.fitting.search import fit_parameters
from eigenflow.forecast.fitting.size_profile import size_profile

GRID = np.array([-0.1, 0.0, 0.1, 0.2, 0.3, 0.45, 0.6])
MEANS, SPREADS = np.linspace(-0.1, 0.6, 71), np.geomspace(0.02, 0.6, 40)
# Beyond the grid a rise goes on as the parabola through the three values at its end.
FINE, END = np.linspace(-1.0, 2.0, 601), 3
LEAST_SIZES = 3


def ladders(data: Path, without: list[str]) -> dict[str, tuple[Curve, ...]]:
    """Families of at least three sizes, one for each set and name."""
    found = {}
    for name, read in SETS.items():
        # Shapes of gemstones differ in width and depth: no ladder.
        if FOLDERS[name] in [*without, "gemstones"]:
            continue
        for family in read(data):
            sizes = {curve.size for curve in family.curves}
            if ("size" in family.hide or "both" in family.hide) and len(sizes) >= LEAST_SIZES:
                found[f"{name}: {family.name}"] = family.curves.curves
    return found


def likelihoods(data: Path, without: list[str]) -> tuple[list[str], np.ndarray]:
    names, rows = [], []
    for name, curves in ladders(data, without).items():
        rise = size_profile(fit_parameters(curves, starts=1, mixes=False), curves, GRID)
        names.append(name)
        rows.append(-(rise - rise.min()))
        print(f"{name:40s}", np.round(rise - rise.min(), 2), file=sys.stderr, flush=True)
    return names, np.array(rows)


def gaussian(log_likelihood: np.ndarray) -> tuple[float, float]:
    """Mean and spread of nu between ladders: means over their posterior, flat in the mean and in ln(spread)."""
    rows = np.stack([_extended(row) for row in log_likelihood])
    score = np.empty((len(MEANS), len(SPREADS)))
    for i, mean in enumerate(MEANS):
        for j, spread in enumerate(SPREADS):
            density = np.exp(-0.5 * ((FINE - mean) / spread) ** 2) / spread
            score[i, j] = np.log((np.exp(rows) * density).sum(axis=1)).sum()
    weight = np.exp(score - score.max())
    weight /= weight.sum()
    mean = float((weight.sum(axis=1) * MEANS).sum())
    # What one more ladder will have: the spread between ladders, and what is not known of the mean.
    spread = float((weight.sum(axis=0) * SPREADS).sum())
    return mean, float(np.sqrt(spread**2 + (weight.sum(axis=1) * (MEANS - mean) ** 2).sum()))


def _extended(row: np.ndarray) -> np.ndarray:
    found = np.interp(FINE, GRID, row)
    for side, at in ((GRID[0] > FINE, slice(None, END)), (GRID[-1] < FINE, slice(-END, None))):
        going_on = np.polyval(np.polyfit(GRID[at], row[at], 2), FINE[side])
        found[side] = np.minimum(going_on, found[side])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("shared/data"))
    parser.add_argument("--without", nargs="*", default=[], help="Collections to leave out.")
    args = parser.parse_args()
    names, rows = likelihoods(args.data, args.without)
    mean, sd = gaussian(rows)
    print(f"nu = {mean:.3f} +- {sd:.3f} over {len(names)} ladders")
    if not args.without:
        table = [
            {"ladder": name, "grid": GRID.tolist(), "rise": (-row).tolist()}
            for name, row in zip(names, rows, strict=True)
        ]
        write("size_exponents", table, "scipy", mean=mean, sd=sd)


if __name__ == "__main__":
    main()
