"""The test side: K(x, X), the exact one-step change of the test error, and its prediction."""

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.tangent import holdout_step, lazy_holdout
from problems import samples, tanh_net
from reference import dense_jacobian as oracle

TESTS = 4


def make(seed=0, loss="mse", **options):
    model, train, test = tanh_net(seed, hidden=7, **options), samples(seed), samples(seed + 50, count=TESTS)
    return model, train, test, ef.Probe(model, *train, loss=loss, holdout=test)


def dense_cross_kernel(model, train, test, probe):
    """K(x, X) from plain autograd Jacobians, each with its own set's normalisation."""
    J_train = probe.factor**0.5 * oracle.jacobian(model, train[0])
    return probe.holdout_objective.factor**0.5 * oracle.jacobian(model, test[0]) @ J_train.T


@pytest.mark.parametrize("loss", ["mse", "half_mean", "half_sum"])
def test_products_and_columns_are_those_of_dense_jacobians(loss):
    model, train, test, probe = make(loss=loss)
    K = dense_cross_kernel(model, train, test, probe)
    point = probe.holdout_at()
    rows = torch.randn(3, probe.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(point.product(rows), rows @ K.T, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(point.columns([0, 5, 11]), K.T[[0, 5, 11]], rtol=1e-12, atol=1e-13)
    back = torch.randn(2, K.shape[0], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(point.transposed(back), back @ K, rtol=1e-12, atol=1e-13)
    error = oracle.error(model, *test, probe.holdout_objective.factor)
    torch.testing.assert_close(point.loss_gradient(), error @ K, rtol=1e-12, atol=1e-13)
    assert point.loss == pytest.approx(float(error @ error) / 2, rel=1e-14)


def test_holdout_equal_to_the_probe_set_gives_the_operator_itself():
    model, train = tanh_net(1), samples(1)
    probe = ef.Probe(model, *train, holdout=train)
    rows = torch.eye(probe.size, dtype=torch.float64)
    torch.testing.assert_close(probe.holdout_at().product(rows), probe.at().dense(), rtol=1e-12, atol=1e-14)


def test_cross_entropy_has_a_cross_kernel_too():
    """K = B_x' J_x J_X' B_X with the per-sample roots; the test loss falls at the rate of their product."""
    model, (inputs, _), (test_inputs, _) = tanh_net(2, outputs=3), samples(2), samples(3, count=TESTS)
    labels, test_labels = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 1, 2, 2])
    probe = ef.Probe(model, inputs, labels, loss="cross_entropy", holdout=(test_inputs, test_labels))
    point = probe.holdout_at()
    rate = -float(point.loss_gradient() @ point.train.error)
    gradient = point.train.gradient()
    losses = []
    for sign in (1, -1):
        moved = {name: p - sign * 1e-5 * gradient[name] for name, p in point.train.parameters.items()}
        losses.append(probe.holdout_at((moved, point.train.rest)).loss)
    assert rate == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-7)  # differences of second order


OPTIMIZERS = {
    "gradient descent": lambda p: torch.optim.SGD(p, lr=0.2),
    "heavy ball": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02),
}


