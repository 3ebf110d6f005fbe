"""Losses of a run in the units of the learning-curve prior: a growing quantity in [0, 1] over positions 1 to 100.

A position is a hundredth of the whole run. A loss L between 0 and infinity becomes

    y = 1 - (a s(2 L / top - 1) + 1 - a),   s the logistic function, a = 1 + 1 / e, top the largest known loss

so that y(0) = 1, y(top) = 0.37 and y(infinity) = 0: the map that LC-PFN's own code (`pfn_normalize`) offers for losses,
with bounds 0 and infinity and the soft bounds 0 and `top`, between which it is nearly straight.
Source: [@adriaensen2023efficient].
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from eigenflow.forecast.laws.learning_curves.prior import POSITIONS

__all__ = ["Units"]

A = 1.0 + np.exp(-1.0)
# A drawn value of 1 is a loss of 0, which has no logarithm.
HIGHEST, LOWEST = 1.0 - 1e-9, 1e-9

Values = Float[np.ndarray, "*point"]


@dataclass(frozen=True)
class Units:
    """Maps between a run and the prior.

    Attributes:
        total: Steps of the whole run, position 100.
        top: Largest known loss.
    """

    total: int
    top: float

    def positions(self, steps: Int[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """Steps as hundredths of the run."""
        return steps * (POSITIONS / self.total)

    def values(self, losses: Values) -> Values:
        """Losses as what grows."""
        return A * (1.0 - 1.0 / (1.0 + np.exp(1.0 - 2.0 * losses / self.top)))

    def losses(self, values: Values) -> Values:
        """The inverse; values beyond (0, 1) are taken to its ends."""
        rest = np.clip(values, LOWEST, HIGHEST) / A
        return 0.5 * self.top * (1.0 + np.log((1.0 - rest) / rest))
