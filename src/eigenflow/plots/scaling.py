"""Pictures of tables of final losses and of designed schedules, drawn into given axes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eigenflow.forecast.design import DesignedSchedule
from eigenflow.plots.forecast import plot_allocation
from eigenflow.scaling.allocation import Allocation
from eigenflow.scaling.counts import FLOPS_PER_PARAMETER_TOKEN
from eigenflow.scaling.fit import ScalingFit

__all__ = ["plan_figure", "plot_designed_schedule", "plot_plan", "plot_scaling_residuals"]

# Okabe and Ito's colours, which stay apart for colour-blind readers.
OURS, RIVALS, MEASURED = "#D55E00", ("#0072B2", "#009E73"), "#66717d"


def plot_plan(plan: Allocation, fit: ScalingFit, *, ax: Axes) -> Axes:
    """Draw the optimal size over compute with its 90 % interval, and the fitted runs behind it.

    Args:
        plan: Of `allocate`, for budgets in increasing order.
        fit: Behind it.
        ax: Axes to draw into; both become logarithmic.
    """
    ax.scatter(fit.table.flops, fit.table.size, s=8, color=MEASURED, alpha=0.5, label="fitted runs", linewidths=0)
    ax.loglog(plan.flops, plan.size, "o-", color=OURS, ms=4, label="compute-optimal")
    ax.fill_between(plan.flops, plan.size_lower, plan.size_upper, color=OURS, alpha=0.2, lw=0, label="90 % interval")
    low, high = (plan.size * plan.within[:, side] for side in (0, 1))
    ax.fill_between(plan.flops, low, high, color=RIVALS[0], alpha=0.12, lw=0, label="loss within 0.1 %")
    ax.set_xlabel("training compute C = 6 N D [FLOP]")
    ax.set_ylabel("parameters N")
    ax.legend(frameon=False)
    return ax


def plan_figure(plan: Allocation, fit: ScalingFit) -> Figure:
    """Draw the best size and the best number of tokens over compute, and what the law leaves unexplained."""
    figure = Figure(figsize=(12.0, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    plot_plan(plan, fit, ax=left)
    per_token = plan.flops / FLOPS_PER_PARAMETER_TOKEN
    ends = per_token / plan.size_upper, per_token / plan.size_lower
    plot_allocation(plan.flops, plan.tokens, *ends, ax=middle, what="tokens D")
    plot_scaling_residuals(fit, ax=right)
    return figure


def plot_scaling_residuals(fit: ScalingFit, *, ax: Axes) -> Axes:
    """Draw ln(measured / fitted) over compute, outliers marked, and the scatter on the compute-efficient line."""
    flops, residuals = fit.table.flops, fit.residuals
    ax.axhspan(-fit.scatter, fit.scatter, color=RIVALS[0], alpha=0.15, lw=0, label="scatter")
    ax.semilogx(flops, residuals, "o", color=MEASURED, ms=3)
    if fit.outliers:
        rows = list(fit.outliers)
        ax.semilogx(flops[rows], residuals[rows], "x", color=OURS, label="outliers")
    ax.axhline(0.0, color="k", lw=0.8)
    ax.set_xlabel("training compute C = 6 N D [FLOP]")
    ax.set_ylabel("ln(measured / fitted loss)")
    ax.legend(frameon=False)
    return ax


def plot_designed_schedule(design: DesignedSchedule, *, ax: Axes) -> Axes:
    """Draw the designed schedule beside the best cosine and the best WSD, with their predicted losses."""
    for rival, colour in zip(design.rivals, RIVALS, strict=False):
        label = f"{rival.name}, {rival.setting}: {np.median(rival.loss):.4f}"
        ax.plot(rival.schedule.rates, color=colour, lw=1.2, label=label)
    ax.plot(design.schedule.rates, color=OURS, lw=1.8, label=f"designed: {np.median(design.loss):.4f}")
    ax.set_xlabel("update")
    ax.set_ylabel("learning rate")
    ax.legend(frameon=False, title="predicted final loss")
    return ax
