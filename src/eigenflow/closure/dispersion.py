"""Is the velocity a function of the eigenvalue? The spread of lambda-dot among modes of nearly one eigenvalue.

The equation has one v(lambda, t). If modes of one eigenvalue move apart (two-layer linear networks: v = lambda (2 s -
lambda) depends on the strength s of what a mode learns), the mean velocity carries the mean only, and energy spreads in
lambda besides. Single lambda-dots depend on the choice of eigenvectors where eigenvalues are close: label-dependent.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_index
from eigenflow.core.resampling import block_interval

__all__ = ["Dispersion", "velocity_dispersion"]

STILL = 0.01  # of the fastest shell's velocity
MIN_IN_SHELL = 4  # a straight line in ln(lambda) takes two


@dataclass(frozen=True, repr=False)
class Dispersion(FieldsPrinted):
    """Share of the squared logarithmic velocity that the eigenvalue does not determine: 0 single-valued, 1 unrelated.

    It is the mean over shells, so that the fastest of them does not stand for all.

    Attributes:
        share: Median over times, all modes alike.
        interval: Its 90 % interval, block bootstrap over times.
        energy_share: The same with modes weighted by their energy.
        energy_interval: Its 90 % interval.
        times: Times of `by_time`.
        by_time: The share at each time.
        energy_by_time: The same, weighted by energy.
        modes: Modes behind it at a time, median.
    """

    share: float
    interval: tuple[float, float]
    energy_share: float
    energy_interval: tuple[float, float]
    times: Float[np.ndarray, " time"]
    by_time: Float[np.ndarray, " time"]
    energy_by_time: Float[np.ndarray, " time"]
    modes: float


def velocity_dispersion(modes: xr.Dataset, edges: Float[np.ndarray, " edges"], *, seed: int = 0) -> Dispersion:
    """Measure the spread of lambda-dot / lambda inside shells, about a straight line in ln(lambda) in each.

    Args:
        modes: As from `run.modes`, with `eigenvalue`, `eigenvalue_rate` and `coefficient`.
        edges: Edges of the shells.
        seed: Of the bootstrap.

    Raises:
        ArgumentError: If the modes are not stored, or no shell holds 4 of them at 3 times.
    """
    missing = [name for name in ("eigenvalue", "eigenvalue_rate", "coefficient") if name not in modes]
    if missing:
        raise ArgumentError(
            f"`modes` holds no {' and no '.join(missing)}, so their spread in a shell is not known. "
            f"Pass run.modes of a run that stores modes one by one."
        )
    found = []
    for time, lam, rate, g in zip(
        modes["time"].values,
        modes["eigenvalue"].values,
        modes["eigenvalue_rate"].values,
        modes["coefficient"].values,
        strict=True,
    ):
        index = np.where(lam > 0, shell_index(lam, edges), 0)
        counts = np.bincount(index, minlength=len(edges) + 1)
        kept = (counts[index] >= MIN_IN_SHELL) & (index > 0) & (index < len(edges))
        if not kept.any() or not rate[kept].any():
            continue
        x, w, index = np.log(lam[kept]), rate[kept] / lam[kept], index[kept]
        plain = _unexplained(x, w, np.ones_like(w), index, len(edges) + 1)
        found.append((time, plain, _unexplained(x, w, g[kept] ** 2, index, len(edges) + 1), kept.sum()))
    if len(found) < 3:
        raise ArgumentError(
            f"`modes` has {len(found)} measured times with a shell of {MIN_IN_SHELL} moving modes; the spread of "
            f"velocities needs 3. Use more probe samples, or wider shells."
        )
    times, plain, weighted, count = (np.array(column, dtype=float) for column in zip(*found, strict=True))
    rng = np.random.default_rng(seed)

    def interval(values: np.ndarray) -> tuple[float, float]:
        return block_interval(values, lambda v: float(np.median(v)), rng)

    return Dispersion(
        float(np.median(plain)),
        interval(plain),
        float(np.median(weighted)),
        interval(weighted),
        times,
        plain,
        weighted,
        float(np.median(count)),
    )


def _unexplained(x: np.ndarray, w: np.ndarray, weight: np.ndarray, index: np.ndarray, shells: int) -> float:
    """Share of the square of w left by a line, mean over shells by weight; two degrees of freedom a shell go off.

    Shells that move a hundredth as fast as the fastest one stand still, beside it, and are left out.
    """

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, values, minlength=shells)

    mass = total(weight)
    safe = np.where(mass > 0, mass, 1.0)
    y = w - (total(weight * w) / safe)[index]
    z = x - (total(weight * x) / safe)[index]
    square = total(weight * z * z)
    slope = total(weight * z * y) / np.where(square > 0, square, 1.0)
    left = total(weight * (y - slope[index] * z) ** 2)
    # With unequal weights a shell has effectively fewer modes; with no more than two, nothing is left to see.
    share = weight / safe[index]
    effective = 1.0 / np.maximum(total(share**2), np.finfo(np.float64).tiny)
    seen = (effective > 2.5) & (mass > 0)
    left = np.where(seen, left * effective / np.where(seen, effective - 2.0, 1.0), 0.0)
    square = total(weight * w * w)
    fast = np.divide(square, mass, out=np.zeros(shells), where=mass > 0)
    counted = seen & (fast > STILL**2 * fast.max(initial=0.0))
    if not counted.any():
        return 0.0
    share = np.minimum(1.0, left[counted] / square[counted])
    return float((share * mass[counted]).sum() / mass[counted].sum())
