"""Which law predicts the final losses of larger runs, and do its 90 % intervals cover?

Every public table is cut as its own held-out part is (by compute, size or tokens), the lower part is fitted, the upper
part predicted. Ours (`frontier`, and `repeats` where data are repeated) uses priors and interval scales learned on the
other sets only. Beside it: approach 3 as published, Kaplan's form, a power law in compute with a floor, Muennighoff's
form for repeated data; their intervals are the usual ones, parameters plus scatter. `--peers PYTHON` adds the
`chinchilla` package on its own set, from an environment that has it. Then: do learning rate and batch size fitted to
small cells of a sweep serve larger ones?

Run:  python benchmarks/forecast_scaling.py --data ../shared/data
"""

import argparse
import json
import subprocess
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.optimize import minimize

from _machine import RESULTS, write
from _scaling_tables import SHARED, all_tables, splits
from eigenflow.core.errors import ArgumentError
from eigenflow.scaling.fit import fit_approach3, fit_scaling
from eigenflow.scaling.prediction import predict_losses
from eigenflow.scaling.priors import LEARNED, ScalingPriors
from eigenflow.scaling.sweep import fit_sweep
from eigenflow.scaling.table import ScalingTable
from learn_scaling_priors import MIN_FITTED, MIN_SCORED, calibrate, errors_of, group_parameters, priors_without

# What a user of the published laws would draw: parameters and scatter, normal, the same everywhere.
USUAL = ScalingPriors(normal={}, excess=np.inf, drift=0.0, quantile=1.645)
SWEEP_SHARES, TOKENS_PER_SEQUENCE = (0.75, 0.6, 0.5), 2048
NAMES = ("ours", "approach 3", "kaplan", "power of C", "muennighoff")


def baseline(name: str, known: ScalingTable, later: ScalingTable):
    """(loss, lower, upper) of a published law."""
    if name == "power of C":
        return power_of_compute(known, later)
    published = fit_approach3(known, starts=8) if name == "approach 3" else None
    fit = published or fit_scaling(known, name, priors=None, starts=8)
    forecast = predict_losses(replace(fit, priors=USUAL), later.size, later.tokens, later.unique_tokens)
    return forecast.loss, forecast.lower, forecast.upper


def power_of_compute(known: ScalingTable, later: ScalingTable):
    """L = E + A C^-a through all runs, Huber on ln L."""
    x, y = np.log(known.flops), np.log(known.loss)
    centre = x.mean()

    def cost(p):
        r = y - np.logaddexp(p[0], p[1] - np.exp(p[2]) * (x - centre))
        return np.where(np.abs(r) < 1e-3, 0.5 * r**2, 1e-3 * (np.abs(r) - 5e-4)).sum() * 1e6

    best = min(
        (minimize(cost, [y.min() + np.log(share), y.min() + np.log(1 - share), np.log(0.1)], method="Nelder-Mead",
                  options={"maxiter": 2000}) for share in (0.2, 0.5, 0.8)),
        key=lambda end: end.fun,
    )  # fmt: skip
    p = best.x
    scatter = 1.4826 * np.median(np.abs(y - np.logaddexp(p[0], p[1] - np.exp(p[2]) * (x - centre))))
    value = np.logaddexp(p[0], p[1] - np.exp(p[2]) * (np.log(later.flops) - centre))
    return np.exp(value), np.exp(value - 1.645 * scatter), np.exp(value + 1.645 * scatter)


def score(loss: np.ndarray, lower: np.ndarray, upper: np.ndarray, true: np.ndarray) -> dict:
    outside = np.maximum(lower - true, 0) + np.maximum(true - upper, 0)
    return {
        "mae": float(np.abs(loss - true).mean()),
        "bias": float((loss - true).mean()),
        "coverage": float((outside == 0).mean()),
        "winkler": float((upper - lower + 20 * outside).mean()),
        "scored": len(true),
    }


