"""The verdicts of several runs as a picture: one row an assertion, one column a run."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from eigenflow.core.errors import ArgumentError
from eigenflow.theory import Claim, Verdict

__all__ = ["plot_claims"]

_COLOURS = {Verdict.SUPPORTED: "#9ec9a8", Verdict.CONTRADICTED: "#e6a39a", Verdict.UNDECIDED: "#e9e6df"}
_INK = "#1d2730"
_MISSING = "#ffffff"


def plot_claims(runs: Mapping[str, Sequence[Claim]], *, ax: Axes, only_assertions: bool = False) -> Axes:
    """Draw a verdict as colour and its estimate as a number, for each run and assertion.

    Args:
        runs: Rows of `claims` by the name of the run, in the order to draw.
        ax: Axes to draw into. The caller makes, sizes, shows and saves the figure; about 0.22 inch a row and 0.9 a
            run make it legible.
        only_assertions: Leave out the rows of claims as a whole.

    Returns:
        The same axes.

    Raises:
        ArgumentError: If there is no run.
    """
    if not runs:
        raise ArgumentError("`runs` must hold the claims of at least one run, but is empty.")
    keys = sorted({row.claim for rows in runs.values() for row in rows if "." in row.claim or not only_assertions})
    for column, rows in enumerate(runs.values()):
        found = {row.claim: row for row in rows}
        for line, key in enumerate(keys):
            _cell(ax, column, line, found.get(key))
    ax.set(xlim=(0, len(runs)), ylim=(len(keys), 0))
    ax.set_xticks([c + 0.5 for c in range(len(runs))], list(runs), rotation=35, ha="left", rotation_mode="anchor")
    ax.set_yticks([line + 0.5 for line in range(len(keys))], keys)
    for label in ax.get_yticklabels():
        label.set_fontweight("bold" if "." not in label.get_text() else "normal")
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    _legend(ax)
    return ax


def _cell(ax: Axes, column: int, line: int, row: Claim | None) -> None:
    colour = _MISSING if row is None else _COLOURS[row.verdict]
    ax.add_patch(Rectangle((column, line), 1, 1, facecolor=colour, edgecolor="white", linewidth=1.5))
    if row is not None and row.estimate is not None:
        weight = "bold" if "." not in row.claim else "normal"
        text = f"{row.estimate:.2g}"
        ax.text(column + 0.5, line + 0.5, text, ha="center", va="center", fontsize=7, color=_INK, fontweight=weight)


def _legend(ax: Axes) -> None:
    handles = [Rectangle((0, 0), 1, 1, facecolor=colour, label=verdict.value) for verdict, colour in _COLOURS.items()]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.01), ncols=3, frameon=False, fontsize=8)
