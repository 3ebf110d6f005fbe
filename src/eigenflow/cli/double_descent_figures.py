"""Two figures of a measurement of double descent: maps of the surface, and curves beside their predictions."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eigenflow.theory.double_descent.measured.comparison import DoubleDescentComparison, NetworksRow

__all__ = ["curves_figure", "maps_figure"]

WORDS = {"width": "hidden width", "samples": "training samples", "time": "time (sum of learning rates)"}


def maps_figure(networks: "xr.Dataset | None", features: "xr.Dataset | None", title: str) -> "Figure":
    """Draw test risk over size x time and over size x samples, for networks and for random features."""
    from matplotlib.figure import Figure

    from eigenflow.plots import picture_text

    kinds = [(data, size) for data, size in ((networks, "width"), (features, "features")) if data is not None]
    figure = Figure(figsize=(8.8, 3.4 * len(kinds)), layout="constrained")
    axes = figure.subplots(len(kinds), 2, squeeze=False)
    for (in_time, in_samples), (data, size) in zip(axes, kinds, strict=True):
        noisy = data.isel(noise=-1)
        samples = _middle_samples(noisy, size)
        if data.sizes[size] > 1:
            _draw_in_time(noisy.sel(samples=samples), size, _threshold(noisy, size, samples), ax=in_time)
            in_time.set_title(f"{_kind(size)}, {samples:g} samples, noise {float(noisy['noise']):g}", fontsize=10)
        if data.sizes[size] > 1 and data.sizes["samples"] > 1:
            _draw_in_samples(noisy, size, ax=in_samples)
            in_samples.set_title(f"{_kind(size)}, end of training, noise {float(noisy['noise']):g}", fontsize=10)
        for ax in (in_time, in_samples):
            if not ax.has_data():  # of one size, or one number of samples, there is no map
                ax.set_axis_off()
    figure.suptitle(picture_text(title))
    return figure


def curves_figure(
    comparison: "DoubleDescentComparison",
    networks: "xr.Dataset | None",
    features: "xr.Dataset | None",
    title: str,
) -> "Figure":
    """Draw what was measured beside each prediction: model-wise, sample-wise and epoch-wise, and random features."""
    from matplotlib.figure import Figure

    from eigenflow.plots import picture_text

    drawn: list[Callable[[Axes], None]] = []
    if networks is not None:
        drawn += [partial(_draw_row, row) for row in chosen_rows(comparison, networks)]
    first_of_features = len(drawn)
    if features is not None and features.sizes["features"] >= 3:
        drawn += [partial(_draw_features, comparison, features, n) for n in _spread(features["samples"].values)]
    columns = min(3, len(drawn)) or 1
    rows = -(-len(drawn) // columns) or 1
    figure = Figure(figsize=(4.2 * columns, 3.5 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for place, (ax, draw) in enumerate(zip(axes, drawn, strict=False)):
        draw(ax)
        if place in (0, first_of_features):
            ax.legend(frameon=False, fontsize=8)
    for ax in axes[len(drawn) :]:
        ax.set_axis_off()
    figure.suptitle(picture_text(title))
    return figure


def chosen_rows(comparison: "DoubleDescentComparison", networks: "xr.Dataset") -> "list[NetworksRow]":
    """One row each for the highest noise: model-wise, sample-wise, and epoch-wise at the threshold and far above it."""
    import numpy as np

    noise, middle = float(networks["noise"][-1]), _middle_samples(networks, "width")
    widths = networks["width"].values.astype(float)
    at = float(widths[np.argmin(np.abs(np.log(widths / max(_threshold(networks, "width", middle), 1e-9))))])
    inside = _surest_width(comparison, noise, at)
    wanted = [
        ("width", {"noise": noise, "samples": middle}),
        ("samples", {"noise": noise, "width": inside}),
        ("time", {"noise": noise, "samples": middle, "width": at}),
        ("time", {"noise": noise, "samples": middle, "width": float(widths[-1])}),
    ]
    found = []
    for axis, where in wanted:
        rows = [r for r in comparison.networks if r.axis == axis and r.where == where and r.moves is not None]
        found += [row for row in rows if row not in found]
    return found


def _surest_width(comparison: "DoubleDescentComparison", noise: float, otherwise: float) -> float:
    """The width whose peak over samples is known best: of those that have one, the one with the narrowest interval."""
    found = []
    for row in comparison.networks:
        if row.axis == "samples" and row.where["noise"] == noise and row.moves is not None:
            curve = row.moves.curves["measured"]
            if curve.position is not None and curve.verdict == "present":
                found.append((curve.position[2] / curve.position[1], row.where["width"]))
    return min(found)[1] if found else otherwise


def _draw_in_time(data: "xr.Dataset", size: str, threshold: float, *, ax: "Axes") -> None:
    import numpy as np

    from eigenflow.plots.double_descent import plot_risk_map
    from eigenflow.plots.peak_comparison import plain_ticks

    repeats = "seed" if size == "width" else "draw"
    data = data.isel(time=data["time"].values > 0)
    risk, times = _typical(data["risk"], repeats).transpose(size, "time").values, data["time"].values
    plot_risk_map(
        times,
        data[size].values,
        risk,
        ax=ax,
        names=("time", WORDS.get(size, "random features")),
        threshold=None,
        resolved=data["resolved"].mean(repeats).transpose(size, "time").values,
        frontier=_line(times, np.full(len(times), threshold), data[size].values),
    )
    plain_ticks(ax.yaxis, data[size].values)


def _draw_in_samples(data: "xr.Dataset", size: str, *, ax: "Axes") -> None:
    import numpy as np

    from eigenflow.plots.double_descent import plot_risk_map
    from eigenflow.plots.peak_comparison import plain_ticks

    repeats = "seed" if size == "width" else "draw"
    risk = data["risk"].isel(time=-1) if size == "width" else data["risk_end"].isel(ridge=0)
    samples = data["samples"].values.astype(float)
    line = np.array([_threshold(data, size, n) for n in samples])
    plot_risk_map(
        samples,
        data[size].values,
        _typical(risk, repeats).transpose(size, "samples").values,
        ax=ax,
        names=("training samples n", WORDS.get(size, "random features")),
        threshold=None,
        resolved=data["resolved"].isel(time=-1).mean(repeats).transpose(size, "samples").values
        if size == "width"
        else None,
        frontier=_line(samples, line, data[size].values),
    )
    plain_ticks(ax.xaxis, samples)
    plain_ticks(ax.yaxis, data[size].values)


def _line(
    places: "np.ndarray", heights: "np.ndarray", within: "np.ndarray"
) -> "dict[str, tuple[np.ndarray, np.ndarray]]":
    """The interpolation threshold, where it lies inside the map."""
    inside = (heights >= within[0]) & (heights <= within[-1])
    return {"interpolation threshold": (places[inside], heights[inside])} if inside.any() else {}


def _draw_row(row: "NetworksRow", ax: "Axes") -> None:
    from eigenflow.plots.peak_comparison import plot_peak_comparison

    assert row.moves is not None
    curves = row.moves.curves
    measured = curves["measured"]
    plot_peak_comparison(
        measured.places,
        (measured.mean, measured.lower, measured.upper),
        {name: (curves[name].places, curves[name].mean) for name in ("lazy", "drift", "full")},
        ax=ax,
        across=WORDS[row.axis],
        threshold=row.threshold,
    )
    ax.set_title(row.name, fontsize=9)


def _draw_features(comparison: "DoubleDescentComparison", data: "xr.Dataset", samples: float, ax: "Axes") -> None:
    import numpy as np

    from eigenflow.plots.peak_comparison import plot_peak_comparison
    from eigenflow.theory.double_descent.measured.comparison import population_task
    from eigenflow.theory.double_descent.random_features import random_features_risk

    noise, ridge = float(data["noise"][-1]), float(data["ridge"][0])
    where = {"noise": noise, "samples": samples, "ridge": ridge}
    row = next(row for row in comparison.features if row.axis == "features" and row.where == where)
    fine = np.geomspace(row.measured.places[0], row.measured.places[-1], 200)
    theory = random_features_risk(population_task(data, noise), samples, fine, samples * ridge).risk.values
    one = data.sel(noise=noise, samples=samples, ridge=ridge)
    expected = _typical(one["expected_end"], "draw").values
    plot_peak_comparison(
        row.measured.places,
        (row.measured.mean, row.measured.lower, row.measured.upper),
        {"expected": (row.measured.places, expected), "theory": (fine, theory)},
        ax=ax,
        across="random features",
        threshold=samples,
    )
    ax.set_title(f"random features, {samples:g} samples, noise {noise:g}, ridge {ridge:g}", fontsize=9)


def _typical(risk: "xr.DataArray", over: str) -> "xr.DataArray":
    """Geometric mean over draws."""
    import numpy as np

    mean = risk.copy(data=np.log(risk.values)).mean(dim=over)
    return mean.copy(data=np.exp(mean.values))


def _threshold(data: "xr.Dataset", size: str, samples: float) -> float:
    if size == "features":
        return float(samples)
    return (samples * float(data.attrs["outputs"]) - float(data.attrs["constant"])) / float(data.attrs["per_width"])


def _middle_samples(data: "xr.Dataset", size: str) -> float:
    """The number of samples whose threshold lies nearest the middle of the sizes, in logarithms, from below."""
    import numpy as np

    sizes, samples = data[size].values.astype(float), data["samples"].values.astype(float)
    lines = np.array([max(_threshold(data, size, n), 1e-9) for n in samples])
    return float(samples[np.argmin(np.abs(np.log(lines / np.sqrt(sizes[0] * sizes[-1]))))])


def _spread(values: "np.ndarray") -> list[float]:
    """First and last of a row, once."""
    return list(dict.fromkeys([float(values[0]), float(values[-1])]))


def _kind(size: str) -> str:
    return "networks" if size == "width" else "random features"
