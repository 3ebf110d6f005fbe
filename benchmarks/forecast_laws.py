"""How well does every loss law forecast what it has not seen, and do its 90 % intervals hold?

Every law is refitted to what each question leaves (`_forecast_kinds.py`: rests, schedules, sizes, peak rates, few and
noisy points) on every shared set, and scored on the rest. Whole collections are left out of everything that is
learned: the priors of the transport law, the weights of its intervals, their calibration. Beside it stands the residual
bootstrap of the two baselines that forecast best.

Run:  python benchmarks/forecast_laws.py [--data shared/data] [--quick] [--calibrate] [--answers FILE]

`--calibrate` also rewrites the calibration that ships with the package, learned from all sets. `--answers` keeps all
forecasts in a file, or takes them from there if it exists: scores and calibrations then take seconds.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from joblib import Parallel, delayed

import eigenflow.forecast.intervals as package
from _forecast_kinds import Question, questions
from _forecast_sets import FOLDERS, NOT_LEARNED, SETS, repeats_of
from _forecast_table import markdown
from _machine import RESULTS, write
from _residual_bootstrap import bootstrap_intervals
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.evaluation.backtests import (
    BacktestCase,
    Fitter,
    Refitter,
    forecast_split,
    pooled_fitter,
    score_case,
)
from eigenflow.forecast.evaluation.protocols import Split
from eigenflow.forecast.evaluation.scores import score_forecast
from eigenflow.forecast.fitting.pooled import history_of
from eigenflow.forecast.fitting.priors import Prior
from eigenflow.forecast.fitting.search import fit_parameters
from eigenflow.forecast.intervals.calibration import SHIPPED, calibrate, leave_out, to_entry
from eigenflow.forecast.intervals.noise import noise_floor, repeat_spread
from eigenflow.forecast.laws.broken_power import BrokenPowerLaw
from eigenflow.forecast.laws.chinchilla import ChinchillaLaw
from eigenflow.forecast.laws.learning_curves import learning_curve_fitter
from eigenflow.forecast.laws.published import PUBLISHED_LAWS
from learn_priors import COLLECTIONS_OF, learned_priors

BOOTSTRAPPED = ("power_steps", "momentum")
# Laws whose fits take most of the time have one start.
SLOW = ("multi_power", "functional")
QUICK = ("multipowerlaw", "c5m_schedules", "gpt100m")


@dataclass(frozen=True)
class Row:
    """One case with the set it belongs to."""

    set: str
    case: BacktestCase


@dataclass
class Answers:
    """All forecasts.

    Attributes:
        rows: Cases of all laws.
        bootstrapped: Scores of the residual bootstrap.
        problems: Fits that were refused.
        cpu_s: Processor seconds of all processes.
    """

    rows: list[Row]
    bootstrapped: list[dict[str, object]]
    problems: list[str]
    cpu_s: float


def priors_without(folder: str, data: Path) -> tuple[tuple[Prior, ...], float]:
    """The priors of the transport law, learned without the collections of a folder, and what it cost."""
    begun = time.process_time()
    priors = tuple(learned_priors(data, without=COLLECTIONS_OF.get(folder, ())).values())
    return priors, time.process_time() - begun


def fitters(split: Split, priors: Sequence[Prior]) -> dict[str, Fitter]:
    """Every law that answers the question; Chinchilla's is a power of steps unless sizes differ."""
    laws = [*PUBLISHED_LAWS.values(), *([ChinchillaLaw()] if len({curve.size for curve in split.known}) > 1 else [])]
    found = {law.name: pooled_fitter(law, starts=1 if law.name in SLOW else 2) for law in laws}
    if split.is_same_run:
        found |= {"broken_power": pooled_fitter(BrokenPowerLaw()), "learning_curve": learning_curve_fitter()}
    return found | {"transport": lambda curves: fit_parameters(curves, "transport", starts=2, prior=list(priors))}


def refitters(priors: Sequence[Prior]) -> dict[str, Refitter]:
    """The transport law again for the backtests within a study: one start, the prior that the fit chose."""
    named = {prior.name: prior for prior in priors}
    return {
        "transport": lambda fit, curves: fit_parameters(
            curves, "transport", starts=1, prior=named[fit.prior], mixes=False
        )
    }


