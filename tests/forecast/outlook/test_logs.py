"""One answer to a log, against the closed form that its losses are made of, and against the fits behind it."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Schedule
from eigenflow.forecast.outlook.checks import last_value
from eigenflow.forecast.outlook.logs import _others, planned_runs, read_logs
from eigenflow.forecast.outlook.targets import target_of
from forecast.logs import SCHEDULES, loss_of, rows, study

pytestmark = pytest.mark.long

TOTAL, KNOWN = 4000, 1600
PLAN = Schedule.cosine(total=TOTAL, peak=3e-4, end=3e-5, warmup=100)
NOISE = 1e-3


def log_of(schedule, last, *, seed=0, every=16, noise=NOISE):
    """A log of the first part of a run; its loss is the closed form of `forecast.logs`, with independent noise."""
    rng = np.random.default_rng(seed)
    steps = np.arange(every, last + 1, every)
    losses = loss_of(schedule, steps) * np.exp(noise * rng.normal(size=len(steps)))
    return pd.DataFrame({"step": steps, "loss": losses, "lr": schedule.rates[np.minimum(steps, schedule.total - 1)]})


@pytest.fixture(scope="module")
def found():
    return ef.forecast_logs(log_of(PLAN, KNOWN), target=2.2, what_if=["cosine:end=0", "linear:from=now,total=3000"])


def test_the_end_is_that_of_the_closed_form(found):
    """The truth has another form than the law, so its interval is asked, and an error of 2 %."""
    assert (found.run.total, found.run.last, found.run.is_finished) == (TOTAL, KNOWN, False)
    truth = loss_of(PLAN, np.array([TOTAL]))[0]
    assert found.end.loss == pytest.approx(truth, rel=0.02)
    assert found.end.step == TOTAL and found.end.lower < found.end.loss < found.end.upper


def test_the_end_is_that_of_the_fit_under_the_recognised_schedule(found):
    by_hand = ef.fit_law(found.curves).predict(found.run.schedule)
    assert found.end.loss == pytest.approx(by_hand.loss[-1], rel=1e-6)
    assert found.end.upper == pytest.approx(by_hand.upper[-1], rel=1e-6)
    np.testing.assert_allclose(found.run.schedule.rates, PLAN.rates, atol=1e-3 * PLAN.peak)


def test_asked_schedules_stand_first_and_differences_are_those_of_the_ends(found):
    asked = [one for one in found.endings if one.is_asked]
    assert [one.name for one in asked] == ["cosine:end=0", "linear:from=now,total=3000"]
    assert list(found.endings[:2]) == asked and asked[1].end.step == 3000
    np.testing.assert_allclose(asked[0].schedule.rates, Schedule.cosine(total=TOTAL, peak=PLAN.peak, warmup=100).rates)
    for one in found.endings:
        assert one.difference == pytest.approx(one.end.loss - found.end.loss, abs=1e-12)
        assert one.lower < one.difference < one.upper
        np.testing.assert_allclose((one.lower + one.upper) / 2, one.difference, rtol=1e-9)
    names = {one.name for one in found.endings} - {one.name for one in asked}
    assert names == {"cosine from now", "linear to zero from now", "WSD from now", "the rate held"}


def test_what_is_asked_is_not_told_twice():
    """The straight line from now on is among the usual endings."""
    curves = read_logs(log_of(PLAN, KNOWN))
    names = list(_others(planned_runs(curves)[1], ["linear:from=now"])[0])
    assert names == ["linear:from=now", "cosine from now", "WSD from now", "the rate held"]


def test_the_answer_draws_itself(found):
    ax = found.plot(Figure().subplots())
    assert ax.get_ylabel() == "loss [nats]" and len(ax.containers) == len(found.endings)


def test_endings_go_on_from_the_rate_that_the_run_has(found):
    now = PLAN.rates[KNOWN - 1]
    made = {one.name: one.schedule.rates for one in found.endings}
    left = np.arange(TOTAL - KNOWN) / (TOTAL - KNOWN)
    for rates in made.values():
        # Before the first row the log is silent, and a cosine of two ends at its first rows is read to a thousandth.
        np.testing.assert_allclose(rates[200:KNOWN], PLAN.rates[200:KNOWN], atol=0.12 * PLAN.peak)
    np.testing.assert_allclose(made["linear to zero from now"][KNOWN:], now * (1 - left), rtol=1e-3)
    np.testing.assert_allclose(made["cosine from now"][KNOWN:], 0.5 * now * (1 + np.cos(np.pi * left)), rtol=1e-3)
    stable = made["WSD from now"][KNOWN : TOTAL - TOTAL // 5]
    np.testing.assert_allclose(stable, now, rtol=1e-3)
    assert made["WSD from now"][-1] < 0.01 * now


def test_the_target_is_where_the_path_crosses_it(found):
    target, path = found.target, found.path
    assert not target.is_reached and target.earliest <= target.step
    # The path has a point at this step, at or below the target, and none below it before.
    at = int(np.flatnonzero(path.steps == target.step)[0])
    assert target.step > KNOWN
    assert path.loss[at] <= 2.2 < path.loss[at - 1]
    for step, part in ((target.earliest, path.lower), (target.latest, path.upper)):
        assert step == path.steps[(path.steps > KNOWN) & (part <= 2.2)][0]


def test_a_target_that_the_log_did_not_reach_lies_ahead(found):
    """The band of the law holds this level before the end of the log, the running median of the log does not."""
    level = 0.999 * float(log_of(PLAN, KNOWN).loss.rolling(5).median().min())
    assert (found.path.lower[found.path.steps <= KNOWN] <= level).any()
    target = target_of(level, found.run, found.path, found.fit, (), None)
    assert not target.is_reached and target.earliest > KNOWN


def test_hidden_parts_are_forecast_from_what_stood_before_them(found):
    """Truth and last value by hand, from the log."""
    log = log_of(PLAN, KNOWN)
    assert [part.hidden for part in found.checks] == ["rest after 25 %", "rest after 50 %"]
    for part, share in zip(found.checks, (0.25, 0.5), strict=True):
        hidden = log.loss[log.step > share * KNOWN]
        count = max(1, round(0.05 * len(hidden)))
        assert part.true == pytest.approx(np.exp(np.log(hidden[-count:]).mean()), rel=1e-9)
        known = log.loss[log.step <= share * KNOWN]
        count = max(1, round(0.05 * len(known)))
        assert part.others["last value"] == pytest.approx(np.exp(np.log(known[-count:]).mean()), rel=1e-9)
    (last,) = [one for one in found.baselines if one.name == "last value"]
    assert last.error == pytest.approx(np.mean([abs(part.miss_of("last value")) for part in found.checks]))
    assert last.end == pytest.approx(last_value(found.run.curve)) and last.law_error < last.error


def test_the_answer_prints_itself_in_fifteen_lines_and_as_a_table(found):
    assert len(repr(found).splitlines()) <= 15 and "after 4,000 updates" in repr(found)
    table = found.to_dataframe()
    assert list(table["name"][:3]) == ["plan", "cosine:end=0", "linear:from=now,total=3000"]
    assert table["loss"][0] == found.end.loss and np.isnan(table["difference"][0])
    for part in (found.run, found.end, found.target, found.endings[0], found.checks[0], *found.baselines, *found.runs):
        assert 1 <= len(repr(part).splitlines()) <= 15


def test_a_finished_run_is_said_to_be_one_and_others_are_whole_runs():
    found = ef.forecast_logs(log_of(PLAN, TOTAL))
    assert found.run.is_finished and "has finished" in repr(found)
    names = [one.name for one in found.endings]
    assert names == ["cosine to zero", "WSD", "linear to zero", "constant", "2 times as many updates"]
    longer = found.endings[-1]
    assert longer.end.step == 2 * TOTAL and longer.end.loss < found.end.loss
    truth = loss_of(Schedule.cosine(total=TOTAL, peak=PLAN.peak, warmup=100), np.array([TOTAL]))[0]
    assert found.endings[0].end.loss == pytest.approx(truth, rel=0.01)
    assert all(one.end is None for one in found.baselines)


def test_without_rates_a_constant_one_is_assumed_and_no_ending_is_told():
    log = log_of(Schedule.constant(total=TOTAL, peak=1.0), KNOWN).drop(columns="lr")
    found = ef.forecast_logs(log, total=TOTAL)
    assert found.endings == () and found.run.total == TOTAL
    assert any("shows no learning rates" in caution for caution in found.cautions)
    with pytest.raises(ArgumentError, match=r"`what_if` cannot be answered.*learning_rate=NAME"):
        ef.forecast_logs(log, what_if="cosine")


def test_the_log_says_how_long_the_run_will_be(tmp_path):
    """`max_steps` of a trainer's state, and a column of totals."""
    log = log_of(Schedule.constant(total=TOTAL, peak=1e-3), KNOWN)
    entries = [
        {"step": int(s), "loss": float(y), "learning_rate": 1e-3} for s, y in zip(log.step, log.loss, strict=True)
    ]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": entries, "max_steps": 2500}))
    with_column = log.assign(total_steps=2500)
    for source in (tmp_path / "trainer_state.json", with_column):
        (plan,), chosen = planned_runs(read_logs(source, warmup=0))
        assert chosen is plan and (plan.total, plan.basis) == (2500, "the log says it")


