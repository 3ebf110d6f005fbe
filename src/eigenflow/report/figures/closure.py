"""Figures of the closure: velocities with intervals and the law, forecasts by the equation, the measured source."""

import numpy as np
import plotly.graph_objects as go

from eigenflow.closure import DriftLaw, ForwardTest, NonlocalSource, VelocityIntervals
from eigenflow.closure.forward import ForwardCut
from eigenflow.report.figures.canvas import ACCENT, INK, MUTED, RATE, TIME, WARM, log_axis, new_figure

__all__ = ["forecast_cut_figure", "forward_figure", "interval_figure", "source_figure"]

METHODS = {
    "closure": (WARM, "solid", "equation, v = −c₀ (1 + t/t₀)<sup>−p</sup> λ<sup>b</sup>"),
    "self-similar": ("#E69F00", "dash", "equation, c ∝ t<sup>b−2</sup>"),
    "persistence": ("#009E73", "dashdot", "last velocities go on as 1 / t"),
    "lazy": (ACCENT, "dot", "lazy limit, v = 0"),
    "power law": (MUTED, "longdash", "power law of the loss"),
}
BAND = "rgba(213,94,0,0.16)"
LEGEND = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}
MOST_DECADES = 4  # of forecast errors below the largest that is not absurd
WORST = 10.0  # an error of ln(loss) beyond which a forecast is off the picture


def interval_figure(found: VelocityIntervals, law: DriftLaw | None, positions: list[int]) -> go.Figure:
    """Draw t w over the eigenvalue at a few times, with 90 % intervals, and the law.

    Args:
        found: Velocities with intervals.
        law: Drawn as a line, or left out.
        positions: Which of the times to draw.
    """
    figure = new_figure(
        "How fast eigenvalues move",
        columns=len(positions),
        height=420,
        subplot_titles=[f"t = {found.times[position]:.3g}" for position in positions],
        horizontal_spacing=0.02,
        shared_yaxes=True,
    )
    drawn = []
    for column, row in enumerate(positions, start=1):
        used, t = found.is_used[row], found.times[row]
        middle, low, high = (t * x[row, used] for x in (found.value, found.low, found.high))
        drawn += [middle, low, high]
        figure.add_scatter(
            x=found.centres[used],
            y=middle,
            error_y={"array": high - middle, "arrayminus": middle - low, "color": ACCENT, "thickness": 1.2, "width": 2},
            customdata=np.stack([low, high, found.behind[row, used]], axis=1),
            name=f"shells, 90 % interval over {found.resampled}",
            mode="markers",
            marker={"color": ACCENT, "size": 6},
            legendgroup="shells",
            showlegend=column == 1,
            hovertemplate="λ = %{x:.3g}, t w = %{y:.3g} [%{customdata[0]:.3g}, %{customdata[1]:.3g}], "
            f"%{{customdata[2]:.0f}} {found.resampled}<extra></extra>",
            row=1,
            col=column,
        )
        if law is not None and used.any():
            places = np.geomspace(found.centres[used].min(), found.centres[used].max(), 60)
            kappa = float(law.strength(np.array([t]))[0])
            figure.add_scatter(
                x=places,
                y=-t * kappa * (places / law.reference) ** (law.b - 1.0),
                name=f"v = −c(t) λ<sup>{law.b:.2f}</sup>",
                mode="lines",
                line={"color": WARM, "width": 2},
                legendgroup="law",
                showlegend=column == 1,
                hoverinfo="skip",
                row=1,
                col=column,
            )
        figure.update_xaxes(title_text="λ [1 / time]", col=column, **log_axis(found.centres, pad=0.04, most_ticks=3))
    # Shells with few modes have intervals that would squeeze the others flat.
    values = np.concatenate(drawn)
    low, high = np.quantile(values, [0.02, 0.98]) if len(values) else (-1.0, 1.0)
    room = 0.15 * max(high - low, 1e-12)
    figure.update_yaxes(range=[min(low - room, -room), max(high + room, room)], zeroline=True, zerolinecolor=MUTED)
    figure.update_yaxes(title_text="t λ̇ / λ, no unit", col=1)
    figure.update_layout(legend=LEGEND, margin_b=96)
    return figure


