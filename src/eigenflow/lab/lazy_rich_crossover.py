"""Where a sweep crosses from lazy to rich, and how that moves with the width; slopes of what a sweep measured.

Networks of different seeds are independent, so every number is taken for each seed, and its interval is Student's over
seeds.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from eigenflow.core.checks import check_number
from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.lab.lazy_rich_sweeps import LazyRichSweep

__all__ = ["Crossover", "Slope", "crossover", "slope"]


@dataclass(frozen=True, repr=False)
class Slope(AbstractPrinted):
    """An exponent with its 90 % interval over seeds.

    Attributes:
        value: Mean over seeds.
        interval: Student's; (-inf, inf) for a single seed.
        seeds: How many.
        points: Values of the abscissa in each fit.
    """

    value: float
    interval: tuple[float, float]
    seeds: int
    points: int

    def _card(self) -> Card:
        return Card(f"Slope {interval(self.value, *self.interval)} of {self.seeds} seeds, {self.points} points each")


@dataclass(frozen=True, repr=False)
class Crossover(AbstractPrinted):
    """The output scale alpha* at which a coordinate crosses a threshold, by width.

    Attributes:
        coordinate: Which quantity of a run.
        threshold: Of it.
        widths: Those at which every seed crosses it.
        scales: alpha*, geometric mean over seeds.
        intervals: 90 %, Student's over seeds, of ln(alpha*).
        exponent: Of alpha* in the width; -1/2 is expected in NTK parametrisation. None for fewer than two widths.
        outside: Widths at which a seed does not cross it among the output scales of the sweep.
    """

    coordinate: str
    threshold: float
    widths: tuple[int, ...]
    scales: Float[np.ndarray, " width"]
    intervals: Float[np.ndarray, "width 2"]
    exponent: Slope | None
    outside: tuple[int, ...]

    def _card(self) -> Card:
        rows = [
            (f"width {width}", interval(float(scale), float(ends[0]), float(ends[1])))
            for width, scale, ends in zip(self.widths[:8], self.scales, self.intervals, strict=False)
        ]
        if self.exponent is not None:
            rows.append(("exponent", interval(self.exponent.value, *self.exponent.interval)))
        if self.outside:
            rows.append(("not crossed", ", ".join(map(str, self.outside))))
        return Card(f"Crossover: alpha* at {self.coordinate} = {figure(self.threshold)}", rows)


def crossover(
    sweep: LazyRichSweep,
    *,
    coordinate: str = "relative_change",
    threshold: float | int = 1.0,
    depth: int | None = None,
) -> Crossover:
    """Find where networks of each width cross a threshold, coming from the lazy side (large alpha).

    Args:
        sweep: Of at least two output scales.
        coordinate: A quantity of `LazyRichRun` that falls with alpha: "relative_change", "turn", "test_error", ...
        threshold: > 0. 0.1 and 1 bound the lazy and the rich regime of `theory.lazy_rich`.
        depth: Of the networks, where the sweep has several.

    Raises:
        ArgumentError: If no width crosses it, or the depth must be said.
    """
    threshold = check_number("threshold", threshold, 1e-300)
    depth = _depth(sweep, depth)
    logs: dict[int, np.ndarray] = {}
    widths = sorted({run.width for run in sweep.runs if run.depth == depth})
    for width in widths:
        scales, values = sweep.values(coordinate, width=width, depth=depth)
        found = [_crossing(np.log(scales), np.log(np.maximum(row, 1e-300)), np.log(threshold)) for row in values]
        if all(one is not None for one in found):
            logs[width] = np.array(found, dtype=np.float64)
    if not logs:
        raise ArgumentError(
            f"`threshold` {threshold:g} of {coordinate} is crossed by every seed at no width. Sweep other "
            f"`output_scales`, or take another threshold."
        )
    kept = tuple(logs)
    ends = np.array([_student(one)[1] for one in logs.values()])
    exponent = None
    if len(kept) > 1:
        seeds = min(map(len, logs.values()))
        table = np.stack([one[:seeds] for one in logs.values()])
        exponent = _slopes(np.log(np.array(kept, dtype=np.float64)), table.T)
    means = np.exp([one.mean() for one in logs.values()])
    return Crossover(
        coordinate, threshold, kept, means, np.exp(ends), exponent, tuple(w for w in widths if w not in logs)
    )


def slope(
    sweep: LazyRichSweep, coordinate: str, *, width: int, depth: int | None = None, start: float | int = 10.0
) -> Slope:
    """Exponent of a quantity in alpha, from an output scale on.

    Args:
        sweep: Networks.
        coordinate: A quantity of `LazyRichRun`.
        width: Of the networks.
        depth: Likewise, where the sweep has several.
        start: Smallest alpha of the fit. Below about 10, what is left of the rich regime bends it.

    Raises:
        ArgumentError: If fewer than two output scales are left.
    """
    scales, values = sweep.values(coordinate, width=width, depth=_depth(sweep, depth))
    late = scales >= check_number("start", start, 0.0)
    if late.sum() < 2:
        raise ArgumentError(
            f"`start` = {start:g} leaves {int(late.sum())} output scales of {len(scales)}; a slope needs 2. Sweep "
            f"larger `output_scales`, or start earlier."
        )
    return _slopes(np.log(scales[late]), np.log(np.maximum(values[:, late], 1e-300)))


def _depth(sweep: LazyRichSweep, depth: int | None) -> int:
    there = sorted({run.depth for run in sweep.runs})
    if depth is None and len(there) > 1:
        raise ArgumentError(f"`depth` must say which, as the sweep has {', '.join(map(str, there))}.")
    return there[0] if depth is None else depth


def _crossing(x: np.ndarray, y: np.ndarray, level: float) -> float | None:
    """The largest x at which y falls through a level; None if it does not."""
    falls = np.flatnonzero((y[:-1] >= level) & (y[1:] < level))
    if not len(falls):
        return None
    at = int(falls[-1])
    return float(x[at] + (level - y[at]) / (y[at + 1] - y[at]) * (x[at + 1] - x[at]))


def _slopes(x: np.ndarray, rows: Float[np.ndarray, "seed point"]) -> Slope:
    found = np.polyfit(x, rows.T, 1)[0]
    value, ends = _student(found)
    return Slope(value, ends, len(rows), len(x))


def _student(values: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Mean of independent values and its 90 % interval."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, (-np.inf, np.inf)
    half = float(student.ppf(0.5 * (1.0 + LEVEL), count - 1)) * float(values.std(ddof=1)) / count**0.5
    return mean, (mean - half, mean + half)
