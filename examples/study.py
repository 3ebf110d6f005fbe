"""
A study of the claims on many networks
======================================

Networks that differ in one thing at a time, recorded first and judged afterwards.

They learn handwritten digits, the middle of natural-image patches, and the source text of Python's standard library.
Varied are the width, in parametrisations in which it changes nothing else, how lazy training is, the size of batches,
depth with and without shortcuts, and the optimizer. docs/validation/study.md shows and discusses what comes out.

``record`` trains and measures, about a minute of one core a run; ``status`` says what is there; ``judge`` tests the
claims and forecasts every run from its own beginning; ``atlas`` makes one page of all runs:

.. code-block:: bash

    python examples/study.py record runs/study --processes 2
    python examples/study.py judge runs/study
    python examples/study.py atlas runs/study
"""

# sphinx_gallery_thumbnail_path = "images/study_verdicts.png"
import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from runpy import run_path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

# Forecasts are told from these shares of a run. Those between them serve the bands, which learn from earlier cuts.
CUTS = (0.01, 0.05, 0.1, 0.25, 0.5)


class Setting(NamedTuple):
    """A shipped configuration, what is changed in it, and what the run is there for."""

    config: str
    changes: list[str]
    varied: str


# Samples that no shipped configuration draws: the rules of the claims were fixed without these runs.
ALL = ["measure.count=48", "measure.threads=1"]
DIGITS = [*ALL, "task.seed=23", "task.samples=50", "train.steps=4000"]
PATCHES = [*ALL, "task.seed=24", "task.samples=500"]
SOURCE = [*ALL, "task.seed=25", "task.symbols=24", "train.batch_size=32", "train.steps=2000"]


def _wide(kind: str, width: int, *more: str) -> Setting:
    """One learning rate for all widths: that is what these parametrisations are for."""
    told = {"ntk": "NTK", "maximal_update": "maximal-update"}[kind]
    changes = [f"model.parametrisation={kind}", f"model.width={width}", "train.learning_rate=0.5", *more]
    return Setting("digits-width", [*DIGITS, *changes], f"width {width}, {told} parametrisation")


def _scaled(scale: float, varied: str, *more: str) -> Setting:
    """A tanh network whose centred outputs are multiplied by `scale`: large is lazy, and the rate falls with it."""
    rate = 0.2 * (0.3 / scale) ** 2
    changes = ["model.width=96", f"model.output_scale={scale}", "model.centred=true", f"train.learning_rate={rate}"]
    return Setting("digits", [*DIGITS, *changes, *more], varied)


def _deep(depth: int, residual: bool) -> Setting:
    changes = [f"model.depth={depth}", "model.width=64", "model.output_scale=0.3", "model.centred=true"]
    changes += ["train.learning_rate=0.1", f"model.residual={str(residual).lower()}"]
    return Setting("digits", [*DIGITS, *changes], f"{depth} layers, {'with shortcuts' if residual else 'plain'}")


def _images(scale: float, varied: str) -> Setting:
    """Convolutions on the digits, by full batches of plain gradient descent."""
    rate = 0.1 * (0.3 / scale) ** 2
    changes = [f"model.output_scale={scale}", "model.centred=true", f"train.learning_rate={rate}"]
    return Setting("digits-cnn", [*DIGITS, *changes, "train.momentum=0.0", "train.batch_size=0"], varied)


def _patches(kind: str, scale: float, varied: str) -> Setting:
    """Rates stay below the edge of stability of the network that has learned its features."""
    shape, rate, steps = {
        "mlp": (["model.width=96"], 0.015, 2500),
        "cnn": (["model.name=cnn", "model.width=4"], 0.02, 1250),
        "residual": (["model.width=64", "model.depth=4", "model.residual=true"], 0.01, 2500),
    }[kind]
    changes = [f"model.output_scale={scale}", f"train.learning_rate={rate * (0.3 / scale) ** 2}"]
    changes += ["model.parametrisation=standard", f"train.steps={steps}", *shape]
    return Setting("patches", [*PATCHES, *changes], varied)


