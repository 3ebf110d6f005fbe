"""Measured risks over seeds: whether a curve has a peak, where and how high, and what moved it.

Curves of several seeds are averaged in the logarithm: near an interpolation threshold risks have tails so heavy that a
mean says little of a seed. A peak is the most prominent one of `risk_peaks` on the mean curve, with a parabola through
its highest point and both neighbours, in logarithms; base and width are those of the table. Seeds are drawn anew with
replacement; ends of intervals are stretched to the width of Student's distribution, since few seeds spread too little.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from eigenflow.core.checks import real_array
from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.core.resampling import LEVEL

__all__ = ["LEAST", "MeasuredCurve", "PeakMoves", "Ranged", "compare_curves", "measured_curve"]

# A rise and fall by less than this share of the risk is no peak.
LEAST = 0.05
DRAWS = 200

# Estimate, lower and upper end of its 90 % interval.
Ranged = tuple[float, float, float]


@dataclass(frozen=True, repr=False)
class MeasuredCurve(AbstractPrinted):
    """A risk along one axis, averaged over seeds, and its most prominent peak.

    Attributes:
        axis: Along which.
        places: Where it was measured.
        mean: Geometric mean over seeds.
        lower: Lower end of its 90 % interval.
        upper: Upper end.
        shape: "peak", "rises" (a minimum inside, and no fall after it), "falls" (no rise by more than 5 %), "climbs"
            (from the first place on).
        prominence: ln of the peak over the lower one of the risks on both sides that it stands out from least, with
            its 90 % interval. The three places are chosen on the other seeds, so that noise alone gives none.
        seeds: Number of curves.
        top: Index of the highest place of the peak, or of the largest risk from the lowest one on where there is none.
        position: Of the peak, or None.
        height: Of the peak.
        base: Higher one of the lowest risks on both sides.
        width: ln(right / left) of the places where half of the prominence is left.
    """

    axis: str
    places: Float[np.ndarray, " place"]
    mean: Float[np.ndarray, " place"]
    lower: Float[np.ndarray, " place"]
    upper: Float[np.ndarray, " place"]
    shape: str
    prominence: Ranged
    seeds: int
    top: int
    position: Ranged | None = None
    height: Ranged | None = None
    base: float | None = None
    width: Ranged | None = None

    @property
    def verdict(self) -> str:
        """Whether there is a peak: "present" or "absent" (of 5 % or more), or "undecided" between seeds."""
        if self.prominence[1] > 0.0 and self.shape == "peak":
            return "present"
        return "absent" if self.prominence[2] < LEAST else "undecided"

    def _card(self) -> Card:
        rows = [("shape", f"{self.shape}; ln prominence {interval(*self.prominence)}: {self.verdict}")]
        if self.position is not None and self.height is not None and self.width is not None:
            rows += [
                ("position", interval(*self.position)),
                ("height", f"{interval(*self.height)} over {figure(self.base)}"),
                ("width", f"{interval(*self.width)} e-folds"),
            ]
        rows.append(("risk", f"{figure(self.mean.min())} to {figure(self.mean.max())}"))
        return Card(f"MeasuredCurve along {self.axis}: {len(self.places)} places, {self.seeds} seeds", rows)


@dataclass(frozen=True, repr=False)
class PeakMoves(AbstractPrinted):
    """What drift and rotation of the kernel did to a peak: ln(measured / lazy) in three terms that add up.

    Heights are compared at one place, `place`: the measured peak's, else that of the first prediction that has one.
    Positions are compared where both curves have a peak.

    Attributes:
        curves: "measured", "lazy", "drift" and "full".
        place: Where heights are compared.
        height: ln of ratios of the risk there: "drift" (drift only over lazy), "rotation" (full over drift only),
            "quadrature" (measured over full: between recorded steps), and "all" (measured over lazy).
        position: The same of positions; None where a curve has no peak.
    """

    curves: dict[str, MeasuredCurve]
    place: float
    height: dict[str, Ranged]
    position: dict[str, Ranged | None]

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        said = {name: curve.verdict for name, curve in self.curves.items()}
        parts = []
        for name, before, after in (("drift", "lazy", "drift"), ("rotation", "drift", "full")):
            ratio = self.height[name]
            if said[after] == "present" and said[before] != "present":
                done = "makes the peak"
            elif said[after] == "absent" and said[before] == "present":
                done = "removes the peak"
            elif ratio[1] > 0.0 or ratio[2] < 0.0:
                done = f"{'raises' if ratio[0] > 0.0 else 'lowers'} the risk there"
            else:
                done = "leaves the height as it is"
            moved = self.position[name]
            if moved is not None and (moved[1] > 0.0 or moved[2] < 0.0):
                done += f" and moves its place by a factor {_factor(moved)}"
            parts.append(f"{name} {done} (times {_factor(ratio)})")
        return "; ".join(parts)

    def _card(self) -> Card:
        rows = [
            (name, f"{curve.shape}" + (f" at {interval(*curve.position)}" if curve.position else ""))
            for name, curve in self.curves.items()
        ]
        rows += [(f"ln height, {name}", interval(*values)) for name, values in self.height.items()]
        rows += [(f"ln position, {name}", interval(*values)) for name, values in self.position.items() if values]
        return Card(f"PeakMoves along {self.curves['measured'].axis}, at {figure(self.place)}", rows)


def _factor(logs: Ranged) -> str:
    estimate, low, high = (float(np.exp(end)) for end in logs)
    return interval(estimate, low, high)


def measured_curve(
    axis: str,
    places: Float[np.ndarray, " place"],
    risk: Float[np.ndarray, "seed place"],
    rng: np.random.Generator,
) -> MeasuredCurve:
    """Average a risk over seeds and look for its peak.

    Args:
        axis: Its name.
        places: Positive and increasing, three or more.
        risk: Positive and finite, a row a seed, two or more.
        rng: For the draws of seeds.

    Raises:
        ArgumentError: If an array is not allowed, with the reason.
    """
    places, logs = _checked(places, risk)
    return _measured(axis, places, logs, _resampled(len(logs), rng))[0]


def compare_curves(
    axis: str,
    places: Float[np.ndarray, " place"],
    risks: Mapping[str, Float[np.ndarray, "seed place"]],
    rng: np.random.Generator,
) -> PeakMoves:
    """Put the measured peak beside the predicted ones, seed by seed.

    Args:
        axis: Its name.
        places: Positive and increasing.
        risks: "measured", "lazy", "drift" and "full" (see `beside`), the same seeds in each.
        rng: For the draws of seeds.
    """
    logs = {name: _checked(places, values)[1] for name, values in risks.items()}
    draws = _resampled(len(logs["lazy"]), rng)
    found = {name: _measured(axis, places, values, draws) for name, values in logs.items()}
    curves = {name: curve for name, (curve, _) in found.items()}
    where = next((curve for curve in curves.values() if curve.position is not None), curves["measured"]).top
    pairs = {
        "drift": ("drift", "lazy"),
        "rotation": ("full", "drift"),
        "quadrature": ("measured", "full"),
        "all": ("measured", "lazy"),
    }
    height: dict[str, Ranged] = {}
    position: dict[str, Ranged | None] = {}
    for name, (after, before) in pairs.items():
        ratio = logs[after][:, where] - logs[before][:, where]
        low, high = _ends(ratio.mean(), ratio[draws].mean(axis=1), len(ratio))
        height[name] = (float(ratio.mean()), float(low), float(high))
        position[name] = _moved(found[after], found[before])
    return PeakMoves(curves, float(places[where]), height, position)


@dataclass(frozen=True)
class _Peaks:
    """The most prominent peak of each of several curves, in logarithms; `prominence` says whether it is one."""

    place: np.ndarray
    prominence: np.ndarray
    position: np.ndarray
    height: np.ndarray
    base: np.ndarray
    width: np.ndarray

    @property
    def are_there(self) -> np.ndarray:
        return self.prominence > LEAST


def _measured(axis: str, places: np.ndarray, logs: np.ndarray, draws: np.ndarray) -> tuple[MeasuredCurve, _Peaks]:
    """The mean over seeds with its peak, and the peaks of resampled means."""
    mean, means, seeds = logs.mean(axis=0), logs[draws].mean(axis=1), len(logs)
    ends = np.exp(_ends(mean, means, seeds))
    found, drawn = (_peaks(np.log(places), curves) for curves in (mean[None], means))
    ranged: dict[str, Ranged] = {}
    if found.are_there[0]:
        for name in ("position", "height", "width"):
            estimate, spread = getattr(found, name)[0], getattr(drawn, name)[drawn.are_there]
            low, high = _ends(estimate, spread if len(spread) else np.array([estimate]), seeds)
            ranged[name] = (float(estimate), float(low), float(high))
        for name in ("position", "height"):
            estimate, low, high = np.exp(ranged[name])
            ranged[name] = (float(estimate), float(low), float(high))
    curve = MeasuredCurve(
        axis=axis,
        places=places,
        mean=np.exp(mean),
        lower=ends[0],
        upper=ends[1],
        shape="peak" if ranged else _shape(mean),
        prominence=_prominence(logs),
        seeds=seeds,
        top=int(found.place[0]) if ranged else _highest_after_lowest(mean),
        base=float(np.exp(found.base[0])) if ranged else None,
        **ranged,
    )
    return curve, drawn


def _prominence(logs: Float[np.ndarray, "seed place"]) -> Ranged:
    """How far the peak stands out, each seed at places chosen on the others, with Student's interval."""
    contrasts = []
    for seed, own in enumerate(logs):
        others = np.delete(logs, seed, axis=0).mean(axis=0)
        lowest = [
            (others[:place].argmin(), place, place + 1 + others[place + 1 :].argmin())
            for place in range(1, len(others) - 1)
        ]
        left, place, right = max(lowest, key=lambda at: others[at[1]] - max(others[at[0]], others[at[2]]))
        contrasts.append((own[place] - own[left], own[place] - own[right]))
    sides = np.array(contrasts)
    least = sides[:, sides.mean(axis=0).argmin()]
    half = stdtrit(len(logs) - 1, 0.5 + LEVEL / 2) * least.std(ddof=1) / np.sqrt(len(logs))
    return float(least.mean()), float(least.mean() - half), float(least.mean() + half)


