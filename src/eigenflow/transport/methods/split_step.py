"""One short step of drift and dissipation on cell masses: conservative, never negative.

Inside the cells lie parabolas that are nowhere negative. Departures are cut at the edges of both meshes
(the union mesh), each piece is damped on its own characteristics and added where it arrives. This is
`exact` for a state known by its cells, without an estimate of the error and for one time only.
"""

import numpy as np
from jaxtyping import Float

from eigenflow.transport.motion.flow import Flow
from eigenflow.transport.motion.paths import accumulated_for_fall, fall, panel_rule
from eigenflow.transport.reconstruction import parabolas

__all__ = ["SplitStep"]

Array = Float[np.ndarray, "..."]
_NODES, _WEIGHTS = panel_rule(3)


class SplitStep:
    """Steps on one mesh.

    Args:
        flow: Drift and dissipation, prepared up to the last time.
        log_edges: Edges of the cells in ln(lambda).
    """

    def __init__(self, flow: Flow, log_edges: Float[np.ndarray, " edge"]) -> None:
        self._flow, self._edges = flow, log_edges
        self._is_still = flow.drift.is_constant and flow.drift.c == 0

    def step(
        self, masses: Float[np.ndarray, " cell"], begin: float, end: float
    ) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " 3"]]:
        """Carry masses from one time to another.

        Returns:
            Masses, and what was dissipated and has left below and above.
        """
        if end <= begin:
            return masses, np.zeros(3)
        edges, count = self._edges, len(masses)
        accumulated = self._flow.accumulated(np.array([begin, end]))
        passed = float(accumulated[1] - accumulated[0])
        left, right, arrival = self._pieces(passed)
        half = 0.5 * (right - left)[:, None]
        x = left[:, None] + half * (1.0 + _NODES)
        carried = parabolas(edges, masses)(x) * (half * _WEIGHTS)
        exponent = self._flow.exponent(x, np.array(end), np.array(begin))
        is_leaving = (arrival < 0) | (arrival >= count)
        if is_leaving.any():
            exponent[is_leaving] = self._until_exit(
                x[is_leaving], exponent[is_leaving], passed, end - begin, arrival[is_leaving] < 0
            )
        kept = (carried * np.exp(-exponent)).sum(axis=1)
        arrived = np.bincount(arrival + 1, kept, count + 2)
        lost = -float((carried * np.expm1(-exponent)).sum())
        return arrived[1:-1], np.array([lost, arrived[0], arrived[-1]])

    def _pieces(self, passed: float) -> tuple[Array, Array, np.ndarray]:
        """Give the ends of the pieces, and the cell in which each arrives, -1 below and n above."""
        edges = self._edges
        if self._is_still or passed == 0:
            return edges[:-1], edges[1:], np.arange(len(edges) - 1)
        departures = np.clip(edges - fall(edges, np.array(-passed), self._flow.b)[0], edges[0], edges[-1])
        points = np.concatenate([departures, edges])
        order = np.argsort(points, kind="stable")
        points = points[order]
        arrival = np.cumsum(order < len(edges))[:-1] - 1
        keep = points[1:] > points[:-1]
        return points[:-1][keep], points[1:][keep], arrival[keep]

    def _until_exit(self, x: Array, exponent: Array, passed: float, span: float, is_below: np.ndarray) -> Array:
        """Exponent up to the end of the domain; with c(t) in proportion to the drift passed."""
        drop = x - np.where(is_below, self._edges[0], self._edges[-1])[:, None]
        share = np.clip(accumulated_for_fall(x, drop, self._flow.b) / passed, 0.0, 1.0)
        if self._flow.drift.is_constant:
            return self._flow.exponent(x, share * span)
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(exponent * share, nan=0.0)
