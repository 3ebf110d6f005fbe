"""Where do networks cross from lazy to rich, what is their effective time, and how do their frontiers move?

Three parts, each beside what the theory says. (1) A sweep of output scale, width and depth, with the exact lazy
prediction beside every network. (2) The effective time of an exactly solved network and of recorded ones, read from
losses, eigenvalues and energies. (3) The frontier in four coordinates, of exact systems and of the recorded networks.

Run:  python benchmarks/lazy_rich_crossover.py runs/limits        (about six minutes; records that are there are used)
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from _machine import write
from eigenflow.core.errors import EigenflowError
from eigenflow.lab import load_config, run_experiment
from eigenflow.lab.exact.scalar_head import ScalarHeadNet
from eigenflow.lab.lazy_rich_crossover import crossover, slope
from eigenflow.lab.lazy_rich_sweeps import LazyRichSweep, lazy_rich_sweep
from eigenflow.lab.variations import with_equal_stability
from eigenflow.store import Run, open_run
from eigenflow.theory.effective_time.series import (
    EffectiveTime,
    effective_time_of_eigenvalues,
    effective_time_of_energies,
    effective_time_of_losses,
)
from eigenflow.theory.self_similarity.frontier_series import Frontiers, frontiers_of_modes, frontiers_of_run
from eigenflow.theory.task_spectrum import TaskSpectrum

IMAGES = Path(__file__).parent.parent / "docs" / "images"
NAME = "lazy_rich_crossover"
SWEEP = ["task.samples=16", "task.holdout=32", "model.parametrisation=ntk", "model.depth=1", "train.loss=half_mean"]
SCALES = (0.005, 0.0125, 0.03, 0.08, 0.2, 0.6, 2.0)
LAZY_SCALES = (10.0, 30.0, 100.0)
WIDTHS, SEEDS, RELAXATIONS = (64, 256, 1024), (0, 1, 2), 60.0
THRESHOLDS = (0.03, 0.1, 0.3)
RECORD = [
    "task.samples=20", "task.holdout=20", "model.parametrisation=ntk", "model.width=128", "measure.count=32",
    "measure.threads=1", "train.steps=4000",
]  # fmt: skip
RECORDED = {"rich": 0.03, "between": 0.3, "lazy": 10.0}
COLOURS = plt.get_cmap("viridis")(np.linspace(0.1, 0.85, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    kept = arguments.folder / "sweep.json"
    if not kept.exists():
        found = sweep_part()
        arguments.folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({**found, "cpu_s": time.process_time() - began}))
    swept = json.loads(kept.read_text())
    print(f"sweep: {time.process_time() - began:.0f} s", flush=True)
    runs = {name: recorded(arguments.folder, name, scale) for name, scale in RECORDED.items()}
    print(f"records: {time.process_time() - began:.0f} s", flush=True)
    clocks = effective_part(runs)
    fronts = frontier_part(runs)
    cost = time.process_time() - began
    draw_sweep(swept)
    draw_effective(clocks)
    draw_frontier(fronts)
    for part in (clocks["rows"], fronts["rows"]):
        for row in part:
            print(row, flush=True)
    rows = [*swept["crossovers"], *swept["slopes"], *clocks["rows"], *fronts["rows"]]
    write(
        NAME, rows, "scipy", sweep=swept, cpu_s_without_sweep=round(cost), settings={"sweep": SWEEP, "records": RECORD}
    )


def sweep_part() -> dict[str, Any]:
    """Output scale and width; then depth."""
    base = load_config("digits", SWEEP)
    settings: dict[str, Any] = {"relaxations": RELAXATIONS, "times": 8}
    sweep = lazy_rich_sweep(base, output_scales=SCALES, widths=WIDTHS, seeds=SEEDS, **settings)
    lazy = lazy_rich_sweep(base, output_scales=LAZY_SCALES, widths=(256,), seeds=SEEDS, **settings)
    deep = lazy_rich_sweep(
        base, output_scales=(0.03, 0.3, 10.0), widths=(256,), depths=(2, 3), seeds=SEEDS[:2], **settings
    )
    crossovers, slopes = [], []
    for coordinate in ("relative_change", "test_error"):
        for threshold in THRESHOLDS:
            crossovers.append(_crossover_row(sweep, coordinate, threshold))
    for name, expected in (("relative_change", -1.0), ("turn", -2.0), ("train_error", -1.0), ("test_error", -1.0)):
        found = slope(lazy, name, width=256)
        slopes.append(
            {"part": "slope", "of": name, "width": 256, "found": found.value, "interval": found.interval,
             "expected": expected}
        )  # fmt: skip
    for row in (*crossovers, *slopes):
        print(row, flush=True)
    return {
        "crossovers": crossovers,
        "slopes": slopes,
        "networks": [*_rows(sweep), *_rows(lazy)],
        "depths": _rows(deep),
        "corner": corner(sweep),
    }


def _rows(sweep: LazyRichSweep) -> list[dict[str, Any]]:
    """Four digits of each number are enough to draw and to read."""
    return [
        {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in row.items()}
        for row in sweep.table.to_dict("records")
    ]


def _crossover_row(sweep: LazyRichSweep, coordinate: str, threshold: float) -> dict[str, Any]:
    try:
        found = crossover(sweep, coordinate=coordinate, threshold=threshold)
    except EigenflowError as error:
        return {"part": "crossover", "of": coordinate, "threshold": threshold, "why": str(error)}
    exponent = found.exponent
    return {
        "part": "crossover", "of": coordinate, "threshold": threshold, "widths": found.widths,
        "scales": found.scales.tolist(), "intervals": found.intervals.tolist(),
        "exponent": None if exponent is None else exponent.value,
        "exponent_interval": None if exponent is None else exponent.interval, "outside": found.outside,
    }  # fmt: skip


def corner(sweep: LazyRichSweep) -> dict[str, Any]:
    """||dM|| / ||M0|| = sqrt(A^2 + (B / alpha)^2) / (alpha h) where it is below 0.1: A and B by width.

    Terms of first and second order in the motion of the units: the first have random signs.
    """
    found = {}
    for width in WIDTHS:
        scales, values = sweep.values("relative_change", width=width, depth=1)
        pairs = []
        for row in values:
            kept = row < 0.1
            squares = (row * scales * width)[kept] ** 2
            weights = 1.0 / squares
            design = np.stack([np.ones(kept.sum()), scales[kept] ** -2.0], 1)
            pairs.append(np.linalg.lstsq(design * weights[:, None], squares * weights, rcond=None)[0])
        first, second = np.sqrt(np.maximum(np.array(pairs).mean(0), 0.0))
        found[str(width)] = {"A": float(first), "B": float(second)}
    return found


def recorded(folder: Path, name: str, scale: float) -> Run:
    """A recorded network of an output scale, trained if it is not there."""
    path = folder / name
    if not path.exists():
        base = load_config("digits", RECORD)
        config = load_config("digits", [*RECORD, f"model.output_scale={scale}", "model.centred=true"])
        run_experiment(with_equal_stability(config, base), path)
    return open_run(path)


def effective_part(runs: dict[str, Run]) -> dict[str, Any]:
    rows, curves = [], {}
    for decay, source in ((1.5, 0.4), (2.0, 0.25), (1.5, 1.4)):
        net = ScalarHeadNet(decay, source, 0.1, modes=10_000)
        times = np.geomspace(0.3, 300.0, 73)
        path = net.flow(times, tolerance=1e-4)
        task = TaskSpectrum(net.variances, net.variances * net.target**2, 2 * net.tail)
        found = effective_time_of_losses(times, path.loss, task)
        name = f"a w'x, source {source:g}"
        late = times >= 60
        exact = float(np.polyfit(np.log(times[late]), np.log(path.effective_time[late]), 1)[0])
        rows.append({**_clock_row(name, "loss", found), "expected": net.effective_time_exponent, "exact_late": exact})
        curves[name] = [(found.times, found.tau, "loss"), (times, path.effective_time, "exact")]
    for name, run in runs.items():
        data = run.measurements
        times, values = data["time"].values, np.maximum(data["eigenvalue"].values, 0.0)
        squares, fixed = data["coefficient"].values ** 2, data["initial_coefficient"].values ** 2
        made = {
            "loss": lambda t=times, v=values, s=squares: effective_time_of_losses(t, 0.5 * s.sum(1), (v[0], s[0])),
            "eigenvalues": lambda t=times, v=values, s=squares: effective_time_of_eigenvalues(t, v, s[0]),
            "energies": lambda t=times, v=values, f=fixed: effective_time_of_energies(t, f, v[0]),
        }
        curves[name] = []
        for kind, make in made.items():
            found = make()
            rows.append({**_clock_row(name, kind, found), "distance": float(data["initial_distance"].values[-1])})
            curves[name].append((found.times, found.tau, kind))
    fastest = {name: float(run.measurements["eigenvalue"].values[0, 0]) for name, run in runs.items()}
    return {"rows": rows, "curves": curves, "fastest": fastest}


def _clock_row(name: str, kind: str, found: EffectiveTime) -> dict[str, Any]:
    index = found.index
    spread = found.spread
    return {
        "part": "effective time", "series": name, "from": kind, "index": index.value, "interval": index.interval,
        "by_form": index.by_form, "noise": index.noise, "regular": index.variation.status.value,
        "identified": index.variation.is_identified, "last_local": float(index.variation.local_index[-1]),
        "spread": None if spread is None else float(spread[-1]), "outside": found.status.value,
        "stretch": float(found.tau[-1] / found.times[-1]),
    }  # fmt: skip


def frontier_part(runs: dict[str, Run]) -> dict[str, Any]:
    rows, series = [], {}
    for rho in (0.5, 1.0, 1.6):
        series[f"b = 1, rho = {rho:g}"] = (_scaling(rho), (rho, (rho, rho)), rho / 2)
    series["b = 1.5, self-similar"] = (_self_similar(), (1.0, (1.0, 1.0)), None)
    series["b = 1.5, constant c"] = (_stopping(), None, None)
    for name, run in runs.items():
        data = run.measurements
        squares = data["coefficient"].values ** 2
        clock = effective_time_of_losses(
            data["time"].values, 0.5 * squares.sum(1), (np.maximum(data["eigenvalue"].values[0], 0.0), squares[0])
        )
        index = clock.index
        series[name] = (frontiers_of_run(data), (index.value, index.interval), index.value / 2)
    for name, (found, rho, constant) in series.items():
        for one in found.exponents(*(rho or ())):
            rows.append(_frontier_row(name, one.coordinate, found, one.measured, one.expected, one.expected_interval))
        try:
            middle, ends = found.constant()
        except EigenflowError as error:
            rows.append({"part": "frontier", "series": name, "coordinate": "lambda* t", "why": str(error)})
            continue
        rows.append(
            {"part": "frontier", "series": name, "coordinate": "lambda* t", "found": middle, "interval": ends,
             "expected": constant}
        )  # fmt: skip
    return {"rows": rows, "series": {name: found for name, (found, *_) in series.items()}}


def _frontier_row(
    name: str, coordinate: str, found: Frontiers, measured: Any, expected: Any, ends: Any
) -> dict[str, Any]:
    row = {
        "part": "frontier",
        "series": name,
        "coordinate": coordinate,
        "expected": expected,
        "expected_interval": ends,
    }
    if measured is not None:
        row |= {"found": measured.exponent, "interval": measured.interval, "times": measured.times,
                "decades": measured.decades}  # fmt: skip
    if coordinate == "rank":
        try:
            row |= {"nu": found.capacity, "sigma": found.source}
        except EigenflowError as error:
            row["why"] = str(error)
    return row


RANKS = np.arange(1.0, 1501.0)
RATES, ENERGIES = RANKS**-1.5, RANKS**-1.6
ENERGIES[-1] += 1500.5**-0.6 / 0.6  # what a power law has beyond the last mode
TIMES = np.append(0.0, np.geomspace(0.1, 3e4, 90))


def _scaling(rho: float) -> Frontiers:
    tau = np.expm1(rho * np.log1p(TIMES)) / rho
    kept = np.append(0, np.flatnonzero((tau > 0.5 / RATES[5]) & (tau < 0.5 / RATES[300])))
    values = RATES * (1 + TIMES[:, None]) ** (rho - 1)
    energies = ENERGIES * np.exp(-2 * RATES * tau[:, None])
    return frontiers_of_modes(TIMES[kept], values[kept], energies[kept], start=30.0)


def _self_similar() -> Frontiers:
    times = np.append(0.0, np.geomspace(30.0, 3e4, 60))
    u = np.sqrt(RATES * times[:, None])
    return frontiers_of_modes(
        times, RATES / (1 + u) ** 2, ENERGIES * np.exp(-4 * (np.log1p(u) + 1 / (1 + u) - 1)), start=30.0
    )


def _stopping() -> Frontiers:
    times, c, root = np.append(0.0, np.geomspace(1.0, 1e6, 90)), 0.2, np.sqrt(RATES)
    values = RATES / (1 + 0.5 * c * times[:, None] * root) ** 2
    return frontiers_of_modes(times, values, ENERGIES * np.exp(-4 * (root - np.sqrt(values)) / c), start=3e4)


def draw_sweep(swept: dict[str, Any]) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained")
    rows = swept["networks"]
    for width, colour in zip(WIDTHS, COLOURS, strict=True):
        for axis, name in zip(axes, ("relative_change", "test_error"), strict=False):
            points = np.array([[r["output_scale"], r[name]] for r in rows if r["width"] == width])
            axis.loglog(*points.T, ".", color=colour, alpha=0.4)
            scales = np.unique(points[:, 0])
            means = [np.exp(np.log(points[points[:, 0] == s, 1]).mean()) for s in scales]
            axis.loglog(scales, means, color=colour, label=f"width {width}")
        pair = swept["corner"][str(width)]
        alpha = np.geomspace(0.02, 100, 60)
        law = np.hypot(pair["A"], pair["B"] / alpha) / (alpha * width)
        axes[0].loglog(alpha[law < 0.2], law[law < 0.2], ":", color="black", lw=1)
    axes[0].set(ylabel="change of the operator, ||M - M0|| / ||M0||", ylim=(1e-5, 20))
    axes[0].set_title("dotted: [A² + (B/α)²]^½ / (α h)", fontsize=9)
    axes[1].set(ylabel="test outputs against the exact lazy prediction")
    axes[1].set_title("relative root mean square", fontsize=9)
    for axis in axes[:2]:
        axis.set_xlabel("output scale α")
        axis.legend(frameon=False, fontsize=8)
    for row, colour in zip([r for r in swept["crossovers"] if r["of"] == "relative_change"], COLOURS, strict=True):
        if "scales" not in row:
            continue
        scales, ends = np.array(row["scales"]), np.array(row["intervals"])
        low, high = row["exponent_interval"]
        label = f"at {row['threshold']:g}: exponent {row['exponent']:.2f} [{low:.2f}, {high:.2f}]"
        axes[2].errorbar(
            row["widths"], scales, np.abs(ends.T - scales), marker="o", color=colour, capsize=3, label=label
        )
    guide = np.array(WIDTHS, dtype=float)
    axes[2].loglog(guide, 0.5 * (guide / 64) ** -0.5, "k--", lw=1, label="slope -1/2")
    axes[2].loglog(guide, 2.5 * (guide / 64) ** -1.0, "k:", lw=1, label="slope -1")
    axes[2].set(xlabel="width h", ylabel="α* where the operator has changed by so much")
    axes[2].legend(frameon=False, fontsize=7)
    _save(figure, "lazy_rich")


def draw_effective(clocks: dict[str, Any]) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained")
    styles = {"loss": "o", "exact": "-", "eigenvalues": "--", "energies": ":"}
    exact = [name for name in clocks["curves"] if name.startswith("a w")]
    for axis, names in ((axes[0], exact), (axes[1], list(RECORDED))):
        for name, colour in zip(names, COLOURS, strict=True):
            for times, tau, kind in clocks["curves"][name]:
                step = max(1, len(times) // 24) if kind == "loss" else 1
                x, y = times[::step], tau[::step]
                if axis is axes[1]:
                    x, y = x * clocks["fastest"][name], y / x
                axis.loglog(x, y, styles[kind], color=colour, ms=4, mfc="none", label=f"{name}, {kind}")
        axis.legend(frameon=False, fontsize=6.5)
    axes[0].set(xlabel="time t", ylabel="effective time τ")
    axes[1].set(xlabel="time t, in relaxation times of the fastest mode", ylabel="τ / t")
    axes[1].axhline(1.0, color="grey", lw=0.7)
    axes[0].set_title("solved networks: ○ from losses, — ∫a² dt", fontsize=9)
    axes[1].set_title("recorded networks", fontsize=9)
    rows = clocks["rows"]
    for place, row in enumerate(rows):
        colour = COLOURS[[*exact].index(row["series"]) if row["series"] in exact else [*RECORDED].index(row["series"])]
        axes[2].plot(row["interval"], [place] * 2, color=colour, lw=2)
        axes[2].plot(row["index"], place, "o", color=colour)
        if "expected" in row:
            axes[2].plot(row["expected"], place, "k|", ms=14)
    axes[2].set_yticks(range(len(rows)), [f"{r['series']}: {r['from']}" for r in rows], fontsize=7)
    axes[2].invert_yaxis()
    axes[2].set(xlabel="index ρ with its interval (| theory)", xlim=(0.5, 2.8))
    _save(figure, "effective_time")


def draw_frontier(fronts: dict[str, Any]) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    marks = {"eigenvalue": "o", "label": "s", "rank": "^", "energy": "d"}
    for name, colour in zip(("b = 1, rho = 1.6", "rich", "lazy"), COLOURS, strict=True):
        for coordinate, one in fronts["series"][name].found.items():
            axes[0].loglog(
                one.times, one.position / one.position[len(one.position) // 2], marks[coordinate], color=colour, ms=3.5,
                label=f"{name}: {coordinate}", mfc="none",
            )  # fmt: skip
    axes[0].set(xlabel="time t", ylabel="frontier over its middle value")
    axes[0].legend(frameon=False, fontsize=6.5, ncols=2)
    names, place, ticks = list(fronts["series"]), 0, []
    for name in names:
        for coordinate in marks:
            row = next(r for r in fronts["rows"] if r["series"] == name and r["coordinate"] == coordinate)
            if row["expected_interval"] is not None and row["expected"] is not None:
                axes[1].plot(row["expected_interval"], [place] * 2, color="lightgrey", lw=7, solid_capstyle="butt")
                axes[1].plot(row["expected"], place, "|", color="black", ms=11)
            if "found" in row:
                axes[1].plot(row["interval"], [place] * 2, color="tab:blue", lw=1.5)
                axes[1].plot(row["found"], place, marks[coordinate], color="tab:blue", ms=4)
            ticks.append(f"{name}: {coordinate}")
            place += 1
    axes[1].set_yticks(range(place), ticks, fontsize=6)
    axes[1].invert_yaxis()
    axes[1].set(xlabel="exponent (blue: measured, grey: what ρ says)", xlim=(-3.2, 2.2))
    _save(figure, "frontier")


def _save(figure: Any, topic: str) -> None:
    figure.savefig(IMAGES / f"predictions_{topic}.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
