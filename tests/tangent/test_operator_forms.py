"""Every way to form the operator gives the operator: rules, explicit Jacobians, products, mixtures."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import eigenflow as ef
from problems import samples, tanh_net
from reference import dense_jacobian as oracle


class Tied(nn.Module):
    """One linear layer used twice."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.outer = nn.Linear(3, 2)

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(torch.tanh(self.inner(x)))))


class SetNet(nn.Module):
    """Outputs of one sample depend on all samples: the layer rule's assumption fails."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.outer = nn.Linear(4, 2)

    def forward(self, x):
        hidden = torch.tanh(self.inner(x))
        return self.outer(hidden - hidden.mean(0))


class Tokens(nn.Module):
    """Linear layers on a sequence, embeddings, a layer norm and free parameters."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.mix = nn.Linear(4, 4)
        self.bias = nn.Parameter(torch.zeros(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.mix(self.norm(self.table(x))) + self.bias).mean(1))


class Residual(nn.Module):
    """A residual block on two positions, with norms over two axes."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm((2, 3))
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        return (x + torch.tanh(self.inner(self.norm(x)))).sum(2)


def frozen_net():
    model = tanh_net(seed=1)
    model[0].weight.requires_grad_(False)
    model[2].bias.requires_grad_(False)
    return model


MODELS = {
    "mlp": lambda: tanh_net(seed=1),
    "frozen": frozen_net,
    "tied": Tied,
    "set": SetNet,
    "conv": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 2), nn.Tanh(), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(8, 2)
    ),
    "tokens": Tokens,
    "grouped": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 1, 1)),
        nn.ConstantPad2d(2, 0.3),
        nn.Conv2d(3, 6, 3, groups=3, stride=2, padding=1),
        nn.Tanh(),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 2, 2, dilation=2, bias=False),
        nn.Flatten(),
    ),
    "normed": lambda: nn.Sequential(nn.Linear(3, 6), nn.RMSNorm(6, eps=1e-3), nn.Unflatten(1, (2, 3)), Residual()),
}


def build(name):
    torch.manual_seed(2)
    model = MODELS[name]().double().eval()
    for buffer in model.buffers():  # batch statistics that are not those of a new layer
        if buffer.is_floating_point():
            buffer.add_(torch.rand(buffer.shape, dtype=buffer.dtype))
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(0.3 * torch.randn(parameter.shape, dtype=parameter.dtype))
    inputs, targets = samples(seed=2)
    if name == "tokens":
        inputs = torch.randint(0, 7, (6, 5), generator=torch.Generator().manual_seed(0))
    return model, inputs, targets


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
    for name in ("tied", "conv"):
        assert ef.Probe(*build(name)).method == "dense, layer rules for all parameters"
    assert ef.Probe(*build("tokens")).method == "dense, explicit Jacobian for bias; layer rules for the rest"
    mixing = ef.Probe(*build("set"))
    mixing.measure(modes=1)
    assert "layer rules" not in mixing.method


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


def test_large_jacobians_are_contracted_in_blocks(monkeypatch):
    model, inputs, targets = build("tied")
    monkeypatch.setattr("eigenflow.tangent.dense.JACOBIAN_BYTES", 500)
    expected = oracle.kernel(model, inputs, 2.0 / targets.numel())
    torch.testing.assert_close(ef.Probe(model, inputs, targets).at().dense(), expected, rtol=1e-11, atol=1e-13)


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
