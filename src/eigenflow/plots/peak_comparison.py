"""A measured risk with its interval, and what theories say of it, along one axis."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

__all__ = ["plain_ticks", "plot_peak_comparison"]

Places = Float[np.ndarray, " place"]

STYLES = {
    "lazy": ("#0072B2", "--", "lazy, v = 0"),
    "drift": ("#D55E00", "-.", "drift only"),
    "full": ("#009E73", ":", "drift and rotation"),
    "expected": ("#009E73", ":", "mean over noise, exact"),
    "theory": ("#0072B2", "--", "deterministic equivalent"),
}
MEASURED = "#222222"


def plot_peak_comparison(
    places: Places,
    measured: tuple[Places, Places, Places],
    predicted: Mapping[str, tuple[Places, Places]],
    *,
    ax: Axes,
    across: str,
    threshold: float | None = None,
    label: str = "excess test risk",
) -> Axes:
    """Draw a measured curve with its 90 % interval, and predicted ones.

    Args:
        places: Of the axis, > 0 and increasing.
        measured: The risk, and the lower and upper end of its interval.
        predicted: By name ("lazy", "drift", "full", "expected", "theory", or any text): places and risks, of which
            infinite ones break the line.
        ax: Axes to draw into.
        across: What the axis is.
        threshold: A vertical line: as many parameters as training outputs.
        label: Of the risk.

    Returns:
        The same `ax`, both axes logarithmic.
    """
    middle, low, high = measured
    ax.fill_between(places, low, high, color=MEASURED, alpha=0.15, linewidth=0)
    ax.plot(places, middle, "o-", color=MEASURED, markersize=3.5, linewidth=1.2, label="measured")
    for name, (at, risk) in predicted.items():
        colour, line, text = STYLES.get(name, (None, "-", name))
        ax.plot(at, np.where(np.isfinite(risk), risk, np.nan), line, color=colour, linewidth=1.6, label=text)
    if threshold is not None and places[0] < threshold < places[-1]:
        ax.axvline(threshold, color="0.5", linewidth=1.0, zorder=0)
    ax.set(xscale="log", yscale="log", xlabel=across, ylabel=label)
    top = np.nanmax(high)
    bottom = min(np.nanmin(low), *(np.nanmin(risk) for _, risk in predicted.values())) if predicted else np.nanmin(low)
    ax.set_ylim(bottom / 1.3, top * 1.6)
    plain_ticks(ax.xaxis, places)
    return ax


def plain_ticks(axis: Axis, places: Places) -> None:
    """Label a logarithmic axis of less than two decades and a half at some of the places, as plain numbers."""
    if places[-1] > 300 * places[0]:
        return
    least = (places[-1] / places[0]) ** (1.0 / 7.0)  # between neighbours, so that labels do not touch
    shown = [float(places[0])]
    for place in places[1:]:
        if place >= shown[-1] * least:
            shown.append(float(place))
    axis.set_major_locator(FixedLocator(shown))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
