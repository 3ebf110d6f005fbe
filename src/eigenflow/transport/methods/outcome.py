"""What the methods for problems with a source hand back, and what they tell on the way."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Evolved", "Progress", "tell"]

# Takes the number of output times that are done, and of all.
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Evolved:
    """Masses, and where the rest came from and went; cumulative since t = 0.

    Attributes:
        initial: Mass at t = 0.
        mass: Shape (time, cell).
        dissipated: Lost to the dissipation rate; the other rows likewise, shape (time,).
        outflow_below: Gone through the lower end.
        outflow_above: Gone through the upper end.
        source: Gained from the source.
        error: Estimated error of `mass`, summed over cells.
        failure: What went wrong, or empty.
    """

    initial: float
    mass: Float[np.ndarray, "time cell"]
    dissipated: Float[np.ndarray, " time"]
    outflow_below: Float[np.ndarray, " time"]
    outflow_above: Float[np.ndarray, " time"]
    source: Float[np.ndarray, " time"]
    error: Float[np.ndarray, " time"]
    failure: str = ""


def tell(progress: Progress | None, done: int, total: int) -> None:
    """Call the user's progress function, if there is one."""
    if progress is not None:
        progress(done, total)