def _moved(after: tuple[MeasuredCurve, _Peaks], before: tuple[MeasuredCurve, _Peaks]) -> Ranged | None:
    """Difference of ln(position), where both mean curves have a peak."""
    first, second = after[0].position, before[0].position
    if first is None or second is None:
        return None
    estimate = float(np.log(first[0] / second[0]))
    both = after[1].are_there & before[1].are_there
    spread = (after[1].position - before[1].position)[both]
    low, high = _ends(estimate, spread if len(spread) else np.array([estimate]), after[0].seeds)
    return estimate, float(low), float(high)


def _checked(places: np.ndarray, risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places, risk = real_array("places", places), real_array("risk", risk)
    if places.ndim != 1 or len(places) < 3 or not (np.diff(places) > 0).all() or not places[0] > 0:
        raise ArgumentError(f"`places` must be three or more increasing numbers > 0, but are {places}.")
    if risk.ndim != 2 or risk.shape[1] != len(places) or len(risk) < 2:
        raise ShapeError(
            f"`risk` must have a row for each of two or more seeds and a column for each of the {len(places)} places, "
            f"but has shape {risk.shape}."
        )
    if not np.isfinite(risk).all() or not (risk > 0).all():
        raise NonFiniteError("`risk` must be positive and finite. Leave out places at which it is zero or infinite.")
    return places, np.log(risk)


def _resampled(seeds: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, seeds, size=(DRAWS, seeds))


def _ends(estimate: np.ndarray | float, draws: np.ndarray, seeds: int) -> np.ndarray:
    """Ends of the interval: quantiles of the draws about the estimate, stretched for the small number of seeds."""
    normal = stdtrit(1e9, 0.5 + LEVEL / 2)
    stretch = stdtrit(seeds - 1, 0.5 + LEVEL / 2) / normal * np.sqrt(seeds / (seeds - 1))
    ends = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    low, high = estimate + stretch * (ends - estimate)
    return np.array([np.minimum(low, estimate), np.maximum(high, estimate)])


def _peaks(x: Float[np.ndarray, " place"], logs: Float[np.ndarray, "curve place"]) -> _Peaks:
    """The most prominent peak of each curve over x.

    At the place that stands highest above the lowest ones on both sides, these are the ones before the curve rises
    above it: beyond a higher place that one would stand out more.
    """
    before = np.minimum.accumulate(logs, axis=1)
    after = np.minimum.accumulate(logs[:, ::-1], axis=1)[:, ::-1]
    bases = np.maximum(before, after)
    place = np.clip((logs - bases).argmax(axis=1), 1, len(x) - 2)
    rows = np.arange(len(logs))
    base, prominence = bases[rows, place], (logs - bases)[rows, place]
    at, height = _vertex(x[place[:, None] + [-1, 0, 1]], logs[rows[:, None], place[:, None] + [-1, 0, 1]])
    level = np.log(0.5 * (np.exp(logs[rows, place]) + np.exp(base)))
    left, right = (_crossing(x, logs, place, level, side) for side in (-1, 1))
    return _Peaks(place, prominence, at, height, base, right - left)


def _vertex(x: Float[np.ndarray, "curve 3"], y: Float[np.ndarray, "curve 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Where the parabola through three points is highest, and how high; the middle point where it is not."""
    left, right = x[:, 0] - x[:, 1], x[:, 2] - x[:, 1]
    down, up = (y[:, 0] - y[:, 1]) / left, (y[:, 2] - y[:, 1]) / right
    second = (up - down) / (right - left)
    first = down - second * left
    is_peak = second < 0.0
    at = np.where(is_peak, -first / (2.0 * np.where(is_peak, second, 1.0)), 0.0)
    at = np.clip(at, left, right)
    return x[:, 1] + at, y[:, 1] + first * at + second * at**2


def _crossing(x: np.ndarray, logs: np.ndarray, place: np.ndarray, level: np.ndarray, side: int) -> np.ndarray:
    """Where each curve first falls to a level on one side of a place, straight lines between points; else the place."""
    steps = side * (np.arange(len(x)) - place[:, None])
    steps = np.where((steps > 0) & (logs <= level[:, None]), steps, len(x))
    rows, falls = np.arange(len(logs)), steps.min(axis=1) < len(x)
    outer = np.where(falls, steps.argmin(axis=1), place)
    inner = np.where(falls, outer - side, place)
    high, low = logs[rows, inner], logs[rows, outer]
    share = np.where(falls, (high - level) / np.where(falls, high - low, 1.0), 0.0)
    return x[inner] + share * (x[outer] - x[inner])


def _highest_after_lowest(logs: Float[np.ndarray, " place"]) -> int:
    lowest = int(logs.argmin())
    return lowest + int(logs[lowest:].argmax())


def _shape(logs: np.ndarray) -> str:
    lowest = int(logs.argmin())
    rise = logs[lowest:].max() - logs[lowest]
    if rise <= LEAST:
        return "falls"
    return "climbs" if lowest == 0 else "rises"