def one_update(name, *, warm=3, rate=0.2, seed=0):
    model, train, test, probe = make(seed)
    optimizer = OPTIMIZERS[name](model.parameters())
    for _ in range(warm + 1):
        before = probe.state()
        optimizer.zero_grad()
        nn.functional.mse_loss(model(train[0]), train[1]).backward()
        optimizer.step()
    return holdout_step(probe, before, probe.state(), rate), probe, before


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_change_of_the_test_loss_adds_up_and_the_identity_holds(name):
    """equations/identities.md#eq-d1 on other samples: exact for any update, so only rounding is left."""
    step, probe, before = one_update(name)
    change = 0.5 * float(step.error_after @ step.error_after - step.error @ step.error)
    total = step.gradient + step.optimizer + step.remainder
    assert total == pytest.approx(change, abs=1e-14 * float(step.error @ step.error))
    assert step.identity_residual <= 1e-14
    assert step.remainder != 0.0
    losses = [probe.holdout_loss(probe.at(before)), probe.holdout_loss(probe.at())]
    assert change == pytest.approx(losses[1] - losses[0], rel=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_change_of_any_test_loss_adds_up(name):
    """Cross-entropy against torch's own, with outputs of the linearised network from plain autograd Jacobians."""
    model, train, test = tanh_net(0, hidden=7, outputs=3), samples(0), samples(50, count=TESTS)
    labels, test_labels = torch.arange(6) % 3, torch.arange(TESTS) % 3
    probe = ef.Probe(model, train[0], labels, loss="cross_entropy", holdout=(test[0], test_labels))
    optimizer = OPTIMIZERS[name](model.parameters())
    before, start = probe.state(), oracle.get_parameters(model)
    J, J_train = (oracle.jacobian(model, inputs) for inputs in (test[0], train[0]))
    outputs = [model(test[0]).detach()]
    logits = model(train[0]).detach().requires_grad_(True)
    (r,) = torch.autograd.grad(nn.functional.cross_entropy(logits, labels), logits)
    outputs.append(outputs[0] - 0.2 * (J @ (J_train.T @ r.reshape(-1))).reshape(TESTS, 3))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(train[0]), labels).backward()
    optimizer.step()
    outputs.append(outputs[0] + (J @ (oracle.get_parameters(model) - start)).reshape(TESTS, 3))
    outputs.append(model(test[0]).detach())
    losses = [float(nn.functional.cross_entropy(z, test_labels)) for z in outputs]
    step = holdout_step(probe, before, probe.state(), 0.2)
    parts = (step.gradient, step.optimizer, step.remainder)
    np.testing.assert_allclose(parts, np.diff(losses), rtol=0, atol=1e-14)
    assert step.loss == pytest.approx(losses[0], rel=1e-14) and step.loss_after == pytest.approx(losses[3], rel=1e-14)
    assert step.identity_residual <= 1e-14


def test_gradient_descent_leaves_only_a_second_order_remainder():
    """e'_x - e_x = -eta K e + O(eta^2): no optimizer term, and a quarter of the remainder at half the step."""
    model, train, test, probe = make(3)
    before, gradient = probe.state(), probe.at().gradient()
    misses = []
    for size in 0.1 * 0.5 ** np.arange(4):
        after = ({n: p - size * gradient[n] for n, p in before[0].items()}, before[1])
        step = holdout_step(probe, before, after, float(size))
        assert abs(step.optimizer) <= 1e-13 * float(step.error @ step.error)
        misses.append(float(torch.linalg.vector_norm(step.error_after - step.gradient_error)))
    np.testing.assert_allclose(np.log2(np.array(misses[:-1]) / misses[1:])[-1], 2.0, atol=0.05)


