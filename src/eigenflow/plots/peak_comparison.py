"""A measured risk with its interval, and what theories say of it, along one axis."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

__all__ = ["plot_peak_comparison"]

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
    return ax
