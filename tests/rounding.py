"""Values as another processor would have computed them: a few last bits off."""

import numpy as np

SEEDS = (0, 1, 2)


def last_bits(values, seed, bits=4):
    """`values` changed by up to `bits` units in the last place, each on its own."""
    values = np.asarray(values, dtype=np.float64)
    moved = np.random.default_rng(seed).integers(-bits, bits + 1, values.shape)
    return values + moved * np.spacing(values)
