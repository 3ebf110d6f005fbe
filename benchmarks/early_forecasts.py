"""Which law, or which mean of laws, forecasts one run best from its first twentieth, tenth, quarter or half?

Every shared run is taken alone; those whose rate stays as it is after warm-up, apart from those whose rate decays. Laws
that are blind to the rate stand beside those that see it, and beside both the means of ln(loss) of two and of three of
them. How much each law counts is fixed, or chosen by the known share and by whether the rate changes, on other
collections than the one that it is judged on (so are all intervals), or follows from the curve itself: from how well
each law, fitted to the first half of the known steps, forecasts the second.

Run:  python benchmarks/early_forecasts.py [--data shared/data] [--quick]     (about 10 CPU-minutes)
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import _forecast_sets as sets
from _machine import write
from eigenflow.core.grid import first_steps
from eigenflow.forecast import Curve, CurveSet, Schedule
from eigenflow.forecast.evaluation.backtests import BacktestCase, Fitter, backtest, pooled_fitter
from eigenflow.forecast.evaluation.protocols import RestOfRun
from eigenflow.forecast.evaluation.scores import interval_score
from eigenflow.forecast.fitting.pooled import history_of
from eigenflow.forecast.fitting.search import fit_parameters
from eigenflow.forecast.intervals.calibration import HeldOut, leave_out
from eigenflow.forecast.intervals.error_scale import COMPONENTS
from eigenflow.forecast.laws.broken_power import BrokenPowerLaw
from eigenflow.forecast.laws.learning_curves import learning_curve_fitter
from eigenflow.forecast.laws.momentum import MomentumLaw
from eigenflow.forecast.laws.power import PowerInSteps, PowerInTime

KINDS = ("constant", "decaying")
SHARES = (0.05, 0.1, 0.25, 0.5)
HINDCAST = "transport + learning_curve, weighed by the curve"
MEMBERS = ("transport", "power_steps", "learning_curve")
PARTS = 4  # weights in a mean are multiples of a quarter
# Points of a curve; twice those of the other forecast benchmarks, so that a twentieth of a run holds enough of them.
POINTS = 120
# No law counts for less than this in a mean of two that the curve itself weighs.
LEAST_WEIGHT = 0.1
# Less than this is early; a transport law with less than that of the weight is contradicted by the curve (4 : 1).
EARLY, CONTRADICTED = 0.2, 0.2
# A rate that differs by less than this after the first tenth of a run stays as it is.
CONSTANT = 0.01
Weights = tuple[float, ...]


@dataclass(frozen=True)
class Forecast:
    """One law's forecast of the rest of one run.

    Attributes:
        group: The collection, left out as a whole.
        kind: "constant" or "decaying".
        share: Of the run that was known.
        key: Collection and curve.
        known: Points that the law was fitted to.
        log_true: ln(loss) of the unseen points.
        log_predicted: ln(forecast).
        spread: Variances, columns as in `COMPONENTS`.
        cpu_s: Of the fit.
        weight: Of the transport law, in the mean that the curve itself weighs.
    """

    group: str
    kind: str
    share: float
    key: str
    known: int
    log_true: np.ndarray
    log_predicted: np.ndarray
    spread: np.ndarray
    cpu_s: float
    weight: float = 1.0

    @property
    def errors(self) -> np.ndarray:
        return self.log_predicted - self.log_true


def fitters() -> dict[str, Fitter]:
    """The laws that are compared."""
    laws = (PowerInSteps(), PowerInTime(), MomentumLaw(), BrokenPowerLaw())
    return {
        **{law.name: pooled_fitter(law, starts=3) for law in laws},
        "transport": lambda curves: fit_parameters(curves, "transport", starts=2),
        "learning_curve": learning_curve_fitter(),
    }


def curves_of(name: str, data: Path) -> dict[str, list[Curve]]:
    """Runs that were logged from their beginning, by kind."""
    sets.POINTS = POINTS
    found = {(curve.name, curve.size): curve for family in sets.SETS[name](data) for curve in family.curves}
    if name == "lr_schedule_runs":
        found |= {(curve.name, curve.size): curve for curve in constant_runs(data)}
    kinds: dict[str, list[Curve]] = {"constant": [], "decaying": []}
    for curve in found.values():
        if curve.branch == 0 and curve.steps[0] <= SHARES[1] * curve.steps[-1]:
            later = curve.schedule.rates[int(0.1 * curve.steps[-1]) : int(curve.steps[-1])]
            kinds["constant" if later.max() <= (1 + CONSTANT) * later.min() else "decaying"].append(curve)
    return kinds


def constant_runs(data: Path) -> list[Curve]:
    """Every run of `lr_schedule_runs` without a cooldown; the set's families hold some of them."""
    folder = data / "lr_schedule_runs"
    runs = pd.read_csv(folder / "runs.csv").set_index("run")
    runs = runs[(runs.group == "main") & (runs.scheduler == "wsd") & (runs.decay_fraction == 0)]
    logs = pd.read_parquet(folder / "curves.parquet")
    return [sets._lr_schedule_curve(str(name), row, logs[logs.run == name]) for name, row in runs.iterrows()]


