"""Maps along characteristics over many time intervals at once, by closed forms or by integration.

Both kinds answer the two questions of a semi-Lagrangian step: where an arrival edge came from, and
what a mode loses until the interval ends or until it reaches an end of the domain.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eigenflow.transport.flows.drift import PowerDrift
from eigenflow.transport.flows.flow import AbstractFlow, Dissipation, rate_of
from eigenflow.transport.flows.paths import fall
from eigenflow.transport.flows.preparation import make_flow
from eigenflow.transport.flows.tracing import trace

__all__ = ["ClosedPaths", "IntegratedPaths", "make_paths"]

Array = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class IntegratedPaths:
    """Paths of any drift, followed numerically."""

    drift: Any
    dissipation: Dissipation
    ends: tuple[float, float]

    def departures(
        self, edges: Float[np.ndarray, " edge"], start: Float[np.ndarray, " step"], end: Float[np.ndarray, " step"]
    ) -> Float[np.ndarray, "step edge"]:
        """Give ln(lambda) at `start` of what is on the edges at `end`; the domain end if it came from there."""
        shape = (len(start), len(edges))
        x, late, early = (np.broadcast_to(a, shape).ravel() for a in (edges[None, :], end[:, None], start[:, None]))
        found = trace(self.drift, None, x, late, early, self.ends).x.reshape(shape)
        # Paths do not cross; their roundings may.
        return np.maximum.accumulate(found, axis=1)

    def carry(
        self, x: Float[np.ndarray, " mode"], start: Float[np.ndarray, " mode"], end: Float[np.ndarray, " mode"]
    ) -> tuple[Float[np.ndarray, " mode"], Float[np.ndarray, " mode"], Int[np.ndarray, " mode"]]:
        """Give arrival, exponent, and which end was reached before: -1 lower, 1 upper, 0 none."""
        rate = None if not callable(self.dissipation) and self.dissipation == 0 else rate_of(self.dissipation)
        traced = trace(self.drift, rate, x, start, end, self.ends)
        return traced.x, traced.exponent, traced.side

    def follow(
        self,
        x: Float[np.ndarray, " mode"],
        start: Float[np.ndarray, " mode"],
        end: Float[np.ndarray, " mode"],
        side: Int[np.ndarray, " mode"],
    ) -> tuple[Float[np.ndarray, " mode"], Int[np.ndarray, " mode"]]:
        """Give the exponents until `end`, or until an end of the domain is reached, and which.

        Args:
            x: ln(lambda) at `start`.
            start: Times, one per mode; `end` likewise.
            side: The end that is reached as the departures of the edges have it: -1, 1, or 0 for none.
        """
        _, exponent, found = self.carry(x, start, end)
        # What departs outside the edges' departures has left, whatever a rounding says of a mode.
        return exponent, np.where(side != 0, side, found)


@dataclass(frozen=True)
class ClosedPaths:
    """Paths of v = -c(t) lambda^b, over intervals in which c does not change sign."""

    flow: AbstractFlow
    ends: tuple[float, float]

    def departures(
        self, edges: Float[np.ndarray, " edge"], start: Float[np.ndarray, " step"], end: Float[np.ndarray, " step"]
    ) -> Float[np.ndarray, "step edge"]:
        """Give ln(lambda) at `start` of what is on the edges at `end`; the domain end if it came from there."""
        passed = self.flow.passed(start, end)[:, None]
        return np.clip(edges - fall(edges[None, :], -passed, self.flow.b)[0], *self.ends)

    def follow(
        self,
        x: Float[np.ndarray, " mode"],
        start: Float[np.ndarray, " mode"],
        end: Float[np.ndarray, " mode"],
        side: Int[np.ndarray, " mode"],
    ) -> tuple[Float[np.ndarray, " mode"], Int[np.ndarray, " mode"]]:
        """Give the exponents until `end`, or until the end of the domain on the given side; see above."""
        stays = side == 0
        if stays.all():
            return self.flow.exponent(x, end, start), side
        exponent = np.zeros(len(x))
        exponent[stays] = self.flow.exponent(x[stays], end[stays], start[stays])
        leaves = ~stays
        if self.flow.is_steady:
            drop = x[leaves] - np.where(side[leaves] < 0, *self.ends)
            exponent[leaves] = self.flow.exit_exponent(x[leaves], drop, end[leaves])
        else:
            integrated = IntegratedPaths(self.flow.drift, self.flow.dissipation, self.ends)
            exponent[leaves] = integrated.carry(x[leaves], start[leaves], end[leaves])[1]
        return exponent, side


def make_paths(
    drift: Any, dissipation: Dissipation, horizon: float, ends: tuple[float, float], *, may_turn: bool
) -> tuple[ClosedPaths | IntegratedPaths, Float[np.ndarray, " turn"]]:
    """Choose closed forms where there are any.

    Args:
        drift: `PowerDrift`, or anything with `velocity(eigenvalues, times)`.
        dissipation: Factor of lambda, or a rate.
        horizon: Last time of interest.
        ends: ln(lambda) at the ends of the domain.
        may_turn: Whether an interval may contain a time at which the drift turns.

    Returns:
        The paths, and the times at which intervals must end.
    """
    if isinstance(drift, PowerDrift):
        flow = make_flow(drift, dissipation, horizon)
        if not may_turn or not len(flow.turning_times):
            return ClosedPaths(flow, ends), flow.turning_times
    return IntegratedPaths(drift, dissipation, ends), np.zeros(0)
