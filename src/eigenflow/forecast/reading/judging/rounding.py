"""To which quantum the losses of a log are rounded: decimals that were printed, or the bits of a short float.

A loss of 0.0002 that is printed with four decimals is known to a quarter of itself. Its neighbour 0.0005 is no spike,
and no fit can be closer than the rounding's own spread, quantum / sqrt(12).
"""

import numpy as np
from jaxtyping import Float

from eigenflow.core.rounding import WHOLE

__all__ = ["printed_quanta", "rounding_caution"]

# Quanta finer than this share of a loss are not looked for: there a number is a multiple of anything.
FINEST = 1e-5
# How far a stored number may lie off its multiple, relative to itself: 32-bit floats keep seven digits.
STORED = 1e-7
# Losses of one decade (or octave) that must agree on a quantum of their own, and different values among all.
ENOUGH, VALUES = 6, 3
# Places behind the point that are tried, for decimals and for bits.
PLACES = ((10.0, -6, 12), (2.0, -20, 40))
# Of long logs so many losses are looked at.
LOOKED_AT = 10_000
# Share of a loss above which its rounding is said.
COARSE = 0.01


def printed_quanta(losses: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
    """Quantum of each loss, in its unit; 0 where it is printed to five digits or more.

    A fixed number of decimals has one quantum. A fixed number of digits, and short floats (bfloat16), have one for
    every decade or octave. The largest one that all losses of a decade or octave are multiples of is found, where there
    are enough of them; else the one of all losses.

    Args:
        losses: Positive.
    """
    found = np.zeros(len(losses))
    looked = losses[:: max(len(losses) // LOOKED_AT, 1)]
    if len(looked) < ENOUGH or len(np.unique(looked)) < VALUES:
        return found
    for base, least, most in PLACES:
        used = _places(looked, base, least, most)
        group, groups = _decades(looked, base), _decades(losses, base)
        for which in np.unique(groups):
            inside = group == which
            finest = used[inside].max() if inside.sum() >= ENOUGH else used.max()
            if finest <= most:
                mine = groups == which
                found[mine] = np.maximum(found[mine], base ** -float(finest))
    return np.where(found > FINEST * losses, found, 0.0)


def rounding_caution(losses: Float[np.ndarray, " point"], quanta: Float[np.ndarray, " point"]) -> tuple[float, str]:
    """The quantum of the late losses, and what to say of it: nothing where it is below 1 % of their level.

    Args:
        losses: As they were read, in the order of the steps.
        quanta: Of each.
    """
    late = slice(len(losses) - max(len(losses) // 5, min(5, len(losses))), None)
    quantum, level = float(np.median(quanta[late])), float(np.median(losses[late]))
    if quantum <= COARSE * level:
        return quantum, ""
    return quantum, f"losses are rounded to {quantum:.3g} ({quantum / level:.0%} of the level at the end)"


def _decades(losses: np.ndarray, base: float) -> np.ndarray:
    return np.floor(np.log(losses) / np.log(base) + WHOLE).astype(np.int64)


def _places(losses: np.ndarray, base: float, least: int, most: int) -> np.ndarray:
    """Places behind the point that each loss uses (negative before it); one more than `most` where those do not do."""
    scaled = losses[:, None] * base ** np.arange(least, most + 1, dtype=np.float64)
    nearest = np.rint(scaled)
    is_multiple = (nearest >= 1) & (np.abs(scaled - nearest) <= np.minimum(STORED * scaled, 0.01))
    return np.where(is_multiple.any(axis=1), is_multiple.argmax(axis=1) + least, most + 1)