def forward_figure(test: ForwardTest) -> go.Figure:
    """Draw the error of each forecast over the share of the run that was known: of the loss, and of where energy is.

    Args:
        test: With at least one cut.
    """
    figure = new_figure(
        "Forecasts of the rest of the run, by what was known",
        columns=2,
        height=450,
        subplot_titles=["RMS of ln(predicted / true loss)", "share of the energy in a wrong shell"],
        horizontal_spacing=0.1,
    )
    cuts = np.array([100.0 * cut.cut for cut in test.cuts])
    errors = []
    for name, (color, dash, label) in METHODS.items():
        rms = np.array([cut.forecasts[name].score.rms_log_ratio for cut in test.cuts])
        errors.append(rms)
        common = {"name": label, "legendgroup": name, "mode": "lines+markers", "line": {"color": color, "dash": dash}}
        common["marker"] = {"color": color, "size": 6}
        hover = "%{x:.3g} % known: %{y:.3g}<extra>" + label + "</extra>"
        figure.add_scatter(x=cuts, y=rms, hovertemplate=hover, row=1, col=1, **common)
        misplaced = [cut.forecasts[name].misplaced for cut in test.cuts]
        if all(share is not None for share in misplaced):
            figure.add_scatter(x=cuts, y=misplaced, showlegend=False, hovertemplate=hover, row=1, col=2, **common)
    figure.update_xaxes(title_text="known share of the steps [%]", **log_axis(cuts, pad=0.05))
    shown = np.concatenate(errors)
    shown = shown[(shown > 0) & (shown < WORST)]
    if len(shown):
        shown = shown[shown > shown.max() * 10.0**-MOST_DECADES]
        figure.update_yaxes(col=1, **log_axis(shown, pad=0.08))
    figure.update_yaxes(col=2, rangemode="tozero")
    figure.update_layout(legend=LEGEND, margin_b=124)
    return figure


def forecast_cut_figure(cut: ForwardCut) -> go.Figure:
    """Draw the forecasts from one cut beside the truth, with the band of the equation.

    Args:
        cut: One cut of a forward test.
    """
    figure = new_figure(f"Forecasts from {100.0 * cut.cut:.3g} % of the steps", height=430)
    mine = cut.forecasts["closure"]
    drawn = [cut.truth]
    if mine.lower is not None and mine.upper is not None:
        common = {"x": cut.times, "mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
        figure.add_scatter(y=mine.lower, name="low", **common)
        figure.add_scatter(y=mine.upper, name="high", fill="tonexty", fillcolor=BAND, **common)
        # A band that spans many decades would press the curves together.
        drawn += [np.maximum(mine.lower, 0.1 * cut.truth.min()), np.minimum(mine.upper, 10.0 * cut.truth.max())]
    for name, (color, dash, label) in METHODS.items():
        one = cut.forecasts[name]
        if one.score.rms_log_ratio < WORST:
            drawn.append(one.loss)
        figure.add_scatter(
            x=cut.times, y=one.loss, name=label, mode="lines", line={"color": color, "dash": dash, "width": 2}
        )
    figure.add_scatter(x=cut.times, y=cut.truth, name="truth", mode="markers", marker={"color": INK, "size": 6})
    figure.update_xaxes(title_text=TIME, **log_axis(cut.times))
    figure.update_yaxes(title_text="loss, or half the energy ‖e‖²", **log_axis(*drawn, pad=0.06))
    figure.update_layout(legend=LEGEND, margin_b=124)
    return figure


def source_figure(found: NonlocalSource) -> go.Figure:
    """Draw how much of the flux jumps over shells, over time, and both fluxes over the eigenvalue in the middle window.

    Args:
        found: As from `nonlocal_source`.
    """
    middle = len(found.times) // 2
    figure = new_figure(
        "Energy that passes from shell to shell, and energy that jumps",
        columns=2,
        height=440,
        subplot_titles=["share of the flux that jumps", f"flux through edges, t ≈ {found.times[middle]:.3g}"],
        horizontal_spacing=0.12,
    )
    figure.add_scatter(
        x=found.times,
        y=found.share,
        error_y={
            "array": np.maximum(found.share_high - found.share, 0.0),
            "arrayminus": np.maximum(found.share - found.share_low, 0.0),
            "color": INK,
        },
        customdata=found.updates,
        name="share that jumps over a shell, 90 % interval over updates",
        mode="lines+markers",
        line={"color": INK},
        hovertemplate="t ≈ %{x:.3g}, share %{y:.3g}, %{customdata:.0f} updates<extra></extra>",
        row=1,
        col=1,
    )
    edges = found.edges[1:-1]
    passed, jumped = found.flux_local[middle], found.flux_nonlocal[middle]
    moves = np.flatnonzero((passed != 0) | (jumped != 0))
    shown = slice(moves[0], moves[-1] + 1) if len(moves) else slice(0, len(edges))
    for values, color, name in ((passed, ACCENT, "between neighbours"), (jumped, WARM, "over at least one shell")):
        figure.add_scatter(
            x=edges[shown],
            y=values[shown],
            name=name,
            mode="lines+markers",
            line={"color": color},
            marker={"size": 5},
            hovertemplate="edge %{x:.3g}, t Φ / E = %{y:.3g}<extra>" + name + "</extra>",
            row=1,
            col=2,
        )
    figure.update_xaxes(title_text=TIME, col=1, **log_axis(found.times, pad=0.06))
    figure.update_xaxes(title_text=RATE, col=2, **log_axis(edges[shown]))
    figure.update_yaxes(range=[0, 1.02], col=1)
    figure.update_yaxes(title_text="downward flux t Φ / E, no unit", zeroline=True, zerolinecolor=MUTED, col=2)
    figure.update_layout(legend=LEGEND, margin_b=96)
    return figure
