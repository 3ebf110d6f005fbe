"""Figures of the energy budget over shells: where energy sits, where it goes, and by which term."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.report.figures.canvas import (
    ACCENT,
    INK,
    RATE,
    TIME,
    WARM,
    TimeAxis,
    cell_bounds,
    log_axis,
    new_figure,
    positive,
    signed_colours,
    signed_log,
)
from eigenflow.report.figures.figure import Figure
from eigenflow.report.numbers import power_of_ten
from eigenflow.shells import ShellBudget, ShellEnergies

__all__ = ["TERMS", "energy_figure", "flux_figure", "populated", "terms_figure", "transfer_figure"]

TERMS = {
    "dissipation": ACCENT,
    "transfer": "#E69F00",
    "optimizer": "#CC79A7",
    "curvature": "#009E73",
    "buffers": "#56B4E9",
    "remainder": INK,
}
# Left out where they are zero.
OPTIONAL = ("curvature", "buffers")
ENERGY_DECADES = 10  # below the largest energy; smaller ones share the darkest colour


def populated(budget: ShellBudget | ShellEnergies) -> slice:
    """The bounded shells from the lowest to the highest that ever holds an eigenvalue or energy."""
    inner = slice(1, -1)
    is_used = (budget.mode_count.values > 0)[:, inner].any(0) | (budget.energy.values > 0)[:, inner].any(0)
    found = np.flatnonzero(is_used) + 1
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(1, 1)


def _ends(budget: ShellBudget) -> Float[np.ndarray, " step"]:
    """Times at which the measured updates end; all positive."""
    return (budget.time + budget.step_size).values


def _bounds(budget: ShellBudget | ShellEnergies, shells: slice) -> Float[np.ndarray, " bounds"]:
    """Edges of the shells of a slice: shell j lies between edges j - 1 and j."""
    return budget.edges[shells.start - 1 : shells.stop]


def energy_figure(budget: ShellBudget | ShellEnergies, *, axis: TimeAxis | None = None) -> Figure:
    """Draw the energy of every shell after each measured update, or at each state that has a place on the axis.

    Args:
        budget: With at least one populated shell and positive energy.
        axis: Of time; logarithmic by default.
    """
    axis = axis or TimeAxis()
    shells = populated(budget)
    if isinstance(budget, ShellBudget):
        energy, times = positive(budget.energy_after.values[:, shells]), _ends(budget)
    else:
        is_shown = np.isfinite(axis.places(budget.time.values))
        energy, times = positive(budget.energy.values[is_shown][:, shells]), budget.time.values[is_shown]
    figure = new_figure("Energy of the shells over time", height=470)
    top = float(np.ceil(np.log10(np.nanmax(energy))))
    bottom = float(max(np.floor(np.log10(np.nanmin(energy))), top - ENERGY_DECADES))
    ticks = np.arange(top, bottom - 1, -2)
    figure.add_heatmap(
        x=axis.bounds(times),
        y=_bounds(budget, shells),
        z=np.log10(energy).T,
        customdata=_cells(energy, times),
        zmin=bottom,
        zmax=top,
        colorscale="Viridis",
        name="energy",
        hovertemplate="t = %{customdata[1]:.4g}, λ ≈ %{y:.3g}<br>energy %{customdata[0]:.3g}<extra></extra>",
        colorbar={
            "title": {"text": "energy ‖e‖²", "side": "right", "font": {"size": 12}},
            "tickvals": ticks.tolist(),
            "ticktext": [power_of_ten(int(tick)) for tick in ticks],
            "thickness": 14,
            "outlinewidth": 0,
        },
    )
    if axis.is_clock:
        _frontier(figure, times[times > 0])
    figure.update_xaxes(showgrid=False, **axis.settings(axis.bounds(times), pad=0.0))
    figure.update_yaxes(title_text=RATE, showgrid=False, **log_axis(_bounds(budget, shells), pad=0.0))
    figure.update_layout(legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"})
    return figure


def _cells(values: Float[np.ndarray, "step row"], times: Float[np.ndarray, " step"]) -> Float[np.ndarray, "row step 2"]:
    """Value and time of every cell, for hovering."""
    return np.stack([values.T, np.broadcast_to(times, values.T.shape)], axis=-1)


def _frontier(figure: Figure, times: np.ndarray, column: int = 1, color: str = "#ffffff") -> None:
    figure.add_scatter(
        x=times,
        y=1 / (2 * times),
        name="1 / (2t)",
        mode="lines",
        hoverinfo="skip",
        showlegend=column == 1,
        line={"color": WARM if color == "#ffffff" else color, "dash": "dash", "width": 2},
        col=column,
    )


def flux_figure(budget: ShellBudget) -> Figure:
    """Draw the downward flux through every edge beside the dissipation rate of every shell, on one colour scale.

    Args:
        budget: With at least one populated shell, and flux or dissipation other than 0.
    """
    shells = populated(budget)
    edges = slice(shells.start - 1, shells.stop)
    times = _ends(budget)
    flux = budget.flux.values[:, edges]
    lost = (budget.dissipation / budget.step_size).transpose("step", "shell").values[:, shells]
    # Below the cut of a tracked run the flux is not known (NaN), and drawn as nothing.
    top = 10.0 ** np.ceil(np.log10(max(np.nanmax(np.abs(flux), initial=0.0), np.abs(lost).max())))
    figure = new_figure(
        "Where energy goes: flux between shells, and dissipation in them",
        columns=2,
        height=470,
        titles=["downward flux through each edge", "dissipation rate of each shell"],
        shared_y=True,
        spacing=0.03,
    )
    panels = (
        ("flux", flux, cell_bounds(budget.edges[edges])),
        ("dissipation rate", lost, _bounds(budget, shells)),
    )
    for column, (name, values, bounds) in enumerate(panels, start=1):
        figure.add_heatmap(
            x=cell_bounds(times),
            y=bounds,
            z=signed_log(values, top).T,
            customdata=_cells(values, times),
            coloraxis="coloraxis",
            name=name,
            hovertemplate="t = %{customdata[1]:.4g}, λ ≈ %{y:.3g}<br>" + name + " %{customdata[0]:.3g}<extra></extra>",
            col=column,
        )
        _frontier(figure, times, column, color=INK)
    figure.update_xaxes(title_text=TIME, showgrid=False, **log_axis(cell_bounds(times), pad=0.0))
    figure.update_yaxes(showgrid=False, **log_axis(panels[0][2], pad=0.0))
    figure.update_yaxes(title_text=RATE, col=1)
    figure.update_layout(coloraxis=signed_colours(top, "energy / time; downward, or lost: > 0"))
    figure.update_layout(legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.06, "yanchor": "bottom"})
    return figure


def terms_figure(budget: ShellBudget) -> Figure:
    """Draw the budget's terms over time: their shares, and their sizes.

    Args:
        budget: Any; the size of a term is the sum of its absolute values over shells. The curvature of the loss is left
            out where it is zero, as for squared losses, and so is what buffers do where none move.
    """
    times = _ends(budget)
    figure = new_figure(
        "The terms of the budget over time",
        columns=2,
        height=440,
        titles=["share of all terms", "size, as a rate"],
        spacing=0.11,
    )
    sizes = {name: np.abs(getattr(budget, name).values).sum(1) for name in TERMS}
    shown = {name: color for name, color in TERMS.items() if name not in OPTIONAL or sizes[name].any()}
    sizes = {name: sizes[name] for name in shown}
    for name, color in shown.items():
        common = {"x": times, "name": name, "mode": "lines", "legendgroup": name}
        figure.add_scatter(
            y=sizes[name],
            stackgroup="terms",
            groupnorm="percent",
            line={"color": color, "width": 0.8},
            hovertemplate=f"{name}<br>t = %{{x:.4g}}, share %{{y:.3g}} %<extra></extra>",
            col=1,
            **common,
        )
        figure.add_scatter(
            y=positive(sizes[name] / budget.step_size.values),
            line={"color": color, "width": 2},
            showlegend=False,
            hovertemplate=f"{name}<br>t = %{{x:.4g}}, %{{y:.3g}} energy / time<extra></extra>",
            col=2,
            **common,
        )
    figure.update_xaxes(title_text=TIME, **log_axis(times))
    figure.update_yaxes(title_text="share of Σ|term| [%]", range=[0, 100], col=1)
    rates = [size / budget.step_size.values for size in sizes.values()]
    figure.update_yaxes(title_text="Σ|term| over shells [energy / time]", **log_axis(*rates), col=2)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.18, "yanchor": "top"}, margin_b=96)
    return figure


def transfer_figure(budget: ShellBudget, positions: list[int]) -> Figure:
    """Draw the energy that single updates carried between shells, signed, as shares of the whole energy.

    Args:
        budget: With at least one populated shell.
        positions: Which measured updates to draw, as positions along `step`.
    """
    shells = populated(budget)
    matrices = [_between_shells(budget.transfer_matrix.isel(step=position), shells) for position in positions]
    figure = new_figure(
        "Energy carried from shell to shell by one update",
        columns=len(positions),
        height=450,
        titles=[f"t = {_ends(budget)[position]:.4g}" for position in positions],
        shared_y=True,
        spacing=0.03,
    )
    top = 10.0 ** np.ceil(np.log10(max(max(np.nanmax(np.abs(m)) for m in matrices), np.finfo(float).tiny)))
    bounds = _bounds(budget, shells)
    for column, matrix in enumerate(matrices, start=1):
        figure.add_heatmap(
            x=bounds,
            y=bounds,
            z=signed_log(matrix, top),
            customdata=matrix,
            coloraxis="coloraxis",
            name="transfer",
            hovertemplate="from λ ≈ %{x:.3g} to λ ≈ %{y:.3g}<br>share %{customdata:.3g}<extra></extra>",
            col=column,
        )
    figure.update_xaxes(title_text="from λ [1 / time]", showgrid=False, **log_axis(bounds, pad=0.0, most_ticks=3))
    figure.update_yaxes(showgrid=False, **log_axis(bounds, pad=0.0))
    figure.update_yaxes(title_text="to λ [1 / time]", col=1)
    figure.update_layout(coloraxis=signed_colours(float(top), "share of the whole energy"))
    return figure


def _between_shells(matrix: xr.DataArray, shells: slice) -> Float[np.ndarray, "to from_"]:
    """Transfer between different shells over the whole energy; NaN on the diagonal, which holds what stays."""
    values = matrix.transpose("shell", "shell_from").values
    shares = values[shells, shells] / max(float(values.sum()), np.finfo(float).tiny)
    np.fill_diagonal(shares, np.nan)
    return shares
