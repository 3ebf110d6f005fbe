"""The source S of the equation, measured from the transfer matrix and not as what the equation leaves over.

F_ab = A_ab - A_ba is the net energy that an update carries from shell b to shell a. Between neighbours it crosses one
edge: that is a flux, and may be transport. Beyond, it jumps: S_a = sum of F_ab over all b that are not neighbours of a;
its sum over shells is zero. Were S what the equation leaves over, the equation could not fail
(equations/hypotheses.md#coarse-graining).

Over a window of measured updates t F / (dt E) is averaged first, so that turns of the eigenvectors which undo each
other, as those of single minibatches do, are not taken for a source. Which exchange counts as local depends on the
width of the shells, so compare several.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.closure.intervals import MIN_POOLED
from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL, block_indices, drawn_counts
from eigenflow.core.rounding import ROUNDING
from eigenflow.shells import ShellBudget

__all__ = ["NonlocalSource", "nonlocal_source"]


@dataclass(frozen=True, repr=False)
class NonlocalSource(FieldsPrinted):
    """Local and nonlocal exchange, as shares of the energy per unit of ln(t). Bounded shells only.

    Attributes:
        times: Geometric middle of each window of measured times.
        edges: Edges of the bounded shells.
        source: t S / E of each shell; sums to zero.
        local: What each shell gains from its neighbours, t (...) / E; sums to zero.
        dissipated: What each shell loses to dissipation.
        flux_nonlocal: Downward flux through each inner edge that jumps over at least one shell.
        flux_local: Downward flux between the two shells at each inner edge.
        share: Of all energy that shells exchange, the part that jumps over at least one shell, per window: 0 for
            transport only. In the limit of narrow shells every exchange at a distance jumps.
        share_low: Lower ends of its 90 % intervals, block bootstrap over the measured times in the window.
        share_high: Upper ends.
        beside_dissipation: sum over shells of |S| / (|S| + |local| + |dissipated|), per window.
        exchanged: All energy that shells exchange over what they dissipate, per window.
        open_share: Share of all exchange that is with the two open shells, whose distance is not known.
        updates: Measured updates in each window.
    """

    times: Float[np.ndarray, " window"]
    edges: Float[np.ndarray, " edges"]
    source: Float[np.ndarray, "window shell"]
    local: Float[np.ndarray, "window shell"]
    dissipated: Float[np.ndarray, "window shell"]
    flux_nonlocal: Float[np.ndarray, "window inner_edge"]
    flux_local: Float[np.ndarray, "window inner_edge"]
    share: Float[np.ndarray, " window"]
    share_low: Float[np.ndarray, " window"]
    share_high: Float[np.ndarray, " window"]
    beside_dissipation: Float[np.ndarray, " window"]
    exchanged: Float[np.ndarray, " window"]
    open_share: Float[np.ndarray, " window"]
    updates: Float[np.ndarray, " window"]


def nonlocal_source(
    budget: ShellBudget, *, windows_per_decade: float | int = 2, draws: int = 200, seed: int = 0
) -> NonlocalSource:
    """Split the transfer of a run into flux between neighbouring shells and jumps.

    Args:
        budget: As from `shell_budget`; its shell width says what is local.
        windows_per_decade: Windows a decade of time, over which updates are averaged; one of fewer than 3 is left out.
        draws: Bootstrap draws.
        seed: Of the bootstrap.

    Raises:
        ArgumentError: If no window has 3 measured updates with exchange, beyond rounding, between bounded shells.
    """
    times = (budget.time + budget.step_size).values
    matrix = budget.transfer_matrix.transpose("step", "shell", "shell_from").values
    energy = budget.energy.values.sum(1)
    rate = times / budget.step_size.values / np.maximum(energy, np.finfo(np.float64).tiny)
    exchange = matrix - matrix.transpose(0, 2, 1)
    moves = np.abs(exchange[:, 1:-1, 1:-1]).sum((1, 2)) > ROUNDING * energy
    exchange = exchange * rate[:, None, None]
    inner = exchange[:, 1:-1, 1:-1]
    lost = budget.dissipation.values[:, 1:-1] * rate[:, None]
    kept = np.flatnonzero((times > 0) & moves)
    logs = np.log10(times[kept]) if len(kept) else np.zeros(0)
    window = np.floor((logs - logs[:1]) * windows_per_decade * (1 - 1e-12)).astype(int)
    rng, rows = np.random.default_rng(seed), []
    for name in np.unique(window):
        inside = kept[window == name]
        if len(inside) < MIN_POOLED:
            continue
        mean = inner[inside].mean(0)
        near, far = _split(mean)
        flux_near, flux_far = _flux(near), _flux(far)
        drawn = _drawn_shares(inner[inside], drawn_counts(block_indices(len(inside), rng, draws=draws)))
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        sums = [np.abs(x).sum() for x in (far.sum(1), near.sum(1), lost[inside].mean(0))]
        whole = np.abs(exchange[inside].mean(0)).sum()
        rows.append(
            (
                float(np.exp(np.log(times[inside]).mean())),
                far.sum(1),
                near.sum(1),
                lost[inside].mean(0),
                flux_far,
                flux_near,
                _share(mean),
                low,
                high,
                sums[0] / max(sum(sums), np.finfo(np.float64).tiny),
                0.5 * np.abs(mean).sum() / max(sums[2], np.finfo(np.float64).tiny),
                1.0 - np.abs(mean).sum() / max(whole, np.finfo(np.float64).tiny),
                float(len(inside)),
            )
        )
    if not rows:
        raise ArgumentError(
            f"`budget` has no window with {MIN_POOLED} measured updates that exchange energy between bounded shells. "
            f"Its operator stands still, or it was measured too seldom."
        )
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return NonlocalSource(columns[0], budget.edges, *columns[1:])


def _split(exchange: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exchange between neighbours, and beyond."""
    size = np.arange(len(exchange))
    is_near = np.abs(size[:, None] - size[None, :]) <= 1
    return np.where(is_near, exchange, 0.0), np.where(is_near, 0.0, exchange)


def _flux(exchange: np.ndarray) -> Float[np.ndarray, " inner_edge"]:
    """Downward flux through each edge between bounded shells: all that shells below gain from shells above."""
    from_above = np.cumsum(exchange[:, ::-1], axis=1)[:, ::-1]
    return np.diagonal(np.cumsum(from_above, axis=0), offset=1).copy()


def _drawn_shares(
    exchange: Float[np.ndarray, "update shell shell"], counts: Float[np.ndarray, "draws update"]
) -> Float[np.ndarray, " draws"]:
    """`_share` of the mean of each draw."""
    flat, size = exchange.reshape(len(exchange), -1), exchange.shape[1]
    is_far = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).reshape(-1) > 1
    parts = np.stack([is_far, ~is_far], axis=1).astype(np.float64)
    sums = np.array([np.abs(some @ flat) @ parts for some in counts]).reshape(-1, 2)
    return sums[:, 0] / np.maximum(sums.sum(1), np.finfo(np.float64).tiny)


def _share(exchange: np.ndarray) -> float:
    near, far = (np.abs(part).sum() for part in _split(exchange))
    return float(far / max(near + far, np.finfo(np.float64).tiny))
