"""What pages with interactive figures share: their template, filters, and figures as data inside of the page."""

import base64
from functools import partial
from typing import Any

import jinja2
import numpy as np
import plotly.io
from markupsafe import Markup
from plotly.offline import get_plotlyjs

import eigenflow
from eigenflow.core.display import at_level
from eigenflow.report.glossary import GLOSSARY, Term, linked
from eigenflow.report.leads import LEADS
from eigenflow.report.mathematics import formula, typeset
from eigenflow.report.methods import method_name
from eigenflow.report.numbers import band_text, interval_text, number
from eigenflow.report.picture import Picture

__all__ = ["figure_spec", "render_page"]

# What of a trace may be shortened. Small arrays make no page heavy.
SHORT, MANY = ("x", "y", "z", "customdata"), 128
TINY, HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def render_page(template: str, *, kind: str, title: str, glossary: tuple[Term, ...] = GLOSSARY, **values: Any) -> str:
    """Fill a template that extends `base.html.j2`: nothing in the page is loaded, every word of strangers is escaped.

    Args:
        template: Its name.
        kind: What the page is: "report".
        title: Its subject.
        glossary: Terms that it explains, and that texts link to.
        values: What the template names; one that is missing is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eigenflow.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "interval": interval_text,
        "band": band_text,
        "method": method_name,
        "at_level": at_level,
        "linked": partial(linked, terms=glossary),
        "typeset": typeset,
        "formula": formula,
    }
    page = environment.get_template(template)
    common = {"spec": figure_spec, "leads": LEADS, "plotly": Markup(get_plotlyjs()), "version": eigenflow.__version__}
    return page.render(kind=kind, title=title, glossary=glossary, **common, **values)


def figure_spec(picture: Picture) -> Markup:
    """A figure as JSON that can stand inside a script element: plotly writes `<` and `>` as escapes."""
    assert picture.figure is not None
    form = picture.figure.to_plotly_json()
    for trace in form["data"]:
        trace.update({key: _short(value) for key, value in trace.items() if key in SHORT})
    text = plotly.io.to_json(form, validate=False)
    assert text is not None
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e"))


def _short(values: Any) -> Any:
    """Large arrays, as plotly has packed them, in single precision where that holds them: it is more than is seen."""
    if not isinstance(values, dict) or values.get("dtype") != "f8":
        return values
    numbers = np.frombuffer(base64.b64decode(values["bdata"]))
    size = np.abs(numbers[np.isfinite(numbers) & (numbers != 0)])
    if numbers.size < MANY or not size.size or size.min() < TINY or size.max() > HUGE:
        return values
    short, whole = numbers.astype(np.float32), np.round(numbers) == numbers
    if (short[whole] != numbers[whole]).any():  # such as steps, which are told as they are
        return values
    return {**values, "dtype": "f4", "bdata": base64.b64encode(short.tobytes()).decode()}
