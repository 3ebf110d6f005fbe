"""Least squares against simulation, and the formulas against each other where one contains another."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.theory.double_descent.least_squares import (
    feature_subset_risk,
    isotropic_risk,
    linear_regression_risk,
    linear_task,
)
from eigenflow.theory.double_descent.surface import PointStatus


def simulated(covariance, coefficients, noise, samples, draws, seed, ridge=0.0, seen=None):
    """Mean excess risk and standard error of regression on the inputs that are seen, of those drawn."""
    rng = np.random.default_rng(seed)
    kept = np.arange(len(covariance)) if seen is None else np.arange(seen)
    found = []
    for _ in range(draws):
        inputs = rng.standard_normal((samples, len(covariance))) * np.sqrt(covariance)
        labels = inputs @ coefficients + np.sqrt(noise) * rng.standard_normal(samples)
        used, estimate = inputs[:, kept], np.zeros(len(covariance))
        if len(kept) > samples:
            estimate[kept] = used.T @ np.linalg.solve(used @ used.T + ridge * np.eye(samples), labels)
        else:
            estimate[kept] = np.linalg.solve(used.T @ used + ridge * np.eye(len(kept)), used.T @ labels)
        found.append(covariance @ (estimate - coefficients) ** 2)
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(draws)


def test_documented_isotropic_numbers():
    """equations/double_descent.md#ridgeless-isotropic, to the four digits printed."""
    risk = isotropic_risk(100, [50, 80, 150, 300], noise=0.25).risk
    np.testing.assert_allclose(risk, [0.2551, 1.0526, 0.8435, 0.7923], atol=6e-5)


@pytest.mark.parametrize(("samples", "features"), [(30, 15), (30, 24), (30, 45), (30, 90), (1, 5), (30, 3)])
def test_isotropic_is_exact_for_few(samples, features):
    """No equivalent: the mean over 3000 draws, within four standard errors, even of one sample."""
    mean, error = simulated(np.ones(features), np.full(features, features**-0.5), 0.25, samples, 3000, seed=2)
    assert abs(float(isotropic_risk(samples, features, noise=0.25).risk) - mean) < 4.0 * error


