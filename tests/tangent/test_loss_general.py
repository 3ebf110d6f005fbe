"""Losses that are known as functions only: roots from Hessians, in reverse mode, within the memory.

Oracles: autograd's Hessians, differences over +-1e-5, closed forms of the same loss, and what a fresh process takes.
"""

import copy
import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.tangent import GeneralLoss, make_loss
from eigenflow.tangent.loss.curvature import BlockRoot, _polar

SCRIPT = Path(__file__).parent / "loss_memory_peak.py"
COUNT, CLASSES = 5, 4


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


INPUTS, VALUES, LABELS = draw(COUNT, 3, seed=9), draw(COUNT, CLASSES, seed=1), torch.tensor([0, 3, 1, 1, 2])


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, CLASSES)).double()


def log_partition(z, y):
    """Convex, coupled, H singular along nothing: logsumexp of squares plus a ridge."""
    return (torch.logsumexp(z * y, 1) + 0.05 * (z - y).square().sum(1)).mean()


# Functions, some of whose operations have no forward mode through their gradients in PyTorch 2.13; targets; diagonal?
FUNCTIONS = {
    "huber": (lambda z, y: functional.huber_loss(z, y, delta=10.0), VALUES, True),
    "mse": (lambda z, y: functional.mse_loss(z, y), VALUES, True),
    "smooth l1": (lambda z, y: functional.smooth_l1_loss(z, y, beta=10.0), VALUES, True),
    "soft margin": (lambda z, y: functional.soft_margin_loss(z, y), VALUES.sign(), True),
    "log cosh": (lambda z, y: torch.log(torch.cosh(z - y)).sum(), VALUES, True),
    "cross-entropy": (lambda z, y: functional.cross_entropy(z, y), LABELS, False),
    "likelihood": (lambda z, y: functional.nll_loss(z.log_softmax(-1), y), LABELS, False),
    "log-partition": (log_partition, VALUES, False),
}


