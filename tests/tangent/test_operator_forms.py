"""Every way to form the operator gives the operator: rules, explicit Jacobians, products, mixtures."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import eigenflow as ef
from eigenflow.tangent.dense import dense_kernel_and_rate
from networks import MODELS, build
from problems import samples, tanh_net
from reference import dense_jacobian as oracle


@pytest.mark.parametrize("name", MODELS)
def test_dense_operator_is_that_of_plain_autograd(name):
    model, inputs, targets = build(name)
    probe = ef.Probe(model, inputs, targets)
    snapshot = probe.measure(drift=True)
    expected = oracle.kernel(model, inputs, probe.factor)
    torch.testing.assert_close(probe.at().dense(), expected, rtol=1e-11, atol=1e-13)
    assert snapshot.operator_error <= 1e-12


@pytest.mark.parametrize("name", MODELS)
def test_exact_rate_agrees_with_differences(name):
    """Central differences over +-1e-5 carry up to 1e-6 relative, most through the layer norm's curvature."""
    model, inputs, targets = build(name)
    probe = ef.Probe(model, inputs, targets)
    probe.measure(modes=1)  # settles which rules hold
    point = probe.at()
    direction = point.gradient()
    _, rate = point.dense_and_rate(direction)
    flat = torch.cat(
        [
            direction[n].reshape(-1) if n in direction else torch.zeros(p.numel()).double()
            for n, p in model.named_parameters()
        ]
    )
    theta, ends = oracle.get_parameters(model), []
    for sign in (1, -1):
        oracle.set_parameters(model, theta + sign * 1e-5 * flat)
        ends.append(oracle.kernel(model, inputs, probe.factor))
    measured = (ends[0] - ends[1]) / 2e-5
    assert (rate - measured).norm() <= 1e-5 * measured.norm()


def test_layer_rules_are_used_where_they_hold_and_given_up_where_not():
    assert ef.Probe(*build("mlp")).method == "dense, layer rules for all parameters"
    for name in ("tied", "conv", "tokens", "tied tokens", "grouped", "group norm", "normed", "attention", "encoder"):
        assert ef.Probe(*build(name)).method == "dense, layer rules for all parameters"
    assert ef.Probe(*build("free")).method == "dense, explicit Jacobian for power (exp); layer rules for the rest"
    mixing = ef.Probe(*build("set"))
    mixing.measure(modes=1)
    assert "layer rules" not in mixing.method


@pytest.mark.long
@given(seed=st.integers(0, 2**31 - 1), count=st.integers(1, 5), outputs=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_products_agree_with_the_dense_jacobian(seed, count, outputs):
    model, (inputs, targets) = tanh_net(seed, outputs=outputs), samples(seed, count=count, outputs=outputs)
    probe = ef.Probe(model, inputs, targets)
    point = probe.at()
    J = probe.factor**0.5 * oracle.jacobian(model, inputs)
    rows = torch.randn(3, probe.size, generator=torch.Generator().manual_seed(seed % 1000), dtype=torch.float64)
    torch.testing.assert_close(point.product(rows), rows @ J @ J.T, rtol=1e-10, atol=1e-12)
    pulled = torch.cat([g.flatten(1) for g in point.pull(rows).values()], 1)
    torch.testing.assert_close(pulled, rows @ J, rtol=1e-10, atol=1e-12)
    gradient = point.gradient()
    flat = torch.cat([g.reshape(-1) for g in gradient.values()])
    torch.testing.assert_close(point.push(gradient), J @ flat, rtol=1e-10, atol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("name", ["tied", "tokens", "tied tokens", "grouped", "free", "attention", "set"])
@pytest.mark.parametrize(("chunk", "row_bytes"), [(1, 500), (4, 1 << 20), (6, 2000)])
def test_chunks_of_samples_and_slices_of_rows_add_up(name, chunk, row_bytes):
    """Any way to cut the work gives the whole operator and its rate, up to rounding."""
    model, inputs, targets = build(name)
    probe = ef.Probe(model, inputs, targets)
    probe.measure(modes=1)
    point = probe.at()
    direction = {n: -g for n, g in point.gradient().items()}
    whole = point.dense_and_rate(direction)
    task = replace(point.dense_task(drift=True), chunk=len(inputs) if name == "set" else chunk, row_bytes=row_bytes)
    for cut, expected in zip(dense_kernel_and_rate(task, direction), whole, strict=True):
        torch.testing.assert_close(cut, expected, rtol=1e-12, atol=1e-14)


def test_float32_model_is_measured_in_float64():
    model, inputs, targets = build("mlp")
    expected = oracle.kernel(model.float().double(), inputs.float().double(), 2.0 / targets.numel())
    probe = ef.Probe(model.float(), inputs.float(), targets.float())
    torch.testing.assert_close(probe.at().dense(), expected, rtol=1e-12, atol=1e-14)


def test_leading_modes_are_those_of_the_full_spectrum():
    probe = ef.Probe(*build("mlp"))
    some, every = probe.measure(modes=3), probe.measure()
    torch.testing.assert_close(some.eigenvalues, every.eigenvalues[:3])
    torch.testing.assert_close(some.eigenvalue_rates, every.eigenvalue_rates[:3])
    assert every.eigenvectors.shape == (12, 12) and some.eigenvectors.shape == (3, 12)
    assert float(every.residuals.max()) <= 1e-13 * float(every.eigenvalues[0])


def test_probe_keeps_the_mode_that_it_was_made_in():
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 2)).double()
    inputs, targets = samples()
    probe = ef.Probe(model.eval(), inputs, targets)
    expected = probe.measure().eigenvalues
    model.train()
    torch.testing.assert_close(probe.measure().eigenvalues, expected, rtol=0, atol=0)
    assert model.training and model[1].training