def run(names: Sequence[str], data: Path, say: Callable[[str], None]) -> tuple[dict[str, list[Forecast]], list[str]]:
    """Forecast every run from every share by every law; only where all laws gave a forecast."""
    found: dict[str, list[Forecast]] = {law: [] for law in (*fitters(), HINDCAST)}
    problems: list[str] = []
    for name, kind in itertools.product(names, KINDS):
        begun = time.process_time()
        for curve in curves_of(name, data)[kind]:
            for share in SHARES:
                protocol = RestOfRun(share)
                alone = CurveSet((curve,))
                if not any(True for _ in protocol.splits(alone)):
                    continue
                result = backtest(alone, fitters(), [protocol])
                problems += result.problems
                if len(result.cases) == len(fitters()):
                    known = len(curve) - len(result.cases[0].steps)
                    told = {case.law: as_forecast(case, name, kind, share, known) for case in result.cases}
                    weights = hindcast_weights(curve, share)
                    told[HINDCAST] = replace(mean_of(weights, told), weight=weights["transport"])
                    for law, forecast in told.items():
                        found[law].append(forecast)
        say(f"{name:18s} {kind:9s} {time.process_time() - begun:6.1f} CPU-s")
    return found, problems


def hindcast_weights(curve: Curve, share: float) -> dict[str, float]:
    """Weigh two laws by one over their mean square error on the later half of what is known; alike if that is short."""
    last = first_steps(share, int(curve.steps[-1]))
    inner = RestOfRun(0.5)
    laws = ("transport", "learning_curve")
    # The horizon of the hindcast is what was known: the run ends there.
    known = replace(
        curve.until(last), schedule=Schedule.table(curve.schedule.rates[:last], warmup=curve.schedule.warmup)
    )
    squares = []
    for split in inner.splits(CurveSet((known,))):
        history = history_of(split.unseen[0])
        for law in laws:
            error = fitters()[law](split.known).log_prediction(history)[0] - np.log(split.unseen[0].losses)
            squares.append(float(np.mean(error**2)))
    first = squares[1] / sum(squares) if squares else 0.5
    first = min(max(first, LEAST_WEIGHT), 1.0 - LEAST_WEIGHT)
    return dict(zip(laws, (first, 1.0 - first), strict=True))


def as_forecast(case: BacktestCase, name: str, kind: str, share: float, known: int) -> Forecast:
    return Forecast(
        sets.FOLDERS[name],
        kind,
        share,
        f"{name}/{case.curve}",
        known,
        np.log(case.true),
        np.log(case.predicted),
        case.spread,
        case.cpu_s,
    )


def mean_of(weights: Mapping[str, float], forecasts: Mapping[str, Forecast]) -> Forecast:
    """The weighted mean of ln(loss); its variances are the mean ones, and how far the members lie apart."""
    first = next(iter(forecasts.values()))
    members = [(weight, forecasts[law]) for law, weight in weights.items() if weight > 0]
    mean = sum(weight * one.log_predicted for weight, one in members)
    spread = sum(weight * one.spread for weight, one in members)
    spread[:, COMPONENTS.index("laws")] += sum(weight * (one.log_predicted - mean) ** 2 for weight, one in members)
    cpu_s = sum(one.cpu_s for _, one in members)
    return replace(first, log_predicted=mean, spread=spread, cpu_s=cpu_s)


