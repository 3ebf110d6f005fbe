"""Pictures of curves, fits, forecasts and schedules. They draw finished results into given axes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eigenflow.forecast.curves import CurveSet, format_size
from eigenflow.forecast.fitting.fit import Fit, Forecast
from eigenflow.forecast.fitting.identification import RISE, Profile
from eigenflow.forecast.schedules.schedule import Schedule
from eigenflow.forecast.study.study import Study
from eigenflow.plots.file import picture_text

__all__ = [
    "bounds_text",
    "fit_figure",
    "forecast_figure",
    "plot_allocation",
    "plot_forecast",
    "plot_profile",
    "plot_residuals",
    "plot_schedules",
    "profiles_figure",
    "schedules_figure",
]

# Okabe and Ito's colours, which stay apart for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#66717d", "#8a3500", "#1f2933")
MEASURED = "#1f2933"
MOST_NAMED = 9
# A profile over more than this factor is drawn over a logarithmic axis.
WIDE = 20.0
LATE = 0.2


def plot_forecast(
    forecast: Forecast,
    *,
    ax: Axes,
    label: str = "forecast",
    colour: str = COLOURS[0],
    measured: pd.DataFrame | None = None,
    unit: str = "nats",
) -> Axes:
    """Draw a forecast as a line in its 90 % fan, with measured points where there are any.

    Args:
        forecast: As from `fit.predict`.
        ax: Axes to draw into.
        label: Of the line.
        colour: Of line and fan.
        measured: Columns `step` and `loss`.
        unit: Of the loss.

    Returns:
        The same `ax`.
    """
    ax.fill_between(forecast.steps, forecast.lower, forecast.upper, color=colour, alpha=0.2, linewidth=0)
    ax.plot(forecast.steps, forecast.loss, color=colour, linewidth=1.4, label=picture_text(label))
    if measured is not None and len(measured):
        ax.plot(measured["step"], measured["loss"], ".", color=MEASURED, markersize=2.5, label="measured", zorder=1)
    ax.set_xlabel("completed updates")
    ax.set_ylabel(f"loss [{picture_text(unit)}]")
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_residuals(fit: Fit, curves: CurveSet, *, ax: Axes) -> Axes:
    """Draw ln(law / measured) of every fitted curve over the share of its points, with the fitted noise as a band.

    Args:
        fit: With residuals in the order of its curves.
        curves: The fitted ones, for their names and sizes.
        ax: Axes to draw into.

    Returns:
        The same `ax`.
    """
    band = 100 * fit.noise
    ax.axhspan(-band, band, color="#e3e8ee", label=f"noise, ±{band:.2g} %")
    ax.axhline(0.0, color="#66717d", linewidth=0.8)
    for index, (name, size, residual) in enumerate(zip(fit.curves, fit.sizes, fit.residuals, strict=True)):
        label = name if size is None else f"{name} ({format_size(size)})"
        shown = picture_text(label) if index < MOST_NAMED else None
        share = np.linspace(0.0, 1.0, len(residual))
        ax.plot(share, 100 * residual, linewidth=0.9, color=COLOURS[index % len(COLOURS)], label=shown)
    ax.set_xlabel("share of the fitted points, first to last")
    ax.set_ylabel("law above measured [%]")
    ax.set_title(f"Residuals of {fit.law.name}, {len(curves)} curves", loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=7, ncols=2)
    return ax


def plot_schedules(schedules: Mapping[str, Schedule], *, ax: Axes) -> Axes:
    """Draw learning rates over updates.

    Args:
        schedules: By name.
        ax: Axes to draw into.

    Returns:
        The same `ax`.
    """
    for index, (name, schedule) in enumerate(schedules.items()):
        blocks = schedule.blocks_within(1e-3)
        steps = np.append(blocks.edges[:-1], blocks.edges[-1])
        rates = np.append(blocks.rates, blocks.rates[-1])
        shown = picture_text(name) if index < MOST_NAMED else None
        ax.step(steps, rates, where="post", linewidth=1.2, color=COLOURS[index % len(COLOURS)], label=shown)
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel("update")
    ax.set_ylabel("learning rate")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0)
    return ax


def plot_profile(profile: Profile, *, ax: Axes, unit: str = "") -> Axes:
    """Draw a profile likelihood: how much worse the best fit gets with one parameter held at each value.

    Args:
        profile: As from `profiles`.
        ax: Axes to draw into.
        unit: Of the parameter.

    Returns:
        The same `ax`. A profile that stays below the dashed line, the fall at the ends of a 90 % interval, is of a
        parameter that is not identified; the title says so.
    """
    values, lower, upper = profile.values, profile.lower, profile.upper
    if values[0] > 0 and values[-1] > WIDE * values[0]:
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
    ends = float(values[0]) if lower is None else lower, float(values[-1]) if upper is None else upper
    ax.axvspan(*ends, color=COLOURS[0], alpha=0.12, linewidth=0)
    # As the interval's ends are found: the root of a profile is close to a straight line, in ln of what is positive.
    inner = np.log(values) if values[0] > 0 else values
    fine = np.linspace(inner[0], inner[-1], 400)
    curve = np.interp(fine, inner, np.sqrt(np.maximum(profile.rise, 0.0))) ** 2
    ax.plot(np.exp(fine) if values[0] > 0 else fine, curve, color=COLOURS[0], linewidth=1.4)
    ax.plot(values, profile.rise, "o", color=COLOURS[0], markersize=2.5)
    ax.axhline(RISE, color=COLOURS[1], linestyle="--", linewidth=1.0)
    ax.set_ylim(0.0, 4.0 * RISE)
    ax.set_xlabel(f"{profile.name} [{unit}]" if unit else profile.name)
    ax.set_ylabel("fall of ln(likelihood)")
    ax.set_title(bounds_text(profile), loc="left", fontsize=9)
    return ax


def bounds_text(profile: Profile) -> str:
    """Where the curves alone bound a parameter, in words."""
    lower, upper = profile.lower, profile.upper
    if lower is None:
        return "open on both sides" if upper is None else f"below {upper:.3g}, open"
    return f"above {lower:.3g}, open" if upper is None else f"{lower:.3g} to {upper:.3g}"


def profiles_figure(profiles: Sequence[Profile], fit: Fit) -> Figure:
    """Draw the profile likelihood of every parameter, side by side.

    Args:
        profiles: As from `profiles`.
        fit: That they are of, for the units.
    """
    columns = min(4, len(profiles))
    lines = -(-len(profiles) // columns)
    figure = Figure(figsize=(2.7 * columns, 2.2 * lines + 0.2), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    units = {parameter.name: parameter.unit for parameter in fit.law.parameters}
    for ax, one in zip(axes, profiles, strict=False):
        plot_profile(one, ax=ax, unit=units[one.name])
    for index, ax in enumerate(axes):
        if index >= len(profiles):
            ax.set_visible(False)
        elif index % columns:
            ax.set_ylabel("")
    return figure


def schedules_figure(schedules: Mapping[str, Schedule]) -> Figure:
    """Draw learning rates over updates, one picture for all."""
    figure = Figure(figsize=(9.0, 2.8), layout="constrained")
    plot_schedules(schedules, ax=figure.subplots())
    return figure


def plot_allocation(
    flops: Float[np.ndarray, " budget"],
    best: Float[np.ndarray, " budget"],
    lower: Float[np.ndarray, " budget"],
    upper: Float[np.ndarray, " budget"],
    *,
    ax: Axes,
    what: str = "parameters",
) -> Axes:
    """Draw the best size, or the best number of tokens, over compute, with its 90 % interval.

    Args:
        flops: Budgets, increasing.
        best: Optimum at each.
        lower: Lower end.
        upper: Upper end.
        ax: Axes to draw into.
        what: Of what the optimum is.

    Returns:
        The same `ax`, both axes logarithmic.
    """
    ax.fill_between(flops, lower, upper, color=COLOURS[0], alpha=0.2, linewidth=0, label="90 %")
    ax.loglog(flops, best, color=COLOURS[0], linewidth=1.4, label="optimum")
    ax.set_xlabel("training compute C = 6 N D [FLOP]")
    ax.set_ylabel(what)
    ax.legend(frameon=False, fontsize=8)
    return ax


def fit_figure(study: Study) -> Figure:
    """Draw every fitted curve with the first law's line, above the residuals of every law."""
    count = len(study.fits)
    figure = Figure(figsize=(9.0, 4.2 + 2.6 * count), layout="constrained")
    top, *below = figure.subplots(1 + count, 1, height_ratios=[1.6, *([1.0] * count)])
    for index, curve in enumerate(study.curves):
        colour = COLOURS[index % len(COLOURS)]
        found = study.predict_at(curve)
        shown = picture_text(curve.label) if index < MOST_NAMED else None
        top.plot(curve.steps, curve.losses, ".", color=colour, markersize=2.5, label=shown)
        top.plot(found.steps, found.loss, color=colour, linewidth=1.0)
    top.set_xlabel("completed updates")
    top.set_ylabel(f"loss [{picture_text(study.curves.loss_unit)}]")
    top.set_title(f"Measured (dots) and {study.laws[0]} (lines)", loc="left", fontsize=10)
    top.legend(frameon=False, fontsize=8)
    for ax, one in zip(below, study.fits, strict=True):
        plot_residuals(one.fit, one.curves, ax=ax)
    return figure


