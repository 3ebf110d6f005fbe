"""A line plot of a loss in the terminal, with what is forecast of it. plotext draws; nothing is drawn for a pipe."""

from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from eigenflow.cli.console import err, out

if TYPE_CHECKING:
    from eigenflow.forecast.outlook.result import LogForecast
    from eigenflow.report.summary import Analysis

__all__ = ["loss_plot", "print_curve", "print_forecast", "print_run"]

Curve = tuple[np.ndarray, np.ndarray]
# Steps, forecast, and both ends of its interval.
Fan = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

HEIGHT, LEAST_WIDTH, MOST_WIDTH = 17, 40, 100
# A cell of the terminal has two columns of points.
POINTS = 2 * MOST_WIDTH
COLOURS = {"line": "blue", "forecast": "green", "fan": "gray"}


def print_forecast(found: "LogForecast") -> None:
    """Draw a log with the forecast of its rest, where a person reads."""
    if not _is_read():
        return
    path, curve = found.path, found.run.curve
    ahead = path.steps >= found.run.last
    coming = (path.steps[ahead], path.loss[ahead], path.lower[ahead], path.upper[ahead]) if ahead.sum() > 1 else None
    out.print(loss_plot((curve.steps, curve.losses), coming, x=f"completed {found.run.unit}"))


def print_run(analysis: "Analysis") -> None:
    """Draw the probe loss of a run with the best forecast from its first half, or as much as was forecast from."""
    if not _is_read():
        return
    run = analysis.run
    known = (np.asarray(run.measured_steps, dtype=np.float64), run.measurements["probe_loss"].values)
    forecasts = [one for one in analysis.forecasts if one.observed.quantity == "loss"]
    coming, name = None, ""
    if forecasts:
        latest = max(one.observed.cut for one in forecasts)
        best = min((one for one in forecasts if one.observed.cut == latest), key=lambda one: one.score.rms_log_ratio)
        coming = (best.observed.later_steps, best.loss, best.lower, best.upper)
        name = f"forecast from {latest:.0%} of the updates"
    out.print(loss_plot(known, coming, x="completed updates", name=name or "forecast"))


def print_curve(known: Curve, coming: Fan | None, *, x: str, band: str) -> None:
    """Draw what `loss_plot` is given, where a person reads."""
    if _is_read():
        out.print(loss_plot(known, coming, x=x, band=band))


def _is_read() -> bool:
    return out.is_terminal and not err.quiet and out.width >= LEAST_WIDTH


def loss_plot(
    known: Curve,
    coming: Fan | None,
    *,
    x: str,
    name: str = "forecast",
    band: str = "90 % interval",
    width: int | None = None,
) -> Text:
    """Draw a loss over steps on a logarithmic scale, and a forecast in its 90 % fan.

    Args:
        known: Steps and losses; what is not above 0 has no place.
        coming: Steps, forecast, and both ends of its band.
        x: What steps are.
        name: Of the forecast.
        band: What lies between its ends.
        width: In characters; by default that of the terminal, at most 100.
    """
    import plotext

    plotext.clear_figure()
    plotext.plotsize(min(width or out.width, MOST_WIDTH), HEIGHT)
    plotext.theme("clear")
    if coming is not None:
        steps, loss, lower, upper = coming
        for end, label in ((lower, band), (upper, None)):
            _line((steps, end), "·", COLOURS["fan"], label)
        _line((steps, loss), "+", COLOURS["forecast"], name)
    _line(known, "braille", COLOURS["line"], "loss")
    plotext.yscale("log")
    plotext.xlabel(x)
    _name_ticks([known[1]] if coming is None else [known[1], *coming[1:]])
    drawn = Text.from_ansi(plotext.build().rstrip("\n"))
    drawn.no_wrap, drawn.overflow = True, "crop"
    return drawn


def _line(curve: Curve, marker: str, colour: str, label: str | None) -> None:
    import plotext

    steps, values = (np.asarray(one, dtype=np.float64) for one in curve)
    seen = np.flatnonzero(np.isfinite(values) & (values > 0))
    seen = seen[np.unique(np.linspace(0, len(seen) - 1, POINTS).round().astype(int))] if len(seen) else seen
    plotext.plot(steps[seen].tolist(), values[seen].tolist(), marker=marker, color=colour, label=label)


def _name_ticks(values: list[np.ndarray]) -> None:
    """Five losses on the axis, in a few digits."""
    import plotext

    drawn = np.concatenate([np.ravel(one) for one in values])
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    if len(drawn) and drawn.max() > drawn.min():
        ticks = np.geomspace(drawn.min(), drawn.max(), 5)
        plotext.yticks(ticks.tolist(), [f"{tick:.3g}" for tick in ticks])
