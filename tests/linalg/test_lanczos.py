"""Spectral measures by Lanczos against closed forms and dense eigensolvers."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.linalg.krylov import lanczos
from eigenflow.linalg.operator import SymmetricOperator
from problems import samples, tanh_net

EPS = np.finfo(np.float64).eps


def matrix_of(eigenvalues, seed=0):
    """A symmetric matrix with given eigenvalues and random eigenvectors (columns)."""
    rng = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(rng.normal(size=(len(eigenvalues), len(eigenvalues))))
    matrix = vectors * eigenvalues @ vectors.T
    return torch.from_numpy(0.5 * (matrix + matrix.T)), vectors


def dense_below(matrix, row, points):
    """Mass of a row's measure below each point, from all eigenpairs."""
    values, vectors = np.linalg.eigh(np.asarray(matrix))
    return np.array(
        [(np.asarray(row) @ vectors[:, values < x]) @ (np.asarray(row) @ vectors[:, values < x]) for x in points]
    )


def measure_of(matrix, row, steps, **options):
    return lanczos(SymmetricOperator.of_matrix(matrix), row[None], steps, **options)[0].measure


def chebyshev(size):
    """Equal masses on 1 + Chebyshev points: the arcsine law up to degree 2 size - 1."""
    angles = (2 * np.arange(size) + 1) * np.pi / (2 * size)
    return torch.from_numpy(np.diag(1 + np.cos(angles))), torch.full((size,), size**-0.5, dtype=torch.float64)


def test_recurrence_of_the_arcsine_law():
    """Chebyshev polynomials: alpha = 1 (the shift), beta = 2^(-1/2), 1/2, 1/2, ...; rounding grows like the steps."""
    matrix, row = chebyshev(200)
    measure = measure_of(matrix, row, 60)
    np.testing.assert_allclose(measure.diagonal, 1.0, atol=1e-13)
    np.testing.assert_allclose(measure.offdiagonal, [0.5**0.5, *[0.5] * 59], atol=1e-13)


@pytest.mark.parametrize("steps", [5, 20, 80])
def test_bounds_of_the_arcsine_law_are_a_christoffel_function_apart(steps):
    """upper - lower = 1 / sum of p_k(x)^2 = 1 / (1 + 2 sum cos^2 k theta), and the exact law lies between."""
    matrix, row = chebyshev(400)
    measure = measure_of(matrix, row, steps)
    angles = np.linspace(0.03, 0.97, 41) * np.pi
    lower, upper = measure.below(1 + np.cos(angles))
    expected = 1 / (1 + 2 * (np.cos(np.outer(np.arange(1, steps + 1), angles)) ** 2).sum(0))
    # At the centre an odd rule has a node, where bounds are those of points up to 1 / FAR aside.
    np.testing.assert_allclose(upper - lower, expected, rtol=1e-4)
    law = 1 - angles / np.pi  # arcsine distribution function at 1 + cos(angle)
    tolerance = 1 / 400  # of 400 point masses against the smooth law
    assert (lower <= law + tolerance).all() and (law <= upper + tolerance).all()


