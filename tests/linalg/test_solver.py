"""The block solver against dense eigenpairs, and what it says about its own accuracy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import eigsh

from eigenflow.core.errors import ArgumentError, ConvergenceError, NonFiniteError, ShapeError
from eigenflow.linalg import RowSpace, SolveStatus, SymmetricOperator, block_eigenpairs
from linalg.spectra import power_law, with_spectrum

SPECTRA = {
    "power law": power_law(300, 0.7),
    "exponential": torch.exp(-0.3 * torch.arange(300, dtype=torch.float64)),
    "flat": torch.linspace(2.0, 1.0, 300, dtype=torch.float64),
    "pairs": power_law(150).repeat_interleave(2),
    "sixfold": power_law(50).repeat_interleave(6),  # more than the block holds
    "rank 7": torch.cat([power_law(7), torch.zeros(293, dtype=torch.float64)]),
    "identity": torch.ones(300, dtype=torch.float64),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_pair_lies_within_its_certificate(name, dtype):
    """Oracle: the spectrum that the matrix was made with (rounded to 1e-14 by its making)."""
    expected, modes = SPECTRA[name], 12
    operator = SymmetricOperator.of_matrix(with_spectrum(expected), product_dtype=dtype)
    pairs = block_eigenpairs(operator, modes, tolerance=1e-6)
    if dtype == torch.float64:
        assert pairs.status is SolveStatus.CONVERGED and bool(pairs.is_converged.all())
    else:  # some spectra have pairs at 1e-6 of the largest, or no gaps: float32 cannot certify them, and says so
        assert pairs.status in (SolveStatus.CONVERGED, SolveStatus.ROUNDING_REACHED)
    errors = (pairs.eigenvalues - expected[:modes]).abs()
    # Rounding the matrix to float32 moves eigenvalues by more than rounding in products does: 2^-24 an entry,
    # in the mean square over a row.
    rounded = 0.0 if dtype == torch.float64 else 2.0**-24 * float(expected.square().sum().sqrt())
    assert bool((errors <= pairs.eigenvalue_bounds + rounded + 1e-13).all())
    assert bool((errors <= 1e-6 * expected[:modes] + 2e-6 * (dtype == torch.float32) + 1e-13).all())
    gram = pairs.eigenvectors @ pairs.eigenvectors.T
    torch.testing.assert_close(gram, torch.eye(modes, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("tail", [40, 240])
@pytest.mark.parametrize("tolerance", [0.03, 0.01, 0.001])
def test_loose_tolerance_does_not_miss_eigenvectors_above_a_gap(tail, tolerance):
    """40 of 60 eigenvalues between 12 and 20, the rest below 5: Ritz values settle below the gap before all are there.

    Without a direction sent through the complement, 7 of 15 such solves (tail 40, 0.03) had an eigenvalue off by up to
    20 % of it, up to 8000 times its bound. With the smaller tail the basis ends as the whole space.
    """
    for seed in range(15):
        draw = [torch.rand(n, generator=torch.Generator().manual_seed(s)).double() for n, s in ((60, seed), (tail, 99))]
        expected = torch.cat([12 + 8 * draw[0], 5 * draw[1]]).sort(descending=True).values
        operator = SymmetricOperator.of_matrix(with_spectrum(expected, seed))
        pairs = block_eigenpairs(operator, 40, tolerance=tolerance, generator=torch.Generator().manual_seed(seed))
        assert pairs.status is SolveStatus.CONVERGED
        assert bool(((pairs.eigenvalues - expected[:40]).abs() <= pairs.eigenvalue_bounds + 1e-12).all()), seed


@pytest.mark.parametrize("name", ["power law", "flat", "exponential"])
def test_eigenvectors_lie_within_their_angle(name):
    matrix = with_spectrum(SPECTRA[name])
    pairs = block_eigenpairs(SymmetricOperator.of_matrix(matrix), 12, tolerance=1e-8)
    exact = torch.linalg.eigh(matrix)[1].T.flip(0)[:12]
    cosine = (exact * pairs.eigenvectors).sum(1).abs()
    sine = torch.linalg.vector_norm(pairs.eigenvectors - (pairs.eigenvectors @ exact.T) @ exact, dim=1)
    outside = (1 - cosine.square()).clamp(min=0).sqrt()
    assert bool((torch.maximum(sine, outside) <= pairs.angle_bounds + 1e-7).all())  # 1 - cos^2 has 1e-16
    assert float(pairs.angle_bounds.max()) < 0.02


def test_residuals_are_those_of_the_operator():
    matrix = with_spectrum(power_law(200))
    pairs = block_eigenpairs(SymmetricOperator.of_matrix(matrix), 8)
    remainders = pairs.eigenvectors @ matrix - pairs.eigenvalues[:, None] * pairs.eigenvectors
    torch.testing.assert_close(pairs.residuals, torch.linalg.vector_norm(remainders, dim=1), rtol=1e-6, atol=1e-14)


def test_agrees_with_scipy_in_no_more_than_half_as_many_products_again():
    """A block of four pays for its breadth; eigsh takes one vector at a time."""
    matrix = with_spectrum(torch.cat([torch.linspace(3, 1, 40).double(), power_law(960, 0.5)]))
    counted = [0]

    class Counted:
        shape, dtype = matrix.shape, np.dtype(float)

        def matvec(self, v):
            counted[0] += 1
            return matrix.numpy() @ v.reshape(-1)

        __matmul__ = matvec

    from scipy.sparse.linalg import LinearOperator

    linear = LinearOperator(matrix.shape, matvec=Counted().matvec, dtype=float)
    values = eigsh(linear, k=16, tol=1e-5, return_eigenvectors=False, v0=np.ones(1000))
    pairs = block_eigenpairs(SymmetricOperator.of_matrix(matrix), 16, tolerance=1e-8)
    np.testing.assert_allclose(pairs.eigenvalues, np.sort(values)[::-1], rtol=1e-7)
    assert pairs.stats.products <= 1.5 * counted[0]


def test_restarts_keep_what_was_found():
    matrix = with_spectrum(power_law(400, 0.3))
    operator = SymmetricOperator.of_matrix(matrix)
    tight = block_eigenpairs(operator, 10, tolerance=1e-9, block=2, max_basis=30)
    assert tight.status is SolveStatus.CONVERGED and tight.stats.restarts >= 1 and tight.stats.basis <= 30
    torch.testing.assert_close(tight.eigenvalues, power_law(400, 0.3)[:10], rtol=1e-8, atol=0)


@given(seed=st.integers(0, 2**31 - 1), size=st.integers(1, 30), block=st.integers(1, 6), rank=st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_small_operators_of_any_rank(seed, size, block, rank):
    """The whole range of sizes, ranks (zero included) and blocks, up to all pairs of the operator."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(size, min(rank, size), generator=generator, dtype=torch.float64)
    matrix = factor @ factor.T
    modes = 1 + seed % size
    pairs = block_eigenpairs(SymmetricOperator.of_matrix(matrix), modes, tolerance=1e-8, block=block)
    expected = torch.linalg.eigvalsh(matrix).flip(0)[:modes]
    assert pairs.status is SolveStatus.CONVERGED
    scale = float(matrix.diagonal().sum())
    torch.testing.assert_close(pairs.eigenvalues, expected, rtol=1e-7, atol=1e-12 * scale)


