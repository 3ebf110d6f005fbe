"""An exponent with its 90 % interval."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.display import interval
from eigenflow.core.resampling import LEVEL

__all__ = ["ExponentRange"]


@dataclass(frozen=True)
class ExponentRange:
    """An exponent and the ends of its 90 % interval.

    Attributes:
        value: The estimate.
        lower: Lower end, at most `value`.
        upper: Upper end, at least `value`.
    """

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return interval(self.value, self.lower, self.upper)

    @property
    def half_width(self) -> float:
        """Half the interval's length."""
        return 0.5 * (self.upper - self.lower)

    def holds(self, value: float) -> bool:
        """Say whether a value lies in the interval, up to rounding."""
        slack = 1e-9 * (1.0 + abs(value))
        return self.lower - slack <= value <= self.upper + slack

    @classmethod
    def of_draws(cls, value: float, draws: Float[np.ndarray, " draw"]) -> "ExponentRange":
        """The middle 90 % of draws, stretched to the estimate where it lies outside (a minimum's own estimate may)."""
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(float(value), min(float(low), float(value)), max(float(high), float(value)))
