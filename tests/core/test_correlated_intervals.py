"""Intervals for series that are alike where they are close."""

import numpy as np
import pytest
from scipy.stats import t as student

from eigenflow.core.resampling import (
    MOST,
    block_indices,
    correlated_half_width,
    correlated_interval,
    correlated_quantiles,
)


def autoregression(rng, length, rho):
    shocks, found = rng.normal(size=length), np.empty(length)
    found[0] = shocks[0]
    for i in range(1, length):
        found[i] = rho * found[i - 1] + np.sqrt(1 - rho**2) * shocks[i]
    return found


def mean(values):
    return float(values.mean())


@pytest.mark.long
@pytest.mark.parametrize(("length", "rho"), [(10, 0.4), (14, 0.5), (48, 0.5), (48, 0.85)])
def test_nine_of_ten_half_widths_hold_the_mean(length, rho):
    """Integrated correlation times of .16 to .26 of the length; the standard deviation of 300 counts is 1.7 %.

    Uncorrelated blocks of length^(1/3) hold it in .55 to .75 of them.
    """
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        x = autoregression(rng, length, rho)
        held += abs(x.mean()) <= correlated_half_width(x)
    assert 0.82 <= held / 300 <= 0.99


def test_of_independent_values_it_is_students_but_for_what_is_not_known():
    """With 90 values the correlation is known to be small, and the mixture costs a tenth to a third."""
    x = np.random.default_rng(3).normal(size=90)
    plain = student.ppf(0.95, 89) * x.std(ddof=1) / np.sqrt(90)
    assert 1.0 <= correlated_half_width(x) / plain <= 1.35


def test_a_slow_series_has_a_wide_interval():
    """At a coefficient of .9 the mean of 40 has 3.9 times the standard deviation; half of it is seen in one series."""
    rng = np.random.default_rng(0)
    slow = np.array([correlated_half_width(autoregression(rng, 40, 0.9)) for _ in range(40)])
    fast = np.array([correlated_half_width(autoregression(rng, 40, 0.0)) for _ in range(40)])
    assert 1.6 < np.median(slow) / np.median(fast) < 4.5


def test_scale_shift_and_level():
    x = autoregression(np.random.default_rng(2), 30, 0.6)
    half = correlated_half_width(x)
    assert correlated_half_width(1e-30 * x + 1e-28) == pytest.approx(1e-30 * half, rel=1e-9)
    assert correlated_half_width(x, level=0.5) < half < correlated_half_width(x, level=0.99)
    assert correlated_half_width(np.full(9, 3.0)) == correlated_half_width(np.array([1.0])) == 0.0
    assert correlated_half_width(np.zeros(0)) == 0.0


def test_long_series_are_thinned_by_means():
    """Means of neighbours keep the mean; its interval changes little, for the correlation is over more than a bin."""
    x = autoregression(np.random.default_rng(4), 8 * MOST, 0.98)
    bins = x.reshape(MOST, 8).mean(1)
    assert correlated_half_width(x) == pytest.approx(correlated_half_width(bins), rel=1e-12)


def test_a_mean_lies_inside_its_values():
    two = np.repeat([0.0, 1.0], 2)
    free = correlated_interval(two, mean, np.random.default_rng(0))
    inside = correlated_interval(two, mean, np.random.default_rng(0), is_inside=True)
    assert free[0] < 0.0 < 1.0 < free[1] and inside == (0.0, 1.0)


def test_a_median_does_not_mind_the_scale():
    """exp keeps the order, so the interval of the median is that of the logarithm, taken by exp; odd length."""
    x = autoregression(np.random.default_rng(5), 31, 0.5)

    def median(values):
        return float(np.median(values))

    low, high = correlated_interval(x, median, np.random.default_rng(1), is_inside=True)
    grown = correlated_interval(np.exp(1e-6 * x), median, np.random.default_rng(1), is_inside=True)
    np.testing.assert_allclose(np.log(grown), 1e-6 * np.array([low, high]), atol=1e-9)


def test_estimates_lie_in_their_interval_and_few_values_have_one():
    rng = np.random.default_rng(6)
    index = block_indices(20, rng)
    low, high = correlated_quantiles(5.0, np.zeros(400), rng.normal(size=20), index)
    assert low <= 0.0 and high >= 5.0
    assert correlated_interval(np.array([1.0, 3.0]), mean, rng) == (1.0, 3.0)
