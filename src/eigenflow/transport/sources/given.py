"""A source that is known beforehand."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.sources.calls import called

__all__ = ["GivenSource"]


@dataclass(frozen=True)
class GivenSource:
    """S(lambda, t), known beforehand.

    Attributes:
        density: Function of two arrays of one shape, eigenvalues and times; returns as many values,
            mass per unit eigenvalue per time. It counts inside the domain only. Negative values are
            a sink: allowed, but then g may become negative, and no method promises otherwise.
    """

    density: Callable

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
