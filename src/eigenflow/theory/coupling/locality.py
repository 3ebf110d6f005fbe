"""How far in ln(lambda) one update carries energy: the locality of transfer between shells.

From the transfer matrix A, F_ab = A_ab - A_ba is the net energy that shell b gives to shell a. It is antisymmetric and
its rows add up to the transfer of the budget. A transport term v moves energy between neighbouring shells only; what
goes farther is the nonlocal part of S. None of this depends on the choice of eigenvectors.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from eigenflow.core.errors import ArgumentError
from eigenflow.shells import ShellBudget

__all__ = ["Locality", "exchanged", "transfer_locality"]

# Exchange below this share of the whole energy is rounding of the transfer matrix.
ROUNDING = 1e-13
REACH = 0.9


@dataclass(frozen=True)
class Locality:
    """Distances over which measured updates exchanged energy. Decades of lambda throughout.

    Attributes:
        times: Ends of the measured updates that exchanged energy between bounded shells.
        width: Mean distance, weighted by |F|.
        null_width: The same if all pairs of modes turned into each other alike, at any distance and with random signs:
            |F_ab| ~ sqrt(E_a E_b). Only below it is there locality.
        reach: Distance that holds 90 % of |F|.
        beyond: Sum of |F| over shells that are not neighbours.
        near: The same over neighbours.
        dissipated: Energy lost to dissipation by the same update, sum of absolute values over shells.
        open_share: Share of |F| with the two open shells, whose distance is not known; left out above.
        distances: Distances between shells.
        profile: Share of |F| at each distance (time, distance).
        shells_per_decade: Shells in a decade.
    """

    times: Float[np.ndarray, " time"]
    width: Float[np.ndarray, " time"]
    null_width: Float[np.ndarray, " time"]
    reach: Float[np.ndarray, " time"]
    beyond: Float[np.ndarray, " time"]
    near: Float[np.ndarray, " time"]
    dissipated: Float[np.ndarray, " time"]
    open_share: Float[np.ndarray, " time"]
    distances: Float[np.ndarray, " distance"]
    profile: Float[np.ndarray, "time distance"]
    shells_per_decade: int

    @property
    def relative_width(self) -> Float[np.ndarray, " time"]:
        """Width over null width: 1 where distance does not matter, little where only neighbours exchange."""
        return self.width / self.null_width

    @property
    def nonlocal_share(self) -> Float[np.ndarray, " time"]:
        """Exchange beyond neighbours over dissipation."""
        return self.beyond / np.maximum(self.dissipated, np.finfo(np.float64).tiny)

    @property
    def jumping_share(self) -> Float[np.ndarray, " time"]:
        """Exchange beyond neighbours over all exchange between shells."""
        return self.beyond / np.maximum(self.beyond + self.near, np.finfo(np.float64).tiny)


def transfer_locality(budget: ShellBudget) -> Locality:
    """Measure how far the updates of a run carry energy.

    Args:
        budget: As from `shell_budget`; its shell width is the resolution.

    Raises:
        ArgumentError: If no measured update exchanged energy between two bounded shells beyond rounding.
    """
    flow = np.abs(exchanged(budget))
    energy = budget.energy.sum("shell").values
    inner = flow[:, 1:-1, 1:-1]
    whole, kept = flow.sum((1, 2)), inner.sum((1, 2))
    is_used = kept > ROUNDING * energy
    if not is_used.any():
        raise ArgumentError(
            "`budget` holds no update that exchanged energy between two bounded shells beyond rounding, so there is "
            "no distance to measure. Its operator stands still, or all its modes lie in one shell; try more "
            "shells per decade."
        )
    inner, kept, whole = inner[is_used], kept[is_used], whole[is_used]
    positions = np.log10(budget.centres)
    apart = np.abs(positions[:, None] - positions[None, :])
    index = np.abs(np.arange(len(positions))[:, None] - np.arange(len(positions))[None, :])
    profile = np.stack([inner[:, index == k].sum(1) for k in range(1, len(positions))], axis=1) / kept[:, None]
    distances = np.array([apart[index == k].mean() for k in range(1, len(positions))])
    root = np.sqrt(np.maximum(budget.energy.values[is_used, 1:-1], 0.0))
    partners = root[:, :, None] * root[:, None, :] * (index > 0)
    return Locality(
        times=(budget.time + budget.step_size).values[is_used],
        width=(inner * apart).sum((1, 2)) / kept,
        null_width=(partners * apart).sum((1, 2)) / partners.sum((1, 2)),
        reach=distances[(profile.cumsum(1) < REACH - 1e-12).sum(1)],
        beyond=0.5 * inner[:, index > 1].sum(1),
        near=0.5 * inner[:, index == 1].sum(1),
        dissipated=np.abs(budget.dissipation.values[is_used]).sum(1),
        open_share=1.0 - kept / whole,
        distances=distances,
        profile=profile,
        shells_per_decade=round(1.0 / float(np.min(np.diff(positions)))),
    )


def exchanged(budget: ShellBudget) -> Float[np.ndarray, "step shell shell_from"]:
    """F_ab = A_ab - A_ba, the net energy from shell b to shell a by each update."""
    matrix = budget.transfer_matrix.transpose("step", "shell", "shell_from").values
    return matrix - matrix.transpose(0, 2, 1)


def populated(budget: ShellBudget) -> Bool[np.ndarray, "step inner"]:
    """Which bounded shells hold modes and, beyond rounding of their coefficients, energy before each update."""
    least = ROUNDING**2 * budget.energy.sum("shell").values[:, None]
    return (budget.mode_count.values[:, 1:-1] > 0) & (budget.energy.values[:, 1:-1] > least)
