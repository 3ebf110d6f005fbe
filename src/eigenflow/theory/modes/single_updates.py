"""The equations of single modes against what measured updates do to eigenvalues and coefficients."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

__all__ = ["ISOLATED", "SingleUpdates", "single_updates"]

# A mode is isolated if one update rotates it by less than this angle. The mode equations are of first order in
# it, so over a finite update they miss about this share of the change: it has to stay below the band of 0.05.
ISOLATED = 0.03
# Eigenvalues that change by less than this many roundings of the largest one are not compared.
ROUNDINGS = 1e3


@dataclass(frozen=True)
class SingleUpdates:
    """Errors of the mode equations over single updates.

    Attributes:
        eigenvalue_error: Median over isolated modes of the relative error of dt lambda-dot, at updates that have any.
        coefficient_error: Of g + dg by the Kato couplings, relative to the measured change, at updates that have any.
        isolated_share: Share of the energy in isolated modes.
        untracked_share: Share of the energy below the tracked modes, which may be in isolated modes or not; None where
            all modes were measured.
        isolated: Number of isolated modes, mean over updates.
        modes: Number of modes stored one by one.
    """

    eigenvalue_error: Float[np.ndarray, " update"]
    coefficient_error: Float[np.ndarray, " moving"]
    isolated_share: Float[np.ndarray, " step"]
    untracked_share: Float[np.ndarray, " step"] | None
    isolated: float
    modes: int


def single_updates(data: xr.Dataset) -> SingleUpdates:
    """Compare the mode equations with the measured updates.

    Args:
        data: `run.measurements`.
    """
    eigenvalue, coefficient = data["eigenvalue"].values, data["coefficient"].values
    is_isolated = (data["kato_parameter"].values <= ISOLATED) & (data["successor_overlap"].values >= 1.0 - ISOLATED)
    # Energy outside the modes that are stored one by one counts as not isolated.
    whole = np.maximum((coefficient**2).sum(1), data["energy"].sum("shell").values)
    return SingleUpdates(
        _eigenvalue_error(data, is_isolated),
        _coefficient_error(data, is_isolated),
        (coefficient**2 * is_isolated).sum(1) / np.maximum(whole, np.finfo(float).tiny),
        1.0 - (coefficient**2).sum(1) / whole if "cut" in data else None,
        is_isolated.sum(1).mean(),
        eigenvalue.shape[1],
    )


def _eigenvalue_error(data: xr.Dataset, is_isolated: Bool[np.ndarray, "step mode"]) -> Float[np.ndarray, " update"]:
    eigenvalue = data["eigenvalue"].values
    moved = data["eigenvalue_after"].values - eigenvalue
    expected = data["step_size"].values[:, None] * data["eigenvalue_rate"].values
    rounding = ROUNDINGS * np.finfo(np.float64).eps * eigenvalue.max(1, keepdims=True)
    is_compared = is_isolated & (np.abs(expected) > rounding)
    errors = np.abs(moved - expected) / np.maximum(np.abs(moved), rounding)
    return np.array([np.median(row[used]) for row, used in zip(errors, is_compared, strict=True) if used.any()])


def _coefficient_error(data: xr.Dataset, is_isolated: Bool[np.ndarray, "step mode"]) -> Float[np.ndarray, " moving"]:
    after = data["coefficient_after"].values
    miss, change = (after - data["kato_after"].values) ** 2, (after - data["coefficient"].values) ** 2
    rows = zip(miss, change, is_isolated, strict=True)
    return np.array([np.sqrt(m[k].sum() / c[k].sum()) for m, c, k in rows if c[k].sum() > 0])
