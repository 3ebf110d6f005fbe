"""Which kind of schedule logged rates show, and where it ends: least squares of closed forms, the simplest that fits.

A half cosine or a straight line says by its first part already where it ends. How surely is told by the range of ends
that fit as well, up to the rounding of the rates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import stats

from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.resampling import LEVEL
from eigenflow.forecast.outlook import shapes
from eigenflow.forecast.outlook.shapes import Rates, Shape, Steps
from eigenflow.forecast.outlook.stairs import repeated, stairs

__all__ = ["Recognised", "recognise_rates"]

# Rates in logs are rounded, and stand between two updates: no form is told from another by less, in units of the peak.
ROUNDING = 3e-4
# A form that misses the rates by more (root mean square, in units of the peak) is not theirs.
WORST = 0.015
# A top that differs by less from the highest rate belongs to it.
TOP = 1e-6
# Usual floors of a cosine, as shares of its peak: they are taken where the rates allow them.
FLOORS = (0.0, 0.1)
# Twice the logarithm of the odds for an end where the log says that the run ends.
EXPECTED = 12.0
# Ends of a schedule that are known worse than this are not known.
UNKNOWN = 3.0
# Entries that a fit looks at, ends that it tries, and of how many entries it believes that they err by themselves.
ENTRIES, GRID, REFINED, INDEPENDENT = 200, 200, 40, 30
# Places before the first entry at which a fall may have begun, where no warm-up is known.
BEGINS = 6


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
        return self.ends_range is not None and self.ends_range[1] <= UNKNOWN * self.ends_range[0]

    def rates(self, first: int, last: int) -> Float[np.ndarray, " update"]:
        """The rate of updates first ... last - 1, never negative."""
        if self.shape is None:
            raise ValueError("a schedule that was not recognised has no later rates")
        return np.maximum(self.peak * self.shape.rate(np.arange(first, last, dtype=np.float64)), 0.0)


def recognise_rates(
    steps: Float[np.ndarray, " entry"], rates: Float[np.ndarray, " entry"], *, total: int | None = None, warmup: int = 0
) -> Recognised:
    """Recognise a schedule by rates of its first part.

    Args:
        steps: Updates, increasing.
        rates: The rate of each.
        total: Updates in all, where that is known.
        warmup: Updates of linear warm-up, as far as known.
    """
    steps, rates = np.asarray(steps, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    peak = float(rates.max())
    top = int(np.argmax(rates >= peak * (1.0 - TOP)))
    if len(rates) >= 3 and top == len(rates) - 1 and rates[0] < 0.9 * peak:
        told = f"warm-up only: the rates rise until the last one, {peak:g}"
        return Recognised("warm-up only", peak, None, 0.0, told=told)
    kept = np.unique(np.linspace(top, len(rates) - 1, ENTRIES).round().astype(int))
    x, y = steps[kept], rates[kept] / peak
    if len(x) < 3 or np.ptp(y) <= 2 * ROUNDING:
        made = replace(shapes.constant(x, y), kind="constant")
        return _recognised(made, peak, x, y, None)
    begins = _begins(x, warmup, is_first=top == 0)
    for special in (repeated(steps[top:], rates[top:] / peak), stairs(steps[top:], rates[top:] / peak)):
        if special is not None:
            return _recognised(special, peak, x, y, None)
    allowed = [shape for shape in _candidates(x, y, begins, total) if shape.free < max(len(x), 2)]
    best = min(allowed, key=lambda shape: _score(shape, x, y, total))
    misfit = _misfit(best, x, y)
    if misfit > WORST:
        told = f"no kind that is known here: the nearest, {best.kind}, misses by {100 * misfit:.2g} % of the peak"
        return Recognised("unknown", peak, None, misfit, told=told)
    return _recognised(best, peak, x, y, _range(best, x, y, begins, total))


def _begins(x: Steps, warmup: int, *, is_first: bool) -> list[float]:
    """Where the fall may have begun: after a warm-up that is known, or somewhere before the first entry."""
    if 0 < warmup <= x[0]:
        return [float(warmup)]
    if is_first and x[0] > 1:
        return np.linspace(0.0, float(x[0]), BEGINS).tolist()
    return [float(x[0])]


def _candidates(x: Steps, y: Rates, begins: Sequence[float], total: int | None) -> Iterator[Shape]:
    yield shapes.constant(x, y)
    plain = (shapes.linear(x, y, total), shapes.inverse_sqrt(x, y), shapes.exponential(x, y))
    yield from (shape for shape in plain if shape is not None)
    for begin in begins:
        if total is not None:
            yield from _cosines(x, y, begin, np.array([float(total)]), free=0)
        yield from _cosines(x, y, begin, _ends(x, begin), free=1)
    yield from shapes.decay_after_plateau(x, y, total)
    yield from shapes.decay_after_plateau(x, y, None) if total is not None else ()


def _ends(x: Steps, begin: float, count: int = GRID) -> Float[np.ndarray, " end"]:
    """Where half a cosine may end: from a quarter of what was seen, since the last rate may be held, to far beyond."""
    seen = max(float(x[-1]) - begin, 1.0)
    return begin + seen * np.geomspace(0.25, shapes.FARTHEST_END, count)


def _cosines(x: Steps, y: Rates, begin: float, ends: Float[np.ndarray, " end"], free: int) -> list[Shape]:
    """Of each floor, and of any, the half cosine whose end fits best, by a grid that is refined three times."""
    found = []
    for floor in (*FLOORS, None):
        grid = ends[ends > begin]
        best = None
        for _ in range(4 if len(grid) > 1 else len(grid)):
            k = int(np.argmin(shapes.cosine_misfits(x, y, begin, grid, floor)))
            best = float(grid[k])
            low, high = float(grid[max(k - 1, 0)]), float(grid[min(k + 1, len(grid) - 1)])
            grid = np.linspace(low, high, REFINED) if len(grid) > 1 else grid
        made = None if best is None else shapes.cosine(x, y, begin, best, floor)
        if made is not None:
            found.append(replace(made, free=made.free + free))
    return found


def _misfit(shape: Shape, x: Steps, y: Rates) -> float:
    return float(np.sqrt(np.mean((shape.rate(x) - y) ** 2)))


def _score(shape: Shape, x: Steps, y: Rates, total: int | None) -> float:
    """Schwarz's criterion, with a misfit that rounding leaves to every form; most schedules end with their run."""
    odds = EXPECTED if total is not None and shape.ends is not None and abs(shape.ends - total) < 1.0 else 0.0
    misfit = len(x) * float(np.log(_misfit(shape, x, y) ** 2 + ROUNDING**2))
    return misfit + shape.free * float(np.log(len(x))) - odds


