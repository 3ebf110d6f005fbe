"""Networks whose operator is singular, zero, or not differentiable where it is measured."""

import pytest
import torch
from torch import nn

import eigenflow as ef
from problems import samples, tanh_net


class AntitheticRelu(nn.Module):
    """f(x) = sum of a_j (relu(w_j x) +- relu(-w_j x)) over random w_j, with free weights in every neuron."""

    def __init__(self, pairs, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        w = torch.randn(pairs, 2, generator=generator, dtype=torch.float64)
        a = torch.randn(1, pairs, generator=generator, dtype=torch.float64)
        self.first = nn.Linear(2, 2 * pairs, bias=False).double()
        self.second = nn.Linear(2 * pairs, 1, bias=False).double()
        with torch.no_grad():
            self.first.weight.copy_(torch.cat([w, -w]))
            self.second.weight.copy_(torch.cat([a, a], 1))

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


@pytest.mark.parametrize("pairs", [3, 50])
def test_odd_modes_on_the_circle_are_exactly_null(pairs):
    """Without input bias the ReLU kernel has no odd frequency but 1 (equations/known_cases.md#circle-spectrum).

    That holds at any width if neurons come in pairs w, -w: relu(u) relu(u') + relu(-u) relu(-u') = (|u u'| + u u') / 2
    and the same for the derivatives, so what is odd in x is u u' or x x' alone. Of the frequencies of 16 points +-3,
    +-5 and +-7 are null.
    """
    n = 16
    # Half a step off the axes, and random w: no point lies on a kink.
    angle = 2 * torch.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    inputs = torch.stack([angle.cos(), angle.sin()], 1)
    snapshot = ef.Probe(AntitheticRelu(pairs), inputs, torch.zeros(n, 1).double(), loss="half_sum").measure(drift=False)
    largest = float(snapshot.eigenvalues[0])
    modes = torch.stack([f(k * angle) for k in (3, 5, 7) for f in (torch.cos, torch.sin)])
    M = ef.Probe(AntitheticRelu(pairs), inputs, torch.zeros(n, 1).double(), loss="half_sum").at().dense()
    assert float((modes @ M).abs().max()) <= 1e-13 * largest
    assert float(snapshot.eigenvalues[-6:].abs().max()) <= 1e-13 * largest
    if pairs == 50:  # wide enough that nothing else vanishes
        assert float(snapshot.eigenvalues[-7]) >= 1e-4 * largest


def test_dead_network_has_the_zero_operator():
    """All units off, no output bias: M = 0 and Mdot = 0, finite numbers and no division by the largest eigenvalue."""
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2, bias=False)).double()
    nn.init.constant_(model[0].bias, -1e3)
    inputs, targets = samples()
    snapshot = ef.Probe(model, inputs, targets).measure()
    assert float(snapshot.eigenvalues.abs().max()) == 0.0 and snapshot.operator_error == 0.0
    for values in (snapshot.eigenvalue_rates, snapshot.rate_matrix, snapshot.couplings, snapshot.residuals):
        assert float(values.abs().max()) == 0.0
    energy = float(snapshot.error.square().sum())
    assert float(snapshot.coefficients.square().sum()) == pytest.approx(energy, rel=1e-13)


def test_repeated_samples_give_null_modes_and_keep_the_others():
    """Every sample twice: half of the modes vanish, and those that stay are twice those of the set without repeats."""
    model, (inputs, targets) = tanh_net(hidden=9), samples()
    once = ef.Probe(model, inputs, targets, loss="half_sum").measure(drift=False)
    twice = ef.Probe(model, inputs.repeat(2, 1), targets.repeat(2, 1), loss="half_sum").measure()
    size = len(once.eigenvalues)
    largest = float(twice.eigenvalues[0])
    torch.testing.assert_close(twice.eigenvalues[:size], 2 * once.eigenvalues, rtol=0, atol=1e-13 * largest)
    assert float(twice.eigenvalues[size:].abs().max()) <= 1e-13 * largest
    assert bool(torch.isfinite(twice.couplings).all())


def test_a_sample_on_a_kink_is_taken_with_torch_s_derivative_there():
    """relu'(0) = 0 in PyTorch, in rules and products alike; Mdot is that of the side the unit is counted on."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    inputs, targets = samples()
    with torch.no_grad():
        model[0].weight[0].copy_(torch.tensor([1.0, 0.0, 0.0]))
        model[0].bias[0] = -inputs[0, 0]
    probe = ef.Probe(model, inputs, targets, loss="half_sum")
    assert float(model[0](inputs).detach()[0, 0]) == 0.0
    point = probe.at()
    basis = torch.eye(probe.size, dtype=torch.float64)
    torch.testing.assert_close(point.dense(), point.product(basis), rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        model[0].bias[0] -= 1e-9  # on the side where the unit is off
    torch.testing.assert_close(probe.at().dense(), point.dense(), rtol=1e-8, atol=1e-8)
    with torch.no_grad():
        model[0].bias[0] += 2e-9
    assert float((probe.at().dense() - point.dense()).abs().max()) > 1e-3
