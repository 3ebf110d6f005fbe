"""Which kind of schedule logged rates show, and where it ends: least squares of closed forms, the simplest that fits.

A half cosine or a straight line says by its first part already where it ends. How surely is told by the range of ends
that fit as well, up to the rounding of the rates.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import least_squares
from scipy.special import ndtri

from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.resampling import LEVEL
from eigenflow.forecast.outlook import shapes
from eigenflow.forecast.outlook.shapes import Rates, Shape, Steps
from eigenflow.forecast.outlook.stairs import repeated, stairs

__all__ = ["Recognised", "recognise_rates"]

# No form is told from another by less, in units of the peak: an entry stands between two updates.
FINEST, MOST_DIGITS = 5e-5, 6
# A form that misses the rates by more (root mean square, in units of the peak) is not theirs.
WORST = 0.015
# A top that differs by less from the highest rate belongs to it.
TOP = 1e-6
# Usual floors of a cosine, as shares of its peak: they are taken where the rates allow them.
FLOORS = (0.0, 0.1)
# Twice the logarithm of the odds for an end where the log says that the run ends.
EXPECTED = 12.0
# A row may show the rate of the update before it or after it: no end is known better.
BESIDE = 1.5
# Ends of a schedule that are known worse than this are not known.
UNKNOWN = 3.0
# Entries that a fit looks at, ends and beginnings that it tries, and how many entries it takes to err by themselves.
ENTRIES, ENDS, BEGINS, INDEPENDENT = 200, 200, 5, 30


@dataclass(frozen=True, repr=False)
class Recognised(AbstractPrinted):
    """The kind of a schedule, as the rates of its first part show it.

    Attributes:
        kind: "constant", "cosine", "linear", "WSD, linear decay", "inverse square root", "exponential", "steps",
            "cyclic", "warm-up only", or "unknown".
        peak: Highest rate.
        shape: Its closed form in units of the peak; None where only the last rate is known.
        misfit: Root mean square of form minus rates, in units of the peak.
        ends: Update at which it is down, None if it has no end of its own.
        ends_range: 90 % range of it.
        told: In words.
    """

    kind: str
    peak: float
    shape: Shape | None
    misfit: float
    ends: float | None = None
    ends_range: tuple[float, float] | None = None
    told: str = ""

    def _card(self) -> Card:
        rows = [("peak", figure(self.peak)), ("misfit", f"{100 * self.misfit:.2g} % of the peak")]
        if self.ends is not None and self.ends_range is not None:
            low, high = self.ends_range
            rows.append(("ends", f"at update {self.ends:,.0f} [{low:,.0f}, {high:,.0f}]"))
        return Card(f"Learning rates: {self.told or self.kind}", rows)

    @property
    def knows_its_end(self) -> bool:
        """Whether the rates alone say how long the schedule is."""
        return self.ends_range is not None and bool(self.ends_range[1] <= UNKNOWN * self.ends_range[0])

    def rates(self, first: int, last: int) -> Float[np.ndarray, " update"]:
        """The rate of updates first ... last - 1, never negative."""
        if self.shape is None:
            raise ValueError("a schedule that was not recognised has no later rates")
        return np.maximum(self.peak * self.shape.rate(np.arange(first, last, dtype=np.float64)), 0.0)


def recognise_rates(
    steps: Int[np.ndarray, " entry"], rates: Float[np.ndarray, " entry"], *, total: int | None = None, warmup: int = 0
) -> Recognised:
    """Recognise a schedule by rates of its first part.

    Args:
        steps: Updates, increasing.
        rates: The rate of each.
        total: Updates in all, where that is known.
        warmup: Updates of linear warm-up, as far as known.
    """
    places = steps.astype(np.float64)
    peak = float(rates.max())
    top = int(np.argmax(rates >= peak * (1.0 - TOP)))
    if len(rates) >= 3 and top == len(rates) - 1 and rates[0] < 0.9 * peak:
        told = f"warm-up only: the rates rise until the last one, {peak:.4g}"
        return Recognised("warm-up only", peak, None, 0.0, told=told)
    kept = np.unique(np.linspace(top, len(rates) - 1, ENTRIES).round().astype(int))
    seen = _Entries(places[kept], rates[kept] / peak, _begin(places, top, warmup), total, _grain(rates))
    if len(kept) < 3 or np.ptp(seen.y) <= 2 * seen.grain:
        return _recognised(shapes.constant(seen.x, seen.y), peak, seen, None)
    for special in (repeated(places[top:], rates[top:] / peak), stairs(places[top:], rates[top:] / peak)):
        if special is not None:
            return _recognised(special, peak, seen, None)
    allowed = [shape for shape in _candidates(seen) if shape.free < max(len(kept), 2)]
    best = min(allowed, key=seen.score)
    misfit = seen.misfit(best)
    if misfit > max(WORST, 2 * seen.grain):
        told = f"no kind that is known here: the nearest, {best.kind}, misses by {100 * misfit:.2g} % of the peak"
        return Recognised("unknown", peak, None, misfit, told=told)
    return _recognised(best, peak, seen, _range(best, seen))


@dataclass(frozen=True)
class _Entries:
    """The rates from the first highest one on.

    Attributes:
        x: Updates.
        y: Rates, in units of the highest one.
        begin: Where the fall may have begun: a guess, the earliest and the latest update.
        total: Updates in all, where known.
        grain: Error that every form may have.
    """

    x: Steps
    y: Rates
    begin: tuple[float, float, float]
    total: int | None
    grain: float

    def misfit(self, shape: Shape) -> float:
        """Root mean square of form minus rates."""
        return float(np.sqrt(np.mean((shape.rate(self.x) - self.y) ** 2)))

    def score(self, shape: Shape) -> float:
        """Schwarz's criterion, with the grain in every misfit; most schedules end with their run."""
        is_expected = self.total is not None and shape.ends is not None and abs(shape.ends - self.total) < 1.0
        misfit = len(self.x) * float(np.log(self.misfit(shape) ** 2 + self.grain**2))
        return misfit + shape.free * float(np.log(len(self.x))) - (EXPECTED if is_expected else 0.0)

    def ends(self, begin: float, count: int = ENDS) -> Float[np.ndarray, " end"]:
        """Where half a cosine may end: from a quarter of what was seen (its last rate may be held) to far beyond."""
        return begin + max(float(self.x[-1]) - begin, 1.0) * np.geomspace(0.25, shapes.FARTHEST_END, count)


