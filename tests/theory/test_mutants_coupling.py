"""Kato angles and exchange beyond neighbours, written out pair by pair."""

import numpy as np
import pytest
from scipy.linalg import expm

from eigenflow.core.grid import shell_index
from eigenflow.theory.coupling.kato import kato_ratio
from eigenflow.theory.coupling.locality import transfer_locality
from synthetic_run import budget_of, from_matrix, measure

RNG_SEED = 3
# Five decades of four modes each, well inside them, so that no eigenvalue lies on an edge.
EIGENVALUES = (10.0 ** (-np.arange(1, 6)[:, None] + np.array([0.3, 0.45, 0.6, 0.75]))).ravel()


def turning(time):
    """A matrix with couplings and energies of no symmetry between all decades."""
    rng = np.random.default_rng(RNG_SEED)
    size = len(EIGENVALUES)
    rates = rng.normal(size=(size, size))
    rates = (rates + rates.T) * np.sqrt(np.outer(EIGENVALUES, EIGENVALUES))
    return from_matrix(np.diag(EIGENVALUES), rates, rng.normal(size=size) * np.arange(1, size + 1))


def rotating(time):
    """The same eigenvalues in a frame that turns, all pairs of modes into each other."""
    rng = np.random.default_rng(RNG_SEED)
    generator = rng.normal(size=(20, 20))
    generator = 0.02 * (generator - generator.T)
    frame = expm(time * generator)
    matrix = frame @ np.diag(EIGENVALUES) @ frame.T
    return from_matrix(matrix, generator @ matrix - matrix @ generator, rng.normal(size=20) * np.arange(1, 21))


def test_angles_are_means_over_energy_of_what_turns_out_of_each_shell():
    """t sqrt(sum_b E_b sum_a K_ab^2 / n_b / sum_b E_b), over all pairs and over those that are no neighbours."""
    times, step = [0.5, 2.0], 0.1
    found = kato_ratio(measure(turning, times, step), shells_per_decade=1)
    now = turning(0.0)
    decade = np.floor(np.log10(now.eigenvalues) + 1e-9).astype(int) + 5
    vectors, energy = np.eye(20), now.coefficients**2
    squares = {True: 0.0, False: 0.0}
    for b in range(5):
        into = vectors[:, decade == b]
        held = energy[decade == b].sum()
        for a in range(5):
            if a == b:
                continue
            outof = vectors[:, decade == a]
            norm = np.linalg.norm(outof.T @ now.rates @ into)
            gap = abs(now.eigenvalues[decade == a].mean() - now.eigenvalues[decade == b].mean())
            part = held * (norm / gap) ** 2 / 4 / energy.sum()
            squares[True] += part
            squares[False] += part if abs(a - b) > 1 else 0.0
    near, far = (np.sqrt(squares[kind]) for kind in (True, False))
    ends = np.array(times) + step
    np.testing.assert_allclose(found.angle, ends * near, rtol=1e-9)
    np.testing.assert_allclose(found.far_angle, ends * far, rtol=1e-9)
    np.testing.assert_allclose(found.update_angle, step * near, rtol=1e-9)
    assert far < 0.99 * near


def test_exchange_is_counted_once_for_each_pair_of_shells():
    """|A_ab - A_ba| of the budget in a loop over bounded shells: neighbours, others, share of the dissipation."""
    budget = budget_of(measure(rotating, [0.0, 1.0], 0.1), shells_per_decade=2)
    found = transfer_locality(budget)
    matrix = budget.transfer_matrix.transpose("step", "shell", "shell_from").values
    last = matrix.shape[1] - 1
    near, beyond = np.zeros(2), np.zeros(2)
    for a in range(1, last):
        for b in range(a + 1, last):
            net = np.abs(matrix[:, a, b] - matrix[:, b, a])
            near += net * (b == a + 1)
            beyond += net * (b > a + 1)
    np.testing.assert_allclose(found.near, near, rtol=1e-12)
    np.testing.assert_allclose(found.beyond, beyond, rtol=1e-12)
    lost = np.abs(budget.dissipation.values).sum(1)
    np.testing.assert_allclose(found.nonlocal_share, beyond / lost, rtol=1e-12)
    assert beyond.min() > 0 and near.min() > 0


def test_energies_in_the_loop_are_those_of_the_shells():
    """The decades above are shells of the run: what the loop over them takes for granted."""
    data = measure(turning, [0.0, 1.0], 1e-3)
    budget = budget_of(data, shells_per_decade=1)
    index = shell_index(turning(0.0).eigenvalues, budget.edges)
    energy = np.bincount(index, turning(0.0).coefficients ** 2, budget.energy.sizes["shell"])
    np.testing.assert_allclose(budget.energy.values[0], energy, rtol=1e-12)
    assert len(np.unique(index)) == 5
    assert budget.energy.values[0].sum() == pytest.approx(energy.sum())
