"""What is given: shell energies over time, checked once and put on the scale of the fit."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.transport.flows.paths import Values

__all__ = ["ShellData", "checked_data"]


@dataclass(frozen=True)
class ShellData:
    """Shell energies, and their logarithms above a floor: `logs` = ln(energy + floor)."""

    times: Float[np.ndarray, " time"]
    edges: Float[np.ndarray, " edge"]
    energies: Float[np.ndarray, "time shell"]
    floor: float

    @property
    def log_edges(self) -> Float[np.ndarray, " edge"]:
        """ln(lambda) at the edges."""
        return np.log(self.edges)

    @property
    def centres(self) -> Float[np.ndarray, " shell"]:
        """ln(lambda) at the middle of each shell."""
        return 0.5 * (self.log_edges[1:] + self.log_edges[:-1])

    @property
    def logs(self) -> Float[np.ndarray, "time shell"]:
        """What is fitted; energies far below the floor carry no weight."""
        return np.log(self.energies + self.floor)

    @property
    def has_energy(self) -> Bool[np.ndarray, "time shell"]:
        """Where there is a thousandth of the energy of the time, and more than ten floors."""
        return self.energies > np.maximum(1e-3 * self.energies.sum(1, keepdims=True), 10 * self.floor)

    @property
    def points(self) -> float:
        """Number of data above the floor, those near it counted by their weight."""
        return float(((self.energies / (self.energies + self.floor)) ** 2).sum()) if self.floor else 0.0

    @property
    def reference(self) -> float:
        """Mean ln(lambda), weighted with the logarithmic energies' weight."""
        return float((self.has_energy * self.centres).sum() / max(1, self.has_energy.sum()))


def checked_data(times: Values, edges: Values, energies: Values, floor: float) -> ShellData:
    """Check what the user gives, naming it."""
    t, e, m = (np.array(item, dtype=np.float64) for item in (times, edges, energies))
    for name, item, dimensions in (("times", t, 1), ("edges", e, 1), ("energies", m, 2)):
        if item.ndim != dimensions:
            raise ShapeError(
                f"`{name}` must have {dimensions} dimension{'s' * (dimensions - 1)}, but has shape {item.shape}. "
                f"`energies` has one row per time and one column per shell."
            )
        if not np.all(np.isfinite(item)):
            raise NonFiniteError(f"`{name}` must be finite, but holds NaN or inf. Drop those times or shells.")
    if not len(t) or m.shape != (len(t), len(e) - 1) or m.shape[1] < 1:
        raise ShapeError(
            f"`energies` must have shape (times, edges - 1), here ({len(t)}, {len(e) - 1}), but has {m.shape}. "
            f"Leave out the open shells below the first and above the last edge."
        )
    if np.any(np.diff(t) <= 0):
        raise ArgumentError("`times` must be increasing, but are not. Sort them and drop repeated ones.")
    if e[0] <= 0 or np.any(np.diff(e) <= 0):
        raise ArgumentError("`edges` must be positive and increasing, but are not. Shells are logarithmic.")
    if m.min() < 0:
        raise ArgumentError(f"`energies` must not be negative, but fall to {m.min():g}. Energies are squares.")
    if not 0 < floor < 0.1:
        raise ArgumentError(f"`floor` must be in (0, 0.1), but is {floor}. It is a share of the largest energy.")
    return ShellData(t, e, m, float(floor * m.max()))
