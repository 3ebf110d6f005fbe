"""Which directions are learned when: the times at which the energy of modes has fallen to 1/e and to 5 %.

Modes are followed in two ways. In the eigenbasis of the first measurement a direction of the error stays what it was,
and its energy is <phi_u(0), e(t)>^2. In the moving basis the u-th largest mode of each measurement counts, whichever
direction that is by then. The two agree where the basis does not turn. Beside both stands the time that the operator
of the first measurement would need if it stood still: exp(-2 lambda t) falls to 1/e at 1 / (2 lambda).

A group of modes has fallen at the time from which on its energy stays below the level for the rest of the run, by
straight lines of ln(energy) between measurements. Measurements bracket it, and nothing between them is known.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.optimize import brentq

from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import coarsen_edges, shell_index
from eigenflow.store import Run
from eigenflow.theory.modes.initial_basis import why_initial_basis_is_unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LEVELS", "FallTimes", "LearningTimes", "learning_times"]

LEVELS = {"1/e": float(np.exp(-1.0)), "5 %": 0.05}
# Groups that hold less of the energy are rounding of the others.
LEAST_SHARE = 1e-9


@dataclass(frozen=True)
class FallTimes:
    """When groups of modes have fallen to each level, since the first measurement; columns as in `LEVELS`.

    Attributes:
        time: Infinite where a group has not by the end of the run.
        after: The last measurement at which it had not.
        before: The first one from which on it has; infinite where there is none.
    """

    time: Float[np.ndarray, "groups levels"]
    after: Float[np.ndarray, "groups levels"]
    before: Float[np.ndarray, "groups levels"]


@dataclass(frozen=True, repr=False)
class LearningTimes(AbstractPrinted):
    """When the modes of a run were learned, from the largest eigenvalue down.

    Attributes:
        by: "shell" or "rank".
        eigenvalues: Ends of each shell's eigenvalues at the first measurement, or the eigenvalue twice.
        ranks: First and last rank of each group, from 1.
        shares: Of the energy at the first measurement.
        fixed: In the eigenbasis of the first measurement, or None.
        moving: In the moving basis.
        lazy: If the operator of the first measurement stood still.
        end: Time of the last measurement since the first one.
        unknown: Share of the energy at the first measurement in modes that are not stored one by one, or in groups
            that hold next to nothing: of them nothing is said.
        missing: Why there is no `fixed`, or nothing.
    """

    by: str
    eigenvalues: Float[np.ndarray, "groups 2"]
    ranks: Int[np.ndarray, "groups 2"]
    shares: Float[np.ndarray, " groups"]
    fixed: FallTimes | None
    moving: FallTimes
    lazy: Float[np.ndarray, "groups levels"]
    end: float
    unknown: float
    missing: str

    def _card(self) -> Card:
        rows = [("time", f"{figure(self.end)} (sum of learning rates since the first measurement)")]
        rows += [("not told", f"{self.unknown:.2g} of the energy")] if self.unknown > LEAST_SHARE else []
        rows += [("no fixed basis", self.missing)] if self.missing else []
        shown = self.moving if self.fixed is None else self.fixed
        for group, (low, high) in enumerate(self.eigenvalues):
            name = f"λ {figure(high, 2)}" if self.by == "rank" else f"λ {figure(low, 2)} to {figure(high, 2)}"
            told = ", ".join(
                f"{level} at {self.told(shown.time[group, place])} (lazy {figure(self.lazy[group, place], 3)})"
                for place, level in enumerate(LEVELS)
            )
            rows.append((name, f"{self.shares[group]:.2%} of the energy: {told}"))
        return Card(f"Learning times by {self.by}: {len(self.shares)} groups", rows)

    def columns(self, digits: int = 3) -> dict[str, list[str]]:
        """Times in words, for tables: by level those of each basis, and of the frozen operator."""
        found: dict[str, list[str]] = {}
        for place, level in enumerate(LEVELS):
            if self.fixed is not None:
                found[f"{level} fixed"] = [self.told(time, digits) for time in self.fixed.time[:, place]]
            found[f"{level} moving"] = [self.told(time, digits) for time in self.moving.time[:, place]]
            found[f"{level} lazy"] = [figure(time, digits) for time in self.lazy[:, place]]
        return found

    @property
    def notes(self) -> list[str]:
        """What the columns of a table mean, and what is not known."""
        told = [
            "fixed: in the eigenbasis of the first measurement; moving: of the modes with these ranks at each time; "
            "lazy: if the first operator stood still. A time is that from which on the energy stays below the level, "
            "known to the measurements around it."
        ]
        told += [f"Nothing is told of {self.unknown:.2g} of the first energy."] if self.unknown > LEAST_SHARE else []
        return [*told, *([f"There is no fixed basis: {self.missing}."] if self.missing else [])]

    def told(self, time: float, digits: int = 3) -> str:
        """A time in words: those after the end are not known."""
        return figure(float(time), digits) if np.isfinite(time) else f">{figure(self.end, digits)}"

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each group; times that the run does not reach are infinite, unknown ones are left out."""
        columns: dict[str, Any] = {
            "eigenvalue_low": self.eigenvalues[:, 0],
            "eigenvalue_high": self.eigenvalues[:, 1],
            "first_rank": self.ranks[:, 0],
            "last_rank": self.ranks[:, 1],
            "energy_share": self.shares,
        }
        for place, level in enumerate(("1/e", "0.05")):
            columns[f"lazy_{level}"] = self.lazy[:, place]
            for name, found in (("fixed", self.fixed), ("moving", self.moving)):
                if found is not None:
                    parts = {"": found.time, "_after": found.after, "_before": found.before}
                    columns |= {f"{name}_{level}{key}": values[:, place] for key, values in parts.items()}
        return pd.DataFrame(columns)

    def to_dict(self) -> dict[str, Any]:
        """In JSON types; times that the run does not reach are null."""
        rows = self.to_dataframe().to_dict("records")
        finite = [
            {
                str(key): None if isinstance(value, float) and not np.isfinite(value) else value
                for key, value in r.items()
            }
            for r in rows
        ]
        return {
            "by": self.by,
            "end": self.end,
            "unknown_share": self.unknown,
            "no_fixed_basis": self.missing or None,
            "groups": finite,
        }

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the times over the eigenvalue; into new axes if none are given."""
        from eigenflow.plots.axes import axes_or_new
        from eigenflow.plots.measured import plot_learning_times

        found = {"first eigenbasis": self.fixed, "moving eigenbasis": self.moving}
        times = {name: one.time for name, one in found.items() if one is not None}
        middle = np.sqrt(self.eigenvalues.prod(1))
        return plot_learning_times(middle, times, self.lazy, list(LEVELS), end=self.end, ax=axes_or_new(ax))


def learning_times(
    run: Run, *, by: Literal["shell", "rank"] = "shell", shells_per_decade: int = 4, most: int | None = None
) -> LearningTimes:
    """Say which modes of a run are learned when.

    Args:
        run: As from `open_run`, with two measurements.
        by: "shell": modes gathered by their eigenvalue at the first measurement; "rank": one by one.
        shells_per_decade: 1, 2, 4, 8 or 16, for shells.
        most: How many groups, from the largest eigenvalue down; None: all.

    Raises:
        ArgumentError: If `by` is neither, `most` below 1, or the run has fewer than two measurements or stores no mode
            one by one.
    """
    if by not in ("shell", "rank"):
        raise ArgumentError(f"`by` must be 'shell' or 'rank', but is {by!r}.")
    if most is not None and most < 1:
        raise ArgumentError(f"`most` must be 1 or more, or None for all groups, but is {most}.")
    data = run.measurements
    if data.sizes["step"] < 2 or data.sizes.get("mode", 0) == 0:
        raise ArgumentError(
            f"`run` must have two measurements of modes, but `{run.path}` has {data.sizes['step']} of "
            f"{data.sizes.get('mode', 0)} modes. Record more steps, or with `modes=` of 1 or more."
        )
    times = data["time"].values - float(data["time"][0])
    first = data["eigenvalue"].values[0]
    first = np.where(first > np.finfo(np.float64).eps * first.max(), first, 0.0)
    start = data["coefficient"].values[0] ** 2
    whole = float(data["energy"].sum("shell").values[0])
    groups = _groups(data["edge"].values, first, by, shells_per_decade)
    groups = [one for one in groups if start[one].sum() > LEAST_SHARE * whole][:most]
    missing = why_initial_basis_is_unknown(data) or ""
    moving = data["coefficient"].values ** 2
    fixed = None if missing else _falls(times, data["initial_coefficient"].values ** 2, groups)
    shares = np.array([start[one].sum() for one in groups]) / max(whole, np.finfo(float).tiny)
    return LearningTimes(
        by=by,
        eigenvalues=np.array([(first[one].min(), first[one].max()) for one in groups]).reshape(-1, 2),
        ranks=np.array([(one[0] + 1, one[-1] + 1) for one in groups]).reshape(-1, 2),
        shares=shares,
        fixed=fixed,
        moving=_falls(times, moving, groups),
        lazy=np.array([_lazy(first[one], start[one]) for one in groups]).reshape(-1, len(LEVELS)),
        end=float(times[-1]),
        unknown=max(0.0, 1.0 - float(shares.sum())),
        missing=missing,
    )


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _groups(edges: np.ndarray, eigenvalues: np.ndarray, by: str, per_decade: int) -> list[Int[np.ndarray, " modes"]]:
    """Places of the modes of each group, from the largest eigenvalue down."""
    order = np.argsort(-eigenvalues, kind="stable")
    if by == "rank":
        return [order[place : place + 1] for place in range(len(order))]
    shells = shell_index(eigenvalues, edges[coarsen_edges(edges, per_decade)])
    return [order[shells[order] == shell] for shell in np.unique(shells)[::-1]]


def _falls(times: np.ndarray, energies: Float[np.ndarray, "time mode"], groups: list[np.ndarray]) -> FallTimes:
    parts = np.array([[_fall(times, energies[:, one].sum(1), level) for level in LEVELS.values()] for one in groups])
    parts = parts.reshape(-1, len(LEVELS), 3)
    return FallTimes(parts[..., 0], parts[..., 1], parts[..., 2])


def _fall(times: np.ndarray, energy: np.ndarray, level: float) -> tuple[float, float, float]:
    """Time from which on an energy stays below a share of its first value, and the measurements around it."""
    above = int(np.flatnonzero(energy > level * energy[0])[-1]) if energy[0] > 0 else 0
    if above == len(times) - 1:
        return np.inf, float(times[-1]), np.inf
    tiny = np.finfo(np.float64).tiny
    high, low = (float(np.log(max(value, tiny))) for value in energy[above : above + 2])
    passed = (high - np.log(level) - np.log(max(energy[0], tiny))) / (high - low) if high > low else 1.0
    time = times[above] + min(max(passed, 0.0), 1.0) * (times[above + 1] - times[above])
    return float(time), float(times[above]), float(times[above + 1])


def _lazy(eigenvalues: np.ndarray, energies: np.ndarray) -> list[float]:
    """When energies that decay by exp(-2 lambda t) have fallen to each level."""
    found = []
    for level in LEVELS.values():

        def over(log_time: float, level: float = level) -> float:
            return float(energies @ np.exp(-2.0 * eigenvalues * np.exp(log_time)) / energies.sum() - level)

        if energies[eigenvalues <= 0].sum() >= level * energies.sum():
            found.append(np.inf)
            continue
        positive = eigenvalues[eigenvalues > 0]
        ends = np.log(1e-3 / positive.max()), np.log(1e3 / positive.min())
        found.append(float(np.exp(cast("float", brentq(over, *ends, xtol=1e-12)))))
    return found