def cells(name: str, groups: dict[str, ScalingTable], priors: ScalingPriors) -> list[dict]:
    """All laws on all splits of one set."""
    found = []
    for group, table in groups.items():
        for cut, fitted in splits(name, table):
            if fitted.sum() < MIN_FITTED or (~fitted).sum() < MIN_SCORED:
                continue
            known, later = table.take(fitted), table.take(~fitted)
            for law in NAMES:
                if (law == "muennighoff") != (table.unique_tokens is not None) and law in ("muennighoff", "kaplan"):
                    continue
                start = time.process_time()
                if law == "ours":
                    own = "frontier" if table.unique_tokens is None else "repeats"
                    forecast = predict_losses(
                        fit_scaling(known, own, priors=priors), later.size, later.tokens, later.unique_tokens
                    )
                    triple = (forecast.loss, forecast.lower, forecast.upper)
                elif len(known) <= 6 and law != "power of C":
                    continue
                else:
                    try:
                        triple = baseline(law, known, later)
                    except ArgumentError as error:
                        print(f"{name} {group} {cut} {law}: {error}", flush=True)
                        continue
                seconds = time.process_time() - start
                found.append(
                    {
                        "set": name,
                        "group": group,
                        "cut": cut,
                        "law": law,
                        "cpu_s": seconds,
                        **score(*triple, later.loss),
                    }
                )
    return found


