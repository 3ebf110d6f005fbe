"""What the drift law leaves of the measured transport: the residual of the closed equation, over shell width and n.

Between two measurements every shell gains from the others what its energy changed by, less what was dissipated (and
what the optimizer and the network's nonlinearity did). The closed equation says that this is the difference of the
fluxes -v eps through its edges, with the density at an edge the mean of both sides. That is right up to O(width^2) if
energy is spread smoothly, and up to the chance with which n modes sample a density, O(n^-1/2): a wide shell blurs, a
narrow one is empty. Neither gets small when the law is wrong, when energy turns between distant modes, or when v is not
single-valued.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_index
from eigenflow.core.resampling import LEVEL, block_indices
from eigenflow.shells import ShellBudget
from eigenflow.shells.balance import integrated_balance
from eigenflow.transport.closure.law import quantiles
from eigenflow.transport.closure.velocities import MIN_SHARE
from eigenflow.transport.problem import Drift

__all__ = ["ClosureResidual", "closure_residual", "residual_order"]

MIN_WINDOWS = 3


@dataclass(frozen=True)
class ClosureResidual:
    """Measured and closed transport, added up over windows of time, as shares of the energy.

    Attributes:
        times: Geometric middle of each window.
        centres: Eigenvalue of each shell whose both edges are between bounded shells.
        transported: What each shell gained from the others.
        predicted: What it would gain by the drift alone.
        error: Estimated quadrature error of `transported`.
        dissipated: What it lost to dissipation.
        share: sum |transported - predicted| / sum |transported| over shells and windows; 0 closed, 1 as bad as v = 0.
        interval: Its 90 % interval, block bootstrap over windows.
        equation_share: The same beside everything: sum |transported - predicted| / sum (|transported| + |dissipated|).
        floor: What `share` would be if each of the run's modes moved by the drift exactly: what n modes in shells of
            this width leave of any closure. None without `modes`.
        error_share: sum error / sum |transported|: how much of `share` the spacing of measurements may be to blame for.
        shells_per_decade: Width of the shells.
    """

    times: Float[np.ndarray, " window"]
    centres: Float[np.ndarray, " shell"]
    transported: Float[np.ndarray, "window shell"]
    predicted: Float[np.ndarray, "window shell"]
    error: Float[np.ndarray, "window shell"]
    dissipated: Float[np.ndarray, "window shell"]
    share: float
    interval: tuple[float, float]
    equation_share: float
    floor: float | None
    error_share: float
    shells_per_decade: int


def closure_residual(
    budget: ShellBudget,
    drift: Drift,
    *,
    modes: xr.Dataset | None = None,
    windows_per_decade: int = 2,
    seed: int = 0,
) -> ClosureResidual:
    """Compare the transport between measurements with that of a drift.

    Args:
        budget: As from `shell_budget`; its shell width is the scale of coarse-graining.
        drift: v, for instance `fit_law(...).drift(0.0)`; only `velocity` is used.
        modes: `run.modes`, for `floor`.
        windows_per_decade: Windows of time, a decade, over which transport is added up before it is compared. In a
            short one few modes cross an edge, and their number is a matter of chance.
        seed: Of the bootstrap.

    Raises:
        ArgumentError: If fewer than 3 windows begin after t = 0 with energy in three neighbouring shells.
    """
    balance = integrated_balance(budget)
    start, end = balance.start.values, balance.end.values
    width = np.log(budget.edges[1:] / budget.edges[:-1])
    energy = budget.energy.values
    whole = np.maximum(energy.sum(1), np.finfo(np.float64).tiny)
    rows = np.flatnonzero(start > 0)
    span = np.log(end[rows] / start[rows])[:, None]
    density = energy[:, 1:-1] / width / whole[:, None]
    at_edge = 0.5 * (density[:, 1:] + density[:, :-1])
    edges = budget.edges[1:-1]
    # Trapezoid of t Phi in ln(t): exact for a velocity like 1 / t in a density that stands still.
    sides = ((start[rows], at_edge[rows]), (end[rows], at_edge[rows + 1]))
    flux = sum(-0.5 * _scaled_velocity(drift, edges, times) * held for times, held in sides)
    predicted = np.diff(flux * span, axis=1)
    middle = slice(2, -2)
    share_of = 1.0 / np.sqrt(whole[rows] * whole[rows + 1])[:, None]
    transported = balance.transported.transpose("interval", "shell").values[rows, middle] * share_of
    error = balance.transported_error.transpose("interval", "shell").values[rows, middle] * share_of
    dissipated = -balance.terms["dissipation"].transpose("interval", "shell").values[rows, middle] * share_of
    held = energy[rows] / whole[rows][:, None]
    is_seen = np.minimum(np.minimum(held[:, 1:-3], held[:, 2:-2]), held[:, 3:-1]) >= MIN_SHARE
    times = (end - start)[rows] / span[:, 0]
    window = np.floor(np.log10(times / times[:1]) * windows_per_decade * (1 - 1e-12)).astype(int)
    kept = np.unique(window[is_seen.any(1)])
    if len(kept) < MIN_WINDOWS:
        raise ArgumentError(
            f"`budget` has {len(kept)} windows of time after t = 0 with energy in three neighbouring shells; a closure "
            f"residual needs {MIN_WINDOWS}. Measure more steps, use wider shells, or more `windows_per_decade`."
        )
    gather = (window == kept[:, None]).astype(float)
    sampled = None if modes is None else _sampled(modes, budget, drift, rows)[:, middle]
    if sampled is not None:
        sampled = gather @ np.where(is_seen, sampled, 0.0)
    transported, predicted, error, dissipated = (
        gather @ np.where(is_seen, x, 0.0) for x in (transported, predicted, error, dissipated)
    )
    left, moved = np.abs(transported - predicted).sum(1), np.abs(transported).sum(1)
    lost = np.abs(dissipated).sum(1)
    tiny = np.finfo(np.float64).tiny
    draws = block_indices(len(left), np.random.default_rng(seed))
    return ClosureResidual(
        times=np.exp(gather @ np.log(times) / gather.sum(1)),
        centres=budget.centres[1:-1],
        transported=transported,
        predicted=predicted,
        error=error,
        dissipated=dissipated,
        share=float(left.sum() / max(moved.sum(), tiny)),
        interval=quantiles(left[draws].sum(1) / np.maximum(moved[draws].sum(1), tiny)),
        equation_share=float(left.sum() / max((moved + lost).sum(), tiny)),
        floor=None if sampled is None else _share(sampled, predicted),
        error_share=float(np.abs(error).sum() / max(moved.sum(), tiny)),
        shells_per_decade=round(float(np.log(10.0) / np.median(width))),
    )


def _scaled_velocity(
    drift: Drift, eigenvalues: np.ndarray, times: Float[np.ndarray, " row"]
) -> Float[np.ndarray, "row place"]:
    """t w at every time and place; `eigenvalues` has one row, or one for each time."""
    places = np.broadcast_to(eigenvalues, (len(times), np.shape(eigenvalues)[-1]))
    at = np.broadcast_to(times[:, None], places.shape)
    return at * drift.velocity(places, at) / places


def _sampled(modes: xr.Dataset, budget: ShellBudget, drift: Drift, rows: np.ndarray) -> Float[np.ndarray, "row shell"]:
    """What shells would gain if every mode of each measurement moved by the drift until the next one."""
    times = budget.time.values
    lam, energy = modes["eigenvalue"].values[rows], modes["coefficient"].values[rows] ** 2
    lam = np.maximum(lam, lam.max(1, keepdims=True) * np.finfo(np.float64).eps)
    whole = np.maximum(energy.sum(1), np.finfo(np.float64).tiny)
    speed = 0.5 * (_scaled_velocity(drift, lam, times[rows]) + _scaled_velocity(drift, lam, times[rows + 1]))
    after = lam * np.exp(speed * np.log(times[rows + 1] / times[rows])[:, None])
    gained = np.zeros((len(rows), len(budget.edges) + 1))
    for row in range(len(rows)):
        share = energy[row] / whole[row]
        np.add.at(gained[row], shell_index(after[row], budget.edges), share)
        np.add.at(gained[row], shell_index(lam[row], budget.edges), -share)
    return gained


def _share(measured: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.abs(measured - predicted).sum() / max(np.abs(measured).sum(), np.finfo(np.float64).tiny))


def residual_order(sizes: Sequence[float], shares: Sequence[float]) -> tuple[float, float]:
    """Fit share ~ size^order.

    Args:
        sizes: Shell widths, or numbers of modes, at least 3 different.
        shares: Residuals there, positive.

    Returns:
        The order, and the half width of its 90 % interval from the scatter about the line.
    """
    from scipy.stats import t as student

    if len(set(sizes)) < 3 or len(sizes) != len(shares) or min(shares) <= 0:
        raise ArgumentError(
            f"`sizes` and `shares` must be at least 3 pairs of different sizes with positive shares, but are "
            f"{list(sizes)} and {list(shares)}. An order of convergence is a slope; two points cannot tell its error."
        )
    x, y = np.log(sizes), np.log(shares)
    slope, level = np.polyfit(x, y, 1)
    scatter = float(np.sqrt(((y - level - slope * x) ** 2).sum() / (len(x) - 2)))
    half = float(student.ppf((1 + LEVEL) / 2, len(x) - 2)) * scatter / float(np.sqrt(((x - x.mean()) ** 2).sum()))
    return float(slope), half
