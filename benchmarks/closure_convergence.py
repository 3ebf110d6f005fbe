"""Does coarse-graining converge, and do the bands of forecasts by the equation hold what they say?

Modes move by a known drift, so the continuum limit is known: what the drift leaves of the transport between shells is
due to their width and to the number of modes. Forecasts are of synthetic runs whose drift has bursts; their seeds are
none of those that the width of the bands was chosen on.

Run:  python benchmarks/closure_convergence.py [--runs 12]
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import itertools
import sys
from pathlib import Path
from time import process_time

import numpy as np

from _machine import write
from eigenflow.closure import closure_residual, forward_test, residual_order
from eigenflow.core.grid import log_steps

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from closure.test_residual import LAW, ensemble
from particles import drifting_run

WIDTHS = (1, 2, 4, 8, 16)
COUNTS = (1_000, 2_000, 8_000, 32_000, 128_000)
DRAWS = 4
BURSTS = (0.0, 0.25, 0.5)


def over_width() -> list[dict]:
    """Residual of 200,000 evenly spaced modes over the width of shells."""
    rows = []
    for width in WIDTHS:
        found = closure_residual(ensemble(200_000, width)[1], LAW)
        shares = {"share": found.transport.share, "flux_share": found.flux.share}
        rows.append({"shells_per_decade": width, **shares, "quadrature": found.transport.error_share})
        print(rows[-1], flush=True)
    return rows


def over_modes() -> list[dict]:
    """Residual of drawn modes over their number, with what the floor predicts, at two widths."""
    rows = []
    for width, count in itertools.product((4, 8), COUNTS):
        runs = [ensemble(count, width, seed) for seed in range(DRAWS)]
        found = [closure_residual(budget, LAW, modes=modes) for modes, budget in runs]
        shares, floors = (np.array([getattr(one.transport, name) for one in found]) for name in ("share", "floor"))
        rows.append(
            {
                "shells_per_decade": width,
                "modes": count,
                "draws": DRAWS,
                "share": float(shares.mean()),
                "spread": float(shares.std(ddof=1)),
                "floor": float(floors.mean()),
                "flux_share": float(np.mean([one.flux.share for one in found])),
                "flux_floor": float(np.mean([one.flux.floor for one in found])),
            }
        )
        print(rows[-1], flush=True)
    return rows


def over_bursts(runs: int) -> list[dict]:
    """Share of later losses inside the 90 % band, and by how much the equation forecasts better, over cuts and runs."""
    rows = []
    for bursts in BURSTS:
        coverage, gains, seconds = [], [], []
        for seed in range(1000, 1000 + runs):
            gamma, b = (0.2, 0.4, 0.8)[seed % 3], (0.9, 1.0, 1.05)[seed // 3 % 3]
            data, budget = drifting_run(log_steps(3000, count=50), gamma=gamma, b=b, seed=seed, bursts=bursts)
            start = process_time()
            test = forward_test(data, budget)
            seconds.append(process_time() - start)
            coverage.append(test.coverage()[0])
            gains.append([cut.advantage(others=("lazy", "power law")) for cut in test.cuts])
        rows.append(
            {
                "bursts": bursts,
                "runs": runs,
                "coverage": float(np.mean(coverage)),
                "coverage_error": float(np.std(coverage, ddof=1) / np.sqrt(runs)),
                "cuts": [100.0 * cut.cut for cut in test.cuts],
                "median_gain": np.median(gains, axis=0).tolist(),
                "cpu_s": float(np.median(seconds)),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=12, help="Synthetic runs for each size of bursts.")
    runs = parser.parse_args().runs
    widths, modes = over_width(), over_modes()
    steps = itertools.pairwise(widths)
    orders = {
        "width": [float(np.log2(wide["share"] / narrow["share"])) for wide, narrow in steps],
        "modes": {
            width: residual_order(COUNTS, [row["share"] for row in modes if row["shells_per_decade"] == width])
            for width in (4, 8)
        },
    }
    path = write("closure_convergence", widths, "scipy", modes=modes, orders=orders, forecasts=over_bursts(runs))
    print(orders, path)


if __name__ == "__main__":
    main()