def forecast_figure(
    study: Study, table: pd.DataFrame, schedules: Mapping[str, Schedule], *, size: float | None = None
) -> Figure:
    """Draw every forecast of a table with its fan, fitted points where the curve has some, above the schedules.

    Args:
        study: What was fitted.
        table: Columns `curve, step, loss, lower, upper`.
        schedules: Of the forecast curves.
        size: Of the forecast.
    """
    names = list(table["curve"].unique())
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.6, 2.8 * lines + 2.6), layout="constrained")
    grid = figure.add_gridspec(lines + 1, columns)
    for index, name in enumerate(names):
        ax = figure.add_subplot(grid[index // columns, index % columns])
        part = table[table["curve"] == name]
        steps, loss, lower, upper = (np.asarray(part[key]) for key in ("step", "loss", "lower", "upper"))
        known = [curve.to_frame() for curve in study.curves if curve.name == name and curve.size == size]
        measured = known[0] if known else None
        plot_forecast(Forecast(steps, loss, lower, upper), ax=ax, measured=measured, unit=study.curves.loss_unit)
        late = steps >= LATE * steps[-1]  # the first fall would hide the fan
        ax.set_ylim(lower[late].min() - 0.1 * np.ptp(loss[late]), upper[late].max() + 0.1 * np.ptp(loss[late]))
        ax.set_title(picture_text(name), loc="left", fontsize=9)
    plot_schedules({name: schedules[name] for name in names}, ax=figure.add_subplot(grid[lines, :]))
    told = "" if size is None else f", {format_size(size)} parameters"
    figure.suptitle(f"Forecasts of {study.laws[0]} with 90 % intervals{told}", x=0.01, ha="left", fontsize=11)
    return figure
