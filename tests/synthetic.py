"""Runs whose modes move by a known law, without any network: for the reading side."""

import numpy as np
import xarray as xr

from eigenflow.core.grid import shell_edges, shell_index
from eigenflow.shells import ShellBudget
from eigenflow.theory import Observed


def drifting_budget(velocity, times, eigenvalues, *, shells_per_decade=4, noise=0.0, seed=0) -> ShellBudget:
    """A budget in which modes at `eigenvalues` (time, mode) move with `velocity(eigenvalue, time)`."""
    rng = np.random.default_rng(seed)
    step = 16 // shells_per_decade
    edges = shell_edges(float(eigenvalues.max()))[::step]
    shape = (len(times), len(edges) + 1)
    counts, sums, totals = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for i, (time, row) in enumerate(zip(times, eigenvalues, strict=True)):
        index = shell_index(row, edges)
        rate = velocity(row, time)
        rate = rate + noise * np.abs(rate) * rng.normal(size=rate.shape)
        np.add.at(counts[i], index, 1.0)
        np.add.at(sums[i], index, rate)
        np.add.at(totals[i], index, row)
    dims, coords = ("step", "shell"), {"step": np.arange(len(times))}

    def field(values):
        return xr.DataArray(values, dims=dims, coords=coords)

    zero = field(np.zeros(shape))
    rates = field(np.divide(sums, counts, out=np.zeros(shape), where=counts > 0))
    return ShellBudget(
        edges=edges,
        time=xr.DataArray(times, dims="step", coords=coords),
        step_size=xr.DataArray(np.zeros(len(times)), dims="step", coords=coords),
        energy=field(counts),
        energy_after=field(counts),
        dissipation=zero,
        optimizer=zero,
        curvature=zero,
        transfer=zero,
        remainder=zero,
        flux=xr.DataArray(np.zeros((len(times), len(edges))), dims=("step", "edge"), coords=coords),
        transfer_matrix=xr.DataArray(np.zeros((*shape, shape[1])), dims=("step", "shell", "shell_from"), coords=coords),
        mode_count=field(counts),
        mean_eigenvalue=field(np.divide(totals, counts, out=np.zeros(shape), where=counts > 0)),
        mean_rate=rates,
        energy_rate=rates,
        transfer_drift=zero,
        transfer_rotation=zero,
    )


def scaling_run(
    gamma: float, *, cut: float = 0.25, total: float = 100.0, seed: int = 0
) -> tuple[Observed, np.ndarray, np.ndarray]:
    """A run known up to a cut, whose eigenvalues scale as t^-gamma and whose modes do not rotate.

    Returns:
        What is observed, the eigenvalues at t = 1, and the energies at t = 1.
    """
    rng = np.random.default_rng(seed)
    first, energy = np.sort(10.0 ** rng.uniform(-4, -0.5, 200))[::-1], rng.exponential(size=200)

    def state(time):
        scale = time**-gamma
        exponent = np.log(time) if gamma == 1.0 else (time ** (1 - gamma) - 1) / (1 - gamma)
        return first * scale, energy * np.exp(-2 * first * exponent)

    def loss(times):
        return np.array([0.5 * state(t)[1].sum() for t in times])

    times = np.geomspace(1.0, cut * total, 20)
    edges = shell_edges(float(first[0]))
    rows = [state(t) for t in times]
    lam, squares = (np.array(x) for x in zip(*rows, strict=True))
    shell_energy, shell_rate = np.zeros((20, len(edges) + 1)), np.zeros((20, len(edges) + 1))
    for i, t in enumerate(times):
        index = shell_index(lam[i], edges)
        np.add.at(shell_energy[i], index, squares[i])
        np.add.at(shell_rate[i], index, squares[i] * lam[i] * -gamma / t)
    measured = xr.Dataset(
        {
            "time": ("step", times),
            "step_size": ("step", np.zeros(20)),
            "probe_loss": ("step", loss(times)),
            "eigenvalue": (("step", "mode"), lam),
            "coefficient": (("step", "mode"), np.sqrt(squares)),
            "energy": (("step", "shell"), shell_energy),
            "energy_rate": (("step", "shell"), shell_rate),
        },
        coords={"step": np.arange(20), "edge": ("edge", edges)},
    )
    later = np.geomspace(cut * total, total, 30)[1:]
    observed = Observed(
        cut, 20, measured, np.arange(20), times, loss(times), np.arange(20, 49), later, loss(later), "measured"
    )
    return observed, first, energy
