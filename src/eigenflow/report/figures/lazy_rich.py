"""Figures of the lazy-rich coordinate: several runs in one plane, and both limits' losses beside the truth."""

from collections.abc import Mapping

import numpy as np

from eigenflow.plots.file import plotly_text
from eigenflow.report.figures.canvas import ACCENT, INK, MUTED, WARM, log_axis, new_figure, positive
from eigenflow.report.figures.figure import Figure
from eigenflow.theory.lazy_rich import LAZY, RICH, LazyRich, LossPredictions

__all__ = ["COLOURS", "LEAST_DISTANCE", "SYMBOLS", "limits_figure", "mark_regimes", "plane_figure"]

# Okabe and Ito's colours; from the eighth run on markers tell runs of one colour apart.
COLOURS = (ACCENT, WARM, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
LEAST_DISTANCE = 1e-4


def plane_figure(places: Mapping[str, LazyRich]) -> Figure:
    """Draw the path of runs in the plane of operator distance and flux share; the marker is where each ends.

    Args:
        places: By name of the run.
    """
    figure = new_figure("Lazy to rich: where the runs go", height=500)
    drawn, shares = [np.array([LAZY, RICH])], []
    for number, (run, place) in enumerate(places.items()):
        name = plotly_text(run)
        share = np.zeros_like(place.distance) if place.flux_share is None else place.flux_share
        is_drawn = (place.distance > LEAST_DISTANCE) & (share > 0)
        x, y = place.distance[is_drawn], share[is_drawn]
        drawn.append(x)
        shares.append(y)
        color, symbol = COLOURS[number % len(COLOURS)], SYMBOLS[number // len(COLOURS) % len(SYMBOLS)]
        turned = place.alignment if place.alignment is not None else np.full_like(place.distance, np.nan)
        custom = np.stack([place.times, place.growth, turned], axis=1)[is_drawn]
        at_least = " (at least)" if place.is_lower_bound else ""
        figure.add_scatter(
            x=x,
            y=y,
            customdata=custom,
            name=name + at_least,
            mode="lines+markers",
            line={"color": color, "width": 1.6},
            marker={
                "color": color,
                "symbol": symbol,
                "size": [*[0] * (len(x) - 1), 12][: len(x)],
                "opacity": 1,
                "line": {"color": "#ffffff", "width": 1},
            },
            hovertemplate=name + "<br>t = %{customdata[0]:.4g}: distance %{x:.3g}, flux share %{y:.3g}<br>growth "
            "%{customdata[1]:.3g}, alignment %{customdata[2]:.3g}<extra></extra>",
        )
    mark_regimes(figure)
    figure.update_xaxes(title_text="distance of the operator, ‖M − M₀‖ / ‖M₀‖", **log_axis(*drawn, pad=0.05))
    figure.update_yaxes(title_text="share of energy that changes its shell", **log_axis(*shares, pad=0.06))
    figure.update_layout(legend={"x": 1.01, "y": 1.0, "xanchor": "left", "yanchor": "top"})
    return figure


def mark_regimes(figure: Figure) -> None:
    """Draw where lazy ends and rich begins, on a logarithmic horizontal axis of the distance."""
    for value, text in ((LAZY, "lazy"), (RICH, "rich")):
        side = "right" if value == LAZY else "left"
        figure.add_vline(x=value, line={"color": MUTED, "width": 1.2, "dash": "dash"})
        figure.add_annotation(
            x=np.log10(value),
            y=1.0,
            yref="paper",
            text=f"← {text}" if value == LAZY else f"{text} →",
            showarrow=False,
            xanchor=side,
            yanchor="bottom",
            font={"size": 12.5, "color": MUTED},
        )


def limits_figure(predictions: LossPredictions) -> Figure:
    """Draw what both limits make of the loss from the first measurement, beside the truth.

    Args:
        predictions: As from `predict_from_start`.
    """
    figure = new_figure("The loss, from the untouched operator alone")
    times, truth = predictions.times, positive(predictions.truth)
    figure.add_scatter(
        x=times,
        y=truth,
        name="truth",
        mode="lines",
        line={"color": "#c3cad2", "width": 7},
        hovertemplate="t = %{x:.4g}, true %{y:.4g}<extra></extra>",
    )
    lines = (
        ("lazy, v = 0", predictions.lazy, predictions.lazy_score, ACCENT, "dash"),
        ("eigenvalues as measured, no rotation", predictions.moving, predictions.moving_score, WARM, "solid"),
    )
    for name, loss, score, color, dash in lines:
        figure.add_scatter(
            x=times,
            y=positive(loss),
            name=f"{name} (RMS of ln ratio {score.rms_log_ratio:.3g})",
            mode="lines",
            line={"color": color, "width": 2, "dash": dash},
            hovertemplate=f"{name}<br>t = %{{x:.4g}}, %{{y:.4g}}<extra></extra>",
        )
    floor = np.nanmin(truth) / 30
    shown = [np.maximum(values, floor) for values in (predictions.truth, predictions.lazy, predictions.moving)]
    figure.update_xaxes(title_text="time t since the first measurement", **log_axis(times))
    figure.update_yaxes(title_text="half the energy", **log_axis(*shown))
    figure.update_layout(legend={"x": 0.01, "y": 0.02, "yanchor": "bottom"})
    return figure
