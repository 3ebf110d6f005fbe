"""Styles: for print, with columns of a journal, letters of 8 pt, lines that differ without colour; and for screens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from cycler import cycler

from eigenflow.core.errors import ArgumentError

__all__ = ["PAPER_DPI", "PAPER_WIDTHS", "paper_style", "screen_style"]

PAPER_WIDTHS = {1: 3.3, 2: 6.9}  # inches, of one column and of both
PAPER_DPI = 300
LOW = 0.72  # height over width of one column
# Okabe and Ito's colours, which stay apart for colour-blind readers; styles stay apart in black and white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#1f2933")
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
SETTINGS: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "legend.fontsize": 7.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "axes.prop_cycle": cycler(color=COLOURS) + cycler(linestyle=STYLES),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": PAPER_DPI,
    "savefig.bbox": None,  # files are as large as figures
    # TrueType, which journals take; text of SVG stays text.
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
}


@contextmanager
def paper_style(columns: int = 1, *, height: float | None = None) -> Iterator[tuple[float, float]]:
    """Draw and save figures in the style of a paper: everything of matplotlib that happens inside.

    Args:
        columns: 1 for figures of 3.3 inches, 2 for 6.9.
        height: In inches; by default 2.4, of which both columns have 3.3.

    Yields:
        Width and height of a new figure, in inches.

    Raises:
        ArgumentError: If there is no such column, or the height is not above 0.
    """
    if columns not in PAPER_WIDTHS:
        raise ArgumentError(f"`columns` must be 1 or 2, but is {columns!r}. A column is 3.3 inches wide, both are 6.9.")
    if height is not None and not height > 0:
        raise ArgumentError(f"`height` must be above 0 inches, but is {height!r}. Leave it out for a usual one.")
    width = PAPER_WIDTHS[columns]
    size = (width, height or round(LOW * PAPER_WIDTHS[1] * (1.0 if columns == 1 else 1.4), 2))
    with mpl.rc_context({**SETTINGS, "figure.figsize": size}):
        yield size


@contextmanager
def screen_style() -> Iterator[None]:
    """Draw and save figures that are read on a screen: letters of 9 pt, colours of `paper_style`, no dashes.

    Sizes are those of the caller's figures.
    """
    letters: dict[Any, Any] = {key: value + 1.0 for key, value in SETTINGS.items() if key.endswith("size")}
    unlike: dict[Any, Any] = {
        "axes.prop_cycle": cycler(color=COLOURS),
        "savefig.dpi": "figure",
        "axes.titlelocation": "left",
    }
    with mpl.rc_context({**SETTINGS, **letters, **unlike}):
        yield
