"""Linear networks in closed form against integrators, the probe, and the numbers of equations/known_cases.md."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.lab.exact import AlignedLinearNetwork, BalancedLinearNetwork
from eigenflow.tangent import Probe

STRENGTHS, START = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.01, 0.02, 0.005, 0.01])


def test_reference_numbers_of_two_layers():
    """equations/known_cases.md#aligned-numbers, to their last digit."""
    net = AlignedLinearNetwork(STRENGTHS, START)
    np.testing.assert_allclose(net.amplitudes(0.8)[0], [2.40534754, 1.34756826, 0.11584721, 0.04764683], atol=5e-9)
    speed = np.diag(net.operator_rates(0.8)[0])
    np.testing.assert_allclose(speed, [15.3427735, 8.9070583, 0.8730953, 0.1815064], atol=5e-8)
    lam = np.diag(net.operator(0.8)[0])
    np.testing.assert_allclose(speed, lam * (2 * STRENGTHS - lam), rtol=1e-14)


def test_two_modes_of_one_eigenvalue_have_two_velocities():
    """equations/hypotheses.md#many-velocities: lambda = .71142 has v = 3.762 (s = 3) and 2.340 (s = 2)."""
    net = AlignedLinearNetwork(np.array([3.0, 2.0]), np.full(2, 0.71142 / 2))
    np.testing.assert_allclose(np.diag(net.operator_rates(0.0)[0]), [3.762, 2.340], atol=5e-4)


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 7, 40])
def test_amplitudes_are_those_of_a_general_integrator(layers):
    """DOP853 at 1e-13, over starts below, at and above s, and s = 0.

    A deep network waits, and then errors of the integrator grow by the same factor as a itself: 1e-9. At t <= 1, where
    no mode has waited, all but the last digits agree.
    """
    strengths = np.array([4.0, 2.0, 1.0, 0.5, 0.0, 1e-3, 2.0, 1.0])
    start = np.array([0.3, 0.5, 0.9999, 3.0, 0.3, 0.7, 1.99, 1.0])
    times = np.array([0.0, 0.01, 0.3, 1.0, 5.0, 20.0])

    def rates(_, a):
        return layers * a ** (2 - 2 / layers) * (strengths - a)

    exact = solve_ivp(rates, (0, 20), start, t_eval=times, rtol=1e-13, atol=1e-200, method="DOP853", max_step=0.05).y.T
    found = AlignedLinearNetwork(strengths, start, layers).amplitudes(times)
    if layers <= 7:
        np.testing.assert_allclose(found[:4], exact[:4], rtol=3e-12)
    np.testing.assert_allclose(found, exact, rtol=1e-9)


@pytest.mark.parametrize("layers", [2, 3, 5, 100])
@pytest.mark.parametrize("start", [1e-300, 1e-30, 1e-8, 0.5, 1 - 1e-13, 1 + 1e-13, 7.0, 1e300])
def test_amplitudes_are_a_flow(layers, start):
    """a(t1 + t2) from a0 is a(t2) from a(t1), which is in [a0, s]; 0 and the latest times are the ends."""
    net = AlignedLinearNetwork(np.ones(1), np.array([start]), layers)
    times = np.array([0.0, 1e-3, 0.5, 3.0, 40.0, 1e6, 1e300, np.inf])
    a = net.amplitudes(times)[:, 0]
    np.testing.assert_allclose(a[0], start, rtol=2e-13)  # of ln a0 = -691 the last bit
    low, high = min(start, 1.0), max(start, 1.0)
    assert np.isfinite(a).all() and np.all(a >= low * (1 - 1e-12)) and np.all(a <= high * (1 + 1e-12))
    if start >= 1e-8 or layers == 2:
        assert a[-1] == 1.0
    again = AlignedLinearNetwork(np.ones(1), a[2:3], layers).amplitudes([2.5])[0, 0]
    assert again == pytest.approx(a[3], rel=2e-12)


def test_units_of_strengths():
    """a(t; s, a0) = s a(s^(2 - 2/L) t; 1, a0 / s), at both ends of what double precision holds."""
    for scale in (1e-100, 1e100):
        for layers in (2, 3, 6):
            time = 0.7 * scale ** -(2 - 2 / layers)
            found = AlignedLinearNetwork(scale * STRENGTHS, scale * START, layers).amplitudes(time)
            plain = AlignedLinearNetwork(STRENGTHS, START, layers).amplitudes(0.7)
            np.testing.assert_allclose(found / scale, plain, rtol=1e-11)