def test_several_runs_are_fitted_together_and_the_one_under_way_is_chosen():
    unfinished = rows("cosine")
    unfinished = unfinished[unfinished.step <= 1000]
    table = pd.concat([unfinished, rows("two_stage"), rows("constant")])
    found = ef.forecast_logs(table, schedules=SCHEDULES)
    assert found.run.curve.name == "cosine" and len(found.runs) == 3 and not found.sizes
    truth = loss_of(SCHEDULES["cosine"], np.array([2400]))[0]
    assert found.end.loss == pytest.approx(truth, rel=0.005)
    hidden = {part.hidden for part in found.checks}
    assert "leave one schedule out" in hidden
    other = ef.forecast_logs(table, schedules=SCHEDULES, run="constant")
    assert other.run.curve.name == "constant" and other.run.is_finished
    with pytest.raises(ArgumentError, match="`run` must be the name of a run, cosine, two_stage, constant"):
        ef.forecast_logs(table, schedules=SCHEDULES, run="none")


def test_several_sizes_give_larger_ones():
    found = ef.forecast_logs(study(), schedules=SCHEDULES, run="cosine (100M)")
    assert [one.size for one in found.sizes] == [2e8, 4e8]
    for one in found.sizes:
        truth = loss_of(SCHEDULES["cosine"], np.array([2400]), size=one.size / 1e6)[0]
        # Two sizes fix level and slope in the size; its curvature is left to the law's form.
        assert one.end.loss == pytest.approx(truth, rel=0.02)


