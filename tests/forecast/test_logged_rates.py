"""Schedules rebuilt from logged learning rates, compared with the schedules that made the logs."""

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.forecast import Schedule
from eigenflow.forecast.reading.rates.logged_rates import schedule_from_log
from rounding import SEEDS, last_bits

PEAK, WARMUP, TOTAL = 3e-4, 2160, 24_000
COSINE = Schedule.cosine(total=TOTAL, warmup=WARMUP, peak=PEAK, end=3e-5)


def logged(schedule, steps):
    return np.append(schedule.rates, schedule.rates[-1])[steps]


@pytest.mark.parametrize("every", [1, 10, 128])
def test_a_smooth_schedule_is_rebuilt_from_thin_logs(every):
    """A line between entries h apart is off by at most h^2 / 8 times the cosine's curvature, (pi / T)^2 / 2 * "
    "2.7e-4."""
    steps = np.arange(0, TOTAL, every)
    made, notes = schedule_from_log(steps, logged(COSINE, steps), total=int(steps[-1]) + 1)
    bound = every**2 / 8 * (np.pi / (TOTAL - WARMUP)) ** 2 / 2 * 2.7e-4
    # In the gap with the corner, the first entry after it stands for the plateau: off by the cosine's fall in one gap.
    bound = max(bound, 2.7e-4 * (np.pi * every / (TOTAL - WARMUP)) ** 2 / 4)
    assert np.abs(made.rates - COSINE.rates[: made.total]).max() <= bound + 1e-18
    assert made.warmup == pytest.approx(WARMUP, abs=1) and notes == []


def test_logs_that_start_after_warmup_say_what_is_assumed():
    steps = np.arange(2176, TOTAL, 128)
    held, notes = schedule_from_log(steps, logged(COSINE, steps), total=TOTAL)
    assert held.rates[0] == COSINE.rates[2176] and "pass `warmup`" in notes[0]
    told, notes = schedule_from_log(steps, logged(COSINE, steps), total=TOTAL, warmup=WARMUP)
    # The true ramp ends at the peak; 16 updates of cosine before the first entry were not logged.
    np.testing.assert_allclose(told.rates[:WARMUP], COSINE.rates[:WARMUP], rtol=1e-5)
    assert told.warmup == WARMUP and "after the warm-up" in notes[0]


@pytest.mark.parametrize(("extra", "off"), [([8000], 0), ([], 65)])
def test_a_jump_stands_where_the_log_shows_it_or_in_the_middle(extra, off):
    """The multi-power law's tables log the step of the change although it is off their grid."""
    two = Schedule.two_stage(total=16_000, warmup=WARMUP, peak=PEAK, end=9e-5, change=8000)
    steps = np.union1d(np.arange(0, 16_000, 128), np.array(extra, dtype=np.int64))
    made, notes = schedule_from_log(steps, logged(two, steps), total=16_000)
    differ = np.abs(made.rates[2400:] - two.rates[2400:]) > 1e-12
    assert differ.sum() <= off
    assert set(np.unique(np.round(made.rates[2400:], 12))) == {PEAK, 9e-5}  # no rate in between
    assert bool(notes) == (not extra)


@pytest.mark.parametrize("digits", [5, 6, 9])
def test_rounded_rates_lose_little_time(digits):
    """Rates known to half a unit q of a decimal put time off by less than q / 2 an update; stairs are smoothed: "
    "less."""
    steps = np.arange(0, TOTAL, 10)
    made, notes = schedule_from_log(steps, np.round(logged(COSINE, steps), digits), total=TOTAL)
    assert np.abs(made.rates - COSINE.rates).max() <= 0.75 * 10.0**-digits
    assert abs(made.times[-1] - COSINE.times[-1]) <= 0.02 * 10.0**-digits * TOTAL
    assert any("rounded to" in note for note in notes) == (digits < 9)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_plateau_that_varies_by_rounding_ends_the_warmup(seed):
    steps = np.arange(0, 1000, 10)
    rates = PEAK * np.minimum(steps / 200, 1.0)
    made, _ = schedule_from_log(steps, np.where(steps > 200, last_bits(rates, seed), rates), total=991)
    assert made.warmup == 200
    np.testing.assert_allclose(made.rates, PEAK * np.minimum(np.arange(991) / 200, 1.0), rtol=1e-12)


def test_gaps_of_a_log_are_bridged():
    steps = np.concatenate([np.arange(0, 6000, 50), np.arange(15_000, TOTAL, 50)])
    made, _ = schedule_from_log(steps, logged(COSINE, steps), total=TOTAL)
    assert np.abs(made.rates - COSINE.rates[:TOTAL]).max() <= 9000**2 / 8 * (np.pi / 21_840) ** 2 / 2 * 2.7e-4


def test_a_curve_longer_than_its_log_of_rates_keeps_the_last_rate():
    frame = pd.DataFrame(
        {"step": np.arange(0, 100, 10), "loss": np.linspace(3, 2, 10), "lr": [1e-3] * 8 + [np.nan] * 2}
    )
    assert ef.read_curves(frame)[0].schedule.total == 90


# 60 entries of a fall to 0 from 6e-4 lie 1e-5 apart: a round number at every spacing.
ROUND = {
    "linear": lambda every: np.linspace(6e-4, 0.0, 61 * every)[: 60 * every],
    "exactly linear": lambda every: 6e-4 * (1.0 - np.arange(60 * every) / (60 * every)),
    "cosine": lambda every: 3e-4 * (1.0 + np.cos(np.pi * np.arange(60 * every) / (60 * every))),
    "wsd": lambda every: 6e-4 * np.minimum(1.0, 1.2 * (1.0 - np.arange(72 * every) / (72 * every))),
    "warm-up and linear": lambda every: np.minimum(
        6e-4 * np.arange(72 * every) / (12 * every), 6e-4 * (1.0 - (np.arange(72 * every) / every - 12) / 60)
    ),
}


@pytest.mark.parametrize("every", [10, 20, 50])
@pytest.mark.parametrize("name", ROUND)
def test_exact_rates_are_not_called_rounded(name, every):
    """Straight lines between exact entries are the schedule itself, but for the cosine's curvature and the corner."""
    rates = ROUND[name](every)
    steps = np.arange(0, len(rates), every)
    made, notes = schedule_from_log(steps, rates[steps], total=int(steps[-1]))
    assert not [note for note in notes if "rounded" in note]
    if name != "cosine":
        np.testing.assert_allclose(made.rates, rates[: steps[-1]], rtol=0, atol=1e-15)


@pytest.mark.parametrize("every", [2, 5])
@pytest.mark.parametrize("name", ROUND)
def test_rates_that_are_rounded_in_the_log_are_said_to_be(name, every):
    """A spacing at which several entries show one value, as only rounding to 1e-5 makes them."""
    rates = ROUND[name](20)
    steps = np.arange(0, len(rates), every)
    made, notes = schedule_from_log(steps, np.round(rates[steps], 5), total=int(steps[-1]))
    assert any("rounded to 1e-05" in note for note in notes)
    assert np.abs(made.rates - rates[: steps[-1]]).max() <= 0.75e-5
