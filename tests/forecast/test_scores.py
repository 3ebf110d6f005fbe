"""Scores by hand, and the noise floor of sequences whose noise is known."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.forecast.evaluation.scores import interval_score, score_forecast
from eigenflow.forecast.intervals.noise import correlation_length, noise_floor, repeat_spread
from forecast.synthetic_curves import correlated


def test_interval_score_by_hand():
    """Inside: the width. Below by 0.5 or above by 0.25 at 90 %: 20 times that more."""
    true = np.array([1.0, 0.5, 2.25])
    score = interval_score(np.full(3, 1.0), np.full(3, 2.0), true)
    np.testing.assert_allclose(score, [1.0, 1.0 + 20 * 0.5, 1.0 + 20 * 0.25], rtol=1e-12)


def test_interval_score_is_smallest_at_the_true_quantiles():
    """It is a proper score: the 5 % and 95 % quantiles of a normal law beat anything wider or narrower."""
    truth = np.random.default_rng(0).normal(size=200_000)
    means = {
        z: interval_score(np.full_like(truth, -z), np.full_like(truth, z), truth).mean() for z in (1.2, 1.645, 2.1)
    }
    assert means[1.645] < min(means[1.2], means[2.1])


def test_score_of_a_forecast_by_hand():
    true, predicted = np.array([3.0, 2.0, 1.0]), np.array([3.1, 2.0, 1.2])
    score = score_forecast(
        true, predicted, predicted - 0.15, predicted + 0.15, after_branch=np.array([False, True, True])
    )
    assert score.final_error == pytest.approx(0.2)
    assert score.mae == pytest.approx(0.1)
    assert score.mae_after_branch == pytest.approx(0.1)
    assert score.r2 == pytest.approx(1 - (0.01 + 0.04) / 2.0)
    assert score.coverage == pytest.approx(2 / 3)
    assert score.width == pytest.approx(0.3)
    assert score.winkler == pytest.approx(0.3 + 20 * 0.05 / 3)


@pytest.mark.rejects
def test_scores_refuse_what_cannot_be_scored():
    one, two = np.ones(1), np.ones(2)
    with pytest.raises(ShapeError, match="equally long and not empty, but have 1, 2, 1 and 1"):
        score_forecast(one, two, one, one)
    with pytest.raises(NonFiniteError, match="`upper` must be finite, but point 1"):
        score_forecast(two, two, two, np.array([1.0, np.nan]))


@pytest.mark.parametrize("sd", [2e-4, 3e-3])
def test_noise_floor_finds_the_noise_under_a_curve(sd):
    """400 points give the median deviation to about 6 %; the curve's bend adds a tenth of the smaller noise at most."""
    rng = np.random.default_rng(1)
    steps = np.unique(np.geomspace(100, 50_000, 400).astype(int)).astype(float)
    losses = np.exp(np.log(2.0 + 30.0 * steps**-0.5) + rng.normal(0, sd, len(steps)))
    assert noise_floor(steps, losses).sd == pytest.approx(sd, rel=0.15)


def test_noise_floor_ignores_a_jump_and_spikes():
    rng = np.random.default_rng(2)
    steps = np.arange(100, 400).astype(float)
    log_loss = rng.normal(0, 1e-3, 300) - 0.2 * (steps > 250)
    log_loss[[40, 90]] += 0.5
    assert noise_floor(steps, np.exp(log_loss)).sd == pytest.approx(1e-3, rel=0.2)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_correlation_length_is_that_of_its_sequence(correlation):
    """(1 + r) / (1 - r); 20,000 points leave the sample correlation an error of 0.007 or less."""
    noise = correlated(20_000, 1.0, correlation, np.random.default_rng(3))
    assert correlation_length(noise) == pytest.approx((1 + correlation) / (1 - correlation), rel=0.1)


def test_repeat_spread_is_the_spread_between_seeds():
    """Three settings of 40 runs each around their own curve: the pooled deviation has 117 degrees of freedom."""
    rng = np.random.default_rng(4)
    steps = np.arange(1.0, 50.0)
    repeats = [[(steps, np.exp(level / steps + rng.normal(0, 2e-3))) for _ in range(40)] for level in (1.0, 2.0, 3.0)]
    spread = repeat_spread(repeats)
    assert spread.sd == pytest.approx(2e-3, rel=0.15)
    assert (spread.runs, spread.settings) == (120, 3)


@pytest.mark.rejects
def test_noise_needs_points_and_repeats():
    with pytest.raises(ArgumentError, match="needs 5 points or more, but the curve has 2"):
        noise_floor(np.array([1.0, 2.0]), np.array([3.0, 2.0]))
    with pytest.raises(ArgumentError, match="no setting with two runs"):
        repeat_spread([[(np.ones(3), np.ones(3))]])
