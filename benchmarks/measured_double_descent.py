"""Does v != 0 move, raise or remove the peaks of double descent in networks, and how much of it is rotation?

The default measurement of `eigenflow double-descent`: tanh networks and random features on handwritten digits, a fifth
of the labels random. Peaks in width, samples and time are put beside what the measured kernels predict: at rest,
drifting only, and as they moved. Draws docs/images/predictions_double_descent.png and double_descent_maps.png.

Run:  python benchmarks/measured_double_descent.py [--folder runs/peaks]
With `--folder`, what `eigenflow double-descent --out runs/peaks` measured is read; without, it is measured anew.
"""

import argparse
import json
import tempfile
from pathlib import Path
from time import process_time

import xarray as xr
from matplotlib.figure import Figure

from _machine import write
from eigenflow.cli.double_descent_figures import chosen_rows, maps_figure
from eigenflow.lab.double_descent import load_double_descent, measure_surfaces
from eigenflow.plots.file import write_picture
from eigenflow.plots.peak_comparison import plot_peak_comparison
from eigenflow.theory.double_descent.measured.comparison import DoubleDescentComparison, NetworksRow, compare_measured

IMAGES = Path(__file__).parents[1] / "docs" / "images"
ACROSS = {"width": "hidden width", "samples": "training samples", "time": "time (sum of learning rates)"}
TITLES = {
    "width": "in width, {samples:g} samples",
    "samples": "in samples, width {width:g}",
    "time": "in time, {samples:g} samples, width {width:g}",
}


def measured(folder: Path | None) -> tuple[xr.Dataset, xr.Dataset, float | None]:
    """Both surfaces, and the seconds of processor time if they were measured here."""
    if folder is not None:
        networks, features = (
            xr.open_dataset(folder / f"{name}.nc", engine="scipy").load() for name in ("networks", "features")
        )
        return networks, features, None
    begin = process_time()
    with tempfile.TemporaryDirectory() as place:
        networks, features = measure_surfaces(load_double_descent(), Path(place) / "measured")
    assert networks is not None and features is not None
    return networks, features, process_time() - begin


def picture(rows: list[NetworksRow]) -> Figure:
    """Model-wise, sample-wise and epoch-wise, each beside its predictions."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for ax, row in zip(figure.subplots(1, len(rows)), rows, strict=True):
        assert row.moves is not None
        curves = row.moves.curves
        seen = curves["measured"]
        predicted = {name: (curves[name].places, curves[name].mean) for name in ("lazy", "drift", "full")}
        plot_peak_comparison(
            seen.places,
            (seen.mean, seen.lower, seen.upper),
            predicted,
            ax=ax,
            across=ACROSS[row.axis],
            threshold=row.threshold,
        )
        ax.set_title(TITLES[row.axis].format(**row.where), fontsize=10)
    figure.axes[-1].legend(frameon=False, fontsize=8, loc="upper left")
    figure.suptitle("Test risk of networks: measured, and from their kernels", fontsize=11)
    return figure


def kept_rows(found: DoubleDescentComparison, chosen: list[NetworksRow]) -> list[dict]:
    """Rows in width and samples, and those in time that are drawn or may have a peak; without the curves themselves."""
    rows = []
    for row, told in zip(found.networks, found.summary()["networks"], strict=True):
        assert row.moves is not None, row.reason
        may_peak = any(curve.verdict != "absent" for curve in row.moves.curves.values())
        if row.axis == "time" and row not in chosen and not may_peak:
            continue
        for curve in told["curves"].values():
            for name in ("places", "mean", "lower", "upper"):
                values = curve.pop(name)
                if row in chosen:
                    curve[name] = [float(f"{value:.4g}") for value in values]
        rows.append(told)
    return rows


def counts(found: DoubleDescentComparison) -> list[dict]:
    """How many curves have a peak, measured and by each prediction."""
    rows = []
    for axis in ("width", "samples", "time"):
        for noise in sorted({row.where["noise"] for row in found.networks}):
            of_axis = [
                r for r in found.networks if r.axis == axis and r.where["noise"] == noise and r.moves is not None
            ]
            told = {"axis": axis, "noise": noise, "curves": len(of_axis)}
            for name in ("measured", "lazy", "drift", "full"):
                verdicts = [row.moves.curves[name].verdict for row in of_axis if row.moves is not None]
                told[name] = {verdict: verdicts.count(verdict) for verdict in ("present", "undecided", "absent")}
            rows.append(told)
    return rows


def of_features(found: DoubleDescentComparison) -> list[dict]:
    """Peaks of random features in their number, and how far the deterministic equivalent is from a mean over draws."""
    return [
        {
            **row.where,
            "shape": row.measured.shape,
            "verdict": row.measured.verdict,
            "position": row.measured.position,
            "height": row.measured.height,
            "predicted": row.predicted,
            "rms_log_ratio": row.deviation,
            "rms_log_ratio_expected": row.expected,
        }
        for row in found.features
        if row.axis == "features"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    networks, features, cpu_s = measured(parser.parse_args().folder)
    begin = process_time()
    found = compare_measured(networks, features)
    compare_s = process_time() - begin
    chosen = chosen_rows(found, networks)
    shown = [next(row for row in chosen if row.axis == axis) for axis in ("width", "samples", "time")]
    write_picture(picture(shown), IMAGES / "predictions_double_descent.png")
    write_picture(maps_figure(networks, features, "Excess test risk"), IMAGES / "double_descent_maps.png")
    path = write(
        "measured_double_descent",
        kept_rows(found, chosen),
        "scipy",
        config=json.loads(networks.attrs["config"]),
        controls=[vars(control) for control in found.controls],
        counts=counts(found),
        features=of_features(found),
        features_in_time=found.epochs,
        quadrature=found.summary()["quadrature"],
        edge_of_stability=found.edge,
        cpu_s={"measure": cpu_s, "compare": compare_s},
    )
    print(path)


if __name__ == "__main__":
    main()
