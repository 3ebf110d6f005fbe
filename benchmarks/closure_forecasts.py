"""Does a drift tied to the state forecast the rest of a run, and do its bands hold what they say?

Small networks on handwritten digits, in three groups: "design", which was looked at while the closure was made,
"check", which was looked at once and then joined to the first, and "fresh", which came after everything was fixed.
Every method forecasts from nine cuts; the lazy limit and a power law of the loss are the baselines.

Run:  python benchmarks/closure_forecasts.py --runs FOLDER [--group fresh]

FOLDER keeps the runs (half a minute of one core each), so that a second call only reads them.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
from pathlib import Path
from time import process_time

import numpy as np

from _machine import write
from eigenflow.closure import forward_test
from eigenflow.closure.forward import ForwardCut
from eigenflow.lab import load_config, run_experiment
from eigenflow.shells import shell_budget
from eigenflow.store import Run, open_run

CUTS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.16, 0.25, 0.35, 0.5)
SHOWN = (0.01, 0.05, 0.1, 0.25, 0.5)
METHODS = ("state + rotation", "state", "closure", "lazy", "persistence", "power law")
PLAIN = ("lazy", "power law")
# Networks whose operator moves by less than this share of itself are lazy, and any method forecasts them.
RICH = 0.1
LEAST = 1e-3  # an error of ln(loss) below which methods are alike
COMMON = ["task.holdout=50", "measure.count=40"]
# Changes of the shipped experiment "digits". Learning rates are a given share of the stability limit at the start.
RUNS = {
    "design": {
        "a01": (
            "model.seed=140 model.width=64 task.samples=50 task.seed=40 train.learning_rate=0.1661784245 "
            "train.steps=5000"
        ),
        "a02": (
            "model.depth=4 model.seed=142 model.width=48 task.samples=40 task.seed=42 "
            "train.learning_rate=0.07878887772 train.steps=5000"
        ),
        "a03": (
            "model.activation=gelu model.depth=3 model.seed=144 model.width=64 task.samples=45 "
            "task.seed=44 train.learning_rate=0.1284010708 train.steps=6000"
        ),
        "a05": (
            "model.output_scale=0.1 model.seed=148 task.samples=50 task.seed=48 "
            "train.learning_rate=0.1947174159 train.steps=8000"
        ),
        "a06": (
            "model.name=cnn model.seed=150 model.width=8 task.samples=40 task.seed=40 "
            "train.learning_rate=0.10190375 train.steps=4000"
        ),
        "a07": (
            "model.centred=true model.output_scale=5 model.seed=152 model.width=256 task.samples=45 "
            "task.seed=42 train.learning_rate=0.0007629516874 train.steps=4000"
        ),
        "a08": (
            "model.activation=silu model.depth=6 model.output_scale=0.5 model.seed=154 model.width=96 "
            "task.samples=40 task.seed=44 train.learning_rate=0.5452658971 train.steps=6000"
        ),
        "a09": (
            "model.depth=6 model.residual=true model.seed=156 model.width=64 task.samples=40 task.seed=46 "
            "train.learning_rate=0.02542997555 train.steps=5000"
        ),
        "a14": (
            "model.depth=3 model.output_scale=0.4 model.seed=146 model.width=64 task.samples=50 "
            "task.seed=46 train.learning_rate=0.03523800568 train.steps=6000"
        ),
        "a20": (
            "model.name=cnn model.seed=158 model.width=6 task.samples=40 task.seed=44 train.batch_size=20 "
            "train.learning_rate=0.03945596673 train.momentum=0.9 train.steps=3000"
        ),
        "a21": (
            "model.seed=159 model.width=64 task.samples=50 task.seed=48 train.batch_size=10 "
            "train.learning_rate=0.06848543763 train.steps=5000"
        ),
    },
    "check": {
        "b01": (
            "model.depth=3 model.output_scale=0.2 model.seed=141 task.samples=50 task.seed=41 "
            "train.learning_rate=0.1426542909 train.steps=6000"
        ),
        "b02": (
            "model.activation=gelu model.output_scale=0.2 model.seed=143 model.width=96 task.samples=50 "
            "task.seed=43 train.learning_rate=0.2109102509 train.steps=5000"
        ),
        "b04": (
            "model.depth=5 model.output_scale=0.4 model.seed=147 model.width=96 task.samples=40 "
            "task.seed=47 train.learning_rate=0.0369763136 train.steps=6000"
        ),
        "b06": (
            "model.activation=gelu model.depth=3 model.name=cnn model.seed=151 model.width=6 "
            "task.samples=40 task.seed=41 train.learning_rate=0.2291071704 train.steps=5000"
        ),
        "b08": (
            "model.centred=true model.output_scale=0.5 model.seed=155 model.width=160 task.samples=50 "
            "task.seed=45 train.learning_rate=0.06241839036 train.steps=5000"
        ),
        "b09": (
            "model.activation=gelu model.depth=4 model.residual=true model.seed=157 model.width=64 "
            "task.samples=40 task.seed=47 train.learning_rate=0.02502011807 train.steps=5000"
        ),
        "b13": (
            "model.activation=silu model.seed=145 model.width=96 task.samples=45 task.seed=45 "
            "train.learning_rate=0.1614365675 train.steps=5000"
        ),
        "b15": (
            "model.activation=gelu model.depth=4 model.output_scale=0.2 model.seed=149 task.samples=40 "
            "task.seed=49 train.learning_rate=0.1564433553 train.steps=6000"
        ),
        "b17": (
            "model.activation=gelu model.centred=true model.depth=1 model.output_scale=4 model.seed=153 "
            "model.width=192 task.samples=45 task.seed=43 train.learning_rate=0.001801577452 "
            "train.steps=4000"
        ),
        "b22": (
            "model.activation=gelu model.depth=3 model.seed=160 model.width=64 task.samples=40 "
            "task.seed=43 train.batch_size=10 train.learning_rate=0.0442905282 train.momentum=0.9 "
            "train.steps=4000"
        ),
        "b23": (
            "model.depth=4 model.seed=157 model.width=96 task.samples=45 task.seed=42 train.batch_size=15 "
            "train.learning_rate=0.06155802784 train.steps=5000"
        ),
    },
    "fresh": {
        "c01": (
            "model.depth=3 model.output_scale=0.25 model.seed=141 model.width=80 task.samples=45 "
            "task.seed=49 train.learning_rate=0.1170535689 train.steps=5000"
        ),
        "c02": (
            "model.activation=gelu model.output_scale=0.4 model.seed=144 task.samples=50 task.seed=40 "
            "train.learning_rate=0.04737830736 train.steps=5000"
        ),
        "c03": (
            "model.activation=silu model.depth=4 model.seed=142 model.width=64 task.samples=40 "
            "task.seed=41 train.learning_rate=0.4016649358 train.steps=6000"
        ),
        "c04": (
            "model.output_scale=0.15 model.seed=143 model.width=200 task.samples=50 task.seed=42 "
            "train.learning_rate=0.1408580784 train.steps=6000"
        ),
        "c05": (
            "model.activation=gelu model.name=cnn model.output_scale=0.2 model.seed=145 model.width=8 "
            "task.samples=40 task.seed=43 train.learning_rate=0.08784324614 train.steps=4000"
        ),
        "c06": (
            "model.depth=5 model.output_scale=0.5 model.residual=true model.seed=146 model.width=64 "
            "task.samples=45 task.seed=44 train.learning_rate=0.01213013382 train.steps=5000"
        ),
        "c07": (
            "model.activation=identity model.seed=147 model.width=64 task.samples=45 task.seed=45 "
            "train.learning_rate=0.0183758644 train.steps=5000"
        ),
        "c08": (
            "model.depth=3 model.seed=148 model.width=96 task.samples=50 task.seed=46 train.batch_size=10 "
            "train.learning_rate=0.05777155428 train.steps=5000"
        ),
        "c09": (
            "model.centred=true model.depth=3 model.output_scale=4 model.seed=149 model.width=256 "
            "task.samples=45 task.seed=47 train.learning_rate=0.001041879975 train.steps=4000"
        ),
        "c10": (
            "model.activation=gelu model.depth=3 model.output_scale=0.5 model.seed=151 model.width=96 "
            "task.samples=40 task.seed=48 train.learning_rate=0.03797238474 train.steps=5000"
        ),
        "c11": ("model.seed=153 task.samples=50 task.seed=49 train.learning_rate=0.3554235127 train.steps=6000"),
        "c12": (
            "model.centred=true model.depth=4 model.output_scale=0.2 model.seed=155 model.width=96 "
            "task.samples=45 task.seed=41 train.learning_rate=0.113313654 train.steps=6000"
        ),
    },
}


def made(name: str, changes: str, folder: Path) -> Run:
    """The run, from the folder or trained now."""
    place = folder / name
    config = load_config("digits", [f"name={name}", *COMMON, *changes.split()])
    return open_run(place) if (place / "run.json").exists() else run_experiment(config, place)


def rows_of(name: str, group: str, run: Run) -> list[dict]:
    """One row for each cut."""
    data = run.measurements
    budget = shell_budget(run)
    start = process_time()
    test = forward_test(data, budget, cuts=CUTS)
    seconds = process_time() - start
    distance = float(data["initial_distance"].values[-1])
    return [
        {
            "run": name,
            "group": group,
            "distance": round(distance, 3),
            "cut": cut.cut,
            "rms_log_ratio": {method: round(cut.forecasts[method].score.rms_log_ratio, 4) for method in METHODS},
            "inside": {method: inside(cut, method) for method in METHODS},
            "cpu_s": round(seconds, 2),
        }
        for cut in test.cuts
    ]


def inside(cut: ForwardCut, method: str) -> float | None:
    """Share of later losses in the 90 % band."""
    one = cut.forecasts[method]
    if one.lower is None or one.upper is None:
        return None
    return round(float(np.mean((one.lower <= cut.truth) & (cut.truth <= one.upper))), 3)


def summary(rows: list[dict]) -> dict:
    """Wins, errors and coverage of each method, over the runs given."""
    names = sorted({row["run"] for row in rows})
    errors = {cut: [row["rms_log_ratio"] for row in rows if row["cut"] == cut] for cut in SHOWN}
    found = {}
    for method in METHODS:
        wins = {cut: sum(row[method] < min(row[other] for other in PLAIN) for row in errors[cut]) for cut in SHOWN}
        logs = {cut: np.log([max(row[method], LEAST) for row in errors[cut]]) for cut in SHOWN}
        held = [[row["inside"][method] for row in rows if row["run"] == name] for name in names]
        held = [[share for share in one if share is not None] for one in held]
        found[method] = {
            "runs": len(names),
            "better_than_plain": wins,
            "geometric_mean_error": {cut: round(float(np.exp(logs[cut].mean())), 4) for cut in SHOWN},
            "coverage": round(float(np.mean([np.mean(one) for one in held if one])), 3),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="Folder of the runs.")
    parser.add_argument("--group", choices=list(RUNS), nargs="*", default=list(RUNS))
    arguments = parser.parse_args()
    rows = []
    for group in arguments.group:
        for name, changes in RUNS[group].items():
            rows += rows_of(name, group, made(name, changes, arguments.runs))
            print(group, name, flush=True)
    found = {}
    for group in arguments.group:
        for kind, is_rich in (("rich", True), ("lazy", False)):
            part = [row for row in rows if row["group"] == group and (row["distance"] >= RICH) == is_rich]
            if part:
                found[f"{group}, {kind}"] = summary(part)
                for method, one in found[f"{group}, {kind}"].items():
                    print(f"{group:7s} {kind:5s} {method:17s}", one, flush=True)
    print(write("closure_forecasts", rows, "scipy", summary=found))


if __name__ == "__main__":
    main()
