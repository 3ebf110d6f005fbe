"""The multi-power law: every drop of the learning rate lowers the loss, by a power law of the time since.

    L = L0 + A S1^-a - B sum_k (eta_(k-1) - eta_k) [1 - (1 + C eta_k^-g S_k)^-b],   S_k = sum of rates from k on

Published parameters (L0, A, a, B, C, b, g) keep their meaning and units. The sum runs over the changes of the rate
after warm-up only.

Source: [@luo2025multipower].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.forecast.laws.power import AMPLITUDE, EXPONENT, FLOOR, positive_times
from eigenflow.forecast.laws.protocol import History, Parameter
from eigenflow.forecast.laws.rate_changes import MOST_GROUPS, RateChanges, rate_changes
from eigenflow.forecast.laws.separable import AbstractSeparableLaw, Shapes, power_shape

__all__ = ["MultiPowerLaw"]

# Of the published fits: g and b of three sizes, and C eta^(1-g), the response per step at the peak rate.
TYPICAL_G, TYPICAL_B, TYPICAL_PER_STEP = 0.64, 0.59, 0.1


@dataclass(frozen=True)
class _Prepared:
    times: Float[np.ndarray, " point"]
    since: Float[np.ndarray, "point change"]
    changes: RateChanges
    peak: float


class MultiPowerLaw(AbstractSeparableLaw):
    """L0 + A S1^-a less a power-law response to every drop of the rate.

    Args:
        most: Groups that a schedule which changes at every step is cut into; 0 sums over every change.
    """

    name = "multi_power"
    weights = (FLOOR, AMPLITUDE, Parameter("B", "nats / rate", "loss removed per rate taken away", "log", 1e-9, 1e9))
    shape_parameters = (
        EXPONENT,
        Parameter("C", "rate^g / time", "speed of the response", "log", 1e-9, 1e9),
        Parameter("b", "", "exponent of the response", "log", 1e-2, 10.0),
        Parameter("g", "", "exponent of the rate in the response", "log", 1e-2, 5.0),
    )

    def __init__(self, most: int = MOST_GROUPS) -> None:
        self.most = most

    def prepare(self, history: History) -> _Prepared:
        """Collect the changes of the rate, and the time from each to each observation."""
        changes = rate_changes(history, self.most or len(history.rates))
        since = np.maximum(history.times[:, None] - changes.starts, 0.0)
        return _Prepared(positive_times(history), since, changes, float(history.rates.max()))

    def shapes(self, shape_values: Float[np.ndarray, " shape"], prepared: _Prepared) -> Shapes:
        """Evaluate 1, S1^-a and minus the summed response."""
        exponent, speed, response, rate_exponent = shape_values
        value, slope = power_shape(prepared.times, exponent)
        log_rates = np.log(prepared.changes.rates)
        x = prepared.since * (speed * np.exp(-rate_exponent * log_rates))
        log_x = np.log(1.0 + x)
        kept = np.exp(-response * log_x)
        drops = prepared.changes.drops
        drop = (1.0 - kept) @ drops
        by_speed = response * kept * x / (1.0 + x)
        gradients = np.zeros((4, len(value), 3))
        gradients[0, :, 1] = slope
        gradients[1, :, 2] = -(by_speed @ drops)
        gradients[2, :, 2] = -((response * log_x * kept) @ drops)
        gradients[3, :, 2] = by_speed @ (drops * log_rates) * rate_exponent
        return Shapes(np.stack([np.ones_like(value), value, -drop], axis=1), gradients)

    def typical_shape(self, prepared: Sequence[_Prepared]) -> Float[np.ndarray, " shape"]:
        """Published exponents, and the published response per step."""
        peak = max(one.peak for one in prepared)
        return np.array([0.5, TYPICAL_PER_STEP * peak ** (TYPICAL_G - 1.0), TYPICAL_B, TYPICAL_G])
