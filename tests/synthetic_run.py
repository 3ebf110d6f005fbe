"""Complete runs of exact systems, measured by dense linear algebra in numpy: a dataset, or a run folder. No torch.

A system is a function of time that returns an `Instant`. What the recorder stores of a network, with the same names
and definitions, is computed here from that alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import linear_sum_assignment

from eigenflow.core.grid import log_steps, shell_edges, shell_index
from eigenflow.shells import ShellBudget, shell_budget
from eigenflow.store import Run, RunWriter, Variable, open_run

LEADING = 64
PAIR = ("shell", "shell_from")


@dataclass(frozen=True)
class Instant:
    """A system at one time: eigenvalues in decreasing order, eigenvectors as rows, <phi_u, Mdot phi_v>, and e."""

    eigenvalues: np.ndarray
    frame: np.ndarray
    rates: np.ndarray
    error: np.ndarray

    @property
    def coefficients(self) -> np.ndarray:
        return self.frame @ self.error


Path = Callable[[float], Instant]


def from_matrix(M, Mdot, error) -> Instant:
    """An instant from the operator itself."""
    eigenvalues, vectors = np.linalg.eigh(M)
    frame = vectors[:, ::-1].T
    return Instant(eigenvalues[::-1], frame, frame @ Mdot @ frame.T, np.asarray(error, dtype=float))


def from_modes(eigenvalues, rates, coefficients) -> Instant:
    """An instant of modes that never rotate."""
    order = np.argsort(-np.asarray(eigenvalues), kind="stable")
    frame = np.eye(len(order))[order]
    return Instant(eigenvalues[order], frame, np.diag(rates[order]), np.asarray(coefficients, dtype=float))


def drifting_modes(labels, coefficients, scale, clock, speed) -> Path:
    """lambda_u = labels scale(t), g_u = g_u(0) exp(-labels clock(t)); clock' = scale, speed = d ln(scale)/dt."""

    def at(time: float) -> Instant:
        lam = labels * scale(time)
        return from_modes(lam, lam * speed(time), coefficients * np.exp(-labels * clock(time)))

    return at


def power_law_modes(count=300, *, alpha=1.5, beta=0.8, rho=1.0, seed: int | None = None) -> Path:
    """lambda_k(0) = k^-alpha and energies whose sum below lambda is ~ lambda^beta; modes scale as (1+t)^(rho-1).

    Then tau = ((1+t)^rho - 1) / rho and the loss falls as t^(-rho beta). With a seed the coefficients are Gaussian.
    """
    k = np.arange(1, count + 1, dtype=float)
    squares = k ** (-alpha * beta - 1.0)
    if seed is not None:
        squares = squares * np.random.default_rng(seed).normal(size=count) ** 2
    return drifting_modes(
        k**-alpha,
        np.sqrt(squares),
        lambda t: (1 + t) ** (rho - 1),
        lambda t: ((1 + t) ** rho - 1) / rho,
        lambda t: (rho - 1) / (1 + t),
    )


def riccati(size=6, *, seed=0, strength=1.0, start=0.3) -> Path:
    """A balanced, not aligned two-layer linear network on whitened inputs (equations/known_cases.md#balanced-networks):
    M rotates.

    W2 W1 = B, with B' and the Gram matrices from Q Q' (t) in closed form; e = vec(B - target), M the Kronecker sum.
    """
    rng = np.random.default_rng(seed)
    target = strength * rng.normal(size=(size, size))
    W2 = start * rng.normal(size=(size, size))
    values, vectors = np.linalg.eigh(W2.T @ W2)
    rotation, _ = np.linalg.qr(rng.normal(size=(size, size)))
    W1 = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T @ rotation
    Q0 = np.concatenate([W1.T, W2])
    zero = np.zeros((size, size))
    F = np.block([[zero, target.T], [target, zero]])
    f, V = np.linalg.eigh(F)

    def at(time: float) -> Instant:
        safe = np.where(np.abs(f) > 1e-14, f, 1.0)
        integral = np.where(np.abs(f) > 1e-14, np.expm1(2 * f * time) / (2 * safe), time)
        grown = (V * np.exp(f * time)) @ (V.T @ Q0)
        middle = np.eye(size) + Q0.T @ (V * integral) @ V.T @ Q0
        P = grown @ np.linalg.solve(middle, grown.T)
        # P' = F P + P F - P^2, from Q' = F Q - Q Q'Q / 2.
        dP = F @ P + P @ F - P @ P
        G1, B, G2 = P[:size, :size], P[size:, :size], P[size:, size:]
        dG1, dG2 = dP[:size, :size], dP[size:, size:]
        eye = np.eye(size)
        # M[D] = G2 D + D G1, on row-major vec(D).
        M, Mdot = np.kron(G2, eye) + np.kron(eye, G1), np.kron(dG2, eye) + np.kron(eye, dG1)
        return from_matrix(M, Mdot, (B - target).ravel())

    return at


