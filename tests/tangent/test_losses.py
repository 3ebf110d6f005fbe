"""Losses through the root of their curvature: B B^T = H, B e = r, and the operator J J^T with J = B^T J_net.

Oracles: `torch.nn.functional` for values, autograd Hessians of it by the outputs, numpy's eigendecomposition for
the symmetric root, plain autograd Jacobians for J_net, differences in time for the rates.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.tangent import CrossEntropyLoss, GeneralLoss
from eigenflow.tangent.dense import dense_kernel
from eigenflow.trajectory import gradient_identity, measure_step
from problems import samples, tanh_net
from reference import dense_jacobian as oracle

CLASSES, COUNT = 4, 6


def softplus_margin(outputs, targets):
    """A convex loss with H > 0 that is none of the named ones: mean of softplus(-y z) over samples."""
    return functional.softplus(-targets * outputs).sum() / len(outputs)


def case(kind, seed=0):
    """A probe, and the loss as a plain torch function of the outputs."""
    model, (inputs, _) = tanh_net(seed, outputs=CLASSES), samples(seed, count=COUNT)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (COUNT,), generator=generator)
    soft = torch.rand(COUNT, CLASSES, generator=generator, dtype=torch.float64).softmax(-1)
    signs = 2.0 * functional.one_hot(labels, CLASSES).double() - 1.0
    loss, targets, function = {
        "labels": ("cross_entropy", labels, functional.cross_entropy),
        "probabilities": ("cross_entropy", soft, functional.cross_entropy),
        "through its Hessian": (GeneralLoss(functional.cross_entropy), labels, functional.cross_entropy),
        "binary": (
            functional.binary_cross_entropy_with_logits,
            (signs + 1) / 2,
            functional.binary_cross_entropy_with_logits,
        ),
        "softplus": (softplus_margin, signs, softplus_margin),
        "mse": ("mse", soft, functional.mse_loss),
    }[kind]
    return ef.Probe(model, inputs, targets, loss=loss), model, inputs, lambda z: function(z, targets)


KINDS = ["labels", "probabilities", "through its Hessian", "binary", "softplus", "mse"]


def symmetric_operator(model, inputs, function):
    """H^(1/2) J_net J_net^T H^(1/2) by plain autograd, and H^(1/2)'s pseudo-inverse times r."""
    outputs = model(inputs).detach().requires_grad_(True)
    size = outputs.numel()
    H = torch.autograd.functional.hessian(function, outputs).reshape(size, size)
    r = torch.autograd.grad(function(outputs), outputs)[0].reshape(-1)
    values, columns = torch.linalg.eigh(0.5 * (H + H.T))
    values = torch.where(values > 1e-13 * values.max(), values, 0.0)
    inverse = torch.where(values > 0, values.clamp(min=1e-300) ** -0.5, 0.0)
    root = columns @ torch.diag(values.sqrt()) @ columns.T
    return root @ oracle.kernel(model, inputs, 1.0) @ root, columns @ (inverse * (columns.T @ r)), H, r


