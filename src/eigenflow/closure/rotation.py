"""Rotation as jumps of energy upwards in ln(lambda), measured from the transfer matrix.

What an update carries from shell to shell is exchange F_ab = A_ab - A_ba. Between neighbours it may be drift; beyond,
it is rotation alone. In the runs that it was looked at it goes upwards, falls off exponentially with the distance, and
comes with growth: while eigenvalues grow by an e-fold, about as much energy jumps as there is. So one number is
measured, the rate of jumps per e-fold of growth, over the last factor of known time, and drawn towards a prior that
those runs gave (docs/validation/closure.md).
"""

from dataclasses import dataclass

import numpy as np

from eigenflow.closure.history import StateHistory
from eigenflow.core.display import FieldsPrinted
from eigenflow.shells import ShellBudget
from eigenflow.transport.state_drift import UpwardJumps

__all__ = ["JumpRate", "jump_rate"]

REACH = 0.6  # e-folds: exchange falls by 0.4 a quarter decade
PRIOR_RATE, PRIOR_SPREAD = 1.0, 0.5  # median, and standard deviation of the logarithm
WINDOW = 3.0  # factor of time
NOISE = 0.7  # standard deviation of ln(measured / what later loss needs)
LEAST_GROWTH = 0.1  # growth of which the measured rate is known to a factor of e
LEAST_RATE = 0.05  # less, or a net exchange downwards, counts as this
FARTHEST = 6  # shells of a quarter decade


@dataclass(frozen=True, repr=False)
class JumpRate(FieldsPrinted):
    """Jumps per e-fold of growth.

    Attributes:
        rate: Estimate.
        spread: Standard deviation of its logarithm.
        measured: What the transfer matrix says alone, at least 0.05; 0 where nothing grew.
    """

    rate: float
    spread: float
    measured: float

    @property
    def jumps(self) -> UpwardJumps:
        """As the solver takes them."""
        return UpwardJumps(self.rate, REACH)


def jump_rate(history: StateHistory, budget: ShellBudget) -> JumpRate:
    """Measure the rate over what is known.

    Args:
        history: Up to the cut; rows after it are not looked at.
        budget: The run's shells.
    """
    first = history.since(WINDOW).start
    rows = slice(first, len(history.times))
    growth = float(history.growth[-1] - history.growth[first])
    matrix = budget.transfer_matrix.transpose("step", "shell", "shell_from").values[rows, 1:-1, 1:-1]
    energy = np.maximum(budget.energy.values[rows].sum(1), np.finfo(np.float64).tiny)
    # Each measured update stands for the time between the middles of its neighbours.
    weight = np.gradient(history.times[rows]) / budget.step_size.values[rows]
    exchange = ((matrix - matrix.transpose(0, 2, 1)) * (weight / energy)[:, None, None]).sum(0)
    width = float(np.log(budget.edges[1:] / budget.edges[:-1]).max())
    shells = np.arange(len(exchange))
    distance = shells[:, None] - shells[None, :]
    far = float(exchange[(distance >= 2) & (distance * width < FARTHEST * np.log(10.0) / 4)].sum())
    share = _far_share(width / REACH)
    if growth <= 0:
        return JumpRate(PRIOR_RATE, PRIOR_SPREAD, 0.0)
    measured = max(far / (share * growth), LEAST_RATE)
    precision = 1.0 / (NOISE**2 + (LEAST_GROWTH / growth) ** 2), 1.0 / PRIOR_SPREAD**2
    mean = (precision[0] * np.log(measured) + precision[1] * np.log(PRIOR_RATE)) / sum(precision)
    return JumpRate(float(np.exp(mean)), float(sum(precision) ** -0.5), measured)


def _far_share(ratio: float) -> float:
    """Share of exponential jumps that pass over at least one shell, from departures spread evenly over one."""
    return float(-np.expm1(-ratio) / ratio * np.exp(-ratio))
