"""What a result prints, tabulates and draws: short, harmless, and the numbers are its own."""

import html.parser
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import eigenflow as ef
from eigenflow.forecast import (
    CurveSet,
    LeaveOneSchedule,
    backtest,
    design_schedule,
    fit_final_loss,
    fit_study,
    noise_floor,
    pooled_fitter,
    profiles,
    recommend,
    score_study,
    worth_of_runs,
)
from eigenflow.forecast.laws.published import PUBLISHED_LAWS
from forecast.logs import SCHEDULES, study

pytestmark = pytest.mark.long

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def results():
    read = ef.read_curves(study(), schedules=SCHEDULES)
    curves = CurveSet(
        tuple(replace(curve, name=EVIL) if curve.name == "cosine" else curve for curve in read),
        (f"a note on {EVIL}", *read.notes),
    )
    made = fit_study(curves, ["transport", "momentum"], starts=1)
    fit = made.fits[0]
    laws = {name: pooled_fitter(PUBLISHED_LAWS[name], starts=1) for name in ("power_steps", "momentum")}
    tested = backtest(curves, laws, [LeaveOneSchedule()])
    predict = fit_final_loss(fit, peak=3e-4, size=25e6, draws=2)
    return {
        "curve": curves[0],
        "curves": curves,
        "schedule": SCHEDULES["cosine"].with_batch(64.0),
        "blocks": SCHEDULES["cosine"].blocks,
        "fit": fit,
        "fit without priors": made.fits[1],
        "intervals": fit.intervals,
        "certificate": fit.certificate,
        "study": made,
        "study per size": fit_study(read, ["momentum"], per_size=True, starts=1),
        "forecast": fit.predict(SCHEDULES["two_stage"], size=4e8, every=100),
        "design": design_schedule(predict, steps=600, peak=3e-4, blocks=4, starts=2, iterations=5),
        "backtest": tested,
        "case": tested.cases[0],
        "recommendation": recommend(tested.scores(), np.random.default_rng(0)),
        "scores": score_study(made, curves),
        "score": score_study(made, curves)[0],
        "profile": profiles(fit, curves.curves, ["a"])[0],
        "candidate": worth_of_runs(fit, {EVIL: SCHEDULES["constant"]}, SCHEDULES["cosine"], size=25e6)[0],
        "noise": noise_floor(curves[0].steps, curves[0].losses),
    }


NAMES = (
    "curve", "curves", "schedule", "blocks", "fit", "fit without priors", "intervals", "certificate", "study",
    "study per size", "forecast", "design", "backtest", "case", "recommendation", "scores", "score", "profile",
    "candidate", "noise",
)  # fmt: skip


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", NAMES)
def test_a_result_fits_a_screen_and_its_html_is_harmless(results, name):
    lines = repr(results[name]).splitlines()
    assert 1 <= len(lines) <= 15 and max(map(len, lines)) <= 110
    assert "array(" not in repr(results[name]) and " object at " not in repr(results[name])
    shown = Tags(results[name]._repr_html_())
    assert shown.tags <= {"div", "strong", "table", "tr", "th", "td"}
    assert lines[0].removesuffix("...") in shown.text


@pytest.mark.parametrize("name", ["curves", "candidate"])
def test_the_name_of_a_stranger_is_in_the_page_as_text(results, name):
    assert EVIL in Tags(results[name]._repr_html_()).text and "<img" not in results[name]._repr_html_()


def test_every_printed_result_was_asked_for(results):
    assert set(NAMES) == set(results)


def test_a_curve_tells_its_ends_and_tabulates_its_points(results):
    curve = results["curves"][1]
    told = repr(curve)
    for number in (f"{curve.losses[0]:.4g}", f"{curve.losses[-1]:.4g}", str(curve.steps[-1]), str(len(curve))):
        assert number in told
    table = curve.to_dataframe()
    np.testing.assert_array_equal(table["loss"], curve.losses)
    np.testing.assert_array_equal(table["step"], curve.steps)
    assert len(results["curves"].to_dataframe()) == sum(len(one) for one in results["curves"])
    assert set(results["curves"].to_dataframe()["curve"]) == {one.name for one in results["curves"]}


def test_the_older_name_of_a_table_still_works_and_says_so(results):
    for one in (results["curve"], results["curves"]):
        with pytest.warns(DeprecationWarning, match="`to_dataframe`"):
            table = one.to_frame()
        assert table.equals(one.to_dataframe())


def test_a_schedule_tells_its_rates(results):
    schedule = results["schedule"]
    assert f"{schedule.peak:g}" in repr(schedule) and f"{schedule.rates.sum():g}" in repr(schedule)
    table = schedule.to_dataframe()
    np.testing.assert_array_equal(table["learning_rate"], schedule.rates)
    np.testing.assert_allclose(table["time"], np.cumsum(schedule.rates) - schedule.rates, atol=1e-15)
    assert (table["batch"] == 64).all()


