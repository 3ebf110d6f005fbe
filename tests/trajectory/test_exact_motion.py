"""Operators that rotate, drift or cross in closed form, measured through the code that measures networks."""

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.grid import shell_index
from eigenflow.trajectory import measure_step
from eigenflow.trajectory.sums import shell_sums, transfer_matrix
from synthetic_run import riccati


class Riccati:
    """A balanced, not aligned two-layer linear network; M, Mdot and e at any time in closed form.

    See equations/known_cases.md#balanced-networks.
    """

    def __init__(self, size=3, seed=1):
        self.size, self.path = size, riccati(size, seed=seed)
        rng = np.random.default_rng(seed)
        self.target = rng.normal(size=(size, size))  # the first draw of the path's own generator

    def operator(self, time):
        now = self.path(time)
        return now.frame.T @ (now.eigenvalues[:, None] * now.frame)

    def probe(self, time):
        """The network at a time: its weights up to a rotation between the layers, which changes nothing."""
        n = self.size
        # Q Q' from the operator's own blocks: M = G2 (x) 1 + 1 (x) G1, and B = W2 W1 from the error.
        M = self.operator(time).reshape(n, n, n, n)
        product = self.path(time).error.reshape(n, n) + self.target
        traces = np.einsum("iaja->ij", M), np.einsum("iaib->ab", M)
        whole = np.trace(traces[0]) / (2 * n)  # Tr G1 = Tr G2 for balanced layers
        G2, G1 = (x / n - whole / n * np.eye(n) for x in traces)
        values, vectors = np.linalg.eigh(np.block([[G1, product.T], [product, G2]]))
        Q = vectors[:, -n:] * np.sqrt(values[-n:])
        model = nn.Sequential(nn.Linear(n, n, bias=False), nn.Linear(n, n, bias=False)).double()
        with torch.no_grad():
            model[0].weight.copy_(torch.from_numpy(Q[:n].T))
            model[1].weight.copy_(torch.from_numpy(Q[n:]))
        # Samples are the columns of X = 1, so the stacked error is vec(e'), row by row.
        return ef.Probe(model, torch.eye(n).double(), torch.from_numpy(self.target.T.copy()), loss="half_sum")


def swapped(M, n):
    """The operator on vec(e') instead of vec(e)."""
    order = np.arange(n * n).reshape(n, n).T.ravel()
    return M[np.ix_(order, order)]


@pytest.mark.parametrize("time", [0.0, 0.5, 1.5])
def test_riccati_operator_and_its_motion_are_those_of_the_network(time):
    case = Riccati()
    probe, now = case.probe(time), case.path(time)
    np.testing.assert_allclose(probe.at().dense(), swapped(case.operator(time), 3), atol=1e-12)
    snapshot = probe.measure(drift=True)
    np.testing.assert_allclose(snapshot.eigenvalues, now.eigenvalues, atol=1e-12)
    # Eigenvalues come in pairs whose vectors are arbitrary; Mdot itself and the sum over couplings are not.
    vectors = snapshot.eigenvectors.numpy()
    rate = vectors.T @ snapshot.rate_matrix.numpy() @ vectors
    np.testing.assert_allclose(rate, swapped(now.frame.T @ now.rates @ now.frame, 3), atol=1e-11)
    assert float(snapshot.couplings.abs().max()) > 0.05
    step = 1e-5
    low, high = (swapped(case.operator(time + s), 3) for s in (-step, step)) if time else (None, None)
    if time:
        np.testing.assert_allclose(rate, (high - low) / (2 * step), atol=1e-8)


def test_riccati_rotation_flux_is_the_change_of_energy_that_dissipation_leaves():
    """dE(<edge)/dt = -2 sum lambda g^2 + Phi; no eigenvalue crosses, so all of Phi is rotation.

    See equations/identities.md#eq-t7.
    """
    case, time, step = Riccati(), 0.5, 1e-6
    now = case.path(time)
    probe = case.probe(time)
    before, gradient = probe.state(), probe.at().gradient()
    after = ({n: p - step * gradient[n] for n, p in before[0].items()}, before[1])
    one = measure_step(probe, before, after, step)
    edges = np.sqrt(np.unique(now.eigenvalues.round(9))[1:] * np.unique(now.eigenvalues.round(9))[:-1])
    assert len(edges) >= 4
    sums = shell_sums(one, edges)
    flux = np.cumsum(sums["transfer"].numpy())[:-1] / step

    def below(t):
        there = case.path(t)
        index = shell_index(there.eigenvalues, edges)
        energies = np.bincount(index, there.coefficients**2, len(edges) + 1)
        lost = np.bincount(index, 2 * there.eigenvalues * there.coefficients**2, len(edges) + 1)
        return np.cumsum(energies)[:-1], np.cumsum(lost)[:-1]

    h = 1e-4
    change = (below(time + h)[0] - below(time - h)[0]) / (2 * h)
    expected = change + below(time)[1]
    scale = np.abs(expected).max()
    assert scale > 0.05
    # First order in the step, second in the difference, and rounding of energies over the step.
    np.testing.assert_allclose(flux, expected, atol=1e-5 * scale + 1e-8)
    assert float(sums["transfer_drift"].abs().max()) < 1e-12