def test_dead_operator_has_zero_eigenvalues_in_one_cluster():
    operator = SymmetricOperator.of_matrix(torch.zeros(50, 50, dtype=torch.float64))
    pairs = block_eigenpairs(operator, 5)
    assert pairs.status is SolveStatus.CONVERGED
    assert float(pairs.eigenvalues.abs().max()) == 0.0 and float(pairs.eigenvalue_bounds.max()) == 0.0
    assert pairs.clusters.tolist() == [0] * 5


def test_more_modes_than_the_rank_are_null_and_say_so():
    expected = torch.cat([power_law(6), torch.zeros(94, dtype=torch.float64)])
    pairs = block_eigenpairs(SymmetricOperator.of_matrix(with_spectrum(expected)), 20)
    assert pairs.status is SolveStatus.CONVERGED
    torch.testing.assert_close(pairs.eigenvalues, expected[:20], rtol=1e-12, atol=1e-13)
    assert len(set(pairs.clusters[6:].tolist())) == 1


def test_copies_that_the_start_cannot_see_are_found():
    """Started in an invariant subspace that lacks the largest pair: nothing leaves it, no residual is wrong."""
    values = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0] + [0.1] * 45, dtype=torch.float64)
    matrix = with_spectrum(values)
    rows = torch.linalg.eigh(matrix)[1].T.flip(0)
    start = rows[1:3].clone()  # exact eigenvectors two and three: nothing leaves their span
    pairs = block_eigenpairs(SymmetricOperator.of_matrix(matrix), 2, start=start, block=1)
    torch.testing.assert_close(pairs.eigenvalues, values[:2], rtol=1e-6, atol=0)


