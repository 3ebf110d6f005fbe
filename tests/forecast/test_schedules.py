"""Schedules against their formulas written out, and against learning rates that published runs logged."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.forecast import Schedule
from rounding import SEEDS, last_bits

PEAK, END = 3e-4, 3e-5

SCHEDULES = {
    "constant": Schedule.constant(total=500, warmup=20, peak=PEAK),
    "cosine": Schedule.cosine(total=500, warmup=20, peak=PEAK, end=END),
    "wsd_linear": Schedule.wsd(total=500, warmup=20, peak=PEAK, end=END, decay_start=400),
    "wsd_exponential": Schedule.wsd(total=500, warmup=20, peak=PEAK, end=END, decay_start=400, decay="exponential"),
    "wsd_sqrt": Schedule.wsd(total=500, warmup=20, peak=PEAK, decay_start=400, decay="sqrt"),
    "two_stage": Schedule.two_stage(total=500, warmup=20, peak=PEAK, end=END, change=300),
    "multi_step": Schedule.multi_step(total=500, warmup=20, peak=PEAK, changes=[400, 450], factors=[0.316, 0.1]),
    "linear_to_zero": Schedule.linear_to_zero(total=500, warmup=20, peak=PEAK),
    "cyclic": Schedule.cyclic(total=500, warmup=20, peak=PEAK, end=END, period=96),
    "triangle": Schedule.cyclic(total=500, peak=PEAK, end=END, period=50, shape="triangle"),
    "table": Schedule.table(np.linspace(1e-3, 1e-4, 77)),
    "steps": Schedule.from_steps([0, 30, 70], [1e-3, 5e-4, 1e-4], total=100),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


def test_cosine_is_the_one_that_published_runs_logged():
    """Rates logged at some steps of the multi-power law's run `cosine_24000`; they have seven digits."""
    logged = {
        2160: 3e-4,
        2288: 2.999771e-4,
        2416: 2.999085e-4,
        12016: 1.855814e-4,
        16624: 9.912087e-5,
        23920: 3.000894e-5,
    }
    schedule = Schedule.cosine(total=24_000, warmup=2160, peak=PEAK, end=END)
    for step, rate in logged.items():
        # Half a unit of the last logged digit (1e-10 above 1e-4, 1e-11 below).
        assert schedule.rates[step] == pytest.approx(rate, abs=0.51e-10 if rate >= 1e-4 else 0.51e-11)


@pytest.mark.parametrize("decay", ["linear", "exponential", "sqrt"])
def test_decays_have_their_formulas(decay):
    schedule = Schedule.wsd(total=24_000, warmup=2160, peak=PEAK, end=END, decay_start=20_000, decay=decay)
    done = 1000 / 4000
    expected = {
        "linear": 0.75 * PEAK + 0.25 * END,
        "exponential": PEAK * (END / PEAK) ** done,
        "sqrt": PEAK - (PEAK - END) * 0.5,
    }
    assert schedule.rates[21_000] == pytest.approx(expected[decay], rel=1e-14)
    assert schedule.rates[1080] == pytest.approx(PEAK / 2, rel=1e-14)
    assert np.all(schedule.rates[2160:20_001] == PEAK)


def test_stages_change_at_the_named_update():
    """Row 8000 of the multi-power law's `wsdcon_9` shows the new rate already."""
    two = Schedule.two_stage(total=16_000, warmup=2160, peak=PEAK, end=9e-5, change=8000)
    assert (two.rates[7999], two.rates[8000], two.rates[-1]) == (PEAK, 9e-5, 9e-5)
    three = SCHEDULES["multi_step"]
    assert three.rates[[399, 400, 449, 450]] == pytest.approx(PEAK * np.array([1, 0.316, 0.316, 0.1]), rel=1e-15)


def test_cycles_return_to_the_peak():
    cosine, triangle = SCHEDULES["cyclic"], SCHEDULES["triangle"]
    assert cosine.rates[[20, 116, 212]] == pytest.approx([PEAK] * 3, rel=1e-14)
    assert triangle.rates[[0, 25, 50, 75]] == pytest.approx([PEAK, END, PEAK, END], rel=1e-14)


@pytest.mark.parametrize(
    ("schedule", "time"),
    [
        # Sums in closed form: ramp 0 ... (w - 1) / w; arithmetic series; the cosine's own sum cancels but for 1/2.
        (SCHEDULES["constant"], PEAK * (19 / 2 + 480)),
        (SCHEDULES["linear_to_zero"], PEAK * (19 / 2 + 481 / 2)),
        (SCHEDULES["cosine"], PEAK * 19 / 2 + 480 * (PEAK + END) / 2 + (PEAK - END) / 2),
        (SCHEDULES["two_stage"], PEAK * (19 / 2 + 280) + END * 200),
    ],
)
def test_intrinsic_time_is_the_sum_in_closed_form(schedule, time):
    assert schedule.times[-1] == pytest.approx(time, rel=1e-13)
    assert schedule.times[0] == 0 and len(schedule.times) == schedule.total + 1


