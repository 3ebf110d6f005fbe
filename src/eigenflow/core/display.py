"""How results print themselves: a card of a title and named lines, as text and as HTML.

A result names what matters in it with `_card`; arrays are never printed. Dataclasses take `repr=False`, or their own
`__repr__` would come first.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from html import escape
from typing import TYPE_CHECKING, Any

from eigenflow.core.text import clean

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AbstractPrinted", "Card", "FieldsPrinted", "at_level", "figure", "interval", "span"]

LINES = 15
WIDTH = 110


@dataclass(frozen=True)
class Card:
    """What a result says of itself.

    Attributes:
        title: Its kind, and how large it is.
        rows: Names and what stands beside them; at most 14, the last ones give way to "... n more".
    """

    title: str
    rows: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def shown(self) -> list[tuple[str, str]]:
        """The rows that are printed, with names of strangers made harmless."""
        rows = [(clean(name), clean(value)) for name, value in self.rows]
        room = LINES - 1
        return rows if len(rows) <= room else [*rows[: room - 1], ("...", f"{len(rows) - room + 1} more")]

    def text(self) -> str:
        """At most 15 lines of at most 110 characters."""
        rows = self.shown()
        width = max((len(name) for name, _ in rows), default=0)
        lines = [clean(self.title), *(f"  {name:<{width}}  {value}".rstrip() for name, value in rows)]
        return "\n".join(line if len(line) <= WIDTH else line[: WIDTH - 3] + "..." for line in lines)

    def html(self) -> str:
        """The same as a table, for notebooks; it loads nothing."""
        cell = 'style="text-align:left;padding:1px 12px 1px 0;vertical-align:top"'
        rows = "".join(
            f"<tr><th {cell} scope='row'>{escape(name)}</th><td {cell}>{escape(value)}</td></tr>"
            for name, value in self.shown()
        )
        return f"<div><strong>{escape(clean(self.title))}</strong><table>{rows}</table></div>"


class AbstractPrinted:
    """A result that prints itself as a card, in a terminal and in a notebook."""

    @abstractmethod
    def _card(self) -> Card:
        """Title and lines; formatting of numbers by `figure`, `interval` and `span`."""

    def __repr__(self) -> str:
        return self._card().text()

    def _repr_html_(self) -> str:
        return self._card().html()


class FieldsPrinted(AbstractPrinted):
    """A dataclass that prints a line a field: numbers as they are, arrays by shape and range, others by their kind."""

    def _card(self) -> Card:
        held = ((item.name, getattr(self, item.name)) for item in fields(self))  # pyright: ignore[reportArgumentType]
        return Card(type(self).__name__, [(name, _told(value)) for name, value in held if value is not None])


def _told(value: Any) -> str:
    if isinstance(value, bool | str | int):
        return str(value)
    if isinstance(value, float):
        return figure(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple) and all(isinstance(part, int | float) for part in value) and len(value) <= 4:
        return f"[{', '.join(figure(float(part)) for part in value)}]"
    if isinstance(value, tuple | list | dict):
        return f"{len(value)} of {type(value).__name__}"
    if hasattr(value, "shape"):
        return _array_told(value)
    return type(value).__name__


def _array_told(value: Any) -> str:
    """Shape, and the range of what is finite in it."""
    # Tensors of torch become arrays by themselves, if they need no gradient; this room must not know of torch.
    import numpy as np  # what is slow to import waits: commands that only print numbers start without it

    held = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    shape = " x ".join(map(str, held.shape)) or "scalar"
    if held.dtype.kind == "b":
        return f"{shape}, {int(held.sum())} true"
    if held.dtype.kind not in "iuf" or not np.isfinite(held).any():
        return shape
    known = held[np.isfinite(held)]
    return f"{shape}, from {figure(float(known.min()), 3)} to {figure(float(known.max()), 3)}"


def figure(value: float | None, digits: int = 4) -> str:
    """A number as text; what is missing is a dash."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}g}"


def at_level(value: float, level: float, *, is_signed: bool = False) -> str:
    """A loss, or a difference of losses, to four decimals, or to three figures of a level where that is finer."""
    digits = 4 if not 0 < level < math.inf else max(4, 2 - math.floor(math.log10(level)))
    return f"{value:+.{digits}f}" if is_signed else f"{value:.{digits}f}"


def interval(value: float | None, lower: float | None, upper: float | None, digits: int = 3) -> str:
    """A value with its 90 % interval."""
    return f"{figure(value, digits)} [{figure(lower, digits)}, {figure(upper, digits)}]"


def span(values: "Sequence[float] | np.ndarray", digits: int = 3) -> str:
    """First and last of something ordered."""
    if len(values) == 0:
        return "-"
    return f"{figure(float(values[0]), digits)} to {figure(float(values[-1]), digits)}"


def bounds_text(lower: float | None, upper: float | None) -> str:
    """Between what a parameter is bounded, in words; None is an open end."""
    if lower is None:
        return "open on both sides" if upper is None else f"below {upper:.3g}, open"
    return f"above {lower:.3g}, open" if upper is None else f"{lower:.3g} to {upper:.3g}"
