"""A source that depends on the state in any way."""

from collections.abc import Callable
from dataclasses import dataclass

from eigenflow.core.errors import ArgumentError

__all__ = ["StateSource"]


@dataclass(frozen=True)
class StateSource:
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
