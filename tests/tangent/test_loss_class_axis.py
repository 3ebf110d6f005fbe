"""On which axis the classes lie: values and gradients are those of `torch.nn.functional.cross_entropy`, or refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.tangent import CrossEntropyLoss, make_loss

# Outputs of a sample, and the axis of the classes among (samples, ...).
SHAPES = [((4,), 1), ((4, 7), 1), ((4, 3, 2), 1), ((7, 4), 2), ((3, 2, 4), 3), ((2, 4, 3), 2)]


def setting(shape, axis, kind, seed=0, samples=5):
    """Outputs, targets, and outputs with the classes moved to where torch has them."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(samples, *shape, generator=generator, dtype=torch.float64)
    positions = [n for i, n in enumerate((samples, *shape)) if i != axis]
    labels = torch.randint(0, shape[axis - 1], positions, generator=generator)
    soft = torch.randn(samples, *shape, generator=generator, dtype=torch.float64).softmax(axis)
    return outputs, labels if kind == "labels" else soft


def expected(outputs, targets, axis, **options):
    """torch's value, gradient and Hessian for classes on an axis."""
    targets = targets.movedim(axis, 1) if targets.is_floating_point() else targets

    def value(z):
        return functional.cross_entropy(z.movedim(axis, 1), targets, **options)

    z = outputs.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(value(z), z)
    return value, gradient


