"""The report of a run as one self-contained HTML file.

Nothing in it is loaded: plotly.js, style and figures stand in the file, and its content security policy
forbids the browser to fetch anything.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import plotly.io
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from eigenflow.core.judged import beside_last
from eigenflow.core.writing import write_whole
from eigenflow.report.sections import Picture, pictures
from eigenflow.report.summary import Analysis
from eigenflow.report.words import band_text, flattened, headlines, interval_text, method_name, number, statement

__all__ = ["figure_spec", "write_report"]

NAME = "report.html"
CHARSET = '<meta charset="utf-8">'
# Header entries that the report shows elsewhere, or that only the program needs.
_HIDDEN = {"measured_steps", "measured_variables"}
_TITLES = {"config": "Configuration", "probe": "Probe set", "versions": "Versions", "machine": "Machine"}


def write_report(
    analysis: Analysis,
    path: Path | None = None,
    *,
    replace: bool = True,
    refresh_s: float | None = None,
    **timings: float,
) -> Path:
    """Write the report of an analysed run: figures, verdicts, forecasts with scores, configuration.

    Args:
        analysis: As from `analyse`.
        path: The file to write, in a folder that exists. By default `report.html` in the run folder.
        replace: Whether an existing file may be replaced; the run folder's own report always may.
        refresh_s: Seconds after which a browser shall load the page again, for a run that goes on; None for never.
        timings: Seconds by name, shown beside those of the analysis itself.

    Returns:
        The path of the file, about 5 MB of which plotly.js takes nearly all.
    """
    text = _render(analysis, timings)
    if refresh_s is not None:
        text = text.replace(CHARSET, f'{CHARSET}\n<meta http-equiv="refresh" content="{refresh_s:.0f}">', 1)
    if path is None:
        return analysis.run.write_text(NAME, text)
    return write_whole(path, text, replace=replace)


def _render(analysis: Analysis, timings: Mapping[str, float]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eigenflow.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "interval": interval_text, "band": band_text, "method": method_name}
    run, config = analysis.run, analysis.run.header.get("config")
    name = config.get("name") if isinstance(config, Mapping) else None
    page = environment.get_template("report.html.j2")
    return page.render(
        title=str(name or run.path.resolve().name),
        path=run.path.resolve().name,  # its whole path would tell whoever the page is sent to where it lay
        statement=statement(run),
        headlines=headlines(analysis),
        analysis=analysis,
        claims=beside_last(analysis.claims),
        pictures=pictures(analysis),
        spec=figure_spec,
        setup=_setup(run.header),
        timings={**timings, "analyse_s": analysis.wall_s},
        plotly=Markup(get_plotlyjs()),
    )


def figure_spec(picture: Picture) -> Markup:
    """A figure as JSON that can stand inside a script element: plotly writes `<` and `>` as escapes."""
    text = plotly.io.to_json(picture.figure, validate=False)
    assert text is not None
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e"))


def _setup(header: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """The run's header as titled tables; seeds are gathered once more, because a repetition needs them."""
    shown = {key: value for key, value in header.items() if key not in _HIDDEN}
    groups = {key: value for key, value in shown.items() if isinstance(value, Mapping)}
    order = [*(key for key in _TITLES if key in groups), *(key for key in groups if key not in _TITLES)]
    tables = {_TITLES.get(key, key): list(flattened(groups[key])) for key in order}
    seeds = [row for row in flattened(groups) if row[0].split(".")[-1] in ("seed", "seeds")]
    rest = list(flattened({key: value for key, value in shown.items() if key not in groups}))
    return {"Seeds": seeds or [("seeds", "none stored")], **tables, "Run folder": rest}