def _range(shape: Shape, x: Steps, y: Rates, begins: Sequence[float], total: int | None) -> tuple[float, float] | None:
    """Ends at which the misfit is no larger than chance allows: the likelihood's profile, floors left free."""
    if shape.ends is None or shape.end is None:
        return None
    if total is not None and abs(shape.ends - total) < 1.0:
        return float(total), float(total)
    if shape.kind != "cosine":
        # Of a straight line only the slope is seen: the end follows if it goes to 0, as it is said.
        return shape.ends, shape.ends
    grids, misfits = [], []
    for begin in begins:
        near = begin + (shape.ends - begin) * np.linspace(0.9, 1.1, GRID)
        grids.append(np.concatenate([_ends(x, begin, 4 * GRID), near]))
        misfits.append(shapes.cosine_misfits(x, y, begin, grids[-1]))
    grid, squares = np.concatenate(grids), np.concatenate(misfits)
    least = min(float(squares.min()), _misfit(shape, x, y) ** 2)
    noise = max(least * len(x) / max(len(x) - 3, 1), (0.1 * ROUNDING) ** 2)
    count = min(len(x), INDEPENDENT)
    allowed = grid[count * (squares - least) <= noise * stats.chi2.ppf(LEVEL, 1)]
    return min([shape.ends, *allowed]), max([shape.ends, *allowed])


def _recognised(shape: Shape, peak: float, x: Steps, y: Rates, ends_range: tuple[float, float] | None) -> Recognised:
    ends = shape.ends
    if ends is not None and ends_range is not None:
        ends = _roundest(ends, *ends_range)
        ends_range = min(ends_range[0], ends), max(ends_range[1], ends)
    told = f"{shape.kind}, {peak:g}"
    if shape.begins is not None:
        told += f" until update {shape.begins:,.0f}"
    if ends is not None:
        told += f", down to {peak * (shape.end or 0.0):.3g} at update {ends:,.0f}"
    return Recognised(shape.kind, peak, shape, _misfit(shape, x, y), ends, ends_range, told)


def _roundest(value: float, low: float, high: float) -> float:
    """The roundest whole number that is within a range, or within a thousandth of the value; people choose those."""
    low, high = max(min(low, value - 0.5), 0.999 * value), min(max(high, value + 0.5), 1.001 * value)
    for decimals in range(-12, 1):
        rounded = round(value, decimals)
        if low <= rounded <= high and rounded > 0:
            return float(rounded)
    return float(np.rint(value))
