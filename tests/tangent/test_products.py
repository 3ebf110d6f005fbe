"""Products with M and Mdot from cached factors, against plain autograd and dense matrices."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.tangent.products import CachedJacobian
from problems import samples, tanh_net
from reference import dense_jacobian as oracle
from tangent.test_operator_forms import MODELS, build


class Attention(nn.Module):
    """One causal attention layer on functional scaled-dot-product attention, with norms and a tied output."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 6)
        self.norm = nn.LayerNorm(6)
        self.mix = nn.Linear(6, 18)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        hidden = self.table(x)
        q, k, v = self.mix(self.norm(hidden)).unflatten(-1, (2, 9)).transpose(1, 2).chunk(3, -1)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head((hidden + mixed.transpose(1, 2).flatten(2)).mean(1))


def attention_case():
    torch.manual_seed(4)
    inputs = torch.randint(0, 5, (6, 4), generator=torch.Generator().manual_seed(0))
    return Attention().double(), inputs, samples(seed=2)[1]


def case(name):
    return attention_case() if name == "attention" else build(name)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def point_and_direction(name):
    probe = ef.Probe(*case(name))
    probe.measure(modes=1, drift=False)  # settles which rules hold
    point = probe.at()
    return point, {n: draw(*p.shape, seed=7) for n, p in point.parameters.items()}


@pytest.mark.parametrize("name", [*MODELS, "attention"])
def test_cached_products_are_those_of_plain_autograd(name):
    model, inputs, targets = case(name)
    probe = ef.Probe(model, inputs, targets)
    probe.measure(modes=1, drift=False)
    jacobian = CachedJacobian(probe.at())
    rows = draw(7, probe.size)
    expected = rows @ oracle.kernel(model, inputs, probe.factor)
    torch.testing.assert_close(jacobian.product(rows), expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(probe.at().product(rows), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", [*MODELS, "attention"])
def test_rate_products_are_the_derivative_of_products(name):
    """Central differences over +-1e-5 along the direction; their own error is about 1e-7 here."""
    point, direction = point_and_direction(name)
    jacobian = CachedJacobian(point, direction)
    rows = draw(3, point.size)
    ends = []
    for sign in (1.0, -1.0):
        moved = {n: p + sign * 1e-5 * direction[n] for n, p in point.parameters.items()}
        end = type(point)(
            point.network, point.structure, moved, point.rest, point.inputs, point.targets, point.objective
        )
        ends.append(end.product(rows))
    expected = (ends[0] - ends[1]) / 2e-5
    for product in (jacobian.rate_product(rows), point.rate_product(rows, direction)):
        assert float((product - expected).norm()) <= 1e-6 * float(expected.norm())


@pytest.mark.parametrize("name", [*MODELS, "attention"])
def test_products_are_symmetric_and_traces_exact(name):
    point, direction = point_and_direction(name)
    jacobian = CachedJacobian(point, direction)
    eye = torch.eye(point.size, dtype=torch.float64)
    M, rate = jacobian.product(eye), jacobian.rate_product(eye)
    for matrix in (M, rate):
        assert float((matrix - matrix.T).norm()) <= 1e-13 * float(matrix.norm())
    if jacobian.uncovered:
        assert jacobian.trace() is None and jacobian.trace_rate() is None
    else:
        assert jacobian.trace() == pytest.approx(float(M.trace()), rel=1e-12)
        assert jacobian.trace_rate() == pytest.approx(float(rate.trace()), rel=1e-10, abs=1e-12)


def test_float32_products_carry_float32_rounding_only():
    """Relative error of a few 2^-24: the factors are recorded in float64 and rounded once."""
    model, inputs, targets = tanh_net(seed=1, hidden=64), *samples(count=40)
    point = ef.Probe(model, inputs, targets).at()
    direction = point.gradient()
    exact, rounded = (CachedJacobian(point, direction, dtype) for dtype in (None, torch.float32))
    rows = draw(5, point.size)
    for name in ("product", "rate_product"):
        a, b = getattr(exact, name)(rows), getattr(rounded, name)(rows)
        assert b.dtype == torch.float64
        assert 1e-9 < float((a - b).norm() / a.norm()) < 5e-7


def test_groups_of_vectors_do_not_change_the_result(monkeypatch):
    point, direction = point_and_direction("tokens")
    rows = draw(9, point.size)
    whole = CachedJacobian(point, direction)
    expected = whole.product(rows), whole.rate_product(rows)
    monkeypatch.setattr("eigenflow.tangent.products.WORK_BYTES", 1)
    monkeypatch.setattr("eigenflow.tangent.point.PRODUCT_BYTES", 1)
    torch.testing.assert_close(whole.product(rows), expected[0], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(whole.rate_product(rows), expected[1], rtol=1e-12, atol=1e-13)


def test_factors_that_do_not_fit_the_budget_are_not_recorded():
    model, inputs, targets = build("mlp")
    rows = draw(3, targets.numel())
    roomy, tight = (ef.Probe(model, inputs, targets, memory_budget=budget).at() for budget in (2**20, 2**10))
    large, small = CachedJacobian(roomy), CachedJacobian(tight)
    assert not large.uncovered and set(small.uncovered) == set(tight.parameters)
    assert small.method.endswith("automatic differentiation")
    torch.testing.assert_close(small.product(rows), large.product(rows), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("row_cost", [0.0, 1e9])
def test_rows_and_factors_of_a_convolution_give_the_same(monkeypatch, row_cost):
    monkeypatch.setattr("eigenflow.tangent.blocks.ROW_COST", row_cost)
    point, direction = point_and_direction("conv")
    jacobian = CachedJacobian(point, direction)
    matrix, rate = point.dense_and_rate(direction)
    rows = draw(4, point.size)
    torch.testing.assert_close(jacobian.product(rows), rows @ matrix, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(jacobian.rate_product(rows), rows @ rate, rtol=1e-11, atol=1e-12)


def test_other_losses_weigh_the_products():
    model, (inputs, _) = tanh_net(seed=2, outputs=3), samples(seed=2)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    point = ef.Probe(model, inputs, labels, loss="cross_entropy").at()
    direction = {n: -g for n, g in point.gradient().items()}
    jacobian = CachedJacobian(point, direction)
    matrix, rate = point.dense_and_rate(direction)
    rows = draw(4, point.size)
    torch.testing.assert_close(jacobian.product(rows), rows @ matrix, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(jacobian.rate_product(rows), rows @ rate, rtol=1e-10, atol=1e-12)


def test_block_in_the_space_of_samples_is_chosen_and_exact():
    """More inputs than twice the samples: the Gram form, against the dense operator and its derivative."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 25), nn.Tanh(), nn.Linear(25, 3)).double()
    probe = ef.Probe(model, torch.randn(10, 40).double(), torch.randn(10, 3).double())
    point = probe.at()
    direction = {name: -g for name, g in point.gradient().items()}
    jacobian = CachedJacobian(point, direction)
    assert [type(block).__name__ for block in jacobian.blocks] == 3 * ["GramBlock"]
    matrix, rate = point.dense_and_rate(direction)
    rows = torch.randn(4, probe.size, dtype=torch.float64)
    torch.testing.assert_close(jacobian.product(rows), rows @ matrix, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(jacobian.rate_product(rows), rows @ rate, rtol=1e-12, atol=1e-13)
    assert jacobian.trace() == pytest.approx(float(matrix.trace()), rel=1e-13)
    assert jacobian.trace_rate() == pytest.approx(float(rate.trace()), rel=1e-12)
