"""What a sum over modes would be with other modes of the same kind."""

import numpy as np
from jaxtyping import Float

from eigenflow.core.resampling import block_indices

__all__ = ["mode_counts"]

DRAWS = 60


def mode_counts(modes: int, seed: int, draws: int = DRAWS) -> Float[np.ndarray, "draw mode"]:
    """How often each mode is drawn, in blocks of neighbours in rank.

    Args:
        modes: Their number.
        seed: Of the draws.
        draws: How many.

    Returns:
        Counts that add up to the number of modes in each draw.
    """
    index = block_indices(modes, np.random.default_rng(seed), draws=draws)
    return np.stack([np.bincount(row, minlength=modes) for row in index]).astype(np.float64)
