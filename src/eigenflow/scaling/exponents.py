"""From the exponents of a measured spectrum to the exponents of scaling laws.

With eigenvalues lambda_k ~ k^-capacity and a target energy above mode k that falls as lambda_k^source (the a, b of
[@bordelon2024dynamical]: capacity = b, source = (a - 1) / b), a size N cuts the spectrum at mode N, a time t
at 1 / t, and what lies below the higher frontier is the loss
(equations/exponents.md#size-and-data-exponents).
"""

from dataclasses import dataclass
from enum import StrEnum

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError

__all__ = ["Regime", "ScalingExponents", "scaling_exponents"]


class Regime(StrEnum):
    """How hard the target is for the kernel."""

    HARD = "hard"
    EASY = "easy"
    SUPER_EASY = "super-easy"


@dataclass(frozen=True, repr=False)
class ScalingExponents(FieldsPrinted):
    """Loss exponents that a spectrum predicts.

    Attributes:
        time: L ~ t^-time; for one pass over fresh data t is proportional to D, so it is beta of a table.
        size: L ~ N^-size, alpha of a table.
        samples: L ~ P^-samples for P samples seen until convergence.
        compute: Along the optimal line L ~ C^-compute, C = N t.
        optimal_size: N ~ C^optimal_size on that line.
        regime: Of the target.
    """

    time: float
    size: float
    samples: float
    compute: float
    optimal_size: float
    regime: Regime


def scaling_exponents(capacity: float, source: float, *, is_rich: bool = False) -> ScalingExponents:
    """Predict scaling exponents from capacity and source exponents.

    Args:
        capacity: alpha > 1 in lambda_k ~ k^-alpha (summable trace).
        source: beta > 0: the energy above mode k falls as lambda_k^beta.
        is_rich: Feature learning: the kernel grows with the task, t^(2 / (1 + source)) for source < 1.

    Returns:
        The exponents. In the super-easy regime gradient noise takes over before the optimum: compute = 1 - 1 / (2
        capacity), as in the table of equations/exponents.md#feature-learning-exponents.

    Raises:
        ArgumentError: If `capacity` is not above 1 or `source` not positive.
    """
    if not capacity > 1:
        raise ArgumentError(f"`capacity` must be above 1 (the trace of the operator is finite), but is {capacity:g}.")
    if not source > 0:
        raise ArgumentError(f"`source` must be positive, but is {source:g}.")
    noise = 2.0 - 1.0 / capacity
    regime = Regime.HARD if source < 1 else Regime.EASY if source < noise else Regime.SUPER_EASY
    time = source * max(1.0, 2.0 / (1.0 + source)) if is_rich else source
    # A projection leaves Σ γ/(λ+γ) v², regression its square: a size gains from a source up to 1, samples up to 2.
    size, samples = capacity * min(1.0, source), capacity * min(2.0, source)
    if regime is Regime.HARD:
        optimal = time / (time + size)
        return ScalingExponents(time, size, samples, time * size / (time + size), optimal, regime)
    # The transient (1/N) t^-(1 - 1/alpha) meets t^-beta before the frontier of the size is reached.
    if regime is Regime.EASY:
        optimal = (source - 1 + 1 / capacity) / (source + 1 / capacity)
        return ScalingExponents(time, size, samples, capacity * source / (capacity * source + 1), optimal, regime)
    return ScalingExponents(noise, size, samples, 1.0 - 1.0 / (2.0 * capacity), 0.5, regime)
