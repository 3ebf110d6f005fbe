"""Figures of the closure: velocities with intervals and the law, forecasts by the equation, the measured source."""

import numpy as np

from eigenflow.closure import ForwardTest, NonlocalSource
from eigenflow.report.figures.canvas import ACCENT, INK, MUTED, RATE, TIME, WARM, log_axis, new_figure
from eigenflow.report.figures.figure import Figure

__all__ = ["forward_figure", "source_figure"]

METHODS = {
    "closure": (WARM, "solid", "equation, v = −c₀ (1 + t/t₀)⁻ᵖ λᵇ"),
    "self-similar": ("#E69F00", "dash", "equation, c ∝ tᵇ⁻²"),
    "persistence": ("#009E73", "dashdot", "last velocities go on as 1 / t"),
    "lazy": (ACCENT, "dot", "lazy limit, v = 0"),
    "power law": (MUTED, "longdash", "power law of the loss"),
}
BAND = "rgba(213,94,0,0.16)"
LEGEND = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}
MOST_DECADES = 4  # of forecast errors below the largest that is not absurd
WORST = 10.0  # an error of ln(loss) beyond which a forecast is off the picture


def forward_figure(test: ForwardTest) -> Figure:
    """Draw the error of each forecast over the share of the run that was known: of the loss, and of where energy is.

    Args:
        test: With at least one cut.
    """
    figure = new_figure(
        "Forecasts of the rest of the run, by what was known",
        columns=2,
        height=450,
        titles=["RMS of ln(predicted / true loss)", "share of the energy in a wrong shell"],
        spacing=0.1,
    )
    cuts = np.array([100.0 * cut.cut for cut in test.cuts])
    errors = {name: np.array([cut.forecasts[name].score.rms_log_ratio for cut in test.cuts]) for name in METHODS}
    shown = np.concatenate(list(errors.values()))
    shown = shown[(shown > 0) & (shown < WORST)]
    top = 1.3 * float(shown.max(initial=0.0))
    for name, (color, dash, label) in METHODS.items():
        is_beyond = ~(errors[name] <= top)
        common = {"name": label, "legendgroup": name, "mode": "lines+markers", "line": {"color": color, "dash": dash}}
        hover = "%{x:.3g} % known: %{y:.3g}<extra>" + label + "</extra>"
        figure.add_scatter(
            x=cuts,
            y=np.where(is_beyond, top, errors[name]),
            customdata=errors[name],
            hovertemplate=hover.replace("%{y:.3g}", "%{customdata:.3g}"),
            marker={"color": color, "size": 6, "symbol": np.where(is_beyond, "triangle-up-open", "circle").tolist()},
            col=1,
            **common,
        )
        misplaced = [cut.forecasts[name].misplaced for cut in test.cuts]
        if all(share is not None for share in misplaced):
            hidden = {"showlegend": False, "marker": {"color": color, "size": 6}}
            figure.add_scatter(x=cuts, y=misplaced, hovertemplate=hover, col=2, **common, **hidden)
    figure.update_xaxes(title_text="known share of the steps [%]", **log_axis(cuts, pad=0.05))
    if len(shown):
        shown = np.append(shown[shown > shown.max() * 10.0**-MOST_DECADES], top)
        figure.update_yaxes(col=1, **log_axis(shown, pad=0.08))
    figure.update_yaxes(col=2, rangemode="tozero")
    figure.update_layout(legend=LEGEND, margin_b=124)
    return figure


def source_figure(found: NonlocalSource) -> Figure:
    """Draw how much of the flux jumps over shells, over time, and both fluxes over the eigenvalue in the middle window.

    Args:
        found: As from `nonlocal_source`.
    """
    middle = len(found.times) // 2
    figure = new_figure(
        "Energy that passes from shell to shell, and energy that jumps",
        columns=2,
        height=440,
        titles=["share of the flux that jumps", f"flux through edges, t ≈ {found.times[middle]:.3g}"],
        spacing=0.12,
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
            col=2,
        )
    figure.update_xaxes(title_text=TIME, col=1, **log_axis(found.times, pad=0.06))
    figure.update_xaxes(title_text=RATE, col=2, **log_axis(edges[shown]))
    figure.update_yaxes(range=[0, 1.02], col=1)
    figure.update_yaxes(title_text="downward flux t Φ / E, no unit", zeroline=True, zerolinecolor=MUTED, col=2)
    figure.update_layout(legend=LEGEND, margin_b=96)
    return figure
