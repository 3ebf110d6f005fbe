"""Clocks of resampled modes: one Newton step against clocks solved anew, and the interval's coverage."""

import numpy as np
import pytest

from eigenflow.core.resampling import block_indices
from eigenflow.theory.effective_time.bootstrap import draw_clocks
from eigenflow.theory.effective_time.clocks import error_clocks, operator_clocks, solve_clock
from theory.moving_modes import measured

RATES = np.geomspace(3.0, 1e-3, 120)
TIMES = np.append(0.0, np.geomspace(0.05, 300, 25))


def noisy(noise, seed=0):
    """Every mode has a clock tau_u = t (1 + noise normal_u): no two agree, and their mean is t."""
    rng = np.random.default_rng(seed)
    start = rng.normal(size=len(RATES))
    own = 1 + noise * rng.normal(size=len(RATES))
    g = start * np.exp(-RATES * own * TIMES[:, None])
    return measured(TIMES, RATES * np.where(TIMES[:, None] > 0, own, 1.0), g, initial_coefficient=g)


def solved_anew(clocks, counts):
    """Clocks of modes weighted by how often they were drawn, without any linearisation."""
    modes = clocks.modes
    weighted, later = counts * modes.energies, counts * modes.later
    common = solve_clock(modes.rates, weighted, later.sum(1))
    taus = [
        solve_clock(modes.rates[inside], weighted[inside], later[:, inside].sum(1))
        for clock in range(clocks.taus.shape[1])
        if (inside := modes.owners == clock).any() and weighted[inside].sum() > 0
    ]
    return common, np.stack(taus, axis=1)


@pytest.mark.parametrize("clocks_of", [operator_clocks, error_clocks])
def test_newton_step_is_first_order(clocks_of):
    """Its miss falls with the square of what the draw changes: 4 times at half the noise."""
    misses = []
    for noise in (0.02, 0.01):
        clocks = clocks_of(noisy(noise))
        drawn = draw_clocks(clocks, np.random.default_rng(1), draws=8)
        index = block_indices(len(RATES), np.random.default_rng(1), draws=8)
        miss = [
            np.abs(common / solved_anew(clocks, np.bincount(row, minlength=len(RATES)))[0] - 1).max()
            for common, row in zip(drawn.common, index, strict=True)
        ]
        misses.append(max(miss))
    assert misses[0] < 1e-3 and np.log2(misses[0] / misses[1]) == pytest.approx(2.0, abs=0.4)


def test_clocks_that_agree_have_no_interval():
    clocks = error_clocks(noisy(0.0))
    drawn = draw_clocks(clocks, np.random.default_rng(0))
    assert drawn.spread.max() <= 1e-9
    np.testing.assert_allclose(drawn.common, np.broadcast_to(clocks.common, drawn.common.shape), rtol=1e-9)


def test_weights_add_up_and_the_last_decade_is_cut_out():
    clocks = error_clocks(noisy(0.1))
    drawn = draw_clocks(clocks, np.random.default_rng(0), last_decade=True, draws=20)
    np.testing.assert_array_equal(drawn.times, clocks.times[clocks.last_decade])
    np.testing.assert_allclose(drawn.weights.sum(2), 1.0, rtol=1e-12)
    whole = draw_clocks(clocks, np.random.default_rng(0), draws=20)
    np.testing.assert_allclose(drawn.common, whole.common[:, clocks.last_decade], rtol=1e-12)


@pytest.mark.long
def test_interval_of_the_common_time_holds_the_truth():
    """The mean clock is t. Of 60 ensembles the 90 % interval holds it in at least 75 %: the binomial error is 4 %,
    and blocks of five of about 15 modes that count at a time make a percentile interval narrow."""
    held = 0
    for seed in range(60):
        clocks = error_clocks(noisy(0.1, seed))
        low, high = np.quantile(draw_clocks(clocks, np.random.default_rng(seed)).common[:, 12], [0.05, 0.95])
        held += low <= clocks.times[12] <= high
    assert held >= 0.75 * 60