def _begin(steps: Steps, top: int, warmup: int) -> tuple[float, float, float]:
    """Where the fall began: at the end of the warm-up, which is known to the distance of two entries."""
    first = float(steps[top])
    if 0 < warmup <= first:
        return float(warmup), 0.5 * warmup, first
    return (first, float(steps[top - 1]), first) if top else (0.0, 0.0, first)


def _grain(rates: Rates) -> float:
    """Standard deviation of rounding to so many digits, in units of the peak."""
    positive = rates[rates > 0]
    unit = 10.0 ** np.floor(np.log10(positive))
    for digits in range(1, MOST_DIGITS):
        if np.allclose(np.round(positive / unit, digits - 1) * unit, positive, rtol=1e-9, atol=0.0):
            # A digit that is always 0 is no rounding: a few round rates have few digits.
            few = len(np.unique(positive)) <= 10 ** (digits - 1)
            return FINEST if few else max(FINEST, 0.29 * 10.0 ** (1 - digits))
    return FINEST


def _candidates(seen: _Entries) -> Iterator[Shape]:
    x, y, total = seen.x, seen.y, seen.total
    yield shapes.constant(x, y)
    plain = (shapes.linear(x, y, total), shapes.inverse_sqrt(x, y), shapes.exponential(x, y))
    yield from (shape for shape in plain if shape is not None)
    for floor in (*FLOORS, None):
        for fixed in (True, False):
            yield from _cosines(seen, floor, fixed, total) if total is not None else ()
            yield from _cosines(seen, floor, fixed, None)
    yield from shapes.decay_after_plateau(x, y, total)
    yield from shapes.decay_after_plateau(x, y, None) if total is not None else ()


def _cosines(seen: _Entries, floor: float | None, is_begin_known: bool, total: int | None) -> list[Shape]:
    """The half cosine of smallest misfit; grids find it, least squares refine it.

    Args:
        seen: The entries.
        floor: Its last rate as a share of its highest one, None if it is free.
        is_begin_known: Whether it begins at the guess.
        total: Where it ends, None if that is free.
    """
    guess, early, late = seen.begin
    if not is_begin_known and late - early < 1.0:
        return []
    begins = [guess] if is_begin_known else np.linspace(early, late, BEGINS)
    starts = []
    for begin in begins:
        grid = seen.ends(begin) if total is None else np.array([max(float(total), begin + 1.0)])
        squares = shapes.cosine_misfits(seen.x, seen.y, begin, grid, floor)
        starts.append((float(squares.min()), float(begin), float(grid[np.argmin(squares)])))
    _, begin, end = min(starts)
    begin, end = _refined(seen, begin, end, floor, (not is_begin_known, total is None))
    made = shapes.cosine(seen.x, seen.y, begin, end, floor)
    return [] if made is None else [replace(made, free=made.free + (not is_begin_known) + (total is None))]