def _source(preconditioner: bool) -> Setting:
    varied = "operator of AdamW, J P⁻¹ Jᵀ" if preconditioner else "plain operator, J Jᵀ"
    return Setting("source", [*SOURCE, f"measure.preconditioner={str(preconditioner).lower()}"], varied)


RUNS: dict[str, Setting] = {
    **{f"ntk, width {width}": _wide("ntk", width) for width in (32, 128, 512)},
    **{f"maximal update, width {width}": _wide("maximal_update", width) for width in (32, 128, 512)},
    "maximal update, width 128, weights 2": _wide("maximal_update", 128, "model.seed=102"),
    "tanh, lazy": _scaled(10.0, "output scale 10"),
    "tanh, rich": _scaled(0.3, "output scale 0.3"),
    "tanh, rich, weights 2": _scaled(0.3, "other weights", "model.seed=102", "train.seed=202"),
    "tanh, rich, weights 3": _scaled(0.3, "other weights", "model.seed=103", "train.seed=203"),
    # Each batch size beside the full batches of the same weights.
    **{
        f"tanh, batch {size}{'' if seed == 1 else f', weights {seed}'}": _scaled(
            0.3,
            f"batches of {size} of the 50 samples",
            f"train.batch_size={size}",
            *([] if seed == 1 else ["model.seed=102", "train.seed=202"]),
        )
        for size in (25, 5)
        for seed in (1, 2)
    },
    **{
        f"depth {depth}, {'residual' if residual else 'plain'}": _deep(depth, residual)
        for depth in (4, 8)
        for residual in (False, True)
    },
    "cnn, lazy": _images(10.0, "output scale 10"),
    "cnn, rich": _images(0.3, "output scale 0.3"),
    **{
        f"patches, {kind}, {place}": _patches(kind, scale, f"output scale {scale:g}")
        for kind in ("mlp", "residual", "cnn")
        for place, scale in (("lazy", 10.0), ("rich", 0.3))
    },
    "source, gpt": _source(False),
    "source, gpt, preconditioned": _source(True),
}

# Full batches and smaller ones, in the same order of weights.
PAIRED = [
    f"tanh, {kind}{more}" for kind in ("rich", "batch 25", "batch 5") for more in ("", ", weights 2")
]  # fmt: skip


def folder_of(out: Path, name: str) -> Path:
    return out / name.replace(", ", "-").replace(" ", "")


def record(name: str, out: Path, more: list[str]) -> str:
    """Train and record one run, or the rest of one that was cut off. Nothing is concluded from it."""
    import eigenflow as ef
    from eigenflow.lab import load_config, run_experiment

    folder = folder_of(out, name)
    if not folder.exists() or ef.open_run(folder).status != "complete":
        setting = RUNS[name]
        config = load_config(setting.config, [*setting.changes, f"name='{folder.name}'", *more])
        run_experiment(config, folder, resume=folder.exists())
    return name


