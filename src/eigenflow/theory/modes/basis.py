"""How far the eigenbasis turns: subspace angles of shells since the measurement before and since the first one.

||P_a(t) P_b(s)||_F^2, the sum of cos^2 of the principal angles between two shells, does not depend on the choice of
eigenvectors. Divided by the number of modes in shell a it says where its modes lay at the earlier time. A spectrum that
grows or shrinks as a whole moves modes from shell to shell without turning them, so shells are compared after the
common shift that keeps most; what then lies neither in the same shell nor in a neighbour of it has turned, or drifted
by another factor than the rest.

A second number needs no shells. In the basis of the first measurement M has the diagonal r_u = phi_u(0)' M phi_u(0); if
the basis did not turn, ||M||_F^2 is the sum of r_u^2, whatever the eigenvalues did. What is missing is the part of M
that acts outside of its first eigenbasis.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from eigenflow.core.errors import RunFolderError
from eigenflow.core.grid import coarsen_edges

__all__ = ["BasisDrift", "ShellAngles", "basis_drift"]


@dataclass(frozen=True)
class ShellAngles:
    """Shells now against shells at an earlier time; NaN where a shell is empty now.

    Attributes:
        shift: Shells by which the spectrum moved up as a whole, per time; the shift that keeps most.
        kept: Share of each shell's modes that lay in the same shell, after the shift.
        near: The same with both neighbours of that shell.
        angle: Root mean square principal angle between each shell and the same one and its neighbours, in radians.
        whole: `near`, averaged over all modes above the lowest shell.
    """

    shift: Int[np.ndarray, " times"]
    kept: Float[np.ndarray, "times shells"]
    near: Float[np.ndarray, "times shells"]
    angle: Float[np.ndarray, "times shells"]
    whole: Float[np.ndarray, " times"]


@dataclass(frozen=True)
class BasisDrift:
    """The eigenbasis over training.

    Attributes:
        edges: Shell edges in the eigenvalue, 1 / time.
        times: Sums of learning rates at the measurements.
        since_before: Against the measurement before; the first row, and those after a gap, hold NaN.
        since_start: Against the first measurement.
        outside: Share of ||M||_F^2 outside of the first eigenbasis, at each time; None where it was not recorded.
        outside_lower: Its lower bound where not all modes are stored; equal to `outside` where they are.
    """

    edges: Float[np.ndarray, " edges"]
    times: Float[np.ndarray, " times"]
    since_before: ShellAngles
    since_start: ShellAngles
    outside: Float[np.ndarray, " times"] | None
    outside_lower: Float[np.ndarray, " times"] | None


def basis_drift(data: xr.Dataset, *, shells_per_decade: int = 4) -> BasisDrift:
    """Read the drift of the eigenbasis from a run.

    Args:
        data: `run.measurements`.
        shells_per_decade: 1, 2, 4, 8 or 16.

    Raises:
        RunFolderError: If the run does not hold the overlaps.
        ArgumentError: If `shells_per_decade` does not divide 16.
    """
    missing = [name for name in ("shell_overlap", "shell_overlap_initial") if name not in data]
    if missing:
        raise RunFolderError(
            f"The run does not hold {', '.join(missing)}: it was recorded by an older version. Record it again."
        )
    stored, times = data["edge"].values, data["time"].values
    kept = coarsen_edges(stored, shells_per_decade)
    group = np.searchsorted(kept, np.arange(len(stored) + 1) - 1, side="right")
    names = ("shell_overlap", "shell_overlap_initial")
    before, start = (_coarse(data[name].values, group, len(kept) + 1) for name in names)
    if "frame_time" in data:
        # A measurement that was lost leaves an overlap with one that is not here.
        before[1:][~np.isclose(data["frame_time"].values[1:], times[:-1], rtol=1e-12, atol=0)] = 0.0
    outside, lower = _outside(data)
    return BasisDrift(stored[kept], times, _angles(before), _angles(start), outside, lower)


def _coarse(overlap: np.ndarray, group: np.ndarray, count: int) -> Float[np.ndarray, "times shells shells"]:
    first = np.add.reduceat(overlap, np.searchsorted(group, np.arange(count)), axis=1)
    return np.add.reduceat(first, np.searchsorted(group, np.arange(count)), axis=2)


def _angles(overlap: Float[np.ndarray, "times shells from"]) -> ShellAngles:
    counts = overlap.sum(2)
    resolved = counts[:, 1:].sum(1)
    shells = overlap.shape[1]
    shift, kept, near = (np.zeros(shape) for shape in (len(overlap), counts.shape, counts.shape))
    for t, matrix in enumerate(overlap):
        # Shell 0 is open below: what lies there has no distance, and is not shifted.
        inner = matrix[1:, 1:]
        traces = {k: np.trace(inner, offset=-k) for k in range(-(shells // 2), shells // 2 + 1)}
        shift[t] = max(traces, key=lambda k: (traces[k], -abs(k)))
        for distance, into in ((0, kept), (1, near)):
            for k in range(-distance, distance + 1):
                _add_diagonal(into[t, 1:], inner, int(shift[t]) + k)
    with np.errstate(invalid="ignore", divide="ignore"):
        is_there = counts > 1e-9
        kept, near = (np.where(is_there, part / counts, np.nan) for part in (kept, near))
        whole = np.where(resolved > 0, np.nansum(near * counts, axis=1) / resolved, np.nan)
    kept[:, 0] = near[:, 0] = np.nan
    return ShellAngles(shift.astype(int), kept, near, np.arccos(np.sqrt(np.clip(near, 0.0, 1.0))), whole)


def _add_diagonal(into: np.ndarray, matrix: np.ndarray, offset: int) -> None:
    """Add the entries `offset` shells below each shell to it."""
    rows = np.arange(max(0, offset), min(len(matrix), len(matrix) + offset))
    into[rows] += matrix[rows, rows - offset]


def _outside(data: xr.Dataset) -> tuple[np.ndarray | None, np.ndarray | None]:
    if "initial_rayleigh" not in data or "operator_norm" not in data:
        return None, None
    diagonal, whole = data["initial_rayleigh"].values, data["operator_norm"].values ** 2
    outside = 1.0 - (diagonal**2).sum(1) / whole
    # The diagonal of modes that are not stored adds up to what is missing of the trace, its squares to less than that.
    rest = np.maximum(data["trace"].values - diagonal.sum(1), 0.0)
    return np.clip(outside, 0.0, 1.0), np.clip(outside - rest**2 / whole, 0.0, 1.0)
