"""S from the transfer matrix: jumps are a source, neighbours are a flux, and what turns back and forth is neither."""

from dataclasses import replace

import numpy as np
import pytest

from eigenflow.closure import nonlocal_source
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_index
from particles import particle_budget, self_similar_modes

TIMES = np.geomspace(1.0, 100.0, 24)


def moving(c0=-0.3, count=2000):
    lam = self_similar_modes(10.0 ** np.random.default_rng(0).uniform(-4, 0, count), TIMES, b=1.0, c0=c0)
    step = 0.05 * TIMES
    return particle_budget(lam, lam * np.exp(-c0 * 0.05), np.ones_like(lam), TIMES, step)


def with_jumps(budget, exchange):
    """Add net exchanges (step, to, from), antisymmetric halves of which go to A."""
    matrix = budget.transfer_matrix.copy()
    matrix.values += 0.5 * (exchange - exchange.transpose(0, 2, 1))
    transfer = budget.transfer.copy(data=matrix.values.sum(2) - matrix.values.sum(1))
    return replace(budget, transfer_matrix=matrix, transfer=transfer)


def test_drift_alone_has_no_source_and_its_flux_is_that_of_the_law():
    """Modes move by 1.5 % of an e-fold, a shell is 58 % wide: none jumps over one. Flux t Phi / E = -t w n.

    With 2000 modes, 1/9.2 of the energy is in a unit of ln(lambda): -0.3 / 9.2 through each edge inside, minus what the
    update dissipates on the way, to the 15 % that 10 modes x 5 updates allow."""
    found = nonlocal_source(moving())
    assert np.abs(found.share).max() < 1e-12 and np.abs(found.source).max() < 1e-12
    inside = np.log(found.edges[1:-1])
    edge = (inside > np.log(0.9e-3)) & (inside < np.log(0.004))  # three edges; the bounds are none
    assert found.flux_local[:, edge].mean() == pytest.approx(-0.3 / np.log(1e4), rel=0.15)
    np.testing.assert_allclose(found.local.sum(1), 0.0, atol=1e-12)


def test_jumps_are_found_as_the_source_that_was_put_in():
    """One per mille of the energy per update jumps from the shell above 0.1 to that above 0.001.

    Both are named by their centres: 0.1 and 0.001 are edges, and which shell they belong to goes by rounding."""
    budget = moving()
    low, high = shell_index(10.0 ** np.array([-2.875, -0.875]), budget.edges)
    energy = budget.energy.values.sum(1)
    exchange = np.zeros(budget.transfer_matrix.shape)
    exchange[:, low, high] = 1e-3 * energy
    found = nonlocal_source(with_jumps(budget, exchange))
    rate = 1e-3 / (0.05 / 1.05)  # per unit of ln(t): t / dt at the end of an update
    np.testing.assert_allclose(found.source[:, low - 1], rate, rtol=1e-9)
    np.testing.assert_allclose(found.source[:, high - 1], -rate, rtol=1e-9)
    np.testing.assert_allclose(found.source.sum(1), 0.0, atol=1e-12)
    # It passes 2 decades of 4 shells; through all 8 edges between goes the same.
    passed = found.flux_nonlocal[:, low - 1 : high - 1]
    assert passed.shape[1] == 8
    np.testing.assert_allclose(passed, rate, rtol=1e-9)
    # Neighbours exchange what passes through the edge between them; the jump is exchanged once, however far it goes.
    expected = rate / (rate + np.abs(found.flux_local).sum(1))
    np.testing.assert_allclose(found.share, expected, rtol=1e-9)
    assert (found.share_low <= found.share + 1e-12).all() and (found.share <= found.share_high + 1e-12).all()


def test_exchange_that_turns_back_and_forth_averages_out():
    """Jumps of random sign: what is left of them in the mean falls as 1 / sqrt(updates)."""
    rng, budget = np.random.default_rng(1), moving(c0=-0.3)
    draw = rng.normal(size=budget.transfer_matrix.shape)
    reach = np.abs(np.subtract.outer(np.arange(draw.shape[1]), np.arange(draw.shape[1])))
    full = budget.mode_count.values > 0
    noise = 1e-4 * draw * (reach > 1) * full[:, :, None] * full[:, None, :] * budget.energy.values.sum(1)[:, None, None]
    noisy = with_jumps(budget, noise)
    fine, coarse = (nonlocal_source(noisy, windows_per_decade=w) for w in (4, 1))
    ratio = np.abs(coarse.source).mean() / np.abs(fine.source).mean()
    assert ratio == pytest.approx(np.sqrt(fine.updates.mean() / coarse.updates.mean()), rel=0.15)


@pytest.mark.rejects
def test_an_operator_that_stands_still_has_no_source():
    lam = np.tile(10.0 ** np.random.default_rng(0).uniform(-4, 0, 200), (24, 1))
    still = particle_budget(lam, lam, np.ones_like(lam), TIMES, 0.01 * TIMES)
    # l'P'_a P_b l is known to the rounding of both factors' lengths.
    lengths = np.sqrt(still.energy.values)
    rounding = 1e-16 * np.random.default_rng(1).normal(size=still.transfer_matrix.shape)
    for budget in (still, with_jumps(still, rounding * lengths[:, :, None] * lengths[:, None, :])):
        with pytest.raises(ArgumentError, match=r"no window with 3 measured updates that exchange energy"):
            nonlocal_source(budget)
