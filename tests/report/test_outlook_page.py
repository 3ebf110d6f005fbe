"""The page of an answer: what the terminal says stands in it, cautions first; it needs nothing else."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Schedule
from eigenflow.forecast.outlook.picture import outlook_figure
from eigenflow.plots.outlook import plot_outlook, plot_rates_ahead
from eigenflow.report.card import forecast_card
from eigenflow.report.outlook_page import write_outlook_page
from forecast.logs import loss_of
from report.page_tags import Tags, figures, numbers
from report.recorded import SHORT

pytestmark = pytest.mark.long

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


def test_the_page_loads_nothing_and_holds_its_figures(page):
    names = {tag for tag, _ in page.tags}
    assert not names & {"link", "iframe", "object", "img"}
    assert not any("src" in attributes for _, attributes in page.tags)
    assert set(figures(page)) == {"outlook", "rates", "hidden"}
    headings = [name for tag, _ in page.tags for name in [tag] if tag == "h1"]
    assert headings == ["h1"] and "<b>run</b>" in page.text
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    anchors = {attributes.get("id") for _, attributes in page.tags}
    assert links and all(link.startswith("#") and link[1:] in anchors for link in links)


def test_everything_that_the_terminal_says_stands_there_and_cautions_first(found, page):
    text = " ".join(page.text.split())
    places = [text.index(caution) for caution in found.cautions]
    assert found.cautions and max(places) < text.index("How will it end?")
    assert found.end.told in text
    sayings = [found.target.answer, found.checked, found.run.kind, found.run.basis]
    for saying in (*sayings, *(one.verdict for one in found.baselines), *(note for note in found.notes)):
        assert " ".join(saying.split()) in text or " ".join(saying.split())[1:] in text, saying
    for one in found.baselines:
        assert one.end is None or f"ends at {one.end:.4g}" in text


def test_a_part_that_missed_is_warned_of(found, tmp_path):
    def made(checks):
        path = write_outlook_page(replace(found, checks=checks), tmp_path / "page.html", replace=True)
        return " ".join(Tags(path.read_text(encoding="utf-8")).text.split())

    held = tuple(replace(part, lower=0.5 * part.true, upper=2 * part.true) for part in found.checks)
    missed = replace(held[0], lower=1.1 * held[0].true)
    count = len(held)
    assert f"{count} of {count} hidden parts held" in made(held) and "intervals missed" not in made(held)
    told = made((missed, *held[1:]))
    assert f"{count - 1} of {count} hidden parts held" in told and f"1 of {count} intervals missed" in told


def test_figures_hold_the_forecast_its_interval_and_the_rates_in_the_same_colours(found, page):
    drawn = figures(page)
    loss = {trace["name"]: trace for trace in drawn["outlook"]["data"]}
    ahead = found.path.steps >= found.run.last
    shown = {"": found.path.loss, ", lower": found.path.lower, ", upper": found.path.upper}
    for ending, values in shown.items():
        trace = loss[f"forecast, 90 % interval{ending}"]
        np.testing.assert_allclose(numbers(trace["y"]), values[ahead], rtol=SHORT)
        np.testing.assert_array_equal(numbers(trace["x"]), found.path.steps[ahead])
    np.testing.assert_allclose(numbers(loss["logged"]["y"]), found.run.curve.losses, rtol=SHORT)
    rates = {trace["name"]: trace for trace in drawn["rates"]["data"]}
    buttons = {attributes["data-traces"]: attributes for _, attributes in page.tags if "data-traces" in attributes}
    for one in found.endings:
        mine, its = loss[one.name], rates[one.name]
        assert mine["line"]["color"] == its["line"]["color"] == buttons[mine["meta"]["group"]]["data-colour"]
        assert numbers(mine["y"])[-1] == one.end.loss and numbers(mine["x"])[-1] == one.end.step
    asked = [one.name for one in found.endings if one.is_asked]
    assert asked and all(loss[one.name]["visible"] == (one.name in asked) for one in found.endings)


def test_forecasts_of_hidden_parts_are_drawn_over_what_came(found, page):
    fans = [trace for trace in figures(page)["hidden"]["data"] if "customdata" in trace]
    for part, trace in zip(found.checks, fans, strict=True):
        np.testing.assert_array_equal(numbers(trace["y"]), part.path.loss)
        assert int(numbers(trace["x"])[-1]) == part.step
    assert any(trace["visible"] for trace in fans)


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


def test_the_card_tells_the_end_and_draws_its_interval(found):
    figure = forecast_card(found)
    told = [text.get_text() for text in figure.texts]
    assert any(found.end.told in words for words in told) and "<b>run</b>" in told
    fan = figure.axes[0].lines[1]
    assert fan.get_ydata()[-1] == found.end.loss and fan.get_xdata()[-1] == found.run.total
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    np.testing.assert_allclose([band[:, 1].min()], [found.path.lower[found.path.steps >= found.run.last].min()])