@pytest.mark.parametrize(("layers", "outputs", "inputs"), [(1, 4, 4), (2, 4, 4), (2, 6, 5), (3, 4, 6), (5, 5, 4)])
def test_a_probe_measures_the_aligned_network(layers, outputs, inputs):
    """Eigenvalues with their multiplicities, rates, loss, and no rotation, in turned bases.

    Rates: sums over a cluster, which no choice of eigenvectors changes. Rounding is 1e-15 times the largest.
    """
    net = AlignedLinearNetwork(STRENGTHS, 0.3 * STRENGTHS[::-1], layers, inputs=inputs, outputs=outputs)
    model, data, targets = net.network(0.2, generator=torch.Generator().manual_seed(1))
    snapshot = Probe(model, data, targets, loss="half_sum").measure(drift=True)
    exact, rates = net.operator(0.2)[0].ravel(), net.operator_rates(0.2)[0].ravel()
    order = np.argsort(-exact, kind="stable")
    np.testing.assert_allclose(snapshot.eigenvalues, exact[order], atol=1e-12 * exact.max())
    assert float(snapshot.loss) == pytest.approx(net.loss(0.2)[0], rel=1e-12)
    assert snapshot.eigenvalue_rates is not None and snapshot.couplings is not None
    measured = snapshot.eigenvalue_rates.numpy()
    scale = max(1.0, np.abs(rates).max())
    breaks = np.flatnonzero(np.diff(exact[order]) < -1e-9 * exact.max()) + 1
    for cluster in np.split(np.arange(len(order)), breaks):
        assert measured[cluster].sum() == pytest.approx(rates[order][cluster].sum(), abs=1e-10 * scale)
    assert np.abs(snapshot.couplings.numpy()).max() < 1e-9 * scale


def test_equal_strengths_and_zeros():
    net = AlignedLinearNetwork(np.array([2.0, 2.0, 0.0]), np.array([0.1, 0.1, 0.0]), 3)
    a = net.amplitudes([0.4, 50.0])
    assert a[0, 0] == a[0, 1] and a[1, 0] == pytest.approx(2.0, rel=1e-14) and np.all(a[:, 2] == 0)
    assert net.loss(50.0)[0] == pytest.approx(0.0, abs=1e-25)
    assert np.all(net.operator_rates([0.4])[0][2, 2] == 0)


def balanced_cases():
    rng = np.random.default_rng(0)
    for outputs, inputs, hidden, rank, scale in [
        (3, 4, 5, None, 0.3),
        (4, 3, 2, None, 0.05),
        (5, 2, 2, None, 2.0),
        (2, 5, 7, 1, 0.1),
        (1, 1, 1, None, 0.1),
        (3, 3, 3, 2, 0.5),
    ]:
        target = rng.standard_normal((outputs, inputs)) if rank != 2 else np.diag([2.0, 1.0, 0.0])
        yield BalancedLinearNetwork.draw(target, hidden, scale, rng, rank=rank)


BALANCED = list(balanced_cases())
NAMES = [f"{net.target.shape[1]}-{len(net.first)}-{net.target.shape[0]}" for net in BALANCED]


@pytest.mark.parametrize("net", BALANCED, ids=NAMES)
def test_riccati_is_gradient_flow_on_the_weights(net):
    """DOP853 at 1e-12 on W1 and W2, in which small modes grow their errors by up to e^(s t)."""
    (hidden, inputs), outputs = net.first.shape, len(net.second)
    split = hidden * inputs

    def rates(_, x):
        first, second = x[:split].reshape(hidden, inputs), x[split:].reshape(outputs, hidden)
        error = second @ first - net.target
        return -np.r_[(second.T @ error).ravel(), (error @ first.T).ravel()]

    times = np.array([0.0, 0.1, 1.0, 3.0])
    start = np.r_[net.first.ravel(), net.second.ravel()]
    path = solve_ivp(rates, (0, 3), start, t_eval=times, rtol=1e-12, atol=1e-14, method="DOP853").y.T
    for time, x in zip(times, path, strict=True):
        first, second = x[:split].reshape(hidden, inputs), x[split:].reshape(outputs, hidden)
        one, two = net.weights(time)
        assert one.shape == first.shape and two.shape == second.shape
        for found, exact in (
            (one.T @ one, first.T @ first),
            (two @ one, second @ first),
            (two @ two.T, second @ second.T),
        ):
            np.testing.assert_allclose(found, exact, atol=1e-9)
        assert net.loss(time)[0] == pytest.approx(0.5 * ((second @ first - net.target) ** 2).sum(), abs=1e-9)


