"""The claims of several runs as pictures: all verdicts at once, or one assertion with its intervals."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Protocol, runtime_checkable

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from eigenflow.core.errors import ArgumentError
from eigenflow.plots.file import picture_text

__all__ = ["JudgedRow", "plot_claims", "plot_estimates"]

_COLOURS = {"supported": "#9ec9a8", "contradicted": "#e6a39a", "undecided": "#e9e6df"}
# Seen in black and white too.
_HATCHES = {"contradicted": "////"}
_INK = "#1d2730"
_MISSING = "#ffffff"
# Of rows beside a claim.
_PALE = 0.5


@runtime_checkable
class JudgedRow(Protocol):
    """One line of a verdict: an assertion, what was found and how it was judged. Rows of `claims` are such lines.

    Attributes:
        claim: Its key, "C1" for a claim, "C1.flow" for an assertion of it.
        statement: The assertion in words.
        estimate: The number that was found, None without one.
        interval: Its 90 % interval, None without one.
        band: Ends between which the assertion holds, None for an open one.
        verdict: "supported", "contradicted" or "undecided".

    Two more are used where a line has them: `decides`, False for a line beside its claim, on which the claim's verdict
    does not depend; and `decided_by`, of a claim as a whole the key of the line whose numbers it shows.
    """

    @property
    def claim(self) -> str: ...

    @property
    def statement(self) -> str: ...

    @property
    def estimate(self) -> float | None: ...

    @property
    def interval(self) -> tuple[float, float] | None: ...

    @property
    def band(self) -> tuple[float | None, float | None]: ...

    @property
    def verdict(self) -> str: ...


def plot_claims(runs: Mapping[str, Sequence[JudgedRow]], *, ax: Axes, only_assertions: bool = False) -> Axes:
    """Draw a verdict as colour and its estimate as a number, for each run and assertion.

    Args:
        runs: Rows by the name of the run, in the order to draw.
        ax: Axes to draw into. The caller makes, sizes, shows and saves the figure; about 0.22 inch a row and 0.9 a
            run make it legible.
        only_assertions: Leave out the rows of claims as a whole.

    Rows beside a claim follow those that decide on it, and are paler.

    Returns:
        The same axes.

    Raises:
        ArgumentError: If there is no run.
    """
    if not runs:
        raise ArgumentError("`runs` must hold the claims of at least one run, but is empty.")
    whole = [row for rows in runs.values() for row in rows if "." in row.claim or not only_assertions]
    beside = {row.claim for row in whole if not getattr(row, "decides", True)}
    keys = sorted({row.claim for row in whole}, key=lambda key: (key.split(".")[0], key in beside, key))
    for column, rows in enumerate(runs.values()):
        found = {row.claim: row for row in rows}
        for line, key in enumerate(keys):
            _cell(ax, column, line, found.get(key))
    ax.set(xlim=(0, len(runs)), ylim=(len(keys), 0))
    ax.set_xticks(
        [c + 0.5 for c in range(len(runs))],
        [picture_text(name) for name in runs],
        rotation=35,
        ha="left",
        rotation_mode="anchor",
    )
    ax.set_yticks([line + 0.5 for line in range(len(keys))], keys)
    for label in ax.get_yticklabels():
        label.set_fontweight("bold" if "." not in label.get_text() else "normal")
        label.set_alpha(_PALE if label.get_text() in beside else 1.0)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    _legend(ax)
    return ax


def _cell(ax: Axes, column: int, line: int, row: JudgedRow | None) -> None:
    colour = _MISSING if row is None else _COLOURS[row.verdict]
    shade = 1.0 if row is None or getattr(row, "decides", True) else _PALE
    style = {"facecolor": colour, "edgecolor": "white", "linewidth": 1.5, "alpha": shade}
    hatch = None if row is None else _HATCHES.get(row.verdict)
    ax.add_patch(Rectangle((column, line), 1, 1, hatch=hatch, **style))
    if row is not None and row.estimate is not None:
        weight = "bold" if "." not in row.claim else "normal"
        text = f"{row.estimate:.2g}"
        words = {"ha": "center", "va": "center", "fontsize": 7, "color": _INK, "fontweight": weight, "alpha": shade}
        box = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}  # no number on a hatch
        ax.text(column + 0.5, line + 0.5, text, bbox=box, **words)


def _legend(ax: Axes) -> None:
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=colour, edgecolor="white", hatch=_HATCHES.get(verdict), label=verdict)
        for verdict, colour in _COLOURS.items()
    ]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.01), ncols=3, frameon=False, fontsize=8)


def plot_estimates(runs: Mapping[str, Sequence[JudgedRow]], key: str, *, ax: Axes, log: bool = False) -> Axes:
    """Draw one assertion's estimate and 90 % interval for each run, and its band as a shade.

    Args:
        runs: Rows by the name of the run, drawn from top to bottom.
        key: Which assertion or claim, such as "C7.error". For a claim as a whole the assertion that decided stands at
            each run's estimate; the band is drawn if all runs share it.
        ax: Axes to draw into.
        log: Logarithmic axis; what is not positive is left out.

    Returns:
        The same axes.

    Raises:
        ArgumentError: If no run has a row of that name.
    """
    found = {name: row for name, rows in runs.items() for row in rows if row.claim == key}
    if not found:
        known = sorted({row.claim for rows in runs.values() for row in rows})
        raise ArgumentError(f"`key` must name a row of the claims, but is {key!r}. There are: {', '.join(known)}.")
    if log:
        ax.set_xscale("log")
    for line, name in enumerate(runs):
        row = found.get(name)
        if row is None or row.estimate is None or row.interval is None or (log and row.interval[0] <= 0):
            continue
        colour = {"supported": "#2f7d43", "contradicted": "#b3372a"}.get(row.verdict, "#77736a")
        ax.plot(row.interval, [line, line], color=colour, linewidth=2, solid_capstyle="round")
        ax.plot([row.estimate], [line], "o", color=colour, markersize=5)
        decided_by = getattr(row, "decided_by", "")
        if decided_by:
            place = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "fontsize": 7, "color": colour}
            ax.annotate(decided_by, (row.estimate, line), **place)
    # Rows of a claim as a whole may show different assertions, whose bands differ.
    bands = {row.band for row in found.values()}
    low, high = bands.pop() if len(bands) == 1 else (None, None)
    left, right = ax.get_xlim()
    if (low, high) != (None, None):
        ax.axvspan(
            left if low is None else low, right if high is None else high, color="#dcebdd", zorder=0, linewidth=0
        )
        ax.set_xlim(left, right)
    ax.set_yticks(range(len(runs)), [picture_text(name) for name in runs])
    ax.set(ylim=(len(runs) - 0.5, -0.5), title=fill(f"{key}: {next(iter(found.values())).statement}", 46))
    ax.grid(axis="x", alpha=0.3)
    return ax
