"""The Kato ratio between shells: how fast the operator's motion turns one shell into another.

Between single modes Omega_uv = <phi_v, Mdot phi_u> / (lambda_u - lambda_v) has no bound where eigenvalues are dense.
Between shells a and b, with mean eigenvalues lambda_a and lambda_b, the ratio

    K_ab = ||P_a Mdot P_b||_F / |lambda_a - lambda_b|      [1 / time]

does (equations/hypotheses.md#near-degeneracy), and it does not depend on the choice of eigenvectors. K_ab / sqrt(n_b)
is the root mean square angle per time by which a vector of shell b turns into shell a. Coupling is weak if that angle
is small over an e-fold of time, for the shells that hold the energy.

Source of the perturbation theory: [@kato1966perturbation].
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.core.errors import RunFolderError
from eigenflow.core.grid import coarsen_edges

__all__ = ["KatoRatio", "coarsened_pairs", "kato_ratio"]


@dataclass(frozen=True)
class KatoRatio:
    """Kato ratios of the measured updates.

    Attributes:
        times: Ends of the updates.
        step_size: Their lengths.
        edges: Edges of the shells.
        ratio: K_ab (time, shell, shell_from), 1 / time; 0 on the diagonal and where a shell is empty.
        angle: t sqrt(sum_b E_b sum_a K_ab^2 / n_b / sum_b E_b): radians an e-fold of time, weighted by energy.
        far_angle: The same, over shells that are not neighbours.
        update_angle: dt instead of t: radians an update.
    """

    times: Float[np.ndarray, " time"]
    step_size: Float[np.ndarray, " time"]
    edges: Float[np.ndarray, " edges"]
    ratio: Float[np.ndarray, "time shell shell_from"]
    angle: Float[np.ndarray, " time"]
    far_angle: Float[np.ndarray, " time"]
    update_angle: Float[np.ndarray, " time"]


def kato_ratio(data: xr.Dataset, *, shells_per_decade: int = 4) -> KatoRatio:
    """Compute the Kato ratios from the stored coupling matrices.

    Args:
        data: Measurements of a run.
        shells_per_decade: 1, 2, 4, 8 or 16. Wider shells have larger gaps.

    Raises:
        RunFolderError: If the run does not hold `coupling_matrix`; runs of tracked modes do not.
        ArgumentError: If `shells_per_decade` does not divide 16.
    """
    if "coupling_matrix" not in data:
        raise RunFolderError(
            "The run does not hold `coupling_matrix` (||P_a Mdot P_b||_F^2 between shells), so there is no Kato ratio. "
            "The dense method records it: Recorder(..., method='dense')."
        )
    kept = coarsen_edges(data["edge"].values, shells_per_decade)
    pairs = coarsened_pairs(data["coupling_matrix"].transpose("step", "shell", "shell_from").values, kept)
    starts = _starts(kept)
    count, total, energy = (
        np.add.reduceat(data[name].transpose("step", "shell").values, starts, axis=1)
        for name in ("mode_count", "eigenvalue_sum", "energy")
    )
    held = count > 0
    mean = total / np.where(held, count, 1.0)
    gap = np.abs(mean[:, :, None] - mean[:, None, :])
    size = gap.shape[1]
    apart = np.abs(np.arange(size)[:, None] - np.arange(size)[None, :])
    is_pair = held[:, :, None] & held[:, None, :] & (apart > 0) & (gap > 0)
    ratio = np.where(is_pair, np.sqrt(pairs) / np.where(is_pair, gap, 1.0), 0.0)
    times, lengths = (data["time"] + data["step_size"]).values, data["step_size"].values
    rates = [
        np.sqrt((energy / np.where(held, count, 1.0) * (ratio**2 * kind).sum(1)).sum(1) / energy.sum(1))
        for kind in (apart > 0, apart > 1)
    ]
    return KatoRatio(
        times, lengths, data["edge"].values[kept], ratio, times * rates[0], times * rates[1], lengths * rates[0]
    )


def coarsened_pairs(values: Float[np.ndarray, "time fine fine"], kept: np.ndarray) -> Float[np.ndarray, "time a b"]:
    """Add up squared norms between stored shells to those between wider ones, bounded by the edges `kept`."""
    starts = _starts(kept)
    return np.add.reduceat(np.add.reduceat(values, starts, axis=1), starts, axis=2)


def _starts(kept: np.ndarray) -> np.ndarray:
    """First stored shell of each wider one: stored shell j > 0 begins at edge j - 1."""
    return np.concatenate([[0], kept + 1])