def test_runs_that_share_no_law_are_not_fitted_together():
    """One run's loss is that of another task: ten times as large, and hardly falling."""
    other = log_of(SCHEDULES["constant"], 2400).assign(curve="other")
    other["loss"] = 20.0 * other["loss"] ** 0.1
    table = pd.concat([log_of(PLAN, KNOWN).assign(curve="run"), other])
    found = ef.forecast_logs(table, run="run")
    assert any("do not share one law" in caution for caution in found.cautions)
    assert found.end.loss == pytest.approx(loss_of(PLAN, np.array([TOTAL]))[0], rel=0.02)


@pytest.mark.parametrize(
    ("target", "words"), [(2.4, "was reached at step"), (2.05, "a run of the same kind|nor with|never"), (0.5, "never")]
)
def test_a_target_that_is_far_is_answered_in_words(found, target, words):
    """The closed form never falls below 2, and ends at 2.15."""
    answer = target_of(target, found.run, found.path, found.fit, (), None).answer
    assert re.search(words, answer)


def test_a_log_has_reached_a_target_when_its_running_median_has(found):
    """One low point of a noisy log does not count."""
    target = target_of(2.4, found.run, found.path, found.fit, (), None)
    log = log_of(PLAN, KNOWN)
    median = log.loss.rolling(5).median()
    assert target.is_reached and target.step == log.step[median <= 2.4].iloc[0]


def test_few_points_are_said():
    found = ef.forecast_logs(log_of(PLAN, KNOWN, every=200))
    assert len(found.run.curve) == 8 and any("8 points are few" in caution for caution in found.cautions)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"total": 100}, "`total` must be .* at least 1,600"),
        ({"total": 0}, "`total`"),
        ({"what_if": "x"}, "`what_if`"),
        ({"what_if": 5}, "`what_if` must be a short form"),
        ({"what_if": [5]}, "`what_if` must hold short forms"),
        ({"target": -1.0}, "`target`"),
        ({"target": "low"}, "`target`"),
        ({"law": "none"}, "Unknown law"),
        ({"seed": "a"}, "`seed`"),
    ],
)
def test_a_wrong_argument_is_named(argument, message):
    with pytest.raises(ArgumentError, match=message):
        ef.forecast_logs(log_of(PLAN, KNOWN), **argument)
