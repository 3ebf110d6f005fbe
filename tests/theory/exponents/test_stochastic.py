import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.exponents.kernel_flow import flow_risk
from eigenflow.theory.exponents.mode_groups import grouped
from eigenflow.theory.exponents.stochastic import largest_stable_rate, sgd_floor, sgd_risk
from eigenflow.theory.task_spectrum import TaskSpectrum


def recursion(task: TaskSpectrum, rates: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """S2 as it stands, mode by mode, in E_k = lambda_k C_k."""
    lam, energies = task.eigenvalues, task.target.copy()
    found = [energies.sum()]
    for rate, batch in zip(rates, batches, strict=True):
        kept = (1 - rate * lam) ** 2 + rate**2 * lam**2 / batch
        energies = kept * energies + rate**2 / batch * lam**2 * task.sizes * (energies.sum() + task.noise)
        found.append(energies.sum())
    return np.array(found)


@pytest.mark.long
def test_mean_over_batches_is_that_of_simulated_runs():
    """The setting of equations/identities.md#eq-s2, with 1500 runs and w* = 1. The page's own target is not told."""
    rng = np.random.default_rng(0)
    lam = np.arange(1.0, 51.0) ** -1.2
    task, rate, batch, steps = TaskSpectrum(lam, lam * 1.0, noise=0.3), 0.05, 4, np.array([0, 10, 60, 200])
    off, found = -np.ones((1500, 50)), []
    for step in range(steps[-1] + 1):
        if step in steps:
            found.append(off**2 @ lam)
        inputs = rng.standard_normal((1500, batch, 50)) * np.sqrt(lam)
        errors = np.einsum("rbk,rk->rb", inputs, off) - np.sqrt(0.3) * rng.standard_normal((1500, batch))
        off = off - rate / batch * np.einsum("rbk,rb->rk", inputs, errors)
    risk = sgd_risk(task, steps, learning_rate=rate, batch=batch).risk
    for place, runs in enumerate(found):
        error = runs.std() / np.sqrt(len(runs))
        assert abs(risk[place] - runs.mean()) <= 4.0 * error + 1e-12


def test_floor_of_the_page():
    lam = np.arange(1.0, 51.0) ** -1.2
    task = TaskSpectrum(lam, lam, noise=0.3)
    assert sgd_floor(task, learning_rate=0.05, batch=4) == pytest.approx(0.00642315, abs=5e-9)
    curve = sgd_risk(task, [20_000], learning_rate=0.05, batch=4)
    assert curve.floor == pytest.approx(0.00642315, abs=5e-9)
    assert curve.risk[0] == pytest.approx(0.00642315, abs=5e-9)


@given(
    capacity=st.floats(0.3, 3.0),
    decay=st.floats(0.2, 4.0),
    share=st.floats(0.01, 0.99),
    batch=st.integers(1, 64),
    noise=st.sampled_from([0.0, 1e-6, 2.0]),
    modes=st.sampled_from([1, 2, 7, 299, 301, 1500]),
)
@settings(max_examples=15, deadline=None)
def test_nodes_follow_the_recursion(capacity, decay, share, batch, noise, modes):
    task = TaskSpectrum.power_law(capacity, decay, modes=modes, noise=noise)
    rate = share * largest_stable_rate(task, batch)
    steps = np.array([0, 1, 2, 5, 30, 200, 600])
    plain = recursion(task, np.full(600, rate), np.full(600, batch))[steps]
    curve = sgd_risk(task, steps, learning_rate=rate, batch=batch)
    # .1 of a bin in ln lambda leaves 1e-6; the reported error is an estimate, not a bound.
    assert curve.risk == pytest.approx(plain, rel=max(1e-6, 3.0 * curve.error), abs=1e-14 * plain[0])


def test_schedules_of_rate_and_batch():
    """Warm-up, a long constant stretch (an eigenproblem), a switch of batch in it, decay, a pause."""
    task = TaskSpectrum.power_law(1.4, 1.7, modes=2000, noise=0.02)
    rates = np.concatenate([np.linspace(0, 0.2, 301), np.full(8000, 0.2), np.linspace(0.2, 0.0, 500), np.zeros(3)])
    batches = np.where(np.arange(len(rates)) < 4000, 2, 8)
    steps = np.array([0, 1, 150, 301, 302, 3000, 4000, 4001, 8000, 8301, 8500, len(rates)])
    plain = recursion(task, rates, batches)[steps]
    curve = sgd_risk(task, steps, learning_rate=rates, batch=batches)
    assert curve.risk == pytest.approx(plain, rel=1e-6)
    assert curve.floor is None
    assert curve.times == pytest.approx(np.append(0.0, np.cumsum(rates))[steps])


def test_large_batches_are_gradient_descent():
    task = TaskSpectrum.power_law(1.5, 1.6, modes=1000, noise=0.5)
    steps = np.array([1, 10, 100, 5000])
    curve = sgd_risk(task, steps, learning_rate=0.3, batch=10**12)
    assert curve.risk == pytest.approx(flow_risk(task, 0.3 * steps, learning_rate=0.3), rel=1e-6)


@pytest.mark.long
def test_noise_part_falls_with_the_exponent_of_the_table():
    """A target learned at once leaves gradient noise, eta t^-(2 - 1 / capacity)."""
    task = TaskSpectrum.power_law(1.6, 12.0, modes=10**6)
    steps = np.array([2**15, 2**17])
    risk = sgd_risk(task, steps, learning_rate=0.1, batch=1).risk
    assert np.log(risk[0] / risk[1]) / np.log(4.0) == pytest.approx(2.0 - 1.0 / 1.6, abs=0.02)


@pytest.mark.long
def test_a_million_modes_and_a_billion_updates_in_seconds():
    task = TaskSpectrum.power_law(1.4, 1.7, modes=10**6, noise=0.02)
    start = time.process_time()
    curve = sgd_risk(task, np.unique(np.logspace(0, 9, 60).astype(np.int64)), learning_rate=0.2, batch=2)
    assert time.process_time() - start < 10.0  # .6 s on the machine of the benchmark
    assert curve.error < 1e-6
    # The last mode has dissipated by exp(-1.6) only: what its neighbours have left is .13 % of the floor.
    assert curve.floor is not None
    assert curve.risk[-1] == pytest.approx(curve.floor, rel=2e-3)


@pytest.mark.long
def test_stability_bound_is_where_the_recursion_turns():
    task = TaskSpectrum.power_law(1.3, 1.5, modes=200)
    for batch in (1, 3, 100):
        edge = largest_stable_rate(task, batch)
        for factor, grows in ((0.98, False), (1.02, True)):
            plain = recursion(task, np.full(3000, factor * edge), np.full(3000, batch))
            assert (plain[-1] > plain[-500]) == grows


@given(width=st.sampled_from([0.05, 0.1, 0.2]), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_groups_keep_four_moments_a_bin_and_exponentials_to_fourth_order(width, seed):
    rng = np.random.default_rng(seed)
    values = np.sort(np.exp(rng.uniform(-9, 0, 3000)))[::-1]
    weights = rng.exponential(size=3000)
    nodes, masses = grouped(values, weights, width)
    assert len(nodes) <= 2 * (9 / width + 1)
    assert (masses > 0).all()
    assert [masses @ nodes**power for power in range(4)] == pytest.approx(
        [weights @ values**power for power in range(4)], rel=1e-11
    )
    for t in (0.1, 10.0, 1e3):
        assert masses @ np.exp(-t * nodes) == pytest.approx(weights @ np.exp(-t * values), rel=width**4 / 100)


def test_unstable_rates_in_a_schedule_are_free_until_they_overflow():
    task = TaskSpectrum.power_law(1.5, 2.0, modes=50)
    edge = largest_stable_rate(task, 2)
    rates = np.where(np.arange(60) < 5, 1.5 * edge, 0.3 * edge)
    plain = recursion(task, rates, np.full(60, 2))
    assert sgd_risk(task, np.arange(61), learning_rate=rates, batch=2).risk == pytest.approx(plain, rel=1e-9)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"learning_rate": 5.0}, ArgumentError, r"below the largest stable rate in batches of 2, 0\.\d+, but is 5"),
        ({"learning_rate": 0.0}, ArgumentError, "`learning_rate` must be > 0"),
        ({"learning_rate": -0.1}, ArgumentError, "`learning_rate` must be >= 0"),
        ({"learning_rate": np.full(9, 0.1)}, ShapeError, "one for each of the 10 updates"),
        ({"learning_rate": np.full(10, np.nan)}, NonFiniteError, "`learning_rate` must be finite"),
        ({"learning_rate": np.full(5000, 90.0), "steps": [5000]}, ArgumentError, "infinite by update .*largest stable"),
        ({"batch": 0}, ArgumentError, "`batch` must be whole numbers"),
        ({"batch": 1.5}, ArgumentError, "`batch` must be whole numbers"),
        ({"steps": [3, 3]}, ArgumentError, "`steps` must be whole numbers of updates"),
        ({"steps": [0.5]}, ArgumentError, "`steps` must be whole"),
        ({"steps": []}, ShapeError, "`steps` must be one row"),
        ({"task": None}, ArgumentError, "`task` must be a TaskSpectrum"),
    ],
)
def test_refused_inputs(change, error, words):
    task = TaskSpectrum.power_law(1.5, 2.0, modes=50)
    arguments = {"task": task, "steps": [10], "learning_rate": 0.1, "batch": 2} | change
    with pytest.raises(error, match=words):
        sgd_risk(**arguments)
