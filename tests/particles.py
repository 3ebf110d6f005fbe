"""Ensembles of modes that move by an exact law, as a run would record them; nothing rotates. For the reading side."""

import numpy as np
import xarray as xr

from eigenflow.core.grid import shell_edges, shell_index
from eigenflow.shells import ShellBudget


def self_similar_modes(first, times, *, b, c0, start=1.0):
    """Eigenvalues (time, mode) under v = -c0 t^(b-2) lambda^b, which are `first` at `start`.

    lambda^(1-b) = first^(1-b) + c0 (t^(b-1) - start^(b-1)); at b = 1, lambda = first (t / start)^-c0.
    """
    times = np.asarray(times)[:, None]
    if b == 1.0:
        return first * (times / start) ** -c0
    return (first ** (1 - b) + c0 * (times ** (b - 1) - start ** (b - 1))) ** (1.0 / (1 - b))


def particle_energies(lam, times, first):
    """Energies that only dissipate: exp(-2 * integral of lambda), trapezoid on the given, dense times."""
    steps = 0.5 * (lam[1:] + lam[:-1]) * np.diff(times)[:, None]
    return first * np.exp(-2.0 * np.concatenate([np.zeros((1, lam.shape[1])), np.cumsum(steps, axis=0)]))


def particle_budget(before, after, energy, times, step_size, *, rate=None, shells_per_decade=4, steps=None):
    """The budget of updates that carry eigenvalues (time, mode) from `before` to `after`, with energies (time, mode).

    `rate` is lambda-dot at the start of the update, by default the difference quotient; `steps` counts updates.
    """
    rate = (after - before) / np.asarray(step_size)[:, None] if rate is None else rate
    edges = shell_edges(float(before.max()))[:: 16 // shells_per_decade]
    shape = (len(times), len(edges) + 1)
    sums = {name: np.zeros(shape) for name in ("count", "lam", "rate", "energy", "moved", "lost")}
    matrix = np.zeros((*shape, shape[1]))
    for i in range(len(times)):
        old, new = shell_index(before[i], edges), shell_index(after[i], edges)
        left = energy[i] * np.exp(-2.0 * before[i] * step_size[i])
        np.add.at(sums["count"][i], old, 1.0)
        np.add.at(sums["lam"][i], old, before[i])
        np.add.at(sums["rate"][i], old, rate[i])
        np.add.at(sums["energy"][i], old, energy[i])
        np.add.at(sums["moved"][i], old, rate[i] * energy[i])
        np.add.at(sums["lost"][i], old, energy[i] - left)
        np.add.at(matrix[i], (new, old), left)
    coords = {"step": np.arange(len(times)) if steps is None else np.asarray(steps)}

    def field(values, *dims):
        return xr.DataArray(values, dims=("step", *dims), coords=coords)

    def ratio(part, whole):
        return field(np.divide(part, whole, out=np.zeros(shape), where=whole > 0), "shell")

    transfer = matrix.sum(2) - matrix.sum(1)
    zero = field(np.zeros(shape), "shell")
    return ShellBudget(
        edges=edges,
        time=field(np.asarray(times)),
        step_size=field(np.asarray(step_size)),
        energy=field(sums["energy"], "shell"),
        energy_after=field(matrix.sum(2), "shell"),
        dissipation=field(sums["lost"], "shell"),
        optimizer=zero,
        curvature=zero,
        transfer=field(transfer, "shell"),
        remainder=zero,
        flux=field(np.cumsum(transfer, axis=1)[:, :-1] / np.asarray(step_size)[:, None], "edge"),
        transfer_matrix=field(matrix, "shell", "shell_from"),
        mode_count=field(sums["count"], "shell"),
        mean_eigenvalue=ratio(sums["lam"], sums["count"]),
        mean_rate=ratio(sums["rate"], sums["count"]),
        energy_rate=ratio(sums["moved"], sums["energy"]),
        transfer_drift=field(transfer, "shell"),
        transfer_rotation=zero,
    )


def mode_dataset(lam, energy, times, rate=None):
    """What `run.modes` holds of such modes."""
    values = {
        "time": ("step", np.asarray(times)),
        "eigenvalue": (("step", "mode"), lam),
        "coefficient": (("step", "mode"), np.sqrt(energy)),
    }
    if rate is not None:
        values["eigenvalue_rate"] = (("step", "mode"), rate)
    return xr.Dataset(values, coords={"step": np.arange(len(times))})


def drifting_run(steps, *, gamma, b, seed, modes=600, learning_rate=0.1, bursts=0.0):
    """A run of plain updates whose modes grow with w = gamma (1 + burst) / (t + 1) (lambda / 0.01)^(b - 1).

    Bursts are an Ornstein-Uhlenbeck process in ln(t + 1), of that standard deviation and a correlation of one e-fold.

    Returns:
        What `run.measurements` holds at `steps`, and the budget.
    """
    rng = np.random.default_rng(seed)
    lam = 10.0 ** rng.uniform(-5, 0.3, modes)
    energy = rng.exponential(size=modes) * lam**0.3
    time, burst, rows, wanted = 0.0, 0.0, [], set(np.asarray(steps).tolist())
    for step in range(int(steps[-1]) + 1):
        passed = learning_rate / (time + 1.0)
        burst += -burst * passed + bursts * np.sqrt(2.0 * passed) * rng.normal()
        w = gamma * (1.0 + burst) / (time + 1.0) * (lam / 0.01) ** (b - 1.0)
        after = lam * np.exp(w * learning_rate)
        if step in wanted:
            rows.append((time, lam, after, energy, w * lam))
        lam, energy = after, energy * np.exp(-2.0 * after * learning_rate)
        time += learning_rate
    times, before, after, energies, rates = (np.array(column) for column in zip(*rows, strict=True))
    size = np.full(len(times), learning_rate)
    budget = particle_budget(before, after, energies, times, size, rate=rates)
    data = mode_dataset(before, energies, times, rates).assign_coords(step=np.asarray(steps))
    data = data.assign(step_size=("step", size), probe_loss=("step", 0.5 * energies.sum(1)))
    return data, budget
