"""Power-law random features: a draw against the measured network, training against integrators and sample-by-sample
loops, sizes against deterministic equivalents and the laws of equations/exponents.md#four-plus-three-phases."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg.lapack import dgejsv
from scipy.optimize import brentq
from scipy.special import gamma, gammainc

from eigenflow.core.errors import ArgumentError, LimitError
from eigenflow.core.limits import limits
from eigenflow.lab.exact import (
    DrawnFeatures,
    PowerLawFeatures,
    expected_one_pass,
    largest_one_pass_rate,
    simulate_one_pass,
)
from eigenflow.lab.exact.one_pass import BLOCK, block_of_updates
from eigenflow.tangent import Probe


def drawn(decay=0.8, target_decay=0.6, inputs=60, features=12, noise=0.0, seed=0):
    return PowerLawFeatures(decay, target_decay, inputs, features, noise).draw(np.random.default_rng(seed))


# The third takes the way of summed products, the fifth several pieces of it.
SIZES = [(1, 1), (5, 9), (60, 12), (30, 12), (7000, 8), (9, 9), (40, 1)]


@pytest.mark.parametrize(("inputs", "features"), SIZES)
def test_modes_are_those_of_the_whole_matrix(inputs, features):
    """A dense singular value decomposition of the same W, which is exact to rounding of the largest."""
    model = PowerLawFeatures(0.8, 0.6, inputs, features)
    found = model.draw(np.random.default_rng(3))
    _, rows, targets = model.network(np.random.default_rng(3))
    left, roots, _ = np.linalg.svd(rows.numpy(), full_matrices=False)
    start = -targets.numpy()[:, 0]
    np.testing.assert_allclose(np.sqrt(found.eigenvalues), roots, rtol=0, atol=1e-14 * roots[0])
    np.testing.assert_allclose(found.coefficients**2, (left.T @ start) ** 2, atol=1e-11 * (start @ start))
    rest = start - left @ (left.T @ start)
    assert found.floor == pytest.approx(rest @ rest, abs=1e-14 * (start @ start))
    assert (found.floor == 0) == (inputs <= features)


def test_small_modes_are_as_exact_as_large_ones():
    """alpha = 3 spans 1e15 in eigenvalues, where products of the whole matrix would leave no digit.

    The oracle has rows scaled out: R of D^(1/2) W, one-sided, by LAPACK's Jacobi method for graded matrices.
    """
    model = PowerLawFeatures(3.0, 0.6, 400, 24)
    found = model.draw(np.random.default_rng(3))
    _, rows, _ = model.network(np.random.default_rng(3))
    singular, *_, work, _, info = dgejsv(rows.numpy(), joba=4, jobu=3, jobv=3)
    assert info == 0 and found.eigenvalues[-1] < 1e-7 * found.eigenvalues[0]
    exact = singular * work[0] / work[1]
    np.testing.assert_allclose(np.sqrt(found.eigenvalues), exact, rtol=1e-11)


def test_a_probe_measures_the_draw():
    model = PowerLawFeatures(0.8, 0.6, 40, 12)
    found = model.draw(np.random.default_rng(1))
    snapshot = Probe(*model.network(np.random.default_rng(1)), loss="half_sum").measure()
    np.testing.assert_allclose(snapshot.eigenvalues[:12], found.eigenvalues, atol=1e-13)
    np.testing.assert_allclose(snapshot.coefficients[:12] ** 2, found.coefficients**2, atol=1e-12)
    assert float(snapshot.loss) == pytest.approx(found.loss(0.0)[0], rel=1e-12)


def test_flow_and_descent_are_those_of_the_weights():
    """DOP853 at 1e-11 on theta, and 700 updates of torch."""
    model = PowerLawFeatures(0.8, 0.6, 30, 6)
    found = model.draw(np.random.default_rng(2))
    net, rows, targets = model.network(np.random.default_rng(2))
    A, y = rows.numpy(), targets.numpy()[:, 0]
    times = np.array([0.1, 1.0, 30.0])
    theta = solve_ivp(
        lambda _, x: -A.T @ (A @ x - y), (0, 30), np.zeros(6), t_eval=times, rtol=1e-11, atol=1e-13, method="DOP853"
    ).y
    np.testing.assert_allclose(found.loss(times), 0.5 * ((A @ theta - y[:, None]) ** 2).sum(axis=0), rtol=1e-9)
    rate = 0.7 / found.eigenvalues[0]
    optimizer, losses = torch.optim.SGD(net.parameters(), lr=rate), []
    for _ in range(701):
        optimizer.zero_grad()
        loss = 0.5 * (net(rows) - targets).square().sum()
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(found.descent_loss([0, 1, 700], rate), [losses[0], losses[1], losses[700]], rtol=1e-11)


def test_ends_of_training():
    found = drawn(noise=0.3)
    spectrum = PowerLawFeatures(0.8, 0.6, 60, 12).spectrum
    assert found.loss([0.0])[0] == pytest.approx(0.5 * (spectrum.energy + 0.3), rel=1e-13)
    assert found.loss(np.inf)[0] == 0.5 * (found.floor + 0.3)
    assert np.all(np.diff(found.loss(np.geomspace(1e-6, 1e9, 50))) <= 0)


def test_a_block_is_sample_after_sample():
    """Twelve samples of the data as they are, in updates of three, through theta; the same samples in modes."""
    model = PowerLawFeatures(0.8, 0.6, 30, 6)
    found = model.draw(np.random.default_rng(2))
    _, rows, targets = model.network(np.random.default_rng(2))
    A, start = rows.numpy(), -targets.numpy()[:, 0]
    left, roots, right = np.linalg.svd(A, full_matrices=False)
    system = DrawnFeatures(roots**2, left.T @ start, found.floor)
    z, labels = np.random.default_rng(5).normal(size=(12, 30)), np.random.default_rng(6).normal(size=12)
    theta = np.zeros(6)
    for update in range(4):
        batch = slice(3 * update, 3 * update + 3)
        residual = z[batch] @ (A @ theta + start) - labels[batch]
        theta -= 0.2 / 3 * (z[batch] @ A).T @ residual
    missed = z @ (start - left @ (left.T @ start)) - labels
    after = block_of_updates(system, system.coefficients, z @ left, missed, 0.2, 3)
    np.testing.assert_allclose(after, left.T @ (A @ theta + start), atol=1e-13)


@pytest.mark.long
@pytest.mark.parametrize("batch", [1, 7, 3 * BLOCK + 1])
def test_simulations_have_the_expected_loss(batch):
    """Four standard errors of 600 runs at six numbers of updates, all from one W; the variance is known to 15 %."""
    found, rate = drawn(noise=0.05), 0.3
    steps = [0, 1, 2, 10, 63, 200]
    runs = simulate_one_pass(
        found, steps, rate, np.random.default_rng(batch), batch=batch, runs=600 if batch < 99 else 60
    )
    expected = expected_one_pass(found, steps, rate, batch)
    assert np.all(np.abs(runs.mean - expected.loss) <= 4 * runs.standard_error + 1e-14)
    assert runs.mean[0] == pytest.approx(found.loss(0.0)[0], rel=1e-13)
    np.testing.assert_array_equal(runs.times, rate * np.array(steps))


@pytest.mark.parametrize("batch", [1, 5])
def test_expected_loss_is_its_recursion(batch):
    """p' = ((1 - eta lambda)^2 + (eta lambda)^2 / B) p + (eta lambda)^2 / B (sum p + unlearned), step by step."""
    found = drawn(noise=0.1)
    rate = 0.9 * largest_one_pass_rate(found, batch)
    scaled, p, losses = rate * found.eigenvalues, found.coefficients**2, []
    for _ in range(20_001):
        losses.append(0.5 * (p.sum() + found.unlearned))
        p = ((1 - scaled) ** 2 + scaled**2 / batch) * p + scaled**2 / batch * (p.sum() + found.unlearned)
    steps = [0, 1, 10, 300, 20_000]
    risk = expected_one_pass(found, steps, rate, batch)
    np.testing.assert_allclose(risk.loss, np.array(losses)[steps], rtol=1e-11)
    assert risk.error < 1e-10
    late = expected_one_pass(found, 10**12, rate, batch)
    assert late.loss[0] == pytest.approx(late.limit, rel=1e-8) and late.error < 1e-3
    np.testing.assert_allclose(risk.flow, found.descent_loss(steps, rate), rtol=0)


