"""A card to share: one picture of a run or of a forecast that is read without its page, 1200 x 630 pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from eigenflow.core.text import clean
from eigenflow.core.writing import write_whole
from eigenflow.plots.file import picture_bytes, picture_text

__all__ = ["CARD_PIXELS", "CardFan", "share_card", "write_card"]

CARD_PIXELS = (1200, 630)
DPI = 100
INK, MUTED, LINE, ACCENT, GREEN = "#1f2933", "#55616d", "#c3cad2", "#0072B2", "#009E73"
VERDICTS = {"supported": ("#00694d", "holds"), "contradicted": ("#a84300", "fails"), "undecided": ("#56616c", "open")}
# Where texts begin and end, in pixels; the picture stands to the right of them.
LEFT, TEXT_WIDTH, RIGHT = 48, 500, 1152
SMALLEST = 13
# Letters of a line of notes, lines of them, and the share of a run that is left out of the scale.
LETTERS, LINES, LATE = 50, 7, 0.1
Points = Float[np.ndarray, " _"]


@dataclass(frozen=True)
class CardFan:
    """A forecast as the card draws it.

    Attributes:
        steps: Completed updates.
        loss: Forecast there.
        lower: Lower end of its band.
        upper: Upper end.
        band: What lies between them, in words.
    """

    steps: Points
    loss: Points
    lower: Points
    upper: Points
    band: str = "its 90 % interval"


def write_card(figure: Figure, path: Path, *, replace: bool = False) -> Path:
    """Write a card as PNG; it is there as a whole or not at all.

    Args:
        figure: As from `share_card`.
        path: The file, in a folder that exists.
        replace: Whether an existing file may be replaced.
    """
    return write_whole(path, picture_bytes(figure, "png", dpi=DPI), replace=replace)


def share_card(
    name: str,
    kind: str,
    headline: str,
    notes: Sequence[str],
    *,
    measured: tuple[Points, Points],
    fan: CardFan | None = None,
    verdicts: Sequence[tuple[str, str]] = (),
    unit: str = "",
) -> Figure:
    """Draw a card: name, headline and notes to the left, the loss to the right, verdicts below.

    Args:
        name: Of the run; one that is too long is cut.
        kind: What the card is of, in a word or two.
        headline: The answer in a few words.
        notes: Sentences below it; what does not fit is left out.
        measured: Steps and losses.
        fan: Forecast of the rest; None without one.
        verdicts: Name and verdict of each claim, at most eight.
        unit: Of the loss.
    """
    width, height = CARD_PIXELS
    figure = Figure(figsize=(width / DPI, height / DPI), facecolor="white")
    _words(figure, LEFT, 44, f"eigenflow  ·  {kind}", 17, MUTED)
    _words(figure, LEFT, 92, picture_text(name), 34, INK, is_bold=True, pixels=RIGHT - LEFT)
    _words(figure, LEFT, 168, picture_text(headline), 26, ACCENT, is_bold=True, pixels=TEXT_WIDTH)
    lines = [line for note in notes for line in wrap(clean(note), LETTERS)]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], lines[LINES - 1] + " …"]
    for k, line in enumerate(lines):
        _words(figure, LEFT, 226 + 34 * k, picture_text(line), 17, INK, pixels=TEXT_WIDTH)
    bottom = 150 if verdicts else 80
    ax = figure.add_axes((650 / width, bottom / height, 500 / width, (height - 150 - bottom) / height))
    _draw_loss(ax, measured, fan, unit)
    _draw_verdicts(figure, verdicts[:8])
    return figure


def _words(
    figure: Figure, x: float, y: float, words: str, size: float, colour: str, *, is_bold: bool = False,
    pixels: float | None = None,
) -> Text:  # fmt: skip
    """Add a line whose middle lies y pixels below the top; it shrinks, then is cut, until it is narrow enough."""
    width, height = CARD_PIXELS
    text = figure.text(x / width, 1 - y / height, words, color=colour, va="center", ha="left",
                       fontweight="bold" if is_bold else "normal")  # fmt: skip
    text.set_fontsize(_points(size))
    while pixels is not None and _width(text) > pixels:
        if size > SMALLEST + 4:
            size -= 1
            text.set_fontsize(_points(size))
        else:
            kept = text.get_text().rstrip("…")
            text.set_text(kept[: -2 if kept.endswith("\\$") else -1] + "…")
    return text


def _points(pixels: float) -> float:
    return pixels * 72 / DPI


def _width(text: Text) -> float:
    figure = text.get_figure(root=True)
    assert figure is not None
    figure.set_dpi(DPI)
    return text.get_window_extent().width


def _draw_loss(ax: Axes, measured: tuple[Points, Points], fan: CardFan | None, unit: str) -> None:
    steps, losses = measured
    ax.plot(steps, losses, color=ACCENT, linewidth=1.8)
    last = float(steps[-1]) if len(steps) else 0.0
    end = last if fan is None else max(last, float(fan.steps[-1]))
    late = np.asarray(losses)[np.asarray(steps) >= LATE * min(last, end)]
    shown = [late] if len(late) else [np.asarray(losses)]
    if fan is not None:
        ax.fill_between(fan.steps, fan.lower, fan.upper, color=GREEN, alpha=0.25, linewidth=0)
        ax.plot(fan.steps, fan.loss, color=GREEN, linewidth=2.2, linestyle="--")
        ax.axvline(last, color=MUTED, linewidth=1, linestyle=":")
        shown += [fan.lower, fan.upper]
    values = np.concatenate([np.ravel(part) for part in shown])
    room = 0.06 * max(float(np.ptp(values)), 1e-12)
    ax.set_ylim(float(values.min()) - room, float(values.max()) + room)
    ax.set_xlim(0, 1.02 * max(end, 1.0))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.tick_params(labelsize=_points(15), colors=MUTED)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(LINE)
    ax.set_title("loss" + (f" [{picture_text(unit)}]" if unit else "") + " over updates"
                 + ("" if fan is None else f", forecast dashed with {fan.band}"),
                 fontsize=_points(15), color=MUTED, loc="left")  # fmt: skip


def _draw_verdicts(figure: Figure, verdicts: Sequence[tuple[str, str]]) -> None:
    width, height = CARD_PIXELS
    across = (RIGHT - LEFT) / 8
    for k, (name, verdict) in enumerate(verdicts):
        colour, word = VERDICTS[verdict]
        box = FancyBboxPatch(((LEFT + k * across) / width, 36 / height), (across - 12) / width, 58 / height,
                             boxstyle="round,pad=0,rounding_size=0.008", facecolor=colour, linewidth=0,
                             transform=figure.transFigure)  # fmt: skip
        figure.add_artist(box)
        _words(figure, LEFT + k * across + 14, height - 78, name, 19, "white", is_bold=True)
        _words(figure, LEFT + k * across + 14, height - 53, word, 15, "white")
