"""Is the drift asymptotically one power? What the best single power leaves of late velocities, strengths free."""

from dataclasses import dataclass

import numpy as np

from eigenflow.closure import Velocities
from eigenflow.closure.law import EXPONENTS, Scaled
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import block_indices, correlated_quantiles

__all__ = ["LateForm", "late_form"]

LATE = 3  # the last third of the measured times
MIN_TIMES = 4


@dataclass(frozen=True)
class LateForm:
    """The drift late in training.

    Attributes:
        b: Exponent of the best power.
        left: Share of the squared velocity that it leaves; 1 is as bad as v = 0.
        interval: Its 90 % interval, over times.
        times: Times behind it.
    """

    b: float
    left: float
    interval: tuple[float, float]
    times: int


def late_form(velocities: Velocities, *, seed: int = 0) -> LateForm:
    """Fit one power to the last third of the measured times.

    Args:
        velocities: As from `shell_velocities` or `rank_velocities`.
        seed: Of the bootstrap.

    Returns:
        What it leaves.

    Raises:
        ArgumentError: If the last third has fewer than 4 times.
    """
    count = len(velocities.times)
    late = velocities.select(np.arange(count) >= count - count // LATE)
    if len(late.times) < MIN_TIMES:
        raise ArgumentError(
            f"`velocities` has {count} measured times, and the last third of them fewer than {MIN_TIMES}. "
            f"Measure more steps."
        )
    data = Scaled.of(late)
    errors = np.stack([data.errors(float(b)) for b in EXPONENTS])
    best = int(errors.sum(1).argmin())
    left, whole = errors[best], (data.scaled**2).sum(1)
    share = float(left.sum() / whole.sum())
    index = block_indices(len(left), np.random.default_rng(seed))
    drawn = left[index].sum(1) / whole[index].sum(1)
    interval = correlated_quantiles(share, drawn, left - share * whole, index)
    return LateForm(float(EXPONENTS[best]), share, (max(0.0, interval[0]), interval[1]), len(left))
