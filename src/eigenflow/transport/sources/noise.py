"""The noise of stochastic gradient descent, as a source fed by the total energy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.finite_volumes.cells import CellGrid
from eigenflow.transport.sources.calls import called, refuse_negative
from eigenflow.transport.sources.source import AbstractSource, Matrix, SourceStep

__all__ = ["SgdNoise"]


@dataclass(frozen=True)
class SgdNoise(AbstractSource):
    """S(lambda, t) = (eta / m) lambda^2 nu(lambda) (E(t) + sigma^2), with E the total energy.

    This is equations/identities.md#eq-s1 and equations/identities.md#eq-s2 for small eta lambda, per unit of
    intrinsic time: batches drawn with replacement (or m much smaller than the number of samples), eigenvectors spread
    over all samples, so that every mode takes its share of the whole energy. Left out are the terms of relative order
    eta lambda (1 + 1/m) of the discrete steps, and the mode's own energy, which the finite sum subtracts. At the
    continuous limit the floor is sigma^2 mu / (1 - mu) with mu = (eta / 2m) times the integral of lambda nu; the energy
    grows for ever when mu > 1.

    E is the integral of g over the domain, so the problem must be one of energies (dissipation 2.0).
    nu is a function of the instantaneous eigenvalue that does not change in time: under a drift this
    assumes a mode density that is kept up.

    Attributes:
        learning_rate: eta, of one step, positive.
        batch_size: m, at least 1.
        mode_density: nu, modes per unit eigenvalue: a function of an array of eigenvalues, >= 0.
        label_noise: sigma^2, energy of noise that is never learned, >= 0.
    """

    learning_rate: float | int
    batch_size: float | int
    mode_density: Callable
    label_noise: float | int = 0.0
    is_linear: ClassVar[bool] = True
    is_steppable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ArgumentError(
                f"`learning_rate` must be positive and finite, but is {self.learning_rate}. "
                f"Without noise leave the source out."
            )
        if not (np.isfinite(self.batch_size) and self.batch_size >= 1):
            raise ArgumentError(f"`batch_size` must be at least 1, but is {self.batch_size}. It counts samples.")
        if not (np.isfinite(self.label_noise) and self.label_noise >= 0):
            raise ArgumentError(
                f"`label_noise` must be finite and not negative, but is {self.label_noise}. It is a variance."
            )
        if not callable(self.mode_density):
            raise ArgumentError(
                f"`mode_density` must be a function of eigenvalues, but is a {type(self.mode_density).__name__}. "
                f"For measured eigenvalues pass a smooth density, such as counts per shell by shell width."
            )

    def taken(self, log_eigenvalues: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Evaluate (eta / m) lambda^3 nu: the source per unit ln(lambda) and energy, in 1 / time."""
        eigenvalues = np.exp(log_eigenvalues)
        density = refuse_negative(
            "mode_density", called("mode_density", self.mode_density, eigenvalues), "It counts modes."
        )
        return float(self.learning_rate) / float(self.batch_size) * eigenvalues**3 * density

    def matrix(self, grid: CellGrid) -> Matrix:
        """Every cell takes its share of the mass of all."""
        taken = grid.integrals(self.taken)
        return np.repeat(taken[:, None], grid.count, axis=1), taken * float(self.label_noise)

    def step(self, grid: CellGrid, shared: dict) -> SourceStep:
        """Solve E' = growth (E + floor) for the total, of which each cell takes its share; exact for any step."""
        taken = grid.integrals(self.taken)
        growth, floor = float(taken.sum()), float(self.label_noise)

        def advance(
            masses: Float[np.ndarray, " cell"], t: float, span: float
        ) -> tuple[Float[np.ndarray, " cell"], float]:
            gained = (masses.sum() + floor) * np.expm1(growth * span)
            return masses + (taken / growth if growth > 0 else taken) * gained, float(gained)

        return SourceStep(advance, growth)
