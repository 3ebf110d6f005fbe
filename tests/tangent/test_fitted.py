"""Networks that fit their targets: errors are small differences then, and what is measured keeps its digits."""

import math

import mpmath
import pytest
import torch
from torch import nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.tangent.audit import DIFFERENCES, OPERATOR_TOLERANCE, audit, audit_rows
from eigenflow.tangent.loss.cross_entropy import CrossEntropyLoss
from eigenflow.tangent.loss.general import GeneralLoss

PLACES = 60


def scorer(scale):
    """A network with kinks whose last layer's outputs are times `scale`."""
    torch.manual_seed(0)
    layers = [nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)]
    with torch.no_grad():
        for p in layers[-1].parameters():
            p.mul_(scale)
    return nn.Sequential(*layers)


def margins(outputs):
    top = outputs.topk(2, dim=1).values
    return top[:, 0] - top[:, 1]


def sure_inputs():
    """Those of many inputs of which the network is surest."""
    many = torch.randn(2000, 8, generator=torch.Generator().manual_seed(1))
    return many[margins(scorer(1.0)(many).detach()).topk(24).indices]


def fitted(name, level, dtype):
    """A probe whose typical loss is about so large."""
    inputs = sure_inputs()
    outputs = scorer(1.0)(inputs).detach()
    if name in ("mse", "general mse"):
        model, inputs = scorer(1.0).to(dtype), inputs.to(dtype)
        exact = model(inputs).detach()
        noise = torch.randn(exact.shape, generator=torch.Generator().manual_seed(2), dtype=dtype)
        loss = "mse" if name == "mse" else GeneralLoss(lambda o, t: ((o - t) ** 2).mean())
        return ef.Probe(model, inputs, exact + level**0.5 * noise, loss, dtype=dtype)
    if name == "binary":
        model, labels = scorer(-math.log(level) / float(outputs.abs().median())), (outputs > 0).float()
        return ef.Probe(model, inputs, labels, nn.BCEWithLogitsLoss(), dtype=dtype)
    model, labels = scorer(-math.log(level) / float(margins(outputs).median())), outputs.argmax(1)
    loss = {
        "cross_entropy": "cross_entropy",
        "weighted": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 1.0])),
        "general": GeneralLoss(lambda o, t: functional.cross_entropy(o, t), defect="drop"),
    }[name]
    return ef.Probe(model, inputs, labels, loss, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ["mse", "general mse", "binary", "cross_entropy", "weighted", "general"])
@pytest.mark.parametrize("level", [1e-2, 1e-4, 1e-7, 1e-12])
def test_whatever_fits_is_measured_and_confirmed(name, level, dtype):
    """Before, float32 was refused from losses of 1e-4 on, and float64 from 1e-8: rounding passed for a wrong rule."""
    probe = fitted(name, level, dtype)
    generator = torch.Generator().manual_seed(3)
    direction = {n: torch.randn(p.shape, generator=generator, dtype=dtype) for n, p in probe.at().parameters.items()}
    for options in ({}, {"modes": 6, "method": "products"}):
        found = probe.measure(drift=True, direction=direction, **options)
        # Some units of rounding, as in networks that fit nothing; a user's function may cancel by itself.
        allowed = 100 * torch.finfo(dtype).eps
        assert found.operator_error <= (max(allowed, OPERATOR_TOLERANCE) if name == "general" else allowed)


def exact_error(outputs, labels):
    """sqrt(1 / n) (p - y) / sqrt(p) with sixty digits."""
    rows = []
    with mpmath.workdps(PLACES):
        for row, label in zip(outputs.tolist(), labels.tolist(), strict=True):
            powers = [mpmath.exp(mpmath.mpf(z)) for z in row]
            shares = [p / mpmath.fsum(powers) for p in powers]
            rows.append([(p - (c == label)) / mpmath.sqrt(p * len(labels)) for c, p in enumerate(shares)])
    return rows


