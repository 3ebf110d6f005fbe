"""How well does every loss law forecast what it has not seen, and do its 90 % intervals hold?

Every law is refitted to what each protocol leaves (the first 10, 25 and 50 % of a run; all schedules but one; all sizes
but one) on every shared set with schedules or sizes, and scored on the rest. Intervals of a set use a calibration made
on the other sets. Beside them stands the residual bootstrap of the two baselines that forecast best.

Run:  python benchmarks/forecast_laws.py [--data shared/data] [--quick] [--calibrate]

`--calibrate` also rewrites the calibration that ships with the package, learned from all sets.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import eigenflow.forecast as package
from _forecast_sets import FOLDERS, NOT_LEARNED, SETS, repeats_of
from _forecast_table import markdown
from _machine import RESULTS, write
from _residual_bootstrap import bootstrap_intervals
from eigenflow.forecast.evaluation.backtests import BacktestCase, Fitter, Refitter, backtest, pooled_fitter, score_case
from eigenflow.forecast.evaluation.protocols import LeaveOneSchedule, LeaveOneSize, RestOfRun, SplitProtocol, TwoSizes
from eigenflow.forecast.evaluation.scores import score_forecast
from eigenflow.forecast.fitting.pooled import history_of
from eigenflow.forecast.fitting.search import fit_parameters
from eigenflow.forecast.intervals.calibration import SHIPPED, calibrate, leave_out, to_entry
from eigenflow.forecast.intervals.noise import noise_floor, repeat_spread
from eigenflow.forecast.laws.chinchilla import ChinchillaLaw
from eigenflow.forecast.laws.published import PUBLISHED_LAWS

PROTOCOLS: dict[str, tuple[SplitProtocol, ...]] = {
    "rest": (RestOfRun(0.1), RestOfRun(0.25), RestOfRun(0.5)),
    "schedule": (LeaveOneSchedule(),),
    "one schedule": (LeaveOneSchedule(least_known=1, name="one schedule to another"),),
    "size": (LeaveOneSize(),),
    "pair": (TwoSizes(),),
}
BOOTSTRAPPED = ("power_steps", "momentum")
QUICK = ("multipowerlaw", "c5m_schedules", "gpt100m")


@dataclass(frozen=True)
class Row:
    """One case with the set it belongs to."""

    set: str
    case: BacktestCase


def fitters(hides: str) -> dict[str, Fitter]:
    """Every law that answers the question; Chinchilla's is a power of steps unless sizes differ."""
    laws = [*PUBLISHED_LAWS.values(), *([ChinchillaLaw()] if hides in ("size", "pair") else [])]
    return {law.name: pooled_fitter(law, starts=2) for law in laws} | transport_fitters()


def transport_fitters() -> dict[str, Fitter]:
    """The transport law with its priors, and its lazy limit: noise relaxes at fixed rates, time is the sum of rates."""
    return {
        "transport": lambda curves: fit_parameters(curves, "transport", starts=2),
        "lazy": lambda curves: fit_parameters(curves, "transport", starts=2, fixed={"alpha": 1.0, "p": 1.0}),
    }


def refitters() -> dict[str, Refitter]:
    """The transport law again for the backtests within a study: one start, the prior that the fit chose."""
    return {"transport": lambda fit, curves: fit_parameters(curves, "transport", starts=1, prior=fit.prior)}


def run(
    names: Sequence[str], data: Path, say: Callable[[str], None]
) -> tuple[list[Row], list[dict[str, object]], list[str]]:
    """Backtest all laws on the sets; give the cases, scores of the residual bootstrap, and what was refused."""
    rows: list[Row] = []
    bootstrapped: list[dict[str, object]] = []
    problems: list[str] = []
    for name in names:
        for family in SETS[name](data):
            for hides in family.hide:
                protocols = [p for p in PROTOCOLS[hides] if any(True for _ in p.splits(family.curves))]
                if not protocols:
                    continue
                begun = time.process_time()
                found = backtest(family.curves, fitters(hides), protocols, refitters=refitters())
                rows += [Row(name, case) for case in found.cases]
                problems += found.problems
                for protocol in protocols:
                    bootstrapped += [{"set": name, **row} for row in bootstrap_rows(protocol, family.curves)]
                say(f"{name:18s} {family.name:24s} {hides:12s} {time.process_time() - begun:6.1f} CPU-s")
    return rows, bootstrapped, problems


def bootstrap_rows(protocol: SplitProtocol, curves: package.CurveSet) -> list[dict[str, object]]:
    """Score the residual bootstrap on one protocol."""
    rows = []
    for split in protocol.splits(curves):
        for law in BOOTSTRAPPED:
            fit = pooled_fitter(PUBLISHED_LAWS[law], starts=1)(split.known)
            targets = [(history_of(curve), curve.size) for curve in split.unseen]
            intervals = bootstrap_intervals(fit, split.known, targets, np.random.default_rng(0))
            for curve, (history, size), (lower, upper) in zip(split.unseen, targets, intervals, strict=True):
                predicted = np.exp(fit.log_prediction(history, size)[0])
                score = score_forecast(curve.losses, predicted, lower, upper)
                rows.append({"law": law, "protocol": split.protocol, "curve": curve.label, **score.__dict__})
    return rows


