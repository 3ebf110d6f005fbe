"""Figures of several pictures: a study, its forecasts, its profiles. They unpack results for `eigenflow.plots`."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eigenflow.forecast.curves import format_size
from eigenflow.forecast.design import DesignedSchedule
from eigenflow.forecast.fitting.fit import Fit
from eigenflow.forecast.fitting.identification import RISE, Profile
from eigenflow.forecast.schedules.schedule import DRAWN_WITHIN, Schedule
from eigenflow.forecast.study.study import Study
from eigenflow.plots import plot_designed_schedule, plot_forecast, plot_profile, plot_residuals, plot_schedules
from eigenflow.plots.file import picture_text

__all__ = ["design_figure", "draw_design", "fit_figure", "forecast_figure", "profiles_figure", "schedules_figure"]

# The first fall of a run would hide the fan.
LATE = 0.2


def fit_figure(study: Study) -> Figure:
    """Draw every fitted curve with the first law's line, above the residuals of every law."""
    count = len(study.fits)
    figure = Figure(figsize=(9.0, 4.2 + 2.6 * count), layout="constrained")
    top, *below = figure.subplots(1 + count, 1, height_ratios=[1.6, *([1.0] * count)])
    study.plot(top)
    for ax, fit in zip(below, study.fits, strict=True):
        labels = [
            name if size is None else f"{name} ({format_size(size)})"
            for name, size in zip(fit.curves, fit.sizes, strict=True)
        ]
        title = f"Residuals of {fit.law.name}, {len(fit.curves)} curves"
        plot_residuals(list(zip(labels, fit.residuals, strict=True)), fit.noise, ax=ax, title=title)
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
        known = [(curve.steps, curve.losses) for curve in study.curves if curve.name == name and curve.size == size]
        measured = known[0] if known else None
        plot_forecast(steps, loss, lower, upper, ax=ax, measured=measured, unit=study.curves.loss_unit)
        late = steps >= LATE * steps[-1]
        ax.set_ylim(lower[late].min() - 0.1 * np.ptp(loss[late]), upper[late].max() + 0.1 * np.ptp(loss[late]))
        ax.set_title(picture_text(name), loc="left", fontsize=9)
    plot_schedules(_blocks({name: schedules[name] for name in names}), ax=figure.add_subplot(grid[lines, :]))
    told = "" if size is None else f", {format_size(size)} parameters"
    figure.suptitle(f"Forecasts of {study.laws[0]} with 90 % intervals{told}", x=0.01, ha="left", fontsize=11)
    return figure


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
        bounds = one.lower, one.upper
        plot_profile(one.name, one.values, one.rise, bounds, ax=ax, level=RISE, unit=units[one.name])
    for index, ax in enumerate(axes):
        if index >= len(profiles):
            ax.set_visible(False)
        elif index % columns:
            ax.set_ylabel("")
    return figure


def schedules_figure(schedules: Mapping[str, Schedule]) -> Figure:
    """Draw learning rates over updates, one picture for all."""
    figure = Figure(figsize=(9.0, 2.8), layout="constrained")
    plot_schedules(_blocks(schedules), ax=figure.subplots())
    return figure


def design_figure(design: DesignedSchedule) -> Figure:
    """Draw a designed schedule beside the best usual ones."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    draw_design(design, figure.subplots())
    return figure


def draw_design(design: DesignedSchedule, ax: Axes) -> Axes:
    """Draw a designed schedule beside the best usual ones, each with its predicted loss, into given axes."""
    rivals = {
        f"{rival.name}, {rival.setting}": (rival.schedule.rates, float(np.median(rival.loss)))
        for rival in design.rivals
    }
    return plot_designed_schedule(design.schedule.rates, float(np.median(design.loss)), rivals, ax=ax)


def _blocks(schedules: Mapping[str, Schedule]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = {name: schedule.blocks_within(DRAWN_WITHIN) for name, schedule in schedules.items()}
    return {name: (blocks.edges, blocks.rates) for name, blocks in found.items()}
