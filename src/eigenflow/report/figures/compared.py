"""The losses of several runs in one picture."""

import numpy as np

from eigenflow.plots.file import plotly_text
from eigenflow.report.comparison import ComparedRun
from eigenflow.report.figures.canvas import log_axis, new_figure, positive
from eigenflow.report.figures.figure import Figure
from eigenflow.report.figures.lazy_rich import COLOURS, SYMBOLS

__all__ = ["losses_figure"]


def losses_figure(runs: list[ComparedRun], *, is_one_problem: bool) -> Figure:
    """Draw the probe loss of runs over completed updates, in the colours of the plane of `plane_figure`.

    Args:
        runs: Of a comparison, in its order.
        is_one_problem: Whether their losses are of one quantity; if not, each is drawn relative to its first.
    """
    title = "Probe loss" if is_one_problem else "Probe loss, relative to the first"
    figure = new_figure(f"{title}, over updates", height=430)
    steps, losses = [], []
    for place, run in enumerate(runs):
        values = run.analysis.run.measurements["probe_loss"].values
        loss = values if is_one_problem or values[0] <= 0 else values / values[0]
        step = np.asarray(run.analysis.run.measured_steps, dtype=np.float64)
        steps.append(step)
        losses.append(loss)
        color, name = COLOURS[place % len(COLOURS)], plotly_text(run.name)
        figure.add_scatter(
            x=positive(step),
            y=positive(loss),
            name=name,
            mode="lines+markers",
            line={"color": color, "width": 1.8},
            marker={"size": 5, "symbol": SYMBOLS[place // len(COLOURS) % len(SYMBOLS)]},
            hovertemplate=name + "<br>update %{x}: %{y:.4g}<extra></extra>",
        )
    figure.update_xaxes(title_text="completed updates", **log_axis(*steps))
    figure.update_yaxes(title_text="loss" if is_one_problem else "loss / first loss", **log_axis(*losses))
    figure.update_layout(showlegend=True, legend={"x": 1.01, "y": 1.0, "xanchor": "left", "yanchor": "top"})
    return figure
