"""Effective training time: how long the untouched operator would need for what was learned, mode by mode.

If every eigenvalue scales alike, lambda_u(t) = s(t) lambda_u(0) (drift with b = 1) and modes do not rotate, then each
mode has learned by exp(-2 lambda_u(0) tau(t)) with one tau = int s dt. Otherwise every mode has a clock of its own. Two
kinds of clocks are read here, relative to the first measurement:

    operator   tau_u = int lambda_u dt / lambda_u(0), eigenvalues by rank: what the operator says
    error      tau_B solves sum_(u in B) E_u(0) exp(-2 lambda_u(0) tau_B) = sum_(u in B) <phi_u(0), e(t)>^2, with B a
               shell of the initial eigenvalues: what the error says, rotation included; no label of a mode enters

Their common time is the one tau that gives the same total energy, and each clock counts by its share of the energy that
is being learned at that time. So the spread says how wrong one tau is for the loss.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import coarsen_edges, shell_index
from eigenflow.theory.modes.initial_basis import why_initial_basis_is_unknown

__all__ = ["ClockModes", "Clocks", "error_clocks", "learning_weights", "loss_clock", "operator_clocks", "solve_clock"]

TINY = np.finfo(np.float64).tiny
NEWTON_STEPS = 200
# Modes whose untouched eigenvalue is below this many roundings of the largest do not learn, and have no clock.
ROUNDINGS = 1e3
SHELLS_PER_DECADE = 4


@dataclass(frozen=True)
class ClockModes:
    """The modes behind clocks.

    Attributes:
        rates: Untouched eigenvalues.
        energies: At the first measurement.
        later: At the later ones; for the operator's clocks, what its eigenvalues leave.
        owners: Position of the clock that each mode belongs to.
    """

    rates: Float[np.ndarray, " mode"]
    energies: Float[np.ndarray, " mode"]
    later: Float[np.ndarray, "time mode"]
    owners: Int[np.ndarray, " mode"]


@dataclass(frozen=True)
class Clocks:
    """Effective times of modes or shells, at the measurements after the first.

    Attributes:
        kind: "operator" or "error".
        times: Since the first measurement.
        rates: Untouched eigenvalue of each clock, decreasing; of a shell, weighted by energy.
        taus: Effective time of each clock.
        weights: Share of each clock in the energy that is being learned; they add up to 1 at each time.
        common: The one time that gives the same energy.
        quadrature: Estimated relative error of the clocks from the spacing of measurements: what leaving out every
            second one changes, over 3, by weight. 0 for clocks of the error, which integrate nothing.
        modes: What each clock is made of.
    """

    kind: Literal["operator", "error"]
    times: Float[np.ndarray, " time"]
    rates: Float[np.ndarray, " clock"]
    taus: Float[np.ndarray, "time clock"]
    weights: Float[np.ndarray, "time clock"]
    common: Float[np.ndarray, " time"]
    quadrature: Float[np.ndarray, " time"]
    modes: ClockModes

    @property
    def spread(self) -> Float[np.ndarray, " time"]:
        """Root mean square of tau_u / tau - 1, by weight: 0 if all clocks agree."""
        return np.sqrt((self.weights * (self.taus / self.common[:, None] - 1) ** 2).sum(1))

    @property
    def effective_count(self) -> Float[np.ndarray, " time"]:
        """1 / sum of squared weights: how many clocks count. Of one alone there is no spread."""
        return 1.0 / (self.weights**2).sum(1)

    @property
    def extent(self) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
        """5 % and 95 % quantile of tau_u / tau over all clocks alike, also those that learn nothing at the time."""
        low, high = np.quantile(self.taus / self.common[:, None], [0.05, 0.95], axis=1)
        return low, high

    @property
    def last_decade(self) -> Bool[np.ndarray, " time"]:
        """The times in the last decade."""
        return self.times >= self.times[-1] / 10.0


def operator_clocks(data: xr.Dataset) -> Clocks:
    """Clocks of single modes from the measured eigenvalues, by rank.

    Between measurements an eigenvalue is taken as a power of time.

    Args:
        data: `run.measurements`, at least 3.

    Raises:
        ArgumentError: If there are fewer measurements, or time does not increase.
    """
    times, rates, energies = _start(data)
    eigenvalues = np.maximum(data["eigenvalue"].values[:, : len(rates)], 0.0)
    taus = (power_integral(times, eigenvalues) / rates)[1:]
    later = energies * np.exp(-2 * rates * taus)
    common = solve_clock(rates, energies, later.sum(1))
    weights = learning_weights(rates, energies, common)
    quadrature = _quadrature_error(times, eigenvalues / rates, taus, weights)
    modes = ClockModes(rates, energies, later, np.arange(len(rates)))
    return Clocks("operator", times[1:], rates, taus, weights, common, quadrature, modes)


def _quadrature_error(times: np.ndarray, speeds: np.ndarray, taus: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Second order in the spacing: half as many measurements are off by four times as much."""
    kept = np.unique(np.append(np.arange(0, len(times), 2), len(times) - 1))
    coarse = power_integral(times[kept], speeds[kept])[1:]
    later = kept[1:] - 1
    miss = (weights[later] * np.abs(coarse / np.maximum(taus[later], TINY) - 1)).sum(1) / 3
    return np.interp(times[1:], times[kept[1:]], miss)


