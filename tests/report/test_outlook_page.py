"""The page of an answer: what the terminal says stands in it, cautions first; it needs nothing else."""

import base64

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Schedule
from eigenflow.forecast.outlook.picture import outlook_figure
from eigenflow.plots.outlook import plot_outlook, plot_rates_ahead
from eigenflow.report.outlook_page import write_outlook_page
from forecast.logs import loss_of
from report.page_tags import Tags

PLAN = Schedule.constant(total=1600, peak=3e-4, warmup=100)


@pytest.fixture(scope="module")
def found():
    """Without a total, so that there is something to be careful about; of a run with a name that must be escaped."""
    steps = np.arange(20, 1601, 20)
    log = pd.DataFrame({"curve": "<b>run</b>", "step": steps, "loss": loss_of(PLAN, steps), "lr": 3e-4})
    return ef.forecast_logs(log, target=2.3, what_if="wsd:decay_fraction=0.1", warmup=100)


@pytest.fixture(scope="module")
def page(found, tmp_path_factory):
    path = write_outlook_page(found, tmp_path_factory.mktemp("page") / "answer.html")
    return Tags(path.read_text(encoding="utf-8"))


def test_the_page_loads_nothing_and_runs_nothing(page):
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "b"}
    sources = [attributes["src"] for _, attributes in page.tags if "src" in attributes]
    assert len(sources) == 1 and sources[0].startswith("data:image/svg+xml;base64,")
    drawn = base64.b64decode(sources[0].partition(",")[2])
    assert b"<svg" in drawn and b"<script" not in drawn
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    anchors = {attributes.get("id") for _, attributes in page.tags}
    assert links and all(link.startswith("#") and link[1:] in anchors for link in links)


def test_everything_that_the_terminal_says_stands_there_and_cautions_first(found, page):
    text = " ".join(page.text.split())
    places = [text.index(caution) for caution in found.cautions]
    assert found.cautions and max(places) < text.index(found.headline)
    sayings = [found.target.answer, found.checked, found.run.kind, found.run.basis]
    for saying in (*sayings, *(one.verdict for one in found.baselines), *(note for note in found.notes)):
        assert " ".join(saying.split()) in text or " ".join(saying.split())[1:] in text, saying


def test_tables_hold_the_numbers_that_were_computed(found, page):
    values = [float(attributes["data-value"]) for _, attributes in page.tags if "data-value" in attributes]
    wanted = [found.end.loss, *(one.end.loss for one in found.endings), *(one.difference for one in found.endings)]
    wanted += [part.law for part in found.checks] + [part.true for part in found.checks]
    assert set(wanted) <= set(values)


def test_a_page_is_not_replaced_unless_that_is_wanted_and_equal_answers_make_equal_pages(found, tmp_path):
    first = write_outlook_page(found, tmp_path / "a.html").read_bytes()
    with pytest.raises(ArgumentError, match="exists"):
        write_outlook_page(found, tmp_path / "a.html")
    assert write_outlook_page(found, tmp_path / "a.html", replace=True).read_bytes() == first


def test_the_picture_shows_the_forecast_from_where_the_log_ends(found):
    loss, rates = outlook_figure(found).axes
    solid = next(line for line in loss.lines if str(line.get_label()).startswith("forecast"))
    assert solid.get_xdata()[0] == found.run.last and solid.get_xdata()[-1] == found.run.total
    np.testing.assert_allclose(solid.get_ydata()[-1], found.end.loss)
    names = {str(line.get_label()) for line in rates.lines}
    assert {"plan", *(one.name for one in found.endings)} <= names
    low, high = loss.get_ylim()
    assert all(low < edge < high for one in found.endings for edge in (one.end.lower, one.end.upper))


def test_plots_take_arrays_and_give_back_their_axes():
    steps = np.arange(1, 11)
    ax = Figure().subplots()
    drawn = plot_outlook(
        (steps[:5], 3.0 / steps[:5]), steps, 3.0 / steps, 2.9 / steps, 3.1 / steps,
        ends=[("$x_", 10, 0.3, 0.2, 0.4)], ahead=steps >= 5, ax=ax, target=0.25,
    )  # fmt: skip
    assert drawn is ax and ax.get_ylabel() == "loss [nats]"
    below = Figure().subplots()
    edges = np.array([0, 5, 10])
    assert plot_rates_ahead({"plan": (edges, np.array([1.0, 0.5]))}, 5, ax=below) is below