def answered(question: Question, priors: Sequence[Prior]) -> Answers:
    """All laws' cases of one question, scores of the residual bootstrap, and what was refused."""
    begun, problems, split = time.process_time(), list[str](), question.split
    cases = forecast_split(split, fitters(split, priors), refitters(priors), problems)
    bootstrapped: list[dict[str, object]] = [{"set": question.set, **row} for row in bootstrap_rows(split)]
    rows = [Row(question.set, case) for case in cases]
    return Answers(rows, bootstrapped, problems, time.process_time() - begun)


def run(names: Sequence[str], data: Path, jobs: int) -> Answers:
    """Answer all questions of the sets."""
    folders = sorted({FOLDERS[name] for name in names})
    learned = Parallel(n_jobs=jobs)(delayed(priors_without)(folder, data) for folder in folders)
    priors = {folder: found for folder, (found, _) in zip(folders, learned, strict=True)}
    say("priors without each collection are learned")
    asked = list(questions(data, names))
    running = Parallel(n_jobs=jobs, batch_size=4, return_as="generator")
    found = Answers([], [], [], sum(seconds for _, seconds in learned))
    for done, one in enumerate(running(delayed(answered)(one, priors[FOLDERS[one.set]]) for one in asked), start=1):
        found.rows += one.rows
        found.bootstrapped += one.bootstrapped
        found.problems += one.problems
        found.cpu_s += one.cpu_s
        if done % 50 == 0:
            say(f"{done} of {len(asked)} questions")
    return found


def bootstrap_rows(split: Split) -> list[dict[str, object]]:
    """Score the residual bootstrap on one question."""
    rows = []
    for law in BOOTSTRAPPED:
        try:
            fit = pooled_fitter(PUBLISHED_LAWS[law], starts=1)(split.known)
        except ArgumentError:  # too few points
            continue
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


def say(line: str) -> None:
    """Progress, beside the table."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("shared/data"), help="Folder of the shared sets.")
    parser.add_argument("--quick", action="store_true", help=f"Only {', '.join(QUICK)}; nothing is written.")
    parser.add_argument("--calibrate", action="store_true", help="Rewrite the shipped calibration.")
    parser.add_argument("--answers", type=Path, help="File of all forecasts, to score them again.")
    parser.add_argument("--jobs", type=int, default=2, help="Processes.")
    args = parser.parse_args()
    names = QUICK if args.quick else tuple(SETS)
    say(f"{len(names)} sets; about {4 if args.quick else 30} CPU-minutes on {args.jobs} processes")
    begun = time.process_time()
    if args.answers is not None and args.answers.exists():
        found = joblib.load(args.answers)
    else:
        found = run(names, args.data, args.jobs)
        if args.answers is not None:
            joblib.dump(found, args.answers)
    table, coverage = scored(found.rows)
    noise = floors(names, args.data)
    text = markdown(table, pd.DataFrame(found.bootstrapped), coverage, noise)
    cpu_s = found.cpu_s + time.process_time() - begun
    say(f"{cpu_s:.0f} CPU-s in all; {len(found.problems)} fits refused")
    print(text)
    if args.quick:
        return
    path = write(
        "forecast_laws",
        json.loads(summary(table).to_json(orient="records")),
        "scipy",
        residual_bootstrap=json.loads(
            summary(pd.DataFrame(found.bootstrapped).assign(inside_final=False, cpu_s=0.0)).to_json(orient="records")
        ),
        coverage=coverage,
        floors=noise,
        refused=found.problems,
        cpu_s=cpu_s,
    )
    (RESULTS / "forecast_laws.md").write_text(text)
    say(f"wrote {path.name} and forecast_laws.md")
    if args.calibrate:
        say(f"wrote {ship(found.rows, coverage).name}")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each set, protocol and law: means over curves."""
    absolute = table.assign(final_error=table.final_error.abs())
    columns = ["final_error", "mae", "mae_after_branch", "r2", "coverage", "width", "winkler", "inside_final", "cpu_s"]
    grouped = absolute.groupby(["set", "protocol", "law"], sort=False)
    return grouped[columns].mean().assign(curves=grouped.size()).reset_index()


if __name__ == "__main__":
    main()
