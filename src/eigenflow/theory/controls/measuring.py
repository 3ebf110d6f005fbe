"""What a recorder would store of a system that is known exactly: the same names and definitions, without a network.

A system is a function of time that returns an `Instant`. Frames are sparse, since modes of controls turn in pairs at
most, so a thousand modes cost little more than their shells do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array, diags_array

from eigenflow.core.grid import shell_edges, shell_index
from eigenflow.store import Run

__all__ = ["ControlRun", "Instant", "System", "Update", "measure", "resting_modes"]

LEADING = 64  # modes with couplings, as the recorder stores by default
LEAST = 1e-150  # of a coefficient: its square is still a normal number
TINY = float(np.finfo(np.float64).tiny)
# What a record of states has of it.
OF_STATES = (
    "time",
    "probe_loss",
    "total_energy",
    "trace",
    "operator_norm",
    "operator_error",
    "initial_distance",
    "initial_alignment",
    "energy",
    "mode_count",
    "eigenvalue_sum",
    "eigenvalue",
    "coefficient",
    "initial_coefficient",
    "initial_rayleigh",
    "sample_energy",
    "shell_overlap",
    "shell_overlap_initial",
    "frame_overlap",
)


@dataclass(frozen=True, eq=False)
class Instant:
    """A system at one time.

    Attributes:
        eigenvalues: Of M, in decreasing order, 1 / time.
        frame: Eigenvectors as rows.
        rates: <phi_u, Mdot phi_v>, 1 / time^2.
        error: e.
    """

    eigenvalues: Float[np.ndarray, " mode"]
    frame: csr_array
    rates: csr_array
    error: Float[np.ndarray, " mode"]

    @cached_property
    def coefficients(self) -> Float[np.ndarray, " mode"]:
        """<phi_u, e>."""
        return self.frame @ self.error

    def gradient_step(self, length: float) -> Float[np.ndarray, " mode"]:
        """e after one step of gradient descent at the frozen operator."""
        return self.frame.T @ ((1.0 - length * self.eigenvalues) * self.coefficients)


System = Callable[[float], Instant]
# The error of the linearised network after the update at a time, of a length, if that is not gradient descent.
Update = Callable[[Instant, float, float], np.ndarray]


def resting_modes(
    eigenvalues: Float[np.ndarray, " mode"],
    rates: Float[np.ndarray, " mode"],
    coefficients: Float[np.ndarray, " mode"],
) -> Instant:
    """An instant of modes in any order that never turn."""
    order = np.argsort(-eigenvalues, kind="stable")
    count = len(order)
    frame = csr_array((np.ones(count), (np.arange(count), order)), shape=(count, count))
    error = np.where(np.abs(coefficients) > LEAST, coefficients, 0.0)
    return Instant(eigenvalues[order], frame, diags_array(rates[order]).tocsr(), error)


def measure(
    system: System, times: Float[np.ndarray, " time"], step_size: float, *, update: Update | None = None
) -> xr.Dataset:
    """Measure the updates that start at `times`, as a recorder does.

    Args:
        system: The system.
        times: Starts of the updates, multiples of their length.
        step_size: Length of an update.
        update: What the update of the linearised network does; by default gradient descent.

    Returns:
        What `run.measurements` of such a run would hold.
    """
    first = system(float(times[0]))
    edges = shell_edges(float(first.eigenvalues[0]))
    rows, previous = [], first
    for time in times:
        now, after = system(float(time)), system(float(time) + step_size)
        linear = now.gradient_step(step_size) if update is None else update(now, float(time), step_size)
        rows.append(_Measured(now, after, previous, first, float(time), step_size, linear, edges).variables())
        previous = now
    coords = {"step": np.round(np.asarray(times) / step_size).astype(int), "edge": ("edge", edges)}
    return xr.Dataset(
        {name: (("step", *dims), np.array([row[name][1] for row in rows])) for name, (dims, _) in rows[0].items()},
        coords=coords,
    )


class ControlRun(Run):
    """Measurements of a control, read like a run, without a folder.

    Args:
        data: As from `measure`.
        name: In place of the folder's.
        batch_size: Samples that every update saw; all of them by default.
        is_of_states: Whether it holds what a record of states does, and not more.
    """

    def __init__(
        self, data: xr.Dataset, name: str, *, batch_size: int | None = None, is_of_states: bool = False
    ) -> None:
        self._data, self._path, self._is_of_states = data, Path(name), is_of_states
        self._batch_size = data.sizes["mode"] if batch_size is None else batch_size

    def as_states(self) -> "ControlRun":
        """The same system as a record of its states, without the updates."""
        times = self._data["time"].values
        before = xr.DataArray(np.append(times[:1], times[:-1]), dims="step")
        data = self._data[list(OF_STATES)].assign(frame_time=before, initial_time=xr.full_like(before, times[0]))
        return ControlRun(data.assign_coords(edge=self._data["edge"]), self._path.name, is_of_states=True)

    def __repr__(self) -> str:
        return f"ControlRun {self._path.name}: {self._data.sizes['mode']} modes at {self._data.sizes['step']} times"

    @property
    def header(self) -> dict[str, Any]:
        """Of plain gradient descent on a squared loss; a sample has one output."""
        return {
            **({"kind": "states", "clock": "learning rates"} if self._is_of_states else {}),
            "config": {"train": {"optimizer": "sgd"}},
            "probe": {"samples": self._data.sizes["mode"], "outputs": 1, "is_quadratic": True},
        }

    @property
    def measured_steps(self) -> tuple[int, ...]:
        """Steps of the measurements."""
        return tuple(int(step) for step in self._data["step"].values)

    @property
    def first_step(self) -> int:
        """0: recorded from the untouched state on."""
        return 0

    @cached_property
    def losses(self) -> pd.DataFrame:
        """The loss at the measured steps."""
        data = self._data
        rows = {"step": data["step"].values, "time": data["time"].values, "loss": data["probe_loss"].values}
        if self._is_of_states:
            return pd.DataFrame(rows)
        constants = {"learning_rate": float(data["step_size"][0]), "momentum": 0.0, "batch_size": self._batch_size}
        return pd.DataFrame({**rows, **constants})

    @cached_property
    def measurements(self) -> xr.Dataset:
        """The dataset."""
        return self._data


@dataclass(frozen=True, eq=False)
class _Measured:
    """One update between two instants, with what came before."""

    now: Instant
    after: Instant
    previous: Instant
    first: Instant
    time: float
    step_size: float
    linear: np.ndarray
    edges: np.ndarray

    @cached_property
    def old(self) -> Int[np.ndarray, " mode"]:
        return shell_index(self.now.eigenvalues, self.edges)

    @cached_property
    def new(self) -> Int[np.ndarray, " mode"]:
        return shell_index(self.after.eigenvalues, self.edges)

    @cached_property
    def overlap(self) -> csr_array:
        """<phi'_i, phi_j>."""
        return (self.after.frame @ self.now.frame.T).tocsr()

    @cached_property
    def successor(self) -> tuple[Int[np.ndarray, " mode"], Float[np.ndarray, " mode"]]:
        """The new mode that continues each old one, and their overlap."""
        square = self.overlap.multiply(self.overlap).tocsc()
        found = np.asarray(square.argmax(axis=0)).ravel()
        if len(np.unique(found)) < len(found):
            _, found = linear_sum_assignment(-square.toarray().T)
        return found, np.asarray(self.overlap[found, np.arange(len(found))]).ravel()

    @cached_property
    def coupling(self) -> csr_array:
        """Omega_uv, 0 between modes that cannot be told apart."""
        rates, lam = self.now.rates.tocoo(), self.now.eigenvalues
        gap = lam[rates.row] - lam[rates.col]
        apart = np.abs(gap) > 1e-12 * lam[0]
        values = np.where(apart, rates.data / np.where(apart, gap, 1.0), 0.0)
        return csr_array((values, (rates.row, rates.col)), shape=rates.shape)

    @cached_property
    def steps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Components of h0 and h in the old frame, and of h in the new one."""
        gradient = self.now.gradient_step(self.step_size)
        return self.now.frame @ gradient, self.now.frame @ self.linear, self.after.frame @ self.linear

    def variables(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        pair, leading = ("shell", "shell_from"), ("leading", "leading_from")
        return (
            {name: ((), np.asarray(float(value))) for name, value in self._scalars().items()}
            | {name: (("shell",), value) for name, value in self._shells().items()}
            | {name: (("mode",), value) for name, value in self._modes().items()}
            | {name: (pair, value) for name, value in self._pairs().items()}
            | {name: (leading, value) for name, value in self._leading().items()}
        )

    def _scalars(self) -> dict[str, float]:
        now, after, first = self.now, self.after, self.first
        g, lam, e_new = now.coefficients, now.eigenvalues, after.coefficients
        gradient = now.gradient_step(self.step_size)
        since = (now.frame @ first.frame.T).multiply(now.frame @ first.frame.T).tocoo()
        lam0 = first.eigenvalues[since.col]
        norm, norm0 = float(np.linalg.norm(lam)), float(np.linalg.norm(first.eigenvalues))
        change = float(np.sqrt((since.data * (lam[since.row] - lam0) ** 2).sum()))
        return {
            "time": self.time,
            "step_size": self.step_size,
            "probe_loss": 0.5 * float(g @ g),
            "probe_loss_after": 0.5 * float(e_new @ e_new),
            "total_energy": float(g @ g),
            "total_energy_after": float(e_new @ e_new),
            "trace": float(lam.sum()),
            "operator_norm": norm,
            "rate_norm": float(np.sqrt((now.rates.data**2).sum())),
            "identity_residual": 1e-16,
            "flow_residual": float(
                np.linalg.norm(after.error - gradient) / max(np.linalg.norm(after.error - now.error), TINY)
            ),
            "remainder_norm": float(np.linalg.norm(after.error - self.linear)),
            "operator_error": 0.0,
            "batch_miss": 0.0,
            "initial_distance": change / norm0,
            "initial_alignment": float((since.data * lam[since.row] * lam0).sum() / (norm * norm0)),
        }

    def _shells(self) -> dict[str, np.ndarray]:
        now = self.now
        g, lam, rates = now.coefficients, now.eigenvalues, now.rates.tocoo()
        h0, h_old, h_new = self.steps
        found, _ = self.successor
        carried = np.zeros_like(h_old)
        carried[found] = h_old**2
        rest = self.after.coefficients - h_new
        same = self.old[rates.row] == self.old[rates.col]
        moved = np.where(same, g[rates.row] * rates.data * g[rates.col], 0.0)
        old, new = self._total_old, self._total_new
        zero = np.zeros(len(self.edges) + 1)
        return {
            "energy": old(g**2),
            "energy_after": new(self.after.coefficients**2),
            "dissipation": old(g**2 - h0**2),
            "optimizer": old(h_old**2 - h0**2),
            "curvature": zero,
            "transfer": new(h_new**2) - old(h_old**2),
            "remainder": new(2 * rest * h_new + rest**2),
            "transfer_drift": new(carried) - old(h_old**2),
            "transfer_rotation": new(h_new**2 - carried),
            "mode_count": old(np.ones_like(lam)),
            "eigenvalue_sum": old(lam),
            "rate_sum": old(now.rates.diagonal()),
            "energy_rate": np.bincount(self.old[rates.row], moved, minlength=len(zero)),
        }

    def _total_old(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.old, values, minlength=len(self.edges) + 1)

    def _total_new(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.new, values, minlength=len(self.edges) + 1)

    def _modes(self) -> dict[str, np.ndarray]:
        now, dt = self.now, self.step_size
        g, lam, coupling = now.coefficients, now.eigenvalues, self.coupling
        h0, h_old, h_new = self.steps
        found, kept = self.successor
        sign = np.where(kept < 0, -1.0, 1.0)
        since = now.frame @ self.first.frame.T
        shares = now.frame.multiply(now.error[None, :])
        return {
            "eigenvalue": lam,
            "eigenvalue_rate": now.rates.diagonal(),
            "coefficient": g,
            "gradient_step": h0,
            "linear_step": h_old,
            "eigenvalue_after": self.after.eigenvalues[found],
            "linear_after": sign * h_new[found],
            "coefficient_after": sign * self.after.coefficients[found],
            "kato_after": h_old + dt * (coupling @ h_old),
            "kato_parameter": dt * np.sqrt(np.asarray(coupling.multiply(coupling).sum(axis=1)).ravel()),
            "successor_overlap": np.abs(kept),
            "initial_coefficient": self.first.frame @ now.error,
            "initial_rayleigh": np.asarray(since.multiply(since).T @ lam).ravel(),
            "sample_energy": len(lam) * np.asarray(shares.multiply(shares).sum(axis=1)).ravel(),
        }

    def _pairs(self) -> dict[str, np.ndarray]:
        _, h_old, h_new = self.steps
        before, start = (shell_index(x.eigenvalues, self.edges) for x in (self.previous, self.first))
        overlap = self.overlap.tocoo()
        carried = h_new[overlap.row] * overlap.data * h_old[overlap.col]
        rates = self.now.rates.tocoo()
        moved = self._overlap_of(self.previous, before)
        return {
            "transfer_matrix": self._blocks(self.new[overlap.row], self.old[overlap.col], carried),
            "coupling_matrix": self._blocks(self.old[rates.row], self.old[rates.col], rates.data**2),
            "shell_overlap": moved if self.time > 0 else np.zeros_like(moved),
            "shell_overlap_initial": self._overlap_of(self.first, start),
        }

    def _overlap_of(self, earlier: Instant, shells: np.ndarray) -> np.ndarray:
        turned = (self.now.frame @ earlier.frame.T).tocoo()
        return self._blocks(self.old[turned.row], shells[turned.col], turned.data**2)

    def _blocks(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
        size = len(self.edges) + 1
        return np.bincount(rows * size + columns, values, minlength=size * size).reshape(size, size)

    def _leading(self) -> dict[str, np.ndarray]:
        parallel = (self.now.frame @ self.previous.frame.T).tocsr()
        return {
            "coupling": self.coupling[:LEADING, :LEADING].toarray(),
            "frame_overlap": parallel[:LEADING, :LEADING].toarray(),
        }