@pytest.mark.long
def test_test_error_is_the_integral_of_its_drive():
    """e_x(t) = e_x(0) - int K(x, X) e ds along gradient flow: the trapezoidal rule converges at order 2."""
    misses = []
    for pieces in (4, 8, 16):
        model, train, test, probe = make(4)
        first, drives = probe.holdout_at().error, [probe.holdout_at().rate()]
        for _ in range(pieces):
            oracle.flow_step(model, *train, probe.factor, 1.0 / pieces, steps=64 // pieces)
            drives.append(probe.holdout_at().rate())
        inner = sum(drives[1:-1]) + 0.5 * (drives[0] + drives[-1])
        misses.append(float(torch.linalg.vector_norm(probe.holdout_at().error - first - inner / pieces)))
    np.testing.assert_allclose(np.log2(np.array(misses[:-1]) / misses[1:]), 2.0, atol=0.1)


@pytest.mark.long
def test_lazy_prediction_is_exact_for_a_linear_model():
    """Its kernels do stand still, so gradient flow by Runge-Kutta is the truth: error (1/64)^4 of it."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    train, test = samples(5), samples(6, count=TESTS)
    probe = ef.Probe(model, *train, holdout=test)
    predicted = lazy_holdout(probe.holdout_at(), [0.0, 0.5, 2.0], steps=12)
    for index, span in enumerate((0.0, 0.5, 1.5)):
        oracle.flow_step(model, *train, probe.factor, span, steps=64)
        expected = oracle.error(model, *test, probe.holdout_objective.factor)
        torch.testing.assert_close(predicted.error[index], expected, rtol=0, atol=1e-7)
        assert predicted.loss[index] == pytest.approx(float(expected @ expected) / 2, rel=1e-6)
    assert (predicted.truncation <= 1e-10).all()


def test_lazy_prediction_of_a_network_against_dense_matrices_and_its_truncation_shrinks():
    model, train, test, probe = make(7)
    K, M = dense_cross_kernel(model, train, test, probe), oracle.kernel(model, train[0], probe.factor)
    e, e_test = oracle.error(model, *train, probe.factor), oracle.error(model, *test, probe.holdout_objective.factor)
    values, vectors = torch.linalg.eigh(M)
    times = [0.3, 3.0, 100.0]
    exact = torch.stack(
        [e_test - K @ (vectors @ (-torch.expm1(-values * t) / values * (vectors.T @ e))) for t in times]
    )
    full = lazy_holdout(probe.holdout_at(), times, steps=12)
    torch.testing.assert_close(full.error, exact, rtol=0, atol=1e-9)
    short = lazy_holdout(probe.holdout_at(), times, steps=4)
    assert (full.truncation <= short.truncation + 1e-12).all() and short.truncation[-1] > 1e-3


@pytest.mark.rejects
class TestRejects:
    def test_no_holdout(self):
        with pytest.raises(ArgumentError, match=r"no `holdout`.*holdout=\("):
            ef.Probe(tanh_net(), *samples()).holdout_at()

    @pytest.mark.parametrize(
        ("holdout", "message"),
        [
            (lambda x, y: (x[:, :2], y), r"holdout|cannot be evaluated"),
            (lambda x, y: (x, y[:2]), r"`holdout\[0\]` and `holdout\[1\]`.*4 and 2"),
            (lambda x, y: (x, y[:, :1]), r"`holdout\[1\]` must have the shape.*\(4, 2\).*\(4, 1\)"),
            (lambda x, y: (x[:0], y[:0]), r"`holdout\[0\]` must have at least one sample"),
        ],
    )
    def test_holdout_of_wrong_shape(self, holdout, message):
        with pytest.raises(ArgumentError, match=message):
            ef.Probe(tanh_net(), *samples(), holdout=holdout(*samples(50, count=TESTS)))

    def test_rows_of_the_wrong_set(self):
        *_, probe = make()
        with pytest.raises(ShapeError, match=r"`rows` must have shape \(block, 8\).*holdout.*\(1, 12\)"):
            probe.holdout_at().transposed(torch.ones(1, 12, dtype=torch.float64))

    @pytest.mark.parametrize("indices", [[], [12], [-1]])
    def test_columns_out_of_range(self, indices):
        *_, probe = make()
        with pytest.raises(ArgumentError, match=r"`indices`.*\[0, 11\]"):
            probe.holdout_at().columns(indices)

    @pytest.mark.parametrize("times", [[], [-1.0], [float("inf")]])
    def test_times(self, times):
        *_, probe = make()
        with pytest.raises(ArgumentError, match="`times`"):
            lazy_holdout(probe.holdout_at(), times)

    def test_step_of_a_sketch(self):
        loss = ef.sketched("cross_entropy", chosen=[0])
        probe = ef.Probe(tanh_net(outputs=3), samples()[0], torch.tensor([0, 1, 2, 0, 1, 2]), loss=loss)
        with pytest.raises(ArgumentError, match=r"needs all of the error.*cross_entropy, 1 chosen"):
            holdout_step(probe, probe.state(), probe.state(), 0.1)
