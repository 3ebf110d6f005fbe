"""Figures of a fit and its forecasts: fans, fitted curves, residuals, profiles, rates, and a plan of sizes."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from eigenflow.core.display import bounds_text
from eigenflow.forecast.curves import format_size
from eigenflow.forecast.fitting.fit import Fit, Forecast
from eigenflow.forecast.fitting.identification import RISE, Profile
from eigenflow.forecast.schedules.schedule import Schedule
from eigenflow.forecast.study.study import Study
from eigenflow.report.figures.canvas import ACCENT, MUTED, WARM, log_axis, new_figure
from eigenflow.report.figures.figure import Figure
from eigenflow.report.figures.paths import (
    add_dots,
    add_fan,
    add_rates,
    colour_of,
    late_range,
    step_axis,
)
from eigenflow.report.toggles import Toggle
from eigenflow.scaling.allocation import Allocation
from eigenflow.scaling.counts import FLOPS_PER_PARAMETER_TOKEN
from eigenflow.scaling.fit import ScalingFit

__all__ = [
    "fits_figure",
    "forecasts_figure",
    "plan_figure",
    "profiles_figure",
    "rates_figure",
    "residuals_figure",
    "toggles",
]

# The first fall of a run would hide the fan, and that of the fitted curves what is left of it.
LATE, LATE_FIT = 0.2, 0.1
# So many forecasts are seen at first; the others when their button is pressed.
SHOWN = 4
# A profile over more than this factor is drawn over a logarithmic axis.
WIDE = 20.0
BELOW: dict[str, Any] = {"legend": {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}, "margin_b": 100}
ACROSS: dict[str, Any] = {"hovermode": "x unified"}


def toggles(study: Study, forecasts: Sequence[str]) -> list[Toggle]:
    """A button for each schedule that is forecast; without any, for each fitted run."""
    names = list(forecasts) or list(dict.fromkeys(curve.name for curve in study.curves))
    return [Toggle(f"schedule-{k}", name, colour_of(k), k < SHOWN) for k, name in enumerate(names)]


def forecasts_figure(
    study: Study, table: pd.DataFrame, buttons: Sequence[Toggle], *, size: float | None = None
) -> Figure:
    """Draw every forecast of a table with its fan, and what was measured of the same runs at the same size.

    Args:
        study: What was fitted.
        table: Columns `curve, step, loss, lower, upper`.
        buttons: One a curve of the table.
        size: Of the forecast.
    """
    told = "" if size is None else f", {format_size(size)} parameters"
    figure = new_figure(f"Forecasts of {study.laws[0]}{told}")
    parts = []
    for button in buttons:
        part = table[table["curve"] == button.name]
        steps, loss, lower, upper = (np.asarray(part[key]) for key in ("step", "loss", "lower", "upper"))
        path = Forecast(steps, loss, lower, upper)
        own = {"group": button.group, "is_shown": button.is_shown}
        for curve in study.curves:
            if curve.name == button.name and curve.size == size:
                add_dots(figure, curve.steps, curve.losses, name=f"measured, {curve.name}", is_named=False, **own)
        add_fan(figure, path, name=button.name, colour=button.colour, **own)
        late = path.steps >= LATE * path.steps[-1]
        parts += [(path.steps[late], edge[late]) for edge in (path.lower, path.upper)]
    figure.update_xaxes(**step_axis())
    figure.update_yaxes(title_text=f"loss [{study.curves.loss_unit}]", range=late_range(parts, 0))
    figure.update_layout(**BELOW, **ACROSS)
    return figure


def fits_figure(study: Study, buttons: Sequence[Toggle]) -> Figure:
    """Draw what was measured of every fitted curve, and the first law's line through it."""
    figure = new_figure(f"Measured (dots) and {study.laws[0]} (lines)")
    groups = {button.name: button for button in buttons}
    parts = []
    for k, curve in enumerate(study.curves):
        button = groups.get(curve.name)
        colour = colour_of(k) if button is None else button.colour
        own = {} if button is None else {"group": button.group, "is_shown": button.is_shown}
        law = study.predict_at(curve)
        add_dots(figure, curve.steps, curve.losses, name=curve.label, colour=colour, is_named=False, **own)
        figure.add_scatter(
            x=law.steps, y=law.loss, name=escape(curve.label, quote=False), mode="lines",
            line={"color": colour, "width": 1.4, "dash": "solid" if k % 2 == 0 else "dot"},
            hovertemplate="step %{x:,}: %{y:.5g}<extra>%{fullData.name}</extra>",
            **({"meta": {"group": own["group"]}, "visible": own["is_shown"]} if own else {}),
        )  # fmt: skip
        late = curve.steps >= LATE_FIT * curve.steps[-1]
        parts.append((curve.steps[late], curve.losses[late]))
    figure.update_xaxes(**step_axis())
    figure.update_yaxes(title_text=f"loss [{study.curves.loss_unit}]", range=late_range(parts, 0))
    figure.update_layout(**BELOW, **ACROSS)
    return figure