@pytest.mark.parametrize("time", [1.0, 5.0, 17.0, 60.0])
def test_a_mode_that_sinks_and_rises_again(time):
    """The same formula as it stands, in 200 digits: a mode falls to 4e-6 and is learned by t = 20.

    Relative to the largest eigenvalue, 2; errors of the start in double precision grow by e^(2 s t) of the slow mode.
    """
    mp = pytest.importorskip("mpmath").mp
    net = BalancedLinearNetwork.draw(np.random.default_rng(0).standard_normal((3, 4)), 5, 0.1, np.random.default_rng(1))
    (outputs, inputs), start = net.target.shape, np.vstack([net.first.T, net.second])
    with mp.workdps(200):
        both = np.block([[np.zeros((inputs, inputs)), net.target.T], [net.target, np.zeros((outputs, outputs))]])
        rates, basis = mp.eigsy(mp.matrix(both.tolist()))
        rows = basis.T * mp.matrix(start.tolist())
        still = [abs(f) < mp.mpf(10) ** -100 for f in rates]
        spread = mp.diag([time if s else mp.expm1(2 * f * time) / (2 * f) for f, s in zip(rates, still, strict=True)])
        grown = basis * mp.diag([mp.exp(f * time) for f in rates]) * rows
        exact = grown * (mp.eye(rows.cols) + rows.T * spread * rows) ** -1 * grown.T
        exact = np.array(exact.tolist(), dtype=float)
    first, second = net.weights(time)
    factor = np.vstack([first.T, second])
    np.testing.assert_allclose(factor @ factor.T, exact, atol=1e-11)


@pytest.mark.parametrize("net", BALANCED, ids=NAMES)
def test_balance_and_rank_last(net):
    """W1 W1' - W2' W2 stays 0, no direction is won, and the loss never rises, at any time."""
    rank = np.linalg.matrix_rank(net.second, tol=1e-10)
    losses = net.loss([0.0, 1e-9, 0.3, 2.0, 20.0, 1e3, 1e6, 1e12, 1e100])
    assert np.all(np.diff(losses) <= 1e-12 * losses[0])
    for time in (1e-9, 2.0, 1e3, 1e100):
        first, second = net.weights(time)
        np.testing.assert_allclose(first @ first.T, second.T @ second, atol=1e-12)
        assert np.linalg.matrix_rank(second, tol=1e-7) <= rank
    # In the end the strongest modes are learned, as many as the rank allows.
    strengths = np.linalg.svd(net.target, compute_uv=False)
    assert losses[-1] == pytest.approx(0.5 * (strengths[rank:] ** 2).sum(), abs=1e-12)


@pytest.mark.parametrize("net", BALANCED[:4], ids=NAMES[:4])
@pytest.mark.parametrize("time", [0.0, 0.7])
def test_a_probe_measures_the_balanced_network(net, time):
    """M, its eigenvalues, rates, couplings and the flux of rotation.

    Balance makes lambda_ij = a_i + a_j and lambda_ji equal, so couplings are compared by what does not depend on the
    basis inside a cluster: norms of blocks, and the flux.
    """
    exact = net.at(time)
    snapshot = Probe(*net.network(time), loss="half_sum").measure(drift=True)
    scale = exact.eigenvalues[0]
    vectors, values = snapshot.eigenvectors.numpy(), snapshot.eigenvalues.numpy()
    np.testing.assert_allclose((vectors.T * values) @ vectors, exact.operator, atol=1e-12 * scale)
    np.testing.assert_allclose(values, exact.eigenvalues, atol=1e-12 * scale)
    pairs = np.add.outer(np.linalg.eigvalsh(net.weights(time)[1] @ net.weights(time)[1].T), squares(net, time))
    np.testing.assert_allclose(np.sort(pairs.ravel())[::-1], exact.eigenvalues, atol=1e-12 * scale)
    np.testing.assert_allclose(snapshot.error, exact.error, atol=1e-13 * max(1.0, scale))
    assert snapshot.eigenvalue_rates is not None and snapshot.couplings is not None
    fastest = np.abs(exact.rate_matrix).max()
    np.testing.assert_allclose(snapshot.eigenvalue_rates, exact.eigenvalue_rates, atol=1e-9 * fastest)
    breaks = np.flatnonzero(-np.diff(exact.eigenvalues) > 1e-9 * scale) + 1
    measured, expected = (blocks(omega, breaks) for omega in (snapshot.couplings.numpy(), exact.couplings))
    assert expected.max() > 0.01  # it does turn
    np.testing.assert_allclose(measured, expected, rtol=1e-6, atol=1e-9 * fastest / scale)
    levels = 0.5 * (exact.eigenvalues[breaks - 1] + exact.eigenvalues[breaks])
    g, omega = snapshot.coefficients.numpy(), snapshot.couplings.numpy()
    below = values < levels[:, None]
    flux = 2 * np.einsum("lu,u,uv,v,lv->l", below, g, omega, g, ~below)
    np.testing.assert_allclose(flux, exact.rotation_flux(levels), atol=1e-9 * fastest)


