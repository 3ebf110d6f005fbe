"""A power law with a floor through losses of several sizes, L = E + A x^-a, its exponent with an interval.

For each exponent on a grid the best floor and amplitude, both >= 0, follow from weighted least squares with weights
1 / L^2, the law's own (quasi-likelihood of a variance in proportion to the squared mean). The interval is the
profile's: the exponents whose squared misses exceed the least by no more than chance does (Student's t squared). Its
variance is that between repeats where it is known, or that about the law, whichever is larger: losses that scatter less
than they miss the law by are no losses of that law.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from eigenflow.core.checks import check_kind, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.theory.exponents.ranges import ExponentRange
from eigenflow.theory.over_sizes.sweep import SizeSweep

__all__ = ["EXPONENTS", "FitStatus", "SizeLaw", "fit_size_law", "two_terms"]

EXPONENTS = np.geomspace(0.01, 10.0, 1201)
ITERATIONS = 12
TINY = 1e-300
LEAST_SCATTER = 1e-4  # of ln(loss): no measured law is known better
# An interval that ends here is open: a fall so slow, or so fast, is as good as a constant over any sizes.
SLOWEST, FASTEST = 0.015, 8.0


class FitStatus(StrEnum):
    """Whether the sizes fix the exponent."""

    FITTED = "fitted"
    OPEN = "open"
    NO_FALL = "no fall"


@dataclass(frozen=True, repr=False)
class SizeLaw(AbstractPrinted):
    """L = floor + amplitude (x / centre)^-exponent. Ranges are 90 % intervals.

    Attributes:
        status: "open" if the interval of the exponent has no lower or no upper end (the floor can be anything, or a
            step explains the losses as well); "no fall" if the largest size is no better than the smallest.
        exponent: a.
        amplitude: A, the reducible loss at `centre`.
        floor: E.
        centre: Geometric mean of the sizes.
        floor_share: E over the law at the largest size.
        scatter: Standard deviation of ln(mean loss) that the interval is made with.
        misses: Root mean square of ln(mean loss / law).
        sizes: How many.
        runs: How many.
    """

    status: FitStatus
    exponent: ExponentRange
    amplitude: float
    floor: float
    centre: float
    floor_share: float
    scatter: float
    misses: float
    sizes: int
    runs: int

    def losses(self, sizes: Float[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
        """The law at sizes > 0."""
        sizes = real_array("sizes", sizes)
        if not (sizes > 0).all():
            raise ArgumentError("`sizes` must be > 0.")
        return self.floor + self.amplitude * (sizes / self.centre) ** -self.exponent.value

    def _card(self) -> Card:
        return Card(
            f"SizeLaw of {self.runs} runs of {self.sizes} sizes: {self.status}",
            [
                ("exponent", str(self.exponent)),
                ("floor", f"{figure(self.floor)}, {self.floor_share:.0%} of the law at the largest size"),
                ("misses", f"{figure(self.misses, 2)} in ln(loss), scatter {figure(self.scatter, 2)}"),
            ],
        )


def fit_size_law(sweep: SizeSweep) -> SizeLaw:
    """Fit a power law with a floor to mean losses.

    Args:
        sweep: At least 4 sizes.

    Returns:
        The law, with a status.
    """
    check_kind("sweep", sweep, SizeSweep, "a SizeSweep, such as one of `read_sweep`")
    sizes, means = sweep.places, sweep.means
    centre = float(np.exp(np.log(sizes).mean()))
    shapes = (sizes / centre) ** -EXPONENTS[:, None]
    weights = sweep.counts / sweep.counts.mean()
    floors, amplitudes = two_terms(shapes, means, weights)
    misses = np.log(means) - np.log(floors[:, None] + amplitudes[:, None] * shapes)
    squares = (weights * misses**2).sum(1)
    best = int(squares.argmin())
    repeats, freedom = _scatter(sweep, float(squares[best]))
    cut = squares[best] + (float(stdtrit(freedom, (1 + LEVEL) / 2)) * repeats) ** 2
    inside = np.flatnonzero(squares <= cut)
    # One step of the grid further: the interval ends somewhere between.
    low, high = EXPONENTS[max(inside[0] - 1, 0)], EXPONENTS[min(inside[-1] + 1, len(EXPONENTS) - 1)]
    exponent = ExponentRange(float(EXPONENTS[best]), float(low), float(high))
    status = FitStatus.FITTED
    if exponent.lower < SLOWEST or exponent.upper > FASTEST:
        status = FitStatus.OPEN
    if means[-1] >= means[0] or amplitudes[best] <= 0:
        status = FitStatus.NO_FALL
    at_largest = floors[best] + amplitudes[best] * shapes[best, -1]
    return SizeLaw(
        status=status,
        exponent=exponent,
        amplitude=float(amplitudes[best]),
        floor=float(floors[best]),
        centre=centre,
        floor_share=float(floors[best] / at_largest),
        scatter=repeats,
        misses=float(np.sqrt(squares[best] / len(sizes))),
        sizes=len(sizes),
        runs=len(sweep),
    )


def _scatter(sweep: SizeSweep, squares: float) -> tuple[float, int]:
    """Standard deviation of a mean loss about the law, and its degrees of freedom."""
    about = len(sweep.places) - 3
    between, freedom = sweep.scatter()
    of_mean = between / np.sqrt(sweep.counts.mean())
    of_law = np.sqrt(squares / about)
    if freedom and of_mean >= of_law:
        return max(float(of_mean), LEAST_SCATTER), freedom
    return max(float(of_law), LEAST_SCATTER), about


def two_terms(
    shapes: Float[np.ndarray, "law size"], means: Float[np.ndarray, " size"], weights: Float[np.ndarray, " size"]
) -> tuple[Float[np.ndarray, " law"], Float[np.ndarray, " law"]]:
    """Floor E >= 0 and amplitude A >= 0 of E + A shape for each shape, by iterated weighted least squares."""
    # In units in which losses and shapes are about one, so that squares of neither leave the range of floats.
    unit, tops = float(means.mean()), np.maximum(shapes.max(1), TINY)
    means, shapes = means / unit, shapes / tops[:, None]
    model = np.broadcast_to(means, shapes.shape)
    floor = amplitude = np.zeros(len(shapes))
    for _ in range(ITERATIONS):
        w = weights / model**2
        total, sum_z = w.sum(1), (w * shapes).sum(1)
        sum_zz = np.maximum((w * shapes**2).sum(1), TINY)
        sum_y, sum_zy = (w * means).sum(1), (w * shapes * means).sum(1)
        determinant = total * sum_zz - sum_z**2
        safe = np.maximum(determinant, np.maximum(1e-14 * total * sum_zz, TINY))
        floor = (sum_zz * sum_y - sum_z * sum_zy) / safe
        amplitude = (total * sum_zy - sum_z * sum_y) / safe
        alone = sum_zy / sum_zz
        flat = sum_y / total
        amplitude = np.where(floor < 0, alone, amplitude)
        floor = np.where(floor < 0, 0.0, floor)
        floor = np.where(amplitude < 0, flat, floor)
        amplitude = np.maximum(amplitude, 0.0)
        model = np.maximum(floor[:, None] + amplitude[:, None] * shapes, 1e-3 * means)
    return unit * floor, unit * amplitude / tops
