"""Learning curves from the modes of one sample, beside formulas for the population that it was drawn from."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.over_sizes import measured_task
from eigenflow.theory.task_spectrum import TaskSpectrum

pytestmark = pytest.mark.long

SAMPLES = 500
RANKS = np.arange(1.0, 4001.0)


def sampled(capacity: float, decay: float, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Modes of a sample of Gaussian features with lambda_k = k^-capacity and a target w_k^2 = k^-decay."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((SAMPLES, len(RANKS)))
    kernel = (features * RANKS**-capacity) @ features.T / SAMPLES
    labels = features @ (rng.choice([-1.0, 1.0], len(RANKS)) * RANKS ** (-0.5 * decay))
    labels += np.sqrt(noise) * rng.standard_normal(SAMPLES)
    values, vectors = np.linalg.eigh(kernel)
    return values[::-1], ((vectors.T @ labels) ** 2)[::-1] / SAMPLES


@pytest.fixture(scope="module", params=[(1.5, 1.6, 0.0), (1.3, 2.2, 0.0), (1.5, 2.0, 0.3)], ids=str)
def measured(request):
    """Three samples of one population, and the population."""
    capacity, decay, noise = request.param
    tasks = [measured_task(*sampled(*request.param, seed), SAMPLES) for seed in range(3)]
    return tasks, TaskSpectrum(RANKS**-capacity, RANKS**-decay, noise)


@pytest.mark.parametrize("features", [np.inf, 80.0, 1200.0])
@pytest.mark.parametrize("ridge", [0.0, 1e-3])
@pytest.mark.parametrize("samples", [20.0, 100.0, 350.0])
def test_it_is_the_risk_of_the_population(measured, samples: float, features: float, ridge: float):
    """The labels' mean square of one sample scatters by sqrt(2 / 500) = 6.3 %: 90 % of means of 3 lie within 6 %."""
    tasks, true = measured
    exact = float(random_features_risk(true, samples, features, ridge=samples * ridge).risk) + true.noise
    told = np.mean([task.risk(samples, features, ridge) for task in tasks])
    assert told == pytest.approx(exact, rel=0.1)


def test_more_samples_tell_better():
    """Errors of one sample's risk fall as 1 / sqrt(m): by two from 125 to 500, within what 12 draws tell (a half)."""
    true = TaskSpectrum(RANKS**-1.5, RANKS**-2.0)
    exact = float(random_features_risk(true, 40.0).risk)
    spread = []
    for samples in (125, 500):
        errors = []
        for seed in range(12):
            rng = np.random.default_rng(seed)
            features = rng.standard_normal((samples, 1500)) * RANKS[:1500] ** -0.75
            labels = features @ (rng.choice([-1.0, 1.0], 1500) * RANKS[:1500] ** -0.25)
            values, vectors = np.linalg.eigh(features @ features.T / samples)
            task = measured_task(values[::-1], ((vectors.T @ labels) ** 2)[::-1] / samples, samples)
            errors.append(np.log(task.risk(40) / exact))
        spread.append(np.sqrt(np.mean(np.square(errors))))
    assert 0.3 < spread[1] / spread[0] < 0.8
    assert spread[1] < 0.12


def test_simulated_regression_agrees():
    """Not a formula: kernel regression on 60 samples of the population, mean of 40 draws with its standard error."""
    rng = np.random.default_rng(1)
    weights = rng.choice([-1.0, 1.0], len(RANKS)) * RANKS**-0.8
    losses = []
    for _ in range(40):
        x = rng.standard_normal((60, len(RANKS)))
        kernel = (x * RANKS**-1.5) @ x.T + 60 * 1e-3 * np.eye(60)
        left = weights - RANKS**-1.5 * (x.T @ np.linalg.solve(kernel, x @ weights))
        losses.append(left @ left)
    error = np.std(losses) / np.sqrt(len(losses))
    told = np.mean([measured_task(*sampled(1.5, 1.6, 0.0, seed), SAMPLES).risk(60, ridge=1e-3) for seed in range(3)])
    assert told == pytest.approx(np.mean(losses), abs=3 * error + 0.06 * told)


def test_limits(measured):
    task = measured[0][0]
    assert task.risk(1e-3) == pytest.approx(float(task.bias[-1]), rel=0.01)  # nothing seen: the labels' mean square
    assert task.risk(80, 80) == np.inf
    assert task.risk(np.inf, 80) < task.risk(1000, 80) < task.risk(100, 80)
    assert task.risk(50, 1e9, 1e-4) == pytest.approx(task.risk(50, ridge=1e-4), rel=1e-4)


def test_units(measured):
    """Eigenvalues and ridge in one unit, risks in that of the energies."""
    values, squares = sampled(1.5, 1.6, 0.0, 0)
    plain, other = measured_task(values, squares, SAMPLES), measured_task(1e-9 * values, 1e6 * squares, SAMPLES)
    assert other.risk(100, 200, 1e-12) == pytest.approx(1e6 * plain.risk(100, 200, 1e-3), rel=1e-6)


def test_a_kernel_of_few_modes():
    """20 modes and no noise: more than 20 samples learn all; degenerate eigenvalues do not matter."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((300, 20))
    values, vectors = np.linalg.eigh(features @ features.T / 300)
    labels = features @ np.ones(20)
    values = np.maximum(values[::-1], 0.0)
    task = measured_task(values, ((vectors.T @ labels) ** 2)[::-1] / 300, 300)
    assert task.risk(10) == pytest.approx(20 * (1 - 10 / 20), rel=0.15)  # isotropic features
    assert task.reach == pytest.approx(20, abs=0.1)


@pytest.mark.rejects
def test_what_a_sample_does_not_tell_is_refused(measured):
    task = measured[0][0]
    with pytest.raises(ArgumentError, match=r"500 samples tell of .* at most"):
        task.risk(2000)
    with pytest.raises(ArgumentError, match="nothing is left to learn"):
        task.risk(np.inf)
    with pytest.raises(ArgumentError, match="`features` must be > 0"):
        task.risk(10, 0)
    with pytest.raises(ArgumentError, match="`ridge` must be a number from 0"):
        task.risk(10, ridge=-1.0)


@pytest.mark.rejects
def test_what_is_no_spectrum_is_refused():
    good = np.arange(1.0, 51.0) ** -1.5
    with pytest.raises(ShapeError, match="rows of one length"):
        measured_task(good, good[:-1], 50)
    with pytest.raises(NonFiniteError, match="must be finite"):
        measured_task(good, np.full(50, np.nan), 50)
    with pytest.raises(ArgumentError, match="must decrease"):
        measured_task(good[::-1], good, 50)
    with pytest.raises(ArgumentError, match="energies` be >= 0"):
        measured_task(good, -good, 50)
    with pytest.raises(ArgumentError, match="50 modes, but `samples` is 40"):
        measured_task(good, good, 40)