@pytest.mark.parametrize("level", [1e-1, 1e-4, 1e-8, 1e-12, 1e-30])
def test_errors_loss_and_gradient_of_cross_entropy_keep_all_digits(level):
    """Relative to each entry, beside sixty digits: rounding of exponents, some units of the margin times epsilon."""
    probe = fitted("cross_entropy", level, torch.float64)
    point = probe.at()
    labels = probe.targets.argmax(1)
    want = exact_error(point.outputs, labels)
    allowed = 20 * torch.finfo(torch.float64).eps * max(1.0, float(point.outputs.abs().max()))
    for found, row in zip(point.error.reshape(-1, 4).tolist(), want, strict=True):
        for a, b in zip(found, row, strict=True):
            assert abs(a - b) <= allowed * abs(b)
    with mpmath.workdps(PLACES):
        terms = [
            mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(z) - mpmath.mpf(row[label])) for z in row))
            for row, label in zip(point.outputs.tolist(), labels.tolist(), strict=True)
        ]
        assert abs(point.loss / (mpmath.fsum(terms) / len(terms)) - 1) <= allowed
    # The derivative of the value itself, by PyTorch's own reverse mode, is r = B e to the same digits.
    outputs = point.outputs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(probe.loss.value(outputs, probe.targets), outputs)
    torch.testing.assert_close(slope, probe.loss.gradient(point.outputs, probe.targets), rtol=allowed, atol=0.0)


def test_classes_that_tie_or_lie_far_apart_have_pytorch_s_value_and_derivative():
    z = torch.tensor([[0.0, 0.0, 0.0], [5.0, 5.0, -1.0], [1.0, -40.0, 2.0], [800.0, -800.0, 0.0]], dtype=torch.float64)
    shares = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = shares / shares.sum(1, keepdim=True)
    bound, flat = CrossEntropyLoss().bind(shares, z.shape, torch.float64, "targets")
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    value, expected = bound.value(ours, flat), functional.cross_entropy(theirs, shares)
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=0.0)
    (slope,), (expected,) = torch.autograd.grad(value, ours), torch.autograd.grad(expected, theirs)
    torch.testing.assert_close(slope, expected, rtol=1e-13, atol=1e-16)


def test_a_part_hidden_from_the_gradient_is_found_in_float32_too():
    """One hundredth of how the outputs move, detached: reverse over reverse alone would confirm the wrong Mdot."""

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = scorer(1.0)

        def forward(self, x):
            out = self.net(x)
            return out + 0.01 * (out.detach() ** 2)

    probe = ef.Probe(Hidden(), sure_inputs(), torch.zeros(24, 4), dtype=torch.float32)
    point = probe.at()
    direction, rows = point.descent(), audit_rows(point)
    images = point.product(rows.float()).double()
    rates = point.rate_product(rows[:2].float(), direction).double()
    assert audit(point, images, rates, direction).way == DIFFERENCES


def test_an_update_that_moves_next_to_nothing_is_no_hidden_part():
    """Outputs of 1e4 with a kink 3e-7 ahead: two-point differences short enough for it are rounding beside that."""

    class Far(nn.Module):
        def __init__(self):
            super().__init__()
            self.level = nn.Parameter(torch.ones(1))
            self.unit = nn.Parameter(torch.full((1,), 3e-7))

        def forward(self, x):
            return x * (1e4 * self.level + torch.relu(self.unit)) / 3.0

    inputs = torch.linspace(1.0, 2.0, 7, dtype=torch.float64)[:, None]
    probe = ef.Probe(Far().double(), inputs, torch.ones(7, 1, dtype=torch.float64))
    point = probe.at()
    direction = {"level": torch.zeros(1, dtype=torch.float64), "unit": -torch.ones(1, dtype=torch.float64)}
    rows = audit_rows(point)
    found = audit(point, point.product(rows), point.rate_product(rows[:2], direction), direction)
    assert found.way == "reverse over reverse" and found.holds
