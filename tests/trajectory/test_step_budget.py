"""The exact one-step budget (equations/identities.md#one-update) on networks that train in every usual way."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.grid import shell_edges, shell_index
from eigenflow.trajectory import measure_step
from eigenflow.trajectory.sums import coupling_matrix, shell_sums, transfer_matrix
from problems import AlignedLinearNet, samples, tanh_net
from reference import dense_jacobian as oracle

OPTIMIZERS = {
    "gradient descent": lambda p: torch.optim.SGD(p, lr=0.2),
    "heavy ball": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "weight decay": lambda p: torch.optim.SGD(p, lr=0.2, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
}


def one_update(optimizer="gradient descent", *, batch=None, warm=3, seed=0, step_size=0.2, count=6):
    """Train a few updates, then measure the next one; `batch` picks the samples of every update."""
    model, (inputs, targets) = tanh_net(seed, hidden=7), samples(seed, count=count)
    probe = ef.Probe(model, inputs, targets)
    make = OPTIMIZERS[optimizer](model.parameters())
    for step in range(warm + 1):
        before = probe.state()
        rows = slice(None) if batch is None else batch(step)
        make.zero_grad()
        nn.functional.mse_loss(model(inputs[rows]), targets[rows]).backward()
        make.step()
    return measure_step(probe, before, probe.state(), step_size), model, inputs, targets, probe


def edges_of(one):
    return shell_edges(float(one.before.eigenvalues[0]))


CASES = [(name, None) for name in OPTIMIZERS] + [
    ("gradient descent", lambda step: slice(2 * (step % 3), 2 * (step % 3) + 2))
]


@pytest.mark.parametrize(("optimizer", "batch"), CASES)
def test_four_terms_close_the_budget_of_every_shell(optimizer, batch):
    """D3': an identity, so only rounding is left: 1e-12 of the energy is thousands of roundings."""
    one, *_ = one_update(optimizer, batch=batch)
    sums = shell_sums(one, edges_of(one))
    explained = -sums["dissipation"] + sums["optimizer"] + sums["transfer"] + sums["remainder"]
    energy = float(sums["energy"].sum())
    assert float((sums["energy_after"] - sums["energy"] - explained).abs().max()) <= 1e-12 * energy
    assert abs(float(sums["transfer"].sum())) <= 1e-12 * energy


@pytest.mark.parametrize(("optimizer", "batch"), CASES)
def test_shell_energies_are_those_of_dense_projectors(optimizer, batch):
    """Energies and terms against projectors built from plain autograd Jacobians and numpy."""
    one, model, inputs, targets, probe = one_update(optimizer, batch=batch)
    edges = edges_of(one)
    sums = {name: values.numpy() for name, values in shell_sums(one, edges).items()}
    M_after = oracle.kernel(model, inputs, probe.factor).numpy()
    e_after = oracle.error(model, inputs, targets, probe.factor).numpy()
    values, columns = np.linalg.eigh(M_after)
    expected = np.zeros(len(edges) + 1)
    np.add.at(expected, shell_index(values, edges), (columns.T @ e_after) ** 2)
    np.testing.assert_allclose(sums["energy_after"], expected, rtol=0, atol=1e-12 * expected.sum())


def test_gradient_descent_has_no_optimizer_term_and_the_closed_form_of_dissipation():
    """D3: D_B = sum (2 eta lambda - eta^2 lambda^2) g^2, X_B = 0, for full-batch gradient descent."""
    one, *_ = one_update(step_size=0.2)
    edges = edges_of(one)
    sums = shell_sums(one, edges)
    energy = float(sums["energy"].sum())
    assert float(sums["optimizer"].abs().max()) <= 1e-12 * energy
    lam, g = one.before.eigenvalues.numpy(), one.before.coefficients.numpy()
    expected = np.zeros(len(edges) + 1)
    np.add.at(expected, shell_index(lam, edges), (2 * 0.2 * lam - (0.2 * lam) ** 2) * g**2)
    np.testing.assert_allclose(sums["dissipation"], expected, rtol=0, atol=1e-12 * energy)


def test_minibatch_error_is_explained_by_the_update_not_by_gradient_descent():
    """D3': with part of the samples, h0 misses most of the change and h almost none."""
    one, *_ = one_update(batch=lambda step: slice(0, 2), step_size=0.2)
    change = torch.linalg.vector_norm(one.after_new - one.after.eigenvectors @ one.before.error)
    missed = torch.linalg.vector_norm(one.after_new - one.linear_new)
    assert one.flow_residual > 0.3
    assert float(missed / change) < 0.1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_path_average_of_the_jacobian_gives_the_exact_change(optimizer):
    """D1 with eight Gauss-Legendre nodes: rounding for a smooth network and a small update."""
    one, *_ = one_update(optimizer)
    assert one.identity_residual <= 1e-12


