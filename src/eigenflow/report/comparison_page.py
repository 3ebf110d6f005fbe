"""A comparison of runs as one self-contained HTML file, with the runs in the lazy-rich plane."""

from pathlib import Path

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from eigenflow.core.writing import write_whole
from eigenflow.report.comparison import Comparison
from eigenflow.report.figures.lazy_rich import plane_figure
from eigenflow.report.figures.run import METHODS
from eigenflow.report.page import figure_spec
from eigenflow.report.sections import Picture
from eigenflow.report.words import band_text, interval_text, number

__all__ = ["write_comparison"]


def write_comparison(comparison: Comparison, path: Path, *, replace: bool = True) -> Path:
    """Write a comparison: differences, the lazy-rich plane, verdicts, scores.

    Args:
        comparison: As from `compare`.
        path: The file to write, in a folder that exists.
        replace: Whether an existing file may be replaced.

    Returns:
        The path.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eigenflow.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "interval": interval_text, "band": band_text}
    text = environment.get_template("comparison.html.j2").render(
        comparison=comparison,
        plane=_plane(comparison),
        spec=figure_spec,
        methods={name: found[0] for name, found in METHODS.items()},
        plotly=Markup(get_plotlyjs()),
    )
    return write_whole(path, text, replace=replace)


def _plane(comparison: Comparison) -> Picture:
    found = {run.name: run.place for run in comparison.runs if run.place is not None}
    places = {name: place for name, place in found.items() if place.flux_share is not None}
    missing = [run.name for run in comparison.runs if run.place is None]
    left_out = (
        f" Left out, because they do not say how far their operator went: {', '.join(missing)}." if missing else ""
    )
    if len(places) < len(found):
        states = ", ".join(name for name in found if name not in places)
        left_out += f" Left out, as records of states, which do not tell how much energy changes its shell: {states}."
    if not places:
        return Picture("plane", None, "No run says how far its operator went and what changed its shell." + left_out)
    return Picture(
        "plane",
        plane_figure(places),
        "Each line is a run, from left to right as its operator moves away from the first measured one; the marker "
        "is its end. Left of the first dashed line the operator stays within 10 % of itself (lazy), right of the "
        "second it has moved by its own norm (rich). Upwards is the share of the energy that left its shell and went "
        "to another one instead of being learned, from the start to that time, in shells of a quarter decade. "
        "Distances below 10⁻⁴ and shares of 0 have no place on the axes." + left_out,
    )
