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

from eigenflow.closure.velocities import MIN_SHARE
from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_index
from eigenflow.core.resampling import LEVEL, block_indices, correlated_quantiles
from eigenflow.shells import ShellBudget
from eigenflow.shells.balance import integrated_balance
from eigenflow.transport.problem import Drift

__all__ = ["ClosureResidual", "Unexplained", "closure_residual", "residual_order"]

MIN_WINDOWS = 3
LEAST_ROOM = 0.05  # between what chance leaves and all of it
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Unexplained:
    """A measured quantity against the closed one, over places and windows of time; as shares of the energy.

    Attributes:
        measured: By window and place.
        predicted: What the drift alone gives.
        error: Estimated quadrature error of `measured`.
        share: sum |measured - predicted| / sum |measured|; 0 closed, 1 as bad as v = 0.
        interval: Its 90 % interval, block bootstrap over windows.
        floor: What `share` would be if each of the run's modes moved by the drift exactly: what n modes in shells of
            this width leave of any closure. None without `modes`.
        error_share: sum error / sum |measured|: how much of `share` the spacing of measurements may be to blame for.
        excess: `share` beyond the floor: 0 as good as an exact drift of the run's modes, 1 as bad as v = 0; the share
            itself without `modes`.
        excess_interval: Its 90 % interval. Share and floor come from the same crossings, so windows are drawn for both
            at once; the quadrature widens it, with errors of different places independent.
    """

    measured: Float[np.ndarray, "window place"]
    predicted: Float[np.ndarray, "window place"]
    error: Float[np.ndarray, "window place"]
    share: float
    interval: tuple[float, float]
    floor: float | None
    error_share: float
    excess: float
    excess_interval: tuple[float, float]

    @property
    def blurred(self) -> float:
        """What chance and quadrature together leave of an exact drift; near 1 nothing can be told."""
        return float(np.hypot(self.floor or 0.0, self.error_share))


@dataclass(frozen=True, repr=False)
class ClosureResidual(FieldsPrinted):
    """What a drift leaves of the measured exchange, added up over windows of time.

    Attributes:
        times: Geometric middle of each window.
        centres: Eigenvalue of each shell whose both edges are between bounded shells.
        edges: Edges between bounded shells.
        transport: What each shell gained from the others: differences of fluxes, the term of the equation itself.
        flux: What passed down through each edge. Chance blurs it less: it is no difference.
        dissipated: What each shell lost to dissipation.
        equation_share: sum |left of transport| / sum (|transport| + |dissipated|).
        shells_per_decade: Width of the shells.
    """

    times: Float[np.ndarray, " window"]
    centres: Float[np.ndarray, " shell"]
    edges: Float[np.ndarray, " edge"]
    transport: Unexplained
    flux: Unexplained
    dissipated: Float[np.ndarray, "window shell"]
    equation_share: float
    shells_per_decade: int


def closure_residual(
    budget: ShellBudget,
    drift: Drift,
    *,
    modes: xr.Dataset | None = None,
    windows_per_decade: float | int = 2,
    seed: int = 0,
) -> ClosureResidual:
    """Compare the transport between measurements with that of a drift.

    Args:
        budget: As from `shell_budget`; its shell width is the scale of coarse-graining.
        drift: v, for instance `fit_drift_law(...).drift(0.0)`; only `velocity` is used.
        modes: `run.modes`, for `floor`.
        windows_per_decade: Windows of time, a decade, over which transport is added up before it is compared. In a
            short one few modes cross an edge, and their number is a matter of chance.
        seed: Of the bootstrap.

    Raises:
        ArgumentError: If fewer than 3 windows begin after t = 0 with energy in neighbouring shells.
    """
    balance = integrated_balance(budget)
    start, end = balance.start.values, balance.end.values
    rows = np.flatnonzero(start > 0)
    energy, whole = budget.energy.values, np.maximum(budget.energy.values.sum(1), TINY)
    share_of = 1.0 / np.sqrt(whole[rows] * whole[rows + 1])[:, None]

    def measured(values: xr.DataArray, along: str = "shell") -> np.ndarray:
        return values.transpose("interval", along).values[rows] * share_of

    width = np.log(budget.edges[1:] / budget.edges[:-1])
    density = energy[:, 1:-1] / width / whole[:, None]
    at_edge = 0.5 * (density[:, 1:] + density[:, :-1])
    edges, span = budget.edges[1:-1], np.log(end[rows] / start[rows])[:, None]
    # Trapezoid of t Phi in ln(t): exact for a velocity like 1 / t in a density that stands still.
    sides = ((start[rows], at_edge[rows]), (end[rows], at_edge[rows + 1]))
    passed = span * sum(-0.5 * _scaled_velocity(drift, edges, times) * held for times, held in sides)
    sampled = None if modes is None else _sampled(modes, budget, drift, rows)
    error = measured(balance.transported_error)
    flux = measured(balance.flux * (balance.end - balance.start), "edge")[:, 1:-1]
    held = energy[rows, 1:-1] / whole[rows][:, None] >= MIN_SHARE
    has_sides = held[:, 1:] & held[:, :-1]
    windows = _Windows.of((end - start)[rows] / span[:, 0], has_sides.any(1), windows_per_decade, seed)
    from_below, from_above = np.cumsum(error, axis=1), np.cumsum(error[:, ::-1], axis=1)[:, ::-1]
    transport = windows.compare(
        measured(balance.transported)[:, 2:-2],
        np.diff(passed, axis=1),
        error[:, 2:-2],
        None if sampled is None else sampled[:, 2:-2],
        has_sides[:, 1:] & has_sides[:, :-1],
    )
    dissipated = windows.gather @ np.where(
        has_sides[:, 1:] & has_sides[:, :-1], -measured(balance.terms["dissipation"])[:, 2:-2], 0.0
    )
    left, moved = (np.abs(x).sum() for x in (transport.measured - transport.predicted, transport.measured))
    return ClosureResidual(
        times=windows.times,
        centres=budget.centres[1:-1],
        edges=edges,
        transport=transport,
        flux=windows.compare(
            flux,
            passed,
            np.minimum(from_below[:, 1:-2], from_above[:, 2:-1]),
            None if sampled is None else np.cumsum(sampled, axis=1)[:, 1:-2],
            has_sides,
        ),
        dissipated=dissipated,
        equation_share=float(left / max(moved + np.abs(dissipated).sum(), TINY)),
        shells_per_decade=round(float(np.log(10.0) / np.median(width))),
    )


