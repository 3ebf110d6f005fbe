"""The page of a forecast: what stands in it is what was computed, it needs nothing else, and it replaces nothing."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import eigenflow as ef
from eigenflow.core.display import at_level
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import LeaveOneSchedule, backtest, fit_study, pooled_fitter, profiles, recommend
from eigenflow.forecast.evaluation.selection import LEAST_HELD
from eigenflow.forecast.fitting.identification import RISE, Profile
from eigenflow.forecast.laws.published import PUBLISHED_LAWS
from eigenflow.forecast.pictures import profiles_figure
from eigenflow.plots import bounds_text, plot_allocation, plot_profile
from eigenflow.report.forecast_page import ForecastPage, write_forecast_page
from forecast.logs import SCHEDULES, study
from report.page_tags import Tags, figures, numbers
from report.recorded import SHORT

pytestmark = pytest.mark.long

AHEAD = ef.Schedule.cosine(total=3000, warmup=100, peak=3e-4)


@pytest.fixture(scope="module")
def page():
    curves = ef.read_curves(study(), schedules=SCHEDULES).select(size=25e6)
    made = fit_study(curves, starts=1)
    found = made.predict(AHEAD, every=10)
    columns = {"step": found.steps, "loss": found.loss, "lower": found.lower, "upper": found.upper}
    laws = {name: pooled_fitter(PUBLISHED_LAWS[name], starts=1) for name in ("power_steps", "momentum")}
    scores = backtest(curves, laws, [LeaveOneSchedule()]).scores()
    return ForecastPage(
        made,
        "my <fit>.json",
        pd.DataFrame({"curve": "a & b", **columns}),
        {"a & b": AHEAD},
        25e6,
        profiles(made.fits[0], curves.curves, ["a", "q"]),
        scores,
        recommend(scores, np.random.default_rng(0)),
        ("something <could> not be done",),
    )


@pytest.fixture(scope="module")
def written(page, tmp_path_factory):
    path = write_forecast_page(page, tmp_path_factory.mktemp("page") / "forecast.html")
    return Tags(path.read_text(encoding="utf-8"))


def test_the_page_loads_nothing_and_holds_its_figures(written):
    names = {tag for tag, _ in written.tags}
    assert not names & {"link", "iframe", "object", "img"}
    assert not any("src" in attributes for _, attributes in written.tags)
    assert set(figures(written)) == {"forecasts", "rates", "fits", "residuals", "profiles"}
    links = [attributes["href"] for tag, attributes in written.tags if tag == "a"]
    anchors = {attributes.get("id") for _, attributes in written.tags}
    assert links and all(link.startswith("#") and link[1:] in anchors for link in links)


def test_figures_hold_the_forecast_and_the_measured_points(page, written):
    drawn = figures(written)
    fan = {trace["name"]: trace for trace in drawn["forecasts"]["data"]}
    shown = {"a &amp; b": "loss", "a &amp; b, lower": "lower", "a &amp; b, upper": "upper"}
    for name, column in shown.items():
        np.testing.assert_allclose(numbers(fan[name]["y"]), page.forecasts[column], rtol=SHORT)
    dots = [trace for trace in drawn["fits"]["data"] if trace["mode"] == "markers"]
    for trace, curve in zip(dots, page.study.curves, strict=True):
        np.testing.assert_allclose(numbers(trace["y"]), curve.losses, rtol=SHORT)
    rates = {trace["name"]: numbers(trace["y"]) for trace in drawn["rates"]["data"]}
    assert rates["a &amp; b"].max() == pytest.approx(AHEAD.peak, rel=0.01)  # drawn within a tolerance of the peak


def test_the_first_answers_tell_the_end_the_law_and_the_number_behind_it(page, written):
    last = page.forecasts.iloc[-1]
    text = " ".join(written.text.split())
    assert at_level(last["loss"], last["loss"]) in text[text.index("How will it end?") :][:120]
    chosen = page.recommendation
    assert f"{chosen.law}, {'' if chosen.is_clear else 'not '}clearly ahead: " in text
    assert f"{chosen.advantage:.2f} times its score" in text
    held = [share for share in chosen.coverage.values() if share < LEAST_HELD]
    assert bool(held) == ("Missed:" in text)


def test_tables_hold_the_numbers_that_were_computed(page, written):
    values = [float(attributes["data-value"]) for _, attributes in written.tags if "data-value" in attributes]
    assert page.forecasts is not None and page.scores is not None
    assert page.forecasts["loss"].iloc[-1] in values
    for row in page.study.fits[0].parameters:
        assert row["value"] in values
    for _, own in page.scores.groupby("law"):
        for column in ("final_error", "mae", "coverage", "winkler"):
            assert own[column].abs().mean() in values
    assert set(page.recommendation.ranking.values()) <= set(values)
    for words in ("my <fit>.json", "a & b", "something <could> not be done", page.recommendation.reason[1:]):
        assert words in written.text
    assert bounds_text(page.profiles[0].lower, page.profiles[0].upper) in written.text


def test_the_same_results_make_the_same_page(page, tmp_path):
    one, other = (write_forecast_page(page, tmp_path / name).read_bytes() for name in ("one.html", "other.html"))
    assert one == other


def test_a_page_of_a_bare_fit_says_what_it_has_not(page, tmp_path):
    path = write_forecast_page(ForecastPage(page.study, "fit.json"), tmp_path / "bare.html")
    bare = Tags(path.read_text(encoding="utf-8"))
    assert "No backtest was made" in bare.text and "Forecasts from fit.json" in bare.text
    assert not any(attributes.get("id") in ("forecasts", "plan") for _, attributes in bare.tags)


@pytest.mark.rejects
def test_nothing_is_replaced_and_no_folder_is_made_unasked(page, tmp_path):
    there = tmp_path / "there.html"
    there.write_text("mine")
    with pytest.raises(ArgumentError, match="exists already"):
        write_forecast_page(page, there)
    assert there.read_text() == "mine"
    with pytest.raises(ArgumentError, match="there is no folder"):
        write_forecast_page(page, tmp_path / "nowhere" / "page.html")
    with pytest.raises(ArgumentError, match="is a folder"):
        write_forecast_page(page, tmp_path)
    assert write_forecast_page(page, there, replace=True).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_profile_is_drawn_through_the_ends_of_its_interval():
    """A parabola in ln(value), rise = (ln v)^2 / 2 / s^2: its 90 % ends are exp(+-1.645 s)."""
    sd = 0.1
    inner = np.array([-4.0, -1.6, 0.0, 1.6, 4.0]) * sd
    end = float(np.sqrt(2 * RISE)) * sd
    one = Profile("a", np.exp(inner), 0.5 * (inner / sd) ** 2, float(np.exp(-end)), float(np.exp(end)))
    ends = one.lower, one.upper
    ax = plot_profile("a", one.values, one.rise, ends, ax=Figure().subplots(), level=RISE, unit="nats")
    curve = ax.lines[0]
    for at in (one.lower, one.upper):
        # 400 points over 0.8: the curve is a hundredth of the level off at most.
        assert np.interp(at, curve.get_xdata(), curve.get_ydata()) == pytest.approx(RISE, rel=0.01)
    assert ax.get_xlabel() == "a [nats]" and ax.get_title(loc="left") == "0.848 to 1.18"


@pytest.mark.parametrize(
    ("lower", "upper", "words"),
    [(None, None, "open on both sides"), (None, 2.0, "below 2, open"), (0.5, None, "above 0.5, open")],
)
def test_a_profile_that_stays_flat_is_called_open(page, lower, upper, words):
    one = Profile("b", np.array([0.01, 1.0, 20.0]), np.array([0.1, 0.0, 0.2]), lower, upper)
    figure = profiles_figure(
        [one], ef.fit_law(ef.read_curves(study(), schedules=SCHEDULES).select(size=25e6), starts=1)
    )
    ax = figure.axes[0]
    assert ax.get_title(loc="left") == words and ax.get_xscale() == "log"


def test_an_allocation_is_drawn_with_its_interval():
    flops, best = np.array([1e18, 1e20, 1e22]), np.array([1e8, 1e9, 1e10])
    ax = plot_allocation(flops, best, best / 2, 2 * best, ax=Figure().subplots(), what="tokens D")
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(5e7) and band[:, 1].max() == pytest.approx(2e10)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), best)
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "log", "tokens D")
    assert re.search("FLOP", ax.get_xlabel())
