"""Pictures as files, and names of strangers as text in them."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eigenflow.core.text import clean
from eigenflow.core.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["picture_bytes", "picture_text", "plotly_text", "write_picture"]

LONGEST = 60
SCREEN_DPI = 110


def write_picture(figure: "Figure", path: Path, *, replace: bool = True, dpi: float = SCREEN_DPI) -> Path:
    """Draw a figure into a file, whose ending says of which kind; it is there as a whole or not at all.

    Args:
        figure: Of matplotlib.
        path: The file, in a folder that exists.
        replace: Whether an existing file may be replaced.
        dpi: Pixels of an inch, where it has pixels.
    """
    kind = path.suffix.lower().removeprefix(".") or "png"
    return write_whole(path, picture_bytes(figure, kind, dpi=dpi), replace=replace)


def picture_bytes(figure: "Figure", kind: str, *, dpi: float = SCREEN_DPI, **more: Any) -> bytes:
    """Draw a figure in memory.

    Args:
        figure: Of matplotlib.
        kind: As matplotlib names it, such as "png".
        dpi: Pixels of an inch.
        more: For `Figure.savefig`.
    """
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no news to who reads such names.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)
        figure.savefig(drawn, format=kind, dpi=dpi, **more)
    return drawn.getvalue()


def picture_text(name: str) -> str:
    """A name as matplotlib shall show it: on one line, not as a formula, and never hidden from a legend."""
    shown = _short(name).replace("$", r"\$")
    if not shown.strip():
        return "(no name)"
    return f" {shown}" if shown.startswith("_") else shown


def plotly_text(name: str) -> str:
    """A name as plotly shall show it: on one line, without the tags and places for numbers that plotly would obey."""
    return _short(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")


def _short(name: str) -> str:
    shown = clean(name)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