@dataclass(frozen=True)
class _Windows:
    """Windows of time over which intervals between measurements are added up."""

    times: np.ndarray
    gather: np.ndarray
    draws: np.ndarray

    @classmethod
    def of(cls, times: np.ndarray, is_seen: np.ndarray, per_decade: float | int, seed: int) -> "_Windows":
        window = np.floor(np.log10(times / times[:1]) * per_decade * (1 - 1e-12)).astype(int)
        kept = np.unique(window[is_seen])
        if len(kept) < MIN_WINDOWS:
            raise ArgumentError(
                f"`budget` has {len(kept)} windows of time after t = 0 with energy in neighbouring shells; a closure "
                f"residual needs {MIN_WINDOWS}. Measure more steps, use wider shells, or more `windows_per_decade`."
            )
        gather = (window == kept[:, None]).astype(float)
        middle = np.exp(gather @ np.log(times) / gather.sum(1))
        return cls(middle, gather, block_indices(len(kept), np.random.default_rng(seed)))

    def compare(
        self,
        measured: np.ndarray,
        predicted: np.ndarray,
        error: np.ndarray,
        sampled: np.ndarray | None,
        is_seen: np.ndarray,
    ) -> Unexplained:
        measured, predicted, error = (
            self.gather @ np.where(is_seen, x, 0.0) for x in (measured, predicted, np.abs(error))
        )
        own = _Misses(np.abs(measured - predicted).sum(1), np.abs(measured).sum(1))
        scatter = float(np.sqrt((error**2).sum()) / max(own.moved.sum(), TINY))
        chance = None
        if sampled is not None:
            sampled = self.gather @ np.where(is_seen, sampled, 0.0)
            chance = _Misses(np.abs(sampled - predicted).sum(1), np.abs(sampled).sum(1))
        excess, interval = self._excess(own, chance, scatter)
        return Unexplained(
            measured,
            predicted,
            error,
            own.share,
            correlated_quantiles(own.share, own.drawn(self.draws), own.parts, self.draws),
            None if chance is None else chance.share,
            float(error.sum() / max(own.moved.sum(), TINY)),
            excess,
            interval,
        )

    def _excess(self, own: "_Misses", chance: "_Misses | None", scatter: float) -> tuple[float, tuple[float, float]]:
        """The share beyond chance, with windows drawn for both at once."""
        if chance is None:
            drawn, parts, excess, room = own.drawn(self.draws), own.parts, own.share, 1.0
        else:
            room = max(1.0 - chance.share, LEAST_ROOM)
            excess = (own.share - chance.share) / room
            drawn = (own.drawn(self.draws) - chance.drawn(self.draws)) / room
            parts = own.parts / max(own.moved.sum(), TINY) - chance.parts / max(chance.moved.sum(), TINY)
        low, high = correlated_quantiles(excess, drawn, parts, self.draws)
        below, above = (float(np.hypot(end - excess, scatter / room)) for end in (low, high))
        return excess, (excess - below, excess + above)


@dataclass(frozen=True)
class _Misses:
    """What is left, and what moved, in each window of time."""

    left: np.ndarray
    moved: np.ndarray

    @property
    def share(self) -> float:
        return float(self.left.sum() / max(self.moved.sum(), TINY))

    @property
    def parts(self) -> np.ndarray:
        """What each window adds to the share, up to a factor."""
        return self.left - self.share * self.moved

    def drawn(self, draws: np.ndarray) -> np.ndarray:
        return self.left[draws].sum(1) / np.maximum(self.moved[draws].sum(1), TINY)


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
    whole = np.maximum(energy.sum(1), TINY)
    speed = 0.5 * (_scaled_velocity(drift, lam, times[rows]) + _scaled_velocity(drift, lam, times[rows + 1]))
    # The end shells are open: a mode that is carried past them need not be followed, however far a bad law throws it.
    moved = speed * np.log(times[rows + 1] / times[rows])[:, None]
    after = lam * np.exp(np.clip(moved, np.log(budget.edges[0] / lam) - 1.0, np.log(budget.edges[-1] / lam) + 1.0))
    gained = np.zeros((len(rows), len(budget.edges) + 1))
    for row in range(len(rows)):
        share = energy[row] / whole[row]
        np.add.at(gained[row], shell_index(after[row], budget.edges), share)
        np.add.at(gained[row], shell_index(lam[row], budget.edges), -share)
    return gained


def residual_order(sizes: Sequence[float | int], shares: Sequence[float]) -> tuple[float, float]:
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
