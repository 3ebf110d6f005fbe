"""Figures of the coupling between shells: how far transfer reaches, and whether it is the same everywhere."""

import numpy as np

from eigenflow.report.figures.canvas import ACCENT, INK, MUTED, TIME, WARM, cell_bounds, log_axis, new_figure
from eigenflow.report.figures.figure import Figure
from eigenflow.theory.coupling.locality import Locality
from eigenflow.theory.coupling.log_shift import LogShift

__all__ = ["locality_figure", "shift_figure"]

# Shifts, in shells, that an axis has to show as a whole.
NEAR = 3

LEGEND = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}
BAND = "rgba(0,114,178,0.18)"


def locality_figure(locality: Locality) -> Figure:
    """Draw how the exchange of energy spreads over distance, and its mean distance over time.

    Args:
        locality: As from `transfer_locality`.
    """
    figure = new_figure(
        "How far updates carry energy",
        columns=2,
        height=430,
        titles=["share of exchange at each distance", "mean distance"],
        spacing=0.2,
    )
    shown = _reached(locality.profile)
    distances = locality.distances[:shown]
    step = distances[0]
    figure.add_heatmap(
        x=cell_bounds(locality.times),
        y=np.concatenate([distances - step / 2, distances[-1:] + step / 2]),
        z=100 * locality.profile[:, :shown].T,
        zmin=0,
        zmax=100,
        colorscale="Viridis",
        name="share",
        hovertemplate="t ≈ %{x:.4g}, %{y:.2f} decades<br>%{z:.3g} % of exchange<extra></extra>",
        colorbar={
            "title": {"text": "%", "side": "top"},
            "thickness": 12,
            "outlinewidth": 0,
            "x": 0.415,
            "xanchor": "left",
        },
        col=1,
    )
    lines = (
        ("measured", locality.width, ACCENT, "solid"),
        ("90 % within", locality.reach, MUTED, "dot"),
        ("if distance did not matter", locality.null_width, WARM, "dash"),
    )
    for name, values, color, dash in lines:
        figure.add_scatter(
            x=locality.times,
            y=values,
            name=name,
            mode="lines",
            line={"color": color, "dash": dash, "width": 2},
            hovertemplate=f"{name}<br>t = %{{x:.4g}}, %{{y:.3g}} decades<extra></extra>",
            col=2,
        )
    figure.update_xaxes(title_text=TIME, showgrid=False, **log_axis(cell_bounds(locality.times), pad=0.0), col=1)
    figure.update_xaxes(title_text=TIME, **log_axis(locality.times), col=2)
    figure.update_yaxes(title_text="distance in λ [decades]", showgrid=False, col=1)
    figure.update_yaxes(title_text="distance in λ [decades]", rangemode="tozero", col=2)
    figure.update_layout(legend={**LEGEND, "x": 0.58}, margin_b=92)
    return figure


def _reached(profile: np.ndarray) -> int:
    """Distances up to which any update carries half a per cent of its exchange, at least three."""
    return max(3, 1 + int(np.flatnonzero((profile >= 0.005).any(0)).max(initial=0)))


def shift_figure(shift: LogShift) -> Figure:
    """Draw which share of a shell goes to which shift, with its spread over shells.

    Args:
        shift: As from `log_shift`.
    """
    size = np.abs(shift.mean_share) + shift.spread
    reach = max(3, int(np.abs(shift.shifts[size > 0.005 * size.max()]).max(initial=3)))
    kept = (np.abs(shift.shifts) <= reach) & (shift.shifts != 0)
    score = "no common pattern" if shift.score is None else f"score {shift.score:.2f} (0: the same in every shell)"
    figure = new_figure(f"Transfer by shift: {score}", height=400)
    figure.add_bar(
        x=shift.shifts[kept],
        y=shift.mean_share[kept],
        error_y={"type": "data", "array": shift.spread[kept], "color": INK, "thickness": 1.2, "width": 3},
        marker={"color": ACCENT},
        name="mean over shells; bars: standard deviation over shells",
        hovertemplate="shift %{x}: %{y:.3g} of the shell's energy an e-fold of time<extra></extra>",
    )
    figure.update_xaxes(title_text="shift, in shells; positive towards large λ", dtick=max(1, reach // 6))
    figure.update_yaxes(title_text="share per e-fold of time", zeroline=True, zerolinecolor=INK)
    # Shells that hold next to nothing pass on many times that; bars of such shifts are cut at twice what is near.
    near = 2.0 * float(size[(shift.shifts != 0) & (np.abs(shift.shifts) <= NEAR)].max(initial=0.0))
    if 0 < near < float(size[kept].max(initial=0.0)):
        low, high = (
            (shift.mean_share[kept] - shift.spread[kept]).min(),
            (shift.mean_share[kept] + shift.spread[kept]).max(),
        )
        figure.update_yaxes(range=[max(-near, 1.05 * float(low)), min(near, 1.05 * float(high))])
    figure.update_layout(legend=LEGEND, showlegend=True, margin_b=92, bargap=0.4)
    return figure
