"""`LiveForecast`: forecasts as `forecast_logs` makes them, resumed to the last bit, at bounded cost."""

import json
import math
import os

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Schedule, forecast_logs
from eigenflow.forecast.curves import Curve, CurveSet
from eigenflow.forecast.live import LiveForecast
from forecast.live.live_runs import SCHEDULES, healthy

pytestmark = pytest.mark.long

MOMENTS = (0.2, 0.5)


def fed(live: LiveForecast, run, first: int = 0, last: int | None = None) -> list:
    parts = (part[first:last].tolist() for part in (run.steps, run.losses, run.rates))
    return [news for row in zip(*parts, strict=True) if (news := live.add(*row)) is not None]


def inline(**more) -> LiveForecast:
    return LiveForecast(**{"total_steps": 6000, "moments": MOMENTS, "max_share": None, "background": False, **more})


def test_forecast_is_that_of_the_whole_package():
    """The same losses as a curve, given to `forecast_logs`: the same end, interval and schedule.

    Rates are kept as a line within 2e-4 of the highest one, so ln(loss) may differ by a part of that.
    """
    run, live = healthy("cosine", 0, every=10), inline()
    fed(live, run, last=310)
    made = live.now.forecast
    assert made is not None and made.made_at == 3000
    rates = np.interp(np.arange(1, 3001), run.steps, run.rates)
    known = Curve("run", run.steps[:300], run.losses[:300], Schedule.table(rates))
    answer = forecast_logs(CurveSet((known,)), total=6000)
    assert (made.value, made.lower, made.upper) == pytest.approx(
        (answer.end.loss, answer.end.lower, answer.end.upper), rel=1e-4
    )
    assert made.rates_told == answer.run.kind


def test_state_goes_on_to_the_last_bit():
    """Stopped between a question and its answer, and elsewhere: the same state at the end, through JSON."""
    run = healthy("wsd", 1)
    whole = inline()
    fed(whole, run)
    for stop in (1201, 1212, 3500):
        first = inline()
        fed(first, run, last=stop)
        again = LiveForecast.from_state(json.loads(json.dumps(first.state(), allow_nan=False)))
        fed(again, run, first=stop)
        mine, other = again.state(), whole.state()
        for one in (mine, other):  # clocks differ
            one.pop("budget")
            for forecast in one["forecasts"]:
                forecast.pop("cpu_s")
        assert mine == other


def test_another_process_says_the_same():
    run = healthy("linear", 2, every=20)
    here, there = inline(), inline(background=True)
    fed(here, run)
    with there:
        fed(there, run, last=62)
        assert there.forecast_now(wait_s=600.0) is not None  # the pending one
        assert there.now.forecast.value == here._forecasts[0].value
        pid = there._engine.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_memory_and_state_are_bounded():
    live = LiveForecast(10**9, moments=(0.5,), background=False)
    rng = np.random.default_rng(0)
    for step, loss in enumerate((3 + 0.1 * rng.standard_normal(60_000)).tolist(), start=1):
        live.add(step, loss, 1e-3)
    assert len(live._blocks) <= 800
    assert len(json.dumps(live.state())) < 200_000


def test_numbers_that_are_none_are_events_and_alarms():
    live = inline()
    for step in range(1, 40):
        live.add(step, math.nan if step == 20 else 3.0 + 1.0 / step, 1e-3)
    assert not live.now.alarms and "step 20" in live.now.events[0]
    news = [live.add(step, math.inf, 1e-3) for step in range(40, 43)]
    (alarm,) = news[-1].new_alarms
    assert (alarm.kind, alarm.pattern, alarm.since) == ("divergence", "not finite", 40)


def troubled(kind: str) -> list[float]:
    rng = np.random.default_rng(5)
    steps = np.arange(1, 1501)
    losses = (2 + 3 * (steps + 20.0) ** -0.5) * np.exp(0.02 * rng.standard_normal(1500))
    if kind == "heavy noise":
        losses *= np.exp(0.05 * rng.standard_t(2.5, 1500))
    if kind == "spikes":
        for at in rng.integers(50, 1500, 8):
            losses[at : at + 6] *= 1.6
    if kind == "divergence":
        losses[500:] *= np.exp(np.linspace(0, 2, 1000))
    if kind == "no numbers":
        losses[rng.integers(0, 1500, 20)], losses[700:705] = math.nan, math.inf
    if kind == "equal":
        losses[900:] = 2.125
    return losses.tolist()


@pytest.mark.parametrize("kind", ["healthy", "heavy noise", "spikes", "divergence", "no numbers", "equal"])
@pytest.mark.parametrize("total", [2000, 1200, None])
def test_losses_that_wait_are_looked_into_as_if_they_had_not(kind, total):
    """Beside a forecast that is asked for its state after every loss, so that none ever waits."""
    clock = (0.01 * k for k in range(10**6)).__next__
    waits, looks = (LiveForecast(total, [1e-3] * 2000, background=False, max_share=0.0) for _ in range(2))
    waits._clock = looks._clock = clock
    most = 0
    for step, loss in enumerate(troubled(kind), start=1):
        rate = 1e-3 if step < 1000 else 2e-3  # another one than the schedule has
        news, expected = waits.add(step, loss, rate), looks.add(step, loss, rate)
        most = max(most, len(waits._waiting))
        looks.state()
        assert (news is None) == (expected is None)
        if news is not None and expected is not None:
            assert news.new_alarms == expected.new_alarms and news.nearest == expected.nearest
    mine, other = waits.state(), looks.state()
    mine.pop("budget"), other.pop("budget")  # clocks differ
    assert mine == other
    assert 20 < most <= 64
    assert bool(mine["watch"]["alarms"]) == (kind in ("divergence", "no numbers", "equal"))


@pytest.mark.rejects
def test_wrong_arguments_are_named():
    live = inline()
    live.add(5, 3.0)
    with pytest.raises(ArgumentError, match="`step` must increase, but is 5 after 5"):
        live.add(5, 3.0)
    with pytest.raises(ArgumentError, match="`moments` must be increasing shares"):
        LiveForecast(moments=(0.5, 0.2))
    with pytest.raises(ArgumentError, match="`schedule` must have the rate of every update"):
        LiveForecast(7000, SCHEDULES["cosine"])
    with pytest.raises(ArgumentError, match="`total_steps` must be given"):
        LiveForecast(schedule=lambda k: 1e-3)
    with pytest.raises(ArgumentError, match="`state` must be"):
        LiveForecast.from_state({})
