"""Many modes as a few: nodes and weights that give sums of smooth functions of ln lambda over all modes.

Modes are gathered in bins of equal width in ln lambda, and the modes of a bin are replaced by the two-point rule that
has their first four moments (in lambda): it integrates cubics exactly, weights are positive and nodes lie within the
bin's range. The relative error of a sum of exp(-lambda t) is of the order of width^4 / 4000.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["grouped"]


def grouped(
    eigenvalues: Float[np.ndarray, " mode"], weights: Float[np.ndarray, " mode"], width: float
) -> tuple[Float[np.ndarray, " node"], Float[np.ndarray, " node"]]:
    """Replace modes by at most two nodes a bin.

    Args:
        eigenvalues: Positive, decreasing.
        weights: Of each mode in the sum, >= 0.
        width: Of a bin in ln lambda; 0 keeps all modes.

    Returns:
        Nodes, decreasing, and their weights, > 0. Modes of weight 0 are dropped.
    """
    kept = weights > 0
    values, weights = eigenvalues[kept], weights[kept]
    if not width > 0 or len(values) <= 2:
        return values, weights
    place = np.floor((np.log(values[0]) - np.log(values)) / width)
    starts = np.flatnonzero(np.diff(place, prepend=-1.0))
    mass = np.add.reduceat(weights, starts)
    # About the bin's first mode and relative to it, so that nothing cancels.
    first = np.repeat(values[starts], np.diff(np.append(starts, len(values))))
    distance = values / first - 1.0
    mean = np.add.reduceat(weights * distance, starts) / mass
    distance = distance - np.repeat(mean, np.diff(np.append(starts, len(values))))
    variance = np.add.reduceat(weights * distance**2, starts) / mass
    third = np.add.reduceat(weights * distance**3, starts) / mass
    is_one = variance <= 1e-28
    spread = np.sqrt(np.where(is_one, 1.0, variance))
    skew = np.where(is_one, 0.0, third / spread**3)
    root = np.sqrt(1.0 + 0.25 * skew**2)
    upper, lower = spread * (0.5 * skew + root), spread * (0.5 * skew - root)
    # upper * lower = -variance, so that both shares are positive and add up to 1.
    upper_share = -lower / (upper - lower)
    nodes = np.stack([1.0 + mean + np.where(is_one, 0.0, upper), 1.0 + mean + np.where(is_one, 0.0, lower)])
    shares = np.stack([np.where(is_one, 1.0, upper_share), np.where(is_one, 0.0, 1.0 - upper_share)])
    found, masses = (nodes * values[starts]).T.ravel(), (shares * mass).T.ravel()
    held = masses > 0
    return found[held], masses[held]