@pytest.mark.parametrize("seed", range(6))
def test_pairs_stay_within_a_wide_tolerance_after_the_search(seed):
    """A wide tolerance sees one cluster, so the complement is searched: its bound rises, and pairs must come nearer."""
    generator = torch.Generator().manual_seed(seed)
    matrix = with_spectrum(20.0 * torch.rand(600, generator=generator, dtype=torch.float64).sqrt(), seed)
    pairs = block_eigenpairs(SymmetricOperator.of_matrix(matrix), 40, tolerance=0.1)
    assert pairs.status is SolveStatus.CONVERGED
    assert bool((pairs.eigenvalue_bounds <= 0.1 * pairs.eigenvalues).all())
    exact = torch.linalg.eigvalsh(matrix)
    nearest = (pairs.eigenvalues[:, None] - exact[None]).abs().min(1).values
    assert bool((nearest <= pairs.residuals + 1e-13).all())


def test_tolerance_beyond_float32_is_said_to_be_out_of_reach():
    operator = SymmetricOperator.of_matrix(with_spectrum(power_law(100)), product_dtype=torch.float32)
    pairs = block_eigenpairs(operator, 4, tolerance=1e-10)
    assert pairs.status is SolveStatus.ROUNDING_REACHED and pairs.stats.products < 200
    assert 1e-9 < float(pairs.eigenvalue_bounds.max()) < 1e-5


def test_pairs_that_run_out_of_products_are_marked():
    matrix = with_spectrum(torch.linspace(2.0, 1.9, 500).double())
    operator = SymmetricOperator.of_matrix(matrix)
    pairs = block_eigenpairs(operator, 20, max_products=40)
    assert pairs.status is SolveStatus.LIMIT_REACHED and not bool(pairs.is_converged.all())
    exact = torch.linalg.eigvalsh(matrix)
    nearest = (pairs.eigenvalues[:, None] - exact[None]).abs().min(1).values
    assert bool((nearest <= pairs.residuals + 1e-13).all())  # the one bound that always holds
    with pytest.raises(ConvergenceError, match=r"of 20 eigenpairs .* after 40 products.*`max_products`"):
        block_eigenpairs(operator, 20, max_products=40, require_converged=True)


def test_progress_counts_up():
    seen = []
    operator = SymmetricOperator.of_matrix(with_spectrum(power_law(200)))
    block_eigenpairs(operator, 10, progress=lambda products, converged: seen.append((products, converged)))
    assert seen == sorted(seen) and seen[-1][1] == 10


def test_same_seed_same_pairs():
    operator = SymmetricOperator.of_matrix(with_spectrum(power_law(100)))
    first, second = (block_eigenpairs(operator, 5) for _ in "ab")
    assert torch.equal(first.eigenvectors, second.eigenvectors)


@pytest.mark.rejects
def test_products_that_are_not_finite_stop_the_solve():
    operator = SymmetricOperator(lambda rows: rows * torch.nan, RowSpace(10))
    with pytest.raises(NonFiniteError, match=r"NaN or infinite.*product_dtype"):
        block_eigenpairs(operator, 2)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"modes": 0}, ArgumentError, r"`modes` must lie in \[1, 10\].*is 0"),
        ({"modes": 11}, ArgumentError, r"`modes` must lie in \[1, 10\].*is 11"),
        ({"modes": 2, "tolerance": 0.0}, ArgumentError, r"`tolerance`.*is 0\.0"),
        ({"modes": 2, "block": 0}, ArgumentError, r"`block`.*is 0"),
        ({"modes": 2, "start": torch.ones(10)}, ShapeError, r"`start`.*\(rows, 10\).*\(10,\)"),
        ({"modes": 4, "max_products": 3}, ArgumentError, r"`max_products`.*at least `modes`, 4.*is 3"),
    ],
)
def test_bad_requests_are_refused(arguments, error, message):
    operator = SymmetricOperator.of_matrix(torch.eye(10, dtype=torch.float64))
    with pytest.raises(error, match=message):
        block_eigenpairs(operator, **arguments)


@pytest.mark.rejects
def test_matrix_must_be_square():
    with pytest.raises(ShapeError, match=r"`matrix` must be square.*\(2, 3\)"):
        SymmetricOperator.of_matrix(torch.ones(2, 3))
