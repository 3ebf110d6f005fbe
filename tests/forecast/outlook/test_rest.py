"""The rest of a run: how long it will be, and what is assumed, for logs that say it in different ways."""

from dataclasses import replace

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Curve, Schedule
from eigenflow.forecast.outlook.rest import planned_run

TOTAL, WARMUP, PEAK = 4000, 100, 1e-3
COSINE = Schedule.cosine(total=TOTAL, peak=PEAK, end=1e-4, warmup=WARMUP)


def known_part(schedule, last, *, planned=None, every=20):
    """A curve as a log of the first part gives it: its schedule ends where the log does, as a table of rates."""
    steps = np.arange(every, last + 1, every)
    seen = Schedule(schedule.rates[:last], min(schedule.warmup, last))
    return Curve("a", steps, 3.0 * steps**-0.1, seen, planned_total=planned)


@pytest.mark.parametrize("planned", [None, TOTAL])
def test_a_cosine_goes_on_as_it_was_made(planned):
    run = planned_run(known_part(COSINE, 1500, planned=planned))
    assert (run.total, run.last, run.is_finished, run.cautions) == (TOTAL, 1500, False, ())
    np.testing.assert_array_equal(run.schedule.rates[:1500], COSINE.rates[:1500])
    np.testing.assert_allclose(run.schedule.rates[1500:], COSINE.rates[1500:], atol=1e-3 * PEAK)
    assert run.schedule.warmup == WARMUP


def test_what_the_user_says_stands_above_what_the_log_says():
    run = planned_run(known_part(COSINE, 1500, planned=TOTAL), total=6000)
    assert run.total == 6000 and "as given by" in run.basis
    # The logged rates are those of a cosine to 4000; beyond it they stay where it ended.
    np.testing.assert_allclose(run.schedule.rates[4500:], 1e-4, rtol=1e-3)


def test_without_any_word_twice_of_what_was_seen_is_assumed_and_said():
    schedule = Schedule.constant(total=TOTAL, peak=PEAK, warmup=WARMUP)
    run = planned_run(known_part(schedule, 1500))
    assert run.total == 3000 and run.is_assumed
    (caution,) = run.cautions
    assert "does not say how long" in caution and "--total" in caution
    assert "stable part of a WSD" in run.kind


def test_a_log_up_to_its_total_has_finished():
    assert planned_run(known_part(COSINE, TOTAL)).is_finished
    assert planned_run(known_part(COSINE, TOTAL - 15, planned=TOTAL)).is_finished
    # A whole row could still come, so the run is still under way.
    assert not planned_run(known_part(COSINE, TOTAL - 40, planned=TOTAL)).is_finished


def test_rates_that_came_to_their_end_say_that_the_run_has():
    """A cosine down to its floor has no more to come, though no number says so."""
    run = planned_run(known_part(Schedule.cosine(total=TOTAL, peak=PEAK, warmup=WARMUP), TOTAL))
    assert run.is_finished and run.total == TOTAL and not run.cautions


def test_a_prolonged_run_is_not_held_to_its_old_total():
    schedule = Schedule.constant(total=TOTAL, peak=PEAK)
    run = planned_run(known_part(schedule, 2000, planned=1000))
    assert run.total == 4000 and any("prolonged" in caution for caution in run.cautions)


def test_a_table_of_schedules_is_taken_as_it_is():
    curve = replace(known_part(COSINE, 1500), schedule=COSINE)
    run = planned_run(curve)
    assert run.schedule is COSINE and "table" in run.basis
    assert planned_run(curve, total=3000).schedule == COSINE.until(3000)


def test_after_warm_up_alone_the_last_rate_is_held_and_said():
    run = planned_run(known_part(COSINE, 80, planned=TOTAL, every=4))
    assert run.total == TOTAL
    np.testing.assert_array_equal(run.schedule.rates[80:], COSINE.rates[79])
    assert any("warm-up only" in caution for caution in run.cautions)


def test_unknown_rates_are_said_first():
    schedule = Schedule.constant(total=TOTAL, peak=1.0)
    run = planned_run(known_part(schedule, 1500, planned=TOTAL), knows_rates=False)
    assert run.cautions[0].startswith("the log shows no learning rates") and run.total == TOTAL


def test_batch_sizes_go_on():
    curve = known_part(COSINE, 1500, planned=TOTAL)
    curve = replace(curve, schedule=curve.schedule.with_batch([8.0, 16.0], [0, 700]))
    run = planned_run(curve)
    assert run.schedule.batch is not None and run.schedule.batch[-1] == 16.0 and len(run.schedule.batch) == TOTAL


@pytest.mark.rejects
def test_a_total_before_the_end_of_the_log_is_refused():
    with pytest.raises(ArgumentError, match=r"`total` must be .* at least 1,500.*is 1,000"):
        planned_run(known_part(COSINE, 1500), total=1000)


@pytest.mark.parametrize(("unit", "total", "words"), [("epoch", 4000, "epochs"), ("interval", 3000, "logged rows")])
def test_rows_are_no_updates(unit, total, words):
    """A total of updates says nothing of a log that counts its rows; a log that counts epochs may say its total."""
    schedule = Schedule.constant(total=TOTAL, peak=PEAK)
    run = planned_run(replace(known_part(schedule, 1500, planned=TOTAL), step_unit=unit))
    assert (run.total, run.unit) == (total, words)
