"""Source and capacity exponents against power laws, random features, and a residual whose regularity changes."""

import numpy as np
import pytest
import xarray as xr

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.theory.exponents.power_spectrum import spectrum_power
from eigenflow.theory.exponents.regularity import regularity
from eigenflow.theory.self_similarity import frontiers
from theory.self_similarity.test_frontier import history

TIMES = np.concatenate([np.linspace(0, 1, 40) ** 3, np.geomspace(1.05, 30, 60)])


def test_exponents_of_exact_power_laws():
    """lambda = k^-1.5, energies k^-1.6: source (1.6 - 1) / 1.5 = 0.4, and the tail K^-0.6 / 0.6.

    See equations/exponents.md#lazy-exponent.
    """
    k = np.arange(1.0, 2001)
    found = spectrum_power(k, k**-1.5, k**-1.6)
    assert found.capacity == pytest.approx(1.5, rel=1e-10)
    assert found.source == pytest.approx(0.4, rel=1e-8)
    # The sum over the modes beyond K, by Euler and Maclaurin (K + 1/2); the integral from K differs by 1 / K.
    assert found.tail == pytest.approx(2000.5**-0.6 / 0.6, rel=2e-3)


def test_intervals_cover_random_coefficients():
    """Gaussian coefficients, 40 draws: a 90 % interval misses 8 of them at most, but for 1 % of the seeds."""
    k = np.arange(1.0, 401)
    hits = 0
    for seed in range(40):
        squares = k**-1.6 * np.random.default_rng(seed).normal(size=400) ** 2
        low, high = spectrum_power(k, k**-1.5, squares).source_interval
        hits += low <= 0.4 <= high
    assert hits >= 32


@pytest.mark.long
def test_power_law_random_features():
    """D = j^(-2 alpha), target j^-beta, d features (equations/exponents.md#four-plus-three-phases).

    Capacity 2 alpha and, far above the saturation at rank d, source (2 alpha + 2 beta - 1) / (2 alpha). 2 beta < 1,
    else the features' own noise adds lambda^(1 - 1/(2 alpha)) / d.
    """
    alpha, beta, ambient, features = 0.7, 0.3, 4000, 800
    rng = np.random.default_rng(0)
    j = np.arange(1.0, ambient + 1)
    W = rng.normal(size=(ambient, features)) / np.sqrt(features)
    root = j[:, None] ** -alpha * W
    eigenvalues, vectors = np.linalg.eigh(root.T @ root)
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    g = vectors.T @ (root.T @ j ** -(alpha + beta)) / np.sqrt(eigenvalues)
    window = slice(9, 150)
    ranks = np.arange(1.0, features + 1)
    found = spectrum_power(ranks[window], eigenvalues[window], g[window] ** 2)
    assert found.capacity == pytest.approx(2 * alpha, rel=0.1)
    low, high = found.source_interval
    assert low < (2 * alpha + 2 * beta - 1) / (2 * alpha) < high
    assert high - low < 0.6


@pytest.mark.parametrize("basis", ["moving", "fixed"])
@pytest.mark.parametrize("rho", [1.0, 1.4])
def test_b_1_transport_preserves_regularity(basis, rho):
    """Source 0.8 and capacity 1.5 at all times; what changes is the trapezoid rule for the integral of lambda."""
    data = history(rho, times=TIMES, seed=1, count=1000)
    found = regularity(_with_rayleigh(data), basis)
    value, (low, high), count = found.late("source")
    assert abs(value) < 0.01
    assert high - low < 0.02  # the same modes at both times, so their scatter cancels
    assert count > 5
    np.testing.assert_allclose(found.capacity, 1.5, rtol=1e-6)
    np.testing.assert_allclose(found.capacity_change, 0.0, atol=1e-6)
    inside = np.abs(found.source - 0.8) <= found.source_half_width
    assert inside.mean() > 0.5


def test_a_change_of_regularity_is_measured():
    """Energies at lambda0 multiplied by lambda0^(0.1 ln(1 + t)): the exponent grows by 0.1 ln(1 + t)."""
    data = history(1.0, times=TIMES, seed=2, count=1000)
    label = data["eigenvalue"].values[0]
    bend = label[None, :] ** (0.05 * np.log1p(data["time"].values[:, None]))
    changed = data.assign(coefficient=data["coefficient"] * xr.DataArray(bend, dims=("step", "mode")))
    found = regularity(changed)
    # The trapezoid rule and the window's own fit leave 0.02; the same modes at both times cancel their scatter.
    np.testing.assert_allclose(found.source_change, 0.1 * np.log1p(found.times), atol=0.02)


def _with_rayleigh(data):
    return data.assign(initial_rayleigh=data["eigenvalue"])


@pytest.mark.rejects
def test_what_has_no_exponents_is_refused():
    data = history(1.0, times=TIMES, count=20)
    with pytest.raises(ArgumentError, match="no time after the first with 30 modes"):
        regularity(data)
    with pytest.raises(RunFolderError, match=r"`initial_coefficient`.*basis='moving'"):
        regularity(data.drop_vars("initial_coefficient"), "fixed")
    resumed = data.assign(initial_time=("step", np.full(len(TIMES), TIMES[3])))
    with pytest.raises(RunFolderError, match="lost when the run was resumed"):
        regularity(resumed, "fixed")
    assert "label" not in frontiers(history(1.0, count=500).assign(initial_time=("step", np.ones(31))))
    with pytest.raises(ArgumentError, match="exponents need 30"):
        spectrum_power(np.arange(1.0, 6), np.ones(5), np.ones(5))
