"""The equations of gradient flow (equations/identities.md#gradient-flow), against differences along a Runge-Kutta flow.

Oracle: plain autograd Jacobians and central differences over +-h with h = 1e-4. Their own error is
O(h^2) times third derivatives, about 1e-7 relative, so 1e-5 has room for none but real mistakes.
"""

import copy

import pytest
import torch

import eigenflow as ef
from problems import samples, tanh_net
from reference import dense_jacobian as oracle

pytestmark = pytest.mark.long

H = 1e-4


def flowed(model, inputs, targets, factor, time):
    moved = copy.deepcopy(model)
    oracle.flow_step(moved, inputs, targets, factor, time)
    return moved


@pytest.fixture(params=["mse", "half_mean", "half_sum"])
def case(request):
    model, (inputs, targets) = tanh_net(seed=3), samples(seed=3)
    probe = ef.Probe(model, inputs, targets, loss=request.param)
    snapshot = probe.measure(drift=True)
    ahead = flowed(model, inputs, targets, probe.factor, H)
    behind = flowed(model, inputs, targets, probe.factor, -H)
    return model, inputs, targets, probe, snapshot, ahead, behind


def aligned_eigen(model, inputs, factor, reference):
    """Eigenpairs of the oracle's kernel, rows with the signs of `reference`."""
    values, columns = torch.linalg.eigh(oracle.kernel(model, inputs, factor))
    values, rows = values.flip(0), columns.T.flip(0)
    return values, rows * torch.sign((rows * reference).sum(1, keepdim=True))


def test_loss_is_the_one_that_pytorch_trains():
    model, (inputs, targets) = tanh_net(), samples()
    probe = ef.Probe(model, inputs, targets, loss="mse")
    expected = torch.nn.functional.mse_loss(model(inputs), targets).detach()
    assert probe.measure(modes=1).loss == pytest.approx(float(expected), rel=1e-14)


def test_operator_is_that_of_plain_autograd(case):
    model, inputs, targets, probe, snapshot, *_ = case
    expected = oracle.kernel(model, inputs, probe.factor)
    torch.testing.assert_close(probe.at().dense(), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(snapshot.error, oracle.error(model, inputs, targets, probe.factor))
    values = torch.linalg.eigvalsh(expected).flip(0)
    torch.testing.assert_close(snapshot.eigenvalues, values, rtol=0, atol=1e-13 * float(values[0]))


def test_error_flows_with_minus_the_operator(case):
    """C1: de/dt = -M e."""
    model, inputs, targets, probe, snapshot, ahead, behind = case
    rate = (
        oracle.error(ahead, inputs, targets, probe.factor) - oracle.error(behind, inputs, targets, probe.factor)
    ) / (2 * H)
    expected = -probe.at().product(snapshot.error[None])[0]
    assert (rate - expected).norm() <= 1e-5 * expected.norm()


def test_eigenvalue_rates(case):
    """T2: d lambda / dt = <phi, Mdot phi>."""
    model, inputs, targets, probe, snapshot, ahead, behind = case
    up = aligned_eigen(ahead, inputs, probe.factor, snapshot.eigenvectors)[0]
    down = aligned_eigen(behind, inputs, probe.factor, snapshot.eigenvectors)[0]
    rate = (up - down) / (2 * H)
    assert (rate - snapshot.eigenvalue_rates).norm() <= 1e-5 * rate.norm()


def test_couplings_rotate_the_eigenvectors(case):
    """T1: Omega_uv = <dphi_u/dt, phi_v>, antisymmetric."""
    model, inputs, targets, probe, snapshot, ahead, behind = case
    up = aligned_eigen(ahead, inputs, probe.factor, snapshot.eigenvectors)[1]
    down = aligned_eigen(behind, inputs, probe.factor, snapshot.eigenvectors)[1]
    measured = (up - down) / (2 * H) @ snapshot.eigenvectors.T
    assert (measured - snapshot.couplings).norm() <= 1e-5 * measured.norm()
    torch.testing.assert_close(snapshot.couplings, -snapshot.couplings.T, rtol=1e-9, atol=1e-12)


def test_coefficients_follow_the_mode_equations(case):
    """T1: dg/dt = -lambda g + Omega g."""
    model, inputs, targets, probe, snapshot, ahead, behind = case
    g = []
    for moved in (ahead, behind):
        rows = aligned_eigen(moved, inputs, probe.factor, snapshot.eigenvectors)[1]
        g.append(rows @ oracle.error(moved, inputs, targets, probe.factor))
    rate = (g[0] - g[1]) / (2 * H)
    expected = -snapshot.eigenvalues * snapshot.coefficients + snapshot.couplings @ snapshot.coefficients
    assert (rate - expected).norm() <= 1e-5 * rate.norm()


def test_energy_only_dissipates(case):
    """T4: dE/dt = -2 sum lambda g^2; rotation takes no part in it."""
    model, inputs, targets, probe, snapshot, ahead, behind = case
    up, down = (float(oracle.error(m, inputs, targets, probe.factor).square().sum()) for m in (ahead, behind))
    expected = -2.0 * float((snapshot.eigenvalues * snapshot.coefficients**2).sum())
    assert (up - down) / (2 * H) == pytest.approx(expected, rel=1e-5)


def test_rates_sum_to_the_rate_of_the_trace(case):
    """T5: sum of lambda-dot = d Tr M / dt."""
    model, inputs, targets, probe, snapshot, ahead, behind = case
    up, down = (float(oracle.kernel(m, inputs, probe.factor).trace()) for m in (ahead, behind))
    assert float(snapshot.eigenvalue_rates.sum()) == pytest.approx((up - down) / (2 * H), rel=1e-5)


def test_operator_rate_is_linear_in_the_direction(case):
    """T3: Mdot is linear in the direction, for gradient flow in the error."""
    model, inputs, targets, probe, *_ = case
    point = probe.at()
    generator = torch.Generator().manual_seed(5)
    a, b = (
        {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in point.parameters.items()} for _ in "ab"
    )
    both = {n: 2.0 * a[n] - 3.0 * b[n] for n in a}
    rates = [point.dense_and_rate(d)[1] for d in (a, b, both)]
    torch.testing.assert_close(rates[2], 2.0 * rates[0] - 3.0 * rates[1], rtol=1e-11, atol=1e-11)


def test_given_direction_is_the_one_used():
    """Along another direction than the gradient, lambda-dot is the difference along that direction."""
    model, (inputs, targets) = tanh_net(seed=4), samples(seed=4)
    probe = ef.Probe(model, inputs, targets)
    generator = torch.Generator().manual_seed(1)
    direction = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in model.named_parameters()}
    rates = probe.measure(direction=direction).eigenvalue_rates
    theta, flat = oracle.get_parameters(model), torch.cat([d.reshape(-1) for d in direction.values()])
    ends = []
    for sign in (1, -1):
        oracle.set_parameters(model, theta + sign * 1e-5 * flat)
        ends.append(torch.linalg.eigvalsh(oracle.kernel(model, inputs, probe.factor)).flip(0))
    measured = (ends[0] - ends[1]) / 2e-5
    assert (rates - measured).norm() <= 1e-5 * measured.norm()
