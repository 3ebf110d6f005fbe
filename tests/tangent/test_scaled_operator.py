"""J P^(-1) J^T unit by unit against explicit Jacobians: the parts alone, and whole networks in which they are used."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, jacrev, jvp

import eigenflow as ef
from eigenflow.tangent import dense
from eigenflow.tangent.dense import dense_kernel, dense_kernel_and_rate
from eigenflow.tangent.rules import scaled
from eigenflow.tangent.rules.parts import Target, Workspace
from eigenflow.tangent.rules.scaled import folded, scaled_part
from eigenflow.tangent.rules.uses import Factors

COUNT = 7


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def random_factors(samples, classes, positions, outs, ins):
    return Factors(draw(samples, positions, ins), draw(samples, classes, positions, outs))


def explicit_rows(one, other):
    """sum_t g_t (x) a_t with inputs of one and signals of the other."""
    return torch.einsum("stj,sctu->scuj", one.inputs, other.signals).flatten(0, 1).flatten(1)


def moved(factors, dots):
    """The derivative of explicit rows."""
    return explicit_rows(factors, dots) + explicit_rows(dots, factors)


@pytest.mark.parametrize("entries", [1, 40, 1 << 17])
@pytest.mark.parametrize("moves", ["both", "signals", "this side's inputs", "nothing"])
@given(
    seed=st.integers(0, 2**31),
    samples=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 6)),
    is_empty=st.booleans(),
)
@settings(max_examples=15)
def test_part_is_the_product_of_explicit_rows(entries, moves, seed, samples, shape, is_empty):
    """The later half of each side, in any slices: up to 6 * 5 * 3 * 3 terms of order one, so 1e-12 is rounding."""
    torch.manual_seed(seed)
    first, second = (random_factors(count, *shape) for count in samples)
    dots = [random_factors(count, *shape) for count in samples]
    if moves != "both":
        still = [1.0, 0.0] if moves == "this side's inputs" else [0.0, 0.0]
        dots = [replace(d, inputs=d.inputs * keep) for d, keep in zip(dots, still, strict=True)]
    weights = torch.rand(shape[2], shape[3], dtype=torch.float64)
    weights[0, 0] = 0.0
    part = [slice(count // 2, count) for count in samples]
    sides = zip((first, second), dots, part, strict=True)
    J, K = (
        [rows.unflatten(0, (-1, shape[0]))[some].flatten(0, 1) for rows in (explicit_rows(f, f), moved(f, d))]
        for f, d, some in sides
    )
    p = weights.reshape(-1)
    before = draw(len(J[0]), len(K[0]))
    kept = torch.zeros(()) if is_empty else before
    expected, expected_rate = kept + J[0] * p @ K[0].T, kept + J[1] * p @ K[0].T + J[0] * p @ K[1].T
    has_rate = moves != "nothing"
    target = Target(before.clone(), before.clone() if has_rate else None, shape[0], Workspace(before))
    target.is_empty = target.is_rate_empty = is_empty
    old, scaled.ENTRIES = scaled.ENTRIES, entries
    try:
        one, other = (
            scaled_part(f, d if has_rate else None, weights) for f, d in zip((first, second), dots, strict=True)
        )
        one.add_block(target, other, *part)
    finally:
        scaled.ENTRIES = old
    assert not target.is_empty
    torch.testing.assert_close(target.block, expected, rtol=0, atol=1e-12 * float(expected.abs().max() + 1))
    if has_rate:
        assert not target.is_rate_empty
        atol = 1e-12 * float(expected_rate.abs().max() + 1)
        torch.testing.assert_close(target.rate, expected_rate, rtol=0, atol=atol)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_weights_that_differ_along_one_axis_go_into_the_factors(axis):
    factors, dots = random_factors(3, 2, 2, 4, 5), random_factors(3, 2, 2, 4, 5)
    weights = torch.rand(4, 5, dtype=torch.float64)
    if axis is None:
        assert folded(factors, dots, weights) is None
        return
    weights = weights.select(axis, 0).unsqueeze(axis).expand(4, 5)
    found, found_dots = folded(factors, dots, weights)
    root = weights.sqrt().reshape(-1)
    torch.testing.assert_close(explicit_rows(found, found), explicit_rows(factors, factors) * root, rtol=1e-13, atol=0)
    expected = explicit_rows(factors, dots) * root
    torch.testing.assert_close(explicit_rows(found, found_dots), expected, rtol=1e-13, atol=1e-15)


class Shared(nn.Module):
    """One layer on all of four positions and twice in a row, a bias on its own, a frozen layer with an adapter."""

    def __init__(self):
        super().__init__()
        self.lift = nn.Linear(12, 24)
        self.inner = nn.Linear(24, 24, bias=False)
        self.frozen = nn.Linear(24, 40).requires_grad_(False)
        self.down, self.up = nn.Linear(24, 8, bias=False), nn.Linear(8, 40, bias=False)
        self.head = nn.Linear(4 * 40, 9)

    def forward(self, x):
        hidden = torch.tanh(self.lift(x).unflatten(0, (-1, 4)))
        hidden = torch.tanh(self.inner(torch.tanh(self.inner(hidden))))
        return self.head(torch.tanh(self.frozen(hidden) + self.up(self.down(hidden))).flatten(1))


class Transposed(nn.Module):
    """Weights stored as (in, out), as in GPT-2, behind an embedding; twelve outputs at three positions."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6, 16)
        self.weight, self.bias = nn.Parameter(0.3 * draw(16, 32)), nn.Parameter(draw(32))
        self.head = nn.Linear(32, 12)

    def forward(self, x):
        hidden = self.table(x)
        hidden = torch.addmm(self.bias, hidden.flatten(0, 1), self.weight).unflatten(0, hidden.shape[:2])
        return self.head(torch.tanh(hidden)).flatten(1)


