"""exp(A t) for many t from one matrix exponential: a ladder of squarings."""

from math import factorial

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.core.limits import spend, within

__all__ = ["MATRICES", "Propagator", "still_finite"]

# Of the size of the generator, that are held at once while it is made.
MATRICES = 12
# Products of a mass and the few factors of a reconstruction are still numbers.
_LARGEST = 1e250

# The first step s is so short that a Taylor series of this degree serves up to it: with |A| s <= 1/8 its
# rest is 1/8^8 / 9! = 2e-13 of the exponent.
_FIRST = 1.0 / 8.0
_TERMS = 8
# More doublings than this have no meaning in floats, and would not be counted in whole numbers.
_MOST_STEPS = 2.0**62
# Held at once beside the powers, and products of entries in a unit of `spend`.
_MATRICES, _PRODUCTS = 12, 500.0
_FAST = "The fastest rate of drift, dissipation and source together"
_INVERSE = [1.0 / factorial(index) for index in range(_TERMS + 1)]


class Propagator:
    """Products with exp(A t).

    The steps above the first are doubled by squaring, and kept. A duration is a sum of such steps and a
    rest below the first, for which the Taylor series serves.

    Attributes:
        step: The first step, inf if A is zero.

    Args:
        generator: A.
        is_metzler: Whether all entries off the diagonal are >= 0. Then no entry of any product is
            negative: series run over A plus a multiple of 1, which is not negative (uniformisation).
    """

    def __init__(self, generator: Float[np.ndarray, "state state"], is_metzler: bool = False) -> None:
        self._shift = max(0.0, -float(np.diag(generator).min(initial=0.0))) if is_metzler else 0.0
        self._generator = generator
        if is_metzler:
            self._generator = generator + self._shift * np.eye(len(generator))
            # Rounding must not leave a negative diagonal.
            np.fill_diagonal(self._generator, np.maximum(np.diag(self._generator), 0.0))
        size = float(np.abs(self._generator).sum(axis=0).max(initial=0.0))
        if not np.isfinite(size):
            raise NonFiniteError(f"{_FAST} is not finite. Narrow `domain`, or lower `c` or the rates of the source.")
        self.step = _FIRST / size if size > 0 else np.inf
        self._powers: list[np.ndarray] = []

    def apply(
        self, durations: Float[np.ndarray, " column"], state: Float[np.ndarray, " state"]
    ) -> Float[np.ndarray, "state column"]:
        """Carry one state on by each of the durations."""
        if np.isinf(self.step):
            return np.repeat(state[:, None], len(durations), axis=1)
        self._check(float(np.max(durations, initial=0.0)))
        steps = np.floor(durations / self.step * (1 + 1e-14))
        result = self._series(np.maximum(durations - steps * self.step, 0.0), state)
        level, whole = 0, steps.astype(np.int64)
        while np.any(whole >> level):
            chosen = np.flatnonzero((whole >> level) & 1)
            power = self._power(level)
            if len(chosen):
                with np.errstate(over="ignore", invalid="ignore"):
                    result[:, chosen] = still_finite(power @ result[:, chosen])
            level += 1
        return result

    def carry(self, duration: float, state: Float[np.ndarray, " state"]) -> Float[np.ndarray, " state"]:
        """Carry one state on; one product where the duration is the first step times a power of two."""
        if np.isinf(self.step):
            return state
        self._check(duration)
        whole = int(duration / self.step * (1 + 1e-14))
        rest = max(duration - whole * self.step, 0.0) if whole else duration
        if rest > 0:
            state = self._series(np.array([rest]), state)[:, 0]
        for level in range(whole.bit_length()):
            if (whole >> level) & 1:
                with np.errstate(over="ignore", invalid="ignore"):
                    state = still_finite(self._power(level) @ state)
        return state

    def _check(self, duration: float) -> None:
        count, states = duration / self.step, len(self._generator)
        if count >= _MOST_STEPS:
            raise ArgumentError(
                f"{_FAST} times the last of `times` is {count * _FIRST:.1e}, but at most {_MOST_STEPS * _FIRST:.1e} is "
                f"allowed. Ask for earlier times, or narrow `domain`, whose upper end is the fastest."
            )
        levels = max(1, int(count).bit_length())
        within("entries", (levels + _MATRICES) * states**2, f"Exponentials of {states:,} cells on {levels} levels")

    def _power(self, level: int) -> np.ndarray:
        while len(self._powers) <= level:
            spend(len(self._generator) ** 3 / _PRODUCTS)
            with np.errstate(over="ignore", invalid="ignore"):
                power = self._powers[-1] @ self._powers[-1] if self._powers else self._first()
            self._powers.append(still_finite(power))
        return self._powers[level]

    def _first(self) -> np.ndarray:
        """Sum the Taylor series of the first step in cubes, with four products."""
        one = self._generator * self.step
        two = one @ one
        three = two @ one
        unit = np.eye(len(one))
        c = _INVERSE
        high = c[6] * unit + c[7] * one + c[8] * two
        middle = c[3] * unit + c[4] * one + c[5] * two + three @ high
        return (unit + one + c[2] * two + three @ middle) / _truncated(self._shift * self.step)

    def _series(self, rest: Float[np.ndarray, " column"], state: Float[np.ndarray, " state"]) -> np.ndarray:
        terms = [state]
        for index in range(1, _TERMS + 1):
            terms.append((self._generator @ terms[-1]) * (self.step / index))
        share = rest / self.step
        powers = share ** np.arange(_TERMS + 1)[:, None] / _truncated(self._shift * rest)
        return np.array(terms).T @ powers


def _truncated(x: float | np.ndarray) -> float | np.ndarray:
    """Sum the exponential series as far as that of the matrix, so that column sums which are kept are kept exactly."""
    return np.polynomial.polynomial.polyval(x, _INVERSE)


def still_finite(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Give values back, or refuse them.

    Raises:
        NonFiniteError: If masses have grown beyond what doubles hold.
    """
    if not (np.abs(values) < _LARGEST).all():
        raise NonFiniteError(
            "Masses grow beyond what doubles hold before the last of `times`. Ask for earlier times, narrow `domain`, "
            "or lower the source: that of gradient noise grows for ever where (eta / 2m) times the integral of "
            "lambda nu is above 1."
        )
    return values
