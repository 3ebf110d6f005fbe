"""How far shells have turned into distant ones between measurements: coupling without the noise of single updates.

||P_a(t') P_b(t)||_F^2 / n_b is the share of shell b's directions that lie in shell a at the next measurement. Unlike
rates along single updates it holds what remains of many of them, so the noise of batches does not enter by itself.
Shells that are neighbours are left out: eigenvalues cross their common edge by drift alone.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.core.errors import RunFolderError
from eigenflow.core.grid import coarsen_edges
from eigenflow.theory.coupling.kato import coarsened_pairs

__all__ = ["Turning", "shell_turning"]


@dataclass(frozen=True)
class Turning:
    """What left its shell for a distant one between neighbouring measurements.

    Attributes:
        times: Geometric means of the two times.
        growth: ln of their ratio.
        left: Share of a shell's directions that left, weighted by the shells' energies before.
    """

    times: Float[np.ndarray, " interval"]
    growth: Float[np.ndarray, " interval"]
    left: Float[np.ndarray, " interval"]

    @property
    def rate(self) -> Float[np.ndarray, " interval"]:
        """Share an e-fold of time, if turns in different intervals have nothing to do with each other."""
        return self.left / self.growth

    @property
    def steady_rate(self) -> Float[np.ndarray, " interval"]:
        """Share an e-fold of time, if the turn goes on: sin^2 of the angle, which grows with time, not its square."""
        angle = np.arcsin(np.sqrt(np.clip(self.left, 0.0, 1.0))) / self.growth
        return np.sin(np.minimum(angle, 0.5 * np.pi)) ** 2


def shell_turning(data: xr.Dataset, *, shells_per_decade: int = 4) -> Turning:
    """Measure how shells turn into distant ones between measurements after time 0.

    Args:
        data: Measurements of a run.
        shells_per_decade: 1, 2, 4, 8 or 16.

    Raises:
        RunFolderError: If the run does not hold `shell_overlap` (schema versions before 3 do not), or no two
            neighbouring measurements after time 0 of which it tells.
        ArgumentError: If `shells_per_decade` does not divide 16.
    """
    if "shell_overlap" not in data:
        raise RunFolderError(
            "The run does not hold `shell_overlap` (overlap of each shell with those of the measurement before); "
            "schema version 3 records it. Record the run again."
        )
    times = data["time"].values
    is_used = times[:-1] > 0
    if "frame_time" in data:
        # A measurement that was lost leaves an overlap with one that is not here.
        is_used = is_used & np.isclose(data["frame_time"].values[1:], times[:-1], rtol=1e-12, atol=0)
    if not is_used.any():
        raise RunFolderError(
            f"The run holds {len(times)} measurements and no two neighbouring ones after time 0, between which "
            f"shells could have turned. Measure more steps."
        )
    kept = coarsen_edges(data["edge"].values, shells_per_decade)
    starts = np.concatenate([[0], kept + 1])
    overlap = coarsened_pairs(data["shell_overlap"].transpose("step", "shell", "shell_from").values, kept)[1:]
    energy, count = (
        np.add.reduceat(data[name].transpose("step", "shell").values, starts, axis=1)[:-1]
        for name in ("energy", "mode_count")
    )
    size = overlap.shape[1]
    is_far = np.abs(np.arange(size)[:, None] - np.arange(size)[None, :]) > 1
    left = (overlap * is_far).sum(1) / np.where(count > 0, count, 1.0)
    share = (left * energy).sum(1) / np.maximum(energy.sum(1), np.finfo(np.float64).tiny)
    start, end = times[:-1][is_used], times[1:][is_used]
    return Turning(np.sqrt(start * end), np.log(end / start), share[is_used])
