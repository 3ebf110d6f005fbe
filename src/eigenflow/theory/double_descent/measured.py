"""Measured risks over seeds: whether a curve has a peak, where and how high, and what moved it.

Curves of several seeds are averaged in the logarithm: near an interpolation threshold risks have tails so heavy that a
mean says little of a seed. A peak is that of `risk_peaks` on the mean curve, with a parabola through its highest point
and both neighbours, in logarithms. Seeds are drawn anew with replacement; ends of intervals are stretched to the width
of Student's distribution, since few seeds spread too little.
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
from eigenflow.theory.double_descent.curves import Curve

__all__ = ["LEAST", "SURE", "MeasuredCurve", "PeakMoves", "Ranged", "compare_curves", "measured_curve", "top_of"]

# A rise and fall by less than this share of the risk is no peak.
LEAST = 0.05
# Share of resampled curves that must have a peak, or must not, for a verdict.
SURE = 0.95
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
        share: Of resampled means that have a peak.
        seeds: Number of curves.
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
    share: float
    seeds: int
    position: Ranged | None = None
    height: Ranged | None = None
    base: float | None = None
    width: Ranged | None = None

    @property
    def verdict(self) -> str:
        """Whether there is a peak: "present", "absent", or "undecided" between resampled curves."""
        if self.share >= SURE:
            return "present"
        return "absent" if self.share <= 1.0 - SURE else "undecided"

    @property
    def top(self) -> int:
        """Index of the highest place of the peak, or of the largest risk after the lowest one where there is none."""
        return top_of(self.mean)

    def _card(self) -> Card:
        rows = [("shape", f"{self.shape}; a peak in {self.share:.0%} of resampled means: {self.verdict}")]
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
        have = {name: curve.position is not None for name, curve in self.curves.items()}
        parts = []
        for name, before, after in (("drift", "lazy", "drift"), ("rotation", "drift", "full")):
            ratio = self.height[name]
            done = "makes the peak" if have[after] and not have[before] else "removes the peak"
            if have[after] == have[before]:
                done = "leaves the height as it is"
                if ratio[1] > 0.0 or ratio[2] < 0.0:
                    done = "raises" if ratio[0] > 0.0 else "lowers"
                    done += " the risk there"
            factors = [figure(float(np.exp(end)), 3) for end in ratio]
            parts.append(f"{name} {done} (times {factors[0]} [{factors[1]}, {factors[2]}])")
        return "; ".join(parts)

    def _card(self) -> Card:
        rows = [
            (name, f"{curve.shape}" + (f" at {interval(*curve.position)}" if curve.position else ""))
            for name, curve in self.curves.items()
        ]
        rows += [(f"ln height, {name}", interval(*values)) for name, values in self.height.items()]
        rows += [(f"ln position, {name}", interval(*values)) for name, values in self.position.items() if values]
        return Card(f"PeakMoves along {self.curves['measured'].axis}, at {figure(self.place)}", rows)


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
    draws = _resampled(len(logs), rng)
    means = logs[draws].mean(axis=1)
    mean = logs.mean(axis=0)
    ends = _ends(mean, means, len(logs))
    found, shape = _peak(places, mean), _shape(mean)
    common = {
        "axis": axis,
        "places": places,
        "mean": np.exp(mean),
        "lower": np.exp(ends[0]),
        "upper": np.exp(ends[1]),
        "shape": "peak" if found else shape,
        "share": float((_prominence(means).max(axis=1) > LEAST).mean()),
        "seeds": len(logs),
    }
    if found is None:
        return MeasuredCurve(**common)
    drawn = [peak for peak in (_peak(places, row) for row in means) if peak is not None]
    spread = {name: np.array([peak[name] for peak in drawn] or [found[name]]) for name in found}
    ranged = {}
    for name in ("position", "height", "width"):
        low, high = _ends(np.log(found[name]), np.log(spread[name]), len(logs))
        ranged[name] = (found[name], float(np.exp(low)), float(np.exp(high)))
    return MeasuredCurve(**common, base=found["base"], **ranged)


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
    curves = {name: measured_curve(axis, places, values, rng) for name, values in risks.items()}
    logs = {name: np.log(values) for name, values in risks.items()}
    where = next((curve for curve in curves.values() if curve.position is not None), curves["measured"]).top
    draws = _resampled(len(logs["lazy"]), rng)
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
        position[name] = _moved(places, logs[after], logs[before], draws)
    return PeakMoves(curves, float(places[where]), height, position)


def top_of(mean: Float[np.ndarray, " place"]) -> int:
    """Index of the highest place of the most prominent peak, or of the largest risk from the lowest one on."""
    prominence = _prominence(np.log(mean)[None])[0]
    if prominence.max() > LEAST:
        return int(prominence.argmax())
    lowest = int(mean.argmin())
    return lowest + int(mean[lowest:].argmax())


def _moved(places: np.ndarray, after: np.ndarray, before: np.ndarray, draws: np.ndarray) -> Ranged | None:
    """Difference of ln(position), where both mean curves have a peak."""
    first, second = (_peak(places, logs.mean(axis=0)) for logs in (after, before))
    if first is None or second is None:
        return None
    estimate = float(np.log(first["position"] / second["position"]))
    found = []
    for index in draws:
        pair = [_peak(places, logs[index].mean(axis=0)) for logs in (after, before)]
        if pair[0] is not None and pair[1] is not None:
            found.append(np.log(pair[0]["position"] / pair[1]["position"]))
    low, high = _ends(estimate, np.array(found or [estimate]), len(after))
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


def _prominence(logs: Float[np.ndarray, "curve place"]) -> Float[np.ndarray, "curve place"]:
    """How far each place stands above the lowest one on either side; below zero at the ends and where it is lower."""
    before = np.minimum.accumulate(logs, axis=1)
    after = np.minimum.accumulate(logs[:, ::-1], axis=1)[:, ::-1]
    return logs - np.maximum(before, after)


def _peak(places: np.ndarray, logs: np.ndarray) -> dict[str, float] | None:
    """The most prominent peak of one curve, if it is one."""
    if _prominence(logs[None]).max() <= LEAST:
        return None
    found = max(Curve(np.log(places), np.exp(logs), None).peaks(), key=lambda peak: peak["height"] / peak["base"])
    if found["height"] < (1.0 + LEAST) * found["base"]:
        return None
    place = int(np.argmin(np.abs(places - found["position"])))
    x, y = _vertex(np.log(places[place - 1 : place + 2]), logs[place - 1 : place + 2])
    width = max(found["width"], 1e-9)
    return {"position": float(np.exp(x)), "height": float(np.exp(y)), "base": found["base"], "width": width}


def _vertex(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Where the parabola through three points is highest, and how high."""
    second, first, _ = np.polyfit(x - x[1], y - y[1], 2)
    if not second < 0.0:
        return float(x[1]), float(y[1])
    at = float(np.clip(-first / (2.0 * second), x[0] - x[1], x[2] - x[1]))
    return float(x[1] + at), float(y[1] + first * at + second * at**2)


def _shape(logs: np.ndarray) -> str:
    lowest = int(logs.argmin())
    rise = logs[lowest:].max() - logs[lowest]
    if rise <= LEAST:
        return "falls"
    return "climbs" if lowest == 0 else "rises"