def error_clocks(data: xr.Dataset) -> Clocks:
    """Clocks of the shells of the untouched operator, from the error in its eigenbasis.

    Args:
        data: `run.measurements`, at least 3, with `initial_coefficient`.

    Raises:
        ArgumentError: If the run lacks `initial_coefficient`, or as for `operator_clocks`.
    """
    why = why_initial_basis_is_unknown(data)
    if why is not None:
        raise ArgumentError(f"`data` has no clocks of the error: {why}. Record it again, or use its operator's clocks.")
    times, rates, energies = _start(data)
    later = data["initial_coefficient"].values[1:, : len(rates)] ** 2
    edges = data["edge"].values
    shells = shell_index(rates, edges[coarsen_edges(edges, SHELLS_PER_DECADE)])
    members = [np.flatnonzero(shells == shell) for shell in np.unique(shells)[::-1]]
    members = [index for index in members if energies[index].sum() > 0]
    taus = np.stack([solve_clock(rates[i], energies[i], later[:, i].sum(1)) for i in members], axis=1)
    common = solve_clock(rates, energies, later.sum(1))
    by_mode = learning_weights(rates, energies, common)
    weights = np.stack([by_mode[:, i].sum(1) for i in members], axis=1)
    labels = np.array([np.average(rates[i], weights=energies[i]) for i in members])
    owners = np.concatenate([np.full(len(index), clock) for clock, index in enumerate(members)])
    index = np.concatenate(members)
    modes = ClockModes(rates[index], energies[index], later[:, index], owners)
    return Clocks("error", times[1:], labels, taus, weights, common, np.zeros_like(common), modes)


def loss_clock(data: xr.Dataset) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """The common time from the whole energy alone, for runs that lack the error in the untouched eigenbasis.

    Energy outside the modes that were stored one by one is taken to stay where it is, but for a tracked run's tail,
    which enters by the quadrature of its measure.

    Returns:
        Times since the first measurement, and tau at each.
    """
    times, rates, energies = _start(data)
    if "tail_node" in data:
        first = data.isel(step=0)
        rates = np.concatenate([rates, first["tail_node"].values])
        energies = np.concatenate([energies, first["tail_mass"].values])
    total = data["energy"].sum("shell").values
    stays = max(0.0, float(total[0] - energies.sum()))
    kept = (energies > 0) & (rates > 0)
    return times[1:], solve_clock(rates[kept], energies[kept], np.maximum(total[1:] - stays, TINY))


def solve_clock(
    rates: Float[np.ndarray, " mode"], energies: Float[np.ndarray, " mode"], remaining: Float[np.ndarray, " time"]
) -> Float[np.ndarray, " time"]:
    """Solve sum_u E_u exp(-2 lambda_u tau) = remaining energy for tau; negative if there is more than before.

    The logarithm of the sum is convex and decreasing in tau, so that Newton's method from the left is monotone.

    Args:
        rates: lambda_u > 0.
        energies: E_u >= 0, not all 0.
        remaining: Energies; 0 counts as the smallest float.
    """
    remaining = np.maximum(remaining, TINY)
    gone = np.log(energies.sum()) - np.log(remaining)
    mean = float(np.average(rates, weights=energies))
    tau = gone / (2 * np.where(gone > 0, rates[energies > 0].max(), mean))
    for _ in range(NEWTON_STEPS):
        exponents = -2 * rates * tau[:, None]
        top = exponents.max(1, keepdims=True)
        terms = energies * np.exp(exponents - top)
        total = terms.sum(1)
        excess = np.log(total) + top[:, 0] - np.log(remaining)
        step = excess / (2 * (terms * rates).sum(1) / total)
        tau = tau + step
        if (np.abs(step) <= 1e-13 * np.abs(tau)).all():
            break
    return tau


def power_integral(
    times: Float[np.ndarray, " time"], values: Float[np.ndarray, "time series"]
) -> Float[np.ndarray, "time series"]:
    """Integral from the first time on, of what is a power of time between samples; linear where it cannot be one."""
    start, end = times[:-1, None], times[1:, None]
    first, last = values[:-1], values[1:]
    pieces = (end - start) * (first + last) / 2
    is_power = (start > 0) & (first > 0) & (last > 0)
    step = np.log(np.broadcast_to(end, first.shape)[is_power] / np.broadcast_to(start, first.shape)[is_power])
    moments = (first * start)[is_power], (last * end)[is_power]
    # int t^p dt = [t^(p+1)] / (p + 1) = first moment x step x (exp(x) - 1) / x, with x = (p + 1) step.
    x = np.log(moments[1] / moments[0])
    pieces[is_power] = moments[0] * step * np.where(x == 0, 1.0, np.expm1(x) / np.where(x == 0, 1.0, x))
    return np.concatenate([np.zeros_like(values[:1]), np.cumsum(pieces, axis=0)])


def _start(data: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times since the first measurement; untouched eigenvalues and energies of the modes that learn."""
    times = data["time"].values - float(data["time"][0])
    if len(times) < 3 or (np.diff(times) <= 0).any():
        raise ArgumentError(
            f"`data` must hold 3 measurements or more with increasing times, but holds {len(times)}"
            f"{'' if len(times) < 3 else ' whose times do not increase'}. Measure more updates."
        )
    eigenvalues = data["eigenvalue"].values[0]
    count = int((eigenvalues > ROUNDINGS * np.finfo(np.float64).eps * eigenvalues.max()).sum())
    energies = data["coefficient"].values[0, :count] ** 2
    if count == 0 or not energies.any():
        raise ArgumentError("`data` holds no mode with a positive eigenvalue and energy, so nothing can be learned.")
    return times, eigenvalues[:count], energies


def learning_weights(
    rates: Float[np.ndarray, " mode"], energies: Float[np.ndarray, " mode"], common: Float[np.ndarray, " time"]
) -> Float[np.ndarray, "time mode"]:
    """Share of each mode in what is being learned at effective times; they add up to 1 at each."""
    exponents = -2 * rates * common[:, None]
    learned = rates * energies * np.exp(exponents - exponents.max(1, keepdims=True))
    return learned / learned.sum(1, keepdims=True)
