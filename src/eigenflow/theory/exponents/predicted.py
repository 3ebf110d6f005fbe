"""From a measured spectrum and the target's energies in it to the exponents of scaling laws, with intervals.

Leading modes are often no part of a power law. The window begins at the first of the ranks 1, 2, 4, ... from which on
neither the eigenvalues nor the energies bend, as long as a decade of ranks is left. If no such window exists the status
says that there is no power law; exponents are those of the last decade then, and nothing follows from them beyond it.

Modes of n samples are read as the population's, down to a third of n (`readings`).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_whole, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.theory.exponents.bends import Z90, verdict_of
from eigenflow.theory.exponents.power_spectrum import MIN_MODES
from eigenflow.theory.exponents.ranges import ExponentRange
from eigenflow.theory.exponents.readings import PopulationModes, Reading, SampledModes
from eigenflow.theory.exponents.resources import ResourceRanges, resource_ranges
from eigenflow.theory.task_spectrum import require_decreasing, require_finite

__all__ = ["PowerStatus", "PredictedExponents", "predict_exponents"]

SPAN = 10.0  # of ranks in the shortest window


class PowerStatus(StrEnum):
    """Whether a power law describes the modes."""

    POWER_LAW = "power law"
    NO_POWER_LAW = "no power law"
    UNDECIDED = "undecided"


@dataclass(frozen=True, repr=False)
class PredictedExponents(AbstractPrinted):
    """Exponents that a spectrum and a target predict. Ranges are 90 % intervals.

    Attributes:
        status: Whether the modes follow power laws; "undecided" if chance could hide a change of the exponent by
            half, or the window is shorter than a decade of ranks.
        reason: What decided it.
        capacity: alpha of lambda_k ~ k^-alpha.
        source: beta: the energy beyond mode k falls as lambda_k^beta, and a lazy loss as t^-beta.
        lazy: Exponents in time, width, data and compute with a kernel at rest; None where they have no formula
            (capacity <= 1 or source <= 0).
        rich: The same with a kernel that grows with what is learned.
        capacity_bend: Change of the local capacity from the upper to the lower half of the window, relative.
        source_bend: The same of the exponent of single energies.
        first_rank: Of the window.
        last_rank: Of the window.
        modes: Modes in it.
        decades: Of eigenvalues in it.
        trusted: Last rank that the samples allow; all where `samples` is None.
    """

    status: PowerStatus
    reason: str
    capacity: ExponentRange
    source: ExponentRange
    lazy: ResourceRanges | None
    rich: ResourceRanges | None
    capacity_bend: ExponentRange
    source_bend: ExponentRange
    first_rank: int
    last_rank: int
    modes: int
    decades: float
    trusted: int

    def _card(self) -> Card:
        rows = [
            ("status", f"{self.status}: {self.reason}"),
            (
                "window",
                f"ranks {self.first_rank} to {self.last_rank}, {figure(self.decades, 3)} decades of lambda",
            ),
            ("capacity", str(self.capacity)),
            ("source", str(self.source)),
        ]
        if self.lazy is None or self.rich is None:
            return Card(f"PredictedExponents of {self.modes} modes", [*rows, ("exponents", "none: out of the region")])
        rows += [
            ("time", f"lazy {self.lazy.time}, rich {self.rich.time}"),
            ("width", str(self.lazy.width)),
            ("data", str(self.lazy.data)),
            ("compute", f"lazy {self.lazy.compute}, rich {self.rich.compute}"),
            ("width in compute", f"lazy {self.lazy.optimal_width}, rich {self.rich.optimal_width}"),
            ("target", ", ".join(f"{name} {share:.0%}" for name, share in self.lazy.regimes.items())),
        ]
        return Card(f"PredictedExponents of {self.modes} modes", rows)


def predict_exponents(
    eigenvalues: Float[np.ndarray, " mode"],
    energies: Float[np.ndarray, " mode"],
    *,
    samples: int | None = None,
    window: tuple[int, int] | None = None,
    has_gradient_noise: bool = False,
) -> PredictedExponents:
    """Predict how a loss scales, from the modes alone and before any training.

    Args:
        eigenvalues: Of the operator M or of a kernel, positive, decreasing; only ratios matter. All leading modes, so
            that the place of a mode is its rank.
        energies: Squared coefficients g_u^2 of what is to be learned (at rest: of the first error), >= 0; only ratios
            matter.
        samples: Samples n of which the modes are those, if exponents of the population are wanted (width, data, test
            loss). None where the modes are the population's, or where the loss on these very samples is meant.
        window: First and last rank to use, from 1. By default found as the module says.
        has_gradient_noise: Count the noise of small batches at a constant learning rate.

    Returns:
        Capacity, source and what follows, lazy and rich, with intervals, and whether there is a power law at all.

    Raises:
        ShapeError: If there are not as many energies as eigenvalues.
        NonFiniteError: If a number is not finite.
        ArgumentError: If eigenvalues are not positive or not sorted, energies are negative or all zero, or fewer than
            30 modes can be used.
    """
    values, squares = _checked(eigenvalues, energies)
    modes: PopulationModes | SampledModes = PopulationModes(values, squares)
    if samples is not None:
        count = check_whole("samples", samples, 2, what="number of samples")
        if len(values) > count:
            raise ArgumentError(
                f"`eigenvalues` has {len(values)} modes, more than `samples` = {count}: an operator of one output has "
                f"at most as many modes as samples. Give the number of samples times outputs."
            )
        modes = SampledModes(values, squares, count)
    first, last = _bounds(window, modes.last)
    _refuse_few(last - first + 1, samples)
    reading = modes.read(first, last)
    for start in _starts(last) if window is None else []:
        if "bent" not in _verdicts(reading):
            break
        first, reading = start, modes.read(start, last)
    return _predicted(reading, (first, last), modes.last, has_gradient_noise)


def _verdicts(reading: Reading) -> tuple[str, str]:
    return verdict_of(reading.capacity_bend), verdict_of(reading.source_bend)


def _predicted(reading: Reading, window: tuple[int, int], trusted: int, has_noise: bool) -> PredictedExponents:
    draws = _with_bends(reading)
    lazy = rich = None
    if reading.capacity > 1 and reading.source > 0:
        lazy, rich = (
            resource_ranges(
                reading.capacity, reading.source, draws[0], draws[1], is_rich=is_rich, has_gradient_noise=has_noise
            )
            for is_rich in (False, True)
        )
    status, reason = _status(reading, *window)
    return PredictedExponents(
        status=status,
        reason=reason,
        capacity=ExponentRange.of_draws(reading.capacity, draws[0]),
        source=ExponentRange.of_draws(reading.source, draws[1]),
        lazy=lazy,
        rich=rich,
        capacity_bend=reading.capacity_bend,
        source_bend=reading.source_bend,
        first_rank=window[0],
        last_rank=window[1],
        modes=window[1] - window[0] + 1,
        decades=reading.decades,
        trusted=trusted,
    )


def _status(reading: Reading, first: int, last: int) -> tuple[PowerStatus, str]:
    verdicts = dict(zip(("eigenvalues", "energies"), _verdicts(reading), strict=True))
    bends = {"eigenvalues": reading.capacity_bend, "energies": reading.source_bend}
    for name, verdict in verdicts.items():
        if verdict == "bent":
            return PowerStatus.NO_POWER_LAW, f"the exponent of the {name} changes by {bends[name]} of itself"
    if last < SPAN * first:
        return PowerStatus.UNDECIDED, f"the window spans a factor {last / first:.3g} of ranks, less than {SPAN:g}"
    for name, verdict in verdicts.items():
        if verdict == "unclear":
            return PowerStatus.UNDECIDED, f"the exponent of the {name} may change, by {bends[name]} of itself"
    return PowerStatus.POWER_LAW, f"relative bends {bends['eigenvalues']} and {bends['energies']}"


def _with_bends(reading: Reading) -> Float[np.ndarray, "two draw"]:
    """Draws, widened by a bend beyond chance: the exponent further down is another one, by about as much again."""
    rng = np.random.default_rng(1)
    unit = (reading.capacity, max(reading.source, 0.0) + 1.0 / reading.capacity)
    bends = (reading.capacity_bend, reading.source_bend)
    beyond = [0.5 * max(0.0, abs(b.value) - b.half_width) * u / Z90 for b, u in zip(bends, unit, strict=True)]
    return reading.draws + np.array(beyond)[:, None] * rng.standard_normal(reading.draws.shape)


def _bounds(window: tuple[int, int] | None, trusted: int) -> tuple[int, int]:
    if window is None:
        return 1, trusted
    first = check_whole("window[0]", window[0], 1, what="rank")
    last = check_whole("window[1]", window[1], 1, what="rank")
    if not first < last <= trusted:
        raise ArgumentError(
            f"`window` must be ranks from 1 to {trusted}, the first below the last, but is ({first}, {last}). Ranks "
            f"beyond {trusted} are missing or set by sampling."
        )
    return first, last


def _starts(last: int) -> list[int]:
    found = [2**power for power in range(30) if SPAN * 2**power <= last and last - 2**power + 1 >= MIN_MODES]
    return found or [1]


def _refuse_few(modes: int, samples: int | None) -> None:
    if modes < MIN_MODES:
        why = "" if samples is None else f" Of {samples} samples, a third of as many modes are the population's."
        raise ArgumentError(
            f"`eigenvalues` has {modes} modes to use, but exponents need {MIN_MODES}.{why} Take more samples, or more "
            f"modes."
        )


def _checked(eigenvalues: object, energies: object) -> tuple[Float[np.ndarray, " mode"], Float[np.ndarray, " mode"]]:
    values, squares = real_array("eigenvalues", eigenvalues), real_array("energies", energies)
    for name, array in (("eigenvalues", values), ("energies", squares)):
        if array.ndim != 1 or array.shape != values.shape:
            raise ShapeError(
                f"`{name}` must be one row, with one number for each of the eigenvalues, but has shape {array.shape} "
                f"beside {values.shape}."
            )
        require_finite(name, array)
    if len(values) < MIN_MODES:
        raise ArgumentError(f"`eigenvalues` must have at least {MIN_MODES} modes, but has {len(values)}.")
    require_decreasing(values, zero="Leave out modes that are rounding.", along="`energies`")
    if (squares < 0).any() or not squares.any():
        raise ArgumentError(
            f"`energies` are squares: >= 0 and not all 0, but the least is {squares.min():.3g} and the largest "
            f"{squares.max():.3g}."
        )
    # Only ratios matter; units far from 1 would underflow or overflow in products.
    return values / values[0], squares / squares.max()