@every_schedule
def test_round_trip_through_json_is_exact(schedule):
    again = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule and np.array_equal(again.rates, schedule.rates)
    batched = schedule.with_batch([64, 128], [0, 10])
    assert Schedule.from_dict(json.loads(json.dumps(batched.to_dict()))) == batched != schedule


@every_schedule
@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.2])
def test_blocks_cover_every_update_and_keep_time(schedule, tolerance):
    blocks = schedule.blocks_within(tolerance)
    spread = np.repeat(blocks.rates, np.diff(blocks.edges))
    assert len(spread) == schedule.total
    assert np.abs(spread - schedule.rates).max() <= tolerance * schedule.peak
    np.testing.assert_allclose(blocks.times, schedule.times[blocks.edges], rtol=1e-12)
    if tolerance:
        rises = np.abs(np.diff(schedule.rates)).sum() / (tolerance * schedule.peak)
        assert len(blocks.rates) <= rises + 1


@given(cut=st.integers(2, 500), name=st.sampled_from(["cosine", "multi_step", "cyclic"]))
def test_first_part_then_the_rest_is_the_whole(cut, name):
    whole = SCHEDULES[name]
    first = whole.until(cut)
    assert np.array_equal(first.rates, whole.rates[:cut])
    if cut < whole.total:
        rest = Schedule.table(whole.rates[cut:], warmup=0)
        assert np.array_equal(first.then(rest).rates, whole.rates)


def test_a_branch_keeps_the_constant_run_as_its_history():
    trunk = Schedule.constant(total=1000, warmup=100, peak=1e-3)
    cooldown = Schedule.linear_to_zero(total=200, peak=1e-3)
    direct = Schedule.wsd(total=800, warmup=100, peak=1e-3, decay_start=600)
    np.testing.assert_allclose(trunk.until(600).then(cooldown).rates, direct.rates, rtol=0, atol=1e-18)


def test_a_sparse_table_holds_or_joins():
    held = Schedule.from_steps([0, 4], [1.0, 0.5], total=8)
    joined = Schedule.from_steps([2, 4], [1.0, 0.5], total=6, between="linear")
    assert held.rates.tolist() == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]
    assert joined.rates.tolist() == [1, 1, 1, 0.75, 0.5, 0.5]


def test_a_rise_at_the_start_of_a_table_is_its_warmup():
    assert Schedule.table(SCHEDULES["cosine"].rates).warmup == 20
    assert Schedule.table([1e-3, 1e-3, 5e-4]).warmup == 0
    for seed in SEEDS:  # a plateau that varies by rounding is one
        plateau = np.append(last_bits(np.full(50, 1e-3), seed), 5e-4)
        assert Schedule.table(plateau).warmup == 0
        assert Schedule.table(np.concatenate([1e-3 * np.arange(20) / 20, [1e-3], plateau])).warmup == 20


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Schedule.table([]), ArgumentError, "between 1 and"),
        (lambda: Schedule.table([1e-3, float("nan")]), NonFiniteError, "value 1 is nan"),
        (lambda: Schedule.table([1e-3, -1e-3]), ArgumentError, "must not be negative.*update 1"),
        (lambda: Schedule.table([0.0, 0.0]), ArgumentError, "some must be positive"),
        (lambda: Schedule.table([[1e-3]]), ShapeError, r"one axis.*\(1, 1\)"),
        (lambda: Schedule.cosine(total=10, warmup=10, peak=1e-3), ArgumentError, r"`warmup`.*total = 10"),
        (lambda: Schedule.cosine(total=3_000_000_000, peak=1e-3), ArgumentError, "tokens per update"),
        (lambda: Schedule.cosine(total=10, peak=-1.0), ArgumentError, "`peak`.*-1.0"),
        (lambda: Schedule.cosine(total=10, peak=1.0, end=float("inf")), ArgumentError, "`end`.*inf"),
        (lambda: Schedule.wsd(total=10, peak=1.0, decay_start=11), ArgumentError, r"`decay_start`.*\[0, 10\].*11"),
        (
            lambda: Schedule.wsd(total=10, peak=1.0, decay_start=5, decay="exponential"),
            ArgumentError,
            "never reaches 0",
        ),
        (lambda: Schedule.wsd(total=10, peak=1.0, decay_start=5, decay="cubic"), ArgumentError, "'cubic'.*'sqrt'"),
        (lambda: Schedule.multi_step(total=10, peak=1.0, changes=[5, 3], factors=[1, 1]), ArgumentError, "increase"),
        (lambda: Schedule.from_steps([3, 3], [1, 1], total=9), ArgumentError, "`steps` must increase"),
        (lambda: Schedule.from_dict({"kind": "polynomial"}), ArgumentError, "'polynomial'.*'cosine'"),
        (lambda: Schedule.table([1.0]).with_batch([-1]), ArgumentError, "`batch` must be positive"),
    ],
)
def test_wrong_schedules_say_what_is_allowed(make, error, message):
    with pytest.raises(error, match=message):
        make()
