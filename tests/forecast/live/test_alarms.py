"""Alarms: none in healthy runs, the right one soon after each trouble. Rates on real runs: docs/validation."""

import math

import numpy as np
import pytest

from forecast.live.live_runs import SCHEDULES, TOTAL, Run, healthy, watched

BEGIN = 3000


def first_alarm(run: Run, seed: int = 0):
    """The first alarm behind the trouble; none may come before it."""
    found = watched(run, seed).now.alarms
    assert not [alarm for alarm in found if alarm.raised_at <= BEGIN]
    return found[0] if found else None


@pytest.mark.long
@pytest.mark.parametrize(("noise", "every"), [(0.03, 1), (0.005, 4), (0.02, 10), (0.003, 40)])
@pytest.mark.parametrize("kind", SCHEDULES)
def test_healthy_runs_raise_none(kind, noise, every):
    """Also at restarts and where a decay begins. With at most one in twenty, twenty runs without any are likely: 36 %;
    with one in a hundred: 82 %. So the rate is below what is promised, or this fails as often as not."""
    assert watched(healthy(kind, 7, noise=noise, every=every), seed=3).now.alarms == ()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["constant", "wsd"])
@pytest.mark.parametrize("size", [0.03, 0.1])
def test_steps_up_and_down(kind, size):
    """Of three and of ten percent, at two percent of noise a step: within five, and one, percent of the run."""
    latest = BEGIN + (0.06 if size < 0.1 else 0.02) * TOTAL
    for sign, pattern in ((1, "step up"), (-1, "step down")):
        run = healthy(kind, 1, noise=0.02).after(BEGIN, lambda losses, steps, change=1 + sign * size: losses * change)
        alarm = first_alarm(run)
        assert alarm is not None and alarm.raised_at < latest
        assert alarm.pattern == pattern or (alarm.kind == "below the band" and sign < 0)
        assert abs(alarm.since - BEGIN) < 0.05 * TOTAL


@pytest.mark.long
def test_divergence_is_told_before_it_is_large():
    """A rise of ln(loss) that is 0.7 after 300 steps."""
    run = healthy("cosine", 2, noise=0.02).after(
        BEGIN, lambda losses, steps: losses * np.exp(np.minimum(0.7 * (np.maximum(steps - BEGIN, 0) / 300) ** 1.5, 3.0))
    )
    alarm = first_alarm(run)
    assert alarm is not None and (alarm.kind, alarm.pattern) == ("divergence", "rise")
    assert alarm.raised_at < BEGIN + 150
    assert alarm.evidence["level_now"] > alarm.evidence["level_before"]
    assert "gradient norms" in alarm.look_at


@pytest.mark.long
@pytest.mark.parametrize("tail", [20.0, 40.0])
@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_spikes_that_recover_are_events_only(tail, noise):
    """In a smooth log a tail lies above the noise for long: as long as it falls nothing is said."""

    def spiked(left):
        return healthy("cosine", 3, noise=noise).after(
            BEGIN, lambda losses, steps: losses * (1 + left + 0.6 * np.exp(-(steps - BEGIN) / tail))
        )

    live = watched(spiked(0.0))
    assert live.now.alarms == ()
    (spike,) = [one for one in live._watch.points.spikes if one.count > 3]
    assert spike.since == BEGIN + 1 and spike.recovered_at is not None and spike.recovered_at < BEGIN + 8 * tail
    alarm = first_alarm(spiked(0.05))
    assert alarm is not None and alarm.kind == "spike"
    # What is left stops falling after four times the tail.
    assert alarm.since == BEGIN + 1 and alarm.raised_at < BEGIN + max(0.05 * TOTAL, 6 * tail)


def test_plateau():
    """The smooth loss stands still, while the only forecast falls, by 8 % or eight of its standard deviations."""
    truth = healthy("cosine", 4, noise=0.0).losses
    run = healthy("cosine", 4, noise=0.01).after(1500, lambda losses, steps: losses * truth[1500] / truth[steps - 1])
    alarm, *_ = watched(run, moments=(0.2,), ahead=0.005).now.alarms
    assert alarm.kind == "plateau"
    assert np.log(truth[1500] / truth[alarm.raised_at]) < 0.15


@pytest.mark.long
def test_noise_that_doubles():
    quiet = healthy("constant", 5, noise=0.0).losses
    run = healthy("constant", 5, noise=0.02).after(
        BEGIN, lambda losses, steps: quiet[steps - 1] * (losses / quiet[steps - 1]) ** 2.5
    )
    found = watched(run).now.alarms
    assert {alarm.kind for alarm in found} == {"data trouble"}
    noise = next(alarm for alarm in found if alarm.pattern == "noise")
    assert 1.7 < noise.evidence["factor"] < 3.5 and BEGIN < noise.raised_at < BEGIN + 0.06 * TOTAL


@pytest.mark.long
def test_borders_of_epochs_are_named():
    """Five percent at each border: the third is known to be at equal distances."""
    run = healthy("constant", 6, noise=0.01).after(
        1999, lambda losses, steps: losses * 0.95 ** ((np.maximum(steps - 1000, 0)) // 1000)
    )
    found = [alarm for alarm in watched(run).now.alarms if alarm.pattern == "step down"]
    assert len(found) >= 3
    assert "as at the border of an epoch" in found[2].sentence


def test_batches_that_come_again():
    """The noise of 150 batches in the same order, half of the variance of what is seen."""
    rng, run = np.random.default_rng(0), healthy("constant", 8, noise=0.0)
    same = 0.02 * rng.standard_normal(150)
    noise = np.where(run.steps > BEGIN, same[run.steps % 150], 0.02 * rng.standard_normal(TOTAL))
    noise = noise + 0.02 * rng.standard_normal(TOTAL)
    alarm = first_alarm(run.after(0, lambda losses, steps: losses * np.exp(noise)))
    assert alarm is not None and alarm.pattern == "repeated"
    assert alarm.evidence["period"] == 150
    assert 0.2 < alarm.evidence["correlation"] < 0.6  # half, where the newest losses are all repeated


def test_losses_that_stand_still():
    run = healthy("constant", 9).after(BEGIN, lambda losses, steps: np.full(len(losses), losses[BEGIN]))
    alarm = first_alarm(run)
    assert alarm is not None and alarm.pattern in ("equal", "noise")


def test_not_finite():
    run = healthy("constant", 10).after(BEGIN, lambda losses, steps: np.full(len(losses), math.nan))
    alarm = first_alarm(run)
    assert alarm is not None and (alarm.kind, alarm.since, alarm.raised_at) == ("divergence", BEGIN + 1, BEGIN + 3)


def test_one_trouble_is_one_alarm():
    """Until a forecast knows the new level; then there is none."""
    run = healthy("constant", 11, noise=0.01).after(BEGIN, lambda losses, steps: losses * 1.06)
    assert [alarm.pattern for alarm in watched(run).now.alarms] == ["step up"]


@pytest.mark.long
def test_blow_up_before_any_forecast():
    run = healthy("constant", 12, noise=0.02)
    run = run.after(150, lambda losses, steps: losses * np.exp(0.01 * np.maximum(steps - 150, 0)))
    alarm = watched(run).now.alarms[0]
    assert alarm.kind == "divergence" and alarm.raised_at < 250
