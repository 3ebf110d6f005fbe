"""Kinds of schedules from the rates of their first part, against the rates that `Schedule` makes of each kind."""

import numpy as np
import pytest

from eigenflow.forecast import Schedule
from eigenflow.forecast.outlook.recognise import recognise_rates

TOTAL, WARMUP, PEAK = 10_000, 500, 3e-4
UPDATES = np.arange(TOTAL)
RISE = PEAK * np.arange(WARMUP) / WARMUP
COMMON = {"total": TOTAL, "peak": PEAK, "warmup": WARMUP}
MADE = {
    "constant": Schedule.constant(**COMMON),
    "cosine to zero": Schedule.cosine(**COMMON),
    "cosine to a tenth": Schedule.cosine(**COMMON, end=0.1 * PEAK),
    "linear to zero": Schedule.linear_to_zero(**COMMON),
    "WSD, linear": Schedule.wsd(**COMMON, decay_start=3000),
    "WSD, sqrt": Schedule.wsd(**COMMON, decay_start=3000, decay="sqrt"),
    "WSD, exponential": Schedule.wsd(**COMMON, decay_start=3000, end=0.01 * PEAK, decay="exponential"),
    "inverse square root": Schedule.table(np.append(RISE, PEAK * np.sqrt(WARMUP / np.arange(WARMUP, TOTAL)))),
    "exponential": Schedule.table(np.append(RISE, PEAK * 0.9997 ** np.arange(TOTAL - WARMUP))),
    "even steps": Schedule.multi_step(**COMMON, changes=[2000, 4000, 6000, 8000], factors=[0.5, 0.25, 0.125, 0.0625]),
    "cycles": Schedule.cyclic(**COMMON, period=1500),
    "cosine, then its floor": Schedule.table(
        np.append(Schedule.cosine(total=3000, peak=PEAK, end=3e-5, warmup=WARMUP).rates, np.full(7000, 3e-5))
    ),
}


