"""The figure of a plan: size, tokens, and what the law leaves unexplained."""

from matplotlib.figure import Figure

from eigenflow.plots import plot_allocation
from eigenflow.scaling.allocation import Allocation
from eigenflow.scaling.counts import FLOPS_PER_PARAMETER_TOKEN
from eigenflow.scaling.fit import ScalingFit

__all__ = ["plan_figure"]


def plan_figure(plan: Allocation, fit: ScalingFit) -> Figure:
    """Draw the best size and the best number of tokens over compute, and what the law leaves unexplained."""
    figure = Figure(figsize=(12.0, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    plan.plot(left, table=fit.table)
    per_token = plan.flops / FLOPS_PER_PARAMETER_TOKEN
    ends = per_token / plan.size_upper, per_token / plan.size_lower
    plot_allocation(plan.flops, plan.tokens, *ends, ax=middle, what="tokens D")
    fit.plot(right)
    return figure
