"""The report of a run as one self-contained HTML file.

Nothing in it is loaded: plotly.js, style and figures stand in the file, and its content security policy
forbids the browser to fetch anything.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from eigenflow.core.judged import beside_last
from eigenflow.core.writing import write_whole
from eigenflow.plots.card import write_card
from eigenflow.report.answers import Next, advice, answers, what_next
from eigenflow.report.figures.figure import Figure
from eigenflow.report.figures.first import first_figure
from eigenflow.report.page import render_page
from eigenflow.report.run_card import run_card
from eigenflow.report.sections import Picture, pictures
from eigenflow.report.summary import Analysis
from eigenflow.report.words import flattened, headlines, statement
from eigenflow.store import Run, record_size
from eigenflow.theory.claim_words import CLAIM_WORDS
from eigenflow.theory.verdicts import Claim

__all__ = ["write_report"]

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
    card: Path | None = None,
    **timings: float,
) -> Path:
    """Write the report of an analysed run: figures, verdicts, forecasts with scores, configuration.

    Args:
        analysis: As from `analyse`.
        path: The file to write, in a folder that exists. By default `report.html` in the run folder.
        replace: Whether an existing file may be replaced; the run folder's own report always may.
        refresh_s: Seconds after which a browser shall load the page again, for a run that goes on; None for never.
        card: A PNG of 1200 x 630 pixels to write beside it, for sharing; `replace` holds for it too.
        timings: Seconds by name, shown beside those of the analysis itself.

    Returns:
        The path of the file, about 5 MB of which plotly.js takes nearly all.
    """
    coming = None if card is None else what_next(analysis.run, analysis.forecasts)
    text = _render(analysis, timings, coming)
    if card is not None and coming is not None:
        told = answers(analysis, coming, advice(analysis, coming))
        write_card(run_card(analysis, coming, told, name=_name(analysis)), card, replace=replace)
    if refresh_s is not None:
        text = text.replace(CHARSET, f'{CHARSET}\n<meta http-equiv="refresh" content="{refresh_s:.0f}">', 1)
    if path is None:
        return analysis.run.write_text(NAME, text)
    return write_whole(path, text, replace=replace)


def _name(analysis: Analysis) -> str:
    config = analysis.run.header.get("config")
    name = config.get("name") if isinstance(config, Mapping) else None
    return str(name or analysis.run.path.resolve().name)


def _render(analysis: Analysis, timings: Mapping[str, float], coming: Next | None = None) -> str:
    run = analysis.run
    coming = coming or what_next(run, analysis.forecasts)
    advised = advice(analysis, coming)
    first = _first(run, coming)
    drawn = {"first": Picture("first", first, _first_caption(coming))} | pictures(analysis)
    return render_page(
        "report.html.j2",
        kind="report",
        title=_name(analysis),
        path=run.path.resolve().name,  # its whole path would tell whoever the page is sent to where it lay
        answers=answers(analysis, coming, advised),
        advised=advised,
        statement=statement(run),
        headlines=headlines(analysis),
        analysis=analysis,
        claims=_by_claim(analysis.claims),
        deciders={row.claim: row.decided_by or row.claim for row in analysis.claims},
        statements={row.claim: row.statement for row in analysis.claims},
        words=CLAIM_WORDS,
        pictures=drawn,
        setup=_setup(run),
        timings={**timings, "analyse_s": analysis.wall_s},
    )


def _by_claim(claims: Sequence[Claim]) -> list[tuple[str, list[tuple[Claim, bool]]]]:
    """Rows of each claim, the whole first, with whether each is the first of those beside it."""
    found: dict[str, list[tuple[Claim, bool]]] = {}
    for row, is_first in beside_last(claims):
        found.setdefault(row.claim.split(".")[0], []).append((row, is_first))
    return list(found.items())


def _first(run: Run, coming: Next) -> Figure:
    if coming.ahead is not None:
        return first_figure(run, coming.ahead, name="forecast, as far off as before")
    return first_figure(run, None if coming.law is None or coming.law.run.is_finished else coming.law.path)


def _first_caption(coming: Next) -> str:
    if coming.ahead is not None:
        return (
            "Trained loss as logged (at most 800 rows drawn), the loss on the probe at each measurement, and the run "
            "carried on by its modes as they were measured last, at its last rate. The band is as wide as the same was "
            "off on this run itself, from earlier cuts."
        )
    if coming.found is None:
        return f"No forecast: {coming.why_not.rstrip('.')}."
    if coming.found.run.is_finished:
        return "The rates of this run are used up, so nothing is forecast."
    if coming.law is None:
        return "No forecast: the law that forecasts losses missed every part of this log that was hidden from it."
    return (
        f"Trained loss as logged (at most 800 rows drawn), the loss on the probe at each measurement, and the forecast "
        f"of the rest with its 90 % interval, which holds parameters, noise, misfit and other laws. Rates to come: "
        f"{coming.law.run.kind}."
    )


def _setup(run: Run) -> dict[str, list[tuple[str, str]]]:
    """The run's header as titled tables; seeds are gathered once more, because a repetition needs them."""
    shown = {key: value for key, value in run.header.items() if key not in _HIDDEN}
    groups = {key: value for key, value in shown.items() if isinstance(value, Mapping)}
    order = [*(key for key in _TITLES if key in groups), *(key for key in groups if key not in _TITLES)]
    tables = {_TITLES.get(key, key): list(flattened(groups[key])) for key in order}
    seeds = [row for row in flattened(groups) if row[0].split(".")[-1] in ("seed", "seeds")]
    rest = list(flattened({key: value for key, value in shown.items() if key not in groups}))
    return {
        "Seeds": seeds or [("seeds", "none stored")],
        **tables,
        "Run folder": [*rest, ("size", str(record_size(run.path)))],
    }
