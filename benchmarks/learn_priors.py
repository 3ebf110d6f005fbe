"""What do many runs have in common? Learns the priors that `forecast/fitting/priors.json` ships.

Run:  python benchmarks/learn_priors.py DATA --out src/eigenflow/forecast/fitting/priors.json
      python benchmarks/learn_priors.py DATA --without multipowerlaw --out other.json

DATA is a folder of sets of loss curves with their READMEs (benchmarks/README.md). Empirical Bayes: parameters of a
family of runs (`_run_families.py`) are draws from one Gaussian; its mean and covariance are found by
expectation-maximisation with Laplace's approximation for every family. A collection of n families weighs as sqrt(n), so
that none decides alone. Slopes in size and peak rate are regressed within series that differ in nothing else.

The covariance between families may be multiplied by `--temper`. It is not: narrower priors did better on families that
they were learned from, and worse on collections that were left out (docs/validation/forecasts.md).
"""

import argparse
import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from _run_families import RunFamily, run_families
from eigenflow.forecast.fitting.covariates import size_coordinate
from eigenflow.forecast.fitting.objective import FitSettings, Objective
from eigenflow.forecast.fitting.posterior import curvature
from eigenflow.forecast.fitting.priors import Prior
from eigenflow.forecast.fitting.search import build_objective, measured_noise
from eigenflow.forecast.laws import TransportLaw

NAMES = tuple(p.name for p in TransportLaw.parameters)[1:]
# A weak hyperprior, worth PSEUDO families: the middle and spread of language models, by eye.
CENTRE = np.array([-2.9, -0.6, -5.0, -2.4, 0.65, 5.0, 0.5, 0.3, 1.0])
SPREAD = np.array([1.0, 0.3, 1.5, 0.5, 0.12, 0.8, 1.0, 0.15, 0.05])
PSEUDO = 3.0
TEMPER = 1.0
ROUNDS = 8
EVALUATIONS = 60
PRIORS = {
    "language": ("multipowerlaw", "lr_schedule_runs", "gemstones", "gpt100m"),
    "chess": ("chess",),
    "regression": ("mlp",),
}
# Which collections of families come from a folder of the shared sets.
COLLECTIONS_OF = {name: (name,) for name in ("multipowerlaw", "lr_schedule_runs", "gemstones", "gpt100m")}
COLLECTIONS_OF["supercollapse"] = ("c5m", "chess", "mlp")
# These serve losses like those of their runs only.
ONE_TASK = ("chess", "regression")
# For curves that are like none of these (fine-tuning towards 0, drops of the rate, force fields): set by hand, so wide
# that the curves decide. The middle is that of language models, but that all of the loss may be lost.
WIDE_CENTRE = np.array([-1.5, -0.6, -4.5, -3.0, 0.65, 4.5, 0.3, 0.3, 1.0])
WIDE_SPREAD = np.array([2.5, 0.6, 2.0, 1.5, 0.3, 1.5, 1.0, 0.4, 0.2])
WIDE_SLOPES = 3.0
# Slopes in ln(peak rate) where no series of runs tells them: of either sign, of the size that they have elsewhere.
UNTOLD = {"L_inf | rate": 0.02, "A | rate": 0.3, "a | rate": 0.1, "B | rate": 0.3, "q | rate": 0.1}
SIZE_SLOPES = ("L_inf", "A", "B")
RATE_SLOPES = ("L_inf", "A", "a", "B", "q")


@dataclass
class Fitted:
    """A family with its running estimate."""

    family: RunFamily
    objective: Objective
    theta: np.ndarray
    covariance: np.ndarray


def prior_of(mean: np.ndarray, covariance: np.ndarray) -> Prior:
    return Prior("learning", "transport", NAMES, mean, covariance, {}, "")


def fit_family(family: RunFamily, prior: Prior, start: np.ndarray | None, noise: float) -> Fitted:
    objective = build_objective(family.curves, TransportLaw(), prior, FitSettings()).with_noise(noise)
    if start is None:
        lowest = min(float(curve.log_losses.min()) for curve in objective.curves)
        start = np.concatenate([[lowest - 0.15], prior.mean])
    theta = objective.minimise(start, EVALUATIONS).x
    precision, _ = curvature(objective, theta, set())
    return Fitted(family, objective, theta, np.linalg.inv(precision))


