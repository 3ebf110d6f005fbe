"""What a source is to the methods: each asks for the form that it can work with."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from eigenflow.transport.finite_volumes.cells import CellGrid

__all__ = ["AbstractSource", "Forcing", "Matrix", "SourceStep"]

Array = Float[np.ndarray, "..."]

# Linear part, per mass of each cell, and constant part of what cells gain per time.
Matrix = tuple[Float[np.ndarray, "cell cell"], Float[np.ndarray, " cell"]]
# Takes the time and the masses of the cells; returns what the cells gain per time.
Forcing = Callable[[float, Array], Array]


class SourceStep:
    """What operator splitting needs of a source: whole steps that keep masses >= 0.

    Attributes:
        advance: Takes masses, the time and the step; returns masses and what they have gained in sum.
        fastest: Fastest rate of the source, 1 / time; the first step resolves it.
        unit: Steps of this length times a power of two are cheap; inf if all are.
    """

    def __init__(
        self, advance: Callable[[Array, float, float], tuple[Array, float]], fastest: float, unit: float = np.inf
    ) -> None:
        self.advance, self.fastest, self.unit = advance, fastest, unit


class AbstractSource:
    """What modes gain. A source overrides the forms that it has; the method of lines takes any.

    Attributes:
        is_given: Whether the source is known beforehand and does not depend on the state; then it has `per_log`.
        is_linear: Whether it has a `matrix`, so that an exponential solves it.
        is_steppable: Whether it has a `step`, so that operator splitting solves it.
    """

    is_given: ClassVar[bool] = False
    is_linear: ClassVar[bool] = False
    is_steppable: ClassVar[bool] = False

    def matrix(self, grid: CellGrid) -> Matrix | None:
        """Give the source as a matrix on the masses of cells, if it is linear and does not depend on time."""
        return None

    def step(self, grid: CellGrid, shared: dict) -> SourceStep | None:
        """Give steps on the masses of cells; what tasks of a batch can share is looked up in `shared`."""
        return None

    @property
    def leaving(self) -> float | None:
        """Factor of lambda at which modes jump away, where the source is jumps at such a rate."""
        return None

    def landing(self, grid: CellGrid, shared: dict) -> Float[np.ndarray, "cell cell"] | None:
        """Give what lands in each cell of what jumps from each, no entry negative; where there is `leaving`."""
        return None

    def forcing(self, grid: CellGrid) -> Forcing | None:
        """Give the source as a function of time and state, where it has no matrix."""
        return None

    def per_log(self, log_eigenvalues: Array, times: Array | float) -> Array:
        """Evaluate lambda S, the source per unit ln(lambda), where it does not depend on the state."""
        raise NotImplementedError(f"a {type(self).__name__} depends on the state")
