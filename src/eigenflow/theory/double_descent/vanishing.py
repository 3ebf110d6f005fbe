"""At which ridge, noise or time a peak goes.

A peak and the minimum beside it meet and are gone where the slope of the curve, at its extreme between them, touches
zero. On a grid they are lost earlier. So where a curve has no peak on its grid, points are added around those extremes
of the slope that may hide one, before it is said that there is none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eigenflow.core.checks import check_choice, check_kind, check_number
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.curves import Curve, curves
from eigenflow.theory.double_descent.surface import AXES, RiskSurface

__all__ = ["PeakVanishing", "peak_vanishing"]

LEVELS = 3  # each divides the distance of points beside a slope's extreme by 16
BISECTIONS = 200

VanishingStatus = Literal["vanishes", "stays", "absent"]


@dataclass(frozen=True, repr=False)
class PeakVanishing(AbstractPrinted):
    """Where the last peak along an axis goes.

    Attributes:
        axis: The axis along which there is a peak.
        along: What was changed: another axis, or "noise".
        status: "vanishes": at one end only of what was searched is there a peak; "stays": at both; "absent": at none.
        value: Of `along`, where it vanishes; NaN unless it does.
        interval: On one side there is a peak, on the other there is none; NaN likewise.
        position: Of the peak, on the side where it is.
    """

    axis: str
    along: str
    status: VanishingStatus
    value: float
    interval: tuple[float, float]
    position: float

    def _card(self) -> Card:
        found = self.status == "vanishes"
        told = f"{figure(self.value, 7)}, between {figure(self.interval[0], 7)} and {figure(self.interval[1], 7)}"
        return Card(
            f"PeakVanishing along {self.axis}",
            [
                (
                    self.along,
                    told if found else f"the peak {'stays at both ends' if self.status == 'stays' else 'is absent'}",
                ),
                (self.axis, f"peak at {figure(self.position, 5)}"),
            ],
        )


def peak_vanishing(
    surface: RiskSurface,
    axis: str,
    along: str,
    between: tuple[float | int, float | int],
    *,
    tolerance: float | int = 1e-6,
) -> PeakVanishing:
    """Find the ridge, noise, time or size at which the last peak along an axis goes, or comes.

    Args:
        surface: With a formula, and with one place of every axis but `axis`.
        axis: Along which peaks are looked for, between the ends of the surface's own row.
        along: Another axis, or "noise".
        between: Two values of `along`, > 0, to search between.
        tolerance: Of the interval in ln of `along`.

    Returns:
        The place between a value with a peak and one without, by bisection. If peaks come and go several times between
        the ends it is one of those places.

    Raises:
        ArgumentError: If an argument is not allowed.
    """
    check_kind("surface", surface, RiskSurface, "a RiskSurface, such as `random_features_risk` gives")
    if surface.axes != (axis,) or surface.evaluate is None:
        raise ArgumentError(
            f"`surface` must have a formula and one row, `axis`, but has the rows {', '.join(surface.axes) or 'none'}. "
            f"Make it with one number for each of the others."
        )
    check_choice("along", along, [name for name in (*AXES, "noise") if name != axis])
    width = check_number("tolerance", tolerance, 1e-14, 1.0)
    ends = [check_number("between", value, 1e-300, 1e300) for value in between]
    low, high = np.log(min(ends)), np.log(max(ends))

    def peak(log_value: float) -> float | None:
        changed = surface.at(**{along: float(np.exp(log_value))})
        return next((_peak(curve) for _, curve in curves(changed, axis)), None)

    first, last = peak(low), peak(high)
    missing = float("nan")
    if (first is None) == (last is None):
        status: VanishingStatus = "absent" if first is None else "stays"
        return PeakVanishing(axis, along, status, missing, (missing, missing), missing if first is None else first)
    low, high, position = _bisected(peak, low, high, width, first, last)
    interval = float(np.exp(low)), float(np.exp(high))
    return PeakVanishing(axis, along, "vanishes", float(np.exp(0.5 * (low + high))), interval, position)


def _bisected(
    peak: Callable[[float], float | None],
    low: float,
    high: float,
    width: float,
    first: float | None,
    last: float | None,
) -> tuple[float, float, float]:
    """Give an interval with a peak at one end only, and where the peak is there."""
    position = first if first is not None else last
    for _ in range(BISECTIONS):
        if high - low <= width:
            break
        middle = 0.5 * (low + high)
        found = peak(middle)
        position = found if found is not None else position
        low, high = (middle, high) if (found is None) == (first is None) else (low, middle)
    assert position is not None  # one of the ends has a peak
    return low, high, position


def _peak(curve: Curve) -> float | None:
    """Where the highest peak of a curve is, or None."""
    assert curve.at is not None  # asked for above
    x, risk = curve.x, curve.risk
    for _ in range(LEVELS):
        here = Curve(x, risk, None)
        tops = [place for place in here.turning() if here.is_maximum(place)]
        if tops:
            return float(np.exp(x[max(tops, key=lambda place: risk[place])]))
        hidden = _hidden(x, risk)
        if not len(hidden):
            return None
        added = np.concatenate([np.linspace(x[i - 1], x[i + 2], 50)[1:-1] for i in hidden])
        x, order = np.unique(np.append(x, added), return_index=True)
        risk = np.append(risk, curve.at(added))[order]
    return None


def _hidden(x: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Find intervals at which the slope is nearest to the other sign: highest while it falls, lowest while it rises."""
    slope = np.diff(np.log(np.maximum(risk, np.finfo(np.float64).tiny))) / np.diff(x)
    inner = np.arange(1, len(slope) - 1)
    magnitude = np.abs(slope)
    is_least = (magnitude[inner] <= magnitude[inner - 1]) & (magnitude[inner] <= magnitude[inner + 1])
    return inner[is_least]
