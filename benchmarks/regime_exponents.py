"""Do a spectrum and a target say how fast the loss of a network falls with width, data, time and compute?

The runs of `examples/scaling_study.py`, judged: exponents predicted from spectra on a pool of samples beside those
fitted to test losses, and the loss that the formula gives for the same spectra, without a power law and without a free
number, beside regressions and random features. The rows' rates on sweeps of known truth stand with them.

Run:  python benchmarks/regime_exponents.py runs/scaling     (a minute; the runs are made by the example beforehand)
"""

import argparse
from pathlib import Path
from runpy import run_path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from _machine import write
from eigenflow.theory.controls.sizes import judge_size_controls, simulated_control
from eigenflow.theory.over_sizes import curve_row, exponent_row, fit_size_law

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "predictions_regime.png"
COLOURS = {"digits": "C0", "photograph": "C2", "patches": "C3"}
MARKS = {"width": "s", "data": "o", "time": "^", "compute": "D", "regression": "o"}
SIZES = ((5, 3, 0.02), (7, 3, 0.02), (8, 5, 0.01))
SIMULATED = [(1.5, 0.6), (1.3, 0.4), (1.8, 0.9)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=40, help="Draws of every control.")
    arguments = parser.parse_args()
    study = run_path(str(ROOT / "examples" / "scaling_study.py"))
    names = [name for name in study["KINDS"] if study["folder_of"](arguments.folder, name).exists()]
    table = study["judge"](arguments.folder, names)
    files = [path for name in names for path in study["folder_of"](arguments.folder, name).glob("*.csv")]
    spent = float(sum(pd.read_csv(path)["cpu_s"].iloc[0] for path in files))
    controls = rates(arguments.seeds)
    figure = draw(table, study, arguments.folder)
    figure.savefig(PICTURE, dpi=110)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    more = {"controls": controls, "simulated": simulated(), "cpu_s_of_runs": spent}
    print(table.drop(columns="reason").to_string(float_format=lambda x: f"{x:.3g}"))
    for key, value in more.items():
        print(key, value)
    print(f"Result: {write('regime_exponents', rows, 'scipy', **more)}, {PICTURE}")


def rates(seeds: int) -> list[dict[str, Any]]:
    """Verdicts on sweeps of known truth, by size and scatter."""
    return [
        {"scatter": scatter, **vars(one)}
        for sizes, repeats, scatter in SIZES
        for one in judge_size_controls(range(seeds), sizes=sizes, repeats=repeats, scatter=scatter)
    ]


def simulated(draws: int = 4) -> list[dict[str, Any]]:
    """The whole way on simulated regressions: spectrum of a pool, prediction, sweep, verdict."""
    found = []
    for capacity, tail in SIMULATED:
        for seed in range(draws):
            sweep, predicted, task = simulated_control(capacity, tail, seed)
            assert predicted.lazy is not None
            row = exponent_row(sweep, predicted.lazy.data)
            beside = curve_row(sweep, np.array([0.5 * task.risk(size) for size in sweep.places]))
            fitted = fit_size_law(sweep).exponent
            found.append(
                {
                    "capacity": capacity,
                    "tail": tail,
                    "seed": seed,
                    "predicted": vars(predicted.lazy.data),
                    "fitted": vars(fitted),
                    "ratio": row.estimate,
                    "interval": row.interval,
                    "verdict": row.verdict.value,
                    "curve": beside.estimate,
                    "curve_verdict": beside.verdict.value,
                }
            )
    return found