@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_classes_lie_where_the_targets_say(shape, axis, kind):
    """Lengths differ, so the targets fit one of axis 1 and the last; the axis between them has to be said."""
    outputs, targets = setting(shape, axis, kind)
    loss = make_loss("cross_entropy", axis if axis not in (1, len(shape)) else None)
    bound, flat = loss.bind(targets, outputs.shape, torch.float64, "targets")
    z = outputs.reshape(len(outputs), -1)
    value, gradient = expected(outputs, targets, axis)
    assert float(bound.value(z, flat)) == pytest.approx(float(value(outputs)), rel=1e-14)
    torch.testing.assert_close(bound.gradient(z, flat), gradient.reshape(z.shape), rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_root_belongs_to_the_hessian_in_the_order_of_the_outputs(shape, axis, anchored):
    """B B^T = H against autograd, with B^T and B transposed to each other, and B e = r; to rounding."""
    outputs, targets = setting(shape, axis, "labels", samples=2)
    bound, flat = CrossEntropyLoss(class_axis=axis).bind(targets, outputs.shape, torch.float64, "targets")
    z = outputs.reshape(2, -1)
    if anchored:
        bound = bound.anchored(z + 0.3 * torch.cos(torch.arange(z.numel()).reshape(z.shape)), flat)
    value, gradient = expected(outputs, targets, axis)
    H = torch.autograd.functional.hessian(value, outputs).reshape(z.numel(), z.numel())
    eye = torch.eye(z.numel(), dtype=torch.float64).reshape(z.numel(), *z.shape)
    B = bound.spread(z, flat, eye).reshape(len(eye), -1).T
    torch.testing.assert_close(bound.weigh(z, flat, eye).reshape(len(eye), -1), B, rtol=0, atol=1e-15)
    torch.testing.assert_close(B @ B.T, H, rtol=0, atol=1e-15)
    torch.testing.assert_close(B @ bound.error(z, flat).reshape(-1), gradient.reshape(-1), rtol=0, atol=1e-14)


def test_ambiguous_targets_take_the_axis_of_torch_and_warn():
    model = nn.Conv2d(2, 5, 3, padding=1).double()
    x, y = torch.randn(4, 2, 5, 5, dtype=torch.float64), torch.randint(0, 5, (4, 5, 5))
    ambiguous = r"fit outputs of shape \(4, 5, 5, 5\).*Axis 1 is taken.*class_axis=-1"
    with pytest.warns(UserWarning, match=ambiguous) as told:
        probe = ef.Probe(model, x, y, loss="cross_entropy")
    assert told[0].filename == __file__  # the user's line, not one of ours
    z = model(x).detach()
    assert probe.at().loss == pytest.approx(float(functional.cross_entropy(z, y)), rel=1e-14)
    for axis, moved in ((1, z), (-1, z.movedim(-1, 1))):
        loss = make_loss(nn.CrossEntropyLoss(), class_axis=axis)
        measured = ef.Probe(model, x, y, loss=loss).at().loss
        assert measured == pytest.approx(float(functional.cross_entropy(moved, y)), rel=1e-14)


def test_ambiguous_probabilities_warn_too():
    """Rows and columns of a permutation sum to one."""
    targets = torch.eye(3, dtype=torch.float64).expand(2, 3, 3).contiguous()
    with pytest.warns(UserWarning, match="Axis 1 is taken"):
        bound, _ = CrossEntropyLoss().bind(targets, targets.shape, torch.float64, "targets")
    assert bound.stride == 3


def test_axis_is_said_inside_a_sketch_and_to_a_loss_of_torch():
    sketch = ef.sketched("cross_entropy", chosen=[0], class_axis=1)
    assert sketch.base.class_axis == 1
    assert make_loss(ef.sketched("cross_entropy", chosen=[0]), class_axis=2).base.class_axis == 2
    assert make_loss(functional.cross_entropy, class_axis=-1).class_axis == -1


def test_operator_and_rate_of_a_convolution_with_classes_on_axis_one():
    """M against J^T by autograd with torch's Hessian, Mdot against differences over +-1e-5 (error 1e-9)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 3, 1)).double()
    x, y = torch.randn(2, 2, 2, 4, dtype=torch.float64), torch.randint(0, 3, (2, 2, 4))
    probe = ef.Probe(model, x, y, loss="cross_entropy")
    point = probe.at()
    matrix, rate = point.dense_and_rate(point.descent())
    z = model(x).detach()
    H = torch.autograd.functional.hessian(lambda o: functional.cross_entropy(o, y), z).reshape(48, 48)
    J = torch.cat(
        [
            g.reshape(48, -1)
            for g in torch.func.jacrev(lambda p: torch.func.functional_call(model, p, x))(
                {n: p.detach() for n, p in model.named_parameters()}
            ).values()
        ],
        1,
    )
    # B^T J J^T B and J^T H J have the same eigenvalues beside zero.
    same = torch.linalg.eigvalsh(J.T @ H @ J).flip(0)[:48]
    torch.testing.assert_close(torch.linalg.eigvalsh(matrix).flip(0), same, rtol=0, atol=1e-14)
    ends = []
    for sign in (1, -1):
        moved = {n: p + sign * 1e-5 * point.descent()[n] for n, p in point.parameters.items()}
        ends.append(probe.at((moved, point.rest)).dense())
    assert float((rate - (ends[0] - ends[1]) / 2e-5).norm()) <= 1e-7 * float(rate.norm())


@pytest.mark.rejects
class TestRejects:
    def bind(self, targets, shape, **options):
        return CrossEntropyLoss(**options).bind(targets, torch.Size(shape), torch.float64, "targets")

    def test_labels_that_fit_no_axis(self):
        with pytest.raises(ShapeError, match=r"shape \(2, 5, 4\), but has \(2, 4, 5\).*axis 1.*`class_axis`"):
            self.bind(torch.zeros(2, 4, 5).long(), (2, 3, 5, 4))

    def test_labels_for_an_axis_that_was_said(self):
        with pytest.raises(ShapeError, match=r"shape \(2, 3\), but has \(2, 4\).*axis 2"):
            self.bind(torch.zeros(2, 4).long(), (2, 3, 4), class_axis=-1)

    @pytest.mark.parametrize("axis", [0, 3, -3])
    def test_axis_that_is_none(self, axis):
        with pytest.raises(ArgumentError, match=r"`class_axis` must be an axis.*\[1, 2\] or negative, but is"):
            self.bind(torch.zeros(2, 4).long(), (2, 3, 4), class_axis=axis)

    def test_axis_for_a_loss_without_classes(self):
        with pytest.raises(ArgumentError, match=r"`loss` is 'mse'.*outputs.movedim\(-1, 1\)"):
            make_loss("mse", class_axis=1)

    def test_axis_said_twice(self):
        with pytest.raises(ArgumentError, match="`class_axis` is 2, but `loss` has 1"):
            make_loss(CrossEntropyLoss(class_axis=1), class_axis=2)

    def test_axis_of_another_type(self):
        with pytest.raises(ArgumentError, match="whole number or None, but is 'last'"):
            make_loss("cross_entropy", class_axis="last")

    def test_probabilities_on_neither_axis(self):
        with pytest.raises(ArgumentError, match=r"sum 1 over the classes \(axis 1; `class_axis`"):
            self.bind(torch.full((2, 3, 4), 0.5).double(), (2, 3, 4))


def test_remedies_of_the_messages_work():
    """One logit with BCEWithLogitsLoss; a function that moves the axis itself."""
    torch.manual_seed(0)
    x = torch.randn(6, 3, dtype=torch.float64)
    labels = torch.tensor([[0], [1], [1], [0], [1], [0]])
    model = nn.Linear(3, 1).double()
    probe = ef.Probe(model, x, labels, loss=nn.BCEWithLogitsLoss())
    assert probe.measure().loss == pytest.approx(
        float(functional.binary_cross_entropy_with_logits(model(x), labels.double()).detach()), rel=1e-14
    )
    model = nn.Sequential(nn.Linear(3, 6), nn.Unflatten(1, (3, 2))).double()
    y = torch.randint(0, 2, (6, 3))
    by_name = ef.Probe(model, x, y, loss="cross_entropy").measure()
    by_hand = ef.Probe(model, x, y, loss=lambda z, t: functional.cross_entropy(z.movedim(-1, 1), t)).measure()
    torch.testing.assert_close(by_hand.eigenvalues, by_name.eigenvalues, rtol=0, atol=1e-13)
