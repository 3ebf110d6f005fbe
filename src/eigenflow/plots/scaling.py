"""Pictures of tables of final losses and of designed schedules, from their arrays."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes

from eigenflow.plots.forecast import COLOURS, MOST_NAMED

__all__ = ["plot_allocation", "plot_designed_schedule", "plot_plan", "plot_runs", "plot_scaling_residuals"]

# Bands over so few budgets are slivers or nothing: each budget gets a point with its bar instead.
FEW = 2
OURS, RIVALS, MEASURED = "#D55E00", ("#0072B2", "#009E73"), "#66717d"

Budgets = Float[np.ndarray, " budget"]
Runs = Float[np.ndarray, " run"]


def plot_runs(flops: Runs, loss: Runs, size: Runs, *, ax: Axes) -> Axes:
    """Draw the final loss of finished runs over compute, runs of one size joined.

    Args:
        flops: Training compute of each run.
        loss: Its final loss.
        size: Its parameters.
        ax: Axes to draw into; both become logarithmic.
    """
    known = np.unique(size)
    for one, colour in zip(known, colormaps["viridis"](np.linspace(0, 0.9, len(known))), strict=True):
        rows = np.flatnonzero(size == one)
        rows = rows[np.argsort(flops[rows])]
        label = f"N = {one:.3g}" if len(known) <= MOST_NAMED else None
        ax.loglog(flops[rows], loss[rows], "o-", color=colour, markersize=3, linewidth=0.8, label=label)
    ax.set_xlabel("training compute C = 6 N D [FLOP]")
    ax.set_ylabel("final loss")
    if len(known) <= MOST_NAMED:
        ax.legend(frameon=False, fontsize=8)
    return ax


def plot_plan(
    flops: Budgets,
    size: Budgets,
    lower: Budgets,
    upper: Budgets,
    *,
    ax: Axes,
    within: Float[np.ndarray, "budget 2"] | None = None,
    runs: tuple[Runs, Runs] | None = None,
) -> Axes:
    """Draw the optimal size over compute with its 90 % interval, and the fitted runs behind it.

    Args:
        flops: Budgets, increasing.
        size: Optimal parameters at each.
        lower: Lower end of their 90 % interval.
        upper: Upper end.
        ax: Axes to draw into; both become logarithmic.
        within: Factors of the size, below and above, between which the loss stays within 0.1 % of the optimum.
        runs: Compute and parameters of the fitted runs.
    """
    if runs is not None:
        ax.scatter(*runs, s=8, color=MEASURED, alpha=0.5, label="fitted runs", linewidths=0)
    ax.loglog(flops, size, "o-", color=OURS, ms=4, label="compute-optimal")
    _draw_between(flops, size, lower, upper, ax=ax, colour=OURS, label="90 % interval")
    if within is not None:
        low, high = (size * within[:, side] for side in (0, 1))
        if len(flops) > FEW:
            ax.fill_between(flops, low, high, color=RIVALS[0], alpha=0.12, lw=0, label="loss within 0.1 %")
        else:
            ax.vlines(flops, low, high, color=RIVALS[0], alpha=0.25, lw=8, label="loss within 0.1 %")
    ax.set_xlabel("training compute C = 6 N D [FLOP]")
    ax.set_ylabel("parameters N")
    ax.legend(frameon=False)
    return ax


def plot_allocation(
    flops: Budgets, best: Budgets, lower: Budgets, upper: Budgets, *, ax: Axes, what: str = "parameters"
) -> Axes:
    """Draw the best size, or the best number of tokens, over compute, with its 90 % interval.

    Args:
        flops: Budgets, increasing.
        best: Optimum at each.
        lower: Lower end.
        upper: Upper end.
        ax: Axes to draw into.
        what: Of what the optimum is.

    Returns:
        The same `ax`, both axes logarithmic.
    """
    marker = "o" if len(flops) <= FEW else None
    ax.loglog(flops, best, color=COLOURS[0], linewidth=1.4, marker=marker, ms=4, label="optimum")
    _draw_between(flops, best, lower, upper, ax=ax, colour=COLOURS[0], label="90 % interval")
    if len(flops) == 1:
        ax.set_xlim(flops[0] / 10, flops[0] * 10)
    ax.set_xlabel("training compute C = 6 N D [FLOP]")
    ax.set_ylabel(what)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _draw_between(
    flops: Budgets, best: Budgets, lower: Budgets, upper: Budgets, *, ax: Axes, colour: str, label: str
) -> None:
    """Draw an interval over compute: a band, or a bar at each of few budgets."""
    if len(flops) > FEW:
        ax.fill_between(flops, lower, upper, color=colour, alpha=0.2, lw=0, label=label)
        return
    ends = [np.maximum(best - lower, 0.0), np.maximum(upper - best, 0.0)]
    ax.errorbar(flops, best, yerr=ends, fmt="none", ecolor=colour, elinewidth=1.2, capsize=4, label=label)


def plot_scaling_residuals(
    flops: Runs, residuals: Runs, scatter: float, *, ax: Axes, outliers: Sequence[int] = ()
) -> Axes:
    """Draw ln(measured / fitted) over compute, outliers marked, and the scatter on the compute-efficient line.

    Args:
        flops: Training compute of each run.
        residuals: ln(measured / fitted loss) of each.
        scatter: Relative scatter of a run.
        ax: Axes to draw into; compute is logarithmic.
        outliers: Indices of runs to mark.
    """
    ax.axhspan(-scatter, scatter, color=RIVALS[0], alpha=0.15, lw=0, label="scatter")
    ax.semilogx(flops, residuals, "o", color=MEASURED, ms=3)
    if len(outliers):
        rows = list(outliers)
        ax.semilogx(flops[rows], residuals[rows], "x", color=OURS, label="outliers")
    ax.axhline(0.0, color="k", lw=0.8)
    ax.set_xlabel("training compute C = 6 N D [FLOP]")
    ax.set_ylabel("ln(measured / fitted loss)")
    ax.legend(frameon=False)
    return ax


def plot_designed_schedule(
    rates: Float[np.ndarray, " update"],
    loss: float,
    rivals: Mapping[str, tuple[Float[np.ndarray, " update"], float]],
    *,
    ax: Axes,
) -> Axes:
    """Draw the designed schedule beside the best usual ones, with their predicted losses.

    Args:
        rates: Designed learning rate of every update.
        loss: Its predicted final loss.
        rivals: By name, rates and predicted final loss.
        ax: Axes to draw into.
    """
    for (name, (other, other_loss)), colour in zip(rivals.items(), RIVALS, strict=False):
        ax.plot(other, color=colour, lw=1.2, label=f"{name}: {other_loss:.4f}")
    ax.plot(rates, color=OURS, lw=1.8, label=f"designed: {loss:.4f}")
    ax.set_xlabel("update")
    ax.set_ylabel("learning rate")
    ax.legend(frameon=False, title="predicted final loss")
    return ax
