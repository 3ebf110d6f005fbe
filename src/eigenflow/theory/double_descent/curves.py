"""One risk over the logarithm of one axis: its extremes and crossings, by the formula where there is one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
import xarray as xr

from eigenflow.theory.double_descent.surface import PointStatus, RiskSurface

__all__ = ["Curve", "curves"]

POINTS = 33  # evaluated at once between two neighbours, whose distance shrinks sixteenfold
CLOSE = 1e-8  # of neighbours in the end


@dataclass(frozen=True)
class Curve:
    """A risk over the logarithm of an axis.

    Attributes:
        x: ln of the places, increasing.
        risk: There; may be infinite.
        at: The risk at any ln of a place, or None for a table.
        error: Relative, of the risk.
    """

    x: np.ndarray
    risk: np.ndarray
    at: Callable[[np.ndarray], np.ndarray] | None
    error: float = 0.0

    def turning(self) -> list[int]:
        """Indices of maxima and minima inside, of a flat one the middle."""
        with np.errstate(invalid="ignore"):
            rises = np.sign(np.diff(self.risk))  # nan, between infinities, counts as flat
        rises = np.nan_to_num(rises)
        steps = np.flatnonzero(rises)
        return [int(first + 1 + last) // 2 for first, last in pairwise(steps) if rises[first] != rises[last]]

    def extreme(self, place: int, sign: float) -> tuple[float, float, float]:
        """ln of the place of a maximum (sign 1) or minimum (-1) near a point, its error there, and the risk."""
        x, risk = self.x[place], self.risk[place]
        low, high = self.x[place - 1], self.x[place + 1]
        if np.isinf(risk):
            return float(x), 0.0, float(risk)
        while self.at is not None and high - low > CLOSE * max(1.0, abs(x)):
            # The best point stays among those evaluated, so that a narrow peak is never lost.
            half = POINTS // 2 + 1
            tried = np.concatenate([np.linspace(low, x, half), np.linspace(x, high, half)[1:]])
            values = self.at(tried)
            if np.isnan(values).all():
                break
            best = int(np.nanargmax(sign * values))
            if not 0 < best < len(tried) - 1:
                break
            x, risk, low, high = tried[best], values[best], tried[best - 1], tried[best + 1]
            if np.isinf(risk):
                return float(x), 0.0, float(risk)
            # Closer points would differ by less than the risk is sure of.
            if np.max(np.abs(values[[best - 1, best + 1]] - risk)) <= 2.0 * self.error * risk:
                break
        return float(x), float(high - low) if self.at is not None else 0.5 * float(high - low), float(risk)

    def crossing(self, inside: float, outside: float, level: float) -> float:
        """Where the risk passes a level between a place above it and one not above."""
        while self.at is not None and abs(outside - inside) > CLOSE:
            tried = np.linspace(inside, outside, POINTS)
            below = np.flatnonzero(self.at(tried) <= level)
            first = max(int(below[0]) if len(below) else POINTS - 1, 1)
            inside, outside = tried[first - 1], tried[first]
        return 0.5 * (inside + outside)

    def peaks(self) -> Iterator[dict[str, float]]:
        """What is said of every maximum inside."""
        for place in self.turning():
            if not self.is_maximum(place):
                continue
            x, error, height = self.extreme(place, 1.0)
            bases = [self._lowest(place, side) for side in (-1, 1)]
            side = int(np.argmax([risk for _, risk in bases]))
            base = bases[side][1]
            prominence = height - base
            ends = [x, x]
            if np.isfinite(height):
                ends = [self._half(place, x, side, 0.5 * (height + base)) for side in (-1, 1)]
            yield {
                "position": float(np.exp(x)),
                "position_error": float(np.exp(x) * error),
                "height": height,
                "base": base,
                "prominence": prominence,
                "left": float(np.exp(ends[0])),
                "right": float(np.exp(ends[1])),
                "width": ends[1] - ends[0],
                "is_base_at_end": bases[side][0] in (0, len(self.x) - 1),
            }

    def minima(self) -> Iterator[dict[str, float]]:
        """Every minimum inside."""
        for place in self.turning():
            if not self.is_maximum(place):
                x, error, risk = self.extreme(place, -1.0)
                yield {"position": float(np.exp(x)), "position_error": float(np.exp(x) * error), "risk": risk}

    def is_maximum(self, place: int) -> bool:
        """Whether a turning place is a maximum; a flat one differs from its surroundings further away."""
        others = self.risk[:place][self.risk[:place] != self.risk[place]]
        return bool(others[-1] < self.risk[place])

    def _lowest(self, place: int, side: int) -> tuple[int, float]:
        """Index and value of the lowest risk on one side, up to where it exceeds that at a place, or the end."""
        indices = np.arange(place, len(self.x)) if side > 0 else np.arange(place, -1, -1)
        higher = np.flatnonzero(self.risk[indices] > self.risk[place])
        indices = indices[: higher[0]] if len(higher) else indices
        lowest = int(indices[np.argmin(self.risk[indices])])
        if 0 < lowest < len(self.x) - 1 and lowest != place:
            return lowest, self.extreme(lowest, -1.0)[2]
        return lowest, float(self.risk[lowest])

    def _half(self, place: int, x: float, side: int, level: float) -> float:
        """ln of where the risk first falls to a level on one side of a peak."""
        inside = x
        indices = range(place, len(self.x)) if side > 0 else range(place, -1, -1)
        for index in indices:
            if side * (self.x[index] - x) <= 0.0:
                continue
            if self.risk[index] <= level:
                return self._between(inside, index, side, level)
            inside = self.x[index]
        return inside

    def _between(self, inside: float, index: int, side: int, level: float) -> float:
        """The same between two places; of a table by a straight line in logarithms."""
        if self.at is not None:
            return self.crossing(inside, self.x[index], level)
        upper, lower = self.risk[index - side], self.risk[index]
        if not np.isfinite(upper) or upper <= level or lower <= 0.0:
            return 0.5 * (inside + self.x[index])
        share = np.log(upper / level) / np.log(upper / lower)
        return float(self.x[index - side] + share * (self.x[index] - self.x[index - side]))


def curves(surface: RiskSurface, axis: str) -> Iterator[tuple[dict[str, float], Curve]]:
    """Every curve along an axis, with the places of the others."""
    names = [name for name in surface.axes if name != axis]
    risk, error = (values.transpose(*names, axis).values for values in (_known(surface), surface.data["error"]))
    places = surface.data[axis].values
    kept = (places > 0.0) & np.isfinite(places)
    for index in product(*(range(surface.data.sizes[name]) for name in names)):
        others = {name: float(surface.data[name].values[i]) for name, i in zip(names, index, strict=True)}
        used = kept & ~np.isnan(risk[index])
        most = float(error[index][used & np.isfinite(risk[index])].max(initial=0.0))
        yield others, _curve(surface, axis, others, Curve(places[used], risk[index][used], None, most))


def _known(surface: RiskSurface) -> xr.DataArray:
    """The risk where it converged, else not a number."""
    return surface.risk.where(surface.data["status"] != PointStatus.NOT_CONVERGED)


def _curve(surface: RiskSurface, axis: str, others: Mapping[str, float], table: Curve) -> Curve:
    """The curve over ln of the places of a table, with thresholds added and the formula, if there is one."""
    places, risk = table.x, table.risk
    if surface.evaluate is None:
        return replace(table, x=np.log(places))

    def at(x: np.ndarray) -> np.ndarray:
        # Places on either side of a maximum meet in rounding.
        unique, back = np.unique(np.exp(x), return_inverse=True)
        return _known(surface.at(**{**others, axis: unique})).values[back]

    extra = np.setdiff1d(_thresholds(surface, axis, others), places)
    if len(places):
        extra = extra[(extra > places[0]) & (extra < places[-1])]
    if len(places) and len(extra):
        # Not through the logarithm: a threshold is met exactly or not at all.
        there = _known(surface.at(**{**others, axis: extra})).values
        order = np.argsort(np.append(places, extra), kind="stable")
        places, risk = np.append(places, extra)[order], np.append(risk, there)[order]
        places, risk = places[~np.isnan(risk)], risk[~np.isnan(risk)]
    return Curve(np.log(places), risk, at, table.error)


def _thresholds(surface: RiskSurface, axis: str, others: Mapping[str, float]) -> np.ndarray:
    """Places of interpolation thresholds on an axis, where a peak may be narrower than the grid."""
    partner = {"samples": "features", "features": "samples"}.get(axis)
    if partner is None:
        return np.array([])
    known = [{**surface.fixed, **others}.get(partner, np.inf), float(surface.data.attrs.get("modes", np.inf))]
    return np.unique([place for place in known if np.isfinite(place)])