def simplex() -> list[Weights]:
    """All weights of the members that are multiples of a quarter."""
    every = itertools.product(range(PARTS + 1), repeat=len(MEMBERS))
    return [tuple(part / PARTS for part in parts) for parts in every if sum(parts) == PARTS]


def typical(forecasts: Sequence[Forecast]) -> float:
    """Geometric mean over curves of the mean |error|, every collection with one vote."""
    rows = pd.DataFrame([(one.group, np.log(np.abs(one.errors).mean() + 1e-6)) for one in forecasts])
    return float(np.exp(rows.groupby(0)[1].mean().mean()))


def chosen_weights(members: Mapping[str, Sequence[Forecast]]) -> Weights:
    """The weights with the smallest typical error on these forecasts."""
    rows = [dict(zip(MEMBERS, row, strict=True)) for row in zip(*(members[law] for law in MEMBERS), strict=True)]
    return min(simplex(), key=lambda w: typical([mean_of(dict(zip(MEMBERS, w, strict=True)), row) for row in rows]))


def stacked(found: Mapping[str, Sequence[Forecast]]) -> tuple[list[Forecast], list[dict[str, object]]]:
    """Weights chosen by share and kind on the other collections; with the weights, and those of all collections."""
    rows = [dict(zip(MEMBERS, row, strict=True)) for row in zip(*(found[law] for law in MEMBERS), strict=True)]
    forecasts: dict[int, Forecast] = {}
    told: list[dict[str, object]] = []
    for kind, share in itertools.product(KINDS, SHARES):
        own = [k for k, row in enumerate(rows) if (row["transport"].kind, row["transport"].share) == (kind, share)]
        groups = sorted({rows[k]["transport"].group for k in own})
        for left_out in [*groups, ""]:
            learned = [k for k in own if rows[k]["transport"].group != left_out]
            if not learned:
                continue
            weights = chosen_weights({law: [rows[k][law] for k in learned] for law in MEMBERS})
            told.append(
                {"kind": kind, "share": share, "left_out": left_out or None, **dict(zip(MEMBERS, weights, strict=True))}
            )
            for k in own:
                if rows[k]["transport"].group == left_out:
                    forecasts[k] = mean_of(dict(zip(MEMBERS, weights, strict=True)), rows[k])
    return [forecasts[k] for k in sorted(forecasts)], told


def fixed_means(found: Mapping[str, Sequence[Forecast]]) -> dict[str, list[Forecast]]:
    """Means of ln(loss) whose weights nobody chose."""
    means = {
        "transport + power_steps": ("transport", "power_steps"),
        "transport + learning_curve": ("transport", "learning_curve"),
        "power_steps + learning_curve": ("power_steps", "learning_curve"),
        "all three": MEMBERS,
    }
    return {
        name: [
            mean_of({law: 1 / len(laws) for law in laws}, dict(zip(laws, row, strict=True)))
            for row in zip(*(found[law] for law in laws), strict=True)
        ]
        for name, laws in means.items()
    }


def by_rule(found: Mapping[str, Sequence[Forecast]]) -> list[Forecast]:
    """What this table recommends, written down after looking at it; by the known share, the rate ahead, and the curve.

    A rate that stays: halves of transport and learning curve. One that decays: thirds of all three members where less
    than `EARLY` is known; later the transport law alone, or the mean that the curve weighs where that contradicts it.
    """
    means = fixed_means(found)
    halves, thirds = means["transport + learning_curve"], means["all three"]
    return [
        half
        if half.kind == "constant"
        else third
        if third.share < EARLY
        else weighed
        if weighed.weight < CONTRADICTED
        else alone
        for half, third, weighed, alone in zip(halves, thirds, found[HINDCAST], found["transport"], strict=True)
    ]


