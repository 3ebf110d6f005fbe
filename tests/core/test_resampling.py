"""Block bootstrap and curve scores."""

import numpy as np
import pytest

from eigenflow.core.resampling import block_indices, block_interval, drawn_counts, percentile_interval
from eigenflow.core.scores import score_curve


@pytest.mark.long
def test_interval_of_a_mean_covers_as_often_as_it_says():
    """Independent normal draws: a 90 % interval of the mean of 60 covers about 90 %; blocks of 4 cost a little.

    With 300 repetitions the count has a standard deviation of 1.7 %; 3 of them are allowed, and 4 % for the
    bootstrap's known undercoverage at this size.
    """
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        low, high = block_interval(rng.normal(size=60), lambda v: float(v.mean()), rng)
        hits += low <= 0.0 <= high
    assert 0.81 <= hits / 300 <= 0.95


def test_blocks_widen_the_interval_of_a_correlated_sequence():
    rng = np.random.default_rng(1)
    steps = np.repeat(rng.normal(size=40), 8)
    blocked = np.subtract(*block_interval(steps, lambda v: float(v.mean()), rng))
    shuffled = np.subtract(*block_interval(rng.permutation(steps), lambda v: float(v.mean()), rng))
    assert blocked < 1.5 * shuffled < 0  # both are low - high


def test_score_of_a_constant_factor_is_its_logarithm():
    truth = np.geomspace(1, 1e-3, 20)
    score = score_curve(1.1 * truth, truth)
    assert score.rms_log_ratio == pytest.approx(np.log(1.1)) and score.final_log_ratio == pytest.approx(np.log(1.1))
    assert score.points == 20
    assert np.isfinite(score_curve(0.0 * truth, truth).rms_log_ratio)


def test_percentile_interval_of_a_line_of_numbers():
    """0 ... 100: 90 % of them lie from 5 to 95, 50 % from 25 to 75."""
    assert percentile_interval(range(101)) == pytest.approx((5.0, 95.0))
    assert percentile_interval(np.arange(101.0), level=0.5) == pytest.approx((25.0, 75.0))


def test_sums_over_draws_are_products_with_counts():
    rng = np.random.default_rng(3)
    values, draws = rng.standard_normal((17, 4)), block_indices(17, rng, draws=50)
    counts = drawn_counts(draws)
    np.testing.assert_array_equal(counts.sum(1), 17)
    np.testing.assert_allclose(counts @ values, values[draws].sum(1), rtol=0, atol=1e-13)
