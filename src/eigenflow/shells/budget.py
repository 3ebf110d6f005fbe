"""The exact energy budget of logarithmic shells, read from a run folder.

A shell B of eigenvalues holds the energy E_B = e'P_B e, P_B the spectral projector of M. Over one
update it changes by exactly six terms (derivation: `trajectory.step`):

    E'_B - E_B = -dissipation + optimizer + curvature + transfer + remainder + buffers

Stored shells are 16 a decade and are merged here; merging keeps the identity, because every term is
a sum over modes (or, for transfer, over pairs of shells).
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from eigenflow.core.checks import check_kind
from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.core.errors import RunFolderError
from eigenflow.shells.energies import ShellMerge, ShellTail, check_order, ratio, require_measured
from eigenflow.store import Run
from eigenflow.store.schema import STATES
from eigenflow.store.spans import NO_UPDATES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ShellBudget", "shell_budget"]

CURVATURE = "curvature"  # runs of schema versions 1 and 2 lack it: their losses are squared, so it is zero
# Runs of schema versions before 4 lack them: what moving buffers did is part of their remainder and transfer.
BUFFERS = ("buffers", "buffers_transfer")
# What a shell gains, by name; `dissipation` is what it loses.
_GAINS = ("optimizer", CURVATURE, "transfer", "remainder", "buffers")
_ALONE = ("dissipation", "optimizer", CURVATURE, "remainder", "buffers")
_SUMMED = (
    "energy",
    "energy_after",
    "dissipation",
    "optimizer",
    CURVATURE,
    "transfer",
    "remainder",
    *BUFFERS,
    "transfer_drift",
    "transfer_rotation",
    "mode_count",
    "eigenvalue_sum",
    "rate_sum",
    "energy_rate",
)


@dataclass(frozen=True, repr=False)
class ShellBudget(AbstractPrinted):
    """Shell energies of a run and the six terms by which each measured update changed them.

    All are `xarray.DataArray` with dimension `step` (updates before the measurement) and `shell`. Energies e'P_B e are
    twice a loss if the loss is squared; for others see docs/explanation/losses.md. `shell` 0 lies below
    `edges[0]`, the last one from `edges[-1]` on.

    Attributes:
        edges: Shell edges in the eigenvalue, 1 / time.
        time: Sum of learning rates before each measured update.
        step_size: Length of each measured update in time.
        energy: E_B before the update.
        energy_after: E_B after it.
        dissipation: Lost to the gradient-descent step; positive, except beyond the edge of stability.
        optimizer: Gained by what the optimizer did beyond gradient descent on the probe set.
        curvature: Gained because the loss's Hessian changes over the update; 0 for squared losses.
        transfer: Gained from other shells; sums to zero over shells.
        remainder: Gained by the nonlinearity of the network over one update.
        buffers: Gained as buffers (running statistics of batch norm) move after the update; zero where none do.
        buffers_transfer: The part of `buffers` that is gained from other shells; sums to zero over shells.
        flux: Downward flux through each edge (dimension `edge`), energy per time: what transfer brings
            into all shells below the edge. Positive towards small eigenvalues.
        transfer_matrix: (step, shell, shell_from): energy carried by the update from one shell to another.
        mode_count: Eigenvalues in each shell.
        mean_eigenvalue: Mean of the shell's eigenvalues, 1 / time; 0 where there are none.
        mean_rate: Mean lambda-dot of the shell's eigenvalues, 1 / time^2; 0 where there are none.
        energy_rate: Velocity of the shell's energy in eigenvalue, (P e)'Mdot(P e) / E_B; 0 where there is no energy.
        transfer_drift: Label-dependent part of `transfer`: eigenvalues that cross an edge.
        transfer_rotation: Label-dependent part of `transfer`: eigenvectors that rotate.
        cut: Edge above which every mode was measured one by one, at each step; None if all were. Whatever lies
            below it is in shell 0 as a whole: a shell between `edges[0]` and the cut is empty because it is not
            resolved, and there is no flux (NaN) through its edges.
        tail: How shell 0 spreads over the shells below the cut, or None.
    """

    edges: Float[np.ndarray, " edges"]
    time: xr.DataArray
    step_size: xr.DataArray
    energy: xr.DataArray
    energy_after: xr.DataArray
    dissipation: xr.DataArray
    optimizer: xr.DataArray
    curvature: xr.DataArray
    transfer: xr.DataArray
    remainder: xr.DataArray
    flux: xr.DataArray
    transfer_matrix: xr.DataArray
    mode_count: xr.DataArray
    mean_eigenvalue: xr.DataArray
    mean_rate: xr.DataArray
    energy_rate: xr.DataArray
    transfer_drift: xr.DataArray
    transfer_rotation: xr.DataArray
    cut: xr.DataArray | None = None
    tail: ShellTail | None = None
    buffers: xr.DataArray = None  # pyright: ignore[reportAssignmentType]  # zeros, see below
    buffers_transfer: xr.DataArray = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self) -> None:
        for name in BUFFERS:
            if getattr(self, name) is None:
                object.__setattr__(self, name, xr.zeros_like(self.remainder))

    @property
    def residual(self) -> xr.DataArray:
        """What the six terms leave unexplained of each shell's change; rounding error."""
        explained = -self.dissipation + self.optimizer + self.curvature + self.transfer + self.remainder + self.buffers
        return self.energy_after - self.energy - explained

    @property
    def centres(self) -> Float[np.ndarray, " inner"]:
        """Geometric centres of the bounded shells, `shell` 1 to the last but one."""
        return np.sqrt(self.edges[:-1] * self.edges[1:])

    def _card(self) -> Card:
        before, after = self.energy.sum("shell").to_numpy(), self.energy_after.sum("shell").to_numpy()
        moved = np.abs(self.transfer.to_numpy()).sum(1) / 2
        largest = float(np.abs(self.residual).max() / max(before.max(), np.finfo(float).tiny))
        rows = [
            ("time", f"{span(self.time.to_numpy())} (sum of learning rates)"),
            ("energy", f"{span(np.append(before, after[-1:]))}"),
            *((name, f"{figure(float(self._total(name)), 3)} over the measured updates") for name in _ALONE),
            ("transfer", f"{figure(float(moved.sum()), 3)} goes to another shell; it sums to zero over shells"),
            ("residual", f"{largest:.0e} of the energy: the terms add up"),
        ]
        if self.cut is not None:
            rows.append(
                ("resolved", f"above {figure(float(self.cut.min()), 3)}; what lies below is in shell 0 as a whole")
            )
        return Card(f"ShellBudget: {len(self.time)} updates, {len(self.edges) + 1} shells", rows)

    def _total(self, name: str) -> float:
        return float(getattr(self, name).sum())

    def to_dataset(self) -> xr.Dataset:
        """All terms along `step` and `shell`, with units."""
        held = {item.name: getattr(self, item.name) for item in fields(self)}
        found = xr.Dataset({name: value for name, value in held.items() if isinstance(value, xr.DataArray)})
        found = found.assign_coords(edge_eigenvalue=("edge", self.edges, {"units": "1 / time"}))
        for name in ("mean_eigenvalue", "mean_rate", "energy_rate", "flux"):
            found[name].attrs["units"] = {"mean_eigenvalue": "1 / time", "flux": "energy / time"}.get(
                name, "1 / time^2"
            )
        return found

    def to_dataframe(self) -> pd.DataFrame:
        """One row a measured update and shell: time, eigenvalue, energy and the terms that changed it."""
        names = ("mode_count", "mean_eigenvalue", "energy", "energy_after", "dissipation", *_GAINS)
        table = self.to_dataset()[list(names)].to_dataframe().reset_index()
        table.insert(1, "time", np.repeat(self.time.to_numpy(), len(self.edges) + 1))
        return table.loc[:, ["step", "time", "shell", *names]]

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the energy of the bounded shells at a few times; into new axes if none are given."""
        from eigenflow.plots.axes import axes_or_new
        from eigenflow.plots.measured import plot_shell_energies

        energies = self.energy.isel(shell=slice(1, -1)).to_numpy()
        return plot_shell_energies(self.time.to_numpy(), self.centres, energies, ax=axes_or_new(ax))


def shell_budget(run: Run, *, shells_per_decade: int = 4) -> ShellBudget:
    """Read the energy budget of a run, in shells of a chosen width.

    Args:
        run: As from `open_run`.
        shells_per_decade: 1, 2, 4, 8 or 16.

    Returns:
        The budget of every measured update.

    Raises:
        RunFolderError: If the run holds no measurement, or measurements that do not increase in time; or if it is a
            record of states, which has no updates to make a budget of.
        ArgumentError: If `shells_per_decade` does not divide 16.
    """
    check_kind("run", run, Run, "a run, as from `open_run(path)`")
    require_measured(run)
    if run.kind == STATES:
        raise RunFolderError(
            f"Run `{run.path}` has no budget of updates: {NO_UPDATES}. `shell_energies` reads its shells."
        )
    data = run.measurements
    if "optimizer" in data and CURVATURE not in data:
        data = data.assign({CURVATURE: xr.zeros_like(data["optimizer"])})
    if "optimizer" in data and BUFFERS[0] not in data:
        data = data.assign(dict.fromkeys(BUFFERS, xr.zeros_like(data["optimizer"])))
    missing = [name for name in (*_SUMMED, "transfer_matrix", "step_size") if name not in data]
    if missing:
        raise RunFolderError(
            f"Run `{run.path}` does not hold {', '.join(missing)}, so it was not written by this version's Recorder. "
            f"Record it again, or read it with the version named in its run.json."
        )
    check_order(run, data, may_rest=False)
    merge = ShellMerge.of(data, shells_per_decade)
    stored, kept, cut = merge.stored, merge.kept, merge.cut
    sums = {name: merge(data[name]) for name in _SUMMED}
    transfer_matrix = merge(merge(data["transfer_matrix"]), "shell_from")
    step_size = data["step_size"]
    below = sums["transfer"].cumsum("shell").isel(shell=slice(None, -1)).rename(shell="edge")
    if cut is not None:
        below = below.where(xr.DataArray(stored[kept], dims="edge") >= cut)
    return ShellBudget(
        edges=stored[kept],
        time=data["time"],
        step_size=step_size,
        energy=sums["energy"],
        energy_after=sums["energy_after"],
        dissipation=sums["dissipation"],
        optimizer=sums["optimizer"],
        curvature=sums[CURVATURE],
        transfer=sums["transfer"],
        remainder=sums["remainder"],
        buffers=sums["buffers"],
        buffers_transfer=sums["buffers_transfer"],
        flux=(below / step_size).transpose("step", "edge"),
        transfer_matrix=transfer_matrix,
        mode_count=sums["mode_count"],
        mean_eigenvalue=ratio(sums["eigenvalue_sum"], sums["mode_count"]),
        mean_rate=ratio(sums["rate_sum"], sums["mode_count"]),
        energy_rate=ratio(sums["energy_rate"], sums["energy"]),
        transfer_drift=sums["transfer_drift"],
        transfer_rotation=sums["transfer_rotation"],
        cut=cut,
        tail=merge.tail(data),
    )
