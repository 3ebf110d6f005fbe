"""What clocks and their common time would be with other modes of the same kind: a bootstrap over modes.

Shells stay, and the modes in them are drawn again, so that the interval is that of a finite number of modes. Each drawn
clock is one step of Newton's method from the measured one: sum_u n_u [E_u exp(-2 lambda_u tau) - later_u] = 0 with n_u
the times that mode u is drawn, exact to first order in the change of tau.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.resampling import block_indices
from eigenflow.theory.effective_time.clocks import Clocks

__all__ = ["DrawnClocks", "draw_clocks", "draw_common"]

TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class DrawnClocks:
    """Bootstrap samples of clocks.

    Attributes:
        times: As in the clocks that they were drawn from.
        taus: Of each clock.
        weights: Of each clock; they add up to 1.
        common: The common time.
    """

    times: Float[np.ndarray, " time"]
    taus: Float[np.ndarray, "draw time clock"]
    weights: Float[np.ndarray, "draw time clock"]
    common: Float[np.ndarray, "draw time"]

    @property
    def spread(self) -> Float[np.ndarray, "draw time"]:
        """Root mean square of tau_u / tau - 1, by weight."""
        return np.sqrt((self.weights * (self.taus / self.common[:, :, None] - 1) ** 2).sum(2))


def draw_clocks(
    clocks: Clocks, rng: np.random.Generator, *, draws: int = 200, last_decade: bool = False
) -> DrawnClocks:
    """Draw clocks with modes resampled in blocks of neighbours.

    Args:
        clocks: As measured.
        rng: For the draws.
        draws: Their number.
        last_decade: Whether only the times of the last decade are wanted.
    """
    when = clocks.last_decade if last_decade else np.ones(len(clocks.times), dtype=bool)
    modes, later, owners = clocks.modes, clocks.modes.later[when], clocks.modes.owners
    counts = _counts(len(modes.rates), rng, draws)
    taus, common = clocks.taus[when], clocks.common[when]
    _, slope = _newton(modes.rates, modes.energies, later, common[:, None])
    moved = _moved(clocks, counts, when)

    own_lag, own_slope = _newton(modes.rates, modes.energies, later, taus[:, owners])
    found, weights = np.empty((draws, *taus.shape)), np.empty((draws, *taus.shape))
    for clock in range(taus.shape[1]):
        inside = owners == clock
        drawn = counts[:, inside]
        below = drawn @ own_slope[:, inside].T
        step = (drawn @ own_lag[:, inside].T) / np.where(below > 0, below, 1.0)
        found[:, :, clock] = taus[:, clock] + step
        weights[:, :, clock] = drawn @ slope[:, inside].T
    weights /= np.maximum(weights.sum(2, keepdims=True), TINY)
    return DrawnClocks(clocks.times[when], found, weights, moved)


def draw_common(clocks: Clocks, rng: np.random.Generator, *, draws: int = 200) -> Float[np.ndarray, "draw time"]:
    """Draw the common time alone, with the same modes as `draw_clocks` would."""
    return _moved(clocks, _counts(len(clocks.modes.rates), rng, draws), np.ones(len(clocks.times), dtype=bool))


def _counts(modes: int, rng: np.random.Generator, draws: int) -> Float[np.ndarray, "draw mode"]:
    """How often each mode is drawn."""
    index = block_indices(modes, rng, draws=draws)
    return np.stack([np.bincount(row, minlength=modes) for row in index]).astype(np.float64)


def _moved(clocks: Clocks, counts: np.ndarray, when: np.ndarray) -> Float[np.ndarray, "draw time"]:
    """The common time of drawn modes."""
    modes, common = clocks.modes, clocks.common[when]
    lag, slope = _newton(modes.rates, modes.energies, modes.later[when], common[:, None])
    return common + (counts @ lag.T) / np.maximum(counts @ slope.T, TINY)


def _newton(
    rates: np.ndarray, energies: np.ndarray, later: np.ndarray, taus: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each mode's part of the excess of energy at tau, and of its slope; both over the whole slope at that time."""
    left = energies * np.exp(-2 * rates * taus)
    slope = 2 * rates * left
    scale = np.maximum(slope.sum(1, keepdims=True), TINY)
    return (left - later) / scale, slope / scale
