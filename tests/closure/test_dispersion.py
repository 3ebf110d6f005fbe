"""Is v a function of lambda? Particles: yes. Aligned two-layer linear networks (Saxe): no."""

import numpy as np
import pytest

from eigenflow.closure import velocity_dispersion
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_edges
from particles import mode_dataset, self_similar_modes

EDGES = shell_edges(10.0)[::4]


def saxe(strength, start, times):
    """Diagonal modes of the aligned two-layer network: lambda = 2 a, lambda-dot = lambda (2 s - lambda), g = a - s."""
    grown = np.exp(2 * strength * times[:, None])
    a = strength * grown / (grown - 1 + strength / start)
    lam = 2 * a
    return lam, lam * (2 * strength - lam), (a - strength) ** 2


def test_saxe_solution_has_the_reference_numbers():
    """equations/known_cases.md#aligned-numbers: t = 0.8, s = (4, 3, 2, 1), a0 = (.01, .02, .005, .01)."""
    s, start = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.01, 0.02, 0.005, 0.01])
    lam, rate, _ = saxe(s, start, np.array([0.8]))
    np.testing.assert_allclose(lam[0] / 2, [2.40534754, 1.34756826, 0.11584721, 0.04764683], rtol=1e-7)
    np.testing.assert_allclose(rate[0], [15.3427735, 8.9070583, 0.8730953, 0.1815064], rtol=1e-6)


@pytest.mark.parametrize("b", [0.8, 1.0, 1.5])
def test_particles_are_single_valued(b):
    """Inside a quarter of a decade w = lambda^(b-1) bends from its straight line by (b-1)^2 x 0.04 at most: squared,
    and at |b - 1| = 0.5, below 1e-4."""
    times = np.geomspace(1, 100, 20)
    c0 = 0.3 if b >= 1 else -0.3
    lam = self_similar_modes(10.0 ** np.random.default_rng(0).uniform(-5, 0, 600), times, b=b, c0=c0)
    modes = mode_dataset(lam, np.ones_like(lam), times, -c0 * times[:, None] ** (b - 2) * lam**b)
    found = velocity_dispersion(modes, EDGES)
    assert found.share < 1e-4 and found.energy_share < 1e-4
    assert found.interval[1] < 1e-4


def test_saxe_is_rejected_as_single_valued():
    """Strengths between 0.5 and 4, starts over three decades: at one lambda, w = 2 s - lambda varies with s.

    For s even in ln(s) over (0.5, 4) moments are (4^k - 0.5^k) / (k ln 8). While lambda << s, the share is the variance
    of s over its mean square, with weights 1 and, as g^2 = s^2, with weights s^2. Modes that have learned shift it a
    little."""
    rng = np.random.default_rng(1)
    strength, start = np.exp(rng.uniform(np.log(0.5), np.log(4), 2000)), 10.0 ** rng.uniform(-6, -3, 2000)
    one, two, three, four = ((4.0**k - 0.5**k) / (k * np.log(8)) for k in (1, 2, 3, 4))
    times = np.geomspace(0.01, 0.3, 20)
    lam, rate, energy = saxe(strength, start, times)
    found = velocity_dispersion(mode_dataset(lam, energy, times, rate), EDGES)
    assert found.share == pytest.approx(1 - one**2 / two, abs=0.03)
    assert found.energy_share == pytest.approx(1 - (three / two) ** 2 / (four / two), abs=0.03)
    assert found.interval[0] > 0.1


def test_dispersion_of_random_velocities_is_their_variance_share():
    """w = 1 + noise of standard deviation 1 gives 1/2, however many modes a shell has: degrees of freedom count."""
    rng, times = np.random.default_rng(2), np.geomspace(1, 10, 30)
    for count in (150, 1500):
        lam = np.tile(10.0 ** rng.uniform(-5, 0, count), (30, 1))
        rate = lam * (1 + rng.normal(size=lam.shape))
        found = velocity_dispersion(mode_dataset(lam, np.ones_like(lam), times, rate), EDGES)
        assert found.share == pytest.approx(0.5, abs=0.04)
        assert found.energy_share == pytest.approx(found.share, abs=1e-9)


@pytest.mark.rejects
def test_runs_without_modes_or_with_too_few_are_refused():
    times = np.geomspace(1, 10, 5)
    lam = np.tile(np.array([1.0, 0.1, 0.01]), (5, 1))
    modes = mode_dataset(lam, np.ones_like(lam), times, lam)
    with pytest.raises(ArgumentError, match=r"0 measured times with a shell of 4 moving modes"):
        velocity_dispersion(modes, EDGES)
    with pytest.raises(ArgumentError, match=r"`modes` holds no eigenvalue_rate"):
        velocity_dispersion(modes.drop_vars("eigenvalue_rate"), EDGES)
