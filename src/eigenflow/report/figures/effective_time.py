"""Figures of effective time: the clocks of modes and shells with their spread, and the index of the common one."""

import numpy as np
from plotly.colors import sample_colorscale

from eigenflow.report.figures.canvas import ACCENT, INK, MUTED, TIME, WARM, log_axis, new_figure, positive
from eigenflow.report.figures.figure import Figure
from eigenflow.theory.effective_time.clocks import Clocks
from eigenflow.theory.effective_time.regular_variation import RegularVariation

__all__ = ["clocks_figure", "index_figure"]

DRAWN = 32  # clocks drawn one by one
SHARE = "rgba(213,94,0,0.22)"
ALL = "rgba(102,113,125,0.16)"
# Clocks that count for less than this share of the weight are drawn thin.
COUNTS = 0.02
LEAST_RATIO, LARGEST_RATIO = 0.1, 10.0


def clocks_figure(clocks: Clocks) -> Figure:
    """Draw the effective time of modes or shells over time, and how far each is from the common one.

    Args:
        clocks: As from `operator_clocks` or `error_clocks`.
    """
    unit = "modes" if clocks.kind == "operator" else "shells"
    figure = new_figure(
        f"Effective time of {unit}, from the {'eigenvalues' if clocks.kind == 'operator' else 'error'}",
        columns=2,
        height=470,
        titles=["τ of each, and the common one", "τ of each over the common τ"],
        spacing=0.11,
    )
    _each(figure, clocks, unit)
    times, common = clocks.times, clocks.common
    figure.add_scatter(
        x=times,
        y=positive(common),
        name="common τ",
        mode="lines",
        line={"color": INK, "width": 2.5},
        hovertemplate="t = %{x:.4g}, τ = %{y:.4g}<extra></extra>",
        col=1,
    )
    line = {"color": MUTED, "dash": "dash", "width": 1.5}
    figure.add_scatter(x=times, y=times, name="τ = t (lazy)", mode="lines", hoverinfo="skip", line=line, col=1)
    low, high = clocks.extent
    _band(figure, times, low, high, ALL, f"5 to 95 % of all {len(clocks.rates)} {unit}")
    spread = clocks.spread
    _band(figure, times, 1 - spread, 1 + spread, SHARE, "spread, weighted by what is being learned")
    figure.update_xaxes(title_text=TIME.replace(", sum of learning rates", " since the first measurement"))
    figure.update_xaxes(**log_axis(times))
    kept = np.clip(clocks.taus, *(end * common[:, None] for end in (LEAST_RATIO, LARGEST_RATIO)))
    figure.update_yaxes(title_text="effective time τ", col=1, **log_axis(kept, times))
    ratios = np.clip(
        np.stack([low, high, 1 - spread, 1 + spread, *(clocks.taus.T / common)]), LEAST_RATIO, LARGEST_RATIO
    )
    figure.update_yaxes(title_text="τ of each / common τ", col=2, **log_axis(ratios, pad=0.1))
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.17, "yanchor": "top"}, margin_b=104)
    return figure


def _each(figure: Figure, clocks: Clocks, unit: str) -> None:
    index = np.unique(np.linspace(0, len(clocks.rates) - 1, DRAWN).round().astype(int))
    logs = np.log(clocks.rates[index])
    share = (logs[0] - logs) / max(float(np.ptp(logs)), 1e-9)
    for position, color in zip(index, sample_colorscale("Viridis", share * 0.93), strict=True):
        rate, taus = clocks.rates[position], positive(clocks.taus[:, position])
        for column, values in ((1, taus), (2, taus / positive(clocks.common))):
            figure.add_scatter(
                x=clocks.times,
                y=values,
                name=f"λ(0) = {rate:.3g}",
                mode="lines",
                showlegend=False,
                line={"color": color, "width": 1.1 if clocks.weights[:, position].max() >= COUNTS else 0.5},
                hovertemplate=f"{unit[:-1]} at λ(0) = {rate:.3g}<br>t = %{{x:.4g}}, %{{y:.4g}}<extra></extra>",
                col=column,
            )
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={
            "color": [0.0],
            "colorscale": [[at / 10, sample_colorscale("Viridis", [0.93 - 0.093 * at])[0]] for at in range(11)],
            "cmin": float(logs[-1] / np.log(10)),
            "cmax": float(logs[0] / np.log(10)) + 1e-9,
            "colorbar": {
                "title": {"text": "log₁₀ λ(0) [1 / time]", "side": "right", "font": {"size": 12}},
                "thickness": 14,
                "outlinewidth": 0,
            },
        },
    )


def _band(figure: Figure, times: np.ndarray, low: np.ndarray, high: np.ndarray, fill: str, name: str) -> None:
    floor = np.maximum(low, 0.01 * LEAST_RATIO)  # a logarithmic axis has no place for 0
    common = {"x": times, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "col": 2}
    figure.add_scatter(y=floor, showlegend=False, name=f"{name}, low", **common)
    figure.add_scatter(y=np.maximum(high, floor), fill="tonexty", fillcolor=fill, name=name, **common)


def index_figure(found: RegularVariation) -> Figure:
    """Draw the index of the common effective time over time, by every estimator.

    Args:
        found: As from `regular_variation`.
    """
    figure = new_figure("Index of the effective time: does it settle?", height=430)
    times = found.times
    for factor, color, dash in zip(
        found.ratio_indices, ("#9cc9e6", "#4b9fd0", ACCENT), ("dot", "dash", "solid"), strict=True
    ):
        figure.add_scatter(
            x=found.ratio_times[factor],
            y=found.ratio_indices[factor],
            name=f"ln[τ(t) / τ(t/{factor:g})] / ln {factor:g}",
            mode="lines",
            line={"color": color, "width": 2, "dash": dash},
            hovertemplate="t = %{x:.4g}, index %{y:.3g}<extra></extra>",
        )
    for name, values, color in (
        ("local, d ln τ / d ln t", found.local_index, MUTED),
        ("Karamata, t τ / ∫τ − 1", found.karamata_index, WARM),
    ):
        figure.add_scatter(
            x=times,
            y=values,
            name=name,
            mode="lines",
            line={"color": color, "width": 1.6},
            hovertemplate="t = %{x:.4g}, index %{y:.3g}<extra></extra>",
        )
    low, high = found.index_range
    figure.add_scatter(
        x=[times[-1]] * 2,
        y=[low, high],
        name="alpha by the forms of L that fit",
        mode="lines+markers",
        line={"color": INK, "width": 2},
        marker={"symbol": "line-ew-open", "size": 12, "color": INK},
    )
    for far in (10.0, 100.0):
        if times[-1] / far >= times[0]:
            figure.add_vline(x=times[-1] / far, line={"color": MUTED, "width": 1, "dash": "dot"})
    shown = np.concatenate([*found.ratio_indices.values(), [low, high, 0.0, 1.0]])
    figure.update_xaxes(title_text=TIME, **log_axis(times))
    figure.update_yaxes(title_text="index α, no unit", range=[float(shown.min()) - 0.1, float(shown.max()) + 0.1])
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.19, "yanchor": "top"}, margin_b=110)
    return figure
