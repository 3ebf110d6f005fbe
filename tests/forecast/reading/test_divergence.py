"""Divergence and over-fitting are judged against the scatter; what is said quotes what was compared."""

import re

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.core.errors import NonFiniteError
from eigenflow.forecast.reading.judging.monotone import CLEAR, turn_of


def log(log_losses, loss="loss", rates=1e-4):
    count = len(log_losses)
    return pd.DataFrame({"step": np.arange(1, count + 1) * 100, loss: np.exp(log_losses), "lr": rates})


def cautions(log_losses, loss="val_loss", rates=1e-4):
    return ef.read_curves(log(log_losses, loss, rates))[0].cautions


def falling(count):
    return np.log(0.5 + 2.0 * np.arange(1, count + 1) ** -0.5)


def over_fitted(count, rise):
    """A fall over the first half, and a straight rise by a factor over the second."""
    share = np.arange(1, count + 1) / count
    return np.log(0.3 + 0.05 / (np.minimum(share, 0.5) + 0.05)) + np.log(rise) * np.maximum(share - 0.5, 0.0) * 2.0


@pytest.mark.rejects
@pytest.mark.parametrize("scatter", [0.001, 0.05, 0.3])
def test_a_run_that_diverges_is_refused_with_the_levels_that_were_compared(scatter):
    """A fall to about 0.6, then up by a factor of four; levels are medians of 60 points."""
    rng = np.random.default_rng(0)
    values = falling(600) + np.log(4.0) * np.clip((np.arange(600) - 400) / 150, 0, 1)
    with pytest.raises(NonFiniteError, match=r"the run diverges.*medians of 60 points") as caught:
        ef.read_curves(log(values + scatter * rng.standard_normal(600)))
    low, end, factor = (
        float(value)
        for value in re.search(r"falls to ([\d.]+) .* ends at ([\d.]+) .* ([\d.]+) times", str(caught.value)).groups()
    )
    true_low = np.exp(np.median(values[340:400]))
    # Five standard errors of a median over 60 points, and the fall within the window.
    assert low == pytest.approx(true_low, rel=5 * 1.25 * scatter / np.sqrt(60) + 0.02)
    assert end / low == pytest.approx(factor, rel=0.01) and 3.0 < factor < 4.6


