"""Schedules of many kinds are rebuilt from thin logs: time is right to the error that lines between entries make."""

import numpy as np
import pytest

from eigenflow.forecast import Schedule
from eigenflow.forecast.reading.rates.logged_rates import schedule_from_log

WARMUP, TOTAL, PEAK = 200, 4000, 3e-4
K = np.arange(TOTAL)
COMMON = {"total": TOTAL, "warmup": WARMUP, "peak": PEAK}
DOWN = PEAK * (0.55 + 0.45 * np.cos(np.pi * np.maximum(K - WARMUP, 0) / (TOTAL - WARMUP)))

KINDS = {
    "cosine": Schedule.cosine(**COMMON, end=3e-5).rates,
    "restarts of a cosine": Schedule.cyclic(**COMMON, period=500).rates,
    "triangles": Schedule.cyclic(**COMMON, period=400, shape="triangle").rates,
    "restarts of a line": np.where(K < WARMUP, PEAK * K / WARMUP, PEAK * (1 - (K - WARMUP) % 500 / 500)),
    "a second warm-up": np.concatenate(
        [
            Schedule.constant(total=2000, warmup=WARMUP, peak=PEAK).rates,
            Schedule.constant(total=2000, warmup=100, peak=PEAK / 2).rates,
        ]
    ),
    "a second warm-up behind a cosine": np.concatenate(
        [
            Schedule.cosine(total=2000, warmup=WARMUP, peak=PEAK).rates,
            Schedule.cosine(total=2000, warmup=300, peak=PEAK / 2).rates,
        ]
    ),
    "steps": Schedule.multi_step(**COMMON, changes=[1000, 2000, 3000], factors=[0.3, 0.1, 0.03]).rates,
    "a warm-up that counts from one": np.where(K < WARMUP, PEAK * (K + 1) / (WARMUP + 1), DOWN),
    "a warm-up from a positive rate": np.where(K < WARMUP, 3e-5 + 2.7e-4 * K / WARMUP, DOWN),
    "one cycle": np.where(
        K < 1200,
        PEAK * (0.52 - 0.48 * np.cos(np.pi * K / 1200)),
        PEAK * (1 + np.cos(np.pi * (K - 1200) / 2800)) / 2,
    ),
    "inverse root": np.where(K < WARMUP, PEAK * K / WARMUP, PEAK * np.sqrt(WARMUP / np.maximum(K, 1))),
    "a late decay": Schedule.wsd(**COMMON, decay_start=3200).rates,
    "a power": np.where(K < WARMUP, PEAK * K / WARMUP, PEAK * (1 - np.maximum(K - WARMUP, 0) / 3800) ** 0.9),
}


@pytest.mark.parametrize("every", [1, 10, 50, 100])
@pytest.mark.parametrize("name", KINDS)
def test_time_is_rebuilt_from_logs_of_every_spacing(name, every):
    """A line between entries h apart is off by at most h^2 / 8 times the curvature.

    At a peak or a corner it cuts off a triangle of at most h / 8 times the change of slope; the sharpest are the ends
    of cycles of 400 to 500 updates, whose slopes change by less than peak / 50. So rates are off by h / 400 peaks at
    most, and time, which has far fewer corners than updates, by less than a tenth of that.
    """
    rates = KINDS[name]
    steps = np.arange(every, TOTAL + 1, every) if every > 1 else K
    made, _ = schedule_from_log(steps, np.append(rates, rates[-1])[steps], total=TOTAL)
    times = np.concatenate([[0.0], np.cumsum(rates)])
    assert np.abs(made.times - times).max() <= (every / 4000 + 1e-12) * times[-1]
    if "one cycle" not in name:
        assert abs(made.warmup - WARMUP) <= (every // 5 if "positive" in name else 1)


@pytest.mark.parametrize("offset", [1, 0, -1])
def test_a_log_that_ends_within_the_warmup_shows_it(offset):
    """The rates before the first entry are on the line, wherever it begins."""
    k = np.arange(150)
    rates = PEAK * np.maximum(k - offset, 0) / WARMUP
    made, notes = schedule_from_log(k[10::10], rates[10::10], total=141)
    np.testing.assert_allclose(made.rates, rates[:141], rtol=0, atol=1e-15)
    assert made.warmup == 141 and any("ends within the warm-up" in note for note in notes)


def test_a_corner_in_the_first_gap_is_no_jump():
    """Entries every 100 updates, a warm-up of 150: the line through the first entry reaches the plateau at 150."""
    rates = Schedule.constant(total=1000, warmup=150, peak=PEAK).rates
    steps = np.arange(100, 1000, 100)
    made, _ = schedule_from_log(steps, rates[steps], total=901)
    np.testing.assert_allclose(made.rates, rates[:901], rtol=1e-12)
    assert made.warmup == 150


@pytest.mark.parametrize(("change", "every", "found"), [(2000, 10, 2000), (5000, 128, 5000), (5037, 10, 5036)])
def test_a_jump_stands_at_a_round_number_if_its_gap_has_one(change, every, found):
    rates = np.where(np.arange(8000) < change, PEAK, 0.1 * PEAK)
    steps = np.arange(0, 8000, every)
    made, notes = schedule_from_log(steps, rates[steps], total=8000)
    assert int(np.flatnonzero(made.rates < PEAK)[0]) == found
    # At an entry there is nothing to say.
    assert bool(notes) == (found % every != 0)


def test_where_a_decay_begins_behind_the_last_but_one_entry_there_is_no_jump():
    rates = Schedule.wsd(total=1000, peak=PEAK, decay_start=500).rates
    steps = np.arange(0, 541, 20)
    made, notes = schedule_from_log(steps, rates[steps], total=541)
    assert notes == []
    assert np.abs(made.rates - rates[:541]).max() <= 20 * PEAK / 500