def entries(name, share, every=20, digits=None):
    """Steps and rates as a log of the first part shows them."""
    steps = np.arange(0, round(share * TOTAL), every)
    rates = MADE[name].rates[steps]
    return steps, rates if digits is None else np.array([float(f"{rate:.{digits - 1}e}") for rate in rates])


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("total", [None, TOTAL])
def test_the_later_rates_follow_from_the_first_half(name, total):
    """Corners between two logged rows are known to a row, 20 of 7000 updates; everything else is exact."""
    found = recognise_rates(*entries(name, 0.5), total=total, warmup=WARMUP)
    later = found.rates(TOTAL // 2, TOTAL)
    np.testing.assert_allclose(later, MADE[name].rates[TOTAL // 2 :], atol=2e-3 * PEAK)


@pytest.mark.parametrize("name", ["cosine to zero", "cosine to a tenth", "linear to zero"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_cosine_and_a_line_say_where_they_end(name, share):
    found = recognise_rates(*entries(name, share), warmup=WARMUP)
    assert found.ends == TOTAL and found.knows_its_end
    low, high = found.ends_range
    assert low <= TOTAL <= high


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_rounded_rates_give_a_range_that_holds_the_end(share):
    """A floor of 0.05 is none of those that people use most: with rates of three digits the range must be wider."""
    schedule = Schedule.cosine(**COMMON, end=0.05 * PEAK)
    steps = np.arange(0, round(share * TOTAL), 20)
    rates = np.array([float(f"{rate:.2e}") for rate in schedule.rates[steps]])
    rounded, exact = (recognise_rates(steps, values, warmup=WARMUP) for values in (rates, schedule.rates[steps]))
    assert rounded.kind == "cosine" and rounded.ends_range[0] <= TOTAL <= rounded.ends_range[1]
    assert np.ptp(rounded.ends_range) > np.ptp(exact.ends_range)


def test_rounding_makes_no_steps():
    """The flat top of a cosine of three digits, logged often, is stairs, but too low ones for a schedule of steps."""
    found = recognise_rates(*entries("cosine to zero", 0.2, every=2, digits=3), warmup=WARMUP)
    assert found.kind == "cosine"


def test_a_known_total_decides_between_a_floor_and_a_longer_line():
    schedule = Schedule.wsd(**COMMON, decay_start=WARMUP, end=0.1 * PEAK)
    steps = np.arange(0, 3000, 20)
    alone = recognise_rates(steps, schedule.rates[steps], warmup=WARMUP)
    # Without a total the line goes to 0: at 500 + 9500 / 0.9.
    assert alone.ends == pytest.approx(500 + 9500 / 0.9, abs=1)
    known = recognise_rates(steps, schedule.rates[steps], total=TOTAL, warmup=WARMUP)
    np.testing.assert_allclose(known.rates(3000, TOTAL), schedule.rates[3000:], atol=1e-6 * PEAK)


def test_the_stable_part_of_a_wsd_is_a_constant():
    found = recognise_rates(*entries("WSD, linear", 0.25), total=TOTAL, warmup=WARMUP)
    assert found.kind == "constant" and found.ends is None


def test_warm_up_alone_says_nothing_of_what_follows():
    found = recognise_rates(*entries("cosine to zero", 0.04, every=10), warmup=WARMUP)
    assert found.kind == "warm-up only" and found.shape is None


def test_one_step_does_not_go_on():
    schedule = Schedule.multi_step(**COMMON, changes=[3000], factors=[0.1])
    steps = np.arange(0, 5000, 20)
    found = recognise_rates(steps, schedule.rates[steps], warmup=WARMUP)
    assert found.kind == "steps"
    np.testing.assert_allclose(found.rates(5000, TOTAL), 0.1 * PEAK)


def test_steps_at_uneven_distances_do_not_go_on():
    schedule = Schedule.multi_step(**COMMON, changes=[3000, 4000], factors=[0.1, 0.01])
    steps = np.arange(0, 5000, 20)
    found = recognise_rates(steps, schedule.rates[steps], warmup=WARMUP)
    np.testing.assert_allclose(found.rates(5000, TOTAL), 0.01 * PEAK)


def test_one_cycle_policies_rise_in_a_curve():
    """PyTorch's OneCycleLR: half a cosine up, then half a cosine down."""
    up = 0.04 * PEAK + 0.96 * PEAK * 0.5 * (1 - np.cos(np.pi * np.arange(3000) / 3000))
    down = PEAK * 0.5 * (1 + np.cos(np.pi * np.arange(7000) / 7000))
    rates = np.append(up, down)
    steps = np.arange(0, 6000, 20)
    found = recognise_rates(steps, rates[steps])
    assert found.kind == "cosine" and found.ends == TOTAL
    np.testing.assert_allclose(found.rates(6000, TOTAL), rates[6000:], atol=2e-3 * PEAK)


def test_rates_of_no_kind_are_said_to_be_of_none():
    rng = np.random.default_rng(0)
    steps = np.arange(0, 5000, 50)
    rates = PEAK * (0.6 + 0.4 * rng.uniform(size=len(steps)))
    found = recognise_rates(steps, np.sort(rates)[::-1] * rng.uniform(0.9, 1.0, len(steps)))
    assert found.kind == "unknown" and "misses by" in found.told


def test_a_noisy_choice_is_the_simplest():
    """Of a straight line a cosine with two more numbers would fit the rounding as well."""
    found = recognise_rates(*entries("linear to zero", 0.9, digits=3), warmup=WARMUP)
    assert found.kind == "linear"


@pytest.mark.parametrize("warmup", [0, 290])
def test_a_fall_may_begin_between_two_rows(warmup):
    """A warm-up of 300 updates, not known or known badly, in a log of every 200th; a quarter of the run is seen."""
    schedule = Schedule.cosine(total=15_000, peak=PEAK, end=0.1 * PEAK, warmup=300)
    steps = np.arange(400, 3700, 200)
    found = recognise_rates(steps, schedule.rates[steps], warmup=warmup)
    assert found.ends == 15_000 and found.ends_range[0] <= 15_000 <= found.ends_range[1]
    np.testing.assert_allclose(found.rates(3700, 15_000), schedule.rates[3700:], atol=2e-3 * PEAK)


def test_two_rows_of_a_decay_behind_a_plateau_are_a_line():
    schedule = Schedule.wsd(total=15_000, peak=PEAK, decay_start=3000, warmup=300)
    steps = np.arange(400, 3500, 200)
    found = recognise_rates(steps, schedule.rates[steps], total=15_000, warmup=300)
    assert found.kind == "WSD, linear decay"
    np.testing.assert_allclose(found.rates(3500, 15_000), schedule.rates[3500:], atol=1e-3 * PEAK)


def test_a_steep_decay_in_few_rows_is_no_steps():
    """Each of its rows lies 3 % or more below the one before, behind a plateau of many rows."""
    schedule = Schedule.wsd(total=15_000, peak=PEAK, decay_start=9000, warmup=300)
    steps = np.arange(400, 12_751, 200)
    found = recognise_rates(steps, schedule.rates[steps], warmup=300)
    assert found.kind == "WSD, linear decay" and found.ends == 15_000
    np.testing.assert_allclose(found.rates(12_800, 15_000), schedule.rates[12_800:], atol=1e-3 * PEAK)
