"""A figure as plotly.js takes it: dictionaries, filled without plotly's own objects.

Those check and copy every setting at every change, which took nine tenths of the time of writing a page. Here nothing
is checked; the tests hand every figure to them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Figure"]

Settings = dict[str, Any]

# Names that hold an underscore. Any other one parts a name from its section, as in plotly: `title_text`.
WHOLE = {"paper_bgcolor", "plot_bgcolor", "error_x", "error_y"}
# Between panels side by side, as a share of the figure.
SPACING = 0.2


class Figure:
    """Traces and their layout, with panels side by side.

    Columns count from 1; None means all of them. Settings are those of plotly.js, `a_b=c` for `a={"b": c}`. A setting
    of None is none.

    Args:
        columns: Panels side by side.
        titles: Above them, one each.
        shared_y: Whether the panels have one vertical axis.
        spacing: Between them, as a share of the figure; None: 0.2 of it over their number.

    Attributes:
        data: The traces.
        layout: Everything else.
    """

    def __init__(
        self,
        columns: int = 1,
        *,
        titles: Sequence[str] | None = None,
        shared_y: bool = False,
        spacing: float | None = None,
    ) -> None:
        self.data: list[Settings] = []
        self.layout: Settings = {"annotations": [], "shapes": []}
        self._columns = range(1, columns + 1)
        gap = SPACING / columns if spacing is None else spacing
        width = (1.0 - gap * (columns - 1)) / columns
        for column in self._columns:
            begin = (column - 1) * (width + gap)
            x, y = self._axis("x", column), self._axis("y", column)
            self.layout[_key(x)] = {"anchor": y, "domain": [begin, min(begin + width, 1.0)]}
            self.layout[_key(y)] = {"anchor": x, "domain": [0.0, 1.0]}
            if shared_y and column > 1:
                self.layout[_key(y)] |= {"matches": "y", "showticklabels": False}
            if titles is not None:
                place = {"x": begin + width / 2, "xanchor": "center", "xref": "paper"}
                place |= {"y": 1.0, "yanchor": "bottom", "yref": "paper"}
                self.add_annotation(text=titles[column - 1], showarrow=False, **place)

    @staticmethod
    def _axis(letter: str, column: int) -> str:
        return letter if column == 1 else f"{letter}{column}"

    def _chosen(self, column: int | None) -> Sequence[int]:
        return self._columns if column is None else [column]

    def add_scatter(self, *, col: int = 1, **settings: Any) -> None:
        """Add points or a line to a panel."""
        self._add("scatter", col, settings)

    def add_heatmap(self, *, col: int = 1, **settings: Any) -> None:
        """Add a map of colours to a panel."""
        self._add("heatmap", col, settings)

    def add_bar(self, *, col: int = 1, **settings: Any) -> None:
        """Add bars to a panel."""
        self._add("bar", col, settings)

    def _add(self, kind: str, column: int, settings: Settings) -> None:
        axes = {"xaxis": self._axis("x", column), "yaxis": self._axis("y", column)}
        self.data.append({"type": kind, **axes, **_nested(settings)})

    def add_hline(self, y: float, *, line: Settings, col: int | None = None, note: str = "") -> None:
        """Add a line across, with a note above its beginning."""
        for column in self._chosen(col):
            place = {"xref": f"{self._axis('x', column)} domain", "yref": self._axis("y", column)}
            self._shape("line", place, {"x0": 0, "x1": 1, "y0": y, "y1": y, "line": line})
            if note:
                corner = {"x": 0, "xanchor": "left", "yanchor": "bottom"}
                self.add_annotation(text=note, y=y, showarrow=False, font={"size": 12}, **place, **corner)

    def add_vline(self, x: float, *, line: Settings, col: int | None = None) -> None:
        """Add a line from bottom to top."""
        for column in self._chosen(col):
            place = {"xref": self._axis("x", column), "yref": f"{self._axis('y', column)} domain"}
            self._shape("line", place, {"x0": x, "x1": x, "y0": 0, "y1": 1, "line": line})

    def add_hrect(self, y0: float, y1: float, *, col: int | None = None, **settings: Any) -> None:
        """Add a band across."""
        for column in self._chosen(col):
            place = {"xref": f"{self._axis('x', column)} domain", "yref": self._axis("y", column)}
            self._shape("rect", place, {"x0": 0, "x1": 1, "y0": y0, "y1": y1, **settings})

    def _shape(self, kind: str, place: Settings, settings: Settings) -> None:
        self.layout["shapes"].append({"type": kind, **place, **_nested(settings)})

    def add_annotation(self, **settings: Any) -> None:
        """Add a text; where nothing else is said it is placed by the axes of the first panel."""
        self.layout["annotations"].append({"xref": "x", "yref": "y", **_nested(settings)})

    def update_layout(self, **settings: Any) -> None:
        """Change what is common to all panels; sections are merged."""
        _merge(self.layout, _nested(settings))

    def update_annotations(self, **settings: Any) -> None:
        """Change every text so far."""
        for text in self.layout["annotations"]:
            _merge(text, _nested(settings))

    def update_xaxes(self, *, col: int | None = None, **settings: Any) -> None:
        """Change a panel's horizontal axis, or all of them."""
        for column in self._chosen(col):
            _merge(self.layout[_key(self._axis("x", column))], _nested(settings))

    def update_yaxes(self, *, col: int | None = None, **settings: Any) -> None:
        """Change a panel's vertical axis, or all of them."""
        for column in self._chosen(col):
            _merge(self.layout[_key(self._axis("y", column))], _nested(settings))


def _key(axis: str) -> str:
    """Under which a layout holds an axis: `xaxis2` for "x2"."""
    return f"{axis[0]}axis{axis[1:]}"


def _nested(settings: Settings) -> Settings:
    """Settings with their sections apart, and without those that are None."""
    found: Settings = {}
    for name, value in settings.items():
        section, _, rest = (name, "", "") if name in WHOLE else name.partition("_")
        if rest:
            _merge(found, {section: _nested({rest: value})})
        elif isinstance(value, dict):
            _merge(found, {name: _nested(value)})
        elif isinstance(value, list | tuple) and any(isinstance(one, dict) for one in value):
            found[name] = [_nested(one) for one in value]
        elif value is not None:
            found[name] = value if isinstance(value, str | np.ndarray) else _plain(value)
    return found


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's; series as arrays."""
    if isinstance(value, np.generic):
        return value.item()
    return np.asarray(value) if hasattr(value, "__array__") else value


def _merge(into: Settings, settings: Settings) -> None:
    for name, value in settings.items():
        kept = into.get(name)
        if isinstance(kept, dict) and isinstance(value, dict):
            _merge(kept, value)
        else:
            into[name] = value
