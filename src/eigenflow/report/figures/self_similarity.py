"""Figures of self-similarity: data collapse, and frontiers in four coordinates."""

from collections.abc import Mapping

import numpy as np
from plotly.colors import sample_colorscale

from eigenflow.core.errors import EigenflowError
from eigenflow.report.figures.canvas import ACCENT, WARM, log_axis, new_figure
from eigenflow.report.figures.figure import Figure
from eigenflow.report.numbers import power_of_ten
from eigenflow.theory.self_similarity import Collapse, Coordinate, Frontier

__all__ = ["collapse_figure", "frontier_figure"]

LEGEND = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}
LIGHTEST = 1e-6  # points with less of their time's energy are not drawn
Drawn = list[tuple[list[np.ndarray], list[np.ndarray]]]  # places and heights, by panel
AXES: dict[Coordinate, str] = {
    "eigenvalue": "λ [1 / time]",
    "label": "initial λ [1 / time]",
    "rank": "learned modes",
    "energy": "share of energy unlearned",
}


def collapse_figure(collapse: Collapse) -> Figure:
    """Draw spectra of all times as measured, and scaled onto their common curve.

    Args:
        collapse: As from `shell_collapse`.
    """
    z, a = collapse.shift_exponent, collapse.decay_exponent
    figure = new_figure(
        f"Data collapse: rms mismatch {collapse.mismatch:.2g}, weighted with energy",
        columns=2,
        height=450,
        titles=["energy of the shells", f"scaled with z = {z:.2f}, a = {a:.2f}"],
        spacing=0.13,
    )
    drawn = _spectra(figure, collapse)
    low, high = np.log(np.concatenate(drawn[1][0])).min(), np.log(np.concatenate(drawn[1][0])).max()
    inside = (collapse.curve_scaled >= low) & (collapse.curve_scaled <= high)
    figure.add_scatter(
        x=np.exp(collapse.curve_scaled[inside]),
        y=np.exp(collapse.curve_height[inside]),
        mode="lines",
        name="common curve",
        line={"color": WARM, "width": 2},
        hoverinfo="skip",
        col=2,
    )
    _colour_of_time(figure, collapse.times)
    titles = (("λ [1 / time]", "energy [2 × loss]"), ("λ tᶻ", "energy × tᵃ"))
    for column, ((xs, ys), (x_title, y_title)) in enumerate(zip(drawn, titles, strict=True), start=1):
        figure.update_xaxes(title_text=x_title, col=column, **log_axis(np.concatenate(xs), most_ticks=5))
        figure.update_yaxes(title_text=y_title, col=column, **log_axis(np.concatenate(ys)))
    figure.update_layout(legend={**LEGEND, "x": 0.6}, margin_b=92)
    return figure


def _spectra(figure: Figure, collapse: Collapse) -> Drawn:
    """Draw every time's spectrum into both panels; return the places and heights drawn in each."""
    z, a, logs = collapse.shift_exponent, collapse.decay_exponent, np.log(collapse.times)
    place = (logs - logs[0]) / max(float(logs[-1] - logs[0]), 1e-300)
    colors = sample_colorscale("Viridis", (0.95 * place).tolist())
    drawn: Drawn = [([], []), ([], [])]
    for row, (time, color) in enumerate(zip(collapse.times, colors, strict=True)):
        kept = collapse.weights[row] > LIGHTEST
        scaled, height = collapse.scaled[row][kept], collapse.height[row][kept]
        panels = (
            (np.exp(scaled - z * logs[row]), np.exp(height - a * logs[row]), "lines+markers"),
            (np.exp(scaled), np.exp(height), "markers"),
        )
        for column, (x, y, mode) in enumerate(panels):
            drawn[column][0].append(x)
            drawn[column][1].append(y)
            figure.add_scatter(
                x=x,
                y=y,
                mode=mode,
                name=f"t = {time:.3g}",
                showlegend=False,
                line={"color": color, "width": 1},
                marker={"color": color, "size": 4},
                hovertemplate=f"t = {time:.4g}<br>%{{x:.3g}}: %{{y:.3g}}<extra></extra>",
                col=column + 1,
            )
    return drawn


def _colour_of_time(figure: Figure, times: np.ndarray) -> None:
    """A colour bar for the times, as the marker of a point that is not seen."""
    ends = np.log10(times[[0, -1]])
    marks = np.arange(np.ceil(ends[0]), np.floor(ends[1]) + 1)
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        name="time",
        showlegend=False,
        marker={
            "color": [ends[0]],
            "cmin": ends[0],
            "cmax": ends[1] + 0.05 * (ends[1] - ends[0]),
            "colorscale": "Viridis",
            "colorbar": {
                "title": {"text": "t", "side": "top"},
                "tickvals": marks.tolist(),
                "ticktext": [power_of_ten(int(mark)) for mark in marks],
                "thickness": 12,
                "outlinewidth": 0,
            },
        },
        col=2,
    )


def frontier_figure(frontiers: Mapping[Coordinate, Frontier]) -> Figure:
    """Draw the frontier in each coordinate, with the power of time that it follows.

    Args:
        frontiers: As from `frontiers`, at least one.
    """
    figure = new_figure(
        "The frontier of learned modes: exponents of time in four coordinates",
        columns=len(frontiers),
        height=380,
        titles=[_exponent(frontier) for frontier in frontiers.values()],
        spacing=0.1,
    )
    for column, (name, frontier) in enumerate(frontiers.items(), start=1):
        figure.add_scatter(
            x=frontier.times,
            y=frontier.position,
            mode="markers",
            name="measured",
            showlegend=column == 1,
            marker={"color": ACCENT, "size": 5},
            hovertemplate="t = %{x:.4g}: %{y:.3g}<extra></extra>",
            col=column,
        )
        try:
            power = frontier.power
        except EigenflowError:
            power = None
        if power is not None:
            figure.add_scatter(
                x=frontier.times,
                y=power.amplitude * frontier.times**power.exponent,
                mode="lines",
                name="power of time",
                showlegend=column == 1,
                line={"color": WARM, "width": 2},
                hoverinfo="skip",
                col=column,
            )
        figure.update_xaxes(title_text="t", col=column, **log_axis(frontier.times, most_ticks=4))
        figure.update_yaxes(title_text=AXES[name], col=column, **log_axis(frontier.position, most_ticks=5))
    figure.update_layout(legend=LEGEND, margin_b=92)
    return figure


def _exponent(frontier: Frontier) -> str:
    try:
        power = frontier.power
    except EigenflowError:
        return f"{frontier.coordinate}: too few times"
    low, high = power.interval
    return f"{frontier.coordinate}: {power.exponent:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")