def test_remainder_has_the_orders_of_the_taylor_expansion():
    """D2: |r| is second order in the update; a quarter per halving, up to the third-order term."""
    model, (inputs, targets) = tanh_net(2, hidden=7), samples(2)
    probe = ef.Probe(model, inputs, targets)
    before, gradient = probe.state(), probe.at().gradient()
    sizes, norms = 0.1 * 0.5 ** np.arange(5), []
    for size in sizes:
        after = ({n: p - size * gradient[n] for n, p in before[0].items()}, before[1])
        one = measure_step(probe, before, after, float(size))
        norms.append(float(torch.linalg.vector_norm(one.after_new - one.linear_new)))
    order = np.log2(np.array(norms[:-1]) / np.array(norms[1:]))
    assert order[-1] == pytest.approx(2.0, abs=0.05)
    assert np.all(np.diff(np.abs(order - 2.0)) < 0)


def test_transfer_matrix_has_the_marginals_and_the_dense_form():
    """D4: A_ab = h' P'_a P_b h against projectors from numpy, and its exact sums."""
    one, *_ = one_update()
    edges = edges_of(one)
    A = transfer_matrix(one, edges).numpy()
    h = (one.before.eigenvectors.T @ one.linear_old).numpy()
    old, new = one.before.eigenvectors.numpy(), one.after.eigenvectors.numpy()
    index_old, index_new = (shell_index(s.eigenvalues.numpy(), edges) for s in (one.before, one.after))
    expected = np.zeros_like(A)
    for a in np.unique(index_new):
        for b in np.unique(index_old):
            P_new, P_old = (
                rows[index == k].T @ rows[index == k] for rows, index, k in ((new, index_new, a), (old, index_old, b))
            )
            expected[a, b] = h @ P_new @ P_old @ h
    scale = h @ h
    np.testing.assert_allclose(A, expected, rtol=0, atol=1e-13 * scale)
    np.testing.assert_allclose(
        A.sum(0), np.bincount(index_old, one.linear_old.numpy() ** 2, len(edges) + 1), atol=1e-13 * scale
    )
    np.testing.assert_allclose(
        A.sum(1), np.bincount(index_new, one.linear_new.numpy() ** 2, len(edges) + 1), atol=1e-13 * scale
    )
    transfer = shell_sums(one, edges)["transfer"].numpy()
    np.testing.assert_allclose(A.sum(1) - A.sum(0), transfer, rtol=0, atol=1e-13 * scale)


def test_labelled_parts_sum_to_the_transfer():
    one, *_ = one_update("adam")
    sums = shell_sums(one, edges_of(one))
    together = sums["transfer_drift"] + sums["transfer_rotation"]
    torch.testing.assert_close(together, sums["transfer"], rtol=0, atol=1e-13 * float(sums["energy"].sum()))


def regauged(one, seed):
    """The same measured step with other, equally valid eigenvectors: signs flipped, clusters rotated."""
    generator = torch.Generator().manual_seed(seed)
    size = len(one.before.clusters)
    turns = []
    for snapshot in (one.before, one.after):
        turn = torch.diag(torch.sign(torch.randn(size, generator=generator, dtype=torch.float64)))
        for label in snapshot.clusters.unique():
            members = torch.nonzero(snapshot.clusters == label)[:, 0]
            random = torch.randn(len(members), len(members), generator=generator, dtype=torch.float64)
            turn[members[:, None], members[None, :]] = torch.linalg.qr(random)[0]
        turns.append(turn)
    old, new = turns
    before = replace(
        one.before,
        eigenvectors=old @ one.before.eigenvectors,
        coefficients=old @ one.before.coefficients,
        rate_matrix=old @ one.before.rate_matrix @ old.T,
        eigenvalue_rates=(old @ one.before.rate_matrix @ old.T).diagonal(),
    )
    after = replace(one.after, eigenvectors=new @ one.after.eigenvectors, coefficients=new @ one.after.coefficients)
    return replace(
        one,
        before=before,
        after=after,
        gradient_old=old @ one.gradient_old,
        frozen_old=old @ one.frozen_old,
        linear_old=old @ one.linear_old,
        linear_new=new @ one.linear_new,
        after_new=new @ one.after_new,
        overlap=new @ one.overlap @ old.T,
    )


