"""Pictures of test risks: maps over two axes, curves over one."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, NullFormatter

__all__ = ["plot_risk_curves", "plot_risk_map"]

LABELS = {
    "samples": "training samples n",
    "features": "features k",
    "ridge": "ridge δ",
    "time": "time t (sum of learning rates)",
    "samples_per_input": "samples per input n/d",
    "features_per_input": "features per input k/d",
}
TOP = 99.5  # percentile of the risks, above which colours no longer change: a threshold may be infinite


def plot_risk_map(
    across: Float[np.ndarray, " across"],
    down: Float[np.ndarray, " down"],
    risk: Float[np.ndarray, "down across"],
    *,
    ax: Axes,
    names: tuple[str, str] = ("samples", "features"),
    threshold: float | None = np.inf,
    resolved: Float[np.ndarray, "down across"] | None = None,
    frontier: Mapping[str, tuple[Any, Any]] | None = None,
    label: str = "excess test risk",
) -> Axes:
    """Draw a risk over two axes, by colours and lines of equal risk.

    Args:
        across: Places of the horizontal axis, increasing and > 0; `down` likewise of the vertical one.
        risk: Infinite at a threshold is drawn as the highest colour; what is unknown stays white.
        ax: Axes to draw into.
        names: Of the two axes, as in a `RiskSurface`, or any text.
        threshold: Where axes are samples and features, draw the line on which there are as many samples as features,
            or as modes, of which this is the number; None for no line.
        resolved: Share of the modes that samples and features could resolve which are resolved. Where it is one half
            the resolution frontier is drawn: on its other side a ridge, or the time, is what limits.
        frontier: Further lines on top by name, each as two rows of places.
        label: Of the colours.

    Returns:
        The same `ax`, both axes logarithmic.
    """
    x, y = np.asarray(across, dtype=np.float64), np.asarray(down, dtype=np.float64)
    columns, rows = (x > 0) & np.isfinite(x), (y > 0) & np.isfinite(y)
    x, y, kept = x[columns], y[rows], np.ix_(rows, columns)
    _draw_risk(x, y, np.asarray(risk, dtype=np.float64)[kept], ax, label)
    if threshold is not None and set(names) == {"samples", "features"}:
        features = np.geomspace(*((y.min(), y.max()) if names[1] == "features" else (x.min(), x.max())), 400)
        line = np.minimum(features, threshold), features
        line = line if names[0] == "samples" else line[::-1]
        ax.plot(*line, color="white", linestyle="--", linewidth=1.5, label="interpolation threshold")
    if resolved is not None:
        share = np.asarray(resolved, dtype=np.float64)[kept]
        if min(share.shape) > 1 and np.nanmin(share) < 0.5 < np.nanmax(share):
            ax.contour(x, y, share, levels=[0.5], colors="tab:red", linewidths=2.0)
            ax.plot([], [], color="tab:red", linewidth=2.0, label="resolution frontier")
    for style, (name, (places, heights)) in zip(cycle(("-", ":", "-.")), (frontier or {}).items(), strict=False):
        ax.plot(places, heights, color="tab:orange", linestyle=style, linewidth=2.0, label=name)
    ax.set(xscale="log", yscale="log", xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))
    ax.set(xlabel=LABELS.get(names[0], names[0]), ylabel=LABELS.get(names[1], names[1]))
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower right", fontsize="small", facecolor="0.35", labelcolor="white", framealpha=0.8)
    return ax


def _draw_risk(x: np.ndarray, y: np.ndarray, risk: np.ndarray, ax: Axes, label: str) -> None:
    """Colours with their bar, and lines of equal risk."""
    known = risk[np.isfinite(risk) & (risk > 0)]
    low, high = (known.min(), np.percentile(known, TOP)) if known.size else (0.1, 1.0)
    high = max(high, low * 1.01)
    shown = np.where(np.isposinf(risk), high, risk)
    mesh = ax.pcolormesh(x, y, shown, norm=LogNorm(low, high), cmap="viridis", shading="nearest", rasterized=True)
    colours = ax.figure.colorbar(mesh, ax=ax, label=label, extend="max")
    _tick(colours.ax.yaxis)
    if min(risk.shape) > 1 and known.size:
        ax.contour(x, y, shown, levels=np.geomspace(low, high, 9)[1:-1], colors="white", linewidths=0.5)


def _tick(axis: Axis) -> None:
    """Label 1, 2 and 5 while a logarithmic axis is short, else powers of ten, whatever limits it is given later."""
    powers = LogFormatterMathtext()
    powers.set_axis(axis)

    def label(value: float, place: int | None = None) -> str:
        low, high = axis.get_view_interval()
        if high < low * 300.0:
            return f"{value:g}"
        return powers(value, place) if np.isclose(np.log10(value) % 1.0, [0.0, 1.0]).any() else ""

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(label))
    axis.set_minor_formatter(NullFormatter())


def plot_risk_curves(
    places: Float[np.ndarray, " place"],
    curves: Mapping[str, Float[np.ndarray, " place"]],
    *,
    ax: Axes,
    across: str = "features",
    measured: Mapping[str, tuple[Any, Any, Any]] | None = None,
    thresholds: Mapping[str, float] | None = None,
    label: str = "excess test risk",
) -> Axes:
    """Draw risks over one axis.

    Args:
        places: Of the axis, > 0 where they shall be seen.
        curves: Risks by name; infinite ones break the line.
        ax: Axes to draw into.
        across: Name of the axis, as in a `RiskSurface`, or any text.
        measured: By the name of a curve whose colour they take, or of their own: places, risks, and their standard
            errors, which are drawn twice as long.
        thresholds: Vertical lines by name.
        label: Of the risk.

    Returns:
        The same `ax`, both axes logarithmic.
    """
    x, colours = np.asarray(places, dtype=np.float64), {}
    for name, values in curves.items():
        risk = np.asarray(values, dtype=np.float64)
        seen = (x > 0) & (risk > 0)
        if seen.any():
            (line,) = ax.plot(x[seen], np.where(np.isfinite(risk), risk, np.nan)[seen], label=name)
            colours[name] = line.get_color()
    for name, (points, risks, errors) in (measured or {}).items():
        style: dict[str, Any] = {"color": colours[name]} if name in colours else {"label": name}
        ax.errorbar(points, risks, 2.0 * np.asarray(errors), fmt="o", markersize=4, capsize=2, **style)
    for name, place in (thresholds or {}).items():
        ax.axvline(place, color="0.5", linestyle="--", linewidth=1.0)
        ax.annotate(name, (place, 1.0), (2, -4), xycoords=("data", "axes fraction"), textcoords="offset points",
                    rotation=90, va="top", fontsize="small", color="0.4")  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel=LABELS.get(across, across), ylabel=label)
    _tick(ax.xaxis)
    _tick(ax.yaxis)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="small")
    return ax