def _refined(
    seen: _Entries, begin: float, end: float, floor: float | None, is_free: tuple[bool, bool]
) -> tuple[float, float]:
    """Least squares in the beginning and the length, as far as they are free, with the rates' levels solved for."""
    if not any(is_free):
        return begin, end
    low = np.array([seen.begin[1], 0.2])
    high = np.array([seen.begin[2] + 1e-9, 2.0 * shapes.FARTHEST_END])
    length = max(float(seen.x[-1]) - begin, 1.0)
    free = np.array(is_free)
    base = np.array([begin, (end - begin) / length])

    def ends_of(values: np.ndarray) -> tuple[float, float]:
        full = base.copy()
        full[free] = values
        return float(full[0]), float(full[0] + full[1] * length)

    def residual(values: np.ndarray) -> np.ndarray:
        made = shapes.cosine(seen.x, seen.y, *ends_of(values), floor)
        return np.full(len(seen.x), 10.0) if made is None else made.rate(seen.x) - seen.y

    start = np.clip(base, low, high)[free]
    scale = np.array([max(seen.begin[2] - seen.begin[1], 1.0), 1.0])[free]
    found = least_squares(residual, start, bounds=(low[free], high[free]), x_scale=scale, xtol=1e-12, ftol=1e-12)
    return ends_of(found.x)


def _range(shape: Shape, seen: _Entries) -> tuple[float, float] | None:
    """Ends at which the misfit is no larger than chance allows: the likelihood's profile, floors left free."""
    if shape.ends is None or shape.end is None:
        return None
    if seen.total is not None and abs(shape.ends - seen.total) < 1.0:
        return float(seen.total), float(seen.total)
    if shape.kind != "cosine":
        # Of a straight line only the slope is seen: the end follows if it goes to 0, as it is said.
        return shape.ends, shape.ends
    guess, early, late = seen.begin
    grids, misfits = [], []
    for begin in np.unique([guess, *np.linspace(early, late, 4 * BEGINS)]):
        near = begin + (shape.ends - begin) * np.linspace(0.9, 1.1, ENDS)
        grids.append(np.concatenate([seen.ends(begin), near[near > begin]]))
        misfits.append(shapes.cosine_misfits(seen.x, seen.y, begin, grids[-1]))
    grid, squares = np.concatenate(grids), np.concatenate(misfits)
    least = seen.misfit(shape) ** 2
    noise = max(least * len(seen.x) / max(len(seen.x) - 4, 1), seen.grain**2 / 3)
    count = min(len(seen.x), INDEPENDENT)
    allowed = grid[count * (squares - least) <= noise * ndtri((1 + LEVEL) / 2) ** 2]
    return float(min([shape.ends, *allowed])), float(max([shape.ends, *allowed]))


def _recognised(shape: Shape, peak: float, seen: _Entries, ends_range: tuple[float, float] | None) -> Recognised:
    ends = shape.ends
    if ends is not None and ends_range is not None:
        ends = _roundest(ends, *ends_range)
        ends_range = min(ends_range[0], ends), max(ends_range[1], ends)
    told = f"{shape.kind}, {peak:.4g}"
    if shape.begins is not None:
        told += f" until update {shape.begins:,.0f}"
    if ends is not None:
        told += f", down to {peak * (shape.end or 0.0):.3g} at update {ends:,.0f}"
    return Recognised(shape.kind, peak, shape, seen.misfit(shape), ends, ends_range, told)


def _roundest(value: float, low: float, high: float) -> float:
    """The roundest whole number that is within a range, or within a thousandth of the value; people choose those."""
    low, high = max(min(low, value - BESIDE), 0.999 * value), min(max(high, value + BESIDE), 1.001 * value)
    for decimals in range(-12, 1):
        rounded = round(value, decimals)
        if low <= rounded <= high and rounded > 0:
            return float(rounded)
    return float(np.rint(value))
