"""Forecasts from the two limits, on runs that obey them exactly."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.core.scores import score_curve
from eigenflow.theory import lazy_forecast, transport_forecast
from eigenflow.theory.forecasts.power_law import power_law_forecast
from synthetic import scaling_run


@pytest.mark.parametrize("gamma", [-0.6, -0.2, 0.3, 0.8])
def test_transport_forecasts_a_scaling_run_exactly(gamma):
    """lambda ~ t^-gamma without rotation: gamma to the width of a shell (1/16 decade: 0.5 %), and then the loss."""
    observed, *_ = scaling_run(gamma)
    forecast = transport_forecast(observed)
    assert forecast.gamma == pytest.approx(gamma, rel=0.01)
    lazy = score_curve(lazy_forecast(observed).loss, observed.later_losses).rms_log_ratio
    assert score_curve(forecast.loss, observed.later_losses).rms_log_ratio <= 0.05 * lazy


def test_with_the_true_gamma_the_loss_is_the_closed_form():
    """exp(-2 lambda int t^-gamma) per mode, against the sum written out in numpy."""
    from eigenflow.theory.forecasts.limits import _carried_loss

    observed, first, energy = scaling_run(0.4)
    loss, modes = _carried_loss(observed, 0.4)
    times = observed.later_times
    exponent = (times[:, None] ** 0.6 - 1) / 0.6 * first
    expected = 0.5 * (energy * np.exp(-2 * exponent)).sum(1)
    np.testing.assert_allclose(loss, expected, rtol=1e-10)
    assert modes == 200


def test_lazy_forecast_is_exact_where_nothing_moves():
    observed, *_ = scaling_run(0.0)
    np.testing.assert_allclose(lazy_forecast(observed).loss, observed.later_losses, rtol=1e-10)
    assert transport_forecast(observed).gamma == 0.0


def test_power_law_is_continued_exactly():
    times, later = np.geomspace(1, 100, 50), np.geomspace(100, 1e4, 20)
    forecast = power_law_forecast(times, 3.0 * times**-0.7, later)
    np.testing.assert_allclose(forecast.loss, 3.0 * later**-0.7, rtol=1e-10)
    assert forecast.exponent == pytest.approx(0.7)
    assert np.all(forecast.lower <= forecast.loss * (1 + 1e-12)) and np.all(
        forecast.upper >= forecast.loss * (1 - 1e-12)
    )


@pytest.mark.rejects
def test_power_law_needs_points():
    with pytest.raises(ArgumentError, match="`losses` has 2"):
        power_law_forecast(np.array([1.0, 2.0]), np.array([1.0, 0.5]), np.array([3.0]))
