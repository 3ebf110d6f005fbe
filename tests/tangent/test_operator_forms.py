"""Every way to form the operator gives the operator: rules, explicit Jacobians, products, mixtures."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import eigenflow as ef
from eigenflow.tangent.dense import dense_kernel_and_rate
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


class Free(nn.Module):
    """Parameters in operations that no rule covers, and one that is added and multiplied."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.scale = nn.Parameter(torch.ones(1, 4))
        self.power = nn.Parameter(torch.ones(4))
        self.head = nn.Parameter(torch.randn(4, 2))

    def forward(self, x):
        hidden = torch.tanh(self.inner(x) * self.scale + self.scale)
        return hidden.abs() ** torch.exp(self.power) @ self.head


class TiedTokens(nn.Module):
    """Tokens embedded and read out by one table, positions by another that has no sample axis."""

    def __init__(self, tokens=7):
        super().__init__()
        self.table = nn.Embedding(tokens, 4)
        self.places = nn.Embedding(5, 4)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, tokens, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        hidden = self.table(x) + self.places(torch.arange(x.shape[1])[None])
        return self.head(torch.tanh(self.mix(hidden)).mean(1))[:, :2]


class Attention(nn.Module):
    """Self-attention with a mask, then cross-attention with separate key and value widths."""

    def __init__(self):
        super().__init__()
        self.lift = nn.Linear(3, 8)
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)
        self.cross = nn.MultiheadAttention(4, 1, bias=False, kdim=2, vdim=2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        hidden = self.lift(x).unflatten(1, (2, 4))
        mixed, _ = self.inner(hidden, hidden, hidden, attn_mask=torch.tensor([[False, True], [False, False]]))
        keys = hidden.unflatten(2, (2, 2)).flatten(1, 2)
        mixed, _ = self.cross(mixed, keys, keys, need_weights=False)
        return self.head(torch.tanh(mixed).sum(1))


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
    "free": Free,
    "tied tokens": TiedTokens,
    "attention": Attention,
    "encoder": lambda: nn.Sequential(
        nn.Linear(3, 8),
        nn.Unflatten(1, (2, 4)),
        nn.TransformerEncoderLayer(4, 2, 6, 0.0, "gelu", batch_first=True),
        nn.Flatten(),
        nn.Linear(8, 2),
    ),
    "group norm": lambda: nn.Sequential(
        nn.Linear(3, 8),
        nn.Unflatten(1, (4, 2)),
        nn.GroupNorm(2, 4),
        nn.Conv1d(4, 4, 3, padding="same"),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(8, 2),
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
    if name in ("tokens", "tied tokens"):
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
    for name in ("tied", "conv", "tokens", "tied tokens", "grouped", "group norm", "normed", "attention", "encoder"):
        assert ef.Probe(*build(name)).method == "dense, layer rules for all parameters"
    assert ef.Probe(*build("free")).method == "dense, explicit Jacobian for power (exp); layer rules for the rest"
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
