"""What pages with interactive figures share: their template, filters, and figures as data inside of the page."""

from functools import partial
from typing import Any

import jinja2
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
    text = plotly.io.to_json(picture.figure, validate=False)
    assert text is not None
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e"))
