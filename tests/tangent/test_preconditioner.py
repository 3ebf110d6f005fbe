"""J P^(-1) J^T against explicit matrices, and against one actual small update of PyTorch's optimizers."""

import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.preconditioner import inverse_preconditioner
from networks import build
from problems import samples, tanh_net
from reference import dense_jacobian as oracle

OPTIMIZERS = {
    "adam": lambda p, rate: torch.optim.Adam(p, lr=rate, betas=(0.0, 0.9), eps=1e-3),
    "amsgrad": lambda p, rate: torch.optim.Adam(p, lr=rate, betas=(0.0, 0.9), eps=1e-3, amsgrad=True),
    "adamw": lambda p, rate: torch.optim.AdamW(p, lr=rate, betas=(0.0, 0.9), eps=1e-3, weight_decay=0.0),
    "rmsprop": lambda p, rate: torch.optim.RMSprop(p, lr=rate, alpha=0.9, eps=1e-3),
    "centred": lambda p, rate: torch.optim.RMSprop(p, lr=rate, alpha=0.9, eps=1e-3, centered=True),
    "sgd": lambda p, rate: torch.optim.SGD(p, lr=rate),
}


def trained(name, rate, model, inputs, targets, steps=5):
    """A few updates at a rate of 0.01, then one at `rate`; returns the error before and after that one."""
    optimizer = OPTIMIZERS[name](model.parameters(), 0.01)
    probe = ef.Probe(model, inputs, targets)
    for step in range(steps):
        if step == steps - 1:
            optimizer.param_groups[0]["lr"] = rate
        before = probe.state()
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    return probe, optimizer, before


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_small_step_of_the_optimizer_moves_a_linear_model_by_the_operator(name):
    """e+ - e = -eta J P^(-1) J^T e exactly where the network is linear, with P as the step left and used it."""
    model, (inputs, targets) = nn.Linear(3, 2).double(), samples(1)
    probe, optimizer, before = trained(name, 0.3, model, inputs, targets)
    old = probe.at(before, preconditioner=optimizer)
    moved = probe.at().error - old.error
    torch.testing.assert_close(moved, -0.3 * old.product(old.error[None])[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_step_of_the_optimizer_is_the_operator_to_second_order(name):
    """On a nonlinear network the miss falls by four when the rate is halved."""
    misses = []
    for rate in (2e-3, 1e-3):
        model, (inputs, targets) = tanh_net(2), samples(2)
        probe, optimizer, before = trained(name, rate, model, inputs, targets)
        old = probe.at(before, preconditioner=optimizer)
        misses.append(float((probe.at().error - old.error + rate * old.product(old.error[None])[0]).norm()))
    assert misses[0] / misses[1] == pytest.approx(4.0, abs=0.1)


def test_settled_heavy_ball_moves_slow_modes_by_its_operator():
    """A linear model under heavy ball: after the transient e shrinks per step by eta lambda / (1 - mu), to O(eta^2)."""
    model, (inputs, targets) = nn.Linear(3, 1, bias=False).double(), samples(3, outputs=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    probe = ef.Probe(model, inputs, targets)
    for _ in range(300):  # 0.9^300 = 2e-14 of the start-up is left
        before = probe.state()
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    old = probe.at(before, preconditioner=optimizer)
    expected = -1e-4 * old.product(old.error[None])[0]
    change = probe.at().error - old.error
    # The next order is eta lambda mu / (1 - mu)^2 relative.
    bound = 1e-4 * float(torch.linalg.eigvalsh(probe.at().dense())[-1]) * 0.9 / 0.1**2
    assert bound < 0.1
    assert float((change - expected).norm()) <= 1.5 * bound * float(expected.norm())


@pytest.mark.parametrize("name", ["mlp", "tied", "tied tokens", "grouped", "normed", "attention", "free", "set"])
def test_dense_and_products_are_those_of_explicit_matrices(name):
    model, inputs, targets = build(name)
    probe = ef.Probe(model, inputs, targets)
    probe.measure(modes=1)
    generator = torch.Generator().manual_seed(0)
    inverse = {
        n: torch.rand(p.shape, generator=generator, dtype=p.dtype) + 0.1
        for n, p in model.named_parameters()
        if p.requires_grad
    }
    point = probe.at(preconditioner=inverse)
    J = probe.factor**0.5 * oracle.jacobian(model, inputs)
    expected = J * torch.cat([d.reshape(-1) for d in inverse.values()]) @ J.T
    torch.testing.assert_close(point.dense(), expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(point.product(torch.eye(probe.size).double()), expected, rtol=1e-11, atol=1e-13)


def test_measured_flow_is_the_preconditioned_one():
    """Rates along -P^(-1) grad, from the dense operator and from products, against differences."""
    model, (inputs, targets) = tanh_net(5), samples(5)
    probe = ef.Probe(model, inputs, targets)
    generator = torch.Generator().manual_seed(1)
    inverse = {n: torch.rand(p.shape, generator=generator, dtype=p.dtype) + 0.1 for n, p in model.named_parameters()}
    point = probe.at(preconditioner=inverse)
    snapshot = probe.measure(at=point)
    direction = point.descent()
    ends = []
    for sign in (1, -1):
        state = {n: p + sign * 1e-5 * direction[n] for n, p in point.parameters.items()}, point.rest
        ends.append(torch.linalg.eigvalsh(probe.at(state, preconditioner=inverse).dense()).flip(0))
    rates = (ends[0] - ends[1]) / 2e-5
    assert float((snapshot.eigenvalue_rates - rates).norm()) <= 1e-6 * float(rates.norm())
    by_products = probe.measure(modes=3, at=point, method="products")
    torch.testing.assert_close(by_products.eigenvalues, snapshot.eigenvalues[:3], rtol=1e-6, atol=0)


@pytest.mark.rejects
class TestRejects:
    def test_optimizer_without_a_step(self):
        model = tanh_net()
        with pytest.raises(ArgumentError, match="has made no step"):
            ef.Probe(model, *samples()).at(preconditioner=torch.optim.Adam(model.parameters()))

    def test_optimizer_that_is_not_diagonal(self):
        model = tanh_net()
        with pytest.raises(ArgumentError, match=r"one of Adam, AdamW, RMSprop, SGD.*is LBFGS"):
            ef.Probe(model, *samples()).at(preconditioner=torch.optim.LBFGS(model.parameters()))

    def test_optimizer_of_another_model(self):
        with pytest.raises(ArgumentError, match=r"does not hold the trainable parameter '0.weight'"):
            ef.Probe(tanh_net(), *samples()).at(preconditioner=torch.optim.SGD(tanh_net().parameters(), lr=1.0))

    def test_negative_entries(self):
        model = tanh_net()
        with pytest.raises(ArgumentError, match=r"finite and >= 0.*'0.weight'"):
            ef.Probe(model, *samples()).at(preconditioner={n: -torch.ones_like(p) for n, p in model.named_parameters()})

    def test_missing_parameter(self):
        with pytest.raises(ArgumentError, match=r"'0.weight' with shape \(5, 3\) is missing"):
            ef.Probe(tanh_net(), *samples()).at(preconditioner={})


def test_an_optimizer_may_hold_frozen_parameters():
    """As AdamW(model.parameters()) of a model that is trained in part: they have no state, and need none."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)).double()
    model[0].requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(2, 3).double()).square().sum().backward()
    optimizer.step()
    inverse = inverse_preconditioner(optimizer, model)
    assert set(inverse) == {"1.weight", "1.bias"}
    expected = 1.0 / (model[1].bias.grad.abs() + 1e-8)  # the first step of Adam divides by the gradient's size
    torch.testing.assert_close(inverse["1.bias"], expected)
