"""A number of each run over a swept key."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

__all__ = ["SweepLine", "plot_over_key"]

# Swept values are named on the axis where there are no more of them, with so much room between two, of all.
MOST_NAMED, LEAST_ROOM = 8, 0.05
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class SweepLine:
    """Runs that share all swept values but one.

    Attributes:
        label: Their other values; empty where there are none.
        places: Of the key, one a run.
        values: Of the number, one a run.
        centres: Places with the mean of their runs: what the line joins; None where runs are not joined.
    """

    label: str
    places: Float[np.ndarray, " run"]
    values: Float[np.ndarray, " run"]
    centres: tuple[Float[np.ndarray, " place"], Float[np.ndarray, " place"]] | None = None


def plot_over_key(
    lines: Sequence[SweepLine], *, ax: Axes, key: str, quantity: str, marks: Sequence[tuple[float, str]] = ()
) -> Axes:
    """Draw single runs as points and means as lines, on logarithmic axes where all is positive.

    Args:
        lines: At least one.
        ax: Axes to draw into.
        key: What the runs differ in, with its unit.
        quantity: What is drawn, with its unit.
        marks: Levels of the quantity that are drawn across, with what they mean.

    Returns:
        The same `ax`.
    """
    for number, line in enumerate(lines):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
        label = line.label or None
        ax.plot(line.places, line.values, marker, color=colour, markersize=4.5, alpha=0.55, markeredgewidth=0)
        if line.centres is not None:
            ax.plot(*line.centres, "-", color=colour, linewidth=1.6, label=label)
        elif label:
            ax.plot([], [], marker, color=colour, label=label)
    for level, meaning in marks:
        ax.axhline(level, color="#777777", linewidth=1, linestyle="--")
        ax.annotate(meaning, (1.0, level), xycoords=("axes fraction", "data"), xytext=(-3, 3), ha="right",
                    textcoords="offset points", fontsize=8, color="#555555")  # fmt: skip
    if all((line.places > 0).all() for line in lines):
        ax.set_xscale("log")
        _label_values(ax, np.unique(np.concatenate([line.places for line in lines])))
    if all((line.values > 0).all() for line in lines):
        ax.set_yscale("log")
    ax.set_xlabel(key)
    ax.set_ylabel(quantity)
    if any(line.label for line in lines):
        ax.legend(fontsize=8, framealpha=0.85, edgecolor="none")
    return ax


def _label_values(ax: Axes, values: Float[np.ndarray, " value"]) -> None:
    """Name the swept values themselves on a logarithmic axis, if there is room for them."""
    logs = np.log(values)
    if 2 <= len(values) <= MOST_NAMED and np.diff(logs).min() >= LEAST_ROOM * (logs[-1] - logs[0]):
        ax.set_xticks(values, [f"{value:g}" for value in values])
        ax.xaxis.set_minor_locator(NullLocator())