def scores(law: str, forecasts: Sequence[Forecast]) -> list[dict[str, object]]:
    """Score every forecast, with intervals that were calibrated without its collection."""
    protocol = [f"rest after {one.share:.0%}, {one.kind}" for one in forecasts]
    held = [HeldOut(one.group, one.errors, one.spread, p) for one, p in zip(forecasts, protocol, strict=True)]
    calibrations = leave_out(law, held)
    rows = []
    for one in forecasts:
        half = calibrations[one.group].half_width(one.spread)
        lower, upper = one.log_predicted - half, one.log_predicted + half
        inside = (lower <= one.log_true) & (one.log_true <= upper)
        rows.append(
            {
                "law": law,
                "group": one.group,
                "kind": one.kind,
                "share": one.share,
                "key": one.key,
                "points": "under 15" if one.known < 15 else "15 or more",
                "last": abs(one.errors[-1]),
                "mean": np.abs(one.errors).mean(),
                "coverage": inside.mean(),
                "last_inside": bool(inside[-1]),
                "interval_score": interval_score(lower, upper, one.log_true).mean(),
                "cpu_s": one.cpu_s,
            }
        )
    return rows


def summary(table: pd.DataFrame, by: list[str]) -> list[dict[str, object]]:
    """Medians over curves of errors, means of coverage; `typical` and the interval score are geometric, equal votes."""
    rows = []
    for key, part in table.groupby(by, sort=True):
        votes = np.log(part[["mean", "interval_score"]] + 1e-6).groupby(part["group"]).mean().mean()
        told = dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True))
        rows.append(
            {
                **told,
                "curves": len(part),
                "median_last": float(part["last"].median()),
                "median_mean": float(part["mean"].median()),
                "typical_mean": float(np.exp(votes["mean"])),
                "coverage": float(part["coverage"].mean()),
                "last_inside": float(part["last_inside"].mean()),
                "interval_score": float(np.exp(votes["interval_score"])),
                "cpu_s": float(part["cpu_s"].mean()),
            }
        )
    return rows


def evaluated(found: Mapping[str, Sequence[Forecast]]) -> dict[str, Any]:
    """What the results file holds: scores by share and by collection, weights, the posterior's own intervals."""
    chosen, told = stacked(found)
    every = {**found, **fixed_means(found), "chosen on other collections": chosen, "by rule": by_rule(found)}
    table = pd.DataFrame([row for law, forecasts in every.items() for row in scores(law, forecasts)])
    return {
        "rows": summary(table, ["kind", "share", "law"]),
        "by_points": summary(table, ["kind", "points", "law"]),
        "by_collection": summary(table, ["kind", "share", "group", "law"]),
        "weights": told,
        "learning_curve_own_intervals": own_intervals(found["learning_curve"]),
    }


def own_intervals(forecasts: Sequence[Forecast]) -> list[dict[str, object]]:
    """How often the posterior of the learning curves holds, without any calibration: normal, with the noise."""
    columns = [COMPONENTS.index("parameters"), COMPONENTS.index("noise")]
    rows = []
    for kind, share in itertools.product(KINDS, SHARES):
        own = [one for one in forecasts if (one.kind, one.share) == (kind, share)]
        inside = [np.abs(one.errors) <= 1.645 * np.sqrt(one.spread[:, columns].sum(axis=1)) for one in own]
        if own:
            coverage, last = np.mean([one.mean() for one in inside]), np.mean([one[-1] for one in inside])
            rows.append({"kind": kind, "share": share, "coverage": float(coverage), "last_inside": float(last)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("shared/data"), help="Folder of the shared sets.")
    parser.add_argument("--quick", action="store_true", help="Only two collections; nothing is written.")
    args = parser.parse_args()
    names = ("multipowerlaw", "mlp", "gemstones") if args.quick else tuple(sets.SETS)
    say = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    say(f"{len(names)} sets; about {2 if args.quick else 10} CPU-minutes")
    begun = time.process_time()
    found, problems = run(names, args.data, say)
    results = evaluated(found)
    print(pd.DataFrame(results["rows"]).to_string(float_format=lambda value: f"{value:.4f}"))
    say(f"{time.process_time() - begun:.0f} CPU-s in all; {len(problems)} fits refused")
    if not args.quick:
        rows = results.pop("rows")
        path = write("early_forecasts", rows, "scipy", **results, refused=problems, cpu_s=time.process_time() - begun)
        say(f"wrote {path.name}")


if __name__ == "__main__":
    main()
