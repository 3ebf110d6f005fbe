"""What is rounding, and what would otherwise go by it: results must not depend on the processor's last bits."""

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["EXACT", "ROUNDING", "WHOLE", "above_rounding", "whole_parts"]

# In double precision an energy, or an entry of the operator, is known to about this share of the largest one.
ROUNDING = 1e-13
# Predictions that miss by less than this share are exact up to rounding, and none of them is better than another.
EXACT = 1e-9
# Whole numbers come out of divisions and products a few roundings off.
WHOLE = 1e-9


def above_rounding(losses: Float[np.ndarray, " point"]) -> Bool[np.ndarray, " point"]:
    """Which losses of a run still say something: squared errors below 1e-26 of the largest are those of rounding."""
    largest = losses[np.isfinite(losses)].max(initial=0.0)
    return ~(losses <= ROUNDING**2 * largest)


def whole_parts(length: float, part: float = 1.0) -> int:
    """How many parts cover a length: a length of 3 parts up to rounding is covered by 3, not 4."""
    return int(np.ceil(length / part * (1.0 - WHOLE)))
