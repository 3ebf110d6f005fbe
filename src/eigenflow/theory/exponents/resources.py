"""Loss exponents in time, width, data and compute, from the capacity of a kernel and the source of a target.

With eigenvalues lambda_k ~ k^-alpha (alpha the capacity) and an energy of the target beyond mode k that falls as
lambda_k^beta (beta the source), a network of N features trained for a time t on fresh data leaves the sum

    t^-(beta q)  +  N^-(alpha min(1, beta))  +  N^-1 t^-((1 - 1/alpha) q)  +  noise t^-((2 - 1/alpha) q)

with q = 1 where the kernel stays (lazy) and q = max(1, 2 / (1 + beta)) where it grows with what is learned (rich).
P samples seen to convergence leave P^-(alpha min(2, beta)). The best split of compute C = N t is where the falling and
the rising parts meet.

Sources: [@bordelon2024dynamical], with the width's exponent corrected: infinite data and time leave the part of the
target outside of N random features, sum of gamma / (lambda + gamma) w^2, which never falls faster than gamma ~
N^-alpha (equations/exponents.md#size-and-data-exponents); [@bordelon2024feature]
(equations/exponents.md#feature-learning-exponents).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import real_array
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.exponents.ranges import ExponentRange

__all__ = ["NAMES", "ResourceExponents", "ResourceRanges", "TargetRegime", "resource_exponents", "resource_ranges"]

TargetRegime = Literal["hard", "easy", "super-easy"]

NAMES = ("time", "width", "data", "compute", "optimal_width", "optimal_time")
MEANING = {
    "time": "L ~ t^-",
    "width": "L ~ N^-",
    "data": "L ~ P^-",
    "compute": "L ~ C^-",
    "optimal_width": "N ~ C^",
    "optimal_time": "t ~ C^",
}


@dataclass(frozen=True, repr=False)
class ResourceExponents(AbstractPrinted):
    """Exponents of the loss in each resource, all others without bound, and of the best allocation.

    Attributes:
        capacity: alpha.
        source: beta.
        regime: Of the target: hard below beta = 1, super-easy above 2 - 1 / alpha where gradients are noisy.
        is_rich: Whether the kernel grows with what is learned.
        has_gradient_noise: Whether batches are small, so that their noise outlasts an easy target.
        time: L ~ t^-time.
        width: L ~ N^-width.
        data: L ~ P^-data, P samples seen to convergence. Rich as lazy: so in the scalar-head network, which ends at the
            same interpolator; networks in general have none that is known.
        compute: L ~ C^-compute along the best split of C = N t.
        optimal_width: N ~ C^optimal_width there.
        optimal_time: t ~ C^optimal_time there; the two add up to 1.
    """

    capacity: float
    source: float
    regime: TargetRegime
    is_rich: bool
    has_gradient_noise: bool
    time: float
    width: float
    data: float
    compute: float
    optimal_width: float
    optimal_time: float

    def _card(self) -> Card:
        title = f"ResourceExponents: {self.regime} target, {'rich' if self.is_rich else 'lazy'}"
        rows = [("capacity, source", f"{figure(self.capacity)}, {figure(self.source)}")]
        return Card(title, rows + [(name, MEANING[name] + figure(getattr(self, name))) for name in NAMES])


@dataclass(frozen=True, repr=False)
class ResourceRanges(AbstractPrinted):
    """The same exponents with 90 % intervals; fields as in `ResourceExponents`.

    Attributes:
        is_rich: Whether the kernel grows with what is learned.
        time: Of L in t.
        width: Of L in N.
        data: Of L in P.
        compute: Of L in C.
        optimal_width: Of N in C.
        optimal_time: Of t in C.
        regimes: Share of the draws in each regime of the target, of those that are in any.
    """

    is_rich: bool
    time: ExponentRange
    width: ExponentRange
    data: ExponentRange
    compute: ExponentRange
    optimal_width: ExponentRange
    optimal_time: ExponentRange
    regimes: dict[str, float]

    def _card(self) -> Card:
        rows = [(name, f"{MEANING[name]}{getattr(self, name)}") for name in NAMES]
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.regimes.items())
        return Card(f"ResourceRanges, {'rich' if self.is_rich else 'lazy'}", [*rows, ("target", shares)])


def resource_exponents(
    capacity: float | int, source: float | int, *, is_rich: bool = False, has_gradient_noise: bool = False
) -> ResourceExponents:
    """Give the exponents of a task with power-law spectrum and target.

    Args:
        capacity: alpha > 1 in lambda_k ~ k^-alpha.
        source: beta > 0: the target's energy beyond mode k falls as lambda_k^beta. For w_k^2 ~ k^-a it is
            (a - 1) / alpha.
        is_rich: Let the kernel grow with what is learned.
        has_gradient_noise: Count the noise of small batches at a constant learning rate.

    Returns:
        The exponents. On a border of two regimes both formulas agree, and logarithms stand beside the powers.

    Raises:
        NonFiniteError: If a number is not finite.
        ArgumentError: If a number lies outside of its region.
    """
    alpha, beta = _checked(capacity, source)
    if alpha.size != 1 or beta.size != 1:
        raise ShapeError("`capacity` and `source` must be numbers. For draws of them use `resource_ranges`.")
    found = exponents_of(alpha, beta, is_rich, has_gradient_noise)
    regime = _regime(alpha, beta, has_gradient_noise)[0]
    numbers = {name: float(found[name][0]) for name in NAMES}
    return ResourceExponents(float(alpha[0]), float(beta[0]), regime, is_rich, has_gradient_noise, **numbers)


def resource_ranges(
    capacity: float | int,
    source: float | int,
    capacity_draws: Float[np.ndarray, " draw"],
    source_draws: Float[np.ndarray, " draw"],
    *,
    is_rich: bool = False,
    has_gradient_noise: bool = False,
) -> ResourceRanges:
    """Carry the uncertainty of capacity and source through to the exponents.

    The formulas have corners (minima of two powers), so draws go through them one by one, and not a derivative.

    Args:
        capacity: The estimate, > 1.
        source: The estimate, > 0.
        capacity_draws: Draws about it, of its sampling distribution. Those at or below 1 have no exponents and go in
            at 1, where the formulas have limits.
        source_draws: Draws of the source that belong to them; those below 0 go in at 0: a loss that does not fall.
        is_rich: Let the kernel grow with what is learned.
        has_gradient_noise: Count the noise of small batches.

    Raises:
        ShapeError: If the draws do not belong to each other.
        NonFiniteError: If a number is not finite.
        ArgumentError: If an estimate lies outside of its region.
    """
    centre = resource_exponents(capacity, source, is_rich=is_rich, has_gradient_noise=has_gradient_noise)
    draws = real_array("capacity_draws", capacity_draws), real_array("source_draws", source_draws)
    if draws[0].shape != draws[1].shape or draws[0].ndim != 1 or not draws[0].size:
        raise ShapeError(
            f"`capacity_draws` and `source_draws` must be rows of one length, but have shapes {draws[0].shape} and "
            f"{draws[1].shape}. Draw both from one joint distribution."
        )
    for name, array in zip(("capacity_draws", "source_draws"), draws, strict=True):
        if not np.isfinite(array).all():
            raise NonFiniteError(f"`{name}` must be finite, but {np.count_nonzero(~np.isfinite(array))} are not.")
    alpha, beta = np.maximum(draws[0], 1.0), np.maximum(draws[1], 0.0)
    found = exponents_of(alpha, beta, is_rich, has_gradient_noise)
    ranges = {name: ExponentRange.of_draws(getattr(centre, name), found[name]) for name in NAMES}
    words = _regime(alpha, beta, has_gradient_noise)
    shares = {name: words.count(name) / len(words) for name in ("hard", "easy", "super-easy") if name in words}
    return ResourceRanges(is_rich=is_rich, **ranges, regimes=shares)


def exponents_of(
    alpha: Float[np.ndarray, " draw"], beta: Float[np.ndarray, " draw"], is_rich: bool, has_gradient_noise: bool
) -> dict[str, Float[np.ndarray, " draw"]]:
    """Give all exponents, one for each pair; alpha >= 1 and beta >= 0."""
    clock = np.maximum(1.0, 2.0 / (1.0 + beta)) if is_rich else np.ones_like(beta)
    time = clock * (np.minimum(beta, 2.0 - 1.0 / alpha) if has_gradient_noise else beta)
    width = alpha * np.minimum(1.0, beta)
    transient = (1.0 - 1.0 / alpha) * clock
    # With N = C^s: t^-time falls slower the larger s, both other parts faster; the best s is the later crossing.
    frontier = np.divide(time, time + width, out=1.0 / (1.0 + alpha / clock), where=time + width > 0)
    crossing = np.where(time > transient, (time - transient) / (np.maximum(time - transient, 0.0) + 1.0), 0.0)
    share = np.maximum(frontier, crossing)
    return {
        "time": time,
        "width": width,
        "data": alpha * np.minimum(2.0, beta),
        "compute": time * (1.0 - share),
        "optimal_width": share,
        "optimal_time": 1.0 - share,
    }


def _regime(alpha: np.ndarray, beta: np.ndarray, has_gradient_noise: bool) -> list[TargetRegime]:
    is_super = has_gradient_noise & (beta > 2.0 - 1.0 / alpha)
    return ["super-easy" if s else "easy" if b >= 1.0 else "hard" for s, b in zip(is_super, beta, strict=True)]


def _checked(capacity: object, source: object) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]:
    alpha, beta = (np.atleast_1d(real_array(n, v)) for n, v in (("capacity", capacity), ("source", source)))
    for name, array in (("capacity", alpha), ("source", beta)):
        if not np.isfinite(array).all():
            raise NonFiniteError(f"`{name}` must be finite, but is {array[~np.isfinite(array)][0]}.")
    if not (alpha > 1).all():
        raise ArgumentError(
            f"`capacity` must be > 1, but is {alpha.min():g}. At or below 1 the eigenvalues have no finite sum, and "
            f"the exponents depend on how the width cuts them off: use `compute_phase`."
        )
    if not (beta > 0).all():
        raise ArgumentError(
            f"`source` must be > 0, but is {beta.min():g}. At or below 0 the target's energy has no finite sum: no "
            f"power law of the loss follows."
        )
    return alpha, beta
