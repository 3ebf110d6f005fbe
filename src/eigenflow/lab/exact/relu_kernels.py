"""Neural tangent kernels of wide ReLU networks on the circle and on spheres, with their spectra.

On unit inputs the kernel depends on the angle between them alone. With kappa0 and kappa1 the arc-cosine kernels,

    Sigma_0 = Theta_0 = u,    Sigma_l = kappa1(Sigma_(l-1)),
    Theta_l = Sigma_l + kappa0(Sigma_(l-1)) (Theta_(l-1) + bias),

where bias is 1 if hidden layers have trained biases that begin at 0 [@jacot2018neural], [@bietti2019inductive]. Under
the uniform measure its eigenfunctions are spherical harmonics, those of one degree with one eigenvalue
(equations/known_cases.md#ntk-spectra).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import binom, gammaln
from torch import Tensor, nn

from eigenflow.core.checks import check_kind, check_number, check_whole, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["SphereKernel", "WideReluNetwork", "relu_ntk"]

# The kernel is analytic in the angle, so that nodes beyond the degree converge geometrically.
EXTRA_NODES = 120


def relu_ntk(
    cosines: Float[np.ndarray, " *shape"], *, hidden_layers: int = 1, bias: bool = False
) -> Float[np.ndarray, " *shape"]:
    """Give the neural tangent kernel of an infinitely wide ReLU network on unit inputs.

    Args:
        cosines: u = x . x', from -1 to 1.
        hidden_layers: >= 1; with one, Theta = u kappa0 + kappa1.
        bias: Whether hidden layers have biases.

    Raises:
        ArgumentError: If an argument lies outside its region.
    """
    u = real_array("cosines", cosines)
    if not (np.abs(u) <= 1).all():
        raise ArgumentError("`cosines` must be from -1 to 1. Divide inputs by their norms.")
    return _kernel(np.arccos(u), check_whole("hidden_layers", hidden_layers, 1, what="number of layers"), bias)


@dataclass(frozen=True, repr=False)
class SphereKernel(AbstractPrinted):
    """The kernel on the unit sphere, under the uniform measure.

    Attributes:
        dimension: Of inputs, >= 2: 2 is the circle.
        bias: Whether hidden layers have biases. With one hidden layer and no bias, odd degrees from 3 on are null.
        hidden_layers: >= 1.
    """

    dimension: int = 2
    bias: bool = False
    hidden_layers: int = 1

    def __post_init__(self) -> None:
        check_whole("dimension", self.dimension, 2, 10_000, what="dimension of inputs")
        check_kind("bias", self.bias, bool, "True or False")
        check_whole("hidden_layers", self.hidden_layers, 1, what="number of layers")

    @property
    def decay(self) -> float:
        """Exponent of eigenvalues in the degree, at high degrees: lambda_k ~ k^-dimension."""
        return float(self.dimension)

    @property
    def capacity(self) -> float:
        """Exponent of eigenvalues in their rank, d / (d - 1), as a degree has ~ k^(d - 2) modes."""
        return self.dimension / (self.dimension - 1.0)

    def multiplicities(self, degrees: Any) -> Float[np.ndarray, " degree"]:
        """Spherical harmonics of each degree."""
        k, d = _degrees(degrees), self.dimension
        return np.where(k == 0, 1.0, (2 * k + d - 2) / np.maximum(k + d - 2, 1) * binom(k + d - 2, d - 2))

    def eigenvalues(self, degrees: Any) -> Float[np.ndarray, " degree"]:
        """Eigenvalue of each degree: in closed form with one hidden layer, by quadrature with more.

        Args:
            degrees: k >= 0.

        Raises:
            ArgumentError: If a degree is no whole number >= 0, or its eigenvalue is below the rounding of quadrature.
        """
        k = _degrees(degrees)
        if self.hidden_layers == 1:
            return _of_one_layer(k, self.dimension, self.bias)
        found, error = self._quadrature(int(k.max())), self.quadrature_error
        lost = found < 10 * error
        if lost[k.astype(np.int64)].any():
            raise ArgumentError(
                f"`degrees` must be below {int(np.flatnonzero(lost)[0])} here: from there on eigenvalues are less than "
                f"ten times the rounding of quadrature, {error:.2g}. One hidden layer has a closed form."
            )
        return found[k.astype(np.int64)]

    @property
    def quadrature_error(self) -> float:
        """Absolute error of eigenvalues: that of rounding; 0 where they are in closed form."""
        return 0.0 if self.hidden_layers == 1 else 4e-16 * float(_kernel(np.zeros(1), self.hidden_layers, self.bias)[0])

    def spectrum(self, target: Any, noise: float = 0.0) -> TaskSpectrum:
        """Make the task of learning a target of known energy in each degree.

        Args:
            target: Mean square of the target's part of degree 0, 1, 2 ... What lies in degrees that the kernel does not
                see is noise to it.
            noise: Variance of labels.
        """
        energies = real_array("target", target)
        if energies.ndim != 1 or len(energies) == 0 or not (np.isfinite(energies).all() and (energies >= 0).all()):
            raise ArgumentError(
                f"`target` must be a row of finite numbers >= 0, one for each degree, but is {target!r}."
            )
        degrees = np.arange(len(energies))
        values, counts = self.eigenvalues(degrees), self.multiplicities(degrees)
        seen = np.flatnonzero(values > 0)
        order = seen[np.argsort(-values[seen], kind="stable")]
        lost = float(energies.sum() - energies[seen].sum())
        return TaskSpectrum(values[order], energies[order], check_number("noise", noise, 0.0) + lost, counts[order])

    def sampled_eigenvalues(self, points: int) -> Float[np.ndarray, " frequency"]:
        """Eigenvalues of the Gram matrix over n equispaced points of the circle, divided by n.

        Frequencies alias: the k-th is the sum of lambda of |k + m n| over all whole m. The matrix is circulant, so that
        this is a Fourier transform, exact to rounding.

        Args:
            points: n.

        Raises:
            ArgumentError: If the sphere is no circle.
        """
        if self.dimension != 2:
            raise ArgumentError(f"`sampled_eigenvalues` needs `dimension` 2, the circle, but it is {self.dimension}.")
        points = check_whole("points", points, 1, what="number of points")
        angles = 2 * np.pi * np.arange(points) / points
        row = _kernel(np.minimum(angles, 2 * np.pi - angles), self.hidden_layers, self.bias)
        return np.fft.fft(row).real / points

    def network(self, width: int, generator: torch.Generator) -> "WideReluNetwork":
        """Make a finite network whose kernel is this one up to O(width^(-1/2)).

        Args:
            width: Of hidden layers.
            generator: Of weights.
        """
        return WideReluNetwork(self.dimension, width, self.hidden_layers, self.bias, generator)

    def _quadrature(self, last: int) -> np.ndarray:
        nodes, weights = np.polynomial.legendre.leggauss(last + EXTRA_NODES)
        angles, d = 0.5 * np.pi * (1 + nodes), self.dimension
        measure = np.sin(angles) ** (d - 2) * 0.5 * np.pi * weights * np.exp(_log_share(d))
        values, u = measure * _kernel(angles, self.hidden_layers, self.bias), np.cos(angles)
        before, now, found = np.ones_like(u), u, [values.sum()]
        for k in range(1, last + 1):
            found.append(float(values @ now))
            before, now = now, ((2 * k + d - 2) * u * now - k * before) / (k + d - 2)
        return np.array(found)

    def _card(self) -> Card:
        first = self.eigenvalues(np.arange(5))
        return Card(
            f"SphereKernel in {self.dimension} dimensions, {self.hidden_layers} hidden layers, "
            f"{'with' if self.bias else 'without'} bias",
            [
                ("eigenvalues", ", ".join(figure(float(value)) for value in first)),
                ("modes", ", ".join(f"{value:.0f}" for value in self.multiplicities(np.arange(5)))),
                ("decay", f"k^-{figure(self.decay)} in the degree, i^-{figure(self.capacity)} in the rank"),
            ],
        )


class WideReluNetwork(nn.Module):
    """A ReLU network in the parametrisation of the tangent kernel, without an output bias, in float64."""

    def __init__(self, dimension: int, width: int, hidden_layers: int, bias: bool, generator: torch.Generator):
        super().__init__()
        width = check_whole("width", width, 1, what="width")
        sizes = [dimension, *([width] * hidden_layers), 1]

        def drawn(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator, dtype=torch.float64))

        self.weights = nn.ParameterList([drawn(b, a) for a, b in pairwise(sizes)])
        count = hidden_layers if bias else 0
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(width, dtype=torch.float64)) for _ in range(count)])

    def forward(self, inputs: Tensor) -> Tensor:
        values, scale = inputs, 1.0
        for place, weight in enumerate(self.weights):
            values = scale * nn.functional.linear(values, weight)
            scale = (2.0 / weight.shape[0]) ** 0.5
            if place < len(self.biases):
                values = values + self.biases[place]
            if place < len(self.weights) - 1:
                values = torch.relu(values)
        return values


def _kernel(angles: np.ndarray, hidden_layers: int, bias: bool) -> np.ndarray:
    """Theta as a function of the angle; nothing is lost at small angles."""
    ntk = np.cos(angles)
    for _ in range(hidden_layers):
        below = 2 * np.sin(angles / 2) ** 2 + (angles * np.cos(angles) - np.sin(angles)) / np.pi  # 1 - kappa1
        ntk = 1 - below + (np.pi - angles) / np.pi * (ntk + float(bias))
        angles = 2 * np.arcsin(np.sqrt(np.clip(below / 2, 0.0, 1.0)))
    return ntk


def _of_one_layer(k: np.ndarray, d: int, bias: bool) -> np.ndarray:
    """Of kappa1 + u kappa0 + bias kappa0.

    kappa0 = 2 E step step and kappa1 = 2 d E relu relu over directions, so their eigenvalues are 2 s^2 and 2 d r^2 of
    those of the step and the ramp; multiplication by u couples neighbours.
    """
    step, ramp = _squared(k, d, 1), _squared(k, d, 2)
    weighted = k / np.maximum(2 * k + d - 2, 1) * _squared(np.maximum(k - 1, 0), d, 1)
    above = np.where((k == 0), 1.0, (k + d - 2) / np.maximum(2 * k + d - 2, 1))
    weighted = weighted + above * _squared(k + 1, d, 1)
    return 2 * d * ramp + 2 * weighted + (2 * step if bias else 0.0)


def _squared(k: np.ndarray, d: int, order: int) -> np.ndarray:
    """Squares of the Funk-Hecke eigenvalues of the step (order 1) or the ramp (order 2), by Rodrigues' formula."""
    share = _log_share(d)
    m = k + (d - 3) / 2
    j = (k - order) / 2
    regular = (k >= order) & ((k - order) % 2 == 0)
    j, m, high = np.where(regular, j, 0.0), np.where(regular, m, 1.0), np.where(regular, k, float(order))
    # |d^(k - order) / du^(k - order) (1 - u^2)^m| at 0 is C(m, j) (k - order)!.
    log = gammaln((d - 1) / 2) - gammaln(high + (d - 1) / 2) - high * np.log(2.0) + share
    log = log + gammaln(m + 1) - gammaln(j + 1) - gammaln(m - j + 1) + gammaln(high - order + 1)
    values = np.where(regular, np.exp(2 * log), 0.0)
    if order == 1:
        return np.where(k == 0, 0.25, values)
    mean = np.exp(share) / (d - 1)
    return np.where(k == 0, mean**2, np.where(k == 1, (0.5 / d) ** 2, values))


def _log_share(d: int) -> float:
    """Of the factor that makes sin^(d - 2) a probability over angles."""
    return float(gammaln(d / 2) - gammaln((d - 1) / 2) - 0.5 * np.log(np.pi))


def _degrees(degrees: Any) -> np.ndarray:
    found = np.atleast_1d(real_array("degrees", degrees))
    if found.ndim != 1 or len(found) == 0:
        raise ShapeError(f"`degrees` must be a row, but has shape {found.shape}.")
    if not ((found >= 0) & (found == np.floor(found)) & (found < 1e9)).all():
        raise ArgumentError(f"`degrees` must be whole numbers from 0 to 1e9, but are {degrees!r}.")
    return found
