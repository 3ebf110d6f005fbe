"""Names of strangers: text in pictures, no tags in pages, no commands to terminals."""

import io
import re
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from eigenflow.cli.console import claims_table
from eigenflow.core.text import clean
from eigenflow.forecast import Schedule
from eigenflow.forecast.pictures import schedules_figure
from eigenflow.plots.claims import plot_claims
from eigenflow.plots.file import picture_bytes, picture_text, plotly_text
from eigenflow.report import analyse, write_report
from eigenflow.report.comparison import compare
from eigenflow.report.comparison_page import write_comparison
from eigenflow.store import open_run
from eigenflow.theory import Claim, Verdict
from report.recorded import Page, record_run

HOSTILE = [
    "loss_$t^$",
    r"$\frac{$",
    r"\$ and $",
    "$" * 7,
    "a & b < c > d",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "%{x} %{customdata[0]}",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J",
    "line\nbreak\r\x00tab\t",
    "\u202eabc\u202c \u2066x\u2069",
    "_hidden",
    "\u6f22\u5b57 \U0001f642",
    "n" * 5000,
    "",
    " ",
]


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_pictures_draw_every_name_without_a_word(name, kind):
    """Axis titles, legends and ticks; a formula that is none would end the drawing."""
    figure = Figure(layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], [1, 10], label=picture_text(name))
    ax.set_yscale("log")  # its ticks are formulas of matplotlib's own
    ax.set_title(picture_text(name))
    ax.legend()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(picture_bytes(figure, kind)) > 1000


def test_a_dollar_is_shown_as_one_and_an_underscore_hides_nothing():
    figure = Figure()
    ax = figure.subplots()
    ax.plot([0, 1], label=picture_text("_$x$"))
    legend = ax.legend()
    shown = legend.get_texts()[0]
    text, is_formula = shown._preprocess_math(shown.get_text())
    assert (text.strip(), is_formula) == ("_$x$", False)


def test_the_programs_figures_take_such_names():
    schedules = {name: Schedule.constant(total=10, peak=0.1) for name in HOSTILE[:8]}
    assert picture_bytes(schedules_figure(schedules), "png")
    row = Claim("C4", "s", 1.0, (0.5, 1.5), (0.75, 1.25), Verdict.SUPPORTED, "r")
    figure = Figure()
    plot_claims({name: [row] for name in HOSTILE}, ax=figure.subplots())
    assert picture_bytes(figure, "png")


def test_plotly_gets_no_tags_and_no_places_for_numbers():
    assert plotly_text("a<b>&%{x}\x1b[1m") == "a&lt;b&gt;&amp;% {x}"


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_shown_in_a_terminal_steers_nothing(name):
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from eigenflow.cli.console import _Console

    stream = io.StringIO()
    console: Console = _Console(file=stream, force_terminal=True, color_system="standard", width=100)
    console.print(f"[bold red]error:[/] {escape(name)}", soft_wrap=True)
    console.print(f"note: {name}", markup=False)
    table = Table("name")
    table.add_row(escape(name))
    console.print(table)
    console.print(claims_table([Claim("C4", name, 1.0, None, (None, None), Verdict.SUPPORTED, name)]))
    # What is left are the colours of rich itself.
    told = stream.getvalue()
    rest = re.sub(r"\x1b\[[0-9;]*m", "", told)
    assert not any((ord(character) < 32 and character != "\n") or 127 <= ord(character) < 160 for character in rest)
    assert not set(rest) & set("\u202e\u202c\u2066\u2069") and "\x1b[31m" not in told.replace("\x1b[1;31m", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("a\x1bcb", "ab"),
        ("a\r\nb\u2028c", "a  b c"),
        ("\ud800x\u200d\u202e", "x\u200d"),
        ("plain ü", "plain ü"),
    ],
)
def test_cleaning(text, shown):
    assert clean(text) == shown
    assert clean(clean(text)) == shown


def test_lines_stay_where_they_are_wanted():
    assert clean("a\n\x1b[1mb\x07", lines=True) == "a\nb"


@pytest.fixture(scope="module")
def hostile_runs(tmp_path_factory):
    """Two runs whose header and folder say what a stranger likes."""
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    folder = tmp_path_factory.mktemp("runs")
    runs = []
    for index, inner in enumerate(("<b>one", "<i>$t^$ %{x}")):
        header = {
            "config": {"name": evil, "task": {"name": evil, "seed": evil}, "train": {evil: evil, "steps": index}},
            "probe": {"samples": 40, "outputs": 1, "checksum": evil, "parameters": 99, "loss": evil},
            "versions": {evil: evil},
            evil: evil,
        }
        record_run(folder / inner, header=header)
        runs.append(open_run(folder / inner))
    return runs


def _is_harmless(text):
    page = Page(text)
    tags = [(tag, attributes) for tag, attributes in page.elements]
    assert not [tag for tag, _ in tags if tag in ("img", "iframe", "object", "embed", "base", "form")]
    assert not [attributes for _, attributes in tags if any(name.startswith("on") for name in attributes)]
    assert "alert(1)</script>" not in text and "<script>alert" not in text and "<b>one" not in text
    return len([tag for tag, _ in tags if tag == "script"])


@pytest.mark.long
def test_reports_and_comparisons_hold_no_tag_of_a_stranger(hostile_runs, tmp_path):
    record_run(tmp_path / "plain")
    plain = _is_harmless(write_report(analyse(open_run(tmp_path / "plain"))).read_text())
    text = write_report(analyse(hostile_runs[0]), tmp_path / "page.html").read_text()
    assert _is_harmless(text) == plain  # as many scripts as a page without strangers
    found = compare(hostile_runs)
    assert np.isfinite(found.runs[0].loss).all()
    assert _is_harmless(write_comparison(found, tmp_path / "compare.html").read_text())
