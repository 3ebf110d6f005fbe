"""Bands and intervals of the closure against what they are made of."""

import numpy as np
import pytest

from eigenflow.closure import compare_forms, shell_velocities
from eigenflow.closure.forward import ForwardCut, ForwardForecast, _band_of_misses, _quantile
from synthetic import drifting_budget

TIMES = np.geomspace(1.0, 1e3, 40)


def forecast(loss):
    return ForwardForecast("lazy", loss, None, None, None, None, None, {}, "fitted")


def test_the_band_of_a_forecast_grows_as_its_misses_grew_in_log_time():
    """Misses of exactly 0.3 ln(t / cut) before: the band is 0.3 times the quantile times ln(t / now)."""
    past = []
    for time in (1.0, 2.0, 4.0):
        times = np.geomspace(1.5 * time, 20.0, 9)
        loss = (times / time) ** 0.3
        past.append((ForwardCut(0.1, time, times, np.ones(9), {}), forecast(loss), np.ones(9, dtype=bool)))
    later = np.array([10.0, 12.0, 20.0])
    now = ForwardCut(0.5, 8.0, later, np.ones(3), {})
    found = _band_of_misses(forecast(np.full(3, 2.0)), now, past)
    width = 0.3 * _quantile(3) * np.log(later / 8.0)
    np.testing.assert_allclose(found.upper, 2.0 * np.exp(width), rtol=1e-9)
    np.testing.assert_allclose(found.lower, 2.0 * np.exp(-width), rtol=1e-9)


def test_the_interval_of_a_skill_lies_around_it():
    """Draws of blocks of times scatter around the ratio of sums over all times."""
    lam = 10.0 ** np.random.default_rng(0).uniform(-5, 0, (len(TIMES), 600))
    found = shell_velocities(drifting_budget(lambda x, t: -0.2 / t * x, TIMES, lam, noise=0.3, seed=0))
    result = compare_forms(found, seed=0)
    for row in (*result.simple, *result.richer):
        low, high = row.interval
        assert low <= row.skill <= high
        assert high - low == pytest.approx(0.0, abs=0.5 * max(1.0, abs(row.skill)))


@pytest.mark.parametrize(("hindcasts", "expected"), [(2, 6.3138), (3, 6.3138), (6, 2.9200), (30, 1.8125)])
def test_few_hindcasts_widen_the_band_as_student_has_it(hindcasts, expected):
    """The 95 % quantile at 1, 1, 2 and 10 degrees of freedom, from a printed table: three cuts count as one."""
    assert _quantile(hindcasts) == pytest.approx(expected, abs=1e-4)
