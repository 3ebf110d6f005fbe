"""Figures of an answer to a log: the run with its forecast, other schedules, what was hidden, and the rates behind."""

from typing import Any

import numpy as np

from eigenflow.forecast.fitting.fit import Forecast
from eigenflow.forecast.outlook.ends import Ending
from eigenflow.forecast.outlook.result import LogForecast
from eigenflow.report.figures.canvas import MUTED, new_figure
from eigenflow.report.figures.figure import Figure
from eigenflow.report.figures.paths import (
    SERIES,
    add_dots,
    add_end_of_log,
    add_fan,
    add_rates,
    colour_of,
    late_range,
    step_axis,
)
from eigenflow.report.toggles import Toggle

__all__ = ["HIDDEN", "hidden_figure", "hidden_toggles", "outlook_figure", "rates_figure", "schedule_toggles"]

# The scale begins at this share of the run, or in the middle of its log.
LATE = 0.15
HIDDEN = "hidden"
BELOW: dict[str, Any] = {"legend": {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}, "margin_b": 96}
ACROSS: dict[str, Any] = {"hovermode": "x unified"}


def schedule_toggles(found: LogForecast) -> list[Toggle]:
    """One a schedule: those that were asked for are seen at first, else the best one."""
    endings = found.endings
    asked = {one.name for one in endings if one.is_asked}
    best = {min(endings, key=lambda one: one.end.loss).name} if endings else set()
    seen = asked or best
    return [Toggle(f"what-{k}", one.name, colour_of(k + 1), one.name in seen) for k, one in enumerate(endings)]


def hidden_toggles(found: LogForecast) -> list[Toggle]:
    """One a hidden part: those that missed are seen at first, else the first one."""
    missed = [part for part in found.checks if not part.holds]
    seen = missed or found.checks[:1]
    return [
        Toggle(f"part-{k}", f"{part.curve}, {part.hidden}", colour_of(k), part in seen, not part.holds)
        for k, part in enumerate(found.checks)
    ]


def outlook_figure(found: LogForecast) -> Figure:
    """Draw the run, its forecast in the 90 % fan, other schedules, and forecasts of its hidden parts."""
    run, path = found.run, found.path
    figure = new_figure("Loss so far, and its forecast" if not run.is_finished else "Loss, and the fitted law")
    add_dots(figure, run.curve.steps, run.curve.losses)
    ahead = path.steps >= run.last
    known = ~ahead if ahead.sum() > 1 else np.ones(len(path), dtype=bool)
    figure.add_scatter(x=path.steps[known], y=path.loss[known], name="fitted law", mode="lines",
                       line={"color": SERIES[0], "width": 1.2},
                       hovertemplate="step %{x:,}: %{y:.5g}<extra>fitted law</extra>")  # fmt: skip
    if ahead.sum() > 1:
        add_fan(figure, _part(path, ahead), name="forecast, 90 % interval", colour=SERIES[0])
    for one, toggle in zip(found.endings, schedule_toggles(found), strict=True):
        add_fan(figure, _ahead(one, run.last, run.is_finished), name=one.name, colour=toggle.colour, dash="dash",
                group=toggle.group, is_shown=toggle.is_shown, is_named=False)  # fmt: skip
    own = [part for part in found.checks if part.curve == run.curve.label]
    for k, part in enumerate(own):
        add_fan(figure, part.path, name=f"hidden: {part.hidden}", colour=colour_of(6 - k), dash="dot", group=HIDDEN,
                is_shown=False)  # fmt: skip
    if not run.is_finished:
        add_end_of_log(figure, run.last)
    if found.target is not None:
        line = {"color": SERIES[3], "width": 1.2, "dash": "dash"}
        figure.add_hline(found.target.loss, line=line, note=f"target {found.target.loss:g}")
    figure.update_xaxes(**step_axis(run.unit))
    figure.update_yaxes(title_text=f"loss [{found.curves.loss_unit}]", range=_scale(found))
    figure.update_layout(**BELOW, **ACROSS)
    return figure


def rates_figure(found: LogForecast) -> Figure:
    """Draw the rates of the plan and of other schedules, in the colours of their losses."""
    run = found.run
    figure = new_figure("Learning rates", height=300)
    name = "as it ran" if run.is_finished else "as planned"
    add_rates(figure, run.schedule, name=name, colour=SERIES[0], width=2.2)
    for one, toggle in zip(found.endings, schedule_toggles(found), strict=True):
        add_rates(figure, one.schedule, name=one.name, colour=toggle.colour, dash="dash", group=toggle.group,
                  is_shown=toggle.is_shown)  # fmt: skip
    if not run.is_finished:
        add_end_of_log(figure, run.last)
    figure.update_xaxes(**step_axis(run.unit))
    figure.update_yaxes(title_text="learning rate", rangemode="tozero", nticks=6)
    figure.update_layout(**(BELOW | {"legend": BELOW["legend"] | {"y": -0.34}}), **ACROSS)
    return figure


def hidden_figure(found: LogForecast) -> Figure:
    """Draw what was forecast of parts that were hidden, over what came."""
    figure = new_figure("Hidden parts, and what was forecast of them")
    curves = {curve.label: curve for curve in found.study.curves}
    drawn = []
    for part, toggle in zip(found.checks, hidden_toggles(found), strict=True):
        curve = curves[part.curve]
        own = {"group": toggle.group, "is_shown": toggle.is_shown}
        add_dots(figure, curve.steps, curve.losses, name=f"logged, {part.curve}", colour=MUTED, is_named=False, **own)
        add_fan(figure, part.path, name=toggle.name, colour=toggle.colour, **own)
        drawn += [(part.path.steps, part.path.loss), (part.path.steps, curve.losses[-len(part.path) :])]
        drawn += [(part.path.steps[-1:], part.path.lower[-1:]), (part.path.steps[-1:], part.path.upper[-1:])]
    figure.update_xaxes(**step_axis(found.run.unit))
    figure.update_yaxes(title_text=f"loss [{found.curves.loss_unit}]", range=late_range(drawn, 0))
    figure.update_layout(**BELOW, **ACROSS)
    return figure


def _part(path: Forecast, rows: np.ndarray) -> Forecast:
    return Forecast(path.steps[rows], path.loss[rows], path.lower[rows], path.upper[rows])


def _ahead(one: Ending, last: int, is_whole: bool) -> Forecast:
    """The part of an ending's path that is not known yet; all of it where the run is over and this another one."""
    rows = one.path.steps >= (0 if is_whole else last)
    return _part(one.path, rows if rows.any() else np.ones(len(rows), dtype=bool))


def _scale(found: LogForecast) -> list[float]:
    curve, path = found.run.curve, found.path
    begin = min(LATE * float(path.steps[-1]), 0.5 * float(curve.steps[-1]))
    parts = [(curve.steps, curve.losses), (path.steps, path.loss)]
    parts += [(one.path.steps, one.path.loss) for one in found.endings]
    for end in (found.end, *(one.end for one in found.endings)):
        parts.append((np.array([end.step, end.step]), np.array([end.lower, end.upper])))
    if found.target is not None:
        parts.append((path.steps[-1:], np.array([found.target.loss])))
    return late_range(parts, begin)
