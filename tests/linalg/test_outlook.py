"""What is seen of residuals in small matrices, against residuals formed from dense matrices."""

import pytest
import torch

from eigenflow.linalg import ModeTracker, SolveStatus, SymmetricOperator
from eigenflow.linalg.certificate import certified_pairs
from eigenflow.linalg.outlook import SLACK, outlook
from eigenflow.linalg.pairs import SolveStats
from eigenflow.linalg.subspace import Subspace
from linalg.spectra import power_law, rotation, with_spectrum

MODES = 6


def near(matrix, angle, count=12, dtype=torch.float64):
    """A subspace of exact leading eigenvectors, each turned by a random vector of length `angle`."""
    rows = torch.linalg.eigh(matrix)[1].T.flip(0)[:count]
    noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    subspace = Subspace(SymmetricOperator.of_matrix(matrix, product_dtype=dtype), 40)
    subspace.add(subspace.complement(rows + angle * noise / len(matrix) ** 0.5))
    return subspace


@pytest.mark.parametrize("angle", [0.3, 1e-2, 1e-4])
def test_residuals_and_their_products_are_those_of_the_dense_matrix(angle):
    """Also after more rows and after a restart, when the known part of the squares has to grow or begin anew."""
    matrix = with_spectrum(power_law(150, 0.5))
    subspace = near(matrix, angle)
    for change in ("none", "add", "shrink"):
        if change == "add":
            subspace.residual_gram(3)
            subspace.add(subspace.complement(rotation(150, 5)[:4]))
        if change == "shrink":
            subspace.shrink(10)
        vectors, values = subspace.ritz().vectors(8), subspace.ritz().values[:8]
        residuals = vectors @ matrix - values[:, None] * vectors
        # Squares of residuals lose what rounding takes from squares of eigenvalues: 1e-16, some of it at each sum.
        torch.testing.assert_close(subspace.residual_gram(8), residuals @ residuals.T, rtol=0, atol=1e-14)
        weights = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
        rows = subspace.ritz().residual_rows(weights, first=2)
        torch.testing.assert_close(rows, weights @ residuals[2:5], rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("angle", [0.3, 0.03, 3e-3, 3e-4, 0.0])
def test_nothing_is_turned_away_that_a_certificate_would_accept(angle, dtype):
    """Bounds pair by pair exceed the certified ones by what the slack covers: they ask in vain rather than not at all.

    Residuals that cancel (angle 0) are told to be certified.
    """
    subspace = near(with_spectrum(power_law(150, 0.5)), angle, dtype=dtype)
    seen = outlook(subspace, MODES, 1e-5)
    pairs = certified_pairs(subspace, MODES, 1e-5, SolveStats(0, 0, 0, 0))
    if float(seen.residuals.min()) > 1e-6:
        assert bool((SLACK * seen.bounds <= pairs.eigenvalue_bounds).all())
    if pairs.status is not SolveStatus.LIMIT_REACHED:
        assert seen.may_be_reached


def test_pairs_far_from_their_tolerance_are_refused():
    """Control: random rows are no eigenvectors, whatever they are asked about."""
    matrix = with_spectrum(power_law(150, 0.5))
    subspace = Subspace(SymmetricOperator.of_matrix(matrix), 40)
    subspace.add(rotation(150, 3)[:12])
    seen = outlook(subspace, MODES, 1e-5)
    assert not seen.may_be_reached and seen.missing == MODES and seen.excess > 1e3
    assert certified_pairs(subspace, MODES, 1e-5, SolveStats(0, 0, 0, 0)).status is SolveStatus.LIMIT_REACHED


def test_directions_hold_what_adds_most_to_the_bounds():
    """One pair is far worse than the rest: the first direction is its residual's."""
    matrix = with_spectrum(power_law(150, 0.5))
    rows = torch.linalg.eigh(matrix)[1].T.flip(0)
    start = rows[:12].clone()
    start[:, :] += 1e-6 * rows[20:32]
    start[2] += 0.05 * rows[40]
    subspace = Subspace(SymmetricOperator.of_matrix(matrix), 40)
    subspace.add(subspace.complement(start))
    weights = outlook(subspace, MODES, 1e-5).worst_weights(1)
    direction = subspace.complement(subspace.ritz().residual_rows(weights))[0]
    assert abs(float(direction @ rows[40])) > 0.99


@pytest.mark.long
def test_a_tracker_never_reports_an_unreached_tolerance_as_reached():
    """Spectra whose last modes touch the guards, turned far: every pair certified is within its bound, or marked."""
    for seed in range(4):
        draw = torch.rand(160, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        values = (0.2 + draw).sort(descending=True).values
        Q, skew = rotation(160, seed), torch.randn(160, 160, generator=torch.Generator().manual_seed(9)).double()
        turn = torch.linalg.matrix_exp(2e-3 * (skew - skew.T))
        for depth in (0, 2, 32):
            tracker, basis = ModeTracker(12, tolerance=1e-5, depth=depth), Q
            for _ in range(3):
                matrix = (basis * values) @ basis.T
                pairs = tracker.update(SymmetricOperator.of_matrix(matrix)).pairs
                exact = torch.linalg.eigvalsh(matrix).flip(0)[:12]
                errors = (pairs.eigenvalues - exact).abs()
                assert bool((errors <= 1e-5 * exact)[pairs.is_converged].all())
                assert bool((errors <= pairs.eigenvalue_bounds + 1e-12)[pairs.is_converged].all())
                assert depth == 0 or pairs.status is SolveStatus.CONVERGED
                basis = turn @ basis