@pytest.mark.parametrize("name", ["fit", "fit without priors"])
def test_a_fit_tells_every_parameter_with_its_interval_and_what_is_open(results, name):
    fit, told = results[name], repr(results[name])
    for row in fit.parameters[: len(fit.law.parameters)]:
        line = next(line for line in told.splitlines() if line.split()[0] == row["name"])
        assert f"{row['value']:.3g} [{row['lower']:.3g}, {row['upper']:.3g}]" in line
    assert fit.status.value in told and str(fit.prior or "none") in told
    table = fit.to_dataframe()
    for column in ("name", "value", "lower", "upper", "unit"):
        assert table[column].tolist() == [row[column] for row in fit.parameters]
    # The share of the variance that is gone is 3/4 where half of the width is; without a prior nothing can be halved.
    with_prior = np.isfinite(fit.prior_sd)
    is_open = np.array([row["learned"] <= 0.75 for row in fit.parameters])
    np.testing.assert_array_equal((~table["is_identified"])[with_prior], is_open[with_prior])
    assert all(name in fit.covariates.names for name in fit.not_identified)


def test_a_study_has_a_line_for_each_fit(results):
    made = results["study"]
    for fit in made.fits:
        error = 100 * np.sqrt(np.mean(np.concatenate(fit.residuals) ** 2))
        line = next(line for line in repr(made).splitlines() if line.split()[0] == fit.law.name)
        assert f"{error:.3g} %" in line and fit.status.value in line
    table = made.to_dataframe()
    assert table["value"].tolist() == [row["value"] for fit in made.fits for row in fit.parameters]
    assert set(results["study per size"].to_dataframe()["size"]) == {25e6, 100e6}


def test_a_forecast_tells_its_last_loss_with_its_interval(results):
    found = results["forecast"]
    ends = f"{found.loss[-1]:.5g} [{found.lower[-1]:.5g}, {found.upper[-1]:.5g}] at step {found.steps[-1]}"
    assert ends in repr(found).splitlines()[1]
    table = found.to_dataframe()
    for column, values in (("step", found.steps), ("loss", found.loss), ("lower", found.lower), ("upper", found.upper)):
        np.testing.assert_array_equal(table[column], values)


def test_a_design_tells_its_gain(results):
    design = results["design"]
    for rival in design.rivals:
        assert f"{rival.gain:.3g} [{rival.gain_lower:.3g}, {rival.gain_upper:.3g}]" in repr(design)
        assert f"{np.median(rival.loss):.5g}" in repr(rival)
        np.testing.assert_array_equal(design.to_dataframe()[rival.name], rival.schedule.rates)
    assert f"{np.median(design.loss):.5g}" in repr(design) and design.status.value in repr(design)
    np.testing.assert_array_equal(design.to_dataframe()["learning_rate"], design.schedule.rates)


def test_backtests_and_scores_tell_their_means(results):
    tested = results["backtest"]
    assert tested.to_dataframe().drop(columns="cpu_s").equals(tested.scores().drop(columns="cpu_s"))
    for law, own in tested.scores().groupby("law"):
        line = next(line for line in repr(tested).splitlines() if line.split()[0] == law)
        assert f"MAE {own['mae'].mean():.3g}" in line and f"{own['coverage'].mean():.0%}" in line
    scores = results["scores"]
    assert scores.to_dataframe()["mae"].tolist() == [row.mae for row in scores] and len(scores[:2]) == 2
    choice = results["recommendation"]
    assert f"{choice.advantage:.3g} [{choice.interval[0]:.3g}, {choice.interval[1]:.3g}]" in repr(choice)
    assert choice.law in repr(choice).splitlines()[0]


def test_results_draw_themselves_into_the_axes_that_are_given(results):
    for name in ("curve", "curves", "schedule", "fit", "study", "forecast", "design", "profile"):
        figure = Figure()
        ax = figure.subplots()
        assert results[name].plot(ax) is ax and len(ax.lines) >= 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure.canvas.draw()
    fan = results["forecast"].plot(Figure().subplots())
    np.testing.assert_array_equal(fan.lines[0].get_ydata(), results["forecast"].loss)
    dots = results["curve"].plot(Figure().subplots())
    np.testing.assert_array_equal(dots.lines[0].get_ydata(), results["curve"].losses)


def test_a_result_makes_axes_of_its_own_if_none_are_given(results):
    import matplotlib.pyplot as plt

    ax = results["forecast"].plot()
    assert ax.figure.number in plt.get_fignums()
    plt.close(ax.figure)


def test_the_face_is_light():
    """Curves need no store, no network and no picture; the faces hold what docs and users name."""
    heavy = "{'zarr', 'xarray', 'torch', 'matplotlib', 'plotly'}"
    code = f"import sys, eigenflow.forecast, eigenflow.scaling; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.rejects
def test_a_fit_without_its_curves_says_that_it_cannot_be_drawn(results):
    fit = results["fit"]
    with pytest.raises(ef.core.errors.ArgumentError, match="no curves behind its intervals"):
        fit.at(fit.theta).plot(Figure().subplots())
