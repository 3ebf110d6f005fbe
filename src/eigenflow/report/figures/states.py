"""Figures of a record of states: what is left of its first state."""

import numpy as np
import xarray as xr

from eigenflow.core.rounding import ROUNDING
from eigenflow.report.figures.canvas import ACCENT, INK, WARM, TimeAxis, log_axis, new_figure
from eigenflow.report.figures.figure import Figure
from eigenflow.theory.lazy_rich import LAZY, RICH
from eigenflow.theory.modes.basis import BasisDrift

__all__ = ["since_start_figure"]


def since_start_figure(data: xr.Dataset, basis: BasisDrift, *, axis: TimeAxis) -> Figure:
    """Draw the overlap of each state with the first one, left, and the distance of their operators, right.

    Args:
        data: Measurements of two states or more, one of them after time 0.
        basis: As from `basis_drift`.
        axis: Of time.
    """
    has_distance = "initial_distance" in data
    titles = ["What is left of the first state", *(["How far the operator went"] if has_distance else [])]
    figure = new_figure("Since the first state", columns=len(titles), height=430, titles=titles)
    times, steps = axis.places(data["time"].values), data["step"].values
    lines = [("modes near their shell", basis.since_start.whole, ACCENT, "circle")]
    if "initial_alignment" in data:
        lines.append(("operator aligned with the first", data["initial_alignment"].values, WARM, "diamond"))
    for name, values, color, symbol in lines:
        _add(figure, name, times, values, steps, color, symbol, column=1)
    figure.update_yaxes(title_text="share, cosine", range=[0.0, 1.04], col=1)
    figure.update_xaxes(**axis.settings(data["time"].values))
    if has_distance:
        distance = data["initial_distance"].values
        distance = np.where(distance > ROUNDING, distance, np.nan)
        _add(figure, "distance", times, distance, steps, INK, "square", column=2)
        for value in (LAZY, RICH):
            figure.add_hline(y=value, line={"color": "#66717d", "width": 1.2, "dash": "dash"}, col=2)  # pyright: ignore
        drawn = np.append(distance[np.isfinite(distance)], [LAZY, RICH])
        figure.update_yaxes(title_text="‖M − M₀‖ / ‖M₀‖", col=2, **log_axis(drawn))
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}, margin_b=96)
    return figure


def _add(
    figure: Figure,
    name: str,
    times: np.ndarray,
    values: np.ndarray,
    steps: np.ndarray,
    color: str,
    symbol: str,
    *,
    column: int,
) -> None:
    figure.add_scatter(
        x=times,
        y=values,
        customdata=steps,
        name=name,
        mode="lines+markers",
        line={"color": color, "width": 1.6},
        marker={"size": 6, "symbol": symbol},
        hovertemplate="step %{customdata}, t = %{x:.4g}<br>" + name + " %{y:.4g}<extra></extra>",
        col=column,
    )
