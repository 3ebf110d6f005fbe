"""The energy balance of shells between measurements: what the measured rates integrate to, against what changed.

A measured update gives the rate of every term of the budget at one time. Between two measurements rates are
interpolated in log time, x = ln(t + shift), by cubic Hermite polynomials with slopes by differences over three
measurements, and summed over the updates that were made: fourth order in the spacing for smooth rates, and exact for
neighbouring updates. The difference to straight lines is the error estimate. It bounds what the cubic misses where
measurements resolve the rates, and is large where they do not: modes that decay between two measurements, noise of
single batches, a gap. Where the step size changes, or the number of eigenvalues in a shell, rates jump and nothing
tells when: the error then is at least the half difference of both ends.

Transfer between shells comes in jumps, one for each eigenvalue that crosses an edge, and measured updates hit few of
them, so sampling it says little. The balance gives all of it, with an error bar: what changed less all other terms.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import RunFolderError
from eigenflow.shells.budget import ShellBudget

__all__ = ["IntegratedBalance", "integrated_balance"]

TERMS = {"dissipation": -1.0, "optimizer": 1.0, "curvature": 1.0, "remainder": 1.0, "buffers": 1.0}
# An interval so many times longer in log time than the median one is a gap.
GAP = 3.0
# Up to so many updates are summed one by one; beyond, by a Gauss rule.
SUMMED, GAUSS_NODES = 256, 16
# Longest shift of log time, in durations of the run.
SHIFT = 1e3
# A step size that differs by more than this part is another one.
SAME_STEP = 1e-6


@dataclass(frozen=True, repr=False)
class IntegratedBalance(FieldsPrinted):
    """What each term of the budget brought to each shell between neighbouring measurements.

    Arrays have dimensions `interval` and `shell`, those of the budget; in units of energy. In a run of tracked modes
    all below the highest cut of the run is shell 0.

    Attributes:
        edges: Shell edges in the eigenvalue, 1 / time.
        start: Sum of learning rates at the beginning of each interval.
        end: At its end.
        change: E_B(end) - E_B(start), measured.
        terms: Integral of each term but transfer, with the sign it has in the balance, by name. What moving buffers
            carry between shells counts as transfer.
        errors: Estimated quadrature error of each, by name.
        error: Estimated error of `residual`, with dimension `interval`: that of the terms summed over shells, where no
            eigenvalue that crosses an edge makes a jump.
        sampled_transfer: Integral of the transfer at measured updates, for comparison with `transported`.
        is_gap: Whether the interval is much longer than others, in log time.
        is_step_changed: Whether the update's length differs between its ends.
    """

    edges: Float[np.ndarray, " edges"]
    start: xr.DataArray
    end: xr.DataArray
    change: xr.DataArray
    terms: dict[str, xr.DataArray]
    errors: dict[str, xr.DataArray]
    error: xr.DataArray
    sampled_transfer: xr.DataArray
    is_gap: xr.DataArray
    is_step_changed: xr.DataArray

    @property
    def transported(self) -> xr.DataArray:
        """Energy that each shell got from others: its change less the integrated terms."""
        return self.change - sum(self.terms.values())

    @property
    def transported_error(self) -> xr.DataArray:
        """Its estimated error: the terms' errors, added up."""
        return sum(self.errors.values(), xr.zeros_like(self.change))

    @property
    def residual(self) -> xr.DataArray:
        """What the terms leave unexplained of the change of all energy, along `interval`: transfer adds up to zero."""
        return self.transported.sum("shell")

    @property
    def flux(self) -> xr.DataArray:
        """Mean downward flux through each edge over the interval, energy per time, from `transported`.

        Positive towards small eigenvalues. `residual` is spread over shells in proportion to their errors, so that
        nothing leaves through the outermost edges.
        """
        whole = self.transported_error.sum("shell")
        share = self.transported_error / xr.where(whole > 0, whole, 1.0)
        closed = self.transported - self.residual * share
        below = closed.cumsum("shell").isel(shell=slice(None, -1)).rename(shell="edge")
        return (below / (self.end - self.start)).transpose("interval", "edge")


def integrated_balance(budget: ShellBudget) -> IntegratedBalance:
    """Integrate the measured budget between its measurements.

    Args:
        budget: As from `shell_budget`.

    Raises:
        RunFolderError: If there are fewer than two measurements.
    """
    times = budget.time.values
    if len(times) < 2:
        raise RunFolderError(
            f"A balance between measurements needs at least two, but the run has {len(times)}. Measure more steps."
        )
    lengths = budget.step_size.values
    x = _log_time(times - times[0])
    updates = np.diff(budget.time["step"].values)
    is_changed = ~np.isclose(lengths[1:], lengths[:-1], rtol=SAME_STEP, atol=0)
    below = _unresolved(budget)
    has_jumps = (np.diff(_merged(budget.mode_count.values, below), axis=0) != 0) | is_changed[:, None]
    interval = _Interval(x, np.diff(times), updates)
    terms, errors, whole = {}, {}, 0.0
    for name, sign in {**TERMS, "transfer": 1.0}.items():
        rates = sign * _merged(_term(budget, name), below) / lengths[:, None]
        terms[name], errors[name] = (_field(part, budget) for part in interval.sums(rates, has_jumps))
        whole = whole + rates.sum(1, keepdims=True)
    sampled_transfer = terms.pop("transfer")
    del errors["transfer"]
    error = interval.sums(np.asarray(whole), is_changed[:, None])[1][:, 0]
    energy = _merged(budget.energy.values, below)
    spacing = np.diff(x)
    return IntegratedBalance(
        edges=budget.edges,
        start=_along(times[:-1], budget),
        end=_along(times[1:], budget),
        change=_field(np.diff(energy, axis=0), budget),
        terms=terms,
        errors=errors,
        error=_along(error, budget),
        sampled_transfer=sampled_transfer,
        is_gap=_along(spacing > GAP * np.median(spacing), budget),
        is_step_changed=_along(is_changed, budget),
    )


