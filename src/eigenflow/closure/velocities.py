"""How fast eigenvalues, and the energy that they carry, move in each shell: five measured velocities.

All are logarithmic, w = v / lambda = d ln(lambda) / dt, positive upwards (growth), and none depends on the choice of
eigenvectors:

- "mode": mean lambda-dot of the shell's eigenvalues along the measured update, Tr(P Mdot) / Tr(P M);
- "energy": the same, weighted by energy, (P e)' Mdot (P e) / E, which includes rotation inside the shell;
- "flux": what the energy flux through an edge says, -Phi / (lambda eps), Phi the transfer of the measured update and
  lambda eps the energy per unit ln(lambda), the mean of both sides; drift and rotation together (theory: v_eff);
- "rank": how far the eigenvalues of equal rank moved between two measurements. That is the velocity with which the
  density of modes flows; it holds all updates in between, so the noise of single minibatches is averaged in it.
- "balance": v_eff again, with the flux through an edge between two measurements, from what the energies of the shells
  changed by less what was dissipated; it holds all updates in between too, and modes that cross one by one add up.

The first three belong to single measured updates. Where an update is that of a minibatch, they hold its noise.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_index
from eigenflow.core.rounding import ROUNDING
from eigenflow.shells import ShellBudget
from eigenflow.shells.balance import integrated_balance

__all__ = ["Kind", "Velocities", "balance_velocities", "rank_velocities", "shell_velocities"]

Kind = Literal["mode", "energy", "flux", "rank", "balance"]
INSTANT = ("mode", "energy", "flux")
MIN_MODES = 3  # eigenvalues that a shell needs at a time to have a mean velocity
MIN_SHELLS = 3
MIN_TIMES = 6
MIN_SHARE = 1e-6  # of the energy: what moves less cannot be seen in the loss
MAX_CONTRAST = 10.0  # of the densities on both sides of an edge; beyond, their mean is no density at the edge
SOLVED = 100 * np.finfo(np.float64).eps  # of the largest eigenvalue: to this, solvers know all of them
MAX_DOUBT = 0.1  # of t w, as the quadrature between measurements may miss it


@dataclass(frozen=True, repr=False)
class Velocities(FieldsPrinted):
    """Logarithmic velocities w = v / lambda over times and places (shells, or edges for "flux").

    Attributes:
        kind: Which of the five velocities.
        times: Measured times, all positive.
        centres: Eigenvalue of each place, fixed: centre of the shell, or the edge.
        width: ln of the ratio of a shell's edges.
        eigenvalue: Where the velocity was measured: mean eigenvalue of the shell, or the edge; 1 where unused.
        value: w, 1 / time; 0 where unused.
        weight: Eigenvalues (mode, rank) or share of the energy (energy, flux) behind it.
        energy: Share of the whole energy in the shell (at an edge: in the mean of both sides).
        is_used: Where there are enough eigenvalues and they move; where energy counts, at least a millionth of it too.
    """

    kind: Kind
    times: Float[np.ndarray, " time"]
    centres: Float[np.ndarray, " place"]
    width: float
    eigenvalue: Float[np.ndarray, "time place"]
    value: Float[np.ndarray, "time place"]
    weight: Float[np.ndarray, "time place"]
    energy: Float[np.ndarray, "time place"]
    is_used: Bool[np.ndarray, "time place"]

    @property
    def reference(self) -> float:
        """Geometric mean of all places, 1 / time."""
        return float(np.exp(np.log(self.centres).mean()))

    @property
    def position(self) -> Float[np.ndarray, "time place"]:
        """ln(lambda / reference); 0 where unused."""
        return np.where(self.is_used, np.log(self.eigenvalue / self.reference), 0.0)

    @property
    def scale(self) -> Float[np.ndarray, " time"]:
        """Root mean square of w over the places, at each time."""
        return np.sqrt((self.value**2).sum(1) / self.is_used.sum(1))

    def until(self, time: float) -> "Velocities":
        """Those measured no later than a time."""
        return self.select(self.times <= time)

    def select(self, rows: np.ndarray) -> "Velocities":
        """The same places at fewer times."""
        fields = {name: getattr(self, name)[rows] for name in ("eigenvalue", "value", "weight", "energy", "is_used")}
        return Velocities(self.kind, self.times[rows], self.centres, self.width, **fields)


def shell_velocities(budget: ShellBudget, kind: Kind = "mode") -> Velocities:
    """Read the velocities of the measured updates from a run's shells.

    Args:
        budget: As from `shell_budget`.
        kind: "mode", "energy" or "flux"; for the others see `rank_velocities` and `balance_velocities`.

    Returns:
        Velocities of the places that hold at least 3 moving eigenvalues (on both sides of an edge) at some time.

    Raises:
        ArgumentError: If `kind` is unknown, or fewer than 6 measured times have 3 such shells.
    """
    if kind not in INSTANT:
        raise ArgumentError(
            f"`kind` must be 'mode', 'energy' or 'flux', but is {kind!r}. "
            f"For 'rank' call rank_velocities(run.modes, budget.edges), for 'balance' balance_velocities(budget)."
        )
    inner = slice(1, -1)  # the open shells at both ends have no width
    counts, mean = budget.mode_count.values[:, inner], budget.mean_eigenvalue.values[:, inner]
    whole = np.maximum(budget.energy.values.sum(1, keepdims=True), np.finfo(np.float64).tiny)
    share = budget.energy.values[:, inner] / whole
    times = (budget.time + budget.step_size).values
    width = float(np.log(budget.edges[1:] / budget.edges[:-1]).max())
    is_full = (counts >= MIN_MODES) & (mean > 0)
    if kind == "flux":
        density = share / np.log(budget.edges[1:] / budget.edges[:-1])
        middle = 0.5 * (density[:, 1:] + density[:, :-1])
        flux = _beyond_rounding(budget.flux.values[:, inner], budget.step_size.values, whole)
        low, high = np.minimum(density[:, 1:], density[:, :-1]), np.maximum(density[:, 1:], density[:, :-1])
        is_seen = (low * MAX_CONTRAST >= high) & (middle * width >= MIN_SHARE)
        is_used = is_full[:, 1:] & is_full[:, :-1] & is_seen & np.isfinite(flux)
        moved = np.where(is_used, -np.nan_to_num(flux) / whole, 0.0)
        places = np.broadcast_to(budget.edges[inner], is_used.shape)
        return _checked(kind, times, budget.edges[inner], width, places, moved, middle, middle * width, is_used)
    rate = budget.mean_rate if kind == "mode" else budget.energy_rate
    speed = np.divide(rate.values[:, inner], mean, out=np.zeros_like(mean), where=is_full)
    weight = counts if kind == "mode" else share
    is_used = is_full & (speed != 0) & ((weight >= MIN_SHARE) | (kind == "mode"))
    return _checked(kind, times, budget.centres, width, mean, speed * weight, weight, share, is_used)


def balance_velocities(budget: ShellBudget) -> Velocities:
    """Divide the flux through edges between measurements by the energy per unit ln(lambda) there.

    Args:
        budget: As from `shell_budget`.

    Returns:
        Velocities at edges with energy in the shells on both sides, in densities that differ by no more than a factor
        of ten, and with t w known to 0.1 as far as the quadrature between measurements tells.

    Raises:
        ArgumentError: If fewer than 6 intervals between measurements have 3 such edges.
    """
    balance = integrated_balance(budget)
    start, end = balance.start.values, balance.end.values
    rows = np.flatnonzero(start > 0)
    span = np.log(end[rows] / start[rows])[:, None]
    whole = np.maximum(budget.energy.values.sum(1), np.finfo(np.float64).tiny)
    widths = np.log(budget.edges[1:] / budget.edges[:-1])
    width = float(widths.max())
    density = budget.energy.values[:, 1:-1] / widths
    middle = 0.5 * (density[:, 1:] + density[:, :-1])
    low, high = np.minimum(density[:, 1:], density[:, :-1]), np.maximum(density[:, 1:], density[:, :-1])
    full = budget.mode_count.values[:, 1:-1] >= MIN_MODES
    is_seen = (low * MAX_CONTRAST >= high) & (middle * width >= MIN_SHARE * whole[:, None])
    is_seen &= full[:, 1:] & full[:, :-1]
    carried = 0.5 * (middle[rows] + middle[rows + 1])
    error = balance.transported_error.transpose("interval", "shell").values[rows]
    below, above = np.cumsum(error, axis=1), np.cumsum(error[:, ::-1], axis=1)[:, ::-1]
    doubt = np.minimum(below[:, 1:-2], above[:, 2:-1])
    is_used = is_seen[rows] & is_seen[rows + 1] & (doubt <= MAX_DOUBT * carried * span)
    flux = balance.flux.transpose("interval", "edge").values[rows, 1:-1]
    flux = _beyond_rounding(flux, (end - start)[rows], whole[rows][:, None])
    times, share = (end - start)[rows] / span[:, 0], carried / whole[rows][:, None]
    edges = budget.edges[1:-1]
    places = np.broadcast_to(edges, is_used.shape)
    moved = np.where(is_used, -flux, 0.0) / whole[rows][:, None]
    return _checked("balance", times, edges, width, places, moved, share, share * width, is_used)


def rank_velocities(modes: xr.Dataset, edges: Float[np.ndarray, " edges"]) -> Velocities:
    """Measure how far eigenvalues of equal rank moved between successive measurements.

    The time of a velocity is the logarithmic mean of both ends, (t2 - t1) / ln(t2 / t1), where a velocity in 1 / t has
    its mean.

    Args:
        modes: As from `run.modes`.
        edges: Edges of the shells, as in the budget.

    Raises:
        ArgumentError: If the modes are not stored one by one, or fewer than 6 pairs have 3 shells of 3 modes.
    """
    if "eigenvalue" not in modes:
        raise ArgumentError(
            "`modes` holds no `eigenvalue`, so there are no ranks to follow. Pass run.modes of a run that stores modes."
        )
    start = modes["time"].values
    rows = np.flatnonzero(start > 0)
    lam = -np.sort(-modes["eigenvalue"].values[rows], axis=1)
    energy = modes["coefficient"].values[rows] ** 2
    start, later = start[rows], np.diff(start[rows]) > 0
    ahead, behind = np.flatnonzero(later) + 1, np.flatnonzero(later)
    is_alive = lam > lam.max(1, keepdims=True) * np.finfo(np.float64).eps
    both = is_alive[ahead] & is_alive[behind]
    moves = np.abs(lam[ahead] - lam[behind]) > SOLVED * lam[behind].max(1, keepdims=True)
    logs = np.log(np.where(is_alive, lam, 1.0))
    span = start[ahead] - start[behind]
    times = span / np.log(start[ahead] / start[behind])
    middle = np.where(both, np.exp(0.5 * (logs[ahead] + logs[behind])), 0.0)
    speed = np.where(both & moves, (logs[ahead] - logs[behind]) / span[:, None], 0.0)
    shape = (len(times), len(edges) + 1)
    count, moved, place, share = (np.zeros(shape) for _ in range(4))
    for i, row in enumerate(middle):
        index = shell_index(row, edges)
        kept = both[i]
        np.add.at(count[i], index[kept], 1.0)
        np.add.at(moved[i], index[kept], speed[i][kept])
        np.add.at(place[i], index[kept], row[kept])
        held = energy[behind[i]]
        np.add.at(share[i], index[kept], held[kept] / max(float(held.sum()), np.finfo(np.float64).tiny))
    inner = slice(1, -1)
    count, moved, place, share = (array[:, inner] for array in (count, moved, place, share))
    is_used = (count >= MIN_MODES) & (moved != 0)
    mean = np.divide(place, count, out=np.zeros_like(place), where=count > 0)
    centres, width = np.sqrt(edges[1:] * edges[:-1]), float(np.log(edges[1:] / edges[:-1]).max())
    return _checked("rank", times, centres, width, mean, moved, count, share, is_used)


def _beyond_rounding(
    flux: Float[np.ndarray, "time edge"], lengths: Float[np.ndarray, " time"], whole: Float[np.ndarray, "time 1"]
) -> Float[np.ndarray, "time edge"]:
    """The flux where what it carries over a length of time is more than rounding of the whole energy, else 0."""
    return np.where(np.abs(flux) * lengths[:, None] <= ROUNDING * whole, 0.0, flux)


def _checked(
    kind: Kind,
    times: np.ndarray,
    centres: np.ndarray,
    width: float,
    eigenvalue: np.ndarray,
    moved: np.ndarray,
    weight: np.ndarray,
    energy: np.ndarray,
    is_used: np.ndarray,
) -> Velocities:
    """Keep the times at which a law can be seen, and the places that are used at any of them."""
    rows = (is_used.sum(1) >= MIN_SHELLS) & (times > 0) & (is_used & (moved != 0)).any(1)
    if rows.sum() < MIN_TIMES:
        raise ArgumentError(
            f"`budget` has {int(rows.sum())} measured times with at least {MIN_SHELLS} shells of {MIN_MODES} moving "
            f"eigenvalues; a drift law needs {MIN_TIMES}. Measure more steps, or use more probe samples."
        )
    columns = is_used[rows].any(0)
    is_used = is_used[rows][:, columns]

    def cut(values: np.ndarray, fill: float = 0.0) -> np.ndarray:
        return np.where(is_used, values[rows][:, columns], fill)

    return Velocities(
        kind,
        times[rows],
        centres[columns],
        width,
        cut(eigenvalue, 1.0),
        cut(moved) / cut(weight, 1.0),
        cut(weight),
        energy[rows][:, columns],
        is_used,
    )
