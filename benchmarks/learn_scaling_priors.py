"""What do public scaling tables have in common? Makes the numbers of `scaling/priors.py`.

Every group of runs of every set is fitted with very wide priors; the means and spreads of its parameters over the
sets, each set with one vote, are the learned priors. Then every set's upper part is predicted from its lower part with
priors learned on the other sets, and the misfit per factor e of extrapolation and the half width of the 90 % interval
are chosen on these errors. `forecast_scaling.py` does the same leaving one set out.

Run:  python benchmarks/learn_scaling_priors.py --data ../shared/data
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from _machine import write
from _scaling_tables import SHARED, all_tables, splits
from eigenflow.scaling.fit import fit_scaling
from eigenflow.scaling.laws import ALPHA, BETA, D0, GAMMA, NAMES, E
from eigenflow.scaling.prediction import predict_losses
from eigenflow.scaling.priors import LEARNED, ScalingPriors
from eigenflow.scaling.table import ScalingTable

WIDE = {E: (-0.4, 0.5), ALPHA: (-1.1, 0.7), BETA: (-1.0, 0.8), GAMMA: (-0.5, 0.7), D0: (-3.5, 2.5)}
# A spread over few sets is uncertain itself; none is believed below this.
NARROWEST = 0.2
DRIFTS = (0.0, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05)
MIN_FITTED, MIN_SCORED = 6, 2


@dataclass(frozen=True)
class Errors:
    """ln(true / predicted) of the runs above one cut, with the parts of their predictive deviation."""

    set_name: str
    error: np.ndarray
    parameter: np.ndarray
    scatter: np.ndarray
    distance: np.ndarray


def group_parameters(tables: dict[str, dict[str, ScalingTable]]) -> dict[str, np.ndarray]:
    """Parameters of every group, as they stand in the priors: ln E from the smallest loss, ln D0 from mean ln D."""
    wide = replace(LEARNED, normal=LEARNED.normal | WIDE)
    found = {}
    for name, groups in tables.items():
        rows = []
        for group, table in groups.items():
            if table.unique_tokens is None:
                fit = fit_scaling(table, priors=wide, starts=3)
                rows.append(fit.parameters[:7] - np.array([np.log(table.loss.min())] + [0.0] * 6))
                print(
                    f"{name:24}{group:36}" + "".join(f"{v:8.2f}" for v in rows[-1][[E, ALPHA, BETA, GAMMA, D0]]),
                    flush=True,
                )
        found[name] = np.array(rows)
    return found


def priors_without(parameters: dict[str, np.ndarray], left_out: str | None) -> ScalingPriors:
    """Mean and spread over sets (one vote each), leaving one out."""
    kept = [rows for name, rows in parameters.items() if name != left_out]
    normal = dict(LEARNED.normal)
    for index in (E, ALPHA, BETA, GAMMA, D0):
        means = np.array([rows[:, index].mean() for rows in kept])
        inside = np.mean([rows[:, index].var() for rows in kept])
        spread = float(np.sqrt(means.var(ddof=1) + inside))
        normal[index] = (round(float(means.mean()), 3), round(max(spread, NARROWEST), 3))
    return replace(LEARNED, normal=normal)


def errors_of(name: str, groups: dict[str, ScalingTable], priors: ScalingPriors) -> list[Errors]:
    """Errors on the upper part of every split."""
    found = []
    for table in groups.values():
        law = "frontier" if table.unique_tokens is None else "repeats"
        for _, fitted in splits(name, table):
            if fitted.sum() < MIN_FITTED or (~fitted).sum() < MIN_SCORED:
                continue
            later = table.take(~fitted)
            fit = fit_scaling(table.take(fitted), law, priors=priors, starts=3)
            forecast = predict_losses(fit, later.size, later.tokens, later.unique_tokens)
            error = np.log(later.loss / forecast.loss)
            found.append(Errors(name, error, forecast.parameter_part, forecast.scatter_part, forecast.distance))
    return found


def calibrate(errors: list[Errors], priors: ScalingPriors, left_out: str | None) -> ScalingPriors:
    """Drift and quantile: of all drifts with 90 % coverage, the one with the smallest interval score."""
    kept = [cell for cell in errors if cell.set_name != left_out]
    names = sorted({cell.set_name for cell in kept})
    cells = {name: [cell for cell in kept if cell.set_name == name] for name in names}
    weight = np.concatenate([
        np.full(len(cell.error), 1.0 / len(cells[cell.set_name]) / len(cell.error)) for cell in kept
    ])  # fmt: skip
    scale = {name: np.median(np.concatenate([np.abs(c.error) for c in cells[name]])) for name in names}
    size = np.concatenate([np.full(len(cell.error), scale[cell.set_name]) for cell in kept])
    error, parameter, scatter, distance = (
        np.concatenate([getattr(cell, part) for cell in kept]) for part in ("error", "parameter", "scatter", "distance")
    )
    best = None
    for drift in DRIFTS:
        width = np.sqrt(parameter**2 + scatter**2 + (drift * distance) ** 2)
        z = np.abs(error) / width
        order = np.argsort(z)
        quantile = float(z[order][np.searchsorted(np.cumsum(weight[order]), 0.9 * weight.sum())])
        score = float(weight @ ((2 * quantile * width + 20 * np.maximum(np.abs(error) - quantile * width, 0)) / size))
        if best is None or score < best[0]:
            best = (score, drift, round(quantile, 2))
    return replace(priors, drift=best[1], quantile=best[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED)
    tables = all_tables(parser.parse_args().data)
    parameters = group_parameters(tables)
    errors = [
        cell for name, groups in tables.items() for cell in errors_of(name, groups, priors_without(parameters, name))
    ]
    learned = calibrate(errors, priors_without(parameters, None), None)
    for index, (mean, spread) in learned.normal.items():
        print(f"{NAMES[index]:10} {mean:+.3f} +- {spread:.3f}")
    print(f"drift {learned.drift}, quantile {learned.quantile}")
    rows = [{"parameter": NAMES[i], "mean": m, "spread": s} for i, (m, s) in learned.normal.items()]
    scales = {name: getattr(learned, name) for name in ("excess", "drift", "quantile")}
    print(write("scaling_priors", rows, "scipy", scales=scales, sets=sorted(tables)))


if __name__ == "__main__":
    main()