def _term(budget: ShellBudget, name: str) -> Float[np.ndarray, "times shells"]:
    """A term as it stands in the balance: all transfer is one, whether an update brought it or moving buffers did."""
    values, by_buffers = getattr(budget, name).values, budget.buffers_transfer.values
    return values + {"transfer": 1.0, "buffers": -1.0}.get(name, 0.0) * by_buffers


def _log_time(t: Float[np.ndarray, " times"]) -> Float[np.ndarray, " times"]:
    """ln(t + shift), shifted so that the measurement in the middle lies in the middle.

    Evenly spaced measurements get a long shift, so x is as good as linear in t; log-spaced ones one of a few updates.
    """
    middle, last = t[len(t) // 2], t[-1]
    longest = SHIFT * last
    shift = longest if last <= 2 * middle else min(middle**2 / (last - 2 * middle), longest)
    return np.log1p(t / max(shift, t[1]))


@dataclass(frozen=True)
class _Interval:
    """The intervals between measurements: log time, lengths in time, and numbers of updates."""

    x: Float[np.ndarray, " times"]
    lengths: Float[np.ndarray, " intervals"]
    updates: Int[np.ndarray, " intervals"]

    @cached_property
    def weights(self) -> Float[np.ndarray, "intervals 6"]:
        return np.array(
            [_weights(*ends) for ends in zip(self.x[:-1], self.x[1:], self.lengths, self.updates.tolist(), strict=True)]
        )

    def sums(
        self, rates: Float[np.ndarray, "times shells"], has_jumps: Bool[np.ndarray, "intervals _"]
    ) -> tuple[Float[np.ndarray, "intervals shells"], Float[np.ndarray, "intervals shells"]]:
        """Sum rates over the updates of each interval, and estimate the error."""
        first, second = rates[:-1], rates[1:]
        line = self.weights[:, 0, None] * first + self.weights[:, 1, None] * second
        half_difference = 0.5 * self.lengths[:, None] * np.abs(second - first)
        if len(rates) < 3:
            return line, half_difference
        slopes = np.gradient(rates, self.x, axis=0, edge_order=2)
        values = np.stack([first, second, slopes[:-1], slopes[1:]], axis=1)
        curve = np.einsum("iw,iws->is", self.weights[:, 2:], values)
        error = np.abs(curve - line)
        return curve, np.where(has_jumps, np.maximum(error, half_difference), error)


def _weights(start: float, end: float, length: float, updates: int) -> Float[np.ndarray, " 6"]:
    """Of both ends by a straight line in x; of both ends and both slopes by a cubic. Each sums over all updates."""
    if updates <= SUMMED:
        shares, weights = np.arange(updates) / updates, np.full(updates, length / updates)
    else:
        nodes, weights = np.polynomial.legendre.leggauss(GAUSS_NODES)
        shares, weights = 0.5 * (1.0 + nodes), 0.5 * length * weights
    h = end - start
    s = np.log1p(shares * np.expm1(h)) / h  # share of the interval in log time
    rest = 1.0 - s
    basis = np.stack([rest, s, rest**2 * (1 + 2 * s), s**2 * (3 - 2 * s), h * s * rest**2, -h * s**2 * rest])
    found = basis @ weights
    if updates > SUMMED:
        # A sum over starts of updates is the integral less half the difference of the ends (Euler-Maclaurin).
        found[[0, 2]] += 0.5 * length / updates
        found[[1, 3]] -= 0.5 * length / updates
    return found


def _unresolved(budget: ShellBudget) -> int:
    """Shells 1 up to this one lie below the highest cut of the run."""
    return 0 if budget.cut is None else int(np.searchsorted(budget.edges, float(budget.cut.max()) * (1 - 1e-12)))


def _merged(values: np.ndarray, below: int) -> np.ndarray:
    merged = values.copy()
    merged[:, 0] += merged[:, 1 : below + 1].sum(1)
    merged[:, 1 : below + 1] = 0.0
    return merged


def _field(values: np.ndarray, budget: ShellBudget) -> xr.DataArray:
    return xr.DataArray(values, dims=("interval", "shell"), coords=_coordinates(budget), attrs=budget.energy.attrs)


def _along(values: np.ndarray, budget: ShellBudget) -> xr.DataArray:
    return xr.DataArray(values, dims="interval", coords=_coordinates(budget))


def _coordinates(budget: ShellBudget) -> dict[str, tuple[str, np.ndarray]]:
    """The step at which each interval begins."""
    return {"step": ("interval", budget.time["step"].values[:-1])}
