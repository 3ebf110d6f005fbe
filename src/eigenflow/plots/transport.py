"""Pictures of a solved transport problem, from its arrays."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes

__all__ = ["plot_budget", "plot_density", "plot_slope", "plot_total"]

SHOWN_TIMES = 7
TINY = 1e-30
_COLOURS = ("#0072B2", "#E69F00", "#999999", "#CC79A7")

Times = Float[np.ndarray, " time"]


def plot_density(
    times: Times,
    edges: Float[np.ndarray, " edge"],
    mass: Float[np.ndarray, "time cell"],
    frontier: Times,
    *,
    ax: Axes,
    count: int = SHOWN_TIMES,
) -> Axes:
    """Draw the mass per unit ln(lambda) at a few times, early to late, with the frontier as dots.

    Args:
        times: Output times, at least one.
        edges: Of the cells, eigenvalues in 1 / time.
        mass: In every cell, one row a time.
        frontier: Eigenvalue of the frontier at each time; outside of the cells it is not drawn.
        ax: Axes to draw into.
        count: Number of curves, spread evenly over the output times.

    Returns:
        The same `ax`, both axes logarithmic.
    """
    ax.set_xlabel("eigenvalue λ [1 / time]")
    ax.set_ylabel("mass per ln λ")
    ax.set_title("Density over time (dots: frontier)")
    if not np.any(mass > TINY):
        return _say_empty(ax)
    centres = np.sqrt(edges[:-1] * edges[1:])
    width = np.diff(np.log(edges))
    shown = np.unique(np.linspace(0, len(times) - 1, count).round().astype(int))
    top = float((mass / width).max())
    for index, colour in zip(shown, colormaps["viridis"](np.linspace(0, 0.9, len(shown))), strict=True):
        height = mass[index] / width
        ax.loglog(centres, np.where(height > TINY, height, np.nan), color=colour, label=f"t = {times[index]:.3g}")
        if edges[0] < frontier[index] < edges[-1]:
            ax.plot(frontier[index], np.interp(frontier[index], centres, height), "o", color=colour, markersize=5)
    ax.set_ylim(top * 1e-8, top * 3)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return ax


def plot_total(times: Times, total: Times, frontier: Times, domain: tuple[float, float], *, ax: Axes) -> Axes:
    """Draw the total over time, with the frontier on a second axis.

    Args:
        times: Output times.
        total: Mass in the domain at each.
        frontier: Eigenvalue of the frontier at each; outside of the domain it is not drawn.
        domain: Lowest and highest eigenvalue.
        ax: Axes to draw into; both become logarithmic.
    """
    ax.set_title("Total and frontier")
    if not np.any(total > TINY):
        return _say_empty(ax)
    ax.loglog(times, np.where(total > TINY, total, np.nan), color="#0072B2", label="total")
    ax.set_xlabel("time t")
    ax.set_ylabel("total (2 × loss for energies)", color="#0072B2")
    right = ax.twinx()
    inside = (frontier > domain[0]) & (frontier < domain[1])
    if inside.any():
        right.loglog(times, np.where(inside, frontier, np.nan), "--", color="#D55E00")
    right.set_ylabel("frontier λ [1 / time] (dashed)", color="#D55E00")
    return ax


def plot_slope(times: Times, total: Times, *, ax: Axes) -> Axes:
    """Draw the local exponent -d ln(total) / d ln(t), the steepness of the total between neighbouring outputs.

    Args:
        times: Output times.
        total: Mass in the domain at each.
        ax: Axes to draw into; time is logarithmic.
    """
    kept = (total > TINY) & (times > 0)
    if kept.sum() > 1:
        log_time, log_total = np.log(times[kept]), np.log(total[kept])
        middle = np.exp(0.5 * (log_time[1:] + log_time[:-1]))
        ax.semilogx(middle, -np.diff(log_total) / np.diff(log_time), color="#009E73")
    ax.set_xlabel("time t")
    ax.set_ylabel("−d ln(total) / d ln(t)")
    ax.set_title("Local slope of the total")
    return ax


def plot_budget(
    times: Times, shares: Mapping[str, Times], *, ax: Axes, source: Times | None = None, residual: float = 0.0
) -> Axes:
    """Draw where the mass is, as shares of what there was at the start.

    Args:
        times: Output times.
        shares: By name, at most four, from below to the top; those after the first are left out where they stay zero.
        ax: Axes to draw into; time is logarithmic.
        source: Share that a source added up to each time; None, or zero throughout, for none.
        residual: Largest share that the parts leave unexplained.
    """
    kept = {
        name: (values, colour)
        for (name, values), colour in zip(shares.items(), _COLOURS, strict=False)
        if name == next(iter(shares)) or np.any(values > 0)
    }
    drawn, colours = [values for values, _ in kept.values()], [colour for _, colour in kept.values()]
    ax.stackplot(times, *drawn, labels=list(kept), colors=colours, alpha=0.8)
    if source is not None and np.any(source != 0):
        ax.plot(times, 1 + source, color="black", label="initial + source")
    ax.set_xscale("log")
    ax.set_xlabel("time t")
    ax.set_ylabel("share of the initial mass")
    ax.set_title(f"Budget (residual {residual:.0e})")
    ax.legend(frameon=False, fontsize=8, loc="center left")
    return ax


def _say_empty(ax: Axes) -> Axes:
    ax.text(0.5, 0.5, "no mass in the domain", ha="center", va="center", transform=ax.transAxes)
    return ax
