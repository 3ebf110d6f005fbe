"""Figures of the fitted drift law v = -c(t) lambda^b beside the velocities that it was fitted to."""

import numpy as np

from eigenflow.closure import MIN_MODES, Closure
from eigenflow.report.figures.canvas import ACCENT, INK, MUTED, TIME, WARM, log_axis, new_figure
from eigenflow.report.figures.figure import Figure
from eigenflow.shells import ShellBudget

__all__ = ["strength_figure", "velocity_figure"]

BAND = "rgba(213,94,0,0.18)"


def velocity_figure(budget: ShellBudget, closure: Closure, positions: list[int]) -> Figure:
    """Draw the logarithmic velocity of the shells at a few times, with the fitted law.

    Args:
        budget: The shells that the law was fitted to.
        closure: The law.
        positions: Which of the closure's times to draw; each has its own vertical scale.
    """
    figure = new_figure(
        "The drift law at four times" if len(positions) == 4 else "The drift law",
        columns=len(positions),
        height=410,
        titles=[f"t = {closure.times[position]:.4g}" for position in positions],
        spacing=0.085,
    )
    ends = (budget.time + budget.step_size).values
    for column, position in enumerate(positions, start=1):
        row = int(np.argmin(np.abs(ends - closure.times[position])))
        drawn = _velocities(figure, budget, row, column)
        _law(figure, closure, position, drawn, column)
        figure.update_xaxes(title_text="λ [1 / time]", col=column, **log_axis(drawn, pad=0.06, most_ticks=3))
    figure.update_yaxes(zeroline=True, zerolinecolor=MUTED, nticks=6, rangemode="tozero")
    figure.update_yaxes(title_text="λ̇ / λ [1 / time]", col=1)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.19, "yanchor": "top"}, margin_b=96)
    return figure


def _velocities(figure: Figure, budget: ShellBudget, row: int, column: int) -> np.ndarray:
    """Draw the shells that the fit used at one time; return their mean eigenvalues."""
    counts, mean, rate = (
        values.values[row, 1:-1] for values in (budget.mode_count, budget.mean_eigenvalue, budget.mean_rate)
    )
    is_used = (counts >= MIN_MODES) & (mean > 0) & (rate != 0)
    figure.add_scatter(
        x=mean[is_used],
        y=rate[is_used] / mean[is_used],
        customdata=counts[is_used],
        name="mean over a shell's eigenvalues",
        legendgroup="shells",
        showlegend=column == 1,
        mode="markers",
        marker={
            "color": ACCENT,
            "size": 4 + 2.5 * np.log10(counts[is_used]),
            "line": {"width": 0.5, "color": "#ffffff"},
        },
        hovertemplate="λ = %{x:.3g}, %{customdata:.0f} modes<br>λ̇ / λ = %{y:.3g}<extra></extra>",
        col=column,
    )
    return mean[is_used]


def _law(figure: Figure, closure: Closure, position: int, places: np.ndarray, column: int) -> None:
    curve = np.geomspace(places.min(), places.max(), 60)
    shape = (curve / closure.reference) ** (closure.b - 1)
    low, middle, high = (
        -strength[position] * shape for strength in (closure.strength_low, closure.strength, closure.strength_high)
    )
    common = {"x": curve, "mode": "lines", "legendgroup": "law", "hoverinfo": "skip", "col": column}
    figure.add_scatter(y=low, line={"width": 0}, showlegend=False, name="law, low", **common)
    figure.add_scatter(
        y=high, line={"width": 0}, fill="tonexty", fillcolor=BAND, showlegend=False, name="law, high", **common
    )
    line = {"color": WARM, "width": 2}
    figure.add_scatter(y=middle, line=line, showlegend=column == 1, name="law −c(t) λ^(b−1), 90 % interval", **common)


def strength_figure(closure: Closure) -> Figure:
    """Draw t kappa(t), the law's strength without unit, with its interval and its median.

    Args:
        closure: The law.
    """
    figure = new_figure("Strength of the drift over time", height=400)
    times, scaled = closure.times, closure.times * closure.strength
    low, high = closure.times * closure.strength_low, closure.times * closure.strength_high
    common = {"x": times, "mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    figure.add_scatter(y=low, name="t κ(t), low", **common)
    figure.add_scatter(y=high, name="t κ(t), high", fill="tonexty", fillcolor=BAND, **common)
    figure.add_scatter(
        x=times,
        y=scaled,
        name="t κ(t), 90 % interval from the scatter over shells",
        mode="lines+markers",
        line={"color": WARM, "width": 2},
        marker={"size": 5},
        hovertemplate="t = %{x:.4g}, t κ = %{y:.3g}<extra></extra>",
    )
    ends = [times[0], times[-1]]
    common = {"x": ends, "mode": "lines", "hoverinfo": "skip"}
    for value, name in zip(closure.gamma_interval, ("low", "high"), strict=True):
        line = {"color": ACCENT, "width": 1, "dash": "dot"}
        figure.add_scatter(y=[value] * 2, name=f"γ, {name}", line=line, showlegend=False, **common)
    line = {"color": ACCENT, "width": 2, "dash": "dash"}
    figure.add_scatter(y=[closure.gamma] * 2, name="γ, median over times, 90 % interval", line=line, **common)
    figure.update_xaxes(title_text=TIME, **log_axis(times))
    figure.update_yaxes(title_text="t κ(t), no unit", zeroline=True, zerolinecolor=INK, zerolinewidth=1.5)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.19, "yanchor": "top"}, margin_b=90)
    return figure
