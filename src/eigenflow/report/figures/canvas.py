"""The common look of the report's figures: palette, axes, and scales for values over many decades."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.ticker import MaxNLocator

from eigenflow.report.figures.figure import Figure
from eigenflow.report.numbers import number, power_of_ten

__all__ = [
    "ACCENT",
    "DIVERGING",
    "INK",
    "MUTED",
    "RATE",
    "TIME",
    "WARM",
    "TimeAxis",
    "cell_bounds",
    "log_axis",
    "new_figure",
    "positive",
    "signed_colours",
    "signed_log",
    "thinned",
]

# Okabe and Ito's colours, which stay apart for colour-blind readers.
INK, MUTED, GRID = "#1f2933", "#66717d", "#e3e8ee"
ACCENT, WARM = "#0072B2", "#D55E00"
DIVERGING = [[0.0, "#8a3500"], [0.25, "#e08a4f"], [0.5, "#ffffff"], [0.75, "#5aa5d6"], [1.0, "#004a78"]]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"

TIME = "time t, sum of learning rates"
RATE = "eigenvalue λ [1 / time]"
SIGNED_DECADES = 5  # what a signed colour scale shows on either side of zero


def new_figure(
    title: str,
    *,
    columns: int = 1,
    height: int = 430,
    titles: list[str] | None = None,
    shared_y: bool = False,
    spacing: float | None = None,
) -> Figure:
    """Make an empty figure with this report's look.

    Args:
        title: What is seen; above the plot, left.
        columns: Panels side by side.
        height: In pixels; the width follows the page.
        titles: Of the panels, one each.
        shared_y: Whether the panels have one vertical axis.
        spacing: Between the panels, as a share of the width.
    """
    figure = Figure(columns, titles=titles, shared_y=shared_y, spacing=spacing)
    figure.update_annotations(font={"size": 13, "color": INK})
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"}
    figure.update_layout(
        title={"text": title, "font": {"size": 16, "color": INK, "weight": 600}, "pad": {"t": 14}, **place},
        font={"family": FONT, "size": 12.5, "color": INK},
        height=height,
        margin={"l": 76, "r": 24, "t": 74 if titles else 52, "b": 62},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        hoverlabel={"font": {"family": FONT}},
        legend={"bgcolor": "rgba(255,255,255,0)", "font": {"size": 12}},
    )
    line = {"showline": True, "linecolor": MUTED, "gridcolor": GRID, "ticks": "outside", "tickcolor": MUTED}
    figure.update_xaxes(**line, zeroline=False, exponentformat="e", title_standoff=8, tickangle=0)
    figure.update_yaxes(**line, zeroline=False, exponentformat="e", title_standoff=8, mirror=False)
    return figure


def log_axis(*values: np.ndarray, pad: float = 0.03, most_ticks: int = 8) -> dict[str, Any]:
    """Settings of a logarithmic axis that just holds the positive ones of `values`."""
    kept = np.concatenate([np.ravel(positive(array)) for array in values])
    kept = np.log10(kept[np.isfinite(kept)])
    if len(kept) == 0:
        return {"type": "log", "exponentformat": "power"}
    low, high = float(kept.min()), float(kept.max())
    room = max(pad * (high - low), 0.02) if pad else 0.0
    settings: dict[str, Any] = {"type": "log", "exponentformat": "power", "range": [low - room, high + room]}
    if high - low > 1.6:
        settings["dtick"] = int(np.ceil((high - low) / most_ticks))
    else:
        settings |= _short_ticks(low - room, high + room)
    return settings


def _short_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks of an axis of little more than a decade: the roundest numbers of which at least three are seen."""
    powers = 10.0 ** np.arange(np.floor(low), np.ceil(high) + 1)
    for mantissas in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), np.arange(1, 10, 0.5)):
        places = (np.array(mantissas) * powers[:, None]).ravel()
        seen = places[(places >= 10**low) & (places <= 10**high)]
        if len(seen) >= 3:
            return {"tickvals": seen.tolist(), "exponentformat": "power"}
    # A few per cent: three numbers, written out, as powers of ten would be as long as the panel.
    places = np.asarray(MaxNLocator(3).tick_values(10**low, 10**high))
    seen = places[(places >= 10**low) & (places <= 10**high)]
    return {"tickvals": seen.tolist(), "ticktext": [number(value, 4) for value in seen], "exponentformat": "power"}


