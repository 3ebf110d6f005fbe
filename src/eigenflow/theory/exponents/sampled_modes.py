"""What n samples tell of the population's modes: its scale at each rank, and how far down the modes can be trusted.

Source: [@simon2021eigenlearning] (equations/exponents.md#kernel-gradient-descent), read backwards.
"""

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logsumexp

__all__ = ["population_scales", "trusted_modes"]

DEEPEST = 1.0 / 3.0  # of the samples
LEAK = 0.2  # of a mode's energy may come from modes above it
POINTS_A_DECADE = 40


def population_scales(eigenvalues: Float[np.ndarray, " mode"], samples: int) -> Float[np.ndarray, " mode"]:
    """Give the kappa at which the population has rank - 1/2 degrees of freedom left, for each rank that has one.

    For a population lambda_k ~ k^-alpha they fall as k^-alpha too (up to a factor), without the bend that the sampled
    eigenvalues have from n/10 on. The first 1/2 is Euler and Maclaurin's: a sum over ranks is an integral from 1/2 on.

    Args:
        eigenvalues: Of the sample's operator, positive, decreasing; if fewer than samples, the others count as 0.
        samples: n.

    Returns:
        kappa, decreasing, for ranks from 1 up to those reached.
    """
    logs = np.log(eigenvalues)
    low, high = float(logs[-1]) - np.log(1e3), float(logs[0]) + np.log(1e3)
    ridges = np.linspace(high, low, int((high - low) / np.log(10.0) * POINTS_A_DECADE) + 2)
    lacking = samples - len(eigenvalues)
    freedom, kappas = np.empty(len(ridges)), np.empty(len(ridges))
    for place, ridge in enumerate(ridges):
        freedom[place] = np.sum(expit(logs - ridge))
        inverses = -np.logaddexp(logs, ridge)
        kappas[place] = -logsumexp(np.append(inverses, -ridge), b=np.append(np.ones(len(logs)), lacking))
    ranks = np.arange(1.0, len(eigenvalues) + 1.0)
    ranks = ranks[ranks - 0.5 < freedom[-1]]
    return np.exp(np.interp(np.log(ranks - 0.5), np.log(freedom), kappas))


def trusted_modes(eigenvalues: Float[np.ndarray, " mode"], energies: Float[np.ndarray, " mode"], samples: int) -> int:
    """Give the last rank whose eigenvalue and energy are the population's up to 20 %.

    To first order in 1 / n, mode k of the sample holds lambda_k / (n lambda_i) of the energy of a mode i far above it.
    """
    last = min(len(eigenvalues), max(1, int(DEEPEST * samples)))
    ranks = np.arange(len(eigenvalues))
    sums = np.concatenate([[0.0], np.cumsum(energies / eigenvalues)])
    leaked = eigenvalues * sums[ranks // 2] / samples
    # Single energies scatter; means over a third of a rank's size do so less.
    edges = np.minimum(len(eigenvalues), (np.arange(len(eigenvalues)) * 1.25).astype(int) + 2)
    starts = (ranks * 0.8).astype(int)
    whole = np.concatenate([[0.0], np.cumsum(energies)])
    around = (whole[edges] - whole[starts]) / (edges - starts)
    beyond = np.flatnonzero(leaked > LEAK * around)
    beyond = beyond[beyond >= 8]
    return min(last, int(beyond[0])) if beyond.size else last
