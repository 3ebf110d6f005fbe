"""exp(A t) for many t from one matrix exponential: a ladder of squarings."""

import numpy as np
from jaxtyping import Float
from scipy.linalg import expm

__all__ = ["Propagator"]

# The rest below the first step is a Taylor series with |A| times the rest at most this.
_FIRST = 1.0
_TERMS = 18


class Propagator:
    """Products with exp(A t).

    The first step is so short that a Taylor series serves below it; the steps above are doubled by
    squaring, and kept. A duration is a sum of such steps.

    Args:
        generator: A.
        is_metzler: Whether all entries off the diagonal are >= 0. Then no entry of any product is
            negative: series run over A plus a multiple of 1, which is not negative (uniformisation).
    """

    def __init__(self, generator: Float[np.ndarray, "state state"], is_metzler: bool = False) -> None:
        self._shift = max(0.0, -float(np.diag(generator).min(initial=0.0))) if is_metzler else 0.0
        self._generator = generator + self._shift * np.eye(len(generator))
        if is_metzler:
            # Rounding must not leave a negative diagonal.
            np.fill_diagonal(self._generator, np.maximum(np.diag(self._generator), 0.0))
        size = float(np.abs(self._generator).sum(axis=0).max(initial=0.0))
        self._step = _FIRST / size if size > 0 else np.inf
        self._powers: list[np.ndarray] = []

    def apply(
        self, durations: Float[np.ndarray, " column"], states: Float[np.ndarray, "state column"]
    ) -> Float[np.ndarray, "state column"]:
        """Carry each column on by its own duration."""
        if not np.isfinite(self._step):
            return states.copy()
        steps = np.floor(durations / self._step)
        rest = durations - steps * self._step
        result = self._series(rest, states)
        level, whole = 0, steps.astype(np.int64)
        while np.any(whole >> level):
            chosen = np.flatnonzero((whole >> level) & 1)
            power = self._power(level)
            if len(chosen):
                result[:, chosen] = power @ result[:, chosen]
            level += 1
        return result

    def _power(self, level: int) -> np.ndarray:
        while len(self._powers) <= level:
            if self._powers:
                self._powers.append(self._powers[-1] @ self._powers[-1])
            elif self._shift:
                identity = np.eye(len(self._generator))
                self._powers.append(self._series(np.full(len(identity), self._step), identity))
            else:
                self._powers.append(np.asarray(expm(self._step * self._generator)))
        return self._powers[level]

    def _series(self, rest: Float[np.ndarray, " column"], states: Float[np.ndarray, "state column"]) -> np.ndarray:
        term, result = states, states.copy()
        for index in range(1, _TERMS + 1):
            term = (self._generator @ term) * (rest / index)
            result += term
        return result * np.exp(-self._shift * rest)