def status(name: str, out: Path) -> str:
    """One line: is a run there, whole, finite, without gaps, and did it learn? No number of its results."""
    import eigenflow as ef

    folder = folder_of(out, name)
    if not folder.exists():
        return f"{name}: not recorded"
    run = ef.open_run(folder)
    losses = run.losses["loss"].to_numpy(dtype=float)
    tenth = max(1, len(losses) // 10)
    said = {
        "finite": bool(np.isfinite(losses).all() and np.isfinite(run.measurements["eigenvalue"].values).all()),
        "the loss fell": bool(losses[-tenth:].mean() < losses[:tenth].mean()),
        "no gaps": not run.gaps,
    }
    told = ", ".join(text if holds else f"NOT {text}" for text, holds in said.items())
    times, rows = run.measurements["time"].values, run.header["probe"]["samples"] * run.header["probe"]["outputs"]
    decades = np.log10(times[-1] / times[times > 0][0])
    return f"{name}: {run.status}, {told}; {rows} rows, {len(times)} times over {decades:.1f} decades"


def judge(name: str, out: Path) -> str:
    """Test the claims on one run and forecast it from its beginning; summary, report and scores go to its folder."""
    import json

    import eigenflow as ef
    from eigenflow.closure import forward_test
    from eigenflow.closure.forward import CUTS as BETWEEN
    from eigenflow.report import analyse, write_report

    run = ef.open_run(folder_of(out, name))
    analysis = analyse(run)
    write_report(analysis)
    test = forward_test(run.measurements, analysis.budget, cuts=sorted({*BETWEEN, *CUTS}))
    place = analysis.evidence.place
    more = {
        "forward": [_score(cut, one) for cut in test.cuts for one in cut.forecasts.values()],
        "skipped": test.skipped,
        "place": {"distance": place.coordinate, "regime": place.regime.value, "flux": float(place.flux_share[-1])},
    }
    run.write_summary({**analysis.summary(), "study": json.loads(json.dumps(more, default=float))})
    return name


def _score(cut: Any, one: Any) -> dict[str, Any]:
    """What a forecast was worth, and how many of the later losses its band held."""
    banded = one.lower is not None and one.upper is not None
    inside = int(((one.lower <= cut.truth) & (cut.truth <= one.upper)).sum()) if banded else 0
    return {
        "cut": cut.cut,
        "time": cut.time,
        "method": one.method,
        "rms_log_ratio": one.score.rms_log_ratio,
        "final_log_ratio": one.score.final_log_ratio,
        "later": len(cut.truth),
        "in_band": inside if banded else None,
        "status": one.status,
    }


def read_judged(out: Path, names: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, dict[str, Any]]]:
    """Verdicts and forecasts of all judged runs as tables, and where each lies between lazy and rich."""
    import eigenflow as ef

    summaries = {name: ef.open_run(folder_of(out, name)).summary or {} for name in names}
    judged = {name: summary for name, summary in summaries.items() if "study" in summary}
    verdicts = pd.DataFrame({"run": name, **row} for name, found in judged.items() for row in found["claims"])
    forward = pd.DataFrame({"run": name, **row} for name, found in judged.items() for row in found["study"]["forward"])
    return verdicts, forward, {name: found["study"]["place"] for name, found in judged.items()}


def write_tables(out: Path, names: list[str]) -> pd.DataFrame:
    """Verdicts and forecasts as CSV, tables as Markdown, and the pictures, from the judged runs' summaries."""
    verdicts, forward, places = read_judged(out, names)
    verdicts.to_csv(out / "verdicts.csv", index=False)
    forward.to_csv(out / "forward.csv", index=False)
    counts = verdicts.pivot_table(index="claim", columns="verdict", values="run", aggfunc="count", fill_value=0)
    told = forward[forward["cut"].isin(CUTS)]
    errors = told.pivot_table(index="method", columns="cut", values="rms_log_ratio", aggfunc="median")
    best = told.loc[told.groupby(["run", "cut"])["rms_log_ratio"].idxmin()]
    wins = best.pivot_table(index="method", columns="cut", values="run", aggfunc="count", fill_value=0)
    banded = told.dropna(subset=["in_band"]).groupby(["method", "cut"])[["in_band", "later"]].sum().astype(float)
    held = (banded["in_band"] / banded["later"]).unstack()
    parts = {
        "Verdicts: runs by row and verdict": counts,
        "Forecasts: median over runs of the RMS of ln(predicted / true), by what was known": errors,
        "Forecasts: runs in which a method was best": wins,
        "Forecasts: share of later losses inside the 90 % band": held,
        "Lazy to rich": pd.DataFrame(places).T,
        "Coupling of distant shells in small batches, over that in full ones": compare_batches(out, places),
    }
    text = "\n\n".join(f"## {title}\n\n{_markdown(table)}" for title, table in parts.items())
    (out / "tables.md").write_text(text + "\n", encoding="utf-8")
    draw(verdicts, out)
    return verdicts


