"""Four measured velocities and their intervals, on modes whose velocity is known."""

from dataclasses import replace

import numpy as np
import pytest

from closure.test_residual import ensemble as known_limit
from eigenflow.closure import (
    balance_velocities,
    fit_drift_law,
    rank_velocities,
    seed_intervals,
    shell_velocities,
    time_intervals,
)
from eigenflow.closure.intervals import mode_intervals
from eigenflow.core.errors import ArgumentError
from particles import mode_dataset, particle_budget, self_similar_modes
from rounding import SEEDS

TIMES = np.geomspace(1.0, 1e3, 30)
C0 = 0.3


def ensemble(b=1.0, count=1500, seed=0, share=0.01, scatter=0.0, c0=C0):
    """Modes under v = -c0 t^(b-2) lambda^b with unit energies, spread over five decades; updates last `share` of t."""
    rng = np.random.default_rng(seed)
    lam = self_similar_modes(10.0 ** rng.uniform(-5, 0, count), TIMES, b=b, c0=c0)
    step = share * TIMES
    rate = -c0 * TIMES[:, None] ** (b - 2) * lam**b * (1.0 + scatter * rng.normal(size=count))
    after = lam * np.exp(rate / lam * step[:, None])
    energy = np.ones_like(lam)
    return mode_dataset(lam, energy, TIMES, rate), particle_budget(lam, after, energy, TIMES, step, rate=rate)


def exact(found, b=1.0, c0=C0):
    return -c0 * found.times[:, None] ** (b - 2) * found.eigenvalue ** (b - 1)


@pytest.mark.parametrize("b", [0.8, 1.0, 1.5])
@pytest.mark.parametrize("kind", ["mode", "energy", "rank"])
def test_velocity_is_that_of_the_modes(kind, b):
    """Inside a quarter of a decade the mean of lambda^b differs from the mean lambda to the power b by
    b (b - 1) / 2 times the relative variance 3 %: 1.1 % at b = 1.5. Instant velocities are read at the end of an
    update, 1 % later, where 1 / t is 1 % less; ranks move over intervals of 27 % of t."""
    modes, budget = ensemble(b, c0=C0 if b >= 1 else -C0)
    found = rank_velocities(modes, budget.edges) if kind == "rank" else shell_velocities(budget, kind)
    assert found.is_used.sum() > 300
    ratio = (found.value / exact(found, b, C0 if b >= 1 else -C0))[found.is_used]
    np.testing.assert_allclose(ratio, 1.0, atol=0.03)


def test_flux_through_edges_gives_the_velocity_on_average():
    """Updates that move modes by 0.3 x 10 % of an e-fold carry about 16 modes through an edge, and the density at the
    edge is known to 1 / sqrt(600): the mean over 300 edges and times is good to 4 %, one of them to 25 %. Only where
    little is dissipated during the update, 2 lambda t / 10 < 0.04, does the flux carry the energies of its start."""
    _, budget = ensemble(share=0.1, count=6000)
    found = shell_velocities(budget, "flux")
    ratio = (found.value / exact(found))[found.is_used & (found.eigenvalue * found.times[:, None] < 0.2)]
    assert len(ratio) > 200
    # The update is long: its mean velocity over (t, 1.1 t), read at 1.1 t, where 1 / t is 10 % less.
    assert ratio.mean() == pytest.approx(1.1, abs=0.05)
    assert np.std(ratio) < 0.4


@pytest.mark.long
def test_balance_gives_the_velocity_of_energy_between_measurements():
    """Evenly spaced modes, w = 0.5 / t: flux over density, to what some 20 modes that cross one by one allow."""
    _, budget = known_limit(100_000)
    found = balance_velocities(budget)
    assert found.is_used.sum() > 500
    ratio = (found.times[:, None] * found.value / 0.5)[found.is_used]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.02)
    assert np.quantile(np.abs(ratio - 1), 0.9) < 0.15
    law = fit_drift_law(found, "power", draws=0)
    assert law.b == pytest.approx(1.0, abs=0.03)
    assert law.strength.parameters["p"] == pytest.approx(1.0, abs=0.03)


def test_mode_intervals_hold_the_velocity_of_the_density():
    """Modes with 100 % scatter of lambda-dot: 90 % intervals of 250 shells and times hold the truth in most.

    Scatter belongs to a mode at all times, so shells are some 15 independent trials; below 70 % has probability 2 %."""
    modes, budget = ensemble(scatter=1.0, count=3000)
    found = mode_intervals(modes, budget.edges)
    truth = np.broadcast_to(-C0 / found.times[:, None], found.value.shape)[found.is_used]
    inside = (found.low[found.is_used] <= truth) & (truth <= found.high[found.is_used])
    assert 0.7 <= inside.mean() <= 0.99