def dense(probe, point=None):
    return (probe.at() if point is None else point).dense()


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_operator_and_rate_of_a_plain_function(kind):
    """M by autograd's Hessian and numpy's root; Mdot, dense and by products, against differences (error 1e-9)."""
    function, targets, is_diagonal = FUNCTIONS[kind]
    model = network()
    probe = ef.Probe(model, INPUTS, targets, loss=function)
    assert probe.loss.is_diagonal is is_diagonal
    point = probe.at()
    direction = point.descent()
    M, rate = point.dense_and_rate(direction)
    z = model(INPUTS).detach()
    H = torch.autograd.functional.hessian(lambda o: function(o, targets), z).reshape(z.numel(), z.numel())
    jacobian = torch.func.jacrev(lambda p: torch.func.functional_call(model, p, INPUTS))
    parts = jacobian({n: p.detach() for n, p in model.named_parameters()}).values()
    J = torch.cat([part.reshape(z.numel(), -1) for part in parts], 1)
    same = torch.linalg.eigvalsh(J.T @ H @ J).flip(0)[: z.numel()]
    torch.testing.assert_close(torch.linalg.eigvalsh(M).flip(0), same, rtol=0, atol=1e-12 * float(same[0]))
    ends = [
        dense(probe, probe.at(({n: p + s * 1e-5 * direction[n] for n, p in point.parameters.items()}, point.rest)))
        for s in (1, -1)
    ]
    expected = (ends[0] - ends[1]) / 2e-5
    assert float((rate - expected).norm()) <= 1e-7 * float(M.norm() + expected.norm())
    rows = draw(3, probe.size, seed=4)
    torch.testing.assert_close(point.rate_product(rows, direction), rows @ rate, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(point.product(rows), rows @ M, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("anchored", [False, True])
def test_batches_of_vectors_and_transforms_see_one_root(anchored):
    """vmap over rows, and over directions of a derivative, give what single calls give."""
    z, rows, changes = draw(COUNT, CLASSES, seed=3), draw(3, COUNT, CLASSES, seed=4), draw(2, COUNT, CLASSES, seed=5)
    loss, targets = GeneralLoss(functional.cross_entropy).bind(LABELS, z.shape, z.dtype, "targets")
    if anchored:
        loss = loss.anchored(z, targets)  # elsewhere it keeps B^+ dB symmetric to first order only
    whole = loss.weigh(z, targets, rows)
    torch.testing.assert_close(
        torch.func.vmap(lambda r: loss.weigh(z, targets, r))(rows), whole, rtol=1e-13, atol=1e-15
    )

    def along(change):
        return torch.func.jvp(lambda x: loss.spread(x, targets, rows * x), (z,), (change,))[1]

    batched, single = torch.func.vmap(along)(changes), torch.stack([along(c) for c in changes])
    torch.testing.assert_close(batched, single, rtol=1e-12, atol=1e-14)
    ends = [loss.spread(z + s * 1e-5 * changes[0], targets, rows * (z + s * 1e-5 * changes[0])) for s in (1, -1)]
    torch.testing.assert_close(single[0], (ends[0] - ends[1]) / 2e-5, rtol=0, atol=1e-8)


def test_root_is_made_once_at_the_same_outputs():
    calls = []

    def counting(z, y):
        calls.append(1)
        return functional.cross_entropy(z, y)

    z, rows = draw(COUNT, CLASSES, seed=3), draw(2, COUNT, CLASSES, seed=4)
    loss, targets = GeneralLoss(counting).bind(LABELS, z.shape, z.dtype, "targets")
    first = loss.spread(z, targets, rows)
    made = len(calls)
    again = loss.spread(z.clone(), targets, rows), loss.weigh(z, targets, rows)
    assert len(calls) == made
    assert torch.equal(first, again[0])
    z[0, 0] += 1.0  # in place: the same tensor, other outputs
    moved = loss.spread(z, targets, rows)
    fresh = GeneralLoss(functional.cross_entropy).bind(LABELS, z.shape, z.dtype, "targets")[0]
    torch.testing.assert_close(moved, fresh.spread(z, targets, rows), rtol=1e-14, atol=0)
    assert len(calls) > made


def test_a_module_is_copied_and_converted():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", torch.tensor([1.0, 2.0, 3.0, 4.0]))

        def forward(self, z, y):
            return (self.weight * (z - y).square()).sum()

    loss = Weighted()
    probe = ef.Probe(network(), INPUTS, VALUES, loss=loss)
    assert loss.weight.dtype == torch.float32 and probe.loss.function.weight.dtype == torch.float64
    partial = functools.partial(lambda z, y, weight: (weight * (z - y).square()).sum(), weight=loss.weight)
    torch.testing.assert_close(dense(ef.Probe(network(), INPUTS, VALUES, loss=partial)), dense(probe))


def test_weights_that_agree_in_half_of_the_samples_are_no_mean():
    """The first half has the mean weight of the whole set; other chunks do not."""
    weights = torch.tensor([2.0, 1.0, 1.0, 2.0]).double()

    def weighted(z, y):
        weight = weights[y]
        return (weight * functional.cross_entropy(z, y, reduction="none")).sum() / weight.sum()

    labels = torch.tensor([0, 1, 0, 1])
    loss, _ = make_loss(weighted).bind(labels, torch.Size((4, 4)), torch.float64, "targets")
    assert loss.reduction == "unknown"


def test_nearby_roots_that_lapack_fails_on_are_decomposed(monkeypatch):
    def fail(*_args, **_options):
        raise torch.linalg.LinAlgError("did not converge")

    blocks = torch.eye(4, dtype=torch.float64) + 0.01 * draw(2, 4, 4)
    expected = _polar(blocks)
    monkeypatch.setattr(torch.linalg, "svd", fail)
    torch.testing.assert_close(_polar(blocks), expected, rtol=0, atol=1e-14)


def test_root_in_another_frame_keeps_its_square():
    blocks = draw(2, 4, 4) @ draw(2, 4, 4).mT
    H = blocks @ blocks.mT
    values, vectors = torch.linalg.eigh(H)
    root = BlockRoot(vectors, values.sqrt()).carried(torch.linalg.inv(torch.linalg.cholesky(H + torch.eye(4))))
    eye = torch.eye(4, dtype=torch.float64)[:, None].expand(4, 2, 4)
    B = root.times(eye).movedim(0, -1)
    torch.testing.assert_close(B @ B.mT, H, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(root.transposed_times(eye).movedim(0, -1), B.mT, rtol=1e-12, atol=1e-12)


def taken(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("drift", "frame"), [(0, 0), (1, 0), (1, 1)])
def test_memory_is_below_what_is_announced_and_grows_as_the_blocks(drift, frame):
    """Growth of a fresh process's resident memory, samples doubled once; the allocator may keep 20 MB."""
    one, two = taken(4, 400, drift, frame), taken(8, 400, drift, frame)
    for found in (one, two):
        assert found["measured"] <= found["allowed"] + 20e6, found
    assert two["measured"] - one["measured"] <= 1.2 * (two["allowed"] - one["allowed"]) + 20e6, (one, two)


@pytest.mark.slow
def test_diagonal_hessians_take_vectors():
    """3 samples of 20,000 outputs: blocks would take 9.6 GB each."""
    torch.manual_seed(0)
    model, x, y = nn.Linear(2, 20_000), torch.randn(3, 2), torch.randn(3, 20_000)
    probe = ef.Probe(model, x, y, loss=lambda z, t: functional.smooth_l1_loss(z, t, beta=50.0))
    assert probe.loss.root_bytes(3, 20_000, 8, drift=True) < 100e6
    point = probe.at()
    rows = torch.randn(1, probe.size, dtype=torch.float64)
    closed = ef.Probe(model, x, y, loss=nn.SmoothL1Loss(beta=50.0)).at()
    torch.testing.assert_close(point.product(rows), closed.product(rows), rtol=1e-10, atol=1e-18)


def test_closed_roots_hold_nothing():
    for loss in ("mse", "cross_entropy", nn.BCEWithLogitsLoss()):
        assert make_loss(loss).root_bytes(8, 16_000, 8, drift=True) == 0
        make_loss(loss).require_memory(8, 16_000, 8, 1, drift=True)


class _Once(torch.autograd.Function):
    """An operation whose derivative is differentiable `times` times more."""

    @staticmethod
    def forward(x, times):
        return x.exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.times = inputs[1]

    @staticmethod
    def backward(ctx, cotangent):
        if ctx.times == 0:
            raise RuntimeError("derivative for my_exp_backward is not implemented")
        return cotangent * _Once.apply(ctx.saved_tensors[0], ctx.times - 1), None


@pytest.mark.rejects
class TestRejects:
    def measured(self, loss, targets=VALUES, model=None, **options):
        return ef.Probe(model or network(), INPUTS, targets, loss=loss).measure(**options)

    def test_blocks_that_do_not_fit(self):
        loss, _ = make_loss(log_partition).bind(VALUES, torch.Size((COUNT, CLASSES)), torch.float64, "targets")
        with pytest.raises(
            ArgumentError, match=r"4 blocks of 16,000 x 16,000.*allowed. Use fewer outputs.*as an object"
        ):
            loss.require_memory(4, 16_000, 8, 300 * 2**20, drift=False)
        with pytest.raises(ArgumentError, match=r"Use at most \d+ of the 64 samples.*`memory_budget`"):
            loss.require_memory(64, 600, 8, 300 * 2**20, drift=False)

    def test_no_second_derivative_and_the_elementary_form(self):
        with pytest.raises(ArgumentError, match=r"differentiated twice.*multi_margin_loss_backward.*elementary"):
            self.measured(lambda z, y: functional.multi_margin_loss(z, y, p=2), LABELS)

        def elementary(z, y):
            margin = (1 - z.gather(1, y[:, None]) + z).clamp(min=0).square() / CLASSES
            return (margin.sum(1) - 1 / CLASSES).mean()

        by_hand, own = self.measured(elementary, LABELS), self.measured(nn.MultiMarginLoss(p=2), LABELS)
        torch.testing.assert_close(by_hand.eigenvalues, own.eigenvalues, rtol=1e-10, atol=1e-13)

    def test_no_third_derivative_and_a_measurement_without_rates(self):
        def loss(z, y):
            return (_Once.apply(z, 2) - y * z).mean()

        with pytest.raises(ArgumentError, match=r"three times.*my_exp_backward.*measure\(drift=False\)"):
            self.measured(loss)
        snapshot = self.measured(loss, drift=False)
        closed = self.measured(lambda z, y: (z.exp() - y * z).mean(), drift=False)
        torch.testing.assert_close(snapshot.eigenvalues, closed.eigenvalues, rtol=1e-11, atol=1e-14)

    def test_outputs_that_couple_only_somewhere(self):
        def loss(z, y):
            together = z.sum(1, keepdim=True).square() * (z.abs() > 5).any()
            return ((z - y).square() + together).sum()

        model = network()
        with torch.no_grad():
            model[2].bias[0] = 8.0
        with pytest.raises(ArgumentError, match=r"couples the outputs of a sample here.*is_diagonal=False"):
            self.measured(loss, model=model)
        snapshot = self.measured(GeneralLoss(loss, is_diagonal=False), model=model)
        assert float(snapshot.eigenvalues[0]) > 0

    def test_tensors_of_another_type_in_a_function(self):
        weight = torch.ones(CLASSES)

        def loss(z, y):
            return functional.cross_entropy(z, y, weight=weight)

        with pytest.raises(ArgumentError, match=r"cannot be evaluated.*evaluates in torch.float64.*dtype=\.\.\."):
            self.measured(loss, LABELS)
        probe = ef.Probe(network().float(), INPUTS.float(), LABELS, loss=loss, dtype=torch.float32)
        assert float(probe.measure().eigenvalues[0]) > 0

    def test_hessian_that_is_not_finite(self):
        with pytest.raises(NonFiniteError, match=r"Hessian by the outputs that is NaN or infinite"):
            self.measured(lambda z, y: (z - z.detach()).abs().pow(1.5).sum() + z.square().sum())

    def test_function_that_returns_a_number(self):
        with pytest.raises(ArgumentError, match="must return a scalar, but returns float"):
            self.measured(lambda z, y: 1.0)

    def test_pairs_of_samples_that_meet(self):
        """Samples 0 and 2 alone are coupled."""
        with pytest.raises(ArgumentError, match="couples the outputs of different samples"):
            self.measured(lambda z, y: (z - y).square().sum() + (z[0] * z[2]).sum())

    def test_constant_loss(self):
        with pytest.raises(ArgumentError, match="no positive curvature"):
            self.measured(lambda z, y: z.argmax(1).to(z).sum() + 0 * z.sum())

    def test_parameters_of_its_own(self):
        class Tempered(nn.Module):
            def __init__(self):
                super().__init__()
                self.temperature = nn.Parameter(torch.ones(1))

            def forward(self, z, y):
                return functional.cross_entropy(z / self.temperature, y)

        loss = Tempered()
        with pytest.raises(ArgumentError, match=r"temperature.*requires_grad_\(False\)"):
            self.measured(loss, LABELS)
        frozen = copy.deepcopy(loss).requires_grad_(False)
        plain = self.measured("cross_entropy", LABELS)
        torch.testing.assert_close(self.measured(frozen, LABELS).eigenvalues, plain.eigenvalues, rtol=1e-9, atol=1e-13)

    def test_what_is_no_function(self):
        with pytest.raises(ArgumentError, match="`function` must be callable"):
            GeneralLoss("mse")
        with pytest.raises(ArgumentError, match="`defect` must be 'raise' or 'drop'"):
            GeneralLoss(functional.mse_loss, defect="hide")
