"""How energy and eigenvalues are spread below the modes that are followed one by one, with error bars.

Energy: one Lanczos run started at e itself gives the measure that puts <phi_u, e>^2 on lambda_u. The bounds of a
shell's energy are deterministic and hold for every operator; nothing is sampled (`linalg.krylov`).

Eigenvalues: random directions z, uniform on the sphere, have measures whose mean is the density of eigenvalues
[@lin2016approximating]. Their error bars add the sampling error, whose law is known: the share of z in a space of
N out of n dimensions is Beta(N / 2, (n - N) / 2).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import ndtri
from torch import Tensor

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.linalg.krylov import SpectralMeasure, lanczos
from eigenflow.linalg.operator import SymmetricOperator

__all__ = ["ShellEstimate", "SpectralDensity", "shell_masses", "spectral_density", "spectral_measures"]


@dataclass(frozen=True, repr=False)
class ShellEstimate(FieldsPrinted):
    """One number per shell (`len(edges) + 1` of them, the first and last open) or per edge, with its interval.

    Attributes:
        value: Estimates, >= 0; over shells their sum is the whole, exactly.
        lower: Lower ends.
        upper: Upper ends.
    """

    value: Float[np.ndarray, " shells"]
    lower: Float[np.ndarray, " shells"]
    upper: Float[np.ndarray, " shells"]


@dataclass(frozen=True, repr=False)
class SpectralDensity(FieldsPrinted):
    """Where the eigenvalues of an operator lie, from random directions.

    Attributes:
        measures: One for each direction, of mass 1.
        dimension: Number of eigenvalues: rows of the operator, less those that were deflated.
    """

    measures: list[SpectralMeasure]
    dimension: int

    def below(self, edges: Float[np.ndarray, " edges"]) -> ShellEstimate:
        """Eigenvalues below each edge, with 90 % intervals: quadrature bounds widened by the sampling error."""
        lower, upper = np.mean([measure.below(edges) for measure in self.measures], axis=0) * self.dimension
        return ShellEstimate(0.5 * (lower + upper), self._widened(lower)[0], self._widened(upper)[1])

    def counts(self, edges: Float[np.ndarray, " edges"]) -> ShellEstimate:
        """Eigenvalues in each shell, with 90 % intervals like those of `below`."""
        shells = [shell_masses(measure, edges) for measure in self.measures]
        value, lower, upper = (
            self.dimension * np.mean([getattr(shell, name) for shell in shells], axis=0)
            for name in ("value", "lower", "upper")
        )
        return ShellEstimate(value, self._widened(lower)[0], self._widened(upper)[1])

    def trace(self) -> tuple[float, float]:
        """Estimate of the sum of the eigenvalues, and its standard error.

        The variance of z'Az over the sphere is 2 (n tr A^2 - (tr A)^2) / (n^2 (n + 2)); tr A^2 is estimated too.
        """
        n, first, second = self.dimension, 0.0, 0.0
        for measure in self.measures:
            nodes, masses = measure.gauss()
            first += n * float(masses @ nodes) / len(self.measures)
            # The Gauss rule of one step misses the second moment by beta^2.
            second += (
                n * float(masses @ nodes**2 + (len(nodes) == 1) * measure.offdiagonal[0] ** 2) / len(self.measures)
            )
        variance = 2.0 * max(0.0, n * second - first**2) / (n + 2) / len(self.measures)
        return first, variance**0.5

    def _widened(self, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score interval: all N with |count - N| within the quantile times the deviation that N itself implies."""
        n = self.dimension
        c = 2.0 * float(ndtri((1 + LEVEL) / 2)) ** 2 / ((n + 2) * len(self.measures))
        middle = 2.0 * count + c * n
        root = np.sqrt(np.maximum(0.0, middle**2 - 4.0 * (1.0 + c) * count**2))
        low, high = ((middle + sign * root) / (2.0 * (1.0 + c)) for sign in (-1, 1))
        return low.clip(0.0, n), high.clip(0.0, n)


def shell_masses(measure: SpectralMeasure, edges: Float[np.ndarray, " edges"]) -> ShellEstimate:
    """Share a measure out over shells.

    Returns:
        The middle between the bounds of the mass below each edge, differenced; and bounds of every shell's own
        mass, which hold without exception, up to rounding.
    """
    lower, upper = measure.below(edges)
    ends = [np.concatenate([[0.0], side, [measure.mass]]) for side in (lower, upper, 0.5 * (lower + upper))]
    return ShellEstimate(
        np.diff(ends[2]),
        np.maximum(0.0, ends[0][1:] - ends[1][:-1]),
        np.minimum(measure.mass, ends[1][1:] - ends[0][:-1]),
    )


def spectral_measures(
    operator: SymmetricOperator,
    rows: Float[Tensor, "block local"],
    *,
    steps: int,
    deflate: Float[Tensor, "modes local"] | None = None,
) -> list[SpectralMeasure]:
    """Measures of given rows in the part of the operator that is left after deflation.

    Args:
        operator: M, positive semidefinite.
        rows: For instance the error e.
        steps: Lanczos steps; one product of the whole block each.
        deflate: Orthonormal rows, such as the modes followed one by one. With residual norm r they are coupled
            to the rest by at most r, and the measures are those of the operator without that coupling.

    Returns:
        One measure per row; its mass is the squared norm of what deflation leaves.
    """
    return [basis.measure for basis in lanczos(operator, rows, steps, deflate=deflate)]


def spectral_density(
    operator: SymmetricOperator,
    *,
    steps: int,
    probes: int,
    generator: torch.Generator,
    deflate: Float[Tensor, "modes local"] | None = None,
) -> SpectralDensity:
    """Estimate the density of the eigenvalues that deflation leaves.

    Args:
        operator: M, positive semidefinite.
        steps: Lanczos steps; a product of `probes` rows each.
        probes: Random directions; the sampling error falls as probes^(-1/2).
        generator: Draws them.
        deflate: Orthonormal rows to take out.

    Raises:
        ArgumentError: If `probes` is below 1, or nothing is left after deflation.
    """
    dimension = operator.size - (0 if deflate is None else len(deflate))
    if probes < 1:
        raise ArgumentError(f"`probes` must be at least 1, but is {probes}.")
    if dimension < 1:
        raise ArgumentError(
            f"`deflate` holds {operator.size - dimension} rows, all that there are; no eigenvalue is left below them."
        )
    starts = operator.space.draw(probes, generator)
    measures = spectral_measures(operator, starts, steps=steps, deflate=deflate)
    return SpectralDensity([SpectralMeasure(m.diagonal, m.offdiagonal, 1.0) for m in measures], dimension)