def test_isotropic_limit_is_that_of_many():
    """Relative deviation of first order in 1 / n at fixed p / n."""
    errors = []
    for size in (100, 200, 400):
        pair = [float(isotropic_risk(size, size // 2, noise=1.0, exact=exact).risk) for exact in (True, False)]
        errors.append(pair[0] / pair[1] - 1)
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=0.1)
    assert errors[1] / errors[2] == pytest.approx(2.0, abs=0.1)


def test_infinite_from_n_minus_1_to_n_plus_1():
    surface = isotropic_risk(40, np.arange(37, 44), noise=0.1)
    np.testing.assert_array_equal(surface.data["status"] == PointStatus.INFINITE, [0, 0, 1, 1, 1, 0, 0])
    assert np.isfinite(isotropic_risk(40, 40, noise=0.0).risk)
    limit = isotropic_risk(40, np.arange(37, 44), noise=0.1, exact=False)
    np.testing.assert_array_equal(np.isinf(limit.risk), [0, 0, 0, 1, 0, 0, 0])


def test_documented_feature_subsets():
    """equations/double_descent.md#chosen-features: formula to the digits printed, simulation as it was seen."""
    surface = feature_subset_risk(np.full(100, 0.1), 40, [10, 30, 45, 60, 100], noise=0.04)
    np.testing.assert_allclose(surface.test_error, [1.2641, 3.207, 6.54, 1.5663, 0.6671], rtol=2e-4)
    np.testing.assert_allclose(surface.test_error, [1.2630, 3.246, 6.66, 1.5683, 0.6668], rtol=2e-2)


@pytest.mark.parametrize(("samples", "features"), [(20, 5), (20, 14), (20, 30), (20, 50)])
def test_feature_subsets_by_simulation(samples, features):
    """Coefficients that differ: which features are taken matters. Four standard errors of 3000 draws."""
    coefficients = 1.0 / np.arange(1.0, 51.0)
    surface = feature_subset_risk(coefficients, samples, features, noise=0.3)
    mean, error = simulated(np.ones(50), coefficients, 0.3, samples, 3000, seed=3, seen=features)
    assert abs(float(surface.risk) - mean) < 4.0 * error


def test_all_features_taken_are_the_isotropic_case():
    places = [5, 18, 19, 20, 21, 22, 50]
    subset = feature_subset_risk(np.full(20, 20**-0.5), places, 20, noise=0.3)
    np.testing.assert_allclose(subset.risk, isotropic_risk(places, 20, noise=0.3).risk, rtol=1e-12)
    perfect = feature_subset_risk(np.full(20, 20**-0.5), places, 20, noise=0.0)
    assert np.isfinite(perfect.risk).all()


def test_equal_variances_are_the_isotropic_limit():
    task = linear_task(np.full(300, 7.0), np.full(300, 300**-0.5) / np.sqrt(7.0), noise=0.25)
    places = [30, 100, 299, 301, 600, 3000]
    limit = isotropic_risk(places, 300, noise=0.25, exact=False)
    np.testing.assert_allclose(linear_regression_risk(task, places).risk, limit.risk, rtol=1e-9)


@pytest.mark.long
@pytest.mark.parametrize(("samples", "ridge"), [(60, 0.0), (60, 5.0), (150, 0.0), (300, 0.0), (300, 20.0)])
def test_general_covariance_by_simulation(samples, ridge):
    """120 inputs of variances over two decades, coefficients not aligned with them; below and above n = p."""
    rng = np.random.default_rng(4)
    covariance, coefficients = np.logspace(0, -2, 120), rng.standard_normal(120) / 10
    task = linear_task(covariance, coefficients, noise=0.1)
    mean, error = simulated(covariance, coefficients, 0.1, samples, 300, seed=5, ridge=ridge)
    # The equivalent is off by order 1 / |n - p|, which is 3 % for n = 150.
    bound = 4.0 * error + mean * (1.2 / abs(samples - 120) if ridge == 0 else 0.01)
    assert abs(float(linear_regression_risk(task, samples, ridge).risk) - mean) < bound


def test_order_and_absent_inputs_do_not_matter():
    task = linear_task(np.array([0.1, 0.0, 2.0]), np.array([3.0, 9.0, 1.0]), noise=0.2)
    np.testing.assert_allclose(task.eigenvalues, [2.0, 0.1])
    np.testing.assert_allclose(task.target, [2.0, 0.9])


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: isotropic_risk(10, np.inf, noise=0.1), ArgumentError, "`features` must be finite here"),
        (lambda: isotropic_risk(10, 5, noise=-0.1), ArgumentError, "`noise` must be a number from 0"),
        (lambda: isotropic_risk(10, 5, noise=0.1, signal=-1), ArgumentError, "`signal` must be a number from 0"),
        (lambda: feature_subset_risk(np.ones(5), 10, 6, noise=0.1), ArgumentError, "`features` must be at most the 5"),
        (lambda: feature_subset_risk(np.ones(5), 10, 2.5, noise=0.1), ArgumentError, "`features` must be whole"),
        (lambda: feature_subset_risk(np.ones((2, 2)), 10, 1, noise=0.1), ShapeError, "`coefficients` must be one row"),
        (lambda: feature_subset_risk([1.0, np.inf], 10, 1, noise=0.1), ArgumentError, "`coefficients` must be finite"),
        (lambda: linear_task(np.ones(2), np.ones(3)), ShapeError, "`coefficients` must have one value for each input"),
        (lambda: linear_task(np.array([1.0, -1.0]), np.ones(2)), ArgumentError, "`covariance` must be >= 0"),
        (lambda: linear_task(np.zeros(2), np.ones(2)), ArgumentError, "> 0 somewhere"),
        (lambda: linear_task(np.array([np.inf, 1.0]), np.ones(2)), ArgumentError, "must be finite"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
