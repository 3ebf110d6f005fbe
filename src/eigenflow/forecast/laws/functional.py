"""The functional scaling law: SGD noise injected at every step and forgotten by a power law of intrinsic time.

    L = L0 + A S1^-a + B sum_k eta_k^2 (1 + C (S - S_k))^-g

A block of steps at one rate adds eta times the integral of the kernel over the block's intrinsic time, in closed
form: the continuum limit that the law is derived in. The sum over steps, each acting in its middle, differs from it by
the share g (g + 1) (C eta)^2 / 24 of the latest noise.

Source: [@li2025functional].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.forecast.laws.power import AMPLITUDE, EXPONENT, FLOOR, positive_times
from eigenflow.forecast.laws.protocol import History, Parameter
from eigenflow.forecast.laws.rate_changes import MOST_GROUPS, rate_blocks
from eigenflow.forecast.laws.separable import AbstractSeparableLaw, Shapes, power_shape

__all__ = ["FunctionalLaw"]

# The peak of a kernel's memory, in units of the whole run's intrinsic time, that a start assumes.
TYPICAL_MEMORY = 1 / 30
# At power 1 the integral is a logarithm: a series in (1 - power) ln(1 + x) takes over where the quotient loses digits.
SERIES_BELOW = 1e-3


@dataclass(frozen=True)
class _Prepared:
    times: Float[np.ndarray, " point"]
    since: Float[np.ndarray, "point edge"]
    squares: Float[np.ndarray, " block"]


class FunctionalLaw(AbstractSeparableLaw):
    """L0 + A S1^-a plus noise of every step, forgotten as (1 + C u)^-g.

    Args:
        most: Blocks that a schedule which changes at every step is cut into; 0 takes every step.
    """

    name = "functional"
    weights = (FLOOR, AMPLITUDE, Parameter("B", "nats / rate^2", "noise injected by a step", "log", 1e-9, 1e12))
    shape_parameters = (
        EXPONENT,
        Parameter("C", "1 / time", "speed of forgetting", "log", 1e-9, 1e9),
        Parameter("g", "", "exponent of forgetting", "log", 1e-2, 10.0),
    )

    def __init__(self, most: int = MOST_GROUPS) -> None:
        self.most = most

    def prepare(self, history: History) -> _Prepared:
        """Collect blocks of one rate, and the time from each border to each observation."""
        blocks = rate_blocks(history, self.most or len(history.rates))
        since = np.maximum(history.times[:, None] - blocks.edges, 0.0)
        return _Prepared(positive_times(history), since, blocks.squares)

    def shapes(self, shape_values: Float[np.ndarray, " shape"], prepared: _Prepared) -> Shapes:
        """Evaluate 1, S1^-a and the noise that is left."""
        exponent, speed, forgetting = shape_values
        value, slope = power_shape(prepared.times, exponent)
        x = speed * prepared.since
        integral, by_speed, by_forgetting = _kernel_integral(x, forgetting)
        noise, by_speed, by_forgetting = (
            -np.diff(column, axis=1) @ prepared.squares / speed for column in (integral, by_speed, by_forgetting)
        )
        gradients = np.zeros((3, len(value), 3))
        gradients[0, :, 1] = slope
        gradients[1, :, 2] = by_speed - noise
        gradients[2, :, 2] = forgetting * by_forgetting
        return Shapes(np.stack([np.ones_like(value), value, noise], axis=1), gradients)

    def typical_shape(self, prepared: Sequence[_Prepared]) -> Float[np.ndarray, " shape"]:
        """Square-root decay, and memory over a thirtieth of the longest run."""
        longest = max(float(one.times[-1]) for one in prepared)
        return np.array([0.5, 1.0 / (TYPICAL_MEMORY * longest), 1.0])


def _kernel_integral(x: Float[np.ndarray, "point edge"], power: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integrate (1 + x)^-power from 0 to x; with derivatives with respect to ln x and to power."""
    log_x = np.log(1.0 + x)
    rest = 1.0 - power
    z = rest * log_x
    grown = np.exp(z)
    if abs(rest) > SERIES_BELOW:
        integral = (grown - 1.0) / rest
        by_power = (integral - log_x * grown) / rest
    else:
        integral = log_x * (1.0 + z / 2 + z**2 / 6 + z**3 / 24)
        by_power = -(log_x**2) * (0.5 + z / 3 + z**2 / 8 + z**3 / 30)
    return integral, x * grown / (1.0 + x), by_power
