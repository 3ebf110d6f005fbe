"""What pages without a script share: templates with every word of strangers escaped, and pictures that stand inside."""

import base64
from typing import Any

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure

from eigenflow.core.display import at_level
from eigenflow.plots.file import picture_bytes
from eigenflow.report.numbers import interval_text, number

__all__ = ["picture_data", "render"]


def render(template: str, **values: Any) -> str:
    """Fill a template of this package.

    Args:
        template: Its name, such as "forecast.html.j2".
        values: What it names; one that is missing is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eigenflow.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "interval": interval_text, "at_level": at_level}
    return environment.get_template(template).render(**values)


def picture_data(figure: Figure) -> str:
    """A figure as SVG in base64, the same for the same figure."""
    # Ids and dates that differ from call to call would make equal pages unequal.
    with mpl.rc_context({"svg.hashsalt": "eigenflow"}):
        drawn = picture_bytes(figure, "svg", metadata={"Date": None})
    return base64.b64encode(drawn).decode("ascii")
