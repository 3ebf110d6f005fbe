"""Traces over steps: logged points, forecasts in their fans, learning rates; colours and groups that pages share.

A trace of a group is shown and hidden by the button of that group, in every figure of the page.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eigenflow.forecast.fitting.fit import Forecast
from eigenflow.forecast.schedules.schedule import DRAWN_WITHIN, Schedule
from eigenflow.report.figures.canvas import INK, MUTED
from eigenflow.report.figures.figure import Figure

__all__ = ["SERIES", "add_dots", "add_end_of_log", "add_fan", "add_rates", "colour_of", "late_range", "step_axis"]

# Okabe and Ito's colours, without those that vanish on white.
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a3500", "#66717d")
# Points of a log that are drawn, evenly chosen.
DRAWN = 1200


def colour_of(place: int) -> str:
    """The colour of the k-th of several; they come round again."""
    return SERIES[place % len(SERIES)]


def add_dots(
    figure: Figure,
    steps: Int[np.ndarray, " point"],
    losses: Float[np.ndarray, " point"],
    *,
    name: str = "logged",
    colour: str = INK,
    group: str | None = None,
    is_shown: bool = True,
    is_named: bool = True,
    place: dict[str, Any] | None = None,
) -> None:
    """Add measured losses.

    Args:
        figure: To draw into.
        steps: Completed updates.
        losses: Measured there.
        name: In the legend.
        colour: Of the points.
        group: Of the button that shows and hides them.
        is_shown: Whether they are seen at first.
        is_named: Whether they stand in the legend.
        place: Row and column of the panel.
    """
    rows = np.unique(np.linspace(0, len(steps) - 1, min(DRAWN, len(steps))).round().astype(int))
    figure.add_scatter(
        x=np.asarray(steps)[rows],
        y=np.asarray(losses)[rows],
        name=escape(name, quote=False),
        mode="markers",
        marker={"size": 3.6, "color": colour, "opacity": 0.75},
        hovertemplate="step %{x:,}: %{y:.5g}<extra>%{fullData.name}</extra>",
        **_grouped(group, is_shown, is_named),
        **(place or {}),
    )


def add_fan(
    figure: Figure,
    path: Forecast,
    *,
    name: str,
    colour: str,
    dash: str = "solid",
    group: str | None = None,
    is_shown: bool = True,
    is_named: bool = True,
    place: dict[str, Any] | None = None,
) -> None:
    """Add a forecast as a line in its 90 % interval; hovering tells loss, lower, upper and step.

    Args:
        figure: To draw into.
        path: The forecast.
        name: In the legend.
        colour: Of line and fan.
        dash: Of the line.
        group: Of the button that shows and hides it.
        is_shown: Whether it is seen at first.
        is_named: Whether it stands in the legend.
        place: Row and column of the panel.
    """
    own = _grouped(group, is_shown, False) | (place or {})
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    shown = escape(name, quote=False)
    figure.add_scatter(x=path.steps, y=path.lower, name=f"{shown}, lower", **edge, **own)
    fill = {"fill": "tonexty", "fillcolor": _see_through(colour)}
    figure.add_scatter(x=path.steps, y=path.upper, name=f"{shown}, upper", **edge, **fill, **own)
    figure.add_scatter(
        x=path.steps,
        y=path.loss,
        customdata=np.stack([path.lower, path.upper], axis=1),
        name=shown,
        mode="lines",
        line={"color": colour, "width": 2, "dash": dash},
        hovertemplate=(
            "step %{x:,}: %{y:.5g}<br>90 %: %{customdata[0]:.5g} to %{customdata[1]:.5g}<extra>%{fullData.name}</extra>"
        ),
        **_grouped(group, is_shown, is_named),
        **(place or {}),
    )


def add_rates(
    figure: Figure,
    schedule: Schedule,
    *,
    name: str,
    colour: str,
    dash: str = "solid",
    width: float = 1.6,
    group: str | None = None,
    is_shown: bool = True,
) -> None:
    """Add the learning rates of a schedule as steps.

    Args:
        figure: To draw into.
        schedule: Every rate.
        name: In the legend.
        colour: Of the line.
        dash: Of the line.
        width: Of the line.
        group: Of the button that shows and hides it.
        is_shown: Whether it is seen at first.
    """
    blocks = schedule.blocks_within(DRAWN_WITHIN)
    figure.add_scatter(
        x=blocks.edges,
        y=np.append(blocks.rates, blocks.rates[-1]),
        name=escape(name, quote=False),
        mode="lines",
        line={"color": colour, "width": width, "dash": dash, "shape": "hv"},
        hovertemplate="step %{x:,}: %{y:.3g}<extra>%{fullData.name}</extra>",
        **_grouped(group, is_shown, True),
    )


def add_end_of_log(figure: Figure, step: int) -> None:
    """Add the line at which the log ends."""
    figure.add_vline(x=step, line={"color": MUTED, "width": 1, "dash": "dot"})


def step_axis(unit: str = "updates") -> dict[str, Any]:
    """Settings of an axis over steps; a page links hovering over all of these."""
    return {"title_text": f"step, completed {unit}", "rangemode": "tozero", "tickformat": ",d", "nticks": 7}


def late_range(parts: Sequence[tuple[np.ndarray, np.ndarray]], begin: float) -> list[float]:
    """Ends of an axis that just holds all values from a step on: the first fall of a run would hide everything else.

    Args:
        parts: Steps and values.
        begin: The first step that counts.
    """
    kept = np.concatenate([np.asarray(values)[np.asarray(steps) >= begin] for steps, values in parts])
    room = 0.05 * max(float(np.ptp(kept)), 1e-12)
    return [float(kept.min()) - room, float(kept.max()) + room]


def _grouped(group: str | None, is_shown: bool, is_named: bool) -> dict[str, Any]:
    own: dict[str, Any] = {"showlegend": is_named, "visible": is_shown}
    return own if group is None else own | {"meta": {"group": group}}


def _see_through(colour: str) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.17)"
