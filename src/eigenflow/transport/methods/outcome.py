"""What the methods for problems with a source hand back, and what they tell on the way."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import NonFiniteError

__all__ = ["Evolved", "Progress", "still_finite", "tell"]

# Products of a mass and the few factors of a reconstruction are still numbers.
_LARGEST = 1e250

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


def still_finite(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Give values back, or refuse them.

    Raises:
        NonFiniteError: If masses have grown beyond what doubles hold.
    """
    if not (np.abs(values) < _LARGEST).all():
        raise NonFiniteError(
            "Masses grow beyond what doubles hold before the last of `times`. Ask for earlier times, narrow `domain`, "
            "or lower the source: that of gradient noise grows for ever where (eta / 2m) times the integral of "
            "lambda nu is above 1."
        )
    return values
