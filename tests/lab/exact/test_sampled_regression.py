"""Regression on drawn samples against exact laws of Gaussian designs, dense gradient descent, and published numbers."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError, LimitError
from eigenflow.core.limits import limits
from eigenflow.lab.exact import simulate_kernel_regression, simulate_random_features
from eigenflow.lab.exact.sampled_regression import _wishart_root
from eigenflow.theory.task_spectrum import TaskSpectrum

# A mean of draws lies within four standard errors of the truth but for one case in 16,000.
SURE = 4.0


def isotropic(modes, energy=1.0, noise=0.25):
    return TaskSpectrum(np.array([1.0 / modes]), np.array([energy]), noise, np.array([float(modes)]))


def power_law(modes=2000, **more):
    return TaskSpectrum.power_law(1.5, 2.0, modes=modes, noise=0.05, **more)


@pytest.mark.long
@pytest.mark.parametrize("modes", [1, 50, 80, 150, 300])
def test_least_norm_is_that_of_gaussian_designs(modes):
    """Exact at finite size (equations/double_descent.md#ridgeless-isotropic), by one group of modes."""
    n, noise = 100, 0.25
    expected = noise * modes / (n - modes - 1) if modes < n else 1 - n / modes + noise * n / (modes - n - 1)
    risk = simulate_kernel_regression(isotropic(modes, noise=noise), n, 0.0, 300, np.random.default_rng(modes))
    assert abs(risk.mean[0] - noise - expected) <= SURE * risk.standard_error[0]
    assert risk.standard_error[0] < 0.12 * expected and risk.unresolved == 0


@pytest.mark.long
@pytest.mark.parametrize(("chosen", "expected"), [(10, 1.2641), (30, 3.207), (60, 1.5663), (100, 0.6671)])
def test_chosen_features(chosen, expected):
    """Modes left out are noise (equations/double_descent.md#chosen-features; exact). Test has the noise in it."""
    task = TaskSpectrum(np.ones(100), np.full(100, 0.01), 0.04).without(range(chosen, 100))
    risk = simulate_kernel_regression(task, 40, 0.0, 600, np.random.default_rng(chosen))
    assert abs(risk.mean[0] - expected) <= SURE * risk.standard_error[0] + 5e-4  # the last printed digit


@pytest.mark.long
@pytest.mark.parametrize(
    ("samples", "ridge", "test", "train"),
    [(200, 1e-3, 0.0966, 2.51e-6), (200, 0.0, 0.0969, None), (50, 0.0, 0.1322, None)],
)
def test_power_law_kernel(samples, ridge, test, train):
    """equations/exponents.md#kernel-ridge, a deterministic equivalent: exact up to O(1 / samples)."""
    risk = simulate_kernel_regression(power_law(), samples, ridge, 40, np.random.default_rng(1))
    assert abs(risk.mean[0] - test) <= SURE * risk.standard_error[0] + test / samples
    if train is not None:
        assert abs(risk.train_mean[0] - train) <= SURE * risk.train_error[0] + train * 2 / samples
    else:
        assert risk.train.max() < 1e-20  # least norm interpolates


@pytest.mark.long
@pytest.mark.parametrize(
    ("samples", "features", "ridge", "expected"),
    [(100, 50, 1e-2, 0.272), (100, 100, 1e-2, 0.346), (100, 300, 1e-2, 0.1468), (200, 100, 1e-3, 0.1904)],
)
def test_power_law_random_features(samples, features, ridge, expected):
    """equations/double_descent.md#random-features; the page's own simulations lie up to 6 % above at this size."""
    risk = simulate_random_features(power_law(), samples, features, ridge, 40, np.random.default_rng(2))
    assert abs(risk.mean[0] - expected) <= SURE * risk.standard_error[0] + 0.02 * expected


@pytest.mark.long
def test_flat_part_of_relu_features_is_one_crowd():
    """equations/double_descent.md#mei-montanari at (2, 3): 100 linear modes and 200,000 that share the rest."""
    kinked = 0.25 - 1 / (2 * np.pi)
    task = TaskSpectrum(np.array([0.25 / 100, kinked / 2e5]), np.array([1.0, 0.0]), 0.2, np.array([100.0, 2e5]))
    risk = simulate_random_features(task, 300, 200, 0.0, 40, np.random.default_rng(3))
    assert abs(risk.mean[0] - 0.2 - 1.085) <= SURE * risk.standard_error[0]
    assert risk.standard_error[0] < 0.03


@pytest.mark.long
@pytest.mark.parametrize("features", [None, 15])
def test_a_crowd_is_as_its_modes_one_by_one(features):
    """The same population as one group and as 400 groups: equal in mean and in spread."""
    crowd = TaskSpectrum(np.array([0.5, 0.01]), np.array([1.0, 0.3]), 0.1, np.array([3.0, 400.0]))
    apart = TaskSpectrum(
        np.r_[np.full(3, 0.5), np.full(400, 0.01)], np.r_[np.full(3, 1 / 3), np.full(400, 0.3 / 400)], 0.1
    )
    found = []
    for seed, task in enumerate((crowd, apart)):
        rng = np.random.default_rng(seed)
        if features is None:
            found.append(simulate_kernel_regression(task, 20, 0.02, 800, rng, times=[3.0, np.inf]))
        else:
            found.append(simulate_random_features(task, 20, features, 0.02, 800, rng, times=[3.0, np.inf]))
    one, other = found
    error = np.hypot(one.standard_error, other.standard_error)
    assert np.all(np.abs(one.mean - other.mean) <= SURE * error)
    # Standard deviations of 800 draws each are known to about 4 % (more for heavy tails).
    np.testing.assert_allclose(one.standard_error, other.standard_error, rtol=0.25)


@pytest.mark.long
def test_wishart_of_a_real_number_of_modes():
    """Mean f I and variance f (off the diagonal), 2 f (on it), of f = 12.5 degrees of freedom."""
    rng, freedom = np.random.default_rng(5), 12.5
    roots = [_wishart_root(3, freedom, rng) for _ in range(20_000)]
    draws = np.array([root @ root.T for root in roots])
    np.testing.assert_allclose(draws.mean(axis=0), freedom * np.eye(3), atol=SURE * np.sqrt(2 * freedom / 20_000))
    variance = freedom * (np.ones((3, 3)) + np.eye(3))
    np.testing.assert_allclose(draws.var(axis=0), variance, rtol=0.08)  # 4 sqrt(2.x / 20,000) and the tails of chi^2


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("features", [None, 4, 30])
def test_flow_is_small_steps_of_gradient_descent(ridge, features):
    """The same draws, by 5000 steps in the space of weights: first order in the step, 1e-3 of a unit of time."""
    task, n, time, steps = power_law(12), 8, 5.0, 5000
    rng = np.random.default_rng(7)
    if features is None:
        found = simulate_kernel_regression(task, n, ridge, 2, rng, times=time)
    else:
        found = simulate_random_features(task, n, features, ridge, 2, rng, times=time)
    rng, rate = np.random.default_rng(7), time / steps
    for draw in range(2):
        phi = rng.standard_normal((n, 12))
        maps = np.diag(np.sqrt(task.eigenvalues))
        if features is not None:
            maps = maps @ rng.standard_normal((12, features)) / np.sqrt(features)
        truth = np.sqrt(task.target)
        labels = phi @ truth + np.sqrt(task.noise) * rng.standard_normal(n)
        design, theta = phi @ maps, np.zeros(maps.shape[1])
        for _ in range(steps):
            theta -= rate * (design.T @ (design @ theta - labels) + ridge * theta) / n
        assert found.test[draw, 0] == pytest.approx(((truth - maps @ theta) ** 2).sum() + 0.05, rel=1e-3)
        assert found.train[draw, 0] == pytest.approx(((labels - design @ theta) ** 2).mean(), rel=5e-3)


def test_ends_of_training():
    """Nothing is learned at time 0, without any spread; late times are the end."""
    task = power_law(300, tail=True)
    risk = simulate_random_features(task, 40, 30, 1e-3, 3, np.random.default_rng(0), times=[0.0, 1e12, np.inf])
    np.testing.assert_allclose(risk.test[:, 0], task.energy + task.noise, rtol=1e-14)
    np.testing.assert_allclose(risk.test[:, 1], risk.test[:, 2], rtol=1e-12)
    assert risk.standard_error[0] < 1e-14


@pytest.mark.parametrize("scale", [1e-13, 1e13])
def test_units_do_not_matter(scale):
    """The same draws of a kernel in other units, with the ridge in them: rounding only."""
    task = power_law(100)
    other = TaskSpectrum(task.eigenvalues * scale, task.target, task.noise)
    for simulate, more in ((simulate_kernel_regression, ()), (simulate_random_features, (25,))):
        one = simulate(task, 30, *more, 0.01, 2, np.random.default_rng(1), times=[2.0, np.inf])
        two = simulate(other, 30, *more, 0.01 * scale, 2, np.random.default_rng(1), times=[2.0 / scale, np.inf])
        np.testing.assert_allclose(one.test, two.test, rtol=1e-10)


@pytest.mark.long
def test_many_features_are_the_kernel():
    """Features without end give the kernel's own risk: the excess of finitely many falls as 1 / features."""
    kernel = simulate_kernel_regression(power_law(100), 20, 1e-2, 1500, np.random.default_rng(0))
    wide = simulate_random_features(power_law(100), 20, 4000, 1e-2, 100, np.random.default_rng(1))
    error = np.hypot(kernel.standard_error[0], wide.standard_error[0])
    assert abs(wide.mean[0] - kernel.mean[0]) <= SURE * error + 0.01 * kernel.mean[0]


def test_the_threshold_has_no_mean_but_a_median():
    """n = p: draws stay finite, and single ones carry the mean."""
    risk = simulate_kernel_regression(isotropic(40), 40, 0.0, 400, np.random.default_rng(0))
    assert np.isfinite(risk.test).all() and risk.mean[0] > 3 * risk.median[0]


def test_a_spectrum_beyond_rounding_says_so():
    """lambda = k^-12 at 60 samples spans 1e21: what is below rounding is left out, counted, and printed."""
    task = TaskSpectrum.power_law(12.0, 13.0, modes=80)
    risk = simulate_kernel_regression(task, 60, 0.0, 2, np.random.default_rng(0))
    assert 0 < risk.unresolved < 60 and np.isfinite(risk.test).all() and risk.mean[0] < 1e-4
    assert "below rounding" in repr(risk)


def test_more_draws_know_more():
    few, many = (
        simulate_kernel_regression(power_law(50), 20, 0.1, draws, np.random.default_rng(2)) for draws in (100, 1600)
    )
    assert few.standard_error[0] / many.standard_error[0] == pytest.approx(4.0, rel=0.3)
    assert len(repr(many).splitlines()) <= 15


def test_small_groups_that_are_not_whole_keep_their_trace():
    """A count of 0.4 is one mode of 0.4 of the eigenvalue."""
    odd = TaskSpectrum(np.array([1.0, 0.5]), np.array([1.0, 0.5]), 0.1, np.array([1.0, 0.4]))
    even = TaskSpectrum(np.array([1.0, 0.2]), np.array([1.0, 0.5]), 0.1)
    one, two = (simulate_kernel_regression(task, 5, 0.1, 3, np.random.default_rng(0)) for task in (odd, even))
    np.testing.assert_allclose(one.test, two.test, rtol=1e-13)


@pytest.mark.rejects
class TestRejects:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"task": [1.0]}, "`task` must be a TaskSpectrum"),
            ({"samples": 0}, "`samples` must be a whole"),
            ({"ridge": -1e-3}, "`ridge` must be a number from 0"),
            ({"draws": 1}, "one has no standard error"),
            ({"rng": 3}, "`rng` must be a NumPy generator"),
            ({"times": [-1.0]}, "`times` must be a row of times >= 0"),
            ({"times": [np.nan]}, "`times` must be a row of times >= 0"),
            ({"times": []}, "`times` must be a row"),
        ],
    )
    def test_arguments(self, changes, message):
        given = {
            "task": power_law(5),
            "samples": 3,
            "ridge": 0.1,
            "draws": 2,
            "rng": np.random.default_rng(0),
        } | changes
        with pytest.raises(ArgumentError, match=message):
            simulate_kernel_regression(**given)
        with pytest.raises(ArgumentError, match=message):
            simulate_random_features(features=4, **given)

    def test_features_and_size(self):
        with pytest.raises(ArgumentError, match="`features` must be a whole number of features"):
            simulate_random_features(power_law(5), 3, 0, 0.1, 2, np.random.default_rng(0))
        with limits(entries=100), pytest.raises(LimitError, match="A draw of kernel regression asks for"):
            simulate_kernel_regression(power_law(50), 30, 0.1, 2, np.random.default_rng(0))
