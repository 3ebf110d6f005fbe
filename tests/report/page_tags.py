"""A page's tags and text, as a browser would find them."""

import base64
import json
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go

__all__ = ["Tags", "checked", "figures", "numbers"]


class Tags(HTMLParser):
    """Every tag with its attributes, and the text in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._script = dict(attrs).get("id") or f"unnamed {len(self.scripts)}"
            self.scripts[self._script] = ""

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._script = None

    def handle_data(self, data):
        if self._script is None:
            self.text += data
        else:
            self.scripts[self._script] += data


def figures(page: Tags) -> dict[str, dict]:
    """The figures of a page as plotly's dictionaries, by key."""
    return {name[5:]: json.loads(text) for name, text in page.scripts.items() if name.startswith("spec-")}


def numbers(values) -> np.ndarray:
    """An array as plotly writes it: a list, or bytes in base64 with their type."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
    return np.asarray(values)


def checked(figure) -> go.Figure:
    """A figure as plotly's own object, which refuses every name and value that plotly.js does not know."""
    return go.Figure(data=figure.data, layout=figure.layout)
