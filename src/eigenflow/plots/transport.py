"""Pictures of a solved transport problem. They draw a finished solution into given axes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eigenflow.plots.file import picture_text
from eigenflow.transport import TransportSolution

__all__ = ["plot_budget", "plot_density", "plot_loss", "plot_slope", "transport_figure"]

SHOWN_TIMES = 7
TINY = 1e-30


def plot_density(solution: TransportSolution, *, ax: Axes, times: int = SHOWN_TIMES) -> Axes:
    """Draw the mass per unit ln(lambda) at a few times, early to late, with the frontier as dots.

    Args:
        solution: With at least one output time.
        ax: Axes to draw into.
        times: Number of curves, spread evenly over the output times.

    Returns:
        The same `ax`, both axes logarithmic.
    """
    ax.set_xlabel("eigenvalue λ [1 / time]")
    ax.set_ylabel("mass per ln λ")
    ax.set_title("Density over time (dots: frontier)")
    if not np.any(solution.mass > TINY):
        return _say_empty(ax)
    centres = np.sqrt(solution.edges[:-1] * solution.edges[1:])
    width = np.diff(np.log(solution.edges))
    shown = np.unique(np.linspace(0, len(solution.times) - 1, times).round().astype(int))
    top = float((solution.mass / width).max())
    for index, colour in zip(shown, _shades(len(shown)), strict=True):
        height = solution.mass[index] / width
        ax.loglog(
            centres, np.where(height > TINY, height, np.nan), color=colour, label=f"t = {solution.times[index]:.3g}"
        )
        frontier = solution.frontier[index]
        if solution.edges[0] < frontier < solution.edges[-1]:
            ax.plot(frontier, np.interp(frontier, centres, height), "o", color=colour, markersize=5)
    ax.set_ylim(top * 1e-8, top * 3)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return ax


def plot_loss(solution: TransportSolution, *, ax: Axes) -> Axes:
    """Draw the total over time, with the frontier on a second axis."""
    ax.set_title("Total and frontier")
    if not np.any(solution.total > TINY):
        return _say_empty(ax)
    ax.loglog(solution.times, np.where(solution.total > TINY, solution.total, np.nan), color="#0072B2", label="total")
    ax.set_xlabel("time t")
    ax.set_ylabel("total (2 × loss for energies)", color="#0072B2")
    right = ax.twinx()
    inside = (solution.frontier > solution.edges[0]) & (solution.frontier < solution.edges[-1])
    if inside.any():
        right.loglog(solution.times, np.where(inside, solution.frontier, np.nan), "--", color="#D55E00")
    right.set_ylabel("frontier λ [1 / time] (dashed)", color="#D55E00")
    return ax


def plot_slope(solution: TransportSolution, *, ax: Axes) -> Axes:
    """Draw the local exponent -d ln(total) / d ln(t), by differences of neighbouring outputs."""
    kept = (solution.total > TINY) & (solution.times > 0)
    if kept.sum() > 1:
        log_time, log_total = np.log(solution.times[kept]), np.log(solution.total[kept])
        middle = np.exp(0.5 * (log_time[1:] + log_time[:-1]))
        ax.semilogx(middle, -np.diff(log_total) / np.diff(log_time), color="#009E73")
    ax.set_xlabel("time t")
    ax.set_ylabel("−d ln(total) / d ln(t)")
    ax.set_title("Local slope of the total")
    return ax


def plot_budget(solution: TransportSolution, *, ax: Axes) -> Axes:
    """Draw where the mass is, as shares of what there was at the start."""
    budget, initial = solution.budget, solution.budget.initial or 1.0
    parts = {
        "left": solution.total,
        "dissipated": budget.dissipated,
        "outflow below": budget.outflow_below,
        "outflow above": budget.outflow_above,
    }
    colours = dict(zip(parts, ("#0072B2", "#E69F00", "#999999", "#CC79A7"), strict=True))
    parts = {name: values / initial for name, values in parts.items() if name == "left" or np.any(values > 0)}
    shades = [colours[name] for name in parts]
    ax.stackplot(solution.times, *parts.values(), labels=list(parts), colors=shades, alpha=0.8)
    if np.any(budget.source != 0):
        ax.plot(solution.times, 1 + budget.source / initial, color="black", label="initial + source")
    ax.set_xscale("log")
    ax.set_xlabel("time t")
    ax.set_ylabel("share of the initial mass")
    residual = float(np.abs(budget.residual).max() / initial)
    ax.set_title(f"Budget (residual {residual:.0e})")
    ax.legend(frameon=False, fontsize=8, loc="center left")
    return ax


def transport_figure(solution: TransportSolution, title: str) -> Figure:
    """Make one figure of all four pictures."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    for plot, ax in zip((plot_density, plot_loss, plot_slope, plot_budget), axes.flat, strict=True):
        plot(solution, ax=ax)
    figure.suptitle(picture_text(title))
    return figure


def _say_empty(ax: Axes) -> Axes:
    ax.text(0.5, 0.5, "no mass in the domain", ha="center", va="center", transform=ax.transAxes)
    return ax


def _shades(count: int) -> list[tuple[float, float, float, float]]:
    from matplotlib import colormaps

    return [tuple(colour) for colour in colormaps["viridis"](np.linspace(0, 0.9, count))]
