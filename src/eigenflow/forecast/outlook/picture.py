"""The picture of one answer: the run with its forecast and the ends of other schedules, above the rates behind them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eigenflow.forecast.curves import Curve
from eigenflow.forecast.outlook.result import LogForecast
from eigenflow.forecast.schedules.schedule import DRAWN_WITHIN, Schedule
from eigenflow.plots.file import picture_text
from eigenflow.plots.outlook import plot_outlook, plot_rates_ahead
from eigenflow.plots.paper import screen_style

__all__ = ["draw_answer", "outlook_figure"]


def outlook_figure(found: LogForecast, *, came: Curve | None = None) -> Figure:
    """Draw an answer: the loss above, the rates below.

    Args:
        found: The answer.
        came: Later points of the run, of which the answer knew nothing.
    """
    with screen_style():
        figure = Figure(figsize=(9.0, 6.4), layout="constrained")
        loss, rates = figure.subplots(2, 1, height_ratios=[2.2, 1.0])
        draw_answer(found, loss, came=came)
        loss.set_title(picture_text(found.run.curve.label), loc="left", fontsize=10)
        schedules: dict[str, Schedule] = {"plan": found.run.schedule}
        schedules |= {one.name: one.schedule for one in found.endings}
        if found.run.knows_rates:
            plot_rates_ahead({name: _blocks(one) for name, one in schedules.items()}, found.run.last, ax=rates)
            rates.set_xlim(*loss.get_xlim())
        else:
            rates.set_visible(False)
    return figure


def draw_answer(found: LogForecast, ax: Axes, *, came: Curve | None = None) -> Axes:
    """Draw the run, its forecast in the 90 % fan, and the ends of other schedules beside it, into given axes."""
    path = found.path
    ends = [(one.name, one.end.step, one.end.loss, one.end.lower, one.end.upper) for one in found.endings]
    return plot_outlook(
        (found.run.curve.steps, found.run.curve.losses),
        path.steps,
        path.loss,
        path.lower,
        path.upper,
        ends=ends,
        ahead=path.steps >= found.run.last,
        ax=ax,
        unit=found.curves.loss_unit,
        target=None if found.target is None else found.target.loss,
        came=None if came is None else (came.steps, came.losses),
    )


def _blocks(schedule: Schedule) -> tuple[np.ndarray, np.ndarray]:
    blocks = schedule.blocks_within(DRAWN_WITHIN)
    return blocks.edges, blocks.rates
