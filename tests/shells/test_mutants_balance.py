"""Sums over the updates of an interval, against the sums themselves."""

import numpy as np
import pytest

from eigenflow.shells import integrated_balance
from eigenflow.shells.balance import GAUSS_NODES, SUMMED, _log_time, _weights
from synthetic_run import budget_of, from_modes, measure


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


def test_two_measurements_have_half_the_difference_of_their_rates_as_error():
    """2 lambda E of each frozen mode at both ends, in a shell of its own."""
    labels, start, times = np.array([3.0, 0.2, 0.02, 0.002]), np.array([1.0, -0.7, 0.5, 0.4]), np.array([1.0, 1.6])
    data = measure(lambda t: from_modes(labels, 0 * labels, start * np.exp(-labels * t)), times, 1e-9)
    found = integrated_balance(budget_of(data, shells_per_decade=1))
    rates = 2 * labels * start**2 * np.exp(-2 * labels * times[:, None])
    expected = 0.5 * 0.6 * np.abs(rates[1] - rates[0])
    errors = found.errors["dissipation"].values[0]
    # Rates are differences over an update of 1e-9: five digits of the slowest are known.
    np.testing.assert_allclose(np.sort(errors[errors > 0]), np.sort(expected), rtol=1e-3)


def test_log_time_puts_the_middle_measurement_into_the_middle():
    """Where times spread by more than evenly; evenly spaced ones are straight to an eighth of a thousandth."""
    spread = 300.0 * np.linspace(0.0, 1.0, 21) ** 3
    x = _log_time(spread)
    assert x[len(x) // 2] == pytest.approx(0.5 * x[-1], rel=1e-12)
    even = np.linspace(0.0, 400.0, 21)
    straight = _log_time(even)
    np.testing.assert_allclose(straight / straight[-1], even / even[-1], atol=1.1e-3 / 8)
    beginning = _log_time(np.array([0.0, 5.0, 6.0, 1e4]))  # the first update is the shortest shift
    assert beginning[1] == pytest.approx(np.log(2.0), rel=1e-12)
