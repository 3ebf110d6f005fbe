"""
Which claims hold on which runs?
================================

Networks on handwritten digits, one thing varied at a time.

Twelve runs: three widths at two output scales, a plain deep network beside a residual one of equal size, minibatches
of two sizes beside full batches, and two repeats with other random weights. Every run is recorded, judged by the same
bands, and forecast from its own beginning. docs/validation/study.md shows and discusses what comes out.

``python examples/which_claims_hold.py runs/study`` takes some minutes on two cores; ``--runs NAME ...`` makes some
of them.
"""

# sphinx_gallery_thumbnail_path = "images/study_verdicts.png"
import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

# Samples that no shipped configuration draws: the bands of the claims were fixed without these runs.
COMMON = ["task.seed=11", "task.samples=60", "train.steps=4000", "measure.count=40", "measure.threads=1"]


def _scaled(width: int, scale: float) -> list[str]:
    """A network whose centred outputs are multiplied by `scale`: large is lazy.

    The operator grows like scale^2 width, so the rate falls with it: one update is as long at every width and scale.
    """
    rate = 0.2 * (0.3 / scale) ** 2 * (96 / width)
    changes = {"model.width": width, "model.output_scale": scale, "model.centred": "true", "train.learning_rate": rate}
    return [f"{key}={value}" for key, value in changes.items()]


# Rows drawn with their intervals, and whether on a logarithmic axis.
SHOWN = {
    "C3.source": False,
    "C3.forward": False,
    "C4.sign": False,
    "C5.collapse": False,
    "C7.error": True,
    "C8.equation": True,
}

_DEEP = ["model.depth=6", "model.width=64", "model.output_scale=0.3", "train.learning_rate=0.1"]

RUNS: dict[str, list[str]] = {
    **{f"width {width}, rich": _scaled(width, 0.3) for width in (32, 96, 288)},
    **{f"width {width}, lazy": _scaled(width, 10.0) for width in (32, 96, 288)},
    "width 96, rich, repeat 1": [*_scaled(96, 0.3), "model.seed=101"],
    "width 96, rich, repeat 2": [*_scaled(96, 0.3), "model.seed=102"],
    "width 96, batch 15": [*_scaled(96, 0.3), "train.batch_size=15"],
    "width 96, batch 5": [*_scaled(96, 0.3), "train.batch_size=5"],
    "deep, plain": _DEEP,
    "deep, residual": [*_DEEP, "model.residual=true"],
}


def record(name: str, folder: Path, more: list[str]) -> str:
    """Train and record one run, unless its folder holds it already; write its summary and report."""
    from eigenflow.lab import load_config, run_experiment
    from eigenflow.report import analyse, write_report

    if not (folder / "report.html").is_file():
        run = run_experiment(load_config("digits", [*COMMON, *RUNS[name], *more]), folder, resume=folder.exists())
        analysis = analyse(run)
        run.write_summary(analysis.summary())
        write_report(analysis)
    return name


def read_rows(folders: dict[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """The claims of every run, as its summary holds them."""
    import eigenflow as ef

    return {name: (ef.open_run(folder).summary or {})["claims"] for name, folder in folders.items()}


def draw(found: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """The verdicts of all runs in one picture, and the estimates behind six of them in another."""
    import matplotlib.pyplot as plt

    from eigenflow.plots.claims import plot_claims, plot_estimates
    from eigenflow.theory import Claim

    rows = {name: [Claim.from_dict(row) for row in claims] for name, claims in found.items()}
    figure, axes = plt.subplots(2, 3, figsize=(15, 1.6 + 0.5 * len(rows)), layout="constrained", sharey=True)
    for ax, (key, log) in zip(axes.flat, SHOWN.items(), strict=True):
        plot_estimates(rows, key, ax=ax, log=log)
        ax.title.set_fontsize(9)
    figure.savefig(out / "estimates.png", dpi=110)
    plt.close(figure)
    lines = max(len(found) for found in rows.values())
    figure, ax = plt.subplots(figsize=(2.2 + 0.62 * len(rows), 1.6 + 0.19 * lines), layout="constrained")
    plot_claims(rows, ax=ax)
    figure.savefig(out / "verdicts.png", dpi=110)
    plt.close(figure)


def _recorded(folders: dict[str, Path], more: list[str], processes: int) -> Iterator[str]:
    """Names of the runs as they are done; without processes in this one."""
    if not processes:
        yield from (record(name, folder, more) for name, folder in folders.items())
        return
    # Processes are started afresh: forked ones would share PyTorch's threads.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        started = [pool.submit(record, name, folder, more) for name, folder in folders.items()]
        yield from (run.result() for run in as_completed(started))


def main(out: str, names: list[str] | None = None, more: list[str] | None = None, processes: int = 2) -> pd.DataFrame:
    chosen = list(RUNS) if names is None else names
    folders = {name: Path(out) / name.replace(", ", "-").replace(" ", "") for name in chosen}
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(f"{len(chosen)} runs of 600 operator rows, each some 20 CPU seconds, {processes} at a time", flush=True)
    for name in _recorded(folders, more or [], processes):
        print(f"  {name}: {folders[name] / 'report.html'}", flush=True)
    rows = read_rows(folders)
    table = pd.DataFrame({"run": name, **row} for name, claims in rows.items() for row in claims)
    table.to_csv(Path(out) / "verdicts.csv", index=False)
    draw(rows, Path(out))
    print(table.pivot_table(index="claim", columns="run", values="verdict", aggfunc="first", sort=False).to_string())
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", default="runs/study")
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), metavar="NAME", help=f"Some of: {'; '.join(RUNS)}")
    arguments = parser.parse_args()
    main(arguments.out, arguments.runs)