def measure(path: Path, times, step_size, *, outputs=1, linear=None) -> xr.Dataset:
    """Measure the update that starts at each of `times`, as `Recorder` does.

    Args:
        path: The system.
        times: Starts of the updates.
        step_size: Their length; one number, or one for each.
        outputs: Outputs of a sample, for `sample_energy`.
        linear: h from (instant, step size); by default (1 - dt M) e.
    """
    lengths = np.broadcast_to(step_size, np.shape(times))
    first = path(times[0])
    edges = shell_edges(float(first.eigenvalues[0]))
    rows, previous = [], first
    for time, length in zip(times, lengths, strict=True):
        now = path(time)
        rows.append(_variables(now, path(time + length), length, time, first, previous, edges, outputs, linear))
        previous = now
    coords = {"step": np.round((np.asarray(times) - times[0]) / lengths[0]).astype(int), "edge": ("edge", edges)}
    return xr.Dataset(
        {name: (("step", *dims), np.array([row[name][1] for row in rows])) for name, (dims, _) in rows[0].items()},
        coords=coords,
    )


def write_run(folder, path: Path, *, steps=1000, count=30, step_size=0.1, batch_size=None, **options) -> Run:
    """Record a system into a run folder; `batch_size` None logs full batches."""
    measured = log_steps(steps, count=count)
    data = measure(path, measured * step_size, step_size, **options)
    samples = data.sizes["mode"] // options.get("outputs", 1)
    header = {
        "config": {"name": "synthetic", "task": {"name": "formula"}, "train": {"optimizer": "sgd", "steps": steps}},
        "probe": {"samples": samples, "outputs": options.get("outputs", 1), "checksum": "abc", "parameters": 99},
        "versions": {"eigenflow": "0"},
    }
    constants = {"edge": Variable(("edge",), data["edge"].values, "1 / time", "edges")}
    logged = np.unique(np.concatenate([measured, log_steps(steps, count=200)]))
    with RunWriter.create(folder, header=header) as writer:
        for step in logged:
            if step in measured:
                row = data.sel(step=step)
                found = {str(k): Variable(tuple(map(str, v.dims)), v.values, "1", str(k)) for k, v in row.items()}
                writer.append(int(step), found, constants=constants)
            loss = 0.5 * float(np.sum(path(step * step_size).error ** 2))
            row = {"step": int(step), "time": float(step * step_size), "loss": loss, "learning_rate": step_size}
            writer.log({**row, "momentum": 0.0, "batch_size": samples if batch_size is None else batch_size})
    return open_run(folder)


