"""Pictures of loss curves, fits, forecasts, profiles and schedules, from their arrays."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from eigenflow.core.display import bounds_text as bounds_text
from eigenflow.plots.file import picture_text

__all__ = [
    "COLOURS",
    "bounds_text",
    "plot_curves",
    "plot_forecast",
    "plot_profile",
    "plot_residuals",
    "plot_schedules",
]

# Okabe and Ito's colours, which stay apart for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#66717d", "#8a3500", "#1f2933")
MEASURED = "#1f2933"
MOST_NAMED = 9
# A profile over more than this factor is drawn over a logarithmic axis.
WIDE = 20.0

Steps = Int[np.ndarray, " point"]
Points = Float[np.ndarray, " point"]
# Of one curve among several, each with points of its own number.
OwnSteps = Int[np.ndarray, " _"]
OwnPoints = Float[np.ndarray, " _"]


def plot_curves(
    curves: Sequence[tuple[str, OwnSteps, OwnPoints]],
    *,
    ax: Axes,
    laws: Sequence[tuple[OwnSteps, OwnPoints]] = (),
    unit: str = "nats",
) -> Axes:
    """Draw measured losses as dots, and what a law says of each as a line.

    Args:
        curves: Name, completed updates and losses of each.
        ax: Axes to draw into.
        laws: Steps and losses of the law, one a curve, or none.
        unit: Of the loss.

    Returns:
        The same `ax`. The first nine are named.
    """
    for index, (name, steps, losses) in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        shown = picture_text(name) if index < MOST_NAMED else None
        ax.plot(steps, losses, ".", color=colour, markersize=2.5, label=shown)
        if laws:
            ax.plot(*laws[index], color=colour, linewidth=1.0)
    ax.set_xlabel("completed updates")
    ax.set_ylabel(f"loss [{picture_text(unit)}]")
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_forecast(
    steps: Steps,
    loss: Points,
    lower: Points,
    upper: Points,
    *,
    ax: Axes,
    label: str = "forecast",
    colour: str = COLOURS[0],
    measured: tuple[OwnSteps, OwnPoints] | None = None,
    unit: str = "nats",
) -> Axes:
    """Draw a forecast as a line in its 90 % fan, with measured points where there are any.

    Args:
        steps: Completed updates.
        loss: Forecast there.
        lower: Lower end of its 90 % interval.
        upper: Upper end.
        ax: Axes to draw into.
        label: Of the line.
        colour: Of line and fan.
        measured: Steps and losses that were measured.
        unit: Of the loss.

    Returns:
        The same `ax`.
    """
    ax.fill_between(steps, lower, upper, color=colour, alpha=0.2, linewidth=0)
    ax.plot(steps, loss, color=colour, linewidth=1.4, label=picture_text(label))
    if measured is not None and len(measured[0]):
        ax.plot(*measured, ".", color=MEASURED, markersize=2.5, label="measured", zorder=1)
    ax.set_xlabel("completed updates")
    ax.set_ylabel(f"loss [{picture_text(unit)}]")
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_residuals(residuals: Sequence[tuple[str, OwnPoints]], noise: float, *, ax: Axes, title: str = "") -> Axes:
    """Draw ln(law / measured) of every fitted curve over the share of its points, with the fitted noise as a band.

    Args:
        residuals: Name of each curve and ln(law / measured) at its fitted points.
        noise: Standard deviation of ln(loss) of a point.
        ax: Axes to draw into.
        title: Above the picture.

    Returns:
        The same `ax`.
    """
    band = 100 * noise
    ax.axhspan(-band, band, color="#e3e8ee", label=f"noise, ±{band:.2g} %")
    ax.axhline(0.0, color="#66717d", linewidth=0.8)
    for index, (name, residual) in enumerate(residuals):
        shown = picture_text(name) if index < MOST_NAMED else None
        share = np.linspace(0.0, 1.0, len(residual))
        ax.plot(share, 100 * residual, linewidth=0.9, color=COLOURS[index % len(COLOURS)], label=shown)
    ax.set_xlabel("share of the fitted points, first to last")
    ax.set_ylabel("law above measured [%]")
    ax.set_title(title, loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=7, ncols=2)
    return ax


def plot_schedules(schedules: Mapping[str, tuple[OwnSteps, OwnPoints]], *, ax: Axes) -> Axes:
    """Draw learning rates over updates.

    Args:
        schedules: By name, edges of blocks of updates (one more than blocks) and the rate in each block.
        ax: Axes to draw into.

    Returns:
        The same `ax`.
    """
    for index, (name, (edges, rates)) in enumerate(schedules.items()):
        shown = picture_text(name) if index < MOST_NAMED else None
        heights = np.append(rates, rates[-1])
        ax.step(edges, heights, where="post", linewidth=1.2, color=COLOURS[index % len(COLOURS)], label=shown)
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel("update")
    ax.set_ylabel("learning rate")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0)
    return ax


def plot_profile(
    name: str,
    values: Float[np.ndarray, " value"],
    rise: Float[np.ndarray, " value"],
    bounds: tuple[float | None, float | None],
    *,
    ax: Axes,
    level: float,
    unit: str = "",
) -> Axes:
    """Draw a profile likelihood: how much worse the best fit gets with one parameter held at each value.

    Args:
        name: Of the parameter.
        values: Where it was held, increasing.
        rise: Fall of ln(likelihood) there.
        bounds: Ends of the 90 % interval, None where the profile stays flat.
        ax: Axes to draw into.
        level: Fall at the ends of that interval.
        unit: Of the parameter.

    Returns:
        The same `ax`. A profile that stays below the dashed line, the fall at the ends of a 90 % interval, is of a
        parameter that is not identified; the title says so.
    """
    lower, upper = bounds
    if values[0] > 0 and values[-1] > WIDE * values[0]:
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
    ends = float(values[0]) if lower is None else lower, float(values[-1]) if upper is None else upper
    ax.axvspan(*ends, color=COLOURS[0], alpha=0.12, linewidth=0)
    # As the interval's ends are found: the root of a profile is close to a straight line, in ln of what is positive.
    inner = np.log(values) if values[0] > 0 else values
    fine = np.linspace(inner[0], inner[-1], 400)
    curve = np.interp(fine, inner, np.sqrt(np.maximum(rise, 0.0))) ** 2
    ax.plot(np.exp(fine) if values[0] > 0 else fine, curve, color=COLOURS[0], linewidth=1.4)
    ax.plot(values, rise, "o", color=COLOURS[0], markersize=2.5)
    ax.axhline(level, color=COLOURS[1], linestyle="--", linewidth=1.0)
    ax.set_ylim(0.0, 4.0 * level)
    ax.set_xlabel(f"{name} [{unit}]" if unit else name)
    ax.set_ylabel("fall of ln(likelihood)")
    ax.set_title(bounds_text(lower, upper), loc="left", fontsize=9)
    return ax