def package(python: Path, known: ScalingTable, later: ScalingTable) -> dict | None:
    """The `chinchilla` package, in its own environment: 3 starts a parameter (5 take over ten minutes of CPU a cut)."""
    program = (
        "import sys, json, numpy as np, pandas as pd\nfrom chinchilla import Chinchilla\n"
        "folder, later = sys.argv[1], np.array(json.loads(sys.argv[2]))\n"
        "grid = dict(E=np.linspace(1, 2.5, 3), a=np.linspace(1, 10, 3), b=np.linspace(1, 10, 3),"
        " alpha=np.linspace(0.1, 0.7, 3), beta=np.linspace(0.1, 0.7, 3))\n"
        "cc = Chinchilla(folder, param_grid=grid, seed_ranges=dict(C=(1e18, 1e21), N_to_D=(1, 100)))\n"
        "cc.fit()\nprint('RESULT', json.dumps([float(cc.L(n, d)) for n, d in later]))\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        rows = np.column_stack([known.flops, known.size, known.tokens, known.loss])
        np.savetxt(Path(folder) / "df.csv", rows, delimiter=",", header="C,N,D,loss", comments="")
        later_text = json.dumps(np.column_stack([later.size, later.tokens]).tolist())
        done = subprocess.run([python, "-c", program, folder, later_text], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        print("the chinchilla package gave no result:", done.stderr.strip().splitlines()[-1:], flush=True)
        return None
    loss = np.array(json.loads(lines[0][7:]))
    return score(loss, loss, loss, later.loss)


def summary(rows: list[dict]) -> list[dict]:
    """Means over the cells of a set, one row a set and law, over the cells that every law of the set has."""
    found = []
    for name in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == name]
        laws = [law for law in NAMES if any(row["law"] == law for row in of_set)]
        for law in laws:
            of_law = [row for row in of_set if row["law"] == law]
            keys = ("mae", "bias", "coverage", "winkler")
            means = {key: float(np.mean([row[key] for row in of_law])) for key in keys}
            found.append({"set": name, "law": law, "cells": len(of_law), **means})
            print(f"{name:24}{law:12} {len(of_law):3} cells  MAE {means['mae']:.4f}  bias {means['bias']:+.4f}  "
                  f"covered {means['coverage']:.0%}  interval score {means['winkler']:.3f}", flush=True)  # fmt: skip
    return found


def draw(means: list[dict]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
    sets = list(dict.fromkeys(row["set"] for row in means))
    for law, marker in zip(NAMES, "os^vD", strict=True):
        picked = [row for row in means if row["law"] == law]
        place = [sets.index(row["set"]) for row in picked]
        left.semilogx([row["mae"] for row in picked], place, marker, label=law)
        right.plot([row["coverage"] for row in picked], place, marker)
    left.set_yticks(range(len(sets)), sets)
    left.set_xlabel("mean |predicted - true| of the upper part [nats / token]")
    left.legend(frameon=False)
    right.axvspan(0.85, 0.95, color="0.9")
    right.set_xlabel("share inside the 90 % interval")
    figure.savefig(RESULTS / "forecast_scaling.png", dpi=120)


def sweep_scores(data: Path) -> list[dict]:
    """What the nearest run of the grid costs over the best one, in cells (N, D) larger than those that were fitted.

    The dense runs of the Step-law sweep; settings by `fit_sweep`, by the published Step law (which was fitted to all of
    these cells), and the median of the fitted cells' best settings.
    """
    runs = pd.read_csv(data / "steplaw_lr_batch" / "runs.csv")
    runs = runs[runs["arch"] == "dense"].assign(tokens=lambda frame: frame["batch_size_seqs"] * TOKENS_PER_SEQUENCE)
    work = runs["N"] * runs["D"]
    found = []
    for share in SWEEP_SHARES:
        known = work <= work.drop_duplicates().quantile(share)
        fitted, later = runs[known], runs[~known]
        fit = fit_sweep(*(fitted[name].to_numpy() for name in ("N", "D", "lr", "tokens", "smooth_loss")))
        best = np.log(
            [cell.loc[cell["smooth_loss"].idxmin(), ["lr", "tokens"]].to_list() for _, cell in cells_of(fitted)]
        )
        rate, batch = np.exp(np.median(best, axis=0))
        costs: dict[str, list[float]] = {"ours": [], "Step law": [], "median of the fitted cells": []}
        for (size, tokens), cell in cells_of(later):
            own = fit.best(size, tokens)
            settings = (
                (own.rate[0], own.batch[0]),
                (1.79 * size**-0.713 * tokens**0.307, 0.58 * tokens**0.571),
                (rate, batch),
            )
            for law, (lr, tokens_per_step) in zip(costs, settings, strict=True):
                apart = np.log(cell["lr"] / lr) ** 2 + np.log(cell["tokens"] / tokens_per_step) ** 2
                costs[law].append(float(cell["smooth_loss"][apart.idxmin()] - cell["smooth_loss"].min()))
        for law, values in costs.items():
            row = {"share": share, "law": law, "mean_excess": float(np.mean(values)), "worst": max(values)}
            row |= {"fitted_cells": fit.cells, "cells": len(values)}
            if law == "ours":
                row |= {"rate_powers": fit.rate_powers.tolist(), "batch_powers": fit.batch_powers.tolist()}
            found.append(row)
            print(row, flush=True)
    return found


def cells_of(runs: pd.DataFrame):
    """The runs of each size and number of tokens."""
    return runs.groupby(["N", "D"])


def table_scores(data: Path) -> dict:
    """Every law on every table: means, cells, and the interval scales that each left-out set was given."""
    tables = all_tables(data)
    parameters = group_parameters(tables)
    errors = [
        cell for name, groups in tables.items() for cell in errors_of(name, groups, priors_without(parameters, name))
    ]
    rows, scales = [], {}
    for name, groups in tables.items():
        priors = calibrate(errors, priors_without(parameters, name), name)
        scales[name] = {"drift": priors.drift, "quantile": priors.quantile}
        rows += cells(name, groups, priors)
    return {"rows": summary(rows), "cells": rows, "left_out_scales": scales, "learned": LEARNED.quantile}


def peer_scores(data: Path, python: Path) -> list[dict]:
    """The `chinchilla` package beside ours, cut by cut."""
    stored = json.loads((RESULTS / "forecast_scaling.json").read_text(encoding="utf-8"))["cells"]
    found = []
    for group, table in all_tables(data)["chinchilla_points"].items():
        for cut, fitted in splits("chinchilla_points", table):
            begun = time.perf_counter()
            scored = package(python, table.take(fitted), table.take(~fitted))
            if scored is None:
                continue
            ours = [
                row["mae"]
                for row in stored
                if row["set"] == "chinchilla_points" and row["law"] == "ours" and row["cut"] == cut
            ]
            row = {"law": "chinchilla package", "group": group, "cut": cut, "ours_mae": ours[0] if ours else None}
            found.append(
                row | {key: scored[key] for key in ("mae", "bias", "scored")} | {"wall_s": time.perf_counter() - begun}
            )
            print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--peers", type=Path, help="python of an environment with the chinchilla package")
    parser.add_argument("--only", choices=("tables", "peers", "sweep"), help="make this part, keep the stored others")
    args = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)
    target = RESULTS / "forecast_scaling.json"
    stored = json.loads(target.read_text(encoding="utf-8")) if args.only else {}
    stored.pop("machine", None)
    if args.only in (None, "tables"):
        stored |= table_scores(args.data)
        draw(stored["rows"])
    if args.only in (None, "sweep"):
        stored["sweep"] = sweep_scores(args.data)
    if args.peers and args.only in (None, "peers"):
        stored["peers"] = peer_scores(args.data, args.peers)
    print(write("forecast_scaling", stored.pop("rows"), "scipy", **stored))


if __name__ == "__main__":
    main()
