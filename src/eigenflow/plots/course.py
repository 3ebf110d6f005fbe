"""Pictures of a run's course: eigenvalues over time, forecasts of its rest, and its way from lazy to rich."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from eigenflow.plots.axes import plain_if_short
from eigenflow.plots.file import picture_text

__all__ = ["plot_eigenvalues", "plot_lazy_rich", "plot_rest_forecasts"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#1f2933")
STYLES = ("--", "-.", ":", "-")
MARKERS = ("o", "s", "^", "D", "v", "P")
MUTED = "#66717d"
LEAST_DISTANCE = 1e-4
# Of the largest eigenvalue: a dense solver returns zero as this share of it, or less, for some thousand rows.
ROUNDING = 1e-12

Points = Float[np.ndarray, " point"]


def plot_eigenvalues(
    times: Float[np.ndarray, " time"],
    eigenvalues: Float[np.ndarray, "time rank"],
    *,
    ax: Axes,
    most: int = 12,
    has_frontier: bool = True,
) -> Axes:
    """Draw eigenvalues of some ranks over time, dark the largest; above the frontier 1 / (2 t) modes are learned.

    Args:
        times: Of the measurements; time 0 has no place on the logarithmic axis.
        eigenvalues: In falling order at each time, 1 / time. Those that are zero up to rounding are left out.
        ax: Axes to draw into.
        most: Ranks that are drawn, evenly spread over the logarithm of the rank.
        has_frontier: Whether times are in the unit of 1 / eigenvalue.

    Returns:
        The same `ax`.
    """
    from matplotlib import colormaps

    shown = times > 0
    least = ROUNDING * np.nanmax(np.abs(eigenvalues[shown]), axis=1, keepdims=True, initial=0.0)
    known = np.where(eigenvalues[shown] > least, eigenvalues[shown], np.nan)
    count = max(1, int(np.isfinite(known).any(axis=0).sum()))
    ranks = np.unique(np.geomspace(1, count, most).round().astype(int))
    for rank, colour in zip(ranks, colormaps["viridis"](np.linspace(0, 0.88, len(ranks))), strict=True):
        ax.loglog(times[shown], known[:, rank - 1], "-", color=colour, linewidth=1.0)
    low, high = ax.get_ylim()
    if has_frontier:
        ax.plot(times[shown], 0.5 / times[shown], "--", color=COLOURS[-1], linewidth=1.2, label="frontier 1 / (2t)")
        ax.set_ylim(low, high)
        ax.legend(frameon=False)
    ax.set_xlabel("time, sum of learning rates" if has_frontier else "completed updates")
    ax.set_ylabel("eigenvalue λ [1 / time]")
    return ax


def plot_rest_forecasts(
    known: tuple[Points, Points],
    truth: tuple[Points, Points],
    forecasts: Mapping[str, tuple[Points, Points, Points]],
    *,
    ax: Axes,
    quantity: str = "loss",
) -> Axes:
    """Draw what was known of a run, what came, and what was forecast of it in 90 % bands.

    Args:
        known: Steps and losses up to the cut.
        truth: Later steps and losses.
        forecasts: By method, loss and both ends of its interval at the later steps.
        ax: Axes to draw into.
        quantity: What is forecast.

    Returns:
        The same `ax`.
    """
    shown = known[0] > 0
    ax.loglog(known[0][shown], known[1][shown], "-", color=MUTED, linewidth=1.4, label="known")
    ax.loglog(*truth, "-", color="#b8c0c8", linewidth=3.5, label="what came")
    for place, (name, (loss, lower, upper)) in enumerate(forecasts.items()):
        colour = COLOURS[place % len(COLOURS)]
        ax.fill_between(truth[0], lower, upper, color=colour, alpha=0.18, linewidth=0)
        style = STYLES[place % len(STYLES)]
        ax.plot(truth[0], loss, linestyle=style, color=colour, linewidth=1.2, label=picture_text(name))
    ax.axvline(truth[0][0], color=MUTED, linewidth=0.8, linestyle=":")
    ax.set_xlabel("completed updates")
    ax.set_ylabel(quantity)
    ax.legend(frameon=False)
    return ax


def plot_lazy_rich(paths: Mapping[str, tuple[Points, Points]], *, ax: Axes, lazy: float, rich: float) -> Axes:
    """Draw the way of runs from lazy to rich: how far the operator went, and how much energy changed its shell.

    Args:
        paths: By name, ||M - M0|| / ||M0|| and the share of energy over time; shares of 0, and distances below 10^-4,
            have no place.
        ax: Axes to draw into.
        lazy: Distance below which training is lazy.
        rich: Distance above which it is rich.

    Returns:
        The same `ax`.
    """
    for place, (name, (distance, share)) in enumerate(paths.items()):
        shown = (distance > LEAST_DISTANCE) & (share > 0)
        colour, style = COLOURS[place % len(COLOURS)], STYLES[(place + 3) % len(STYLES)]
        ax.loglog(distance[shown], share[shown], color=colour, linestyle=style, linewidth=1.2)
        end = distance[shown][-1:], share[shown][-1:]
        ax.plot(*end, MARKERS[place % len(MARKERS)], color=colour, markersize=5, label=picture_text(name))
    left, right = ax.get_xlim()
    ax.set_xlim(min(left, 0.5 * lazy), max(right, 2.0 * rich))
    for level, words, side in ((lazy, "lazy ", "right"), (rich, " rich", "left")):
        ax.axvline(level, color=MUTED, linewidth=0.8, linestyle="--")
        ax.annotate(words, (level, 1.0), xycoords=("data", "axes fraction"), ha=side, va="bottom", color=MUTED)
    plain_if_short(ax)
    ax.set_xlabel("distance of the operator, ‖M − M₀‖ / ‖M₀‖")
    ax.set_ylabel("share of energy that\nchanges its shell")
    if len(paths) > 1:
        ax.legend(frameon=False)
    return ax