@pytest.mark.parametrize("seed", range(5))
def test_shell_quantities_do_not_depend_on_the_choice_of_eigenvectors(seed):
    """Saxe's net has groups of equal eigenvalues (a_i + a_j = a_j + a_i); random rotations inside change nothing."""
    model, inputs, targets = AlignedLinearNet().network(0.4)
    # Unaligned targets make the eigenvectors turn, so that no term is trivially zero.
    targets = targets + 0.3 * samples(seed, count=4, outputs=4)[1]
    probe = ef.Probe(model, inputs, targets, loss="half_sum")
    before, gradient = probe.state(), probe.at().gradient()
    after = ({n: p - 0.02 * gradient[n] for n, p in before[0].items()}, before[1])
    one = measure_step(probe, before, after, 0.02)
    other = regauged(one, seed)
    assert int(torch.bincount(one.before.clusters).max()) > 1
    edges = edges_of(one)
    first, second = shell_sums(one, edges), shell_sums(other, edges)
    for name in set(first) - {"transfer_drift", "transfer_rotation"}:
        scale = float(first[name].abs().max())
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-12 * max(scale, 1e-3), msg=name)
        assert scale > 0 or name in ("optimizer", "curvature")
    for build in (transfer_matrix, coupling_matrix):
        expected = build(one, edges)
        torch.testing.assert_close(build(other, edges), expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


def test_kato_prediction_is_first_order_exact():
    """The predicted coefficients miss the true ones by second order: a quarter per halving of the step."""
    model, (inputs, targets) = tanh_net(6, hidden=9), samples(6, count=4)
    probe = ef.Probe(model, inputs, targets)
    before, gradient = probe.state(), probe.at().gradient()
    misses = []
    for size in (2e-3, 1e-3, 5e-4):
        after = ({n: p - size * gradient[n] for n, p in before[0].items()}, before[1])
        one = measure_step(probe, before, after, size)
        predicted = one.linear_old + size * one.before.couplings @ one.linear_old
        signs = torch.sign(one.overlap[one.successor, torch.arange(len(one.successor))])
        misses.append(float(torch.linalg.vector_norm(signs * one.after_new[one.successor] - predicted)))
    ratios = np.array(misses[:-1]) / np.array(misses[1:])
    np.testing.assert_allclose(ratios, 4.0, atol=0.2)


def test_projected_velocity_of_energy_matches_differences():
    """energy_rate summed over all shells in one is d/dt of e'M e at fixed e: e' Mdot e, by central differences."""
    model, (inputs, targets) = tanh_net(1), samples(1)
    probe = ef.Probe(model, inputs, targets)
    before, gradient = probe.state(), probe.at().gradient()
    after = ({n: p - 1e-3 * gradient[n] for n, p in before[0].items()}, before[1])
    one = measure_step(probe, before, after, 1e-3)
    one_shell = np.array([1e-30, 1e30])
    total = float(shell_sums(one, one_shell)["energy_rate"].sum())
    e = one.before.error
    ends = []
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name, p in moved.named_parameters():
                p -= sign * 1e-5 * gradient[name]
        ends.append(float(e @ oracle.kernel(moved, inputs, probe.factor) @ e))
    # Null modes (rounding below 1e-30 on either side) hold none of e' Mdot e.
    assert total == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


def test_remainder_is_half_the_second_derivative_up_to_third_order():
    """D2: r = 1/2 D^2 f[dtheta, dtheta] + O(|dtheta|^3): after subtracting it, an eighth per halving."""
    model, (inputs, targets) = tanh_net(2, hidden=7), samples(2)
    probe = ef.Probe(model, inputs, targets)
    before, gradient = probe.state(), probe.at().gradient()

    def outputs(parameters):
        return torch.func.functional_call(model, parameters, (inputs,)).reshape(-1) * probe.factor**0.5

    def slope(parameters):
        return torch.func.jvp(outputs, (parameters,), (gradient,))[1]

    _, second = torch.func.jvp(slope, (before[0],), (gradient,))
    sizes, misses = 0.1 * 0.5 ** np.arange(5), []
    for size in sizes:
        after = ({n: p - size * gradient[n] for n, p in before[0].items()}, before[1])
        one = measure_step(probe, before, after, float(size))
        remainder = one.after.eigenvectors.T @ (one.after_new - one.linear_new)
        misses.append(float(torch.linalg.vector_norm(remainder - 0.5 * size**2 * second)))
    order = np.log2(np.array(misses[:-1]) / np.array(misses[1:]))
    assert order[-1] == pytest.approx(3.0, abs=0.05)
