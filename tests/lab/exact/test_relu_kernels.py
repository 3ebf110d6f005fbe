"""Spectra of wide ReLU networks against closed forms, quadrature, dense Gram matrices and finite networks."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import eval_gegenbauer, zeta

from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.lab.exact import SphereKernel, relu_ntk
from eigenflow.tangent import Probe


def slope(x, y):
    return np.polyfit(np.log(x), np.log(y), 1)[0]


@pytest.mark.parametrize("bias", [False, True])
def test_circle(bias):
    """equations/known_cases.md#circle-spectrum, to rounding, at degrees that quadrature cannot reach."""
    k = np.array([0, 1, 2, 3, 4, 5, 16, 17, 1000, 1001, 10**8, 10**8 + 1])
    even = 2 / np.pi**2 * (k**2.0 + 3) / (k**2.0 - 1 + (k == 1)) ** 2
    expected = np.where(k == 1, 0.5, np.where(k % 2 == 0, even, 0.0))
    if bias:
        expected = expected + np.where(k == 0, 0.5, np.where(k % 2 == 1, 2 / (np.pi * np.maximum(k, 1)) ** 2, 0.0))
    # Logarithms of factorials of 1e8 are 2e9, with 1e-16 of that as their error.
    np.testing.assert_allclose(SphereKernel(2, bias).eigenvalues(k)[:10], expected[:10], rtol=1e-11, atol=1e-17)
    np.testing.assert_allclose(SphereKernel(2, bias).eigenvalues(k), expected, rtol=1e-5, atol=1e-30)


def test_sphere():
    """equations/known_cases.md#sphere-spectrum: 1/2, 1/3, 5/64, 0, .00520833, 0."""
    found = SphereKernel(3).eigenvalues(np.arange(6))
    np.testing.assert_allclose(found, [0.5, 1 / 3, 5 / 64, 0, 0.00520833333333333, 0], rtol=1e-13)


@pytest.mark.parametrize("dimension", [2, 3, 4, 9])
@pytest.mark.parametrize("bias", [False, True])
def test_closed_form_is_the_integral(dimension, bias):
    """scipy's adaptive quadrature over the angle, with scipy's Gegenbauer polynomials: 1e-12 absolute."""
    kernel = SphereKernel(dimension, bias)
    share = math.gamma(dimension / 2) / math.sqrt(math.pi) / math.gamma((dimension - 1) / 2)
    for k in (0, 1, 2, 3, 6):

        def harmonic(u, k=k):
            if dimension == 2:
                return math.cos(k * math.acos(u))
            return eval_gegenbauer(k, dimension / 2 - 1, u) / eval_gegenbauer(k, dimension / 2 - 1, 1.0)

        def integrand(angle, harmonic=harmonic):
            u = math.cos(angle)
            return relu_ntk(np.array([u]), bias=bias)[0] * harmonic(u) * math.sin(angle) ** (dimension - 2)

        expected = share * quad(integrand, 0, math.pi, epsabs=1e-13, epsrel=1e-13)[0]
        assert kernel.eigenvalues(k)[0] == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("dimension", [2, 3, 5, 40])
@pytest.mark.parametrize("bias", [False, True])
def test_closed_form_is_the_quadrature_of_deep_kernels(dimension, bias):
    """Two ways that share nothing but the dimension, on the kernel that both know."""
    kernel = SphereKernel(dimension, bias)
    np.testing.assert_allclose(kernel._quadrature(50), kernel.eigenvalues(np.arange(51)), atol=2e-14)


@pytest.mark.long
@pytest.mark.parametrize("layers", [2, 5])
def test_deep_kernels(layers):
    """Mercer's theorem: eigenvalues with their multiplicities sum to the kernel at 1 and at any other angle."""
    kernel = SphereKernel(2, True, layers)
    values = kernel.eigenvalues(np.arange(500))
    for angle in (0.0, 0.7, 2.0):
        # Eigenvalues fall as k^-2: beyond 500 the sum is 2 x 500^2 lambda_500 / 500 at most.
        rest = 2 * 500 * values[-2:].max()
        terms = kernel.multiplicities(np.arange(500)) * values * np.cos(angle * np.arange(500))
        exact = relu_ntk(np.cos([angle]), hidden_layers=layers, bias=True)[0]
        assert abs(terms.sum() - exact) <= 1.1 * rest + 1e-12
    assert relu_ntk(np.ones(1), hidden_layers=layers)[0] == pytest.approx(layers + 1.0, rel=1e-14)
    assert kernel.quadrature_error > 0


