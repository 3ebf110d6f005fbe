"""Sums over the updates of an interval, against the sums themselves."""

import numpy as np
import pytest

from eigenflow.shells.balance import GAUSS_NODES, SUMMED, _weights


@pytest.mark.parametrize("updates", [1, 7, SUMMED, SUMMED + 1, 300, 5000])
@pytest.mark.parametrize("reach", [0.03, 1.2])
def test_weights_sum_any_cubic_in_log_time_over_the_starts_of_updates(updates, reach):
    """Beyond 256 updates it is the integral less half the difference of the ends, as Euler and Maclaurin have it.

    Their next term is length / (12 n^2) times the difference of slopes in shares of the interval. Up to 256 updates
    nothing is left out. A Gauss rule of 16 nodes on log1p of up to e^1.2 - 1 is exact to roundings.
    """
    assert GAUSS_NODES == 16
    length, start = 3.7, 0.4
    end = start + reach
    found = _weights(start, end, length, updates)
    shares = np.arange(updates) / updates
    s = np.log1p(shares * np.expm1(reach)) / reach
    slope_of_s = np.array([np.expm1(reach), np.expm1(reach) * np.exp(-reach)]) / reach
    for power in range(4):
        exact = length / updates * (s**power).sum()
        by_cubic = found[2:] @ [float(power == 0), 1.0, (power == 1) / reach, power / reach]
        slopes = [(power == 1) * slope_of_s[0], power * slope_of_s[1]]
        left_out = length / (12 * updates**2) * abs(slopes[1] - slopes[0]) if updates > SUMMED else 0.0
        assert by_cubic == pytest.approx(exact, abs=1.1 * left_out + 1e-12)
        if power < 2:
            assert found[:2] @ [float(power == 0), 1.0] == pytest.approx(exact, abs=1.1 * left_out + 1e-12)