def scored(rows: Sequence[Row]) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    """Score all cases, each set with the calibration that was learned without its folder."""
    table, coverage = [], {}
    for law in dict.fromkeys(row.case.law for row in rows):
        own = [row for row in rows if row.case.law == law]
        # A law with too few cases of its own borrows those of the other laws, the set's folder left out as ever.
        lenders = own if len({FOLDERS[row.set] for row in own}) > 2 else rows
        held = leave_out(law, [row.case.held_out(FOLDERS[row.set]) for row in lenders if row.set not in NOT_LEARNED])
        scores = [{"set": row.set, **score_case(row.case, held[FOLDERS[row.set]])} for row in own]
        table += scores
        frame = pd.DataFrame([score for score in scores if score["set"] not in NOT_LEARNED])
        coverage[law] = frame.groupby(frame["set"].map(FOLDERS)).coverage.mean().round(3).to_dict()
    return pd.DataFrame(table), coverage


def mean_of_two(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Error of the mean of ln(loss) of the transport law and the power of steps, beside both, by protocol."""
    found: dict[tuple[str, ...], dict[str, BacktestCase]] = {}
    for row in rows:
        case = row.case
        found.setdefault((row.set, case.protocol, case.split, case.curve), {})[case.law] = case
    lines = []
    for key, laws in found.items():
        if {"transport", "power_steps"} <= set(laws):
            first, second = laws["transport"], laws["power_steps"]
            mean = np.sqrt(first.predicted) * np.sqrt(second.predicted)
            at = first.after_branch if first.after_branch.any() else np.ones(len(mean), dtype=bool)
            named = {"transport": first.predicted, "power_steps": second.predicted, "mean of both": mean}
            errors = {name: np.abs(predicted - first.true)[at].mean() for name, predicted in named.items()}
            lines.append({"protocol": key[1], **errors})
    table = pd.DataFrame(lines).groupby("protocol", sort=False)
    return {str(name): np.exp(np.log(part.drop(columns="protocol")).mean()).to_dict() for name, part in table}


def ship(rows: Sequence[Row], coverage: Mapping[str, Mapping[str, float]]) -> Path:
    """Write the calibration of every law, and one of all together, into the package."""
    laws, kept = {}, [row for row in rows if row.set not in NOT_LEARNED]
    for law in coverage:
        cases = [row.case.held_out(FOLDERS[row.set]) for row in kept if row.case.law == law]
        if len({case.group for case in cases}) > 2:
            laws[law] = {**to_entry(calibrate(law, cases)), "coverage": coverage[law]}
    every = [row.case.held_out(FOLDERS[row.set]) for row in kept]
    laws["default"] = {**to_entry(calibrate("default", every)), "coverage": {}}
    text = {
        "made_by": "benchmarks/forecast_laws.py --calibrate",
        "learned_from": "held-out parts of public loss curves; the sets are named in docs/validation/forecasts.md",
        "coverage_means": "share of unseen points inside, by curve; the set's folder was left out of the learning",
        "laws": laws,
    }
    path = Path(package.__file__).parent / SHIPPED
    path.write_text(json.dumps(text, indent=1) + "\n")
    return path


def floors(names: Sequence[str], data: Path) -> list[dict[str, object]]:
    """Point noise of every set, and the spread between repeats where there are seeds."""
    rows: list[dict[str, object]] = []
    for name in names:
        curves = [curve for family in SETS[name](data) for curve in family.curves if len(curve) >= 5]
        rows.append({"set": name, "noise_sd": float(np.median([noise_floor(c.steps, c.losses).sd for c in curves]))})
    for name, repeats in repeats_of(data).items():
        if any(len(setting) > 1 for setting in repeats):
            rows.append({"set": name, **{f"repeat_{k}": v for k, v in repeat_spread(repeats).__dict__.items()}})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("shared/data"), help="Folder of the shared sets.")
    parser.add_argument("--quick", action="store_true", help=f"Only {', '.join(QUICK)}; nothing is written.")
    parser.add_argument("--calibrate", action="store_true", help="Rewrite the shipped calibration.")
    args = parser.parse_args()
    names = QUICK if args.quick else tuple(SETS)
    say = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    say(f"{len(names)} sets; about {2 if args.quick else 18} CPU-minutes")
    begun = time.process_time()
    rows, bootstrapped, problems = run(names, args.data, say)
    table, coverage = scored(rows)
    mixed, noise = mean_of_two(rows), floors(names, args.data)
    text = markdown(table, pd.DataFrame(bootstrapped), coverage, noise, mixed)
    say(f"{time.process_time() - begun:.0f} CPU-s in all; {len(problems)} fits refused")
    print(text)
    if args.quick:
        return
    path = write(
        "forecast_laws",
        json.loads(summary(table).to_json(orient="records")),
        "scipy",
        residual_bootstrap=json.loads(
            summary(pd.DataFrame(bootstrapped).assign(inside_final=False, cpu_s=0.0)).to_json(orient="records")
        ),
        coverage=coverage,
        floors=noise,
        mean_of_two=mixed,
        refused=problems,
        cpu_s=time.process_time() - begun,
    )
    (RESULTS / "forecast_laws.md").write_text(text)
    say(f"wrote {path.name} and forecast_laws.md")
    if args.calibrate:
        say(f"wrote {ship(rows, coverage).name}")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each set, protocol and law: means over curves."""
    absolute = table.assign(final_error=table.final_error.abs())
    columns = ["final_error", "mae", "mae_after_branch", "r2", "coverage", "width", "winkler", "inside_final", "cpu_s"]
    grouped = absolute.groupby(["set", "protocol", "law"], sort=False)
    return grouped[columns].mean().assign(curves=grouped.size()).reset_index()


if __name__ == "__main__":
    main()
