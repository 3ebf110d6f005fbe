"""The cap on the share of time spent measuring: on a clock of the test's own, so that nothing here is timed."""

import numpy as np
import pytest

from eigenflow import log_steps
from eigenflow.core.errors import ArgumentError
from eigenflow.trajectory.pace import WARM_UP, Pace
from eigenflow.trajectory.schedule import Schedule


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def train(cap, *, steps, update_s, measurement_s, count=60, jitter=0.0, seed=0, estimate=None):
    """A training loop as the recorder's; returns the measured steps, the seconds of measuring, and of training."""
    clock, rng = Clock(), np.random.default_rng(seed)
    pace = Pace(Schedule(log_steps(steps, count=count)), cap, estimate=estimate, clock=clock)
    measured, held, spent, due = [], None, 0.0, True

    def measure(step):
        nonlocal spent
        seconds = measurement_s * (1 + jitter * rng.uniform(-1, 1))
        with pace.measuring():
            clock.now += seconds
        spent += seconds
        measured.append(step)

    trained = 0.0
    for step in range(steps):
        seconds = update_s * (1 + jitter * rng.uniform(-1, 1))
        clock.now += seconds
        trained += seconds
        pace.tick(step)
        if held is not None and pace.may_measure():
            measure(held)
            held = None
        if due:
            if pace.may_measure():
                measure(step)
            else:
                held = step
        due = held is None and pace.is_due(step, step + 1)
    return measured, spent, trained, pace


@pytest.mark.parametrize("jitter", [0.0, 0.5])
@pytest.mark.parametrize("ratio", [0.01, 0.3, 1.0, 7.0, 40.0])
@pytest.mark.parametrize("steps", [300, 3000])
def test_the_share_stays_below_the_cap(steps, ratio, jitter):
    """A measurement that is half as long again as the one before may go beyond it once: 5 % becomes 6 % at most."""
    told = {"update_s": 1.0, "measurement_s": ratio, "jitter": jitter, "estimate": lambda: ratio}
    measured, spent, trained, pace = train(0.05, steps=steps, **told)
    share = spent / (spent + trained)
    assert share <= (0.05 if jitter == 0 else 0.06)
    assert pace.share == pytest.approx(share, rel=0.02)  # the clock begins with the first call, an update later
    # What can be afforded is made: within two of the largest number that keeps the cap.
    most = min(len(set(log_steps(steps, count=60))), int(0.05 / 0.95 * trained / ratio))
    assert len(measured) >= (most if most == len(set(log_steps(steps, count=60))) else 0.6 * most) - WARM_UP
    if most >= 2:
        assert measured[0] == 0


def test_without_a_cap_every_step_of_the_schedule_is_measured():
    measured, *_ = train(None, steps=500, update_s=1.0, measurement_s=100.0)
    assert measured == sorted(set(log_steps(500, count=60)))


def test_what_can_be_afforded_is_measured_but_for_the_first_moments():
    """The first update is held until five are timed; those scheduled meanwhile cannot be held besides."""
    measured, *_ = train(0.05, steps=5000, update_s=1.0, measurement_s=0.01)
    planned = sorted(set(log_steps(5000, count=60)))
    assert measured == [0] + [step for step in planned if step > WARM_UP]


def test_what_is_left_out_is_left_out_evenly():
    """Measurements that take 30 updates each leave eight of 5000 updates: as far apart in the logarithm as planned."""
    measured, *_ = train(0.05, steps=5000, update_s=1.0, measurement_s=30.0)
    assert 6 <= len(measured) <= 8 and measured[0] == 0 and measured[-1] > 2500
    gaps = np.diff(np.log1p(measured))
    assert gaps.max() < 3 * np.median(gaps)


def test_an_estimate_keeps_a_first_measurement_that_is_too_long_from_being_made():
    """100 updates of 1 s leave 5.3 s, and a measurement of 20 s is known before: none, with the reason in numbers."""
    measured, *_, pace = train(0.05, steps=100, update_s=1.0, measurement_s=20.0, estimate=lambda: 20.0)
    assert measured == []
    refusal = pace.refusal()
    assert refusal is not None and "max_overhead=0.05" in refusal and "30 s" in refusal


def test_the_share_is_that_of_the_whole_run_not_of_each_moment():
    """Half of a log-spaced schedule lies in the first percent of the steps, and is measured there."""
    measured, spent, trained, _ = train(0.05, steps=10_000, update_s=1.0, measurement_s=5.0)
    assert sum(step < 300 for step in measured) >= 20
    assert spent / (spent + trained) <= 0.05


@pytest.mark.rejects
@pytest.mark.parametrize("cap", [0, 1.0, -0.1, True, "5%", float("nan")])
def test_a_cap_that_is_no_share_is_refused(cap):
    with pytest.raises(ArgumentError, match=r"`max_overhead` must be a share .*\(0, 1\), such as 0.05, or None"):
        Pace(Schedule([0, 1]), cap)
