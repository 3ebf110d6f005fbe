"""Short forms of schedules against the constructors that they stand for."""

import numpy as np
import pandas as pd
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Curve, Schedule
from eigenflow.forecast.outlook.rest import planned_run
from eigenflow.forecast.outlook.short_forms import asked_schedules

PLAN = Schedule.cosine(total=4000, peak=1e-3, end=1e-4, warmup=100)


@pytest.fixture
def run():
    steps = np.arange(20, 1501, 20)
    return planned_run(Curve("a", steps, 3.0 * steps**-0.1, PLAN))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("cosine", Schedule.cosine(total=4000, peak=1e-3, warmup=100)),
        ("cosine:total=8000,end=0", Schedule.cosine(total=8000, peak=1e-3, warmup=100)),
        ("cosine: total=8e3, min=1e-5, warmup=0, lr=2e-3", Schedule.cosine(total=8000, peak=2e-3, end=1e-5)),
        ("linear", Schedule.linear_to_zero(total=4000, peak=1e-3, warmup=100)),
        ("linear:end=1e-4", Schedule.wsd(total=4000, peak=1e-3, end=1e-4, decay_start=100, warmup=100)),
        ("wsd", Schedule.wsd(total=4000, peak=1e-3, decay_start=3200, warmup=100)),
        ("wsd:decay_fraction=0.1", Schedule.wsd(total=4000, peak=1e-3, decay_start=3600, warmup=100)),
        (
            "wsd:decay_start=3000,decay=sqrt",
            Schedule.wsd(total=4000, peak=1e-3, decay_start=3000, warmup=100, decay="sqrt"),
        ),
        ("constant:peak=5e-4", Schedule.constant(total=4000, peak=5e-4, warmup=100)),
        (
            "multi_step:changes=2000;3000,factors=0.1;0.01",
            Schedule.multi_step(total=4000, peak=1e-3, warmup=100, changes=[2000, 3000], factors=[0.1, 0.01]),
        ),
    ],
)
def test_a_short_form_is_the_schedule_that_it_names(run, text, same):
    ((name, made),) = asked_schedules([text], run).items()
    assert name == text
    np.testing.assert_allclose(made.rates, same.rates, rtol=1e-12)


def test_from_now_keeps_what_was_done_and_begins_at_the_rate_there(run):
    now = PLAN.rates[1499]
    made = asked_schedules(["linear:from=now", "cosine:from=1000,total=2000"], run)
    first, second = made.values()
    np.testing.assert_array_equal(first.rates[:1500], PLAN.rates[:1500])
    np.testing.assert_allclose(first.rates[1500:], now * (1 - np.arange(2500) / 2500), rtol=1e-12)
    assert (first.total, second.total, second.warmup) == (4000, 2000, 100)
    half = 0.5 * PLAN.rates[999] * (1 + np.cos(np.pi * np.arange(1000) / 1000))
    np.testing.assert_allclose(second.rates[1000:], half, rtol=1e-12)


def test_tables_and_schedules_are_taken_too(run, tmp_path):
    rows = {"curve": ["x", "y"], "schedule": "constant", "total_steps": 500, "warmup_steps": 0, "peak_lr": [1e-3, 2e-3]}
    pd.DataFrame(rows).to_csv(tmp_path / "plans.csv", index=False)
    own = Schedule.constant(total=50, peak=1.0)
    found = asked_schedules([str(tmp_path / "plans.csv"), {"mine": own}, own], run)
    assert list(found) == ["x", "y", "mine", own.summary] and found["mine"] is own


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosin", "of kind constant, cosine"),
        ("cosine:totl=5", "must be NAME=VALUE"),
        ("cosine:total", "must be NAME=VALUE"),
        ("cosine:total=no", "`total_steps` must be a number"),
        ("cosine:from=9999", "'now' or a step from 1 to 1,500"),
        ("cosine:from=now,total=100", "must lie beyond step 1,500"),
        ("wsd:decay=slow", "linear, exponential, sqrt"),
        ("cosine:warmup=5000", "warmup"),
    ],
)
def test_a_wrong_short_form_is_named_with_what_is_allowed(run, text, message):
    with pytest.raises(ArgumentError, match=message) as refused:
        asked_schedules([text], run)
    assert text in str(refused.value)