@pytest.mark.parametrize("dimension", [2, 3, 4, 6])
def test_slopes(dimension):
    """lambda_k ~ k^-d, and i^(-d / (d - 1)) in the sorted index (equations/known_cases.md#sphere-spectrum).

    Corrections are O(1 / k) in the degree; ranks of a degree grow as its (d - 1)-th power.
    """
    kernel = SphereKernel(dimension, True)
    even, odd = np.arange(200, 400, 2), np.arange(201, 401, 2)
    assert slope(even, kernel.eigenvalues(even)) == pytest.approx(-dimension, abs=0.05)
    assert slope(odd, kernel.eigenvalues(odd)) == pytest.approx(-dimension, abs=0.05)
    task = SphereKernel(dimension, True).spectrum(np.ones(1000))
    rank = np.cumsum(task.sizes)
    inside = (np.arange(len(rank)) > 100) & (np.arange(len(rank)) < 800)
    assert slope(rank[inside], task.eigenvalues[inside]) == pytest.approx(-kernel.capacity, abs=0.05)


def test_local_slopes_of_the_sphere():
    """The page's own range of degrees: even from -2.966 to -2.992, odd with bias towards -2.989."""
    plain, biased = SphereKernel(3), SphereKernel(3, True)
    for kernel, first in ((plain, 0), (biased, 1)):
        k = np.arange(20 + first, 120, 2)
        local = np.diff(np.log(kernel.eigenvalues(k))) / np.diff(np.log(k))
        assert np.all((local > -3.0 - 0.06) & (local < -2.9)) and abs(local[-1] + 3) < abs(local[0] + 3)


@pytest.mark.parametrize(
    ("dimension", "first"), [(2, [1, 2, 2, 2]), (3, [1, 3, 5, 7]), (4, [1, 4, 9, 16]), (10, [1, 10, 54, 210])]
)
def test_multiplicities(dimension, first):
    """Dimensions of spaces of harmonics; with eigenvalues they sum to the kernel at u = 1."""
    kernel = SphereKernel(dimension)
    np.testing.assert_allclose(kernel.multiplicities(np.arange(4)), first, rtol=1e-13)
    k = np.arange(20_000)
    if dimension <= 4:
        trace = kernel.multiplicities(k) @ kernel.eigenvalues(k)
        assert trace == pytest.approx(2.0, abs=1e-4)  # a tail of 1 / 20,000


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("points", [1, 2, 15, 16])
def test_points_on_the_circle(points, bias):
    """The dense Gram matrix, and the aliased sum with its tail by the Hurwitz zeta function.

    Sixteen points without bias have null modes, five of them: frequencies 3, 5, ... 13 alias to odd ones only.
    """
    kernel = SphereKernel(2, bias)
    found = kernel.sampled_eigenvalues(points)
    angles = 2 * np.pi * np.arange(points) / points
    gram = relu_ntk(np.clip(np.cos(angles[:, None] - angles), -1, 1), bias=bias) / points
    np.testing.assert_allclose(
        np.sort(found), np.linalg.eigvalsh(gram), atol=2e-8
    )  # arccos near 1 loses half the digits
    reach = 4000
    for k in range(points):
        orders = np.abs(k + points * np.arange(-reach, reach + 1))
        terms = kernel.eigenvalues(orders)
        # Beyond, lambda ~ 2 / (pi k)^2 for those of the parities that are seen.
        share = (points % 2 == 1 and not bias) / 2 + float(points % 2 == 0 or bias) * float(bias or k % 2 == 0)
        rest = share * 4 / np.pi**2 * zeta(2, reach + 1) / points**2
        assert found[k] == pytest.approx(terms.sum() + rest, abs=1e-8)
    if points == 16 and not bias:
        np.testing.assert_allclose(found[3:14:2], 0.0, atol=1e-16)