def test_time_intervals_average_the_noise_of_single_updates():
    """Independent 100 % noise of all modes at every update (a minibatch): windows of a decade hold the truth."""
    rng = np.random.default_rng(3)
    modes, _ = ensemble()
    lam = modes["eigenvalue"].values
    rate = -C0 / TIMES[:, None] * lam * (1.0 + rng.normal(size=(len(TIMES), 1)))
    step = 0.01 * TIMES
    budget = particle_budget(lam, lam + rate * step[:, None], np.ones_like(lam), TIMES, step, rate=rate)
    found = time_intervals(shell_velocities(budget), windows_per_decade=1)
    assert found.value.shape[0] == 3 and found.behind.max() >= 9
    inside = (found.low <= -C0 / found.times[:, None]) & (-C0 / found.times[:, None] <= found.high)
    assert inside[found.is_used].mean() >= 0.6  # one noise for all shells: three independent trials
    half_width = (
        0.5 * (found.high - found.low)[found.is_used] / (C0 / found.times[:, None] * found.is_used)[found.is_used]
    )
    assert 0.2 < np.median(half_width) < 0.8  # 1.64 / sqrt(10) = 0.52


def test_seed_intervals_hold_the_mean_of_runs():
    """Runs whose strength differs by 20 %: the Student interval over five of them holds the mean strength."""
    rng = np.random.default_rng(1)
    runs = [shell_velocities(ensemble(seed=s, c0=C0 * (1 + 0.2 * rng.normal()))[1]) for s in range(5)]
    found = seed_intervals(runs)
    width = (found.high - found.low)[found.is_used] / (C0 / found.times[:, None] * found.is_used)[found.is_used]
    assert 0.1 < np.median(width) < 1.0 and found.behind.max() == 5
    inside = (found.low <= -C0 / found.times[:, None]) & (-C0 / found.times[:, None] <= found.high)
    assert inside[found.is_used].mean() > 0.9


@pytest.mark.rejects
@pytest.mark.parametrize("seed", SEEDS)
def test_rounding_of_a_standing_operator_is_no_velocity(seed):
    """Eigenvalues that solvers give anew at every measurement differ in the last bits of the largest one."""
    rng = np.random.default_rng(seed)
    lam = np.tile(10.0 ** rng.uniform(-5, 0, 1500), (len(TIMES), 1))
    solved = lam + 2 * np.finfo(np.float64).eps * rng.normal(size=lam.shape)
    still = particle_budget(lam, lam, np.ones_like(lam), TIMES, 0.01 * TIMES)
    rounding = 1e-16 * (still.energy.sum("shell") / still.step_size).values[:, None]
    flux = still.flux + rounding * rng.normal(size=still.flux.shape)
    with pytest.raises(ArgumentError, match="0 measured times with at least 3 shells of 3 moving"):
        rank_velocities(mode_dataset(solved, np.ones_like(lam), TIMES), still.edges)
    with pytest.raises(ArgumentError, match="0 measured times with at least 3 shells of 3 moving"):
        shell_velocities(replace(still, flux=flux), "flux")


@pytest.mark.rejects
def test_bad_velocities_are_refused():
    modes, budget = ensemble(count=300)
    with pytest.raises(ArgumentError, match=r"`kind` must be 'mode'.*but is 'rank'.*rank_velocities"):
        shell_velocities(budget, "rank")
    with pytest.raises(ArgumentError, match=r"`modes` holds no `eigenvalue`"):
        rank_velocities(modes.drop_vars("eigenvalue"), budget.edges)
    with pytest.raises(ArgumentError, match=r"`modes` holds no eigenvalue_rate.*time_intervals"):
        mode_intervals(modes.drop_vars("eigenvalue_rate"), budget.edges)
    found = shell_velocities(budget)
    with pytest.raises(ArgumentError, match=r"`runs` must be at least 3 runs.*but are 2"):
        seed_intervals([found, found])
    with pytest.raises(ArgumentError, match=r"`runs` must have the same kind"):
        seed_intervals([found, found, shell_velocities(budget, "energy")])
    with pytest.raises(ArgumentError, match=r"no window with 3 measured times"):
        time_intervals(found, windows_per_decade=1000)