def test_beyond_the_largest_rate_losses_grow():
    """The recursion's matrix has the eigenvalue 1 there; simulated runs end as infinity and never as NaN."""
    found = drawn()
    rate = largest_one_pass_rate(found, 2)
    scaled = rate * found.eigenvalues
    matrix = np.diag((1 - scaled) ** 2 + scaled**2 / 2) + np.multiply.outer(scaled**2 / 2, np.ones(12))
    assert np.abs(np.linalg.eigvals(matrix)).max() == pytest.approx(1.0, abs=1e-9)
    runs = simulate_one_pass(found, [10, 20_000], 3 * rate, np.random.default_rng(0), batch=2, runs=2)
    assert np.isinf(runs.losses[:, 1]).all() and not np.isnan(runs.losses).any()


def test_one_mode_is_the_scalar_recursion():
    """c' = (1 - eta lambda z^2) c: E c^2 multiplies by 1 - 2 x + 3 x^2."""
    found = DrawnFeatures(np.array([2.0]), np.array([1.5]), 0.0)
    risk = expected_one_pass(found, [0, 3], 0.1)
    assert risk.loss[1] == pytest.approx(0.5 * 1.5**2 * (1 - 0.4 + 3 * 0.04) ** 3, rel=1e-13)
    assert largest_one_pass_rate(found) == pytest.approx(2 / 3 / 2.0, rel=1e-12) and risk.limit == 0


