"""A source that depends on the state in any way."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.finite_volumes.cells import CellGrid
from eigenflow.transport.sources.calls import called
from eigenflow.transport.sources.source import AbstractSource, Forcing

__all__ = ["StateSource"]

_HUGE = 1e100


@dataclass(frozen=True)
class StateSource(AbstractSource):
    """S as any function of the state, nonlinear and nonlocal at will.

    It is solved by the method of lines alone. S enters with its values at the cells' centres, which
    is of second order in the width of the cells.

    Attributes:
        function: Takes the eigenvalues at the cells' centres (geometric means of the edges), a
            single time, and g there (the mean per unit eigenvalue of each cell), all increasing in
            the eigenvalue; returns as many values, mass per unit eigenvalue per time.
    """

    function: Callable

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ArgumentError(
                f"`function` must be a function of eigenvalues, time and density, but is a "
                f"{type(self.function).__name__}. Example: `lambda eigenvalues, time, density: -density**2`."
            )

    def forcing(self, grid: CellGrid) -> Forcing:
        """Evaluate the function at the cells' centres."""
        widths = np.diff(np.exp(grid.log_edges))
        centres = np.exp(0.5 * (grid.log_edges[1:] + grid.log_edges[:-1]))

        def gained(t: float, masses: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
            # A trial step may overshoot a state that grows without bound.
            density = np.clip(np.nan_to_num(masses), -_HUGE, _HUGE) / widths
            values = called("function", lambda eigenvalues: self.function(eigenvalues, t, density), centres)
            return values * widths

        return gained
