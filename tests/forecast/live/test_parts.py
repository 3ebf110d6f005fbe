"""The parts of a live forecast, each against a plain computation of the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eigenflow.forecast.live import engines
from eigenflow.forecast.live.blocks import MOST_BLOCKS, Blocks
from eigenflow.forecast.live.engines import Background
from eigenflow.forecast.live.levels import LowestLevel
from eigenflow.forecast.live.moments import Budget, Moments
from eigenflow.forecast.live.rates import BENDS, SeenRates, schedule_of
from eigenflow.forecast.live.rest import Question
from eigenflow.forecast.live.statistics import contrasts_of, repetition
from forecast.live.live_runs import SCHEDULES


@pytest.mark.parametrize("count", [1, 7, MOST_BLOCKS - 1, MOST_BLOCKS, 12_345])
def test_blocks_are_means_of_neighbours(count):
    """Each block's mean is that of its losses; they join without a gap; there are never too many."""
    values = np.random.default_rng(0).standard_normal(count)
    blocks = Blocks()
    for step, value in enumerate(values.tolist(), start=1):
        blocks.add(step, value, 1e-3)
    table = blocks.table()
    assert len(table) < MOST_BLOCKS
    assert table.first[0] == 1 and np.array_equal(table.first[1:], table.last[:-1] + 1)
    assert count - blocks.size < table.last[-1] <= count
    for k in (0, len(table) // 2, -1):
        part = values[table.first[k] - 1 : table.last[k]]
        assert len(part) == table.counts[k]
        assert table.means[k] == pytest.approx(part.mean(), abs=1e-12)
    jumps = np.sqrt(np.abs(np.diff(values, prepend=values[0])))
    part = jumps[table.first[-1] - 1 : table.last[-1]]
    assert table.roughness[-1] == pytest.approx(part.mean(), abs=1e-12)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("every", [1, 7])
def test_rates_are_a_line_of_few_corners(kind, every):
    """Between the corners the rates are kept to two cones, twice the bound, of the highest one; a restart exactly."""
    rates, seen = SCHEDULES[kind].rates, SeenRates()
    steps = np.arange(1, len(rates) + 1)[::every]
    for step in steps.tolist():
        seen.add(step, float(rates[step - 1]))
    at, values = np.array(seen.corners()).T
    assert np.abs(np.interp(steps, at, values) - rates[steps - 1]).max() <= 2 * BENDS * rates.max()
    assert len(at) < 300
    again = SeenRates.from_state(seen.state())
    assert again.corners() == seen.corners() and again.state() == seen.state()


def test_schedules_come_as_people_have_them():
    schedule = SCHEDULES["cosine"]
    for given in (schedule, schedule.rates, schedule.rates.tolist(), schedule.to_dict(), lambda k: schedule.rates[k]):
        found = schedule_of(given, schedule.total)
        assert found is not None and np.array_equal(found.rates, schedule.rates)


def test_contrast_of_white_noise_has_its_spread():
    """A mean over L minus one over the 4 L before it: sqrt(1/L + 1/(4 L)) standard deviations of one value."""
    values = np.random.default_rng(1).standard_normal(20_000)
    for length, contrast in contrasts_of(values, iter((1, 4, 16))).items():
        assert contrast.sd == pytest.approx(np.sqrt(1.25 / length), rel=0.1)
        recent = values[-length:].mean() - values[-5 * length : -length].mean()
        assert contrast.now == pytest.approx(recent, abs=1e-9)


def test_contrast_passes_over_earlier_alarms():
    """What was told before is neither a healthy past nor news."""
    values = np.random.default_rng(2).standard_normal(600)
    values[300:] += 50.0
    plain, told = (contrasts_of(values, iter((8,)), changes)[8] for changes in ((), [(300, 301)]))
    assert plain.largest > 40 and told.largest < 5
    late = contrasts_of(values[:310], iter((8,)), [(300, 301)])[8]
    assert late.now == 0.0


def test_white_noise_does_not_repeat_itself():
    """The largest of 500 correlations is about three standard deviations; 200 looks stay below five and a half."""
    rng = np.random.default_rng(3)
    assert max(repetition(rng.standard_t(4, 1024))[0] for _ in range(200)) < 5.5
    assert repetition(np.repeat(rng.standard_normal(128), 8).cumsum())[0] < 9.0
    assert repetition(np.zeros(100)) == (0.0, 0, 0.0)


def test_moments_and_budget():
    moments = Moments((0.1, 0.5))
    assert not moments.is_due(99, 99, 1000) and moments.is_due(100, 100, 1000)
    moments.asked(100, 100)
    assert moments.next_step(1000) == 500
    moments.asked(500, 500)
    assert not moments.is_due(999, 999, 1000)
    assert Moments((0.1,), 200, 200).next_step(None) == 270  # 1.35 times later
    budget = Budget(0.05, trained_s=50.0)
    assert not budget.allows  # three seconds are expected of a first forecast, and 2.5 allowed
    budget.trained_s = 100.0
    assert budget.allows
    budget.spend(4.0)
    assert not budget.allows and Budget(None).allows


def question() -> Question:
    steps = np.arange(10, 1010, 10)
    return Question(steps, np.log(2 + 3 * (steps + 50.0) ** -0.5), ((1, 1e-3), (1000, 1e-3)), 2000)


# A worker of few imports, so that the test is of the conversation.
ECHO = """
import json, sys
for line in sys.stdin:
    known = json.loads(line)["total"]
    print(json.dumps({"refused": f"asked of {known}", "cpu_s": 0.0}), flush=True)
"""


def answer_of(engine, within_s=120.0):
    """Of a worker of few imports: it takes less than a second, and much longer on a busy machine."""
    begun = time.monotonic()
    while time.monotonic() - begun < within_s:
        if (found := engine.poll(1.0)) is not None:
            return found
    raise AssertionError("no answer came")


def test_worker_whose_pipes_close_before_it_is_dead_is_started_again(monkeypatch):
    """A killed process closes its files first, and for a moment the system does not call it dead."""
    monkeypatch.setattr(engines, "COMMAND", "import os, time; os.close(1); time.sleep(600)")
    engine = Background()
    engine.ask(question(), None)
    first = engine.pid
    monkeypatch.setattr(engines, "COMMAND", ECHO)
    assert answer_of(engine).refused == "asked of 2000" and engine.pid != first
    engine.close()


def test_worker_that_is_killed_is_started_again(monkeypatch):
    monkeypatch.setattr(engines, "COMMAND", "import time; time.sleep(600)")
    engine = Background()
    engine.ask(question(), None)
    first = engine.pid
    assert first is not None and engine.poll() is None
    monkeypatch.setattr(engines, "COMMAND", ECHO)
    os.kill(first, signal.SIGKILL)
    found = answer_of(engine)
    assert found.refused == "asked of 2000" and engine.pid != first
    begun = time.monotonic()
    monkeypatch.setattr(engines, "COMMAND", "import time; time.sleep(600)")
    engine.close()
    engine.ask(question(), None)
    engine.close()  # abandoned
    assert time.monotonic() - begun < 20.0 and engine.pid is None


def test_worker_that_dies_again_and_again_is_given_up(monkeypatch):
    monkeypatch.setattr(engines, "COMMAND", "raise SystemExit(1)")
    engine = Background()
    engine.ask(question(), None)
    found = answer_of(engine)
    assert found.forecast is None and "ended without an answer" in found.refused
    engine.close()


TRAINER = """
import sys, time
sys.path.insert(0, {tests!r})
from forecast.live.test_parts import question
from eigenflow.forecast.live.engines import Background
engine = Background()
engine.ask(question(), None)
print(engine.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_worker_leaves_when_the_trainer_is_killed(tmp_path):
    tests = str(Path(__file__).parents[2])
    trainer = subprocess.Popen([sys.executable, "-c", TRAINER.format(tests=tests)], stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None
    worker = int(trainer.stdout.readline())
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    begun = time.monotonic()
    while time.monotonic() - begun < 90.0 and is_running(worker):
        time.sleep(0.2)
    assert not is_running(worker)


def is_running(pid: int) -> bool:
    """Whether a process works; what init has yet to reap does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("every", [1, 5])
def test_rise_above_the_lowest_level_is_that_of_running_medians(every):
    values = np.cumsum(np.random.default_rng(0).standard_normal(2_500))
    blocks, lowest = Blocks(), LowestLevel()
    for step, value in enumerate(values.tolist(), start=1):
        blocks.add(step, value, 1e-3)
        if step < 8 or step % every:
            continue
        width = max(3, -(-8 // blocks.size))
        means = blocks.table().means
        levels = np.median(np.lib.stride_tricks.sliding_window_view(means, width), axis=1)
        assert lowest.rise(blocks, width) == levels[-1] - levels.min()
