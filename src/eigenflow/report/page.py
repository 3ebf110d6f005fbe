"""What pages with interactive figures share: their template, filters, and figures as data inside of the page."""

import base64
from functools import partial
from typing import Any

import jinja2
import numpy as np
import plotly.io
from jaxtyping import Float
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

# Smaller arrays make no page heavy.
MANY = 128
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
    """A figure as JSON that can stand inside a script element: `<` and `>` are written as escapes."""
    assert picture.figure is not None
    text = plotly.io.to_json(_packed({"data": picture.figure.data, "layout": picture.figure.layout}), validate=False)
    assert text is not None
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e"))


def _packed(value: Any) -> Any:
    """Arrays of numbers as plotly.js reads them fastest, in base64."""
    if isinstance(value, dict):
        return {key: _packed(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(one) for one in value]
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind == "f":
        array = _short(np.ascontiguousarray(value, np.float64))
    elif value.dtype.kind in "iu" and np.abs(value).max(initial=0) < 2**31:
        array = np.ascontiguousarray(value, np.int32)
    else:
        return value.tolist()
    packed = {"dtype": f"{array.dtype.kind}{array.itemsize}", "bdata": base64.b64encode(array.tobytes()).decode()}
    return packed if array.ndim == 1 else {**packed, "shape": ", ".join(map(str, array.shape))}


def _short(numbers: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Large arrays in single precision where that holds them: it is more than is seen."""
    size = np.abs(numbers[np.isfinite(numbers) & (numbers != 0)])
    if numbers.size < MANY or not size.size or size.min() < TINY or size.max() > HUGE:
        return numbers
    short, whole = numbers.astype(np.float32), np.round(numbers) == numbers
    # Such as steps, which are told as they are.
    return numbers if (short[whole] != numbers[whole]).any() else short
