"""Locality of transfer and the Kato ratio, on systems whose coupling is known."""

import numpy as np
import pytest
from scipy.linalg import expm

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.theory.coupling.kato import kato_ratio
from eigenflow.theory.coupling.locality import transfer_locality
from synthetic_run import budget_of, from_matrix, from_modes, measure

LOG_UNIFORM = 10.0 ** (-3.0 - (np.arange(256) + 0.5) / 64)  # 64 modes a decade over four decades


def rotating(generator, time):
    """A log-uniform spectrum whose basis turns by exp(time G), with an error that is spread evenly."""
    error = np.random.default_rng(1).normal(size=len(LOG_UNIFORM))

    def at(t):
        R = expm(t * generator)
        M = R @ (LOG_UNIFORM[:, None] * R.T)
        return from_matrix(M, generator @ M - M @ generator, error)

    return at


def antisymmetric(profile, seed=0):
    """Random antisymmetric couplings of size profile(distance in modes)."""
    size = len(LOG_UNIFORM)
    distance = np.abs(np.arange(size)[:, None] - np.arange(size)[None, :])
    values = np.triu(np.random.default_rng(seed).normal(size=(size, size)), 1) * profile(distance)
    return values - values.T


@pytest.mark.long
def test_pure_drift_goes_to_neighbours_only():
    """Every mode moves by 1/64 decade in a step; shells are 1/4 decade wide."""

    def path(t):
        return from_modes(LOG_UNIFORM * 10 ** (t / 64), np.zeros(256), np.ones(256))

    found = transfer_locality(budget_of(measure(path, [1.0, 2.0, 3.0], 1.0)))
    np.testing.assert_allclose(found.width, 0.25, rtol=1e-9)
    np.testing.assert_allclose(found.profile[:, 0], 1.0)
    np.testing.assert_array_equal(found.beyond, 0.0)
    assert np.all(found.relative_width < 0.25)


@pytest.mark.long
def test_rotation_without_regard_to_distance_has_the_null_width():
    """Random couplings between all modes: the width is that of the null, up to the scatter of 120 pairs of shells."""
    path = rotating(antisymmetric(lambda d: 1e-4), 0.0)
    found = transfer_locality(budget_of(measure(path, [0.0, 1.0, 2.0], 0.1)))
    assert found.relative_width.mean() == pytest.approx(1.0, abs=0.1)
    # Two thirds of random pairs of points on a line are farther apart than 0.18 of its length.
    assert found.width.mean() == pytest.approx(4.0 / 3.0, rel=0.15)


@pytest.mark.long
def test_banded_rotation_is_local():
    """Couplings that reach 8 modes, 1/8 decade: only neighbouring shells of 1/4 decade exchange."""
    path = rotating(antisymmetric(lambda d: 1e-3 * (d <= 8)), 0.0)
    found = transfer_locality(budget_of(measure(path, [0.0, 1.0], 1e-3)))
    # Second order of the rotation reaches 16 modes: still neighbours.
    assert np.all(found.profile[:, 0] > 0.99)
    assert np.all(found.relative_width < 0.3)


@pytest.mark.parametrize("delta", [0.3, 0.01])
def test_kato_ratio_of_landau_zener_is_the_rotation_rate(delta):
    """M = 3 + [[t, d], [d, -t]]: |Omega| = d / (2 (t^2 + d^2)) between two shells of one mode.

    See equations/hypotheses.md#velocity-and-labels.
    """
    times = np.array([0.5, 1.0, 2.0])

    def at(t):
        return from_matrix(np.array([[3 + t, delta], [delta, 3 - t]]), np.diag([1.0, -1.0]), np.array([1.0, 2.0]))

    found = kato_ratio(measure(at, times, 1e-3), shells_per_decade=16)
    expected = delta / (2 * (times**2 + delta**2))
    np.testing.assert_allclose(found.ratio.max((1, 2)), expected, rtol=1e-9)
    # With one mode in each shell, both turn by it.
    np.testing.assert_allclose(found.angle, (times + 1e-3) * expected, rtol=1e-9)
    np.testing.assert_allclose(found.update_angle, 1e-3 * expected, rtol=1e-9)


@pytest.mark.long
def test_kato_ratio_between_merged_shells_is_that_of_the_merged_projectors():
    """Against ||P_a Mdot P_b||_F written out with projectors on decades."""
    path = rotating(antisymmetric(lambda d: 1e-4), 0.0)
    found = kato_ratio(measure(path, [0.5, 1.5], 0.1), shells_per_decade=1)
    now = path(0.5)
    decade = np.floor(np.log10(now.eigenvalues) + 1e-12)
    a, b = decade == -5, decade == -4
    expected = np.linalg.norm(now.rates[np.ix_(a, b)]) / abs(now.eigenvalues[a].mean() - now.eigenvalues[b].mean())
    row = np.flatnonzero(np.isclose(found.edges, 1e-5))[0] + 1
    assert found.ratio[0, row, row + 1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.rejects
def test_what_cannot_be_measured_is_refused():
    still = measure(lambda t: from_modes(LOG_UNIFORM, np.zeros(256), np.ones(256)), [0.0, 1.0], 1.0)
    with pytest.raises(ArgumentError, match="exchanged energy between two bounded shells"):
        transfer_locality(budget_of(still))
    with pytest.raises(RunFolderError, match=r"`coupling_matrix`.*method='dense'"):
        kato_ratio(still.drop_vars("coupling_matrix"))
