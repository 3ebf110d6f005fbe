"""Measurements of modes that move by a known law and do not rotate, without any network."""

import numpy as np
import xarray as xr

from eigenflow.core.grid import shell_edges, shell_index


def measured(times, eigenvalues, coefficients, **more) -> xr.Dataset:
    """What `run.measurements` would hold, from (time, mode) arrays."""
    edges = shell_edges(float(eigenvalues.max()))
    energy = np.zeros((len(times), len(edges) + 1))
    for row, lam, g in zip(energy, eigenvalues, coefficients, strict=True):
        np.add.at(row, shell_index(lam, edges), g**2)
    per_mode = {"eigenvalue": eigenvalues, "coefficient": coefficients, **more}
    return xr.Dataset(
        {
            "time": ("step", np.asarray(times, dtype=float)),
            "energy": (("step", "shell"), energy),
            "probe_loss": ("step", 0.5 * (coefficients**2).sum(1)),
            **{name: (("step", "mode"), values) for name, values in per_mode.items()},
        },
        coords={"step": np.arange(len(times)), "edge": ("edge", edges)},
    )
