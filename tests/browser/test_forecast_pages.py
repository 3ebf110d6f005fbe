"""The pages of a forecast, opened in a real browser: light and dark, wide and narrow, on paper; what a reader does."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.forecast import LeaveOneSchedule, backtest, fit_study, pooled_fitter, profiles, recommend
from eigenflow.forecast.laws.published import PUBLISHED_LAWS
from eigenflow.report.forecast_page import ForecastPage, write_forecast_page
from eigenflow.report.outlook_page import write_outlook_page
from eigenflow.scaling import allocate, fit_scaling, read_scaling_table
from forecast.logs import SCHEDULES, study

LOGS = Path(__file__).parents[2] / "examples" / "logs"
HOSTILE = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>%{x}"
WIDTHS = [1400, 768, 390]
SEEN = """
const plot = document.querySelector(`#figure-${arguments[0]} .plot`);
return plot.data.filter((trace) => trace.meta && trace.meta.group === arguments[1]).map((trace) => trace.visible);
"""


@pytest.fixture(scope="module")
def answer():
    curves = ef.read_curves(LOGS / "curves.csv", schedules=LOGS / "schedules.csv")
    known = curves.select(names=["constant_8000"], size=25e6)
    return ef.forecast_logs(known, total=16_000, what_if="wsd:decay_fraction=0.1", target=3.3)


@pytest.fixture(scope="module")
def outlook(answer, tmp_path_factory):
    return write_outlook_page(answer, tmp_path_factory.mktemp("page") / "outlook.html")


def fitted(names):
    """A fit of two laws with forecasts under schedules of these names, a backtest, profiles and a plan."""
    curves = ef.read_curves(study(), schedules=SCHEDULES).select(size=25e6)
    made = fit_study(curves, ["transport", "momentum"], starts=1)
    schedules = dict(zip(names, SCHEDULES.values(), strict=False))
    paths = {name: made.predict(schedule, every=20) for name, schedule in schedules.items()}
    table = pd.concat([path.to_dataframe().assign(curve=name) for name, path in paths.items()])
    laws = {name: pooled_fitter(PUBLISHED_LAWS[name], starts=1) for name in ("power_steps", "momentum")}
    scores = backtest(curves, laws, [LeaveOneSchedule()]).scores()
    found = profiles(made.fits[0], curves.curves, ["L_inf", "a", "b"])
    runs = fit_scaling(read_scaling_table(LOGS / "runs.csv"))
    plan = allocate(runs, np.geomspace(1e19, 1e22, 5)), runs
    choice = recommend(scores, np.random.default_rng(0))
    return ForecastPage(made, "fit.json", table, schedules, 25e6, found, scores, choice, plan=plan)


@pytest.fixture(scope="module")
def forecast(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "forecast.html"
    return write_forecast_page(fitted(["cosine", "constant", "two_stage"]), path)


@pytest.fixture(params=["outlook", "forecast"])
def page(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_is_drawn_and_no_text_lies_on_another(browser, page, width, scheme):
    browser.open(page, width=width, scheme=scheme)
    browser.unfold()
    assert browser.run("return document.querySelectorAll('.plot[data-spec]').length") >= 3
    browser.require_clean(width)


@pytest.mark.parametrize("width", [1400, 390])
def test_the_first_screen_answers(browser, outlook, answer, width):
    browser.open(outlook, width=width, height=1000)
    asked = browser.run("return [...document.querySelectorAll('.answer dt')].map((one) => one.innerText)")
    assert asked[:3] == ["How will it end?", "What could be done instead?", "How far can this be trusted?"]
    assert asked[3:] == ["When is 3.3 reached?"]
    assert answer.end.told in browser.run("return document.getElementById('answer-end').innerText")
    assert browser.run("return document.getElementById('answer-trust').getBoundingClientRect().bottom") <= 1000


def test_a_schedule_is_shown_and_hidden_in_loss_and_rates_alike(browser, outlook, answer):
    browser.open(outlook)
    button = browser.run(
        "const one = document.querySelector('button[data-traces^=what][aria-pressed=false]'); return one.dataset.traces"
    )
    for is_shown in (True, False):
        browser.run(f"document.querySelector('button[data-traces={button}]').click()")
        browser.settle()
        assert set(browser.run(SEEN, "outlook", button)) == set(browser.run(SEEN, "rates", button)) == {is_shown}
    browser.run(f"document.querySelector('button[data-traces={button}]').click()")
    browser.resize(500)
    browser.settle()
    assert set(browser.run(SEEN, "rates", button)) == {True}  # also where another window draws anew


def test_hidden_parts_are_shown_when_asked_for(browser, outlook):
    browser.open(outlook)
    assert set(browser.run(SEEN, "outlook", "hidden")) == {False}
    browser.run("document.querySelector('button[data-traces=hidden]').click()")
    browser.settle()
    assert set(browser.run(SEEN, "outlook", "hidden")) == {True}


def test_missed_parts_are_marked_and_seen_at_first(browser, outlook, answer):
    browser.open(outlook)
    missed = [not part.holds for part in answer.checks]
    marked = browser.run(
        "return [...document.querySelectorAll('button[data-traces^=part]')]"
        ".map((one) => [one.querySelector('.missed') !== null, one.getAttribute('aria-pressed') === 'true'])"
    )
    assert [one for one, _ in marked] == missed
    assert [one for _, one in marked] == (missed if any(missed) else [True] + [False] * (len(missed) - 1))


def test_hovering_over_a_step_marks_it_in_loss_and_rates_and_tells_the_interval(browser, outlook):
    browser.open(outlook)
    browser.hover("outlook", 0.9)
    browser.wait("return document.querySelector('#figure-outlook .hoverlayer').textContent !== ''")
    over = "return [...document.querySelectorAll('.cursor')].map((line) => line.closest('figure').id.slice(7))"
    assert set(browser.run(over)) == {"outlook", "rates"}  # no hidden part lies ahead of the log
    told = browser.run("return document.querySelector('#figure-outlook .hoverlayer').textContent")
    assert "step" in told and "90 %" in told
    browser.hover("outlook", 0.4)
    browser.wait("return document.querySelectorAll('.cursor').length === 3")
    assert set(browser.run(over)) == {"outlook", "rates", "hidden"}


def test_a_zoom_outlives_a_button(browser, outlook):
    browser.open(outlook)
    browser.run(
        "return Plotly.relayout(document.querySelector('#figure-outlook .plot'), {'xaxis.range': [6000, 12000]})"
    )
    browser.run("document.querySelector('button[data-traces=hidden]').click()")
    browser.settle()
    kept = "return document.querySelector('#figure-outlook .plot')._fullLayout.xaxis.range.map((x) => x)"
    assert browser.run(kept) == [6000, 12000]


def test_terms_lead_to_the_glossary(browser, page):
    browser.open(page)
    assert not browser.run("return document.getElementById('glossary').open")
    browser.run("document.querySelector('a.term').click()")
    browser.wait("return document.getElementById('glossary').open")
    assert browser.run(
        "const links = [...document.querySelectorAll('a.term')].map((one) => one.getAttribute('href'));"
        "return links.length > 5 && links.every((one) => document.querySelector(one))"
    )


def test_names_do_not_run(browser, tmp_path, answer):
    steps = np.arange(20, 1601, 20)
    log = pd.DataFrame({"curve": HOSTILE, "step": steps, "loss": 2 + 4 / steps**0.4, "lr": 3e-4})
    browser.open(write_outlook_page(ef.forecast_logs(log, warmup=0), tmp_path / "outlook.html"))
    assert browser.run("return document.title") != "ran"
    assert browser.run("return document.querySelectorAll('h1 *, .plot img').length") == 0
    browser.open(write_forecast_page(fitted([HOSTILE]), tmp_path / "forecast.html"))
    assert browser.run("return document.title") != "ran"
    assert browser.run("return document.querySelectorAll('.plot img, td img').length") == 0
    legend = browser.run("return document.querySelector('#figure-rates .legend').textContent")
    assert "<script>" in legend  # its words, as they are
    assert browser.errors() == []


def test_paper_is_short(browser, page, tmp_path):
    browser.open(page, scheme="dark")
    pdf = browser.printed(tmp_path / "page.pdf").read_bytes()
    pages = pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") + pdf.count(b"/Type/Page/")
    assert 1 <= pages <= 12


def test_a_page_is_light(page):
    assert page.stat().st_size < 6e6