def squares(net, time):
    first, _ = net.weights(time)
    return np.linalg.eigvalsh(first.T @ first)


def blocks(omega, breaks):
    edges = [0, *breaks, len(omega)]
    return np.array([[np.linalg.norm(omega[a:b, c:d]) for c, d in pairwise(edges)] for a, b in pairwise(edges)])


def test_energy_of_shells_moves_as_the_identity_says():
    """T7 with the flux of rotation: d/dt of the energy below a level is what dissipates and what is carried there.

    Central differences of the closed form, of second order: 1e-4 squared.
    """
    net, time, step = BALANCED[0], 0.7, 1e-4
    now, before, after = net.at(time), net.at(time - step), net.at(time + step)
    gaps = -np.diff(now.eigenvalues)
    level = now.eigenvalues[np.argmax(gaps)] - 0.5 * gaps.max()

    def energy(state):
        return (state.coefficients[state.eigenvalues < level] ** 2).sum()

    below = now.eigenvalues < level
    lost = 2 * (now.eigenvalues * now.coefficients**2)[below].sum()
    expected = now.rotation_flux(np.array([level]))[0] - lost
    assert (energy(after) - energy(before)) / (2 * step) == pytest.approx(expected, rel=1e-6)
    difference = (after.operator - before.operator) / (2 * step)
    np.testing.assert_allclose(difference, now.rate, atol=1e-6 * np.abs(now.rate).max())


def test_an_aligned_start_is_the_aligned_network():
    """Unit bases: the amplitudes of the Riccati solution are the sigmoids, and nothing turns."""
    root = np.diag(np.sqrt(START))
    net, plain = BalancedLinearNetwork(np.diag(STRENGTHS), root, root), AlignedLinearNetwork(STRENGTHS, START)
    for time in (0.0, 0.8, 3.0, 200.0):
        first, second = net.weights(time)
        np.testing.assert_allclose(second @ first, np.diag(plain.amplitudes(time)[0]), atol=1e-12)
    assert np.abs(net.at(0.8).couplings).max() < 1e-10


def test_results_print_themselves():
    for result in (AlignedLinearNetwork(STRENGTHS, START, 3), BALANCED[0], BALANCED[0].at(0.3)):
        assert 2 < len(repr(result).splitlines()) <= 15


@pytest.mark.rejects
class TestRejects:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"strengths": [1.0, -1.0]}, "`strengths` must be a row of finite numbers >= 0"),
            ({"strengths": []}, "`strengths` must be a row"),
            ({"start": [np.nan, 1.0]}, "`start` must be a row of finite"),
            ({"start": [1.0]}, "`start` must have one of each of the 2 strengths"),
            ({"layers": 0}, "`layers` must be a whole number of layers"),
            ({"inputs": 1}, "`inputs` must be a whole size"),
        ],
    )
    def test_aligned(self, given, message):
        with pytest.raises(ArgumentError, match=message):
            AlignedLinearNetwork(**({"strengths": [2.0, 1.0], "start": [0.1, 0.1]} | given))

    def test_balanced(self):
        rng = np.random.default_rng(0)
        with pytest.raises(ArgumentError, match="must be balanced, W1 W1' = W2' W2, but differ by"):
            BalancedLinearNetwork(np.eye(2), np.eye(2), 2 * np.eye(2))
        with pytest.raises(ShapeError, match="must have the shape of `target`"):
            BalancedLinearNetwork(np.eye(3), np.eye(2), np.eye(2))
        with pytest.raises(ArgumentError, match="`first` must be a finite matrix"):
            BalancedLinearNetwork(np.eye(2), np.full((2, 2), np.nan), np.eye(2))
        with pytest.raises(ArgumentError, match="`scale` must be > 0"):
            BalancedLinearNetwork.draw(np.eye(2), 2, 0.0, rng)
        with pytest.raises(ArgumentError, match="`rank` must be a whole rank"):
            BalancedLinearNetwork.draw(np.eye(2), 2, 1.0, rng, rank=3)
        with pytest.raises(ArgumentError, match="`time` must be a number from 0"):
            BALANCED[0].weights(-1.0)
