r"""The effective time of any series: losses beside a spectrum, eigenvalues over time, or energies of modes over time.

The untouched operator alone would give the lazy loss L_lazy(t) = floor + sum_u E_u exp(-2 lambda_u t) / 2. A run that
has come to the loss L has the effective time tau with L_lazy(tau) = L: how long the lazy network would have taken.
Losses above the first one or below the floor lie outside of what the lazy curve ever takes, and have no tau; that is a
status, and they are left out. Where modes are known one by one, so are their times,

    of eigenvalues    tau_u = int lambda_u dt / lambda_u(0)
    of energies       tau_u = ln(g_u(0)^2 / g_u(t)^2) / (2 lambda_u(0))

They agree only if all eigenvalues scale alike (drift with b = 1, equations/hypotheses.md#one-effective-time); their
spread says how far one time serves all. What is estimated of tau ~ t^rho L(t): `index`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from eigenflow.core.checks import real_array
from eigenflow.core.display import AbstractPrinted, Card, figure, interval, span
from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.core.rounding import ROUNDING
from eigenflow.theory.effective_time.bootstrap import draw_common
from eigenflow.theory.effective_time.clocks import (
    ROUNDINGS,
    ClockModes,
    Clocks,
    learning_weights,
    operator_clocks,
    solve_clock,
)
from eigenflow.theory.effective_time.given import (
    Spectrum,
    checked_energies,
    checked_series,
    checked_spectrum,
    require_sorted,
)
from eigenflow.theory.effective_time.index import EffectiveTimeIndex, estimate_index
from eigenflow.theory.estimate import Estimate

__all__ = [
    "EffectiveTime",
    "RangeStatus",
    "effective_time_of_eigenvalues",
    "effective_time_of_energies",
    "effective_time_of_losses",
]

BLOCK = 2_000_000  # entries (time, mode) that are held at once


class RangeStatus(StrEnum):
    """Where a loss lies with regard to the lazy curve."""

    INSIDE = "inside"
    ABOVE = "above the first lazy loss"
    BELOW = "below the last lazy loss"
    AT_START = "nothing learned beyond rounding"


@dataclass(frozen=True, repr=False)
class EffectiveTime(AbstractPrinted):
    """tau(t) of a series.

    Attributes:
        kind: "loss", "operator" (eigenvalues) or "error" (energies): what it was read from.
        times: Since the start, > 0; those at which tau exists.
        tau: The common effective time, > 0.
        statuses: Of every time that was given after the start.
        clocks: Times of single modes, and their spread; None for losses. Their `times` are all times.
        runs: tau of each of several runs at `times`; None for a single one.
        seed: Of resampling.
    """

    kind: str
    times: Float[np.ndarray, " time"]
    tau: Float[np.ndarray, " time"]
    statuses: tuple[RangeStatus, ...]
    clocks: Clocks | None = None
    runs: Float[np.ndarray, "run time"] | None = None
    seed: int = 0

    @property
    def status(self) -> RangeStatus:
        """Inside at all times, or what the first time outside is."""
        return next((status for status in self.statuses if status is not RangeStatus.INSIDE), RangeStatus.INSIDE)

    @property
    def spread(self) -> Float[np.ndarray, " time"] | None:
        """Root mean square of tau_u / tau - 1 over the modes that learn at `times`; None for losses."""
        return None if self.clocks is None else self.clocks.spread[self._kept]

    @property
    def _kept(self) -> Bool[np.ndarray, " given"]:
        return np.array([status is RangeStatus.INSIDE for status in self.statuses])

    @Estimate
    def index(self) -> EffectiveTimeIndex:
        """rho with its interval; raises ArgumentError for fewer than 8 times."""
        drawn, rng = None, np.random.default_rng(self.seed)
        if self.clocks is not None and len(self.clocks.rates) > 1:
            drawn = draw_common(self.clocks, rng)[:, self._kept]
        elif self.runs is not None:
            logs = np.log(self.runs)
            drawn = np.exp(logs[rng.integers(0, len(logs), (400, len(logs)))].mean(1))
        return estimate_index(self.times, self.tau, drawn=drawn)

    def _card(self) -> Card:
        outside = [status for status in self.statuses if status is not RangeStatus.INSIDE]
        told = ", ".join(f"{outside.count(one)} {one.value}" for one in dict.fromkeys(outside))
        rows = [
            ("times", f"{len(self.times)} of {len(self.statuses)}, {span(self.times)}"),
            ("tau", span(self.tau)),
            ("outside", told or "none"),
        ]
        if self.spread is not None and self.clocks is not None and len(self.spread):
            rows.append(("spread", f"{figure(self.spread[-1], 3)} at the end, over {len(self.clocks.rates)} modes"))
        try:
            found = self.index
            rows.append(("index", f"{interval(found.value, *found.interval)}, {found.variation.status.value}"))
        except EigenflowError:
            rows.append(("index", "too few times"))
        return Card(f"EffectiveTime of {self.kind}", rows)


def effective_time_of_losses(
    times: Any, losses: Any, spectrum: Spectrum, *, scaled: bool = False, seed: int = 0
) -> EffectiveTime:
    """Read the effective time from losses, by inverting the lazy loss of a spectrum.

    Args:
        times: Sum of learning rates, >= 0, increasing.
        losses: Half the mean square at each, (time) or (run, time); of several runs their geometric mean of tau is
            taken, and the index is resampled over runs.
        spectrum: A task, whose lazy loss is half of its target's energy and ends at half of its noise; or eigenvalues
            and energies, where modes of eigenvalue 0 are never learned.
        scaled: Let the lazy curve begin at the first loss, by a factor on the energies: for a spectrum known in shape.
        seed: Of resampling.

    Raises:
        ArgumentError: If arguments are not as above, or no loss lies inside the lazy curve.
    """
    at, rows = checked_series("losses", times, np.atleast_2d(real_array("losses", losses)), axis=1)
    if (rows < 0).any():
        raise ArgumentError(f"`losses` are half of mean squares and must be >= 0, but the least is {rows.min():.3g}.")
    rates, energies, floor = checked_spectrum(spectrum)
    if scaled:
        first = float(np.exp(np.log(np.maximum(rows[:, 0], np.finfo(np.float64).tiny)).mean()))
        if first <= floor:
            raise ArgumentError(
                f"`scaled` lets the lazy curve begin at the first loss, {first:.4g}, which is not above its end, "
                f"{floor:.4g} (half of the noise, and of what has no eigenvalue). Give the spectrum that belongs to it."
            )
        energies = energies * (2.0 * (first - floor) / float(energies.sum()))
    later = at > 0
    statuses = [_statuses(row[later], rates, energies, floor) for row in rows]
    columns = zip(*statuses, strict=True)
    worst = tuple(next((s for s in column if s is not RangeStatus.INSIDE), RangeStatus.INSIDE) for column in columns)
    kept = np.array([status is RangeStatus.INSIDE for status in worst])
    if not kept.any():
        start = 0.5 * float(energies.sum()) + floor
        raise ArgumentError(
            f"`losses` never lie inside the lazy curve, which falls from {start:.4g} to {floor:.4g}; they go from "
            f"{rows[0, 0]:.4g} to {rows[0, -1]:.4g}. Give the loss that belongs to the spectrum, or scaled=True."
        )
    taus = np.stack([_solved(rates, energies, 2.0 * (row[later][kept] - floor)) for row in rows])
    common = np.exp(np.log(taus).mean(0))
    return EffectiveTime("loss", at[later][kept], common, worst, runs=taus if len(taus) > 1 else None, seed=seed)


def effective_time_of_eigenvalues(
    times: Any, eigenvalues: Any, energies: Any = None, *, seed: int = 0
) -> EffectiveTime:
    """Read it from eigenvalues over time: tau_u = int lambda_u dt / lambda_u(0), each a power between times.

    Args:
        times: Increasing, at least 3; effective times count from the first.
        eigenvalues: (time, mode), >= 0, modes in the order of decreasing first eigenvalue.
        energies: Of each mode at the first time, by which modes count; None: all alike.
        seed: Of resampling over modes.

    Raises:
        ArgumentError: If arguments are not as above.
    """
    at, values = checked_series("eigenvalues", times, real_array("eigenvalues", eigenvalues))
    if (values < 0).any():
        raise ArgumentError(f"`eigenvalues` must be >= 0, but the least is {values.min():.3g}. Set rounding to 0.")
    require_sorted(values[0])
    start = np.ones(values.shape[1]) if energies is None else checked_energies(energies, values.shape[1])
    record = xr.Dataset(
        {
            "time": ("step", at),
            "eigenvalue": (("step", "mode"), values),
            "coefficient": (("step", "mode"), np.tile(np.sqrt(start), (len(at), 1))),
        }
    )
    return _of_clocks(operator_clocks(record), seed)


def effective_time_of_energies(times: Any, energies: Any, eigenvalues: Any, *, seed: int = 0) -> EffectiveTime:
    """Read it from energies of modes over time: tau_u = ln(g_u(0)^2 / g_u(t)^2) / (2 lambda_u(0)).

    Args:
        times: Increasing, at least 3; effective times count from the first.
        energies: g_u^2, (time, mode), >= 0: squares of the error in the eigenbasis of the first time.
        eigenvalues: lambda_u(0), >= 0, decreasing. Modes with less than 1,000 roundings of the largest, or without
            energy at the first time, have no clock.
        seed: Of resampling over modes.

    Raises:
        ArgumentError: If arguments are not as above.
    """
    at, squares = checked_series("energies", times, real_array("energies", energies))
    if (squares < 0).any():
        raise ArgumentError(f"`energies` are squares and must be >= 0, but the least is {squares.min():.3g}.")
    rates = real_array("eigenvalues", eigenvalues)
    if rates.shape != squares.shape[1:] or not np.isfinite(rates).all() or (rates < 0).any():
        raise ArgumentError(
            f"`eigenvalues` must be finite, >= 0 and one for each of the {squares.shape[1]} modes, but have shape "
            f"{rates.shape}{' and hold others' if rates.shape == squares.shape[1:] else ''}."
        )
    require_sorted(rates)
    if len(at) < 3:
        raise ArgumentError(f"`times` must be 3 or more, but are {len(at)}.")
    learns = (rates > ROUNDINGS * np.finfo(np.float64).eps * rates.max()) & (squares[0] > 0)
    if not learns.any():
        raise ArgumentError("`energies` and `eigenvalues` hold no mode that has energy and an eigenvalue above 0.")
    rates, start, later = rates[learns], squares[0, learns], squares[1:, learns]
    least = np.finfo(np.float64).tiny
    taus = (np.log(start) - np.log(np.maximum(later, least))) / (2.0 * rates)
    common = _solved(rates, start, later.sum(1))
    weights = learning_weights(rates, start, common)
    modes = ClockModes(rates, start, later, np.arange(len(rates)))
    clocks = Clocks("error", at[1:] - at[0], rates, taus, weights, common, np.zeros_like(common), modes)
    return _of_clocks(clocks, seed)


def _statuses(losses: np.ndarray, rates: np.ndarray, energies: np.ndarray, floor: float) -> list[RangeStatus]:
    """By more than rounding of the sums; a lazy loss below rounding of the first one has no tau either."""
    start = 0.5 * float(energies.sum())
    left, slack = losses - floor, len(rates) ** 0.5 * ROUNDING
    told = np.select(
        [left <= max(slack * floor, ROUNDING**2 * start), left > start * (1.0 + slack), left > start * (1.0 - slack)],
        [RangeStatus.BELOW.value, RangeStatus.ABOVE.value, RangeStatus.AT_START.value],
        RangeStatus.INSIDE.value,
    )
    return [RangeStatus(one) for one in told]


def _solved(rates: np.ndarray, energies: np.ndarray, remaining: np.ndarray) -> np.ndarray:
    """`solve_clock` in blocks of times."""
    rows = max(1, BLOCK // len(rates))
    parts = range(0, len(remaining), rows)
    return np.concatenate([solve_clock(rates, energies, remaining[start : start + rows]) for start in parts])


def _of_clocks(clocks: Clocks, seed: int) -> EffectiveTime:
    """Times at which the common time is not positive are outside."""
    above, start = clocks.common < 0, clocks.common == 0
    told = np.select([above, start], [RangeStatus.ABOVE.value, RangeStatus.AT_START.value], RangeStatus.INSIDE.value)
    kept = ~(above | start)
    return EffectiveTime(
        clocks.kind,
        clocks.times[kept],
        clocks.common[kept],
        tuple(RangeStatus(one) for one in told),
        clocks,
        None,
        seed,
    )
