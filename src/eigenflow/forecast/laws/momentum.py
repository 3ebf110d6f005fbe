"""The momentum law: a power of the sum of learning rates, less a share of the annealing so far.

    L = L0 + A S1^-a - C S2,   S2 = sum of m_i,   m_i = 0.999 m_(i-1) + (eta_(i-1) - eta_i)

S2 is divided by the peak rate / (1 - 0.999), so that C is in nats and comes out of order 0.1 for every set; C >= 0,
without which a fit of one schedule diverges.

Source: [@tissue2024scaling].
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eigenflow.forecast.laws.power import AMPLITUDE, EXPONENT, FLOOR, positive_times
from eigenflow.forecast.laws.protocol import History, Parameter
from eigenflow.forecast.laws.rate_changes import warmup_end
from eigenflow.forecast.laws.separable import AbstractSeparableLaw, Shapes, power_shape

__all__ = ["MomentumLaw", "annealing"]

DECAY = 0.999


def annealing(history: History, decay: float = DECAY) -> Float[np.ndarray, " point"]:
    """Give S2 at each observation, divided by peak rate / (1 - decay); the warm-up's rise does not count."""
    rates = history.rates
    falls = np.concatenate([[0.0], -np.diff(rates)])
    falls[: warmup_end(rates) + 1] = 0.0
    momentum = _decaying_sum(falls, decay)
    total = np.concatenate([[0.0], np.cumsum(momentum)])[history.steps]
    return total * (1.0 - decay) / rates.max()


def _decaying_sum(values: Float[np.ndarray, " update"], decay: float) -> Float[np.ndarray, " update"]:
    """Sum all values so far, each times decay ** age; `scipy.signal.lfilter` takes a second to import."""
    # Within a chunk it is a plain sum of values / decay ** position, whose range must stay far from the floats' ends.
    length = max(int(-5.0 / np.log(decay)), 1)
    powers = decay ** np.arange(length)
    sums, carried = np.empty(len(values)), 0.0
    for begin in range(0, len(values), length):
        part = values[begin : begin + length]
        own = powers[: len(part)]
        sums[begin : begin + len(part)] = own * (np.cumsum(part / own) + decay * carried)
        carried = sums[min(begin + length, len(values)) - 1]
    return sums


class MomentumLaw(AbstractSeparableLaw):
    """L0 + A S1^-a - C S2, with S2 in units of peak rate / (1 - 0.999)."""

    name = "momentum"
    weights = (FLOOR, AMPLITUDE, Parameter("C", "nats", "loss removed by annealing to zero", "log", 1e-9, 1e3))
    shape_parameters = (EXPONENT,)

    def prepare(self, history: History) -> Float[np.ndarray, "sum point"]:
        """Compute S1 and S2, which hold no parameter."""
        return np.stack([positive_times(history), annealing(history)])

    def shapes(self, shape_values: Float[np.ndarray, " shape"], prepared: Float[np.ndarray, "sum point"]) -> Shapes:
        """Evaluate 1, S1^-a and -S2."""
        value, slope = power_shape(prepared[0], float(shape_values[0]))
        zero = np.zeros_like(value)
        return Shapes(np.stack([zero + 1.0, value, -prepared[1]], axis=1), np.stack([zero, slope, zero], axis=1)[None])

    def typical_shape(self, prepared: Sequence[Float[np.ndarray, "_ _"]]) -> Float[np.ndarray, " shape"]:
        """Square-root decay."""
        return np.array([0.5])
