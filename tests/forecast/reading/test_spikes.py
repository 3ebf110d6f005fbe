"""Spikes and bursts are left out, tails of the noise are not: the mean of what stays is that of the noise."""

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.forecast import Schedule
from eigenflow.forecast.reading.judging.spikes import remove_spikes
from eigenflow.forecast.reading.rows.cleaning import Points

NOISES = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "student 3": lambda rng, n: rng.standard_t(3, n) / np.sqrt(3.0),
    # Mean 0, deviation 1, and skewed upwards, as losses of single batches are.
    "lognormal": lambda rng, n: (np.exp(0.5 * rng.standard_normal(n)) - np.exp(0.125)) / 0.6039,
}


def points_of(log_losses):
    count = len(log_losses)
    return Points(np.arange(count) + 2, np.arange(count) * 10, np.exp(log_losses))


def kept(log_losses, rates=None, quanta=0.0):
    made = remove_spikes(points_of(log_losses), np.full(len(log_losses), quanta), rates)
    return np.isin(np.arange(len(log_losses)) * 10, made.steps)


def smooth(count):
    return np.log(2.0 + 3.0 * np.arange(1, count + 1) ** -0.4)


@pytest.mark.parametrize("count", [60, 300, 3000])
@pytest.mark.parametrize("noise", NOISES)
def test_removal_does_not_move_the_mean_of_noise(noise, count):
    """Over 90 curves of 0.3, 3 and 30 % scatter the mean of what stays is off by less than 0.33 standard errors.

    0.1 is expected at most, and the mean over 90 curves has an error of about 0.03.
    """
    rng = np.random.default_rng(5)
    shifts = []
    for number in range(90):
        off = NOISES[noise](rng, count)
        inside = kept(smooth(count) + off * (0.003, 0.03, 0.3)[number % 3])
        shifts.append((off[inside].mean() - off.mean()) * np.sqrt(count))
    assert abs(np.mean(shifts)) < 0.33


@pytest.mark.parametrize("scatter", [0.003, 0.03, 0.3])
def test_normal_noise_loses_nothing(scatter):
    rng = np.random.default_rng(6)
    assert kept(smooth(5000) + scatter * rng.standard_normal(5000)).all()


@pytest.mark.parametrize("scatter", [1e-6, 0.003, 0.01])
def test_bursts_that_recover_are_left_out_whole_and_named(scatter):
    """A jump by 0.6 that decays over eight points, one over three points, and a single one."""
    rng = np.random.default_rng(7)
    values = smooth(1500) + scatter * rng.standard_normal(1500)
    values[400:424] += 0.6 * np.exp(-np.arange(24) / 8.0)
    values[800:803] += [0.3, 0.5, 0.2]
    values[1200] += 0.4
    inside = kept(values)
    # Feet of less than three deviations, or 1.7 %, stay.
    assert not inside[400:414].any() and not inside[800:803].any() and not inside[1200]
    assert inside[:400].all() and inside[430:800].all() and inside[803:1200].all() and inside[1201:].all()
    (line,) = remove_spikes(points_of(values), np.zeros(1500)).changes
    assert line.startswith("3 spikes of together ") and "steps 8000 to 8020 (rows 802 to 804, loss up to" in line
    assert "step 12000 (row 1202, loss" in line


def test_steep_decay_at_the_start_is_no_spike():
    steps = np.arange(300)
    for form in (np.log(0.1 + 10 * np.exp(-steps / 2)), np.log(2 + 8 / (1 + steps)), 3 * np.exp(-steps / 5.0)):
        assert kept(form).all()


def test_steps_down_at_changes_of_the_rate_are_no_spikes():
    rng = np.random.default_rng(8)
    falls = smooth(600) + 0.01 * rng.standard_normal(600) - 0.5 * (np.arange(600) > 300) - 0.3 * (np.arange(600) > 306)
    assert kept(falls).all()


def test_rises_with_the_rate_of_a_cycle_are_no_spikes():
    """Short cycles whose high rates lift the loss by 30 % over ten points; without the rates they are bursts."""
    cycles = Schedule.cyclic(total=1000, peak=1.0, period=250, end=0.02, shape="triangle").rates
    rates = np.where(cycles > 0.9, cycles, 0.05)
    values = smooth(1000) + 0.3 * (rates > 0.5) + 0.003 * np.random.default_rng(9).standard_normal(1000)
    assert kept(values, rates).all()
    assert not kept(values)[np.flatnonzero(rates > 0.5)[30:]].all()


def test_what_does_not_come_down_is_no_spike():
    values = smooth(600) + 0.01 * np.random.default_rng(10).standard_normal(600)
    values[300:] += 0.3
    assert kept(values).all()


def test_spikes_are_kept_on_request():
    values = smooth(300)
    values[150] += 1.0
    frame = pd.DataFrame({"step": np.arange(1, 301), "loss": np.exp(values), "lr": 1e-3})
    assert len(ef.read_curves(frame)[0]) == 299 and len(ef.read_curves(frame, keep_spikes=True)[0]) == 300
