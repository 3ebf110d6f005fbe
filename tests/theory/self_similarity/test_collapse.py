"""Data collapse of exact self-similar solutions, and of spectra that do not collapse."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.self_similarity.data_collapse import collapse
from eigenflow.transport.selfsimilar import SelfSimilar
from rounding import SEEDS, last_bits

EDGES = 10.0 ** np.arange(-6.0, 1.01, 0.25)
CENTRES = np.sqrt(EDGES[:-1] * EDGES[1:])
TIMES = np.geomspace(1.0, 3e3, 40)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)


def shell_energies(density, times=TIMES):
    """Integrals of density(lambda, t) over the shells, by Gauss quadrature in ln(lambda)."""
    low, high = np.log(EDGES[:-1]), np.log(EDGES[1:])
    x = 0.5 * (high + low)[:, None] + 0.5 * (high - low)[:, None] * NODES
    lam = np.exp(x)
    return np.array([(density(lam, t) * lam * WEIGHTS).sum(1) * 0.5 * (high - low) for t in times])


@pytest.mark.long
@pytest.mark.parametrize(
    ("b", "c0", "s"), [(1.0, 0.0, 0.6), (1.0, -0.6, 0.5), (1.0, 0.4, 0.8), (1.5, -0.5, 0.6), (2.0, 0.5, 0.6)]
)
def test_self_similar_solutions_collapse_with_their_exponents(b, c0, s):
    """z = 1 and a = loss exponent, whatever the drift; the spline's own error is 1e-3 of the height."""
    exact = SelfSimilar(b, c0, s)
    found = collapse(TIMES, CENTRES, shell_energies(exact.density))
    assert found.shift_exponent == pytest.approx(1.0, abs=0.02)
    assert found.decay_exponent == pytest.approx(exact.loss_exponent, abs=0.02)
    assert found.mismatch < 0.02
    assert found.skill > 0.95
    # The curve is G itself, as energy in a shell: by quadrature at the curve's own points.
    y = found.curve_scaled[20:120]
    half = 0.5 * np.log(10) / 4
    z = np.exp(y[:, None] + half * NODES)
    expected = np.log((exact.profile(z) * z * WEIGHTS).sum(1) * half)
    heavy = expected > expected.max() - 4
    np.testing.assert_allclose(found.curve_height[20:120][heavy], expected[heavy], atol=0.1)


def test_initial_labels_collapse_with_the_clock():
    """In labels, exp(-2 lambda0 tau) with tau = t^rho / rho: z = rho and a = rho sigma."""
    rho, sigma = 1.5, 0.6
    energies = shell_energies(lambda lam, t: lam ** (sigma - 1) * np.exp(-2 * lam * t**rho / rho), TIMES[TIMES < 300])
    found = collapse(TIMES[TIMES < 300], CENTRES, energies)
    assert found.shift_exponent == pytest.approx(rho, abs=0.03)
    assert found.decay_exponent == pytest.approx(rho * sigma, abs=0.03)


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_last_bits_of_the_centres_do_not_change_the_collapse(seed):
    """At z = 0 the curve spans whole shells, and their number decides on its knots. Rounding is amplified by the
    normal equations of the splines, whose condition is some 1e6."""
    exact = SelfSimilar(1.0, -0.6, 0.5)
    energies = shell_energies(exact.density)
    found, other = (collapse(TIMES, centres, energies) for centres in (CENTRES, last_bits(CENTRES, seed)))
    np.testing.assert_allclose(other.shift_exponent, found.shift_exponent, atol=1e-8)
    np.testing.assert_allclose(other.shift_interval, found.shift_interval, atol=1e-8)
    assert other.skill == pytest.approx(found.skill, abs=1e-8)


def test_noise_is_covered_by_the_intervals():
    exact = SelfSimilar(1.0, -0.3, 0.6)
    rng = np.random.default_rng(0)
    energies = shell_energies(exact.density) * np.exp(0.1 * rng.normal(size=(len(TIMES), len(CENTRES))))
    found = collapse(TIMES, CENTRES, energies)
    assert found.shift_interval[0] < 1.0 < found.shift_interval[1]
    assert found.decay_interval[0] < exact.loss_exponent < found.decay_interval[1]
    # The scatter of each point, little more for the curve's own error.
    assert found.mismatch == pytest.approx(0.1, rel=0.25)


def test_spectra_with_a_scale_do_not_collapse():
    """Two bumps at fixed places, the upper one decaying: nothing is shifted, so no z fits."""

    def density(lam, t):
        low = np.exp(-0.5 * (np.log(lam / 1e-4) / 0.5) ** 2)
        high = np.exp(-0.5 * (np.log(lam / 1e-1) / 0.5) ** 2) * t**-0.5
        return (low + high) / lam

    found = collapse(TIMES, CENTRES, shell_energies(density))
    assert found.mismatch > 0.15
    assert found.skill < 0.5


@pytest.mark.rejects
def test_too_little_to_collapse():
    with pytest.raises(ArgumentError, match="holds 3 times and 28 shells"):
        collapse(TIMES[:3], CENTRES, np.ones((3, 28)))