@pytest.mark.parametrize("noise", ["normal", "student"])
def test_scatter_of_a_factor_e_is_no_divergence(noise):
    """Falling curves whose points scatter by a factor of e: none of 30 is refused. Their largest two-point ratios are
    above 50."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        off = rng.standard_normal(700) if noise == "normal" else rng.standard_t(3, 700) / np.sqrt(3.0)
        curve = ef.read_curves(log(falling(700) + off))[0]
        assert len(curve) > 690


def test_a_level_that_is_the_same_at_the_end_is_no_divergence():
    """One low stretch of six points in the middle: the single-point minimum is half of the end."""
    values = falling(690) + 0.5 * np.random.default_rng(2).standard_normal(690)
    values[350:356] -= 0.7
    assert ef.read_curves(log(values))[0].steps[-1] == 69_000


@pytest.mark.rejects
def test_a_blow_up_in_the_last_points_is_refused_at_its_first_one():
    """Seven points of 600 at 9.5 times the loss: fewer than a tenth, and they do not come down."""
    values = falling(600) + 0.01 * np.random.default_rng(3).standard_normal(600)
    values[593:] += np.log(9.5)
    with pytest.raises(
        NonFiniteError, match=r"its last 7 losses, from step 59400 \(row 594\) on.*Cut the table at row 594"
    ):
        ef.read_curves(log(values))
    values[599] -= np.log(9.5)  # it recovers
    curve = ef.read_curves(log(values))[0]
    assert len(curve) == 594 and any("spike" in line for line in curve.changes)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_high_points_at_the_end_are_spikes(count):
    values = falling(300) + 0.01 * np.random.default_rng(4).standard_normal(300)
    values[300 - count :] += 1.0
    assert len(ef.read_curves(log(values))[0]) == 300 - count


def test_a_loss_that_rises_with_the_rate_does_not_diverge():
    """The loss is 2.4 times as high when the rate has risen a hundredfold; at a constant rate it is refused."""
    rates = np.concatenate([np.full(100, 1e-6), np.full(60, 1e-4)])
    values = np.concatenate([falling(100), falling(100)[-1] + np.log(2.4) * np.ones(60)])
    values += 0.01 * np.random.default_rng(5).standard_normal(160)
    assert cautions(values, "loss", rates) == ()
    with pytest.raises(NonFiniteError, match="diverges"):
        ef.read_curves(log(values, "loss"))


@pytest.mark.rejects
def test_strong_over_fitting_is_refused_as_such():
    with pytest.raises(NonFiniteError, match=r"the validation loss rises again \(over-fitting\).*Cut the table at row"):
        ef.read_curves(log(over_fitted(40, 2.5), "val_loss"))


@pytest.mark.parametrize(("count", "scatter"), [(8, 0.002), (12, 0.002), (20, 0.01), (200, 0.03), (2000, 0.1)])
def test_over_fitting_is_said_with_its_step_and_levels(count, scatter):
    """A rise by 20 % after half of the run. The minimum of a V in noise is found within a quarter of the run."""
    rng = np.random.default_rng(6)
    found = [cautions(over_fitted(count, 1.2) + scatter * rng.standard_normal(count)) for _ in range(10)]
    said = [lines[0] for lines in found if lines]
    assert len(said) >= 9
    for line in said:
        step, low, end = re.search(r"since step (\d+), from ([\d.]+) to ([\d.]+), as in over-fitting", line).groups()
        assert abs(int(step) / 100 - count / 2) <= count / 4 + 1
        assert 1.05 < float(end) / float(low) < 1.5
        assert "the law only falls" in line


@pytest.mark.parametrize("scatter", [0.003, 0.03, 0.3])
@pytest.mark.parametrize("count", [8, 20, 200])
def test_noisy_curves_that_fall_are_rarely_said_to_rise(count, scatter):
    """At most 5 % are expected; of 40 curves at most 6 are three standard deviations more."""
    rng = np.random.default_rng(7)
    found = [cautions(falling(count) + scatter * rng.standard_normal(count)) for _ in range(40)]
    assert sum(bool(lines) for lines in found) <= 6


def test_after_a_rise_of_the_rate_nothing_is_said():
    rates = np.where(np.arange(60) < 30, 1e-5, 1e-4)
    values = np.concatenate([falling(30), falling(30)[-1] + 0.1 * np.linspace(0.5, 1, 30)])
    assert cautions(values, "loss", rates) == () and cautions(values, "loss") != ()


@pytest.mark.parametrize(("falls", "limit"), [(True, 0.05), (False, 0.10)])
@pytest.mark.parametrize("count", [8, 20, 40])
def test_turns_of_noise_are_seldom_clear(count, falls, limit):
    """The shares that the module states, over 400 curves: three binomial deviations more are let through."""
    rng = np.random.default_rng(8)
    slope = np.log(np.arange(1, count + 1)) * (2.0 if falls else 0.0)
    clear = [turn_of(rng.standard_normal(count) - slope) for _ in range(400)]
    share = np.mean([turn.clearness > CLEAR and turn.later >= 2 for turn in clear])
    assert share <= limit + 3 * np.sqrt(limit * (1 - limit) / 400)


def test_the_best_falling_fit_is_that_of_scikit_learn():
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(9)
    for count in (5, 12, 40):
        values = rng.standard_normal(count) - np.linspace(0, 2, count)
        steps = np.arange(count)
        only = IsotonicRegression(increasing=False).fit_transform(steps, values)
        turns = []
        for at in range(count + 1):
            fit = np.zeros(count)
            if at:
                fit[:at] = IsotonicRegression(increasing=False).fit_transform(steps[:at], values[:at])
            if at < count:
                fit[at:] = IsotonicRegression().fit_transform(steps[at:], values[at:])
            turns.append(np.sum((values - fit) ** 2))
        floor = 10.0  # a scatter so large that it alone divides
        expected = (np.sum((values - only) ** 2) - min(turns)) / floor**2
        assert turn_of(values, floor).clearness == pytest.approx(expected, abs=1e-12)