def residuals_figure(study: Study) -> Figure:
    """Draw ln(law / measured) of every curve at its fitted points, a panel each law, over the noise that it found."""
    fits = study.fits
    titles = [_fit_name(fit) for fit in fits]
    figure = new_figure("Residuals", columns=len(fits), titles=titles if len(fits) > 1 else None, height=330)
    for column, fit in enumerate(fits, start=1):
        place: dict[str, Any] = {"col": column}
        band = 100 * fit.noise
        figure.add_hrect(y0=-band, y1=band, fillcolor=MUTED, opacity=0.2, line_width=0, layer="below", **place)
        for k, (name, residual) in enumerate(zip(fit.curves, fit.residuals, strict=True)):
            size = fit.sizes[k]
            label = name if size is None else f"{name} ({format_size(size)})"
            figure.add_scatter(
                x=np.linspace(0.0, 1.0, len(residual)), y=100 * residual, name=escape(label, quote=False), mode="lines",
                line={"color": colour_of(k), "width": 1.1}, legendgroup=label, showlegend=column == 1,
                hovertemplate="%{x:.0%}: %{y:.2g} %<extra>%{fullData.name}</extra>", **place,
            )  # fmt: skip
    figure.update_xaxes(title_text="share of the fitted points", tickformat=".0%", nticks=5)
    figure.update_yaxes(title_text="law above measured [%]", nticks=6, col=1)
    figure.update_layout(**(BELOW | {"legend": BELOW["legend"] | {"y": -0.3}}))
    return figure


def profiles_figure(found: Sequence[Profile], fit: Fit) -> Figure:
    """Draw the profile likelihood of every parameter, a panel each; the dashed line ends a 90 % interval."""
    units = {parameter.name: parameter.unit for parameter in fit.law.parameters}
    titles = [f"{one.name}: {bounds_text(one.lower, one.upper)}" for one in found]
    figure = new_figure("Profiles of the parameters", columns=len(found), titles=titles, height=300)
    for column, one in enumerate(found, start=1):
        place: dict[str, Any] = {"col": column}
        values, rise = _smooth(one)
        figure.add_scatter(x=values, y=rise, mode="lines", line={"color": ACCENT, "width": 1.6}, showlegend=False,
                           hovertemplate="%{x:.4g}: %{y:.2f}<extra></extra>", **place)  # fmt: skip
        figure.add_scatter(x=one.values, y=one.rise, mode="markers", marker={"color": ACCENT, "size": 4.5},
                           showlegend=False, hoverinfo="skip", **place)  # fmt: skip
        figure.add_scatter(x=values[[0, -1]], y=[RISE, RISE], mode="lines", showlegend=False, hoverinfo="skip",
                           line={"color": WARM, "width": 1.2, "dash": "dash"}, **place)  # fmt: skip
        unit = units[one.name]
        is_wide = one.values[0] > 0 and one.values[-1] > WIDE * one.values[0]
        axis: dict[str, Any] = log_axis(one.values, most_ticks=4) if is_wide else {"nticks": 4}
        axis["exponentformat"] = "none"
        figure.update_xaxes(title_text=f"{one.name} [{unit}]" if unit else one.name, **axis, **place)
        figure.update_yaxes(range=[0.0, 4.0 * RISE], nticks=5, **place)
    figure.update_yaxes(title_text="fall of ln(likelihood)", col=1)
    return figure


