"""Digits and random features: solves, gradient descent by hand, means over many draws."""

import numpy as np
import pytest

from eigenflow.lab.double_descent.config import TaskConfig
from eigenflow.lab.double_descent.digits import draw_digits, whole_task
from eigenflow.lab.double_descent.features import arc_cosine_kernel, random_features, readout_risk
from eigenflow.lab.double_descent.measuring import label_variance

pytestmark = pytest.mark.measure


def task(**changes):
    return TaskConfig.model_validate({"samples": [30, 60], "holdout": 50, **changes})


@pytest.mark.long
@pytest.mark.parametrize("pool", [1, 2, 4])
def test_pixels_are_means_of_squares_without_the_mean_digit(pool):
    from sklearn.datasets import load_digits

    images = load_digits().images
    inputs, targets = whole_task(task(pool=pool))
    corners = [(row, column) for row in range(0, 8, pool) for column in range(0, 8, pool)]
    by_hand = np.array([[image[r : r + pool, c : c + pool].mean() for r, c in corners] for image in images])
    by_hand -= by_hand.mean(axis=0)
    np.testing.assert_allclose(inputs, by_hand / by_hand.std(), atol=1e-12)
    assert inputs.shape[1] == task(pool=pool).inputs and inputs.std() == pytest.approx(1.0)
    np.testing.assert_array_equal(targets[:, 0] > 0, load_digits().target % 2 == 0)


def test_samples_and_noise_are_nested_and_test_samples_are_others():
    draw, again = draw_digits(task(), 3), draw_digits(task(), 3)
    np.testing.assert_array_equal(draw.labels(60, 0.2), again.labels(60, 0.2))
    np.testing.assert_array_equal(draw.labels(60, 0.2)[:30], draw.labels(30, 0.2))
    np.testing.assert_array_equal(draw.labels(60, 0.0), draw.clean)
    low, high = draw.is_random(0.2), draw.is_random(0.5)
    assert (high[low]).all() and 0 < low.sum() < high.sum()
    rows = {tuple(row) for row in draw.inputs}
    assert not any(tuple(row) in rows for row in draw.test_inputs) and len(draw.test_inputs) == 50
    assert not np.array_equal(draw.inputs, draw_digits(task(), 4).inputs)
    assert not np.array_equal(draw.inputs, draw_digits(task(seed=1), 3).inputs)


@pytest.mark.parametrize("target", ["parity", "classes"])
def test_noise_of_labels_has_the_mean_and_the_variance_that_theories_are_told(target):
    """Over 40 draws of 500 samples: standard errors are about .01 of the energy, and four of them are allowed."""
    config = task(samples=[500], target=target)
    noise, found = 0.3, []
    for seed in range(40):
        draw = draw_digits(config, seed)
        labels = draw.labels(500, noise)
        energy = (draw.clean**2).sum(1).mean()
        left = labels - (1 - noise) * draw.clean
        found.append([(labels * draw.clean).sum(1).mean() / energy, (left**2).sum(1).mean(), left.sum()])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(40)
    assert abs(mean[0] - (1 - noise)) < 4 * error[0]
    assert abs(mean[1] - label_variance(config, noise)) < 4 * error[1] + 1e-12
    assert error[0] < 0.01 and label_variance(config, 0.0) == 0.0


def test_arc_cosine_kernel_is_the_mean_over_features():
    """Over 40,000 features: within four standard errors at every pair."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 3)), rng.standard_normal((5, 3))
    weights = rng.standard_normal((4, 40_000))
    products = random_features(x, weights)[:, None] * random_features(y, weights)[None]
    error = products.std(axis=2) / 200.0
    assert (np.abs(products.mean(axis=2) - arc_cosine_kernel(x, y)) < 4 * error).all()
    diagonal = np.diag(arc_cosine_kernel(x, x))
    np.testing.assert_allclose(diagonal, ((x**2).sum(1) + 1) / 4, rtol=1e-12)  # |z|^2


@pytest.fixture
def readout():
    """Three outputs, fewer samples than features or more."""

    def make(samples, features, seed=1):
        rng = np.random.default_rng(seed)
        H, H_test = rng.standard_normal((samples, features)), rng.standard_normal((40, features))
        target, test_target = rng.standard_normal((samples, 3)), rng.standard_normal((40, 3))
        return H, H_test, target + 0.3 * rng.standard_normal((samples, 3)), target, test_target

    return make


@pytest.mark.parametrize(("samples", "features"), [(12, 30), (30, 12), (12, 12)])
def test_ends_are_ridge_regression_and_least_squares_of_least_norm(readout, samples, features):
    H, H_test, labels, target, test_target = readout(samples, features)
    ridge = np.array([0.0, 0.01, 1.0])
    found = readout_risk(H, H_test, labels, target, test_target, noise=0.27, times=np.array([]), ridge=ridge)
    for i, strength in enumerate(ridge):
        if strength == 0.0:
            weights = np.linalg.pinv(H) @ labels
        else:  # half the mean square over samples, features scaled by 1 / sqrt(k)
            weights = np.linalg.solve(H.T @ H / samples / features + strength * np.eye(features), H.T @ labels)
            weights /= samples * features
        excess = ((H_test @ weights - test_target) ** 2).sum(1).mean()
        train = ((H @ weights - labels) ** 2).sum(1).mean()
        assert found.excess[i] == pytest.approx(excess, rel=1e-8)
        assert found.train[i] == pytest.approx(train, rel=1e-7, abs=1e-12)


def test_flow_is_gradient_descent_of_small_steps(readout):
    """By hand, on the readout: the difference is of first order in the step."""
    H, H_test, labels, target, test_target = readout(10, 15)
    times = np.array([0.5, 3.0])
    found = readout_risk(H, H_test, labels, target, test_target, noise=0.0, times=times, ridge=np.array([1.0]))
    differences = []
    for step in (0.004, 0.002, 0.001):
        weights, made = np.zeros((15, 3)), []
        for update in range(1, round(times[-1] / step) + 1):
            error = H @ weights / np.sqrt(15) - labels
            weights -= step * H.T @ error / np.sqrt(15) / 10
            if any(update == round(t / step) for t in times):
                made.append(((H_test @ weights / np.sqrt(15) - test_target) ** 2).sum(1).mean())
        differences.append(np.abs(np.array(made) - found.excess[:2]).max())
    assert np.log2(np.array(differences[:-1]) / differences[1:]) == pytest.approx(1.0, abs=0.1)
    values = np.linalg.eigvalsh(H @ H.T / 150)
    np.testing.assert_allclose(found.resolved, [(2 * values * t > 1).mean() for t in times])


@pytest.mark.long
def test_expectation_is_the_mean_over_noise_of_labels(readout):
    """Over 1,500 draws: within four standard errors at each point, among them one near the threshold."""
    H, H_test, _, target, test_target = readout(12, 13)
    rng, noise = np.random.default_rng(0), 0.3
    given = {"noise": noise, "times": np.array([1.0, 30.0]), "ridge": np.array([0.0, 0.1])}
    drawn = [
        readout_risk(
            H, H_test, target + np.sqrt(noise / 3) * rng.standard_normal((12, 3)), target, test_target, **given
        )
        for _ in range(1500)
    ]
    risks = np.array([one.excess for one in drawn])
    error = risks.std(axis=0) / np.sqrt(1500)
    assert (np.abs(risks.mean(axis=0) - drawn[0].expected) < 4 * error).all()