@dataclass(frozen=True)
class TimeAxis:
    """The horizontal axis of a picture over time.

    Attributes:
        title: What it counts.
        is_linear: Whether it is linear, and shows time 0, as for states that are evenly spaced.
        is_clock: Whether it is in the unit of 1 / eigenvalue, so that there is a frontier.
    """

    title: str = TIME
    is_linear: bool = False
    is_clock: bool = True

    def places(self, times: np.ndarray) -> Float[np.ndarray, "..."]:
        """Times where they are drawn; NaN for those without a place."""
        return np.asarray(times, dtype=np.float64) if self.is_linear else positive(times)

    def settings(self, *times: np.ndarray, pad: float = 0.03) -> dict[str, Any]:
        """Of an axis that just holds them."""
        if not self.is_linear:
            return {"title_text": self.title, **log_axis(*times, pad=pad)}
        drawn = np.concatenate([np.ravel(array) for array in times])
        room = pad * (float(drawn.max()) - float(drawn.min())) or (0.5 if pad else 0.0)
        return {"title_text": self.title, "range": [float(drawn.min()) - room, float(drawn.max()) + room]}

    def bounds(self, times: Float[np.ndarray, " cells"]) -> Float[np.ndarray, " bounds"]:
        """Bounds of a heat map's cells around increasing times."""
        if not self.is_linear:
            return cell_bounds(times)
        between = 0.5 * (times[1:] + times[:-1])
        ends = (times[0] - 0.5, times[-1] + 0.5) if len(times) < 2 else (times[0], times[-1])
        return np.concatenate([[ends[0]], between, [ends[1]]])


def positive(values: np.ndarray) -> Float[np.ndarray, "..."]:
    """The values that a logarithmic axis can show; NaN, a gap in a line, for the others."""
    values = np.asarray(values, dtype=np.float64)
    return np.where(values > 0, values, np.nan)


def thinned(rows: np.ndarray, most: int) -> Int[np.ndarray, " kept"]:
    """Indices of at most `most` rows, evenly spread over the logarithm of the position."""
    if len(rows) <= most:
        return np.arange(len(rows))
    return np.unique(np.geomspace(1, len(rows), most).round().astype(int) - 1)


def cell_bounds(centres: Float[np.ndarray, " cells"]) -> Float[np.ndarray, " bounds"]:
    """Bounds of a heat map's cells on a logarithmic axis: half-way between positive, increasing centres."""
    logs = np.log(centres)
    between = (logs[1:] + logs[:-1]) / 2
    if len(between) == 0:
        return np.exp(np.array([logs[0] - 0.2, logs[0] + 0.2]))
    return np.exp(np.concatenate([[2 * logs[0] - between[0]], between, [2 * logs[-1] - between[-1]]]))


def signed_log(values: np.ndarray, top: float) -> Float[np.ndarray, "..."]:
    """Decades above `top` / 10^5, with the sign of the value; 0 for what is smaller."""
    floor = top * 10.0**-SIGNED_DECADES
    return np.sign(values) * np.log10(np.maximum(np.abs(values) / floor, 1.0))


def signed_colours(top: float, title: str) -> dict[str, Any]:
    """A diverging colour axis for `signed_log`, white at zero, labelled with the values themselves."""
    decade = round(np.log10(top))
    marks = [*range(SIGNED_DECADES, 0, -2)]
    names = [power_of_ten(decade - SIGNED_DECADES + mark) for mark in marks]
    return {
        "colorscale": DIVERGING,
        "cmin": -SIGNED_DECADES,
        "cmax": SIGNED_DECADES,
        "colorbar": {
            "title": {"text": title, "side": "right", "font": {"size": 12}},
            "tickvals": [*(-mark for mark in marks), 0, *reversed(marks)],
            "ticktext": [*(f"−{name}" for name in names), "0", *reversed(names)],
            "thickness": 14,
            "outlinewidth": 0,
        },
    }
