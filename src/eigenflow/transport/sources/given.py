"""A source that is known beforehand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.finite_volumes.cells import CellGrid
from eigenflow.transport.sources.calls import called
from eigenflow.transport.sources.source import AbstractSource, Forcing, SourceStep

__all__ = ["GivenSource"]


@dataclass(frozen=True)
class GivenSource(AbstractSource):
    """S(lambda, t), known beforehand.

    Attributes:
        density: Function of two arrays of one shape, eigenvalues and times; returns as many values,
            mass per unit eigenvalue per time. It counts inside the domain only. Negative values are
            a sink: allowed, but then g may become negative, and no method promises otherwise.
    """

    density: Callable
    is_given: ClassVar[bool] = True
    is_steppable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not callable(self.density):
            raise ArgumentError(
                f"`density` must be a function of eigenvalues and times, but is a {type(self.density).__name__}. "
                f"A constant source is `GivenSource(lambda eigenvalues, times: 0.1)`."
            )

    def per_log(
        self, log_eigenvalues: Float[np.ndarray, "..."], times: Float[np.ndarray, "..."] | float
    ) -> Float[np.ndarray, "..."]:
        """Evaluate lambda S, the source per unit ln(lambda)."""
        eigenvalues = np.exp(log_eigenvalues)
        return called("density", self.density, eigenvalues, np.asarray(times, dtype=np.float64)) * eigenvalues

    def forcing(self, grid: CellGrid) -> Forcing:
        """Integrate the density over each cell."""
        return lambda t, masses: grid.integrals(lambda x: self.per_log(x, t))

    def step(self, grid: CellGrid, shared: dict) -> SourceStep:
        """Add what two Gauss nodes in time give."""

        def advance(
            masses: Float[np.ndarray, " cell"], t: float, span: float
        ) -> tuple[Float[np.ndarray, " cell"], float]:
            points = t + 0.5 * span * (1.0 + np.array([-1.0, 1.0]) / np.sqrt(3.0))
            gained = sum(grid.integrals(lambda x, s=s: self.per_log(x, s)) for s in points) * 0.5 * span
            return masses + gained, float(np.sum(gained))

        return SourceStep(advance, 0.0)