def learn(families: list[RunFamily]) -> tuple[np.ndarray, np.ndarray, list[Fitted]]:
    """Mean and covariance between families, and the families' own estimates."""
    counts = Counter(family.collection for family in families)
    weights = np.array([counts[family.collection] ** -0.5 for family in families])
    mean, covariance = CENTRE.copy(), np.diag(SPREAD**2)
    found: list[Fitted] = []
    for _ in range(ROUNDS):
        prior = prior_of(mean, covariance)
        before = found or [None] * len(families)
        found = [
            fit_family(
                family,
                prior,
                None if old is None else old.theta,
                FitSettings().smallest_noise if old is None else measured_noise(old.objective, old.theta),
            )
            for family, old in zip(families, before, strict=True)
        ]
        values = np.stack([one.theta[1:] for one in found])
        mean = (weights @ values + PSEUDO * CENTRE) / (weights.sum() + PSEUDO)
        off = values - mean
        spread = sum(
            w * (np.outer(d, d) + one.covariance[1:, 1:]) for w, d, one in zip(weights, off, found, strict=True)
        )
        covariance = (spread + PSEUDO * np.diag(SPREAD**2)) / (weights.sum() + PSEUDO)
    return mean, covariance, found


def slopes(found: list[Fitted], kind: str, names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Regression within series, weighed by the families' own precision; spread between series is the uncertainty."""
    learned = {}
    for name in names:
        k = 0 if name == "L_inf" else 1 + NAMES.index(name)
        each = []
        series = {(f.family.series if kind == "rate" else _without_model(f.family)) for f in found}
        for one in sorted(series):
            members = [f for f in found if (f.family.series if kind == "rate" else _without_model(f.family)) == one]
            if kind == "rate":
                x = np.array([np.log(f.family.peak) for f in members])
            else:
                middle = np.exp(np.mean([np.log(f.family.size) for f in members]))
                x = np.array([size_coordinate(f.family.size, float(middle))[0] for f in members])
            if len(members) < 2 or np.ptp(x) < 0.3:
                continue
            y, w = np.array([f.theta[k] for f in members]), np.array([1 / f.covariance[k, k] for f in members])
            centred = x - np.average(x, weights=w)
            each.append((float((w * centred * y).sum() / (w * centred**2).sum()), float((w * centred**2).sum())))
        if each:
            value, precision = np.array(each).T
            middle = float(np.average(value, weights=np.sqrt(precision)))
            spread = float(np.sqrt(np.average((value - middle) ** 2, weights=np.sqrt(precision))))
            learned[f"{name} | {kind}"] = (round(middle, 4), round(max(spread, 0.02), 4))
    return learned


def wide_prior(like: Prior) -> Prior:
    """The prior that leaves most to the curves; slopes are those of another prior, and wider."""
    moves = {name: (mean, round(WIDE_SLOPES * sd, 4)) for name, (mean, sd) in like.slopes.items()}
    text = "no runs: set by hand (benchmarks/learn_priors.py), wide"
    return Prior("wide", "transport", NAMES, WIDE_CENTRE, np.diag(WIDE_SPREAD**2), moves, text)


def _without_model(family: RunFamily) -> str:
    """Series over sizes: same collection, data set and peak rate."""
    head = " ".join(family.series.split()[:2])
    return f"{head} {family.peak:g}"


def learned_priors(data: Path, without: Collection[str] = (), temper: float = TEMPER) -> dict[str, Prior]:
    """Every prior that ships, by name, learned without some collections; one whose runs are all left out is missing."""
    families = [family for family in run_families(data) if family.collection not in without]
    found: dict[str, Prior] = {}
    for name, collections in PRIORS.items():
        members = [family for family in families if family.collection in collections]
        if not members:
            continue
        mean, covariance, fitted = learn(members)
        moves = slopes(fitted, "size", SIZE_SLOPES)
        moves |= {slope: (0.0, sd) for slope, sd in UNTOLD.items()} | slopes(fitted, "rate", RATE_SLOPES)
        runs = Counter(family.collection for family in members)
        text = ", ".join(f"{collection} ({count} families)" for collection, count in runs.items())
        finals = [min(float(curve.losses.min()) for curve in family.curves) for family in members]
        losses = (round(min(finals), 4), round(max(finals), 4)) if name in ONE_TASK else None
        found[name] = Prior(
            name, "transport", NAMES, mean.round(4), (temper * covariance).round(6), moves, text, losses
        )
    return found | {"wide": wide_prior(found["language"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without", nargs="*", default=[], help="Collections to leave out.")
    parser.add_argument("--temper", type=float, default=TEMPER)
    args = parser.parse_args()
    priors = learned_priors(args.data, args.without, args.temper)
    for name, prior in priors.items():
        sd = np.sqrt(np.diag(prior.covariance)).round(2)
        print(name, dict(zip(NAMES, prior.mean.round(2), strict=True)), sd, prior.slopes, flush=True)
    shipped = {name: prior.to_dict() for name, prior in priors.items()}
    form = {"schema": 1, "made_by": "benchmarks/learn_priors.py", "temper": args.temper, "priors": shipped}
    args.out.write_text(json.dumps(form, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
