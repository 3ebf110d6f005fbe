"""Does the noise of minibatches weaken the coupling between distant shells, as the paper says?

Networks of the same seeds learn the same digits with full batches and with smaller ones, for the same time. What
answers the question is `turned`, the share of a shell's directions that leaves for a distant shell by the next
measurement; see `eigenflow.theory.coupling.batch_sweep`. The expected and the observed energy that batches add stand
beside it.

Run:  python benchmarks/batch_sweep.py runs/sweep            (about three minutes; runs that are there are not repeated)
"""

import argparse
from pathlib import Path

import numpy as np

from _machine import write
from eigenflow.lab import load_config, run_experiment
from eigenflow.store import Run, open_run
from eigenflow.theory.coupling.batch_noise import batch_noise
from eigenflow.theory.coupling.batch_sweep import MEASURES, batch_sweep

SETTINGS = [
    "task.samples=40",
    "task.holdout=0",
    "model.width=64",
    "train.learning_rate=0.1",
    "train.steps=4000",
    "measure.count=30",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[40, 10, 2])
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    runs = [recorded(arguments.folder, size, seed) for size in arguments.sizes for seed in range(arguments.seeds)]
    found = batch_sweep(runs, paired=True)
    rows = []
    for i, size in enumerate(found.batch_sizes):
        rows.append({"batch_size": size, "runs": found.runs[i], "noise_share": found.noise_share[i]})
        for name in MEASURES:
            if name not in found.missing:
                rows[-1][name] = found.coupling[name][i]
                rows[-1][f"{name}_ratio"] = found.ratio[name][i]
                rows[-1][f"{name}_interval"] = found.ratio_interval[name][i]
        members = [run for run in runs if run.header["config"]["train"]["batch_size"] == size]
        if size < members[0].header["probe"]["samples"]:
            ratios = [float(batch_noise(run).ratio.mean()) for run in members]
            rows[-1]["noise_observed_over_expected"] = ratios
        print(rows[-1], flush=True)
    answers = {name: found.answer(name) for name in MEASURES}
    print(f"Small batches: {answers}; window t = {np.round(found.window, 3).tolist()}")
    more = {"answers": answers, "window": found.window, "settings": SETTINGS}
    print(f"Result: {write('batch_sweep', rows, 'scipy', **more)}")


def recorded(folder: Path, size: int, seed: int) -> Run:
    """The run of a batch size and a seed, trained if it is not there."""
    path = folder / f"batch-{size}-seed-{seed}"
    if (path / "run.json").is_file() and open_run(path).status == "complete":
        return open_run(path)
    changes = [f"train.batch_size={size}", f"model.seed={seed}", f"train.seed={100 + seed}"]
    print(f"training {path.name}", flush=True)
    return run_experiment(load_config("digits", [*SETTINGS, *changes]), path)


if __name__ == "__main__":
    main()