def compare_batches(out: Path, judged: Mapping[str, Any]) -> pd.DataFrame:
    """Does the noise of batches weaken the coupling? By measure and batch size, with 90 % intervals of paired runs."""
    import eigenflow as ef
    from eigenflow.theory.coupling.batch_sweep import batch_sweep

    if not set(PAIRED) <= set(judged):
        return pd.DataFrame()
    found = batch_sweep([ef.open_run(folder_of(out, name)) for name in PAIRED], paired=True)
    ratios = {
        measure: [
            f"{r:.3g} [{a:.3g}, {b:.3g}]" for r, (a, b) in zip(values, found.ratio_interval[measure], strict=True)
        ]
        for measure, values in found.ratio.items()
    }
    answers = {measure: found.answer(measure) for measure in ratios}
    sizes = [f"batches of {size}" for size in found.batch_sizes]
    return pd.DataFrame(ratios, index=sizes).T.assign(answer=pd.Series(answers))


def _markdown(table: pd.DataFrame) -> str:
    lines = [["", *map(str, table.columns)], ["---"] * (len(table.columns) + 1)]
    lines += [[str(key), *(_cell(value) for value in row)] for key, row in zip(table.index, table.values, strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw(verdicts: pd.DataFrame, out: Path) -> None:
    """All verdicts in one picture, and one picture a claim: its assertions with intervals and bands, run by run."""
    import matplotlib.pyplot as plt

    atlas, rows = _atlas(), judged_rows(verdicts)
    figures = {"verdicts": atlas["verdicts_picture"](rows)}
    for claim in sorted({row.claim.split(".")[0] for found in rows.values() for row in found}):
        figures[claim] = atlas["claim_picture"](rows, claim)
    for name, figure in figures.items():
        if figure is not None:
            figure.savefig(out / f"{name}.png", dpi=110)
            plt.close(figure)


def _atlas() -> dict[str, Any]:
    """What the page of all runs is made with."""
    return run_path(str(Path(__file__).with_name("atlas.py")))


def judged_rows(verdicts: pd.DataFrame) -> dict[str, list[Any]]:
    """Rows of the claims by run, as the plots take them."""
    from eigenflow.theory import Claim

    names = list(dict.fromkeys(verdicts["run"]))
    found = {name: verdicts[verdicts["run"] == name].drop(columns="run").to_dict("records") for name in names}
    return {name: [Claim.from_dict(_without_nan(row)) for row in rows] for name, rows in found.items()}


def _without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}


def _done(work: Callable[..., str], names: list[str], arguments: tuple[Any, ...], processes: int) -> Iterator[str]:
    """What `work` says of each run, as they are done; without processes in this one."""
    if processes < 2:
        yield from (work(name, *arguments) for name in names)
        return
    # Processes are started afresh: forked ones would share PyTorch's threads.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        started = [pool.submit(work, name, *arguments) for name in names]
        yield from (run.result() for run in as_completed(started))


def main(
    command: str, out: str, names: list[str] | None = None, more: list[str] | None = None, processes: int = 1
) -> pd.DataFrame | None:
    chosen, folder = list(RUNS) if names is None else names, Path(out)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if command == "status":
        print("\n".join(status(name, folder) for name in chosen))
        return None
    if command == "record":
        print(f"{len(chosen)} runs of 500 to 576 operator rows, each about a minute of one core", flush=True)
        for name in _done(record, chosen, (folder, more or []), processes):
            print(status(name, folder), flush=True)
        return None
    chosen = [name for name in chosen if folder_of(folder, name).exists()]
    if command == "atlas":
        page = _atlas()["write_atlas"](
            {n: (folder_of(folder, n), RUNS[n].varied) for n in chosen}, folder / "atlas.html"
        )
        print(f"Atlas: {page}")
        return None
    for name in _done(judge, chosen, (folder,), processes):
        print(f"  {name}: {folder_of(folder, name) / 'report.html'}", flush=True)
    return write_tables(folder, chosen)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["record", "status", "judge", "atlas"])
    parser.add_argument("out", nargs="?", default="runs/study")
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), metavar="NAME", help=f"Some of: {'; '.join(RUNS)}")
    parser.add_argument("--processes", type=int, default=1, help="How many runs at a time.")
    given = parser.parse_args()
    main(given.command, given.out, given.runs, processes=given.processes)