@pytest.mark.parametrize(("decay", "target_decay"), [(1.0, 0.7), (0.7, 0.3)])
def test_floor_is_its_deterministic_equivalent(decay, target_decay):
    """sum kappa / (lambda + kappa) lambda b^2 with sum lambda / (lambda + kappa) = d, up to O(1 / d).

    Measured at d = 30: + 8 % and + 4 %, that is 2.5 / d and 1.3 / d.
    """
    model = PowerLawFeatures(decay, target_decay, 1000, 30)
    lam, energy = model.spectrum.eigenvalues, model.spectrum.target
    log_kappa = brentq(lambda log: (lam / (lam + np.exp(log))).sum() - 30, -60, 10)
    expected = (energy / (1 + lam / np.exp(log_kappa))).sum()
    floors = np.array([model.draw(np.random.default_rng(seed)).floor for seed in range(100)])
    error = floors.std(ddof=1) / 10
    assert abs(floors.mean() - expected) <= 4 * error + 3 / 30 * expected and error < 0.06 * expected


@pytest.mark.slow
@pytest.mark.parametrize(("decay", "target_decay", "exponent"), [(1.0, 0.7, 2.0), (0.7, 0.3, 1.0), (0.7, 0.7, 1.4)])
def test_floor_falls_with_size(decay, target_decay, exponent):
    """F_0 ~ d^(-2 alpha + max(0, 1 - 2 beta)); four draws each fluctuate by about sqrt(2 / d)."""
    sizes = np.array([30, 60, 120, 240])
    floors = [np.mean([drawn(decay, target_decay, 5000, size, seed=seed).floor for seed in range(4)]) for size in sizes]
    assert -np.polyfit(np.log(sizes), np.log(floors), 1)[0] == pytest.approx(exponent, abs=0.1)


