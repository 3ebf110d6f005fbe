"""Plain reverse mode, one vector at a time: against dense Jacobians of copies and sixth-order differences of them."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.core.errors import ModelError
from eigenflow.tangent.tape import Tape, batches, tape_kernel
from problems import samples, tanh_net
from reference import dense_jacobian as oracle
from reference.kernel_rates import STENCIL

INPUTS, TARGETS = samples(count=4)
LABELS = torch.tensor([0, 1, 1, 0])


class Physics(nn.Module):
    """Returns its own derivative by the inputs, as physics-informed networks do: nothing for torch.func."""

    def __init__(self):
        super().__init__()
        self.net = tanh_net(outputs=1)

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = self.net(x)
            (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        return torch.cat([value, slope[:, :1]], 1)


class Reads(nn.Module):
    """Control flow by values, in-place operations, a tied weight, one number as a parameter."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.tensor(1.3))
        self.double()

    def forward(self, x):
        x = torch.tanh(self.inner(x))
        if float(x.detach().sum()) > -1e9:
            x = self.inner(x) * self.scale
        x[:, 0] *= 2.0
        return self.outer(x.sin_())


MODELS = {"tanh": tanh_net, "physics": Physics, "reads": Reads}


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors.values()])


def draw(point, seed):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in point.parameters.items()}


def along(function, model, direction, h=1e-3):
    """Sixth-order difference of a function of a model; at this step its error and rounding are about 1e-11."""
    total, moved = 0.0, copy.deepcopy(model)
    for times, weight in STENCIL:
        for sign in (1.0, -1.0):
            oracle.set_parameters(moved, oracle.get_parameters(model) + sign * times * h * flat(direction))
            total = total + sign * weight / h * function(moved)
    return total


def case(name, loss="mse", scales=False):
    model = MODELS[name]()
    probe = ef.Probe(model, INPUTS, TARGETS if loss == "mse" else LABELS, loss)
    scaled = {n: torch.rand_like(p) + 0.1 for n, p in model.named_parameters()} if scales else None
    return model, probe.at(preconditioner=scaled)


@pytest.mark.parametrize("name", MODELS)
def test_products_with_the_network_s_jacobian(name):
    model, point = case(name)
    tape, a, d = Tape(point), draw(point, 1), draw(point, 2)
    c = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    J, rate = oracle.jacobian(model, INPUTS), along(lambda m: oracle.jacobian(m, INPUTS), model, d)
    torch.testing.assert_close(tape.outputs.detach(), model(INPUTS).detach(), rtol=1e-14, atol=1e-15)
    for found, expected, atol in (
        (flat(tape.pull_outputs(c)), J.T @ c.reshape(-1), 1e-13),
        (tape.push_outputs(a).reshape(-1), J @ flat(a), 1e-13),
        (flat(tape.pull_outputs_rate(c, d)), rate.T @ c.reshape(-1), 1e-9),
        (tape.push_outputs_rate(a, d).reshape(-1), rate @ flat(a), 1e-9),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=atol * float(expected.abs().max()))


def curvature_root(point):
    """B, from its action on the rows of the identity; B B^T is held against the Hessian below."""
    eye = torch.eye(point.size, dtype=torch.float64).reshape(point.size, 4, -1)
    return point.spread(point.outputs, eye).reshape(point.size, -1).T


@pytest.mark.parametrize("scales", [False, True])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("name", MODELS)
def test_operator_and_its_rate(name, loss, scales):
    """M = B^T J P^(-1) J^T B and its motion; a trace of H J P^(-1) J^T needs no root."""
    model, point = case(name, loss, scales)
    d, value = draw(point, 4), functional.mse_loss if loss == "mse" else functional.cross_entropy
    targets = TARGETS if loss == "mse" else LABELS
    P = torch.ones(()) if not scales else flat(point.preconditioner)

    def curved(m):
        J, z = oracle.jacobian(m, INPUTS), m(INPUTS).detach()
        H = torch.autograd.functional.hessian(lambda z: value(z, targets), z).reshape(z.numel(), z.numel())
        return H, J

    H, J = curved(model)
    B = curvature_root(point)
    torch.testing.assert_close(B @ B.T, H, rtol=0, atol=1e-15)
    M = B.T @ (J * P) @ J.T @ B
    tape, eye = Tape(point), torch.eye(point.size, dtype=torch.float64)
    found = torch.stack([tape.product(row) for row in eye])
    torch.testing.assert_close(found, M, rtol=0, atol=1e-13 * float(M.norm()))
    rate = torch.stack([tape.rate_product(row, d) for row in eye])
    torch.testing.assert_close(rate, rate.T, rtol=0, atol=1e-12 * float(rate.norm()))

    def by_trace(m):
        H, J = curved(m)
        return (H @ (J * P) @ J.T).trace()

    def by_square(m):
        H, J = curved(m)
        K = H @ (J * P) @ J.T
        return (K @ K).trace()

    assert float(rate.trace()) == pytest.approx(float(along(by_trace, model, d)), rel=1e-9)
    assert float(2 * (rate * found).sum()) == pytest.approx(float(along(by_square, model, d)), rel=1e-9)
    if loss == "mse":
        whole = along(lambda m: B.T @ (oracle.jacobian(m, INPUTS) * P) @ oracle.jacobian(m, INPUTS).T @ B, model, d)
        torch.testing.assert_close(rate, whole, rtol=0, atol=1e-9 * float(whole.norm()))


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("name", MODELS)
def test_gradient_is_that_of_the_loss_s_value(name, loss):
    model, point = case(name, loss)
    value = (
        functional.mse_loss(model(INPUTS), TARGETS)
        if loss == "mse"
        else functional.cross_entropy(model(INPUTS), LABELS)
    )
    expected = dict(
        zip(dict(model.named_parameters()), torch.autograd.grad(value, list(model.parameters())), strict=True)
    )
    for found in (Tape(point).gradient, Tape(point).pull(point.error)):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.long