NETWORKS = {
    # name: (network, inputs, layers that are taken unit by unit)
    "mlp": (lambda: nn.Sequential(nn.Linear(20, 40), nn.Tanh(), nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 9)), 20, 3),
    "conv": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (3, 5, 5)),
            nn.Conv2d(3, 12, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.Conv2d(12, 16, 3, stride=2, padding=1, groups=2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(64, 14),
        ),
        75,
        3,  # both groups of the second layer and the last one; the first has nine positions
    ),
    "shared": (
        lambda: nn.Sequential(nn.Unflatten(1, (4, 12)), Flat(), Shared()),
        48,
        2,
    ),  # the second matrix of the adapter and the head
    "transposed": (Transposed, 3, 2),
}


class Flat(nn.Module):
    """(samples, 4, 12) -> (4 samples, 12)."""

    def forward(self, x):
        return x.flatten(0, 1)


def built(name):
    torch.manual_seed(3)
    make, width, _ = NETWORKS[name]
    model = make().double()
    inputs = torch.randint(0, 6, (COUNT, width)) if name == "transposed" else draw(COUNT, width)
    with torch.no_grad():
        outputs = model(inputs)
    probe = ef.Probe(model, inputs, torch.zeros_like(outputs))
    inverse = {n: torch.rand(p.shape, dtype=p.dtype) + 0.1 for n, p in model.named_parameters() if p.requires_grad}
    for weights in inverse.values():  # parameters that the optimizer holds still
        weights[0] = 0.0
    return model, inputs, probe, probe.at(preconditioner=inverse)


def explicit_operator(model, inputs, point, direction):
    """J P^(-1) J^T and its derivative along a direction with P fixed: jacrev, and forward mode on top of it."""

    def rows(parameters):
        def outputs(p):
            return functional_call(model, p, (inputs,)).reshape(-1)

        found = jacrev(outputs)(parameters)
        return torch.cat([found[n].flatten(1) for n in parameters], 1) * (2.0 / point.size) ** 0.5

    names = list(point.parameters)
    J, moved = jvp(rows, (dict(point.parameters),), ({n: direction[n] for n in names},))
    p = torch.cat([point.preconditioner[n].reshape(-1) for n in names])
    half = (moved * p) @ J.T
    return (J * p) @ J.T, half + half.T


def close(found, expected, digits=1e-12):
    assert float((found - expected).norm()) <= digits * float(expected.norm())


