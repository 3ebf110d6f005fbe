"""The picture of one answer: a run, its forecast, and where other schedules end; and the rates below it."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

from eigenflow.plots.file import picture_text
from eigenflow.plots.forecast import COLOURS, MEASURED

__all__ = ["plot_outlook", "plot_rates_ahead"]

Steps = Int[np.ndarray, " point"]
Points = Float[np.ndarray, " point"]
# The first fall of a run would hide everything else: the scale begins at this share of it, or in the middle of the log.
LATE = 0.15
# Ends stand beside the run, this share of its length apart.
APART = 0.035


def plot_outlook(
    measured: tuple[Int[np.ndarray, " _"], Float[np.ndarray, " _"]],
    steps: Steps,
    loss: Points,
    lower: Points,
    upper: Points,
    *,
    ends: Sequence[tuple[str, int, float, float, float]],
    ahead: Bool[np.ndarray, " point"],
    ax: Axes,
    unit: str = "nats",
    target: float | None = None,
    came: tuple[Int[np.ndarray, " _"], Float[np.ndarray, " _"]] | None = None,
) -> Axes:
    """Draw a run as dots, the law as a line, the forecast of the rest in its 90 % fan, and ends of other schedules.

    Args:
        measured: Steps and losses of the run.
        steps: Of the forecast.
        loss: Forecast there.
        lower: Lower end of its 90 % interval.
        upper: Upper end.
        ends: Name, updates, last loss and its interval of other schedules; they stand beside the run's end.
        ahead: Which of the steps are not known yet.
        ax: Axes to draw into.
        unit: Of the loss.
        target: A wanted loss.
        came: Steps and losses that the forecast did not know.

    Returns:
        The same `ax`. Its scale leaves out the first fall of the run.
    """
    ax.plot(*measured, ".", color=MEASURED, markersize=2.5, label="logged", zorder=1)
    ax.plot(steps, loss, color=COLOURS[0], linewidth=1.0, alpha=0.6)
    if ahead.sum() > 1:
        ax.fill_between(steps[ahead], lower[ahead], upper[ahead], color=COLOURS[0], alpha=0.2, linewidth=0)
        ax.plot(steps[ahead], loss[ahead], color=COLOURS[0], linewidth=1.6, label="forecast, 90 % interval")
        ax.axvline(int(steps[ahead][0]), color="#66717d", linewidth=0.8, linestyle=":")
    if came is not None and len(came[0]):
        ax.plot(*came, "o", color=MEASURED, mfc="none", markersize=3.0, markeredgewidth=0.8, label="what came, hidden")
    last = int(steps[-1])
    for index, (name, updates, value, low, high) in enumerate(ends):
        colour = COLOURS[(index + 1) % len(COLOURS)]
        place = last * (1.0 + APART * (index + 1))
        shown = picture_text(name if updates == last else f"{name} ({updates:,} updates)")
        errors = np.array([[max(value - low, 0.0)], [max(high - value, 0.0)]])
        ax.errorbar(place, value, errors, fmt="o", color=colour, markersize=4, capsize=2.5, linewidth=1.2, label=shown)
    if target is not None:
        ax.axhline(target, color=COLOURS[3], linewidth=1.0, linestyle="--", label=f"target {target:g}")
    seen = measured if came is None else (np.append(measured[0], came[0]), np.append(measured[1], came[1]))
    ax.set_ylim(*_scale(seen, measured[0][-1], lower, upper, steps, ends, target))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set_xlabel("completed updates" + ("; ends of other schedules stand to the right" if ends else ""))
    ax.set_ylabel(f"loss [{picture_text(unit)}]")
    ax.legend(frameon=False, fontsize=8)
    return ax


def _scale(
    measured: tuple[np.ndarray, np.ndarray],
    known_to: float,
    lower: Points,
    upper: Points,
    steps: Steps,
    ends: Sequence[tuple[str, int, float, float, float]],
    target: float | None,
) -> tuple[float, float]:
    begin = min(LATE * steps[-1], 0.5 * known_to)
    known, late = measured[1][measured[0] >= begin], steps >= begin
    values = np.concatenate([known, lower[late], upper[late][-1:], [end[3] for end in ends], [end[4] for end in ends]])
    values = values if target is None else np.append(values, target)
    room = 0.04 * max(float(np.ptp(values)), 1e-12)
    return float(values.min()) - room, float(values.max()) + room


def plot_rates_ahead(
    schedules: Mapping[str, tuple[Int[np.ndarray, " _"], Float[np.ndarray, " _"]]], known: int, *, ax: Axes
) -> Axes:
    """Draw the rates of the plan and of other schedules, and where the log ends.

    Args:
        schedules: By name, edges of blocks of updates (one more than blocks) and the rate in each; the plan first.
        known: Last step of the log.
        ax: Axes to draw into.

    Returns:
        The same `ax`; colours are those of `plot_outlook`.
    """
    for index, (name, (edges, rates)) in reversed(list(enumerate(schedules.items()))):
        style = "-" if index == 0 else "--"
        width = 1.8 if index == 0 else 1.1
        heights = np.append(rates, rates[-1])
        ax.step(edges, heights, where="post", color=COLOURS[index % len(COLOURS)], linestyle=style, linewidth=width,
                label=picture_text(name))  # fmt: skip
    ax.axvline(known, color="#66717d", linewidth=0.8, linestyle=":")
    ax.set_ylim(bottom=0.0)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set_xlabel("update")
    ax.set_ylabel("learning rate")
    return ax
