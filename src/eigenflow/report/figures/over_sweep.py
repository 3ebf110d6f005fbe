"""Figures of a sweep: a number of every run over a swept key, and where all runs lie between lazy and rich."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.plots.file import plotly_text
from eigenflow.plots.sweep import SweepLine
from eigenflow.report.figures.canvas import MUTED, log_axis, new_figure, positive
from eigenflow.report.figures.figure import Figure
from eigenflow.report.figures.lazy_rich import COLOURS, SYMBOLS, mark_regimes
from eigenflow.theory.lazy_rich import LAZY, RICH

__all__ = ["over_key_figure", "sweep_map_figure"]

MOST_NAMED = 8  # swept values that are named on the axis themselves


def over_key_figure(
    lines: Sequence[SweepLine], *, key: str, quantity: str, marks: Sequence[tuple[float, str]] = ()
) -> Figure:
    """Draw single runs as points and means over repeats as lines, on logarithmic axes where all is positive.

    Args:
        lines: At least one.
        key: What the runs differ in.
        quantity: What is drawn.
        marks: Levels of the quantity that are drawn across, with what they mean.
    """
    figure = new_figure(f"{quantity[0].upper()}{quantity[1:]} over {plotly_text(key)}", height=430)
    for place, line in enumerate(lines):
        color, symbol = COLOURS[place % len(COLOURS)], SYMBOLS[place // len(COLOURS) % len(SYMBOLS)]
        label = plotly_text(line.label) or "runs"
        figure.add_scatter(
            x=line.places,
            y=line.values,
            name=label,
            legendgroup=label,
            showlegend=line.centres is None,
            mode="markers",
            marker={"color": color, "symbol": symbol, "size": 7, "opacity": 0.6},
            hovertemplate=f"{label}<br>%{{x}}: %{{y:.4g}}<extra></extra>",
        )
        if line.centres is not None:
            x, y = line.centres
            figure.add_scatter(
                x=x,
                y=y,
                name=label,
                legendgroup=label,
                mode="lines",
                line={"color": color, "width": 1.8},
                hoverinfo="skip",
            )
    places = np.concatenate([line.places for line in lines])
    values = np.concatenate([line.values for line in lines])
    figure.update_xaxes(title_text=plotly_text(key), **_key_axis(places))
    is_log = bool((values > 0).all())
    figure.update_yaxes(title_text=quantity, **(log_axis(values, pad=0.06) if is_log else {}))
    for level, meaning in marks:
        figure.add_hline(level, line={"color": MUTED, "width": 1.2, "dash": "dash"})
        # Places of notes on a logarithmic axis are logarithms; those of lines are not.
        figure.add_annotation(
            x=1,
            xref="paper",
            y=np.log10(level) if is_log else level,
            text=meaning,
            showarrow=False,
            xanchor="right",
            yanchor="bottom" if meaning.endswith("above") else "top",
            font={"size": 12, "color": MUTED},
        )
    figure.update_layout(
        showlegend=any(line.label for line in lines),
        legend={"x": 1.01, "y": 1.0, "xanchor": "left", "yanchor": "top"},
    )
    return figure


def _key_axis(places: Float[np.ndarray, " run"]) -> dict[str, Any]:
    """An axis that names the swept values where there are few of them."""
    if not (places > 0).all():
        return {}
    settings = log_axis(places, pad=0.06)
    named = np.unique(places)
    if 1 < len(named) <= MOST_NAMED and np.diff(np.log(named)).min() > 0.06 * np.log(named[-1] / named[0]):
        settings.pop("dtick", None)
        settings |= {"tickvals": named.tolist(), "ticktext": [f"{value:g}" for value in named]}
    return settings


def sweep_map_figure(
    names: Sequence[str],
    distance: Float[np.ndarray, " run"],
    share: Float[np.ndarray, " run"],
    loss: Float[np.ndarray, " run"],
    *,
    quantity: str,
) -> Figure:
    """Draw where runs lie between lazy and rich, coloured by how low their loss came.

    Args:
        names: Of the runs, as hovering shows them.
        distance: ||M - M0|| / ||M0|| at the end, above 0.
        share: Of the energy that changed its shell, above 0.
        loss: At the end, above 0.
        quantity: Name of the loss.
    """
    figure = new_figure("Lazy to rich: where the runs end", height=430)
    logs = np.log10(loss)
    ticks = np.linspace(logs.min(), logs.max(), 4) if logs.max() > logs.min() else logs[:1]
    figure.add_scatter(
        x=positive(distance),
        y=positive(share),
        customdata=np.stack([loss], axis=1),
        text=[plotly_text(name) for name in names],
        mode="markers",
        marker={
            "size": 10,
            "color": logs,
            "colorscale": "Cividis",
            "line": {"width": 1, "color": MUTED},
            "colorbar": {
                "title": {"text": quantity, "side": "right", "font": {"size": 12}},
                "tickvals": ticks.tolist(),
                "ticktext": [f"{10**tick:.2g}" for tick in ticks],
                "thickness": 14,
                "outlinewidth": 0,
            },
        },
        hovertemplate="%{text}<br>distance %{x:.3g}, share %{y:.3g}<br>loss %{customdata[0]:.4g}<extra></extra>",
    )
    mark_regimes(figure)
    ends = np.array([LAZY, RICH])
    figure.update_xaxes(title_text="distance of the operator, ‖M − M₀‖ / ‖M₀‖", **log_axis(distance, ends, pad=0.05))
    figure.update_yaxes(title_text="share of energy that changes its shell", **log_axis(share, pad=0.06))
    return figure