@pytest.mark.parametrize("name", NETWORKS)
def test_operator_and_rate_are_those_of_explicit_jacobians(name, monkeypatch):
    """Of the layers that are large enough, as many as are written beside each network go unit by unit."""
    taken = []
    monkeypatch.setattr(dense, "scaled_part", lambda *args: taken.append(args) or scaled_part(*args))
    model, inputs, probe, point = built(name)
    direction = point.descent()
    expected, expected_rate = explicit_operator(model, inputs, point, direction)
    kernel, rate = point.dense_and_rate(direction)
    assert len(taken) == NETWORKS[name][2]
    assert probe.method == "dense, layer rules for all parameters"
    close(kernel, expected)
    close(rate, expected_rate)
    close(point.dense(), expected)


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("chunk", "row_bytes", "block_bytes"), [(1, 500, 1e6), (3, 1 << 20, 3e4), (COUNT, 2000, 3e3)])
def test_cut_in_any_way_it_is_the_same_operator(name, chunk, row_bytes, block_bytes, monkeypatch):
    monkeypatch.setattr(dense, "BLOCK_BYTES", block_bytes)
    model, inputs, _, point = built(name)
    direction = point.descent()
    task = replace(point.dense_task(drift=True), chunk=chunk, row_bytes=row_bytes)
    expected = explicit_operator(model, inputs, point, direction)
    for found, right in zip(dense_kernel_and_rate(task, direction), expected, strict=True):
        close(found, right)
    close(dense_kernel(task), expected[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_small_budget_is_kept_by_chunks(name):
    model, inputs, probe, point = built(name)
    direction = point.descent()
    whole = point.dense_plan(drift=True).cost.peak_bytes
    least = next(b for b in range(17_000_000, whole * 2, 100_000) if fits(point, b))
    point.memory_budget = least
    assert point.dense_plan(drift=True).chunk < COUNT
    for found, right in zip(
        point.dense_and_rate(direction), explicit_operator(model, inputs, point, direction), strict=True
    ):
        close(found, right)


def fits(point, budget):
    point.memory_budget = budget
    try:
        point.dense_plan(drift=True)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_keeps_its_digits(name):
    """Sums of up to some thousand terms of one sign on the diagonal: 1e-5 of the norm is a hundred roundings."""
    model, inputs, _, point = built(name)
    direction = point.descent()
    expected = explicit_operator(model, inputs, point, direction)
    inverse = {n: p.float() for n, p in point.preconditioner.items()}
    single = inputs if name == "transposed" else inputs.float()
    outputs = torch.zeros(COUNT, point.size // COUNT)
    probe = ef.Probe(model.float(), single, outputs, dtype=torch.float32)
    found = probe.at(preconditioner=inverse).dense_and_rate({n: d.float() for n, d in direction.items()})
    for matrix, right in zip(found, expected, strict=True):
        assert matrix.dtype == torch.float32
        close(matrix.double(), right, 1e-5)


def test_momentum_alone_is_a_factor_of_the_plain_operator(monkeypatch):
    """P of SGD with heavy ball is a number, so that nothing needs to go unit by unit."""
    monkeypatch.setattr(dense, "scaled_part", None)
    model, inputs, probe, _ = built("mlp")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(inputs).square().sum().backward()
    optimizer.step()
    plain, point = probe.at(), probe.at(preconditioner=optimizer)
    direction = plain.gradient()
    for found, right in zip(point.dense_and_rate(direction), plain.dense_and_rate(direction), strict=True):
        close(found, 10.0 * right, 1e-13)


@pytest.mark.parametrize("name", ["conv", "transposed"])
def test_without_weights_it_is_the_plain_operator(name, monkeypatch):
    """Layers with fewer positions than outputs take this way without a preconditioner too."""
    taken = []
    monkeypatch.setattr(dense, "scaled_part", lambda *args: taken.append(args) or scaled_part(*args))
    model, inputs, probe, point = built(name)
    plain, direction = probe.at(), point.descent()
    found = plain.dense_and_rate(direction)
    assert len(taken) == 2 and all(weights is None for *_, weights in taken)
    point.preconditioner = {n: torch.ones_like(p) for n, p in point.parameters.items()}
    for matrix, right in zip(found, explicit_operator(model, inputs, point, direction), strict=True):
        close(matrix, right)


def test_measured_operator_passes_its_own_audit():
    """The audit makes products by plain reverse mode, which knows no rules."""
    _, _, probe, point = built("conv")
    snapshot = probe.measure(at=point)
    assert snapshot.operator_error <= 1e-12 and snapshot.method.startswith("dense, layer rules for all parameters")
