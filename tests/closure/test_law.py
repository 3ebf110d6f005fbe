"""The drift law, on modes that move by a known one."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.closure import run_velocities, shell_velocities
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import log_steps
from eigenflow.theory import Evidence
from rounding import SEEDS, last_bits
from synthetic import drifting_budget
from synthetic_run import DatasetRun, measure, power_law_modes

TIMES = np.geomspace(1.0, 1e3, 40)


def modes(seed=0, count=400):
    return np.tile(10.0 ** np.random.default_rng(seed).uniform(-5, 0, count), (len(TIMES), 1))


@pytest.mark.parametrize("b", [0.7, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_power_drift_is_returned_with_its_sign(b, sign):
    """v = -c0 t^(b-2) lambda^b, the self-similar family (equations/hypotheses.md#scale-covariance):
    b, the sign, and c(t) ~ t^(b-2).

    Inside a shell a quarter of a decade wide the mean of lambda^b differs from the mean lambda, to the power b,
    by up to b (b - 1) / 2 times its relative variance of 3 %, about alike in all shells, so b is good to 0.02
    and the decay, which compares times, to 0.01.
    """
    c0 = 0.01 * sign
    budget = drifting_budget(lambda lam, t: -c0 * t ** (b - 2) * lam**b, TIMES, modes())
    law = ef.fit_closure(budget)
    assert law.b == pytest.approx(b, abs=0.02)
    assert law.b_interval[0] - 0.02 <= b <= law.b_interval[1] + 0.02
    assert law.decay == pytest.approx(2 - b, abs=0.01)
    assert np.sign(law.gamma) == sign and np.sign(law.gamma_interval[0]) == sign == np.sign(law.gamma_interval[1])
    assert law.explained > 0.98 and law.sign_share == 1.0
    expected = c0 * TIMES ** (b - 2)
    np.testing.assert_allclose(law.c(), expected, rtol=0.1)
    if b != 1.0:
        assert law.held_out.skill > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_a_law_is_no_better_than_a_constant_that_is_exact_too(seed):
    """v = -c lambda^0 is the constant itself: what either misses of it is rounding."""
    velocities = shell_velocities(drifting_budget(lambda lam, t: -1e-7 * lam**0, TIMES, modes()))
    velocities = replace(velocities, value=last_bits(-1e-7 / velocities.eigenvalue * velocities.is_used, seed))
    assert ef.fit_closure(velocities).held_out.skill == 0.0


@pytest.mark.long
def test_growth_with_scatter_is_found_within_its_interval():
    """Mode velocities with 100 % scatter: the 90 % interval of b covers the truth in most of 20 draws.

    A 90 % interval misses more than 6 of 20 times with probability 0.2 %.
    """
    hits = 0
    for seed in range(20):
        budget = drifting_budget(lambda lam, t: 0.2 / t * lam, TIMES, modes(seed), noise=1.0, seed=seed)
        law = ef.fit_closure(budget, seed=seed)
        hits += law.b_interval[0] <= 1.0 <= law.b_interval[1]
        assert law.gamma < 0
    assert hits >= 14


def test_a_law_with_two_regimes_is_not_explained_by_one_power():
    """Drift down below lambda = 1e-3 and up above it: no power law, and the law says so."""
    budget = drifting_budget(lambda lam, t: np.where(lam < 1e-3, -1.0, 1.0) * lam / t, TIMES, modes())
    law = ef.fit_closure(budget)
    assert law.explained < 0.5 and law.sign_share < 0.75


@pytest.mark.rejects
def test_too_few_measurements():
    budget = drifting_budget(lambda lam, t: -lam / t, TIMES[:4], modes()[:4])
    with pytest.raises(ArgumentError, match=r"`budget` has 4 measured times.*needs 6"):
        ef.fit_closure(budget)


@pytest.mark.long
def test_a_run_has_the_velocities_of_its_claims():
    """Full batches: along updates, as its shells say; minibatches: of ranks, as the claims on the run say."""
    data = measure(power_law_modes(80, rho=1.3, seed=2), 0.05 * log_steps(2000, count=24), 0.05)
    full = DatasetRun(data, pd.DataFrame({"step": [0], "batch_size": [80]}))
    small = DatasetRun(data, pd.DataFrame({"step": [0], "batch_size": [8]}))
    assert ef.fit_closure(full).b == ef.fit_closure(ef.shell_budget(full)).b
    assert run_velocities(full).kind == "mode" and run_velocities(small).kind == "rank"
    found = ef.fit_closure(small)
    assert found.velocities.kind == "rank" and found.b == Evidence(small).closure.b
