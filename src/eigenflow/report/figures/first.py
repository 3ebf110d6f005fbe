"""The first picture of a report: the loss over updates, and what is forecast of the rest."""

from typing import Protocol

import numpy as np

from eigenflow.report.figures.canvas import ACCENT, MUTED, WARM, log_axis, new_figure, positive
from eigenflow.report.figures.figure import Figure
from eigenflow.store import Run

__all__ = ["first_figure"]

DRAWN = 800
FAN = "rgba(0,158,115,0.2)"
GREEN = "#009E73"


class Coming(Protocol):
    """Loss over completed updates, with what it may be off by."""

    @property
    def steps(self) -> np.ndarray: ...
    @property
    def loss(self) -> np.ndarray: ...
    @property
    def lower(self) -> np.ndarray: ...
    @property
    def upper(self) -> np.ndarray: ...


def first_figure(run: Run, coming: Coming | None, *, name: str = "forecast, 90 % interval") -> Figure:
    """Draw the logged loss, the probe's, the held-out one, and a forecast with its interval.

    Args:
        run: With at least one measurement.
        coming: Loss over completed updates; what lies before the end of the log is left out. None: no forecast.
        name: Of the forecast, with what its band is.
    """
    figure = new_figure("Loss so far, and its forecast" if coming is not None else "Loss so far", height=400)
    data, losses = run.measurements, run.losses
    drawn = [data["probe_loss"].values]
    last = 0.0
    if "loss" in losses:
        rows = losses[["step", "loss"]].to_numpy(dtype=np.float64)
        rows = rows[np.isfinite(rows[:, 1])]
        last = float(rows[-1, 0]) + 1 if len(rows) else 0.0
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, DRAWN).round().astype(int))] if len(rows) else rows
        _line(figure, "trained loss", rows[:, 0] + 1, rows[:, 1], "#8fb8d6", mode="lines")
        drawn.append(rows[:, 1])
    steps = np.asarray(run.measured_steps, dtype=np.float64)
    _line(figure, "probe loss", steps, data["probe_loss"].values, ACCENT)
    if "holdout_loss" in data:
        _line(figure, "held-out loss", steps, data["holdout_loss"].values, WARM, symbol="diamond")
        drawn.append(data["holdout_loss"].values)
    if coming is not None:
        drawn += _fan(figure, coming, last, name)
    figure.update_xaxes(title_text="updates", rangemode="tozero", tickformat=",d", nticks=6)
    figure.update_yaxes(title_text="loss", **log_axis(*drawn))
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}, margin_b=84)
    return figure


def _fan(figure: Figure, coming: Coming, last: float, name: str) -> list[np.ndarray]:
    is_later = coming.steps >= last
    steps, loss = coming.steps[is_later], coming.loss[is_later]
    lower, upper = coming.lower[is_later], coming.upper[is_later]
    for end, values in (("lower", lower), ("upper", upper)):
        figure.add_scatter(
            x=steps,
            y=positive(values),
            name=f"forecast, {end}",
            mode="lines",
            line={"width": 0},
            showlegend=False,
            hoverinfo="skip",
            fill="tonexty" if end == "upper" else None,
            fillcolor=FAN,
        )
    figure.add_scatter(
        x=steps,
        y=positive(loss),
        customdata=np.stack([lower, upper], axis=1),
        name=name,
        mode="lines",
        line={"color": GREEN, "width": 2.2, "dash": "dash"},
        hovertemplate="update %{x}: %{y:.4g} [%{customdata[0]:.4g}, %{customdata[1]:.4g}]<extra></extra>",
    )
    figure.add_vline(x=last, line={"color": MUTED, "width": 1, "dash": "dot"})
    return [lower, upper]


def _line(
    figure: Figure,
    name: str,
    steps: np.ndarray,
    values: np.ndarray,
    color: str,
    *,
    mode: str = "lines+markers",
    symbol: str = "circle",
) -> None:
    figure.add_scatter(
        x=steps,
        y=positive(values),
        name=name,
        mode=mode,
        line={"color": color, "width": 1.6},
        marker={"size": 4.5, "symbol": symbol},
        hovertemplate="update %{x}: " + name + " %{y:.4g}<extra></extra>",
    )