def draw(table: pd.DataFrame, study: dict[str, Any], folder: Path) -> plt.Figure:
    """Predicted over fitted exponents, and curves without a free number."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 4.3), layout="constrained")
    _exponents(table, left)
    for task, colour in COLOURS.items():
        name = f"{task}, limit"
        spectra, runs = study["read_spectra"](folder, name, "ntk"), study["read_runs"](folder, name)
        if spectra:
            sweep = study["data_of_regressions"](spectra)
            told = study["curve"](spectra, sweep, study["RIDGES"][study["RIDGES"] <= 0.01])
            _beside(middle, sweep, told, colour, "o", "-", f"{task}, samples")
            spectra = study["read_spectra"](folder, name, "features")
            sweep = study["best_of"](runs, "width", "width")
            told = study["curve"](spectra, sweep, (0.0,), int(runs["samples"].max()))
            _beside(middle, sweep, told, colour, "x", "--", f"{task}, width")
        name = f"{task}, lazy"
        spectra, runs = study["read_spectra"](folder, name, "first"), study["read_runs"](folder, name)
        if spectra and "regression_loss" in spectra[0]:
            runs = runs[runs["resource"] == "samples"]
            sweep = study["in_time"](runs, spectra)
            told = study["curve_in_time"](spectra, sweep, int(runs["samples"].max()))
            _beside(right, sweep, told, colour, "o", "-", f"{task}, lazy")
            rich = study["read_runs"](folder, f"{task}, rich")
            if not rich.empty:
                rich = rich[(rich["resource"] == "samples") & (rich["samples"] == rich["samples"].max())]
                rich = rich[rich["time"] >= sweep.places[0]]
                right.loglog(rich["time"], rich["test"], "+", color=colour, ms=5, alpha=0.7, label=f"{task}, rich")
    middle.set(xlabel="samples, or width", ylabel="test loss, half the mean square")
    middle.set_title("Kernels and random features", fontsize=10)
    right.set(xlabel="time, sum of learning rates", ylabel="test loss, half the mean square")
    right.set_title("Trained networks", fontsize=10)
    middle.set_ylim(bottom=4e-4)
    right.set_ylim(bottom=4e-3)
    for ax in (middle, right):
        ax.legend(frameon=False, fontsize=7, loc="lower left", title="marks measured, lines told", title_fontsize=7)
    return figure


def _beside(ax: Any, sweep: Any, told: np.ndarray, colour: str, mark: str, line: str, label: str) -> None:
    """Measured losses, and the formula's."""
    ax.loglog(sweep.sizes, sweep.losses, mark, color=colour, ms=3.5, alpha=0.55)
    ax.loglog(sweep.places, np.where(np.isfinite(told), told, np.nan), line, color=colour, lw=1.3, label=label)


def _exponents(table: pd.DataFrame, ax: Any) -> None:
    """Rows that theory has an exponent for: filled where the spectrum is a power law."""
    shown = table.dropna(subset=["predicted"])
    shown = shown[shown["fit"].eq("fitted") & ~shown["row"].str.startswith("trained")]
    line = np.array([0.02, 12.0])
    ax.fill_between(line, 0.9 * line, line / 0.9, color="0.85", lw=0)
    ax.plot(line, line, color="0.4", lw=0.8)
    colours = {**COLOURS, "source": "C1"}
    for _, row in shown.iterrows():
        label = str(row["row"]).split(": ")[1]
        colour = colours[str(row["system"]).split(",")[0]]
        filled = colour if "no power law" not in row["spectrum"] else "white"
        errors = {
            "xerr": [[row["fitted"] - row["fitted_lower"]], [row["fitted_upper"] - row["fitted"]]],
            "yerr": [[row["predicted"] - row["predicted_lower"]], [row["predicted_upper"] - row["predicted"]]],
        }
        faint = 1.0 if filled == colour else 0.45
        ax.errorbar(
            row["fitted"],
            row["predicted"],
            **errors,
            fmt=MARKS[label],
            ms=5,
            color=colour,
            mfc=filled,
            lw=0.7,
            alpha=faint,
        )
    for name, colour in colours.items():
        ax.plot([], [], "o", color=colour, label=name, ms=5)
    for label in ("data", "width", "time", "compute"):
        ax.plot([], [], MARKS[label], color="0.4", label=label, ms=5)
    ax.plot([], [], "o", color="0.4", mfc="white", label="no power law", ms=5)
    ax.set(xscale="log", yscale="log", xlim=(0.05, 12.0), ylim=(0.02, 12.0))
    ax.set(xlabel="fitted exponent of the test loss", ylabel="predicted from the spectrum")
    ax.set_title("Exponents with 90 % intervals", fontsize=10)
    ax.legend(frameon=False, fontsize=7.5, ncols=1, loc="lower right")


if __name__ == "__main__":
    main()