def test_spectrum_of_a_task():
    """Null degrees become noise; the rest is sorted, with counts."""
    task = SphereKernel(3).spectrum(np.array([0.1, 1.0, 0.5, 0.25, 0.125]), noise=0.01)
    np.testing.assert_allclose(task.eigenvalues, [0.5, 1 / 3, 5 / 64, 0.0052083333333], rtol=1e-9)
    np.testing.assert_allclose(task.target, [0.1, 1.0, 0.5, 0.125])
    np.testing.assert_allclose(task.sizes, [1, 3, 5, 9])
    assert task.noise == pytest.approx(0.26)


def unit_inputs(dimension, count=6):
    draw = torch.randn(count, dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return draw / draw.norm(dim=1, keepdim=True)


def measured(kernel, width, inputs, seed):
    model = kernel.network(width, torch.Generator().manual_seed(seed))
    probe = Probe(model, inputs, torch.zeros(len(inputs), 1, dtype=torch.float64), loss="half_sum")
    snapshot = probe.measure()
    return ((snapshot.eigenvectors.T * snapshot.eigenvalues) @ snapshot.eigenvectors).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("bias", [False, True])
def test_a_network_of_four_hundred_thousand_units(bias):
    """equations/known_cases.md#ntk-spectra: agreement to 7e-3 without bias; a unit's kernel has a spread of about 5."""
    inputs = unit_inputs(2)
    cosines = np.clip((inputs @ inputs.T).numpy(), -1, 1)
    difference = measured(SphereKernel(2, bias), 400_000, inputs, 0) - relu_ntk(cosines, bias=bias)
    assert np.abs(difference).max() < (7e-3 if not bias else 1.5e-2)


@pytest.mark.long
@pytest.mark.parametrize(("layers", "bias"), [(1, True), (2, False), (2, True)])
def test_the_kernel_of_networks_tends_to_the_limit(layers, bias):
    """Means of sixteen lie within four standard errors plus O(1 / width); four times the width halves the spread."""
    inputs, spreads = unit_inputs(3), []
    kernel = SphereKernel(3, bias, layers)
    exact = relu_ntk(np.clip((inputs @ inputs.T).numpy(), -1, 1), hidden_layers=layers, bias=bias)
    for width in (40, 160):
        draws = np.array([measured(kernel, width, inputs, seed) for seed in range(16)])
        error = draws.std(axis=0, ddof=1) / 4
        assert np.all(np.abs(draws.mean(axis=0) - exact) <= 4 * error + 4 / width)
        spreads.append(np.sqrt(((draws - exact) ** 2).mean()))
    assert spreads[0] / spreads[1] == pytest.approx(2.0, rel=0.35)


def test_prints_itself():
    assert 2 < len(repr(SphereKernel(3, True, 2)).splitlines()) <= 15


@pytest.mark.rejects
class TestRejects:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"dimension": 1}, "`dimension` must be a whole dimension of inputs"),
            ({"bias": 1}, "`bias` must be True or False"),
            ({"hidden_layers": 0}, "`hidden_layers` must be a whole number of layers"),
        ],
    )
    def test_kernels(self, given, message):
        with pytest.raises(ArgumentError, match=message):
            SphereKernel(**given)

    def test_degrees_and_points(self):
        with pytest.raises(ArgumentError, match="`degrees` must be whole numbers"):
            SphereKernel().eigenvalues([0.5])
        with pytest.raises(ShapeError, match="`degrees` must be a row"):
            SphereKernel().eigenvalues(np.ones((2, 2)))
        with pytest.raises(ArgumentError, match="times the rounding of quadrature"):
            SphereKernel(12, True, 2).eigenvalues(np.arange(80))
        with pytest.raises(ArgumentError, match="the circle, but it is 3"):
            SphereKernel(3).sampled_eigenvalues(5)
        with pytest.raises(ArgumentError, match="`cosines` must be from -1 to 1"):
            relu_ntk(np.array([1.5]))
        with pytest.raises(ArgumentError, match="`target` must be a row of finite"):
            SphereKernel().spectrum([-1.0])