@pytest.mark.long
@given(seed=st.integers(0, 2**31), size=st.integers(2, 40), steps=st.integers(1, 45), decades=st.floats(0.1, 14))
@settings(max_examples=60, deadline=None)
def test_bounds_hold_for_every_spectrum(seed, size, steps, decades):
    """The inequalities hold without exception, up to rounding: a projector is known to eps ||M|| / distance."""
    rng = np.random.default_rng(seed)
    eigenvalues = 10 ** -rng.uniform(0, decades, size)
    eigenvalues[: size // 4] = eigenvalues[0]  # with a multiple one
    matrix, _ = matrix_of(eigenvalues, seed)
    row = torch.from_numpy(rng.normal(size=size))
    measure = measure_of(matrix, row, steps)
    points = 10 ** -rng.uniform(-0.5, decades + 1, 30)
    distance = np.abs(points[:, None] - eigenvalues).min(1)
    points, distance = points[distance > 1e-12], distance[distance > 1e-12]
    exact = dense_below(matrix, row, points)
    lower, upper = measure.below(points)
    mass = float(row @ row)
    slack = mass * (1e-12 + 100 * EPS / distance)
    assert measure.mass == pytest.approx(mass, rel=1e-14)
    assert (lower <= exact + slack).all() and (exact <= upper + slack).all()


def test_more_steps_never_widen_the_bounds():
    matrix, _ = matrix_of(10 ** -np.linspace(0, 6, 120))
    row = torch.from_numpy(np.random.default_rng(1).normal(size=120))
    points = 10 ** -np.linspace(-0.5, 7, 50)
    widths = []
    for steps in (4, 8, 16, 32, 64, 120):
        lower, upper = measure_of(matrix, row, steps).below(points)
        widths.append(upper - lower)
    assert all((b <= a + 1e-12 * float(row @ row)).all() for a, b in pairwise(widths))
    assert widths[-1].max() == 0.0  # as many steps as dimensions: nothing is left to bound


def test_gauss_rule_has_the_moments_of_the_row():
    """Degree 2 m - 1: v'M^j v exactly, up to rounding."""
    matrix, _ = matrix_of(np.linspace(0.1, 1.0, 30))
    row = torch.from_numpy(np.random.default_rng(2).normal(size=30))
    nodes, masses = measure_of(matrix, row, 5).gauss()
    for degree in range(10):
        exact = float(row @ torch.linalg.matrix_power(matrix, degree) @ row)
        assert masses @ nodes**degree == pytest.approx(exact, rel=1e-13)


def test_bounds_at_a_gauss_node_are_its_mass_apart():
    """There the Radau rule is that of Gauss (its other node is at infinity); points 1 / FAR aside stand for it."""
    matrix, _ = matrix_of(np.linspace(0.1, 1.0, 30))
    measure = measure_of(matrix, torch.ones(30, dtype=torch.float64), 6)
    nodes, masses = measure.gauss()
    lower, upper = measure.below(nodes)
    ends = np.concatenate([[0.0], np.cumsum(masses)])
    np.testing.assert_allclose(lower, ends[:-1], atol=1e-4 * measure.mass)
    np.testing.assert_allclose(upper, ends[1:], atol=1e-4 * measure.mass)
    exact = dense_below(matrix, np.ones(30), nodes)
    assert (lower <= exact + 1e-12).all() and (exact <= upper + 1e-12).all()


class TestBreakdown:
    def test_low_rank_is_known_completely(self):
        """Rank 3: the measure has 3 points and the null space; Lanczos ends after 4 steps and is exact."""
        matrix, vectors = matrix_of(np.array([3.0, 2.0, 1.0] + 17 * [0.0]))
        row = torch.from_numpy(np.random.default_rng(3).normal(size=20))
        measure = measure_of(matrix, row, 15)
        assert measure.is_exact and len(measure.diagonal) == 4
        nodes, masses = measure.gauss()
        np.testing.assert_allclose(nodes, [0, 1, 2, 3], atol=1e-13)
        squares = (vectors.T @ row.numpy()) ** 2
        np.testing.assert_allclose(masses, [squares[3:].sum(), *squares[2::-1]], rtol=1e-11)
        lower, upper = measure.below(np.array([0.5, 1.5, 9.0]))
        np.testing.assert_array_equal(lower, upper)

    def test_dead_network_has_all_mass_at_zero(self):
        measure = measure_of(torch.zeros(7, 7, dtype=torch.float64), torch.ones(7, dtype=torch.float64), 5)
        assert measure.is_exact and measure.mass == pytest.approx(7.0)
        np.testing.assert_allclose(measure.below(np.array([0.0, 1e-30]))[0], [0.0, 7.0])

    def test_eigenvector_ends_after_one_step(self):
        matrix = torch.diag(torch.arange(1.0, 6.0, dtype=torch.float64))
        measure = measure_of(matrix, torch.eye(5, dtype=torch.float64)[2], 5)
        assert measure.is_exact and measure.diagonal.tolist() == [3.0]

    def test_row_of_norm_zero_and_row_inside_the_deflated_space(self):
        matrix, vectors = matrix_of(np.linspace(1, 2, 8))
        known = torch.from_numpy(vectors[:, :3].T.copy())
        for row in (torch.zeros(8, dtype=torch.float64), known[0] - 2.0 * known[2]):
            measure = measure_of(matrix, row, 5, deflate=known)
            assert measure.mass == 0.0 and measure.is_exact
            np.testing.assert_array_equal(measure.below(np.array([0.1, 10.0])), 0.0)

    def test_deflating_everything_leaves_nothing(self):
        matrix, vectors = matrix_of(np.linspace(1, 2, 4))
        measure = measure_of(matrix, torch.ones(4, dtype=torch.float64), 5, deflate=torch.from_numpy(vectors.T.copy()))
        assert measure.mass == 0.0


def test_block_of_starts_gives_the_same_as_one_at_a_time():
    matrix, _ = matrix_of(10 ** -np.linspace(0, 3, 30))
    rows = torch.from_numpy(np.random.default_rng(4).normal(size=(3, 30)))
    rows[1] = matrix @ torch.ones(30, dtype=torch.float64)
    together = lanczos(SymmetricOperator.of_matrix(matrix), rows, 8)
    for row, basis in zip(rows, together, strict=True):
        alone = measure_of(matrix, row, 8)
        np.testing.assert_allclose(basis.measure.diagonal, alone.diagonal, rtol=1e-10)
        gram = basis.vectors @ basis.vectors.T
        assert float((gram - torch.eye(len(gram))).abs().max()) <= 20 * EPS


def test_function_of_the_operator():
    """exp(-t M) v against the dense exponential; 20 steps on a spectrum in [0, 1] leave less than rounding."""
    matrix, _ = matrix_of(np.linspace(0, 1, 50))
    row = torch.from_numpy(np.random.default_rng(5).normal(size=50))
    basis = lanczos(SymmetricOperator.of_matrix(matrix), row[None], 25)[0]
    times = np.array([0.0, 1.0, 3.0])
    nodes, _ = basis.measure.gauss()
    result = basis.function(np.exp(-np.outer(nodes, times)))
    for time, left in zip(times, result, strict=True):
        torch.testing.assert_close(left, torch.linalg.matrix_exp(-time * matrix) @ row, rtol=0, atol=1e-13)


def test_real_network_by_products_only():
    """The measure of e under the matrix-free operator of a network, against its dense eigenpairs."""
    model, (inputs, targets) = tanh_net(3, hidden=9), samples(3, count=20)
    point = ef.Probe(model, inputs, targets).at()
    operator = SymmetricOperator.of_matrix(point.dense())
    free = SymmetricOperator(lambda rows: point.product(rows), operator.space)
    points = 10.0 ** np.linspace(-6, 1, 29)
    exact = dense_below(point.dense(), point.error, points)
    for op in (operator, free):
        lower, upper = lanczos(op, point.error[None], 12)[0].measure.below(points)
        mass = 2 * point.loss
        assert (lower <= exact + 1e-12 * mass).all() and (exact <= upper + 1e-12 * mass).all()
        assert (upper - lower).min() < 1e-3 * mass


@pytest.mark.rejects
class TestRejects:
    def test_steps(self):
        with pytest.raises(ArgumentError, match="`steps` must be at least 1, but is 0"):
            measure_of(torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64), 0)

    @pytest.mark.parametrize("name", ["starts", "deflate"])
    def test_rows_of_wrong_length(self, name):
        rows = {"starts": torch.ones(1, 3, dtype=torch.float64), "deflate": torch.eye(3, dtype=torch.float64)[:1]}
        rows[name] = torch.ones(1, 4, dtype=torch.float64)
        operator = SymmetricOperator.of_matrix(torch.eye(3, dtype=torch.float64))
        with pytest.raises(ShapeError, match=rf"`{name}` must be rows of length 3.*\(1, 4\).*\[None\]"):
            lanczos(operator, rows["starts"], 2, deflate=rows["deflate"])
