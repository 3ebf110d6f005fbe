"""Shell energies and eigenvalue counts below the tracked modes, with their error bars."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_edges, shell_index
from eigenflow.linalg.density import shell_masses, spectral_density, spectral_measures
from eigenflow.linalg.operator import SymmetricOperator
from problems import samples, tanh_net


def network_operator(count=60):
    """M and e of a tanh network, dense, with all eigenpairs (decreasing)."""
    model, (inputs, targets) = tanh_net(4, hidden=40), samples(4, count=count)
    point = ef.Probe(model, inputs, targets).at()
    matrix = point.dense()
    values, columns = torch.linalg.eigh(matrix)
    return matrix, point.error, values.flip(0).numpy(), columns.flip(1).T.contiguous()


def totals(edges, eigenvalues, values):
    sums = np.zeros(len(edges) + 1)
    np.add.at(sums, shell_index(eigenvalues, edges), values)
    return sums


@pytest.mark.parametrize(("modes", "steps"), [(0, 10), (10, 10), (10, 40), (40, 80)])
def test_shell_energies_of_a_network_lie_in_their_bars_and_add_up(modes, steps):
    """Below k tracked modes: every shell within its deterministic bounds, and the whole is ||e||^2."""
    matrix, error, values, vectors = network_operator()
    edges = shell_edges(values[0])
    operator = SymmetricOperator.of_matrix(matrix)
    (measure,) = spectral_measures(operator, error[None], steps=steps, deflate=vectors[:modes])
    tail = shell_masses(measure, edges)
    energies = (vectors @ error).numpy() ** 2
    exact = totals(edges, values[modes:], energies[modes:])
    whole = energies.sum()
    slack = 1e-12 * whole  # rounding of the dense projections
    assert (tail.lower <= exact + slack).all() and (exact <= tail.upper + slack).all()
    assert (tail.lower <= tail.value + slack).all() and (tail.value <= tail.upper + slack).all()
    assert (tail.value >= -slack).all()
    assert energies[:modes].sum() + tail.value.sum() == pytest.approx(float(error @ error), rel=1e-13)


def test_energy_bars_close_with_steps():
    """Every step adds two moments. At full length there is nothing left to bound."""
    matrix, error, values, _ = network_operator()
    edges = shell_edges(values[0])[::4]
    widths = []
    for steps in (10, 40, 120):
        (measure,) = spectral_measures(SymmetricOperator.of_matrix(matrix), error[None], steps=steps)
        tail = shell_masses(measure, edges)
        widths.append(float((tail.upper - tail.lower).sum()))
    assert widths[0] > widths[1] > widths[2]
    # The smallest eigenvalues are rounding of zero, whose shell no method knows.
    assert widths[2] <= 1e-6 * float(error @ error)


def test_counts_of_marchenko_pastur():
    """Wishart matrix of aspect 1/2 against the closed density; its own counts stay within about one of the law."""
    size, ratio = 400, 0.5
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(size, int(size / ratio)))
    matrix = torch.from_numpy(draws @ draws.T / draws.shape[1])
    low, high = (1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2

    def density(x):
        return np.sqrt((high - x) * (x - low)) / (2 * np.pi * ratio * x)

    edges = np.array([0.2, 0.5, 1.0, 1.5, 2.0, 2.5])
    law = np.diff([0.0, *[quad(density, low, x)[0] for x in edges], 1.0]) * size
    generator = torch.Generator().manual_seed(0)
    found = spectral_density(SymmetricOperator.of_matrix(matrix), steps=60, probes=8, generator=generator)
    counts = found.counts(edges)
    assert counts.value.sum() == pytest.approx(size, rel=1e-13)
    assert (counts.lower <= law + 2).all() and (law <= counts.upper + 2).all()
    # Sampling: deviation sqrt(2 N / probes) of about 5 counts, and quadrature of 400 pi / 60 = 20 at the edges.
    np.testing.assert_allclose(counts.value, law, atol=25)
    trace, error = found.trace()
    assert trace == pytest.approx(float(torch.trace(matrix)), abs=4 * error)


@pytest.mark.long
def test_sampling_error_falls_as_one_over_root_probes():
    """Full-length quadrature leaves only sampling: RMS error of a count is sqrt(2 N (n - N) / ((n + 2) probes))."""
    size, edges = 24, np.array([0.5])
    operator = SymmetricOperator.of_matrix(torch.diag(torch.linspace(0.01, 1.0, size, dtype=torch.float64)))
    inside = int((np.linspace(0.01, 1.0, size) < 0.5).sum())
    for probes in (2, 8):
        generator = torch.Generator().manual_seed(1)
        misses = [
            spectral_density(operator, steps=size, probes=probes, generator=generator).counts(edges).value[0] - inside
            for _ in range(60)
        ]
        expected = (2 * inside * (size - inside) / ((size + 2) * probes)) ** 0.5
        # The standard error of a deviation from 60 draws is 9 %; three of them.
        assert np.sqrt(np.mean(np.square(misses))) == pytest.approx(expected, rel=0.27)


@pytest.mark.long
@pytest.mark.parametrize("steps", [24, 6])
def test_intervals_cover_the_counts(steps):
    """90 % intervals over 150 draws: at least 82 % (three standard errors), more where quadrature widens them."""
    size = 24
    eigenvalues = 10.0 ** -np.linspace(0, 4, size)
    operator = SymmetricOperator.of_matrix(torch.diag(torch.from_numpy(eigenvalues)))
    edges = np.array([1e-3, 1e-2, 0.5])
    exact = totals(edges, eigenvalues, np.ones(size))
    generator = torch.Generator().manual_seed(2)
    hits = np.zeros(len(edges) + 1)
    draws = 150
    for _ in range(draws):
        counts = spectral_density(operator, steps=steps, probes=3, generator=generator).counts(edges)
        hits += (counts.lower <= exact) & (exact <= counts.upper)
    assert (hits / draws >= 0.82).all()
    if steps == size:
        assert (hits / draws <= 0.97).all()  # the bars are not simply huge


@pytest.mark.long
def test_trace_and_its_error_cover():
    """Estimate within two standard errors in about 95 % of draws; and the error is that of the sphere."""
    eigenvalues = 10.0 ** -np.linspace(0, 3, 50)
    operator = SymmetricOperator.of_matrix(torch.diag(torch.from_numpy(eigenvalues)))
    generator = torch.Generator().manual_seed(3)
    draws = [spectral_density(operator, steps=2, probes=4, generator=generator).trace() for _ in range(200)]
    values, errors = np.array(draws).T
    exact = eigenvalues.sum()
    deviation = (2 * (50 * (eigenvalues**2).sum() - exact**2) / 52 / 4) ** 0.5
    assert values.mean() == pytest.approx(exact, abs=4 * deviation / 200**0.5)
    assert values.std() == pytest.approx(deviation, rel=0.27)
    assert 0.88 <= np.mean(np.abs(values - exact) <= 2 * errors) <= 0.99


def test_operator_without_eigenvalues_is_all_in_the_lowest_shell():
    operator = SymmetricOperator.of_matrix(torch.zeros(6, 6, dtype=torch.float64))
    found = spectral_density(operator, steps=5, probes=2, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(found.counts(np.array([1e-12, 1.0])).value, [6, 0, 0])
    assert found.trace() == (0.0, 0.0)


@pytest.mark.rejects
class TestRejects:
    def test_probes(self):
        operator = SymmetricOperator.of_matrix(torch.eye(3, dtype=torch.float64))
        with pytest.raises(ArgumentError, match="`probes` must be at least 1, but is 0"):
            spectral_density(operator, steps=2, probes=0, generator=torch.Generator())

    def test_nothing_left(self):
        operator = SymmetricOperator.of_matrix(torch.eye(3, dtype=torch.float64))
        with pytest.raises(ArgumentError, match="`deflate` holds 3 rows, all that there are"):
            spectral_density(
                operator, steps=2, probes=1, generator=torch.Generator(), deflate=torch.eye(3, dtype=torch.float64)
            )