@pytest.mark.parametrize("scales", [False, True])
@pytest.mark.parametrize("row_bytes", [1, 2**30])
def test_rows_in_pieces_give_the_same_matrix(row_bytes, scales, monkeypatch):
    _, point = case("reads", "cross_entropy", scales)
    d, eye = draw(point, 5), torch.eye(point.size, dtype=torch.float64)
    plan = point.dense_plan(drift=True)
    object.__setattr__(plan, "row_bytes", row_bytes)
    monkeypatch.setattr(point, "dense_plan", lambda drift: plan)
    tape = Tape(point)
    kernel, rate = tape_kernel(point, d)
    for found, products in ((kernel, [tape.product(r) for r in eye]), (rate, [tape.rate_product(r, d) for r in eye])):
        torch.testing.assert_close(found, torch.stack(products), rtol=0, atol=1e-12 * float(found.norm()))
    alone, none = tape_kernel(point, None)
    assert none is None
    torch.testing.assert_close(alone, kernel, rtol=0, atol=1e-13 * float(kernel.norm()))


def test_batches_hold_every_name_once_and_at_most_what_is_allowed():
    tensors = {name: torch.zeros(size) for name, size in zip("abcdef", (3, 9, 1, 1, 2, 30), strict=True)}
    assert list(batches(tensors, 10)) == [["a"], ["b", "c"], ["d", "e"], ["f"]]
    assert list(batches(tensors, 1)) == [[n] for n in "abcdef"]
    assert list(batches(tensors, 10**6)) == [list("abcdef")]
    assert list(batches({}, 3)) == []


def test_unused_and_linear_parameters_have_zero_rates():
    """A network that is linear in its parameters has no second derivative, and PyTorch no graph for one."""
    model = nn.Sequential(nn.Linear(3, 2).double())
    model.register_parameter("unused", nn.Parameter(torch.ones(3, dtype=torch.float64)))
    point = ef.Probe(model, INPUTS, TARGETS).at()
    tape, d = Tape(point), draw(point, 6)
    assert float(flat(tape.pull_outputs(torch.ones(4, 2, dtype=torch.float64))).abs().sum()) > 0
    assert not tape.pull_outputs(torch.ones(4, 2, dtype=torch.float64))["unused"].any()
    assert not tape.push_outputs_rate(d, d).any()
    assert not flat(tape.pull_outputs_rate(torch.ones(4, 2, dtype=torch.float64), d)).any()
    kernel, rate = tape_kernel(point, d)
    expected = oracle.kernel(nn.Sequential(copy.deepcopy(model[0])), INPUTS, 2 / 8)
    torch.testing.assert_close(kernel, expected, rtol=1e-13, atol=1e-14)
    assert not rate.any()


def test_the_tape_leaves_gradients_and_the_model_alone():
    model, point = case("reads")
    model.inner.weight.grad = torch.ones(3, 3, dtype=torch.float64)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    tape_kernel(point, draw(point, 7))
    assert torch.equal(model.inner.weight.grad, torch.ones(3, 3, dtype=torch.float64))
    assert model.outer.weight.grad is None
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


@pytest.mark.rejects
def test_outputs_that_are_cut_off_are_refused():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tanh_net()

        def forward(self, x):
            with torch.no_grad():
                return self.net(x)

    with pytest.raises(ModelError, match=r"receives a gradient.*no_grad\(\).*Return the scores"):
        Tape(ef.Probe(Cut(), INPUTS, TARGETS).at(), elementary=False)
