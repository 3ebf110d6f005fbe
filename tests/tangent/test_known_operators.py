"""Networks whose operator is known in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from problems import AlignedLinearNet, relu_ntk_on_circle

TIMES = (0.0, 0.2, 0.8, 1.5)


@pytest.mark.parametrize("time", TIMES)
def test_aligned_linear_net_has_sums_of_amplitudes_as_eigenvalues(time):
    case = AlignedLinearNet()
    snapshot = ef.Probe(*case.network(time), loss="half_sum").measure(drift=True)
    np.testing.assert_allclose(snapshot.eigenvalues, case.eigenvalues(time), rtol=0, atol=1e-13 * 8)
    # At t = 0 three eigenvalues a_i + a_j coincide that move apart: their rates are still those of the closed form.
    np.testing.assert_allclose(snapshot.eigenvalue_rates, case.eigenvalue_rates(time), rtol=0, atol=1e-12 * 20)


def test_aligned_linear_net_has_the_published_numbers():
    """t = 0.8, lambda = 2a and v = lambda (2s - lambda) on the modes that carry energy.

    See equations/known_cases.md#aligned-numbers.
    """
    snapshot = ef.Probe(*AlignedLinearNet().network(0.8), loss="half_sum").measure(drift=True)
    amplitudes = np.array([2.40534754, 1.34756826, 0.11584721, 0.04764683])
    velocities = np.array([15.3427735, 8.9070583, 0.8730953, 0.1815064])
    values, rates = snapshot.eigenvalues.numpy(), snapshot.eigenvalue_rates.numpy()
    for a, v in zip(amplitudes, velocities, strict=True):
        nearest = np.abs(values - 2 * a).argmin()
        assert values[nearest] == pytest.approx(2 * a, abs=1e-8)  # the table has nine digits
        assert rates[nearest] == pytest.approx(v, rel=1e-6)


@pytest.mark.parametrize("time", TIMES)
def test_aligned_linear_net_does_not_rotate(time):
    """Eigenvectors are constant, so every coupling between different eigenvalues is zero."""
    snapshot = ef.Probe(*AlignedLinearNet().network(time), loss="half_sum").measure(drift=True)
    # Omega is a rate over a gap; its numerator is zero up to the rounding of Mdot, of order 20.
    gaps = (snapshot.eigenvalues[:, None] - snapshot.eigenvalues[None, :]).abs()
    is_apart = snapshot.clusters[:, None] != snapshot.clusters[None, :]
    assert float((snapshot.couplings * gaps)[is_apart].abs().max()) <= 1e-12 * 20


def test_linear_model_has_the_kernel_of_its_inputs_and_stands_still():
    """For f(x) = W x the kernel is f X X^T (x) I whatever W is, and lambda-dot = 0: the lazy limit."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    targets = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    model = nn.Linear(4, 3, bias=False).double()
    probe = ef.Probe(model, inputs, targets, loss="half_mean")
    snapshot = probe.measure(drift=True)
    expected = torch.kron(inputs @ inputs.T, torch.eye(3, dtype=torch.float64)) / 7
    torch.testing.assert_close(probe.at().dense(), expected, rtol=1e-13, atol=1e-14)
    assert float(snapshot.eigenvalue_rates.abs().max()) == 0.0
    # 7 x 3 rows but rank 4 x 3: the rest of the spectrum is zero.
    assert float(snapshot.eigenvalues[12:].abs().max()) <= 1e-14 * float(snapshot.eigenvalues[0])


def test_wide_relu_net_on_the_circle_approaches_the_closed_form():
    """equations/known_cases.md#circle-spectrum: f = sqrt(2/m) a . relu(W x), n equispaced points.

    Eigenvalues are n times the sum of aliased frequencies.

    Width m leaves fluctuations of order m^(-1/2) = 0.7 %; five of them are allowed.
    """

    class ReluNet(nn.Module):
        def __init__(self, width):
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.first = nn.Linear(2, width, bias=False).double()
            self.second = nn.Linear(width, 1, bias=False).double()
            self.scale = (2.0 / width) ** 0.5
            for layer in (self.first, self.second):
                nn.init.normal_(layer.weight, generator=generator)

        def forward(self, x):
            return self.scale * self.second(torch.relu(self.first(x)))

    width, n = 20_000, 16
    angle = 2 * torch.pi * torch.arange(n, dtype=torch.float64) / n
    inputs = torch.stack([angle.cos(), angle.sin()], 1)
    snapshot = ef.Probe(ReluNet(width), inputs, torch.zeros(n, 1).double(), loss="half_sum").measure(drift=False)
    expected = [sum(relu_ntk_on_circle(abs(k + m * n)) for m in range(-400, 401)) for k in range(-n // 2, n // 2)]
    expected = n * np.sort(expected)[::-1]
    np.testing.assert_allclose(snapshot.eigenvalues, expected, rtol=0, atol=5 * width**-0.5 * expected[0])
