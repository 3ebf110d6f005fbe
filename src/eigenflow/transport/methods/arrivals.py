"""What a given source has put at a place and time: the integral of S back along the path that ends there."""

import numpy as np
from jaxtyping import Float

from eigenflow.transport.flows.flow import AbstractFlow, rate_of
from eigenflow.transport.flows.paths import accumulated_for_fall, fall
from eigenflow.transport.methods.adaptive_panels import NODES, WEIGHTS, tails
from eigenflow.transport.sources import AbstractSource

__all__ = ["Arrivals"]

Array = Float[np.ndarray, "..."]

# Integrals from the left end of a panel to its nodes, of the interpolant through the nodes.
_INNER = np.polynomial.legendre.legvander(NODES, 7) * WEIGHTS[:, None] * (np.arange(8) + 0.5)
_TO_NODES = np.array(
    [np.polynomial.legendre.legval(NODES, np.polynomial.legendre.legint(row, lbnd=-1)) for row in _INNER]
).T
_RESOLVED = 1e-7
_ROUNDS = 10
_MAX_PANELS = 400
_CHUNK = 512


class Arrivals:
    """Densities per unit ln(lambda) that stem from a source, on a domain.

    Args:
        flow: Drift and dissipation, prepared up to the last time.
        source: The source.
        ends: ln(lambda) at the ends of the domain; paths begin inside.
    """

    def __init__(self, flow: AbstractFlow, source: AbstractSource, ends: tuple[float, float]) -> None:
        self._flow, self._source, self._ends = flow, source, ends
        self._rate = rate_of(flow.dissipation)

    def __call__(
        self, log_eigenvalues: Float[np.ndarray, " point"], times: Float[np.ndarray, " point"]
    ) -> Float[np.ndarray, "2 point"]:
        """Give what is there, and what was dissipated on the way to there, at points and times."""
        result = np.empty((2, len(times)))
        for begin in range(0, len(times), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            result[:, part] = self._chunk(log_eigenvalues[part], times[part])
        return result

    def _chunk(self, x: Array, times: Array) -> Array:
        span = self.spans(x, times)
        # Seen from the arrival, what matters may have happened on any scale of time.
        fastest = float((span * self._rate(np.exp(x))).max(initial=0.0))
        depth = int(np.clip(np.ceil(np.log2(max(fastest, 1.0))) + 2, 2, 60))
        panels = np.unique(np.concatenate([[0.0], 2.0 ** -np.arange(depth + 1), 1.0 - 2.0 ** -np.arange(1.0, 5.0)]))
        for turn in range(_ROUNDS + 1):
            both, wrong = self._along(x, times, span, panels)
            is_open = wrong > _RESOLVED * np.abs(both).max(initial=1e-300)
            if not is_open.any() or turn == _ROUNDS or len(panels) > _MAX_PANELS:
                return both
            panels = np.sort(np.concatenate([panels, 0.5 * (panels[1:] + panels[:-1])[is_open]]))
        raise AssertionError("unreachable")

    def _along(self, x: Array, times: Array, span: Array, panels: Array) -> tuple[Array, Array]:
        half = 0.5 * np.diff(panels)
        back = (panels[:-1, None] + half[:, None] * (1.0 + NODES)).ravel()
        moments = np.maximum(times[:, None] - span[:, None] * back, 0.0)
        passed = self._flow.passed_back(span[:, None], back, moments, times[:, None])
        b = self._flow.b
        origin = np.clip(x[:, None] - fall(x[:, None], passed, b)[0], *self._ends)
        rate = (self._rate(np.exp(origin)) * span[:, None]).reshape(len(x), -1, len(NODES))
        whole = (rate @ WEIGHTS) * half
        before = np.cumsum(whole, axis=1) - whole
        exponent = before[:, :, None] + (rate @ _TO_NODES.T) * half[:, None]
        # d x0 / d x = (lambda0 / lambda)^(b - 1) turns densities at the departure into those here.
        density = self._source.per_log(origin, moments) * np.exp((b - 1.0) * (origin - x[:, None])) * span[:, None]
        density = density.reshape(exponent.shape)
        values = np.stack([density * np.exp(-exponent), -density * np.expm1(-exponent)])
        return (values @ WEIGHTS * half).sum(axis=-1), (tails(values) * half).max(axis=(0, 1))

    def spans(self, x: Array, times: Array) -> Array:
        """Give for how long each path has been in the domain: since it came in through an end, or since t = 0."""
        flow, (low, high) = self._flow, self._ends
        least, most = (accumulated_for_fall(x, x - end, flow.b) for end in (high, low))
        return flow.residence(least, most, times)
