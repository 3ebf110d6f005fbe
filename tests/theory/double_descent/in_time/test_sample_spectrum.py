"""The density of eigenvalues of a sample covariance: known edges, exact moments, drawn eigenvalues."""

import numpy as np
import pytest

from eigenflow.theory.double_descent.in_time.ridge_curve import RidgeCurve
from eigenflow.theory.double_descent.in_time.sample_spectrum import sample_spectrum
from eigenflow.theory.double_descent.in_time.spectral_curve import log_bands, sample_rates
from eigenflow.theory.task_spectrum import TaskSpectrum


def spectrum(eigenvalues, target, noise=0.0, counts=None):
    counts = None if counts is None else np.array(counts, dtype=float)
    return TaskSpectrum(np.array(eigenvalues, dtype=float), np.array(target, dtype=float), noise, counts)


@pytest.mark.parametrize("gamma", [1e-6, 0.3, 0.999, 1.001, 4.0, 1e4])
def test_isotropic_edges_are_those_of_marchenko_and_pastur(gamma):
    n = 1000.0
    ((low, high),) = log_bands(np.array([1.0]), np.array([gamma * n]), n)
    # At the ends kappa is real: -modulus, or positive at the lower end where modes outnumber samples.
    places = np.array([(1.0 if gamma > 1 else -1.0) * np.exp(low), -np.exp(high)]) + 0j
    edges = -sample_rates(np.array([1.0]), np.array([gamma * n]), n, places).real
    np.testing.assert_allclose(edges, (1 + np.array([-1, 1]) * np.sqrt(gamma)) ** 2, rtol=1e-8)


@pytest.mark.parametrize(
    ("task", "samples"),
    [
        (TaskSpectrum.power_law(1.5, 2.0, modes=500), 20),
        (TaskSpectrum.power_law(1.5, 2.0, modes=500), 500),
        (TaskSpectrum.power_law(1.1, 2.0, modes=500), 3000),
        (spectrum([1.0, 1e-6, 1e-12], [1, 1, 1], 0.0, [3, 5, 7]), 8),
        (spectrum([1.0], [1.0]), 1),
        (TaskSpectrum.power_law(1.5, 2.0, modes=40, tail=True), 30),
    ],
    ids=["few samples", "as many", "many", "three scales", "one", "tail"],
)
def test_moments_are_those_of_gaussian_samples(task, samples):
    """Of the Gram matrix over n: mass, mean Tr S / n, and mean square Tr S^2 / n + (Tr S / n)^2, exact in the limit."""
    fine, coarse = sample_spectrum(RidgeCurve(task, samples, np.inf), 2.5)
    density = (1 / fine.gamma).imag / np.pi
    trace, square = task.trace, float(task.sizes @ task.eigenvalues**2)
    for power, expected in ((0, min(1.0, task.modes / samples)), (1, trace / samples)):
        assert (fine.weights * density) @ fine.eigenvalues**power == pytest.approx(expected, rel=1e-5)
    second = square / samples + (trace / samples) ** 2
    assert (fine.weights * density) @ fine.eigenvalues**2 == pytest.approx(second, rel=1e-6)
    assert (fine.weights > 0).all()
    assert (np.diff(fine.eigenvalues) > 0).all()
    assert fine.bands == coarse.bands


@pytest.mark.long
def test_distribution_is_that_of_drawn_eigenvalues():
    """Shares below the quartiles over 40 draws; linear statistics of eigenvalues fluctuate by about 1 / n."""
    n, task = 200, TaskSpectrum.power_law(1.2, 2.0, modes=300)
    rng = np.random.default_rng(0)
    drawn = np.concatenate(
        [
            np.linalg.svd(rng.standard_normal((n, 300)) * np.sqrt(task.eigenvalues) / np.sqrt(n), compute_uv=False) ** 2
            for _ in range(40)
        ]
    )
    fine, _ = sample_spectrum(RidgeCurve(task, n, np.inf), 2.5)
    density = fine.weights * (1 / fine.gamma).imag / np.pi
    for share in (0.1, 0.25, 0.5, 0.75):
        place = np.quantile(drawn, share)
        found = np.interp(np.log(place), np.log(fine.eigenvalues), np.cumsum(density) - 0.5 * density)
        assert found == pytest.approx(share, abs=2 / n)


def test_bands_are_as_many_as_modes_that_stand_apart():
    """Distant modes have a band each, and neighbours at a distance below 2 lambda / sqrt(n) share one."""
    n = 10_000
    apart = log_bands(np.array([1.0, 0.5, 0.25]), np.ones(3), n)
    assert len(apart) == 3
    assert (np.diff(apart.ravel()) > 0).all()
    np.testing.assert_allclose(np.diff(apart, axis=1)[:, 0], 2 / np.sqrt(n), rtol=0.02)
    close = log_bands(np.array([1.0, 1.0 - 0.5 / np.sqrt(n), 0.25]), np.ones(3), n)
    assert len(close) == 2


@pytest.mark.parametrize("samples", [9.999, 10.0, 10.001])
def test_nothing_jumps_where_samples_pass_the_number_of_modes(samples):
    task = TaskSpectrum.power_law(2.0, 2.0, modes=10)
    fine, _ = sample_spectrum(RidgeCurve(task, samples, np.inf), 2.5)
    density = fine.weights * (1 / fine.gamma).imag / np.pi
    assert density.sum() == pytest.approx(1.0, abs=2e-4)
    assert (density * fine.eigenvalues).sum() == pytest.approx(task.trace / samples, rel=1e-9)