class DatasetRun(Run):
    """A dataset of measurements, read like a run, without a folder."""

    def __init__(self, data: xr.Dataset, losses: pd.DataFrame | None = None, *, outputs: int = 1):
        self._data, self._losses, self._outputs = data, losses, outputs
        self._path = FilePath("in memory")

    @property
    def header(self):
        return {"probe": {"samples": self._data.sizes["mode"] // self._outputs, "outputs": self._outputs}}

    @property
    def measured_steps(self):
        return tuple(int(step) for step in self._data["step"].values)

    @property
    def losses(self):
        return pd.DataFrame({"step": pd.Series(dtype="int64")}) if self._losses is None else self._losses

    @property
    def measurements(self):
        return self._data


def budget_of(data: xr.Dataset, *, shells_per_decade: int = 4) -> ShellBudget:
    """The shell budget of a dataset."""
    return shell_budget(DatasetRun(data), shells_per_decade=shells_per_decade)


def _variables(now, after, dt, time, first, previous, edges, outputs, linear):
    shells = len(edges) + 1
    old, new, before = (shell_index(x.eigenvalues, edges) for x in (now, after, previous))
    start = shell_index(first.eigenvalues, edges)
    g, lam = now.coefficients, now.eigenvalues
    gradient = now.frame.T @ ((1 - dt * lam) * g)
    h = gradient if linear is None else linear(now, dt)
    h0_old, h_old, h_new, e_new = now.frame @ gradient, now.frame @ h, after.frame @ h, after.coefficients
    overlap = after.frame @ now.frame.T
    _, successor = linear_sum_assignment(-(overlap.T**2))
    kept = overlap[successor, np.arange(len(successor))]
    sign = np.where(kept < 0, -1.0, 1.0)

    def total(index, values):
        return np.bincount(index, weights=values, minlength=shells)

    def blocks(values, rows, columns):
        return _indicator(rows, shells) @ values @ _indicator(columns, shells).T

    carried = np.zeros_like(h_old)
    carried[successor] = h_old**2
    r = e_new - h_new
    same = old[:, None] == old[None, :]
    gaps = lam[:, None] - lam[None, :]
    apart = np.abs(gaps) > 1e-12 * lam[0]
    coupling = np.where(apart, now.rates / np.where(apart, gaps, 1.0), 0.0)
    parallel = now.frame @ previous.frame.T
    size = len(g)
    samples = size // outputs
    by_sample = (now.frame * now.error).reshape(size, samples, outputs).sum(2)
    initial = first.frame @ now.error
    M0, M = first.frame.T @ (first.eigenvalues[:, None] * first.frame), now.frame.T @ (lam[:, None] * now.frame)
    per_shell = {
        "energy": total(old, g**2),
        "energy_after": total(new, e_new**2),
        "dissipation": total(old, g**2 - h0_old**2),
        "optimizer": total(old, h_old**2 - h0_old**2),
        "curvature": np.zeros(shells),
        "transfer": total(new, h_new**2) - total(old, h_old**2),
        "remainder": total(new, 2 * r * h_new + r**2),
        "transfer_drift": total(new, carried) - total(old, h_old**2),
        "transfer_rotation": total(new, h_new**2 - carried),
        "mode_count": total(old, np.ones(size)),
        "eigenvalue_sum": total(old, lam),
        "rate_sum": total(old, np.diag(now.rates)),
        "energy_rate": total(old, g * ((now.rates * same) @ g)),
    }
    per_mode = {
        "eigenvalue": lam,
        "eigenvalue_rate": np.diag(now.rates),
        "coefficient": g,
        "gradient_step": h0_old,
        "linear_step": h_old,
        "eigenvalue_after": after.eigenvalues[successor],
        "linear_after": sign * h_new[successor],
        "coefficient_after": sign * e_new[successor],
        "kato_after": h_old + dt * coupling @ h_old,
        "kato_parameter": dt * np.sqrt((coupling**2).sum(1)),
        "successor_overlap": np.abs(kept),
        "initial_coefficient": initial,
        "initial_rayleigh": np.einsum("ui,ij,uj->u", first.frame, M, first.frame),
        "sample_energy": samples * (by_sample**2).sum(1),
    }
    square = {
        "transfer_matrix": blocks(h_new[:, None] * overlap * h_old, new, old),
        "coupling_matrix": blocks(now.rates**2, old, old),
        "shell_overlap": blocks(parallel**2, old, before),
        "shell_overlap_initial": blocks((now.frame @ first.frame.T) ** 2, old, start),
    }
    if now is first or previous is first:
        square["shell_overlap"] = square["shell_overlap"] if time > 0 else np.zeros((shells, shells))
    leading = {"coupling": coupling[:LEADING, :LEADING], "frame_overlap": parallel[:LEADING, :LEADING]}
    norm0, norm = np.linalg.norm(M0), np.linalg.norm(lam)
    scalars = {
        "time": time,
        "step_size": dt,
        "probe_loss": 0.5 * g @ g,
        "probe_loss_after": 0.5 * e_new @ e_new,
        "trace": lam.sum(),
        "operator_norm": norm,
        "rate_norm": np.linalg.norm(now.rates),
        "identity_residual": 1e-16,
        "flow_residual": np.linalg.norm(after.error - gradient) / max(np.linalg.norm(after.error - now.error), 1e-300),
        "remainder_norm": np.linalg.norm(r),
        "operator_error": 0.0,
        "initial_distance": np.linalg.norm(M - M0) / norm0,
        "initial_alignment": float((M * M0).sum() / (norm * norm0)),
    }
    return (
        {name: ((), np.asarray(float(value))) for name, value in scalars.items()}
        | {name: (("shell",), value) for name, value in per_shell.items()}
        | {name: (("mode",), value) for name, value in per_mode.items()}
        | {name: (PAIR, value) for name, value in square.items()}
        | {name: (("leading", "leading_from"), value) for name, value in leading.items()}
    )


def _indicator(index, shells):
    return (np.arange(shells)[:, None] == index[None, :]).astype(float)