def rates_figure(fitted: Study, schedules: Mapping[str, Schedule], buttons: Sequence[Toggle]) -> Figure:
    """Draw the rates of all forecasts in their colours, and those of fitted runs that are not forecast in grey.

    Args:
        fitted: The fitted curves.
        schedules: Of the forecasts, by name.
        buttons: Of the schedules that have some.
    """
    figure = new_figure("Learning rates", height=320)
    groups = {button.name: button for button in buttons}
    every = {curve.name: curve.schedule for curve in fitted.curves} | dict(schedules)
    for name, schedule in every.items():
        button = groups.get(name)
        if button is None:
            add_rates(figure, schedule, name=f"{name}, fitted", colour=MUTED, dash="dot", width=1.1)
        else:
            own = {"group": button.group, "is_shown": button.is_shown}
            add_rates(figure, schedule, name=name, colour=button.colour, **own)
    figure.update_xaxes(**step_axis())
    figure.update_yaxes(title_text="learning rate", rangemode="tozero", nticks=6)
    figure.update_layout(**(BELOW | {"legend": BELOW["legend"] | {"y": -0.32}}), **ACROSS)
    return figure


def plan_figure(plan: Allocation, fit: ScalingFit) -> Figure:
    """Draw the best size and the best number of tokens over compute, and what the law leaves unexplained."""
    titles = ["parameters N", "tokens D", "measured above the law [%]"]
    figure = new_figure("Best size by budget", columns=3, titles=titles, height=360)
    per_token = plan.flops / FLOPS_PER_PARAMETER_TOKEN
    panels = (
        (plan.size, plan.size_lower, plan.size_upper, fit.table.size),
        (plan.tokens, per_token / plan.size_upper, per_token / plan.size_lower, fit.table.tokens),
    )
    for column, (best, lower, upper, runs) in enumerate(panels, start=1):
        place: dict[str, Any] = {"col": column}
        figure.add_scatter(x=fit.table.flops, y=runs, mode="markers", marker={"color": MUTED, "size": 4},
                           name="fitted runs", legendgroup="runs", showlegend=column == 1,
                           hovertemplate="%{x:.3g} FLOP: %{y:.3g}<extra>run</extra>", **place)  # fmt: skip
        figure.add_scatter(x=plan.flops, y=best, mode="lines+markers", marker={"size": 5}, name="best, 90 % interval",
                           line={"color": ACCENT}, legendgroup="best", showlegend=column == 1,
                           error_y={"type": "data", "symmetric": False, "array": upper - best,
                                    "arrayminus": best - lower, "thickness": 1, "width": 3},
                           hovertemplate="%{x:.3g} FLOP: %{y:.3g}<extra>best</extra>", **place)  # fmt: skip
        figure.update_yaxes(**log_axis(best, lower, upper, runs, most_ticks=5), **place)
    figure.add_scatter(x=fit.table.flops, y=100 * fit.residuals, mode="markers", marker={"color": MUTED, "size": 4},
                       showlegend=False, hovertemplate="%{x:.3g} FLOP: %{y:.2g} %<extra></extra>",
                       col=3)  # fmt: skip
    figure.update_xaxes(title_text="compute C = 6 N D [FLOP]", **log_axis(plan.flops, fit.table.flops, most_ticks=4))
    figure.update_layout(**(BELOW | {"legend": BELOW["legend"] | {"y": -0.3}}))
    return figure


def _smooth(one: Profile) -> tuple[np.ndarray, np.ndarray]:
    """As the interval's ends are found: a profile's root is close to a straight line, in ln of what is positive."""
    inner = np.log(one.values) if one.values[0] > 0 else one.values
    fine = np.unique(np.append(np.linspace(inner[0], inner[-1], 160), inner))
    rise = np.interp(fine, inner, np.sqrt(np.maximum(one.rise, 0.0))) ** 2
    return np.exp(fine) if one.values[0] > 0 else fine, rise


def _fit_name(fit: Fit) -> str:
    sizes = sorted({size for size in fit.sizes if size is not None})
    return fit.law.name + (f", {', '.join(format_size(size) for size in sizes)}" if sizes else "")