@pytest.mark.parametrize("kind", KINDS)
def test_root_and_error_reproduce_the_gradient_and_the_hessian(kind):
    probe, model, inputs, function = case(kind)
    point = probe.at()
    _, _, H, r = symmetric_operator(model, inputs, function)
    eye = torch.eye(probe.size, dtype=torch.float64).reshape(probe.size, COUNT, CLASSES)
    B_transposed = probe.loss.weigh(point.outputs, point.targets, eye).reshape(probe.size, -1).T
    B = probe.loss.spread(point.outputs, point.targets, eye).reshape(probe.size, -1).T
    torch.testing.assert_close(B, B_transposed.T, rtol=1e-13, atol=1e-16)
    # The generic root takes a square root of H's rounding where H is singular: (1e-16)^(1/2) squared again is 1e-16.
    torch.testing.assert_close(B @ B.T, H, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(B @ point.error, r, rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(probe.loss.gradient(point.outputs, point.targets).reshape(-1), r, rtol=1e-13, atol=1e-16)
    assert point.loss == pytest.approx(float(function(model(inputs).detach())), rel=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_spectrum_is_that_of_the_symmetrised_operator(kind):
    """H^(1/2) M H^(1/2) up to an orthogonal gauge: same eigenvalues, same energies of the error in them."""
    probe, model, inputs, function = case(kind)
    expected, error, _, _ = symmetric_operator(model, inputs, function)
    snapshot = probe.measure(drift=False)
    values, columns = torch.linalg.eigh(expected)
    scale = float(values[-1])
    torch.testing.assert_close(snapshot.eigenvalues, values.flip(0), rtol=0, atol=1e-12 * scale)
    # Null modes of H are one degenerate block, so only the sum of their energies is defined (and it is zero).
    kept = values.flip(0) > 1e-9 * scale
    energies = (columns.T @ error).square().flip(0)
    torch.testing.assert_close(snapshot.coefficients.square()[kept], energies[kept], rtol=1e-8, atol=1e-12)
    assert float(snapshot.error.square().sum()) == pytest.approx(float(error.square().sum()), rel=1e-11)
    gradient = torch.cat([g.reshape(-1) for g in probe.at().gradient().values()])
    pulled = torch.cat([g[0].reshape(-1) for g in probe.at().pull(snapshot.error[None]).values()])
    torch.testing.assert_close(pulled, gradient, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_operator_rate_contains_the_motion_of_the_root(kind):
    """Mdot against differences of M over +-1e-5, whose own error is about 1e-9 relative."""
    probe, model, inputs, _ = case(kind, seed=1)
    point = probe.at()
    direction = {name: -g for name, g in point.gradient().items()}
    matrix, rate = point.dense_and_rate(direction)
    ends = []
    for sign in (1, -1):
        moved = {name: p + sign * 1e-5 * direction[name] for name, p in point.parameters.items()}
        ends.append(probe.at((moved, point.rest)).dense())
    expected = (ends[0] - ends[1]) / 2e-5
    assert float((rate - expected).norm()) <= 1e-7 * float(expected.norm())
    basis = torch.eye(probe.size, dtype=torch.float64)
    torch.testing.assert_close(point.product(basis), matrix, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_loss_obeys_the_exact_one_step_identity(kind):
    """equations/identities.md#other-losses: r+ = (I - eta H J J^T) r, path averages, full-batch gradient descent."""
    probe, model, inputs, function = case(kind, seed=2)
    eta = 0.5
    optimizer = torch.optim.SGD(model.parameters(), lr=eta)
    before = probe.state()
    optimizer.zero_grad()
    function(model(inputs)).backward()
    optimizer.step()
    after = probe.state()
    assert gradient_identity(probe, before, after) <= 1e-13
    # The same by explicit matrices: 12 Gauss nodes, H and J_net from autograd alone.
    nodes, weights = np.polynomial.legendre.leggauss(12)
    start = torch.cat([p.reshape(-1) for p in before[0].values()])
    end = torch.cat([p.reshape(-1) for p in after[0].values()])
    total = torch.zeros(probe.size, dtype=torch.float64)
    oracle.set_parameters(model, start)
    J0, r0 = oracle.jacobian(model, inputs), symmetric_operator(model, inputs, function)[3]
    for node, weight in zip(0.5 * (nodes + 1), 0.5 * weights, strict=True):
        oracle.set_parameters(model, start + float(node) * (end - start))
        H = symmetric_operator(model, inputs, function)[2]
        total += float(weight) * H @ (oracle.jacobian(model, inputs) @ (J0.T @ r0))
    oracle.set_parameters(model, end)
    r1 = symmetric_operator(model, inputs, function)[3]
    assert float((r1 - (r0 - eta * total)).norm()) <= 1e-13 * float(r0.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_samples_in_chunks_keep_the_weight_of_the_whole_set(kind):
    """A mean over a chunk counts a sample more than the mean over all does; sums do not care."""
    probe, *_ = case(kind)
    point = probe.at()
    cut = dense_kernel(replace(point.dense_task(drift=False), chunk=4))
    torch.testing.assert_close(cut, point.dense(), rtol=1e-12, atol=1e-15)


def test_energy_of_labels_is_one_over_the_probability_less_one():
    """|e|^2 = mean of 1 / p_y - 1, which is not the loss: both are reported (equations/identities.md#other-losses)."""
    probe, model, inputs, function = case("labels")
    snapshot = probe.measure(drift=False)
    p = model(inputs).detach().softmax(-1)[torch.arange(COUNT), probe.targets.reshape(COUNT, CLASSES).argmax(1)]
    assert float(snapshot.error.square().sum()) == pytest.approx(float((1 / p - 1).mean()), rel=1e-13)
    assert snapshot.loss == pytest.approx(float(function(model(inputs).detach())), rel=1e-14)
    assert probe.describe()["loss"] == "cross_entropy" and not probe.describe()["is_quadratic"]


@pytest.mark.parametrize("margin", [1.0, 30.0, 300.0, 700.0])
def test_saturated_samples_keep_their_relative_accuracy(margin):
    """Logits (margin, 0, 0): with u = e^-margin all of B, e and r are known without any cancellation.

    p_top = 1 / (1 + 2u), the others u p_top; B^T v for v = (1, 0, 0) is q (v - p_top).
    """
    loss = CrossEntropyLoss(factor=1.0, classes=3)
    outputs = torch.tensor([[margin, 0.0, 0.0]], dtype=torch.float64)
    u = torch.exp(torch.tensor(-margin, dtype=torch.float64))
    top = 1 / (1 + 2 * u)
    other = u * top
    v = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    right, wrong = v, torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    expected = torch.stack([top.sqrt() * 2 * other, -other.sqrt() * top, -other.sqrt() * top])[None]
    torch.testing.assert_close(loss.weigh(outputs, right, v), expected, rtol=1e-13, atol=0)
    column = torch.stack([top.sqrt() * 2 * other, -other * top.sqrt(), -other * top.sqrt()])[None]
    torch.testing.assert_close(loss.spread(outputs, right, v), column, rtol=1e-13, atol=0)
    error = torch.stack([-2 * other / top.sqrt(), other.sqrt(), other.sqrt()])[None]
    # log p itself is only known to 1e-16 absolutely near p = 1, and e inherits that.
    torch.testing.assert_close(loss.error(outputs, right), error, rtol=1e-13, atol=2e-16)
    sure_and_wrong = float(loss.error(outputs, wrong)[0, 1])
    assert sure_and_wrong == pytest.approx(float(-(1 - other) / other.sqrt()), rel=1e-12)


def test_labels_of_sequences_and_ignored_positions():
    """Outputs (samples, positions, classes); the mean runs over the labels that are not -100, as in torch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 10), nn.Unflatten(1, (2, 5))).double()
    inputs, _ = samples(0, count=4)
    labels = torch.tensor([[0, 4], [-100, 1], [2, 2], [3, -100]])
    probe = ef.Probe(model, inputs, labels, loss="cross_entropy")
    logits = model(inputs)
    expected = functional.cross_entropy(logits.transpose(1, 2), labels)
    assert probe.at().loss == pytest.approx(float(expected.detach()), rel=1e-14)
    expected.backward()
    torch.testing.assert_close(probe.at().gradient()["0.weight"], model[0].weight.grad, rtol=1e-13, atol=1e-16)


def test_holdout_loss_is_the_true_loss():
    model, (inputs, _) = tanh_net(0, outputs=CLASSES), samples(0, count=COUNT)
    labels = torch.arange(COUNT) % CLASSES
    held = samples(5, count=9)[0], torch.arange(9) % CLASSES
    probe = ef.Probe(model, inputs, labels, loss="cross_entropy", holdout=held)
    expected = float(functional.cross_entropy(model(held[0]), held[1]).detach())
    assert probe.holdout_loss(probe.at()) == pytest.approx(expected, rel=1e-14)


def test_straight_parts_of_a_loss_can_be_dropped():
    """Huber's tails have H = 0 and r != 0: with 'drop' the operator is that of the samples in the quadratic part."""
    model, (inputs, targets) = tanh_net(0), samples(0)
    targets = targets * 3
    probe = ef.Probe(model, inputs, targets, loss=GeneralLoss(functional.huber_loss, defect="drop"))
    inside = ((model(inputs) - targets).detach().abs() < 1).reshape(-1).double()
    assert 0 < float(inside.sum()) < probe.size
    expected = inside[:, None] * oracle.kernel(model, inputs, 1 / probe.size) * inside
    torch.testing.assert_close(probe.at().dense(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.rejects
class TestRejects:
    def probe(self, targets, loss="cross_entropy", **more):
        return ef.Probe(tanh_net(0, outputs=CLASSES), samples(0)[0], targets, loss=loss, **more)

    def test_label_out_of_range(self):
        with pytest.raises(
            ArgumentError, match=r"`targets` must hold class labels in \[0, 3\].*1 outside, the first 4"
        ):
            self.probe(torch.tensor([0, 1, 2, 3, 4, 0]))

    def test_labels_as_floats(self):
        with pytest.raises(ShapeError, match=r"integer class labels.*dtype torch.float64.*targets.long\(\)"):
            self.probe(torch.zeros(6, dtype=torch.float64))

    def test_labels_for_a_squared_loss(self):
        with pytest.raises(ArgumentError, match=r"floating-point.*'mse'.*dtype torch.int64.*loss='cross_entropy'"):
            self.probe(torch.zeros(6, dtype=torch.long), loss="mse")

    def test_probabilities_that_do_not_sum_to_one(self):
        with pytest.raises(ArgumentError, match=r"probabilities, >= 0 with sum 1.*sums lie in \[4, 4\]"):
            self.probe(torch.ones(6, CLASSES, dtype=torch.float64))

    def test_labels_of_the_wrong_shape(self):
        with pytest.raises(ShapeError, match=r"one label for every position.*\(6,\), but has \(6, 2\)"):
            self.probe(torch.zeros(6, 2, dtype=torch.long))

    def test_only_ignored_labels(self):
        with pytest.raises(ArgumentError, match="at least one label"):
            self.probe(torch.full((6,), -100))

    def test_single_logit(self):
        with pytest.raises(ShapeError, match=r"at least two classes.*loss=torch.nn.BCEWithLogitsLoss\(\)"):
            ef.Probe(tanh_net(0, outputs=1), samples(0)[0], torch.zeros(6).long(), loss="cross_entropy")

    def test_straight_loss(self):
        targets = torch.zeros(6, CLASSES).double()
        targets[:2] = 9.0
        for loss in (GeneralLoss(functional.huber_loss), lambda z, y: functional.huber_loss(z, y)):
            with pytest.raises(ArgumentError, match=r"outside the range of its Hessian on \d of 6.*defect='drop'"):
                self.probe(targets, loss=loss).at().error  # noqa: B018

    def test_loss_that_is_straight_everywhere(self):
        loss = GeneralLoss(functional.l1_loss, defect="drop")
        with pytest.raises(ArgumentError, match=r"no positive curvature.*M = J J\^T would be zero.*loss='mse'"):
            self.probe(torch.zeros(6, CLASSES).double(), loss=loss).at().error  # noqa: B018

    def test_loss_that_is_not_convex(self):
        def wavy(z, y):
            return torch.cos(z - y).sum()

        with pytest.raises(ArgumentError, match=r"negative eigenvalues on \d of 6 samples.*defect='drop'"):
            self.probe(torch.zeros(6, CLASSES).double(), loss=wavy).measure()

    def test_loss_that_mixes_samples(self):
        def spread(z, y):
            return (z - z.mean(0)).square().sum()

        with pytest.raises(ArgumentError, match="couples the outputs of different samples"):
            self.probe(torch.zeros(6, CLASSES).double(), loss=spread).measure()

    def test_loss_that_is_no_scalar(self):
        with pytest.raises(ArgumentError, match=r"must return a scalar, but returns shape \(6, 4\)"):
            self.probe(torch.zeros(6, CLASSES).double(), loss=lambda z, y: (z - y) ** 2).measure()

    def test_weights_that_forbid_chunks(self):
        weight = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
        loss = GeneralLoss(nn.CrossEntropyLoss(weight=weight))
        probe = self.probe(torch.tensor([0, 1, 2, 3, 0, 1]), loss=loss)
        point = probe.at()
        with pytest.raises(ArgumentError, match=r"neither a plain sum nor a plain mean.*memory_budget"):
            dense_kernel(replace(point.dense_task(drift=False), chunk=4))

    def test_loss_of_unknown_name(self):
        with pytest.raises(ArgumentError, match="'cross_entropy', or a function"):
            self.probe(torch.zeros(6).long(), loss="hinge")

    def test_error_that_overflows(self):
        probe = self.probe(torch.zeros(6).long())
        with torch.no_grad():
            probe.network.model[2].bias.copy_(torch.tensor([-4000.0, 0, 0, 0]))
        with pytest.raises(NonFiniteError, match="error of loss 'cross_entropy' overflows on 6 outputs"):
            probe.measure()

    def test_energy_budget_of_a_sketch(self, tmp_path):
        loss = ef.sketched("cross_entropy", chosen=[0, 2])
        probe = self.probe(torch.zeros(6).long(), loss=loss)
        with pytest.raises(ArgumentError, match=r"needs all of the error.*'cross_entropy, 2 chosen outputs'"):
            ef.Recorder(tmp_path / "run", probe, schedule=[0])
        assert not (tmp_path / "run").exists()
        with pytest.raises(ArgumentError, match=r"needs all of the error.*gradient_identity"):
            measure_step(probe, probe.state(), probe.state(), 0.1)
