"""Intervals of measured velocities: by resampling modes, measured times, or runs that differ in their seed only.

Each holds another kind of chance. Modes: the shell's few eigenvalues stand for a density. Times: single updates of
minibatches are noisy. Seeds: another initial network, another order of the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy.stats import t as student

from eigenflow.closure.velocities import MIN_MODES, Velocities
from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_index
from eigenflow.core.resampling import LEVEL, block_indices

__all__ = ["VelocityIntervals", "mode_intervals", "seed_intervals", "time_intervals"]

ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
MIN_POOLED = 3  # measured times in a window, or runs


@dataclass(frozen=True, repr=False)
class VelocityIntervals(FieldsPrinted):
    """Logarithmic velocities with 90 % intervals.

    Attributes:
        resampled: "modes", "times" or "seeds".
        times: Measured times, or the geometric middle of each window of them.
        centres: Eigenvalue of each place.
        value: w = v / lambda, 1 / time; 0 where unused.
        low: Lower ends.
        high: Upper ends.
        is_used: Where there is an estimate.
        behind: How many modes, measured times or runs are behind it.
    """

    resampled: Literal["modes", "times", "seeds"]
    times: Float[np.ndarray, " time"]
    centres: Float[np.ndarray, " place"]
    value: Float[np.ndarray, "time place"]
    low: Float[np.ndarray, "time place"]
    high: Float[np.ndarray, "time place"]
    is_used: Bool[np.ndarray, "time place"]
    behind: Float[np.ndarray, "time place"]


def mode_intervals(
    modes: xr.Dataset,
    edges: Float[np.ndarray, " edges"],
    *,
    weighted: bool = False,
    draws: int = 200,
    seed: int = 0,
) -> VelocityIntervals:
    """Resample the modes of each shell; a mode (by rank) is drawn at all times or at none.

    Args:
        modes: As from `run.modes`, with `eigenvalue`, `eigenvalue_rate` and `coefficient`.
        edges: Edges of the shells.
        weighted: Weigh every mode by its energy. Rotation inside a shell, which the energy velocity of the budget
            has, is not in it.
        draws: Bootstrap draws.
        seed: Of the bootstrap.
    """
    missing = [name for name in ("eigenvalue", "eigenvalue_rate", "coefficient") if name not in modes]
    if missing:
        raise ArgumentError(
            f"`modes` holds no {' and no '.join(missing)}, so its modes cannot be resampled. Pass run.modes of a run "
            f"that stores modes, or resample times with time_intervals."
        )
    lam, rate = modes["eigenvalue"].values, modes["eigenvalue_rate"].values
    weight = modes["coefficient"].values ** 2 if weighted else np.ones_like(lam)
    counts = np.random.default_rng(seed).multinomial(lam.shape[1], np.full(lam.shape[1], 1 / lam.shape[1]), draws)
    shape = (len(lam), len(edges) - 1)
    value, low, high, behind = (np.zeros(shape) for _ in range(4))
    for i in range(len(lam)):
        member = shell_index(lam[i], edges)[:, None] == np.arange(1, len(edges))
        behind[i] = member.sum(0)
        # v over lambda of the shell's means, as in the velocities of the budget.
        terms = [np.where(member, (weight[i] * x)[:, None], 0.0) for x in (rate[i], lam[i])]
        moved, place = (counts @ term for term in terms)
        drawn = np.divide(moved, place, out=np.full(place.shape, np.nan), where=place > 0)
        full = behind[i] >= MIN_MODES
        sums = [term.sum(0) for term in terms]
        value[i] = np.divide(sums[0], sums[1], out=np.zeros(shape[1]), where=full & (sums[1] > 0))
        if full.any():
            low[i, full], high[i, full] = np.nanquantile(drawn[:, full], ENDS, axis=0)
    is_used = (behind >= MIN_MODES) & (value != 0)
    kept = is_used.any(0)
    value, low, high = (np.where(is_used, x, 0.0)[:, kept] for x in (value, low, high))
    centres = np.sqrt(edges[1:] * edges[:-1])[kept]
    times = modes["time"].values
    return VelocityIntervals("modes", times, centres, value, low, high, is_used[:, kept], behind[:, kept])


def time_intervals(
    velocities: Velocities, *, windows_per_decade: float | int = 2, draws: int = 200, seed: int = 0
) -> VelocityIntervals:
    """Average t w over windows of measured times; resample blocks of times in each window.

    Args:
        velocities: As from `shell_velocities` or `rank_velocities`.
        windows_per_decade: Windows a decade of time; one of fewer than 3 measured times is left out.
        draws: Bootstrap draws.
        seed: Of the bootstrap.
    """
    logs = np.log10(velocities.times)
    window = np.floor((logs - logs[0]) * windows_per_decade * (1 - 1e-12)).astype(int)
    rng, rows = np.random.default_rng(seed), []
    for name in np.unique(window):
        inside = np.flatnonzero(window == name)
        if len(inside) < MIN_POOLED:
            continue
        carried = velocities.weight[inside]
        moved = velocities.value[inside] * velocities.times[inside][:, None] * carried
        middle = float(np.exp(np.log(velocities.times[inside]).mean()))
        index = block_indices(len(inside), rng, draws=draws)
        sums = moved[index].sum(1), carried[index].sum(1)
        drawn = np.divide(*sums, out=np.full(sums[1].shape, np.nan), where=sums[1] > 0) / middle
        behind = velocities.is_used[inside].sum(0)
        used = behind >= MIN_POOLED
        value, ends = np.zeros(len(used)), np.zeros((2, len(used)))
        value[used] = moved.sum(0)[used] / carried.sum(0)[used] / middle
        if used.any():
            ends[:, used] = np.nanquantile(drawn[:, used], ENDS, axis=0)
        rows.append((middle, value, ends[0], ends[1], used, behind.astype(float)))
    if not rows:
        raise ArgumentError(
            f"`velocities` has no window with {MIN_POOLED} measured times at {windows_per_decade} windows a decade. "
            f"Use fewer windows, or measure more steps."
        )
    times, *arrays = (np.array(column) for column in zip(*rows, strict=True))
    return VelocityIntervals("times", times, velocities.centres, *arrays)


def seed_intervals(runs: Sequence[Velocities]) -> VelocityIntervals:
    """Mean over runs that differ in their seed only, with Student intervals of that mean.

    Args:
        runs: At least 3, measured at the same times, in the same shells.

    Raises:
        ArgumentError: If there are fewer, or kinds, times or widths of shells differ.
    """
    if len(runs) < MIN_POOLED:
        raise ArgumentError(
            f"`runs` must be at least {MIN_POOLED} runs of different seeds, but are {len(runs)}. "
            f"For one run resample modes or times."
        )
    first = runs[0]
    for run in runs[1:]:
        is_alike = run.kind == first.kind and np.isclose(run.width, first.width)
        if not is_alike or len(run.times) != len(first.times) or not np.allclose(run.times, first.times, rtol=1e-6):
            raise ArgumentError(
                "`runs` must have the same kind of velocity, the same measured times and the same shells, but do not. "
                "Record them with one schedule and one learning rate, and read them with one shell width."
            )
    # Shells of all runs are powers of 10^(1/16), so equal places have equal centres up to rounding.
    keys = [np.round(np.log(run.centres), 6) for run in runs]
    common = sorted(set(keys[0]).intersection(*keys[1:]))
    columns = [np.searchsorted(key, common) for key in keys]
    value = np.stack([run.value[:, c] for run, c in zip(runs, columns, strict=True)])
    used = np.all([run.is_used[:, c] for run, c in zip(runs, columns, strict=True)], axis=0)
    mean, count = value.mean(0), len(runs)
    half = student.ppf(ENDS[1], count - 1) * value.std(0, ddof=1) / np.sqrt(count)
    low, high = (np.where(used, x, 0.0) for x in (mean - half, mean + half))
    behind = np.full(mean.shape, float(count))
    centres = first.centres[columns[0]]
    return VelocityIntervals("seeds", first.times, centres, np.where(used, mean, 0.0), low, high, used, behind)