class Crossing(nn.Module):
    """Landau-Zener: outputs S(t) p with S^2 = 3 + [[t, gap], [gap, -t]], so M is that.

    t moves with the parameters but has no gradient: as a buffer, its motion would be a term of its own.
    """

    def __init__(self, gap):
        super().__init__()
        self.p, self.gap = nn.Parameter(torch.zeros(2).double()), gap
        self.t = nn.Parameter(torch.tensor(-1.0).double())

    def forward(self, x):
        t = self.t.detach()
        off = torch.full_like(t, self.gap)
        M = torch.stack([torch.stack([3 + t, off]), torch.stack([off, 3 - t])])
        values, vectors = torch.linalg.eigh(M)
        return (((vectors * values.sqrt()) @ vectors.T) @ self.p * x)[None, :]


def crossing(gap, count):
    """Energy carried over the edge at the crossing, its parts, and the transfer matrix, over t from -1 to 1."""
    model = Crossing(gap)
    probe = ef.Probe(model, torch.ones(1, 1).double(), torch.tensor([[1.0, 2.0]]).double(), loss="half_sum")
    state, edges, total, matrix = probe.state(), np.array([3.0]), np.zeros(3), np.zeros((2, 2))
    for start, end in zip(*(np.linspace(-1, 1, count + 1)[s] for s in (slice(-1), slice(1, None))), strict=True):
        before, after = (({**state[0], "t": torch.tensor(t).double()}, state[1]) for t in (start, end))
        one = measure_step(probe, before, after, 1.0)
        sums = shell_sums(one, edges)
        total += [float(sums[name][0]) for name in ("transfer", "transfer_drift", "transfer_rotation")]
        matrix += transfer_matrix(one, edges).numpy() - np.diag(
            [float(x) for x in (one.linear_old[1] ** 2, one.linear_old[0] ** 2)]
        )
    return total, matrix


def lower_energy(gap, t, error=(-1.0, -2.0)):
    _, vectors = np.linalg.eigh([[t, gap], [gap, -t]])
    return (vectors[:, 0] @ np.array(error)) ** 2


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 5, pytest.param(21, marks=pytest.mark.slow)])
def test_flux_through_a_crossing_does_not_depend_on_how_sharp_it_is(count):
    """Seen through labels it is all rotation or all drift; through projectors it is one number as the gap closes."""
    found = {}
    for gap in (0.3, 1e-2, 1e-4, 1e-8):
        total, matrix = crossing(gap, count)
        assert total[0] == pytest.approx(lower_energy(gap, 1.0) - lower_energy(gap, -1.0), abs=1e-12)
        assert total[1] + total[2] == pytest.approx(total[0], abs=1e-12)
        found[gap] = total, matrix
    # The lower state turns from the first coordinate to the second: from energy 1 to energy 4.
    assert found[1e-8][0][0] == pytest.approx(3.0, abs=1e-7)
    # All of either state's energy changes shells. What the states turn outside of the step that holds the crossing, by
    # an angle of gap / (distance in time), is what the gap still does.
    for gap in (1e-4, 1e-8):
        np.testing.assert_allclose(found[gap][1], [[-1.0, 4.0], [1.0, -4.0]], atol=4 * gap * count)
    # Steps longer than the crossing see labels that cross, shorter ones vectors that turn: the split is not a fact.
    assert abs(found[1e-8][0][1] - 3.0) < 5 * 1e-8 * count
    if count == 21:
        assert abs(found[0.3][0][2] - found[0.3][0][0]) < 1e-12


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_deep_linear_net_has_the_known_eigenvalues_and_rates(layers):
    """mu_ij = sum_l a_i^(2(L-l)/L) a_j^(2(l-1)/L), and a' = L a^(2-2/L) (s - a).

    See equations/known_cases.md#deep-linear-networks.
    """
    strengths, amplitudes = np.array([3.0, 2.0, 1.2]), np.array([1.9, 0.8, 0.3])
    n, L = 3, layers
    generator = torch.Generator().manual_seed(0)
    U, _ = torch.linalg.qr(torch.randn(n, n, generator=generator).double())
    V, _ = torch.linalg.qr(torch.randn(n, n, generator=generator).double())
    root = torch.diag(torch.from_numpy(amplitudes ** (1 / L)))
    model = nn.Sequential(*(nn.Linear(n, n, bias=False) for _ in range(L))).double()
    with torch.no_grad():
        for k, layer in enumerate(model):
            layer.weight.copy_(
                (U if k == L - 1 else torch.eye(n).double()) @ root @ (V.T if k == 0 else torch.eye(n).double())
            )
    targets = (U @ torch.diag(torch.from_numpy(strengths)) @ V.T).T.contiguous()
    snapshot = ef.Probe(model, torch.eye(n).double(), targets, loss="half_sum").measure(drift=True)

    def eigenvalues(a):
        first, second = a[:, None], a[None, :]
        return sum(first ** (2 * (L - k) / L) * second ** (2 * (k - 1) / L) for k in range(1, L + 1))

    speed, h = L * amplitudes ** (2 - 2 / L) * (strengths - amplitudes), 1e-6
    expected = eigenvalues(amplitudes)
    rates = (eigenvalues(amplitudes + h * speed) - eigenvalues(amplitudes - h * speed)) / (2 * h)
    order = np.lexsort((rates.ravel().round(5), expected.ravel().round(10)))[::-1]
    np.testing.assert_allclose(snapshot.eigenvalues, expected.ravel()[order], rtol=1e-12)
    np.testing.assert_allclose(snapshot.eigenvalue_rates, rates.ravel()[order], rtol=1e-7)
    # The eigenvectors u_i v_j' stand still.
    gaps = (snapshot.eigenvalues[:, None] - snapshot.eigenvalues[None, :]).abs()
    assert float((snapshot.couplings * gaps).abs().max()) < 1e-11
