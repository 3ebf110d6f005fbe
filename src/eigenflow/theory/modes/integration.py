"""C2 over an interval: the coupled mode equations between measured times, held against the coefficients there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.theory.modes.leading import Labels, LeadingModes, read_leading_modes

__all__ = ["ModeIntegration", "integrate_modes", "integration_errors"]


@dataclass(frozen=True)
class ModeIntegration:
    """Predicted against measured coefficients over windows of two spacings, each from the measured start of its own.

    A window goes from measurement i over j to k. It is crossed in two steps and in one; the difference tells how much
    of the error is due to the spacing. Errors are relative to the change ||g(k) - g(i)|| of the leading coefficients,
    in a frame carried in parallel, so 1 is what predicting no change would reach.

    Attributes:
        start: Index of each window's first measurement.
        times: Its beginning and end, sums of learning rates.
        modes: Leading modes that were coupled.
        stride: Measurements per step.
        labels: How the time between measurements was filled; see `leading_modes`.
        error: Of the two steps.
        coarse_error: Of the one.
        spacing_error: Part of `error` that the spacing explains: a third of the difference, as for a method of second
            order.
        closed_error: Of the two steps without the modes beyond the leading ones.
        frozen_error: Of an operator that stands still over the window: no drift, no rotation.
        leaving: Share of the leading eigenvectors that left their span over the window.
        gaps: Windows that were left out because no overlap joins their measurements.
        chained_error: ||g - predicted|| / ||g(0)|| at the measurements, integrated from the first one on without
            restart; it ends before the first gap.
        chained_times: Their times.
    """

    start: Int[np.ndarray, " windows"]
    times: Float[np.ndarray, "windows 2"]
    modes: int
    stride: int
    labels: Labels
    error: Float[np.ndarray, " windows"]
    coarse_error: Float[np.ndarray, " windows"]
    spacing_error: Float[np.ndarray, " windows"]
    closed_error: Float[np.ndarray, " windows"]
    frozen_error: Float[np.ndarray, " windows"]
    leaving: Float[np.ndarray, " windows"]
    gaps: int
    chained_error: Float[np.ndarray, " chained"]
    chained_times: Float[np.ndarray, " chained"]


def integrate_modes(
    data: xr.Dataset, *, modes: int | None = None, stride: int = 1, labels: Labels = "transported"
) -> ModeIntegration:
    """Integrate the mode equations between the measurements of a run.

    Args:
        data: `run.measurements`.
        modes: Leading modes to couple; None takes all whose couplings are stored.
        stride: Take every so many measurements, to see how the error depends on the spacing.
        labels: See `leading_modes`.

    Returns:
        Errors over all windows. About 1 s for 60 measurements and 64 modes.

    Raises:
        RunFolderError: If the run holds no couplings, or too few measurements.
        ArgumentError: If `modes` or `stride` is out of range.
    """
    leading = read_leading_modes(data, modes=modes, labels=labels)
    if stride < 1:
        raise ArgumentError(f"`stride` must be at least 1, but is {stride}.")
    count = len(leading.times)
    if count < 2 * stride + 1:
        raise RunFolderError(
            f"The mode equations over an interval need at least {2 * stride + 1} measurements at `stride` {stride}, "
            f"but the run has {count}. Measure more steps."
        )
    whole = range(0, count - 2 * stride, stride)
    starts = [i for i in whole if leading.is_joined(i, i + 2 * stride)]
    columns = np.array([_window(leading, i, stride) for i in starts]).reshape(-1, 6).T
    start = np.array(starts, dtype=int)
    chained = _chained(leading, stride)
    return ModeIntegration(
        start,
        np.stack([leading.times[start], leading.times[start + 2 * stride]], axis=1),
        leading.count,
        stride,
        labels,
        *columns,
        gaps=len(whole) - len(starts),
        chained_error=chained,
        chained_times=leading.times[::stride][: len(chained)],
    )


def integration_errors(
    data: xr.Dataset, *, modes: Sequence[int], strides: Sequence[int] = (1, 2, 4), labels: Labels = "transported"
) -> xr.DataArray:
    """The median error of all windows against the number of modes and the spacing.

    Args:
        data: `run.measurements`.
        modes: Numbers of leading modes.
        strides: Measurements per step.
        labels: See `leading_modes`.

    Returns:
        Dimensions `kind`, `modes` and `stride`. Kinds are "error" with the source of the modes beyond, "closed" without
        it, "frozen" for a standing operator, "spacing" for the part of "error" that the spacing explains.

    Raises:
        RunFolderError: If the run holds no couplings, or too few measurements.
        ArgumentError: If a number of modes or a stride is out of range.
    """
    kinds = {"error": "error", "closed": "closed_error", "frozen": "frozen_error", "spacing": "spacing_error"}
    found = [[integrate_modes(data, modes=count, stride=s, labels=labels) for s in strides] for count in modes]
    values = [[[np.median(getattr(one, name)) for one in row] for row in found] for name in kinds.values()]
    coords = {"kind": list(kinds), "modes": list(modes), "stride": list(strides)}
    return xr.DataArray(np.array(values), dims=("kind", "modes", "stride"), coords=coords)


def _window(leading: LeadingModes, i: int, stride: int) -> list[float]:
    """The errors of one window, and the share of the span that left."""
    j, k = i + stride, i + 2 * stride
    g, turn = leading.coefficients, leading.turn(i, k)
    near, far, across = leading.step(i, j), leading.step(j, k), leading.step(i, k)
    fine, coarse = far(near(g[i])), across(g[i])
    closed = far(near(g[i], closed=True), closed=True)
    frozen = turn @ (np.exp(-leading.rates[i] * (leading.times[k] - leading.times[i])) * g[i])
    change = max(float(np.linalg.norm(g[k] - turn @ g[i])), np.finfo(np.float64).tiny)
    misses = (fine - g[k], coarse - g[k], (fine - coarse) / 3.0, closed - g[k], frozen - g[k])
    leaving = 1.0 - float((leading.overlap(i, k) ** 2).sum(1).mean())
    return [*(float(np.linalg.norm(miss)) / change for miss in misses), leaving]


def _chained(leading: LeadingModes, stride: int) -> Float[np.ndarray, " chained"]:
    g = leading.coefficients[0]
    whole, errors = max(float(np.linalg.norm(g)), np.finfo(np.float64).tiny), [0.0]
    for k in range(stride, len(leading.times), stride):
        if not leading.is_joined(k - stride, k):
            break
        g = leading.step(k - stride, k)(g)
        errors.append(float(np.linalg.norm(g - leading.coefficients[k])) / whole)
    return np.array(errors)
