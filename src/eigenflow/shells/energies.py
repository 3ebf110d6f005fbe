"""Energies and eigenvalues in logarithmic shells, read from a run folder: of states, without updates.

Stored shells are 16 a decade and are merged here, as those of `shell_budget` are.
"""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int

from eigenflow.core.checks import check_kind
from eigenflow.core.display import AbstractPrinted, Card, FieldsPrinted, figure, span
from eigenflow.core.errors import RunFolderError
from eigenflow.core.grid import coarsen_edges
from eigenflow.store import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ShellEnergies", "ShellMerge", "ShellTail", "check_order", "ratio", "require_measured", "shell_energies"]

_SUMMED = ("energy", "mode_count", "eigenvalue_sum")


@dataclass(frozen=True, repr=False)
class ShellTail(FieldsPrinted):
    """How the energy and the eigenvalues below the cut of a tracked run spread over shells, before each update.

    All have dimensions `step` and `shell`, on the shells of the budget; nothing lies above the cut. The estimates add
    up to what shell 0 of the budget holds. Energy bounds are deterministic; counts have 90 % intervals.

    Attributes:
        energy: Estimate, the middle of the bounds of the energy below each edge.
        energy_lower: Lower bound.
        energy_upper: Upper bound.
        count: Estimated number of eigenvalues.
        count_lower: Lower end of its interval.
        count_upper: Upper end.
    """

    energy: xr.DataArray
    energy_lower: xr.DataArray
    energy_upper: xr.DataArray
    count: xr.DataArray
    count_lower: xr.DataArray
    count_upper: xr.DataArray

    def at(self, kept: Int[np.ndarray, " kept"]) -> "ShellTail":
        """The same at some measurements, by their places."""
        return ShellTail(**{item.name: getattr(self, item.name).isel(step=kept) for item in fields(self)})


