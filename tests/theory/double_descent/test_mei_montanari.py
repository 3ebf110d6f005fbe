"""The closed formula against simulation of ReLU features, and as a case of the general one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.mei_montanari import RELU, mei_montanari_risk, sphere_task
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.double_descent.surface import PointStatus
from eigenflow.theory.task_spectrum import TaskSpectrum

DOCUMENTED = [(1, 3, 0.772, 0.773), (2, 3, 1.085, 1.094), (6, 3, 0.437, 0.462), (12, 3, 0.2072, 0.2144)]
SEVEN = [(1, 3), (2, 3), (6, 3), (12, 3), (0.5, 2), (3, 1), (2, 0.5)]


def test_moments_of_relu():
    def normal(z):
        return np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)

    moments = [quad(lambda z, p=p: max(z, 0.0) ** p[0] * z ** p[1] * normal(z), -10, 10, points=[0])[0] for p in
               ((1, 0), (1, 1), (2, 0))]  # fmt: skip
    assert RELU[0] == pytest.approx(moments[1], rel=1e-9)
    assert RELU[1] == pytest.approx(moments[2] - moments[0] ** 2 - moments[1] ** 2, rel=1e-9)


@pytest.mark.parametrize(("features", "samples", "published", "simulation"), DOCUMENTED)
def test_documented_numbers(features, samples, published, simulation):
    """equations/double_descent.md#mei-montanari: to the digits printed; simulated at d = 100, which is finite: 8 %."""
    risk = float(mei_montanari_risk(samples, features, noise=0.2).risk)
    assert risk == pytest.approx(published, abs=6e-4 if published > 0.3 else 6e-5)
    assert risk == pytest.approx(simulation, rel=0.08)


@pytest.mark.long
@pytest.mark.parametrize(("features", "samples"), [(1, 3), (3, 1), (6, 2)])
def test_relu_features_by_simulation(features, samples):
    """d = 60 and 60 draws, on 1000 test inputs: four standard errors, and 5 % for the finite d."""
    d, rng, found = 60, np.random.default_rng(6), []
    for _ in range(60):
        theta = rng.standard_normal((d, features * d))
        theta /= np.linalg.norm(theta, axis=0)
        inputs = rng.standard_normal((samples * d + 1000, d))
        inputs *= np.sqrt(d) / np.linalg.norm(inputs, axis=1, keepdims=True)
        beta = rng.standard_normal(d)
        truth = inputs @ (beta / np.linalg.norm(beta))
        seen = np.maximum(inputs @ theta, 0.0)
        n = samples * d
        labels = truth[:n] + np.sqrt(0.2) * rng.standard_normal(n)
        weights = np.linalg.lstsq(seen[:n], labels, rcond=None)[0]
        found.append(((seen[n:] @ weights - truth[n:]) ** 2).mean())
    risk = float(mei_montanari_risk(samples, features, noise=0.2).risk)
    assert abs(risk - np.mean(found)) < 4 * np.std(found, ddof=1) / np.sqrt(60) + 0.05 * risk


@pytest.mark.parametrize("dimension", [1, 30, 1000])
@pytest.mark.parametrize(("features", "samples"), SEVEN)
def test_general_formula_contains_it(features, samples, dimension):
    """Not 3e-4 but the same function: with 1e15 nonlinear modes, both parts agree to 1e-11 at any dimension."""
    closed = mei_montanari_risk(samples, features, noise=0.2, linear=1.3, nonlinear=0.4)
    task = sphere_task(dimension, noise=0.2, linear=1.3, nonlinear=0.4)
    general = random_features_risk(task, samples * dimension, features * dimension, 0.0)
    for part in ("from_target", "from_noise"):
        assert float(general.data[part]) == pytest.approx(float(closed.data[part]), rel=1e-11)


@pytest.mark.parametrize(("features", "samples"), SEVEN)
def test_two_hundred_thousand_modes_are_enough_for_3e_4(features, samples):
    """theory of the page: d modes mu_1^2 / d and 2e5 that share mu_*^2; what is left falls as one over their number."""
    d = 30
    deviation = []
    for modes in (2e5, 2e6):
        task = TaskSpectrum(
            np.array([RELU[0] ** 2 / d, RELU[1] / modes]), np.array([1.0, 0.0]), 0.2, np.array([d, modes])
        )
        closed = float(mei_montanari_risk(samples, features, noise=0.2).risk)
        deviation.append(float(random_features_risk(task, samples * d, features * d, 0.0).risk) / closed - 1)
    assert abs(deviation[0]) < 3.5e-4
    assert deviation[0] / deviation[1] == pytest.approx(10.0, rel=0.02)


@given(features=st.floats(0.01, 100), samples=st.floats(0.01, 100), noise=st.floats(0, 10), zeta=st.floats(0.05, 20))
@settings(max_examples=60, deadline=None)
def test_error_estimate_holds(features, samples, noise, zeta):
    """The sums cancel near the threshold; the stated error covers the distance to the general formula."""
    closed = mei_montanari_risk(samples, features, noise=noise, activation=(zeta, 1.0))
    general = random_features_risk(sphere_task(1, noise=noise, activation=(zeta, 1.0)), samples, features, 0.0)
    if np.isfinite(closed.risk):
        bound = 10 * float(closed.data["error"]) + 10 * float(general.data["error"]) + 1e-11
        assert float(general.risk) == pytest.approx(float(closed.risk), rel=bound)


def test_threshold_is_infinite():
    surface = mei_montanari_risk([1.0, 3.0], [1.0, 3.0], noise=0.0)
    np.testing.assert_array_equal(np.isinf(surface.risk), np.eye(2, dtype=bool))
    assert float(mei_montanari_risk(3.0, 3.0, noise=0.0, linear=0.0).risk) == 0.0


def test_rounding_beside_the_threshold_is_said():
    surface = mei_montanari_risk(3.0, 3.0 * (1.0 + np.logspace(-15, -4, 12)), noise=0.1)
    status, error = surface.data["status"].values, surface.data["error"].values
    assert status[0] == PointStatus.NOT_CONVERGED
    assert status[-1] == PointStatus.CONVERGED
    np.testing.assert_array_equal(status == PointStatus.CONVERGED, error <= 1e-6)
    assert (surface.risk.values[status == PointStatus.CONVERGED] > 0).all()


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": (1.0, 0.0)}, r"mu_\*\^2 > 0.*`isotropic_risk` is the formula"),
        ({"activation": (0.0, 1.0)}, "mu_1 other than 0"),
        ({"activation": 1.0}, "`activation` must be the two numbers"),
        ({"noise": -1.0}, "`noise` must be a number from 0"),
        ({"features_per_input": np.inf}, "must be finite here"),
        ({"samples_per_input": 0.0}, "`samples_per_input` must be > 0"),
    ],
)
def test_bad_arguments_are_named(options, words):
    with pytest.raises(ArgumentError, match=words):
        mei_montanari_risk(**{"samples_per_input": 3.0, "features_per_input": 1.0, "noise": 0.2, **options})