@pytest.mark.slow
def test_loss_is_the_sum_of_its_components():
    """F_pp + F_ac of the spectrum's density, at alpha = 1 and beta = .7, over four decades of time.

    F_pp = 1 / (2 alpha) int_0^1 u^((2 beta - 1) / (2 alpha)) e^(-2 t u) du, F_ac = c / (2 alpha d) times the integral
    of u^(-1 / (2 alpha)) e^(-2 t u) from d^(-2 alpha), with c = sum j^(-2 beta). Leading order in 1 / d: 15 % at 400.
    """
    decay, target_decay, size = 1.0, 0.7, 400
    times = np.array([3.0, 30.0, 300.0, 3000.0])

    def part(power, low):
        a = power + 1
        return gamma(a) * (gammainc(a, 2 * times) - gammainc(a, 2 * times * low)) / (2 * times) ** a / (2 * decay)

    autocorrelation = (np.arange(1, 12_001.0) ** (-2 * target_decay)).sum() / size
    expected = part((2 * target_decay - 1) / (2 * decay), 0.0) + autocorrelation * part(
        -1 / (2 * decay), size ** (-2 * decay)
    )
    found = np.array([drawn(decay, target_decay, 12_000, size, seed=s).energies(times).sum(axis=1) for s in range(6)])
    error = found.std(axis=0, ddof=1) / np.sqrt(6)
    assert np.all(np.abs(found.mean(axis=0) - expected) <= 3 * error + 0.15 * expected)
    assert np.all(error < 0.1 * expected)


def test_noise_of_samples_has_its_slope():
    """K_pp = sum lambda^2 e^(-2 lambda t) ~ t^(-2 + 1 / (2 alpha)) (equations/exponents.md#four-plus-three-phases)."""
    found = drawn(1.0, 0.3, 2500, 300)
    times = np.geomspace(10, 300, 10)
    kernel = (found.eigenvalues**2 * np.exp(-2 * np.outer(times, found.eigenvalues))).sum(axis=1)
    assert np.polyfit(np.log(times), np.log(kernel), 1)[0] == pytest.approx(-1.5, abs=0.03)


def test_results_print_themselves():
    found = drawn()
    risk, runs = expected_one_pass(found, [1, 5], 0.1), simulate_one_pass(found, [1, 5], 0.1, np.random.default_rng(0))
    for result in (found, risk, runs):
        assert 2 < len(repr(result).splitlines()) <= 15
    assert np.isinf(runs.standard_error).all()  # a single run knows no spread


@pytest.mark.rejects
class TestRejects:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"decay": 0.0}, "`decay` must be > 0"),
            ({"target_decay": -1.0}, "`target_decay` must be a number from 0"),
            ({"inputs": 0}, "`inputs` must be a whole number of inputs"),
            ({"features": 2.5}, "`features` must be a whole number of features"),
            ({"noise": -1}, "`noise` must be a number from 0"),
        ],
    )
    def test_models(self, given, message):
        with pytest.raises(ArgumentError, match=message):
            PowerLawFeatures(**given)

    def test_draws(self):
        with pytest.raises(ArgumentError, match="`rng` must be a NumPy generator"):
            PowerLawFeatures(inputs=5, features=2).draw(3)
        with limits(entries=100), pytest.raises(LimitError, match="A draw of features asks for"):
            PowerLawFeatures(inputs=50, features=20).draw(np.random.default_rng(0))

    def test_training(self):
        found, rng = drawn(), np.random.default_rng(0)
        with pytest.raises(ArgumentError, match="`times` must be a row of times >= 0"):
            found.loss(-1.0)
        with pytest.raises(ArgumentError, match="below 2 / lambda_1"):
            found.descent_loss(3, 100.0)
        with pytest.raises(ArgumentError, match="`steps` must be a row of whole numbers"):
            expected_one_pass(found, [0.5], 0.1)
        with pytest.raises(ArgumentError, match="`learning_rate` must be > 0"):
            expected_one_pass(found, 1, 0.0)
        with pytest.raises(ArgumentError, match="grows without end at batch 1"):
            expected_one_pass(found, 1, 10.0)
        with pytest.raises(ArgumentError, match="`steps` must increase"):
            simulate_one_pass(found, [3, 1], 0.1, rng)
        with pytest.raises(ArgumentError, match="`features` must be DrawnFeatures"):
            simulate_one_pass(PowerLawFeatures(), 1, 0.1, rng)