@dataclass(frozen=True, repr=False)
class ShellEnergies(AbstractPrinted):
    """Shell energies of a run at its measured states.

    All are `xarray.DataArray` with dimension `step` and `shell`, as in `ShellBudget`.

    Attributes:
        edges: Shell edges in the eigenvalue, 1 / time.
        time: Sum of learning rates at each state; of a record whose clock is "updates", their number.
        energy: E_B = e'P_B e.
        mode_count: Eigenvalues in each shell.
        mean_eigenvalue: Mean of the shell's eigenvalues, 1 / time; 0 where there are none.
        cut: As in `ShellBudget`.
        tail: As in `ShellBudget`.
    """

    edges: Float[np.ndarray, " edges"]
    time: xr.DataArray
    energy: xr.DataArray
    mode_count: xr.DataArray
    mean_eigenvalue: xr.DataArray
    cut: xr.DataArray | None = None
    tail: ShellTail | None = None

    @property
    def centres(self) -> Float[np.ndarray, " inner"]:
        """Geometric centres of the bounded shells, `shell` 1 to the last but one."""
        return np.sqrt(self.edges[:-1] * self.edges[1:])

    def at(self, steps: np.ndarray) -> "ShellEnergies":
        """The same at some of the states, by their steps."""
        if len(steps) == len(self.time):
            return self
        kept = np.flatnonzero(np.isin(self.time["step"].values, steps))
        arrays = {
            item.name: value.isel(step=kept)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), xr.DataArray)
        }
        tail = None if self.tail is None else self.tail.at(kept)
        return replace(self, **arrays, tail=tail)

    def _card(self) -> Card:
        whole = self.energy.sum("shell").to_numpy()
        rows = [("time", span(self.time.to_numpy())), ("energy", span(whole))]
        if self.cut is not None:
            rows.append(
                ("resolved", f"above {figure(float(self.cut.min()), 3)}; what lies below is in shell 0 as a whole")
            )
        return Card(f"ShellEnergies: {len(self.time)} states, {len(self.edges) + 1} shells", rows)

    def to_dataset(self) -> xr.Dataset:
        """All of it along `step` and `shell`, with units."""
        names = ("time", "energy", "mode_count", "mean_eigenvalue")
        found = xr.Dataset({name: getattr(self, name) for name in names})
        found["mean_eigenvalue"].attrs["units"] = "1 / time"
        return found.assign_coords(edge_eigenvalue=("edge", self.edges, {"units": "1 / time"}))

    def to_dataframe(self) -> pd.DataFrame:
        """One row a state and shell."""
        table = self.to_dataset().drop_vars("edge_eigenvalue").to_dataframe().reset_index()
        return table.loc[:, ["step", "time", "shell", "mode_count", "mean_eigenvalue", "energy"]]

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the energy of the bounded shells at a few times; into new axes if none are given."""
        from eigenflow.plots.axes import axes_or_new
        from eigenflow.plots.measured import plot_shell_energies

        energies = self.energy.isel(shell=slice(1, -1)).to_numpy()
        return plot_shell_energies(self.time.to_numpy(), self.centres, energies, ax=axes_or_new(ax))


def shell_energies(run: Run, *, shells_per_decade: int = 4) -> ShellEnergies:
    """Read the shells of a run's measured states, whether it is a record of updates or of states.

    Args:
        run: As from `open_run`.
        shells_per_decade: 1, 2, 4, 8 or 16.

    Raises:
        RunFolderError: If the run holds no measurement, or measurements that do not follow each other.
        ArgumentError: If `shells_per_decade` does not divide 16.
    """
    check_kind("run", run, Run, "a run, as from `open_run(path)`")
    require_measured(run)
    data = run.measurements
    check_order(run, data, may_rest=True)
    merge = ShellMerge.of(data, shells_per_decade)
    energy, count, total = (merge(data[name]) for name in _SUMMED)
    return ShellEnergies(
        merge.stored[merge.kept], data["time"], energy, count, ratio(total, count), merge.cut, merge.tail(data)
    )


@dataclass(frozen=True)
class ShellMerge:
    """How stored shells are merged into wider ones.

    Attributes:
        stored: Edges of the stored shells.
        kept: Which of them stay.
        group: The merged shell of each stored one, at each step.
        cut: The lowest kept edge from the stored cut upwards; None for runs that measured all modes.
    """

    stored: Float[np.ndarray, " edges"]
    kept: Int[np.ndarray, " kept"]
    group: Int[np.ndarray, "step shells"]
    cut: xr.DataArray | None

    @classmethod
    def of(cls, data: xr.Dataset, shells_per_decade: int) -> "ShellMerge":
        """Of measurements."""
        stored = data["edge"].values
        kept = coarsen_edges(stored, shells_per_decade)
        group = np.tile(_groups(len(stored), kept), (len(data["step"]), 1))
        cut = _coarse_cut(data, stored[kept])
        if cut is not None:
            # A coarse shell that the cut divides is not complete, so it goes to shell 0 with the rest.
            group[np.append(0.0, stored[kept])[group] < cut.values[:, None]] = 0
        return cls(stored, kept, group, cut)

    def __call__(self, values: xr.DataArray, dim: str = "shell") -> xr.DataArray:
        """Sums over the shells that are merged."""
        return _merge(values, self.group, len(self.kept) + 1, dim)

    def tail(self, data: xr.Dataset) -> ShellTail | None:
        """How shell 0 spreads over the shells below the cut."""
        return None if self.cut is None else _tail(data, self.stored[self.kept], self.kept, self.cut)


def require_measured(run: Run) -> None:
    """Refuse a run without measurements."""
    if not run.measured_steps:
        raise RunFolderError(
            f"Run `{run.path}` holds no measurement, so it has no shells. Was it cut off before the first one? "
            f"Resume it, or record a new run."
        )


def check_order(run: Run, data: xr.Dataset, *, may_rest: bool) -> None:
    """Refuse measurements that do not follow each other; `may_rest` allows steps in which no time passes."""
    times, steps = data["time"].values, data["step"].values
    passed = np.diff(times)
    is_next = ((passed >= 0) if may_rest else (passed > 0)) & (np.diff(steps) > 0)
    if not is_next.all():
        where = int(np.argmin(is_next))
        raise RunFolderError(
            f"Measurements of run `{run.path}` must increase in step and time, but step {steps[where + 1]} at time "
            f"{times[where + 1]:g} follows step {steps[where]} at time {times[where]:g}. Two runs were mixed, or the "
            f"folder was edited: record the run again."
        )


def _groups(num_edges: int, kept: Int[np.ndarray, " kept"]) -> Int[np.ndarray, " shells"]:
    """The merged shell of each stored one: stored shell j > 0 begins at edge j - 1."""
    return np.searchsorted(kept, np.arange(num_edges + 1) - 1, side="right")


def _merge(values: xr.DataArray, group: Int[np.ndarray, "step shells"], count: int, dim: str = "shell") -> xr.DataArray:
    axis = values.get_axis_num(dim)
    moved = np.moveaxis(values.transpose("step", ...).values, axis, 1)
    merged = np.zeros((len(moved), count, *moved.shape[2:]))
    # Groups follow each other along the shells, and most steps share theirs: sums of runs are faster than by index.
    for groups, rows in zip(*_alike(group), strict=True):
        begins = np.flatnonzero(np.diff(groups, prepend=-1))
        some = moved if len(rows) == len(moved) else moved[rows]
        merged[rows[:, None], groups[begins]] = np.add.reduceat(some, begins, axis=1)
    coords = {name: c for name, c in values.coords.items() if dim not in c.dims}
    return xr.DataArray(
        np.moveaxis(merged, 1, axis), dims=values.dims, coords=coords, name=values.name, attrs=values.attrs
    )


def _alike(group: Int[np.ndarray, "step shells"]) -> tuple[np.ndarray, list[Int[np.ndarray, " _"]]]:
    """The different rows, and where each stands."""
    different, which = np.unique(group, axis=0, return_inverse=True)
    return different, [np.flatnonzero(which.reshape(-1) == k) for k in range(len(different))]


def _coarse_cut(data: xr.Dataset, edges: Float[np.ndarray, " edges"]) -> xr.DataArray | None:
    """The lowest kept edge from the stored cut upwards; None for runs that measured all modes."""
    if "cut" not in data:
        return None
    above = np.searchsorted(edges, data["cut"].values * (1 - 1e-12)).clip(max=len(edges) - 1)
    return data["cut"].copy(data=edges[above])


def _tail(
    data: xr.Dataset, edges: Float[np.ndarray, " edges"], kept: Int[np.ndarray, " kept"], cut: xr.DataArray
) -> ShellTail:
    """Bounds below each kept edge, differenced. Above the stored cut all is there, so up to the kept one it stays."""
    found: dict[str, xr.DataArray] = {}
    for quantity in ("energy", "count"):
        ends = {}
        for kind in ("", "_lower", "_upper"):
            below = data[f"tail_{quantity}_below{kind}"].isel(edge=kept).values
            resolved = _resolved_below(data, quantity, edges, cut)
            ends[kind] = np.concatenate(
                [np.zeros((len(below), 1)), below + resolved, (below + resolved)[:, -1:]], axis=1
            )
        shells = {
            "": np.diff(ends[""]),
            "_lower": np.maximum(0.0, ends["_lower"][:, 1:] - ends["_upper"][:, :-1]),
            "_upper": np.maximum(0.0, ends["_upper"][:, 1:] - ends["_lower"][:, :-1]),
        }
        attrs = data[f"tail_{quantity}_below"].attrs
        for kind, values in shells.items():
            array = xr.DataArray(values, dims=("step", "shell"), coords={"step": data["step"]}, attrs=attrs)
            found[quantity + kind] = array
    return ShellTail(**found)


def _resolved_below(
    data: xr.Dataset, quantity: str, edges: Float[np.ndarray, " edges"], cut: xr.DataArray
) -> Float[np.ndarray, "step edges"]:
    """What stored shells between the stored and the kept cut hold, below each kept edge: it went to shell 0 too."""
    values = data["energy" if quantity == "energy" else "mode_count"].values
    upper = np.append(data["edge"].values, np.inf)  # of each stored shell
    is_moved = (upper[None] <= cut.values[:, None] * (1 + 1e-12)) & (np.arange(len(upper)) > 0)
    moved = np.where(is_moved, values, 0.0)
    return moved @ (upper[:, None] <= edges[None] * (1 + 1e-12))


def ratio(part: xr.DataArray, whole: xr.DataArray) -> xr.DataArray:
    """Their quotient, 0 where the whole is none."""
    return xr.where(whole > 0, part / xr.where(whole > 0, whole, 1.0), 0.0)
