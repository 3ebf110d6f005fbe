"""Loss curves with the schedules that made them, as a fit takes them."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from eigenflow.core.checks import check_kind, check_number, check_whole
from eigenflow.core.display import AbstractPrinted, Card, span
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.core.grid import first_steps
from eigenflow.forecast.checks import LEAST, MOST, as_numbers
from eigenflow.forecast.schedules.schedule import Schedule
from eigenflow.forecast.windows import window_starts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Curve", "CurveSet", "Origin", "format_size"]


@dataclass(frozen=True)
class Origin:
    """Where a curve came from.

    Attributes:
        file: As the user gave it.
        first_row: Line of its first point in the file (the header is line 1), None where there are no lines.
        last_row: Line of its last point.
    """

    file: str
    first_row: int | None = None
    last_row: int | None = None

    def __str__(self) -> str:
        return self.file if self.first_row is None else f"{self.file}, rows {self.first_row} to {self.last_row}"


@dataclass(frozen=True, eq=False, repr=False)
class Curve(AbstractPrinted):
    """The loss of one run at some steps, and every learning rate that led there.

    Attributes:
        name: The run.
        steps: Completed updates at each point, increasing, from 0 (the initial network).
        losses: Loss there, positive and finite, in nats (or the loss's own unit).
        schedule: Rates of all updates up to the last point at least, warm-up and shared history included.
        size: Parameters of the model, None if unknown.
        tokens_per_step: Tokens (or examples) per update, None if unknown; `schedule.batch` where it changes.
        role: What the table calls it ("fit", "dev", "test", ...), None if it does not.
        branch: Completed updates that the run shares with another one; 0 if its history is its own.
        origin: File and rows.
        changes: What the reader did to it, one line each.
        planned_total: Updates that the run shall have in all, where its log says it.
        cautions: What makes a forecast of this curve doubtful, one line each.
        rounding: Quantum to which the late losses are rounded in the log, in the losses' unit; 0 if none shows. Its
            variance, relative to a loss, is (rounding / loss)^2 / 12.
        step_unit: What one step is: "update", "epoch", or "interval" (of logging), where the log counts no updates.
    """

    name: str
    steps: Int[np.ndarray, " point"]
    losses: Float[np.ndarray, " point"]
    schedule: Schedule
    size: float | int | None = None
    tokens_per_step: float | int | None = None
    role: str | None = None
    branch: int = 0
    origin: Origin | None = None
    changes: tuple[str, ...] = ()
    planned_total: int | None = None
    cautions: tuple[str, ...] = ()
    rounding: float = 0.0
    step_unit: str = "update"

    def __post_init__(self) -> None:
        check_kind("name", self.name, str, "the name of the run, a text")
        check_kind("schedule", self.schedule, Schedule, "a `Schedule`, such as `Schedule.cosine(...)`")
        losses = as_numbers("losses", self.losses, finite=False)
        steps = np.array(self.steps) if len(losses) else np.zeros(0)
        if steps.shape != losses.shape or steps.ndim != 1 or len(steps) == 0:
            raise ShapeError(
                f"Curve {self.name!r}: `steps` and `losses` must be equally long and not empty, but have shapes "
                f"{steps.shape} and {losses.shape}."
            )
        if not np.issubdtype(steps.dtype, np.integer):
            raise ArgumentError(
                f"Curve {self.name!r}: `steps` must be whole numbers of updates, but are {steps.dtype}."
            )
        back = np.flatnonzero(np.diff(steps) <= 0)
        if len(back) or steps[0] < 0:
            at = int(back[0]) if len(back) else 0
            raise ArgumentError(
                f"Curve {self.name!r}: `steps` must increase from 0 or later, but point {at} has step {steps[at]}"
                + (f" and the next {steps[at + 1]}." if len(back) else ".")
            )
        wrong = np.flatnonzero(~(np.isfinite(losses) & (losses > 0)))
        if len(wrong):
            raise NonFiniteError(
                f"Curve {self.name!r}: losses must be positive and finite, but step {steps[wrong[0]]} has "
                f"{losses[wrong[0]]}."
            )
        if steps[-1] > self.schedule.total:
            raise ArgumentError(
                f"Curve {self.name!r} goes to step {steps[-1]}, but its schedule has {self.schedule.total} updates. "
                f"Give the rates of every update, or cut the curve."
            )
        for name in ("size", "tokens_per_step"):
            if getattr(self, name) is not None:
                _check_positive(f"Curve {self.name!r}: `{name}`", getattr(self, name))
        check_whole("branch", self.branch)
        check_number("rounding", self.rounding, 0.0)
        for name, values in (("steps", steps.astype(np.int64)), ("losses", losses)):
            values.flags.writeable = False
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.steps)

    def _card(self) -> Card:
        rows = [
            ("loss", span(self.losses, 4)),
            ("steps", f"{self.steps[0]} to {self.steps[-1]} of {self.schedule.total} updates"),
            ("schedule", self.schedule.summary),
        ]
        if self.tokens_per_step is not None:
            rows.append(("tokens", f"{self.tokens_per_step:g} a step"))
        if self.role is not None:
            rows.append(("role", self.role))
        if self.branch:
            rows.append(("branch", f"shares {self.branch} updates with another run"))
        if self.origin is not None:
            rows.append(("from", f"{self.origin}"))
        rows += [("caution", caution) for caution in self.cautions]
        rows += [("changed", change) for change in self.changes]
        return Card(f"Curve {self.label}: {len(self)} points", rows)

    @property
    def times(self) -> Float[np.ndarray, " point"]:
        """Intrinsic time at each point, the sum of the learning rates before it."""
        return self.schedule.times[self.steps]

    @property
    def label(self) -> str:
        """Name and size, for people."""
        return self.name if self.size is None else f"{self.name} ({format_size(self.size)})"

    def until(self, step: int) -> "Curve":
        """What was known after `step` completed updates: the points up to it; the schedule stays whole."""
        return self._kept(self.steps <= step, f"no point up to step {step}")

    def after(self, step: int) -> "Curve":
        """The points after `step` completed updates."""
        return self._kept(self.steps > step, f"no point after step {step}")

    def cut(self, share: float) -> tuple["Curve", "Curve"]:
        """Its points up to a share of the run's last step, and the later ones.

        Args:
            share: In (0, 1); the house's cuts are 0.1, 0.25 and 0.5.
        """
        check_number("share", share)
        if not 0 < share < 1:
            raise ArgumentError(f"`share` must lie in (0, 1), but is {share}.")
        step = first_steps(share, int(self.steps[-1]))
        return self.until(step), self.after(step)

    def binned(self, points: int) -> "Curve":
        """At most about `points` points: means over windows that are even in ln(step), each at its mean step.

        Noise of single steps averages out, and dense logs fit as fast as thin ones. Windows begin anew where the
        learning rate jumps.

        Args:
            points: Windows over the range of steps; windows without a point give none.
        """
        if len(self) <= points:
            return self
        starts = window_starts(self.steps, self.schedule.rates, points)
        count = np.diff(np.append(starts, len(self)))
        centres = np.add.reduceat(self.steps, starts) / count
        means = np.add.reduceat(np.log(self.losses), starts) / count
        steps = np.rint(centres).astype(np.int64)
        losses = np.exp(means + _gentler_slope(centres, means) * (steps - centres))
        line = f"{len(self)} points averaged in {len(starts)} windows"
        return replace(self, steps=steps, losses=losses, changes=(*self.changes, line))

    def to_dataframe(self) -> pd.DataFrame:
        """One row a point: curve, size, step, learning_rate (of the next update), time, loss, role."""
        rates = self.schedule.rates[np.minimum(self.steps, self.schedule.total - 1)]
        return pd.DataFrame(
            {
                "curve": self.name,
                "size": self.size,
                "step": self.steps,
                "learning_rate": rates,
                "time": self.times,
                "loss": self.losses,
                "role": self.role,
            }
        )

    def to_frame(self) -> pd.DataFrame:
        """The older name of `to_dataframe`."""
        return _renamed(self.to_dataframe)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the losses over updates; into new axes if none are given."""
        from eigenflow.plots import axes_or_new, plot_curves

        return plot_curves([(self.label, self.steps, self.losses)], ax=axes_or_new(ax))

    def _kept(self, kept: np.ndarray, problem: str) -> "Curve":
        if not kept.any():
            raise ArgumentError(f"Curve {self.label} has {problem}; it runs from {self.steps[0]} to {self.steps[-1]}.")
        return replace(self, steps=self.steps[kept], losses=self.losses[kept])


@dataclass(frozen=True, repr=False)
class CurveSet(AbstractPrinted):
    """Curves that belong together, and what their reader has to say.

    Attributes:
        curves: In the order of the file.
        notes: The reader's report: one line for each thing that was found or done.
        size_unit: Parameters per unit of the table's size column (1e6 for `model_size_M`).
        loss_unit: "nats" unless the reader was told otherwise.
    """

    curves: tuple[Curve, ...]
    notes: tuple[str, ...] = field(default=())
    size_unit: float = 1.0
    loss_unit: str = "nats"

    def __post_init__(self) -> None:
        if isinstance(self.curves, str) or not isinstance(self.curves, Iterable):
            raise ArgumentError(f"`curves` must be a list of `Curve`, but is {str(self.curves)[:60]!r}.")
        object.__setattr__(self, "curves", tuple(self.curves))
        for curve in self.curves:
            check_kind("curves", curve, Curve, "a list of `Curve`")
        counts = Counter((curve.name, curve.size) for curve in self.curves)
        doubles = sorted({str(name) for (name, _), count in counts.items() if count > 1})
        if doubles:
            raise ArgumentError(
                f"Two curves of one size must not have the same name, but {', '.join(doubles)} occurs twice."
            )

    def __len__(self) -> int:
        return len(self.curves)

    def _card(self) -> Card:
        sizes = [format_size(size) for size in self.sizes if size is not None]
        rows = [("sizes", ", ".join(sizes))] if sizes else []
        if self.notes:
            rows.append(("notes", f"{len(self.notes)}: {self.notes[0]}"))
        cautions = [f"{curve.label} {line}" for curve in self.curves for line in curve.cautions]
        if cautions:
            rows.append(("cautions", f"{len(cautions)}: {cautions[0]}"))
        for curve in self.curves:
            role = "" if curve.role is None else f", {curve.role}"
            points = f"{len(curve)} points, step {curve.steps[0]} to {curve.steps[-1]}"
            rows.append((curve.label, f"{points}, loss {span(curve.losses, 4)}{role}"))
        return Card(f"{len(self)} curves with {self.points} points, loss in {self.loss_unit}", rows)

    def __iter__(self) -> Iterator[Curve]:
        return iter(self.curves)

    @overload
    def __getitem__(self, key: int) -> Curve: ...
    @overload
    def __getitem__(self, key: str) -> Curve: ...
    def __getitem__(self, key: int | str) -> Curve:
        if isinstance(key, int):
            if not -len(self) <= key < len(self):
                raise ArgumentError(f"There are {len(self)} curves, counted from 0, but `key` is {key}.")
            return self.curves[key]
        found = [curve for curve in self.curves if curve.name == key]
        if len(found) != 1:
            raise ArgumentError(
                f"There must be one curve {key!r}, but there are {len(found)}. Available: {', '.join(self.names)}."
                + (" Choose a size first: `curves.select(size=...)`." if found else "")
            )
        return found[0]

    @property
    def names(self) -> list[str]:
        """Names of the curves, each once."""
        return list(dict.fromkeys(curve.name for curve in self.curves))

    @property
    def sizes(self) -> list[float | None]:
        """Sizes that occur, from small to large; None last."""
        found = {curve.size for curve in self.curves}
        return [*sorted(size for size in found if size is not None), *([None] if None in found else [])]

    @property
    def points(self) -> int:
        """Number of points of all curves."""
        return sum(len(curve) for curve in self.curves)

    def select(
        self, *, names: Iterable[str] | None = None, role: str | Iterable[str] | None = None, size: float | None = None
    ) -> "CurveSet":
        """The curves that have one of the names, one of the roles, and the size (in parameters), where given."""
        if isinstance(names, str):
            raise ArgumentError(f"`names` must be a list of names, but is {names!r}. Write [{names!r}].")
        wanted_names = None if names is None else set(names)
        wanted_roles = None if role is None else {role} if isinstance(role, str) else set(role)
        kept = [
            curve
            for curve in self.curves
            if (wanted_names is None or curve.name in wanted_names)
            and (wanted_roles is None or curve.role in wanted_roles)
            and (size is None or curve.size == size)
        ]
        if not kept:
            raise ArgumentError(
                f"No curve has names={names}, role={role}, size={size}. Names: {', '.join(self.names)}. Roles: "
                f"{sorted({str(curve.role) for curve in self.curves})}. Sizes: {self.sizes}."
            )
        return replace(self, curves=tuple(kept))

    def per_size(self) -> dict[float | None, "CurveSet"]:
        """A set for every size."""
        return {
            size: replace(self, curves=tuple(curve for curve in self.curves if curve.size == size))
            for size in self.sizes
        }

    def to_dataframe(self) -> pd.DataFrame:
        """All points in one table; columns as in `Curve.to_dataframe`."""
        return pd.concat([curve.to_dataframe() for curve in self.curves], ignore_index=True)

    def to_frame(self) -> pd.DataFrame:
        """The older name of `to_dataframe`."""
        return _renamed(self.to_dataframe)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the losses of all curves over updates; into new axes if none are given."""
        from eigenflow.plots import axes_or_new, plot_curves

        curves = [(curve.label, curve.steps, curve.losses) for curve in self.curves]
        return plot_curves(curves, ax=axes_or_new(ax), unit=self.loss_unit)


def _renamed(to_dataframe: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    warnings.warn("`to_frame` is now `to_dataframe`; it goes with version 1.", DeprecationWarning, stacklevel=3)
    return to_dataframe()


def _check_positive(what: str, value: Any) -> None:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not LEAST <= value <= MOST:
        raise ArgumentError(f"{what} must be a positive number, {LEAST:g} to {MOST:g}, but is {str(value)[:60]}.")


def _gentler_slope(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
    """The smaller of the slopes to the left and to the right, 0 where they disagree in sign: none across a jump."""
    slopes = np.diff(y) / np.diff(x)
    left, right = np.concatenate([[0.0], slopes]), np.concatenate([slopes, [0.0]])
    return np.where(left * right > 0, np.sign(left) * np.minimum(np.abs(left), np.abs(right)), 0.0)


def format_size(size: float) -> str:
    """A number of parameters for people: 25M, 1.3B, 9600."""
    for unit, letter in ((1e9, "B"), (1e6, "M")):
        if size >= unit:
            return f"{size / unit:.4g}{letter}"
    return f"{size:g}"
