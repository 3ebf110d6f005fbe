"""Forecasts of every step against the law summed over every update: pieces of the schedule and nodes in between."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Schedule, fit_law
from eigenflow.forecast.fitting.path import forecast_nodes, forecast_steps
from eigenflow.forecast.laws import History
from forecast.summed_law import summed_over_updates
from forecast.synthetic_runs import three

TOTAL = 30_000
COMMON = {"total": TOTAL, "peak": 3e-4, "warmup": 1500}
SCHEDULES = {
    "cosine": Schedule.cosine(**COMMON, end=3e-5),
    "without warm-up": Schedule.cosine(total=TOTAL, peak=3e-4),
    "late decay": Schedule.wsd(**COMMON, decay_start=29_000),
    "1-sqrt": Schedule.wsd(**COMMON, decay_start=24_000, decay="sqrt"),
    "multi-step": Schedule.multi_step(**COMMON, changes=[10_000, 20_000], factors=[0.3, 0.05]),
    "cyclic": Schedule.cyclic(**COMMON, end=3e-5, period=7500),
}


@pytest.fixture(scope="module")
def fit():
    return fit_law(three(0), starts=1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_forecast_of_every_step_is_the_law_summed_over_updates(name, fit):
    """The goal is 5e-5 of ln(loss) anywhere; steps are drawn at random, more of them early, late and at changes."""
    schedule = SCHEDULES[name]
    found = fit.predict(schedule)
    rng = np.random.default_rng(1)
    sharp = np.flatnonzero(np.abs(np.diff(schedule.rates)) > 1e-6) + 1
    near = sharp[:, None] + np.array([-1, 0, 1, 2, 5, 30, 200]) if len(sharp) < 10 else np.zeros(0)
    drawn = np.concatenate([rng.integers(0, len(found.steps), 60), np.arange(12), len(found.steps) - np.arange(1, 8)])
    picked = np.unique(np.concatenate([drawn, np.searchsorted(found.steps, near.ravel())]).astype(int))
    picked = picked[picked < len(found.steps)]
    law_theta = fit.covariates.own(fit.theta, None, schedule.peak)[0]
    h = History(found.steps[picked], schedule.rates)
    expected = np.log(summed_over_updates(law_theta, h, fit.law.reference, feedback=True))
    assert np.abs(np.log(found.loss[picked]) - expected).max() < 5e-5


@pytest.mark.parametrize("name", SCHEDULES)
def test_nodes_are_few_and_hold_both_ends(name):
    steps = np.arange(1500, TOTAL + 1)
    nodes = forecast_nodes(SCHEDULES[name].rates, steps)
    assert nodes[0] == 1500
    assert nodes[-1] == TOTAL
    assert len(nodes) < 900


def test_steps_end_with_the_run():
    assert forecast_steps(100, 0, 30, None).tolist() == [30, 60, 90, 100]
    assert forecast_steps(100, 40, 20, None).tolist() == [40, 60, 80, 100]
    assert forecast_steps(100, 40, 1000, None).tolist() == [100]


@pytest.mark.rejects
def test_spacing_below_one_step_is_refused():
    with pytest.raises(ArgumentError, match=r"`every` must be a whole number of steps in .1, .* but is 0"):
        forecast_steps(100, 0, 0, None)
