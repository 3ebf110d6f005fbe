"""The frontier where characteristics have no closed form: paths are followed numerically."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eigenflow.transport.flows.flow import Dissipation
from eigenflow.transport.flows.path_maps import IntegratedPaths
from eigenflow.transport.methods.frontier import LOST_EXPONENT

__all__ = ["traced_frontier"]

Array = Float[np.ndarray, "..."]

# Paths per output time on the first grid, and in every round between two of them.
PATHS = 129
_SECTIONS = 8
_ROUNDS = 16
# Nothing is left to be sought between arrivals this near in ln(lambda), whose exponents are so much alike: where modes
# pile up at a front, near arrivals have lost very different shares. Departures closer than the last differ by less than
# what followed paths are good to.
_NEAR = 1e-5
_ALIKE = 0.03
_SAME = 1e-11


@dataclass(frozen=True)
class _Paths:
    """Paths of several output times: shape (time, path), departures increasing along each row."""

    start: Float[np.ndarray, "time path"]
    arrival: Float[np.ndarray, "time path"]
    exponent: Float[np.ndarray, "time path"]
    side: Int[np.ndarray, "time path"]

    @property
    def is_past(self) -> np.ndarray:
        """Whether a path is above the frontier: it has lost enough, or has left through the upper end."""
        return (self.side > 0) | ((self.side == 0) & (self.exponent >= LOST_EXPONENT))

    def pick(self, index: np.ndarray) -> "_Paths":
        """Give of each row the paths with these indices, shape (time, picked)."""
        fields = (self.start, self.arrival, self.exponent, self.side)
        return _Paths(*(np.take_along_axis(values, index, axis=1) for values in fields))

    def rows(self, which: np.ndarray) -> "_Paths":
        """Give some of the rows."""
        return _Paths(self.start[which], self.arrival[which], self.exponent[which], self.side[which])


def traced_frontier(
    drift: Any, dissipation: Dissipation, times: Float[np.ndarray, " time"], ends: tuple[float, float]
) -> Float[np.ndarray, " time"]:
    """Find the lowest instantaneous eigenvalue whose path has the attenuation exponent 1.

    Args:
        drift: Anything with `velocity(eigenvalues, times)`.
        dissipation: Factor of lambda, or a rate.
        times: Output times.
        ends: ln(lambda) at the ends of the domain; only paths that stay inside count.

    Returns:
        Eigenvalues, to 1e-8 where the rate is a smooth function of the eigenvalue; inf where no path has lost that
        much or none is left, 0 where all have.
    """
    carried = IntegratedPaths(drift, dissipation, ends)

    def follow(start: Array, until: Array) -> _Paths:
        end = np.repeat(until, start.shape[1])
        found = carried.carry(start.ravel(), np.zeros_like(end), end)
        return _Paths(start, *(values.reshape(start.shape) for values in found))

    grid = follow(np.tile(np.linspace(*ends, PATHS), (len(times), 1)), times)
    first = np.argmax(grid.is_past, axis=1)
    result = np.full(len(times), np.inf)
    # A path from the lower end itself that has lost enough, and is inside, has none below it.
    result[grid.is_past[:, 0] & (grid.side[:, 0] == 0)] = 0.0
    sought = np.flatnonzero(first > 0)
    bracket = grid.rows(sought).pick(first[sought, None] + np.array([-1, 0]))
    for _ in range(_ROUNDS):
        is_open = _is_open(bracket)
        result[sought[~is_open]] = _between(bracket.rows(~is_open))
        sought, bracket = sought[is_open], bracket.rows(is_open)
        if not len(sought):
            return result
        bracket = _narrowed(bracket, follow, times[sought])
    result[sought] = _between(bracket)
    return result


def _is_open(bracket: _Paths) -> np.ndarray:
    inside = (bracket.side == 0).all(axis=1)
    is_alike = bracket.exponent[:, 1] <= (1.0 + _ALIKE) * bracket.exponent[:, 0]
    is_near = inside & is_alike & (np.diff(bracket.arrival, axis=1)[:, 0] <= _NEAR)
    return ~is_near & (np.diff(bracket.start, axis=1)[:, 0] > _SAME * np.maximum(1.0, np.abs(bracket.start[:, 1])))


def _narrowed(bracket: _Paths, follow: Any, times: Array) -> _Paths:
    share = np.linspace(0.0, 1.0, _SECTIONS + 1)[1:-1]
    low, high = bracket.start[:, :1], bracket.start[:, 1:]
    middle = follow(low + (high - low) * share, times)
    names = ("start", "arrival", "exponent", "side")
    parts = [(getattr(bracket, n)[:, :1], getattr(middle, n), getattr(bracket, n)[:, 1:]) for n in names]
    joined = _Paths(*(np.concatenate(part, axis=1) for part in parts))
    first = np.maximum(np.argmax(joined.is_past, axis=1), 1)
    return joined.pick(first[:, None] + np.array([-1, 0]))


def _between(bracket: _Paths) -> Array:
    """Interpolate where both paths are inside; else say whether all that are left have lost enough, or none has."""
    inside = bracket.side == 0
    lost = np.where(inside, bracket.exponent, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.log(LOST_EXPONENT / lost[:, 0]) / np.log(lost[:, 1] / lost[:, 0])
    # A rate that is zero below a threshold has no logarithm there.
    share = np.where(lost[:, 0] > 0, share, 1.0)
    place = bracket.arrival[:, 0] + share * (bracket.arrival[:, 1] - bracket.arrival[:, 0])
    all_have = ~inside[:, 0] & inside[:, 1]
    return np.where(inside.all(axis=1), np.exp(place), np.where(all_have, 0.0, np.inf))
