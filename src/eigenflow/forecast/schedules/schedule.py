"""Learning-rate schedules: one rate per update, with warm-up, batch sizes and intrinsic time.

Updates are counted from 0: `rates[k]` is the learning rate of update k, and after s completed updates the
intrinsic time is S(s) = rates[0] + ... + rates[s - 1]. A logged row at step s shows the state after s completed
updates beside `rates[s]`, the rate of the next one; that is how schedulers that step after the update log it
(Hugging Face, the tables of the multi-power law), and those tables are reproduced to their last digit.

Warm-up is linear from 0: rates[k] = peak * k / warmup for k < warmup, so rates[warmup] is the peak.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from eigenflow.core.checks import check_choice, check_kind, check_number, check_whole
from eigenflow.core.display import AbstractPrinted, Card, FieldsPrinted
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.core.rounding import WHOLE
from eigenflow.forecast.checks import LEAST, MOST, as_numbers
from eigenflow.forecast.schedules import kinds
from eigenflow.forecast.schedules.kinds import Decay
from eigenflow.forecast.schedules.run_lengths import from_runs, to_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DRAWN_WITHIN", "Blocks", "Schedule"]

# Pictures show rates to a thousandth of the peak.
DRAWN_WITHIN = 1e-3


@dataclass(frozen=True, repr=False)
class Blocks(FieldsPrinted):
    """A schedule as runs of constant rate.

    Attributes:
        edges: Block j covers updates edges[j] ... edges[j + 1] - 1; from 0 to the total.
        rates: Learning rate of each block (its mean, where the rates inside differ).
    """

    edges: Int[np.ndarray, " edge"]
    rates: Float[np.ndarray, " block"]

    @property
    def times(self) -> Float[np.ndarray, " edge"]:
        """Intrinsic time at every edge."""
        return np.concatenate([[0.0], np.cumsum(np.diff(self.edges) * self.rates)])


@dataclass(frozen=True, eq=False, repr=False)
class Schedule(AbstractPrinted):
    """A learning rate for every update of a run. Make one with a constructor: `Schedule.cosine(...)`, ...

    Attributes:
        rates: Learning rate of update k, k from 0; finite, not negative, some positive.
        warmup: Updates of warm-up at the start (they are part of `rates`).
        batch: Tokens (or examples) per update, one value per update, or None if it never changes.
        kind: The constructor's name.
        parameters: The constructor's arguments, enough to make the schedule again.
    """

    rates: Float[np.ndarray, " update"]
    warmup: int = 0
    batch: Float[np.ndarray, " update"] | None = None
    kind: str = "table"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rates = _read_only(self.rates, "rates")
        if len(rates) == 0:
            raise ArgumentError("`rates` must have between 1 and as many values as updates are allowed, but is empty.")
        kinds.check_updates(len(rates), "rates")
        if rates.min() < 0 or rates.max() == 0:
            raise ArgumentError(
                f"Learning rates must not be negative, and some must be positive, but they run from {rates.min():g} to "
                f"{rates.max():g} (update {int(rates.argmin())} is the lowest)."
            )
        if not LEAST <= rates.max() <= MOST:
            raise ArgumentError(
                f"The highest learning rate must lie within {LEAST:g} and {MOST:g}, but is {rates.max():g}."
            )
        warmup = check_whole("warmup", self.warmup, 0, len(rates), f"number of updates, up to total = {len(rates):,},")
        object.__setattr__(self, "warmup", warmup)
        object.__setattr__(self, "rates", rates)
        if self.batch is not None:
            batch = _read_only(self.batch, "batch")
            if batch.shape != rates.shape:
                raise ShapeError(f"`batch` must have one value per update, {len(rates)}, but has {len(batch)}.")
            if not LEAST <= batch.min() <= batch.max() <= MOST:
                raise ArgumentError(
                    f"`batch` must be positive, and lie within {LEAST:g} and {MOST:g}, but its values run from "
                    f"{batch.min():g} to {batch.max():g}."
                )
            object.__setattr__(self, "batch", batch)

    @classmethod
    def constant(cls, *, total: int, peak: float, warmup: int = 0) -> "Schedule":
        """The peak rate from the end of warm-up on."""
        return cls._made("constant", kinds.constant, total, warmup, peak)

    @classmethod
    def cosine(cls, *, total: int, peak: float, end: float = 0.0, warmup: int = 0) -> "Schedule":
        """Half a cosine from the peak, at update `warmup`, to `end`, at update `total`.

        Examples:
            Half-way through the cosine the rate is half-way between its ends:

            >>> schedule = Schedule.cosine(total=1000, peak=3e-4, end=1e-4, warmup=100)
            >>> float(schedule.rates[100]), round(float(schedule.rates[550]), 10)
            (0.0003, 0.0002)
        """
        return cls._made("cosine", kinds.cosine, total, warmup, peak, end=end)

    @classmethod
    def wsd(
        cls, *, total: int, peak: float, decay_start: int, end: float = 0.0, warmup: int = 0, decay: Decay = "linear"
    ) -> "Schedule":
        """Warm-up, stable, decay: the peak until `decay_start`, then down to `end` at update `total`.

        Args:
            total: Updates in all.
            peak: Rate of the stable part.
            decay_start: First update of the decay.
            end: Rate that the decay reaches at update `total`, just after the last one.
            warmup: Updates of warm-up.
            decay: "linear"; "exponential", peak * (end / peak)^x; or "sqrt", peak - (peak - end) * sqrt(x), the
                "1-sqrt" decay; x is the share of the decay that is done.
        """
        return cls._made("wsd", kinds.wsd, total, warmup, peak, decay_start=decay_start, end=end, decay=decay)

    @classmethod
    def two_stage(cls, *, total: int, peak: float, end: float, change: int, warmup: int = 0) -> "Schedule":
        """The peak before update `change`, `end` from that update on."""
        return cls._made("two_stage", kinds.two_stage, total, warmup, peak, end=end, change=change)

    @classmethod
    def multi_step(
        cls, *, total: int, peak: float, changes: Sequence[int], factors: Sequence[float], warmup: int = 0
    ) -> "Schedule":
        """The peak times 1 at first, times factors[j] from update changes[j] on."""
        check_kind("changes", changes, (list, tuple, np.ndarray), "a list of updates")
        check_kind("factors", factors, (list, tuple, np.ndarray), "a list of numbers")
        given = {"changes": list(changes), "factors": [check_number("factors", factor, 0.0) for factor in factors]}
        return cls._made("multi_step", kinds.multi_step, total, warmup, peak, **given)

    @classmethod
    def linear_to_zero(cls, *, total: int, peak: float, warmup: int = 0) -> "Schedule":
        """A straight line from the peak, at update `warmup`, to 0, at update `total`."""
        return cls._made("linear_to_zero", kinds.linear_to_zero, total, warmup, peak)

    @classmethod
    def cyclic(
        cls,
        *,
        total: int,
        peak: float,
        period: int,
        end: float = 0.0,
        warmup: int = 0,
        shape: Literal["cosine", "triangle"] = "cosine",
    ) -> "Schedule":
        """Cycles of `period` updates after warm-up.

        Args:
            total: Updates in all.
            peak: Highest rate.
            period: Updates of a cycle.
            end: Lowest rate.
            warmup: Updates of warm-up.
            shape: "cosine": half a cosine from the peak to `end`, then a restart at the peak (SGDR);
                "triangle": a straight line down to `end` in the first half, up again in the second.
        """
        return cls._made("cyclic", kinds.cyclic, total, warmup, peak, period=period, end=end, shape=shape)

    @classmethod
    def table(
        cls, rates: Sequence[float] | Float[np.ndarray, " update"], *, warmup: int | None = None, batch: Any = None
    ) -> "Schedule":
        """A rate for every update, in order.

        Args:
            rates: The rates.
            warmup: Updates of warm-up; None: the length of the rise at the start, 0 if there is none.
            batch: As in the class.
        """
        values = as_numbers("rates", rates)
        return cls(values, _rise(values) if warmup is None else warmup, batch)

    @classmethod
    def from_steps(
        cls,
        steps: Sequence[int] | Int[np.ndarray, " entry"],
        rates: Sequence[float] | Float[np.ndarray, " entry"],
        *,
        total: int,
        between: Literal["hold", "linear"] = "hold",
        warmup: int | None = None,
    ) -> "Schedule":
        """A rate at some updates, held or joined by straight lines between them; before the first the first holds.

        Args:
            steps: Updates at which the rate is given, increasing.
            rates: The rates there.
            total: Updates in all.
            between: What happens between two entries.
            warmup: As in `table`.
        """
        entries, values = as_numbers("steps", steps), as_numbers("rates", rates)
        if entries.shape != values.shape or entries.ndim != 1 or len(entries) == 0:
            raise ShapeError(
                f"`steps` and `rates` must be equally long, not empty, but have shapes {entries.shape}, {values.shape}."
            )
        if np.any(np.diff(entries) <= 0):
            raise ArgumentError("`steps` must increase; sort them and remove the doubles.")
        check_choice("between", between, ("hold", "linear"))
        k = np.arange(kinds.check_total(total, 0))
        if between == "linear":
            return cls.table(np.interp(k, entries, values), warmup=warmup)
        return cls.table(values[np.maximum(np.searchsorted(entries, k, side="right") - 1, 0)], warmup=warmup)

    @property
    def total(self) -> int:
        """Number of updates."""
        return len(self.rates)

    @cached_property
    def peak(self) -> float:
        """Highest rate."""
        return float(self.rates.max())

    @cached_property
    def times(self) -> Float[np.ndarray, " step"]:
        """Intrinsic time S(s) after s = 0 ... total completed updates; one more value than there are updates."""
        times = np.concatenate([[0.0], np.cumsum(self.rates)])
        times.flags.writeable = False
        return times

    @cached_property
    def blocks(self) -> Blocks:
        """The exact runs of equal rate."""
        starts = np.flatnonzero(np.diff(self.rates, prepend=np.nan) != 0)
        return Blocks(np.append(starts, self.total), self.rates[starts])

    def blocks_within(self, tolerance: float) -> Blocks:
        """Fewer blocks: inside one the rates differ by at most `tolerance` times the peak; time at the edges is exact.

        Args:
            tolerance: Largest spread of rates in a block, as a share of the peak; 0 gives `blocks`.
        """
        if tolerance <= 0:
            return self.blocks
        travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(self.rates)))])
        index = np.floor(travelled / (tolerance * self.peak))
        edges = np.append(np.flatnonzero(np.diff(index, prepend=-1.0) != 0), self.total)
        return Blocks(edges, np.add.reduceat(self.rates, edges[:-1]) / np.diff(edges))

    def until(self, step: int) -> "Schedule":
        """The first `step` updates."""
        kinds.check_inside("step", step, 1, self.total)
        if step == self.total:
            return self
        batch = None if self.batch is None else self.batch[:step]
        return type(self)(self.rates[:step], min(self.warmup, step), batch)

    def then(self, later: "Schedule") -> "Schedule":
        """These updates, followed by those of `later`, whose own warm-up is then not one of the whole run."""
        batch = None
        if self.batch is not None or later.batch is not None:
            if self.batch is None or later.batch is None:
                raise ArgumentError("Both schedules must have batch sizes, or none of them; use `with_batch` first.")
            batch = np.concatenate([self.batch, later.batch])
        return type(self)(np.concatenate([self.rates, later.rates]), self.warmup, batch)

    def with_batch(self, sizes: float | Sequence[float | int], starts: Sequence[int] = (0,)) -> "Schedule":
        """The same rates with a batch-size schedule: sizes[j] tokens (or examples) from update starts[j] on."""
        levels, edges = as_numbers("sizes", np.atleast_1d(np.asarray(sizes))), as_numbers("starts", starts)
        if levels.shape != edges.shape or len(edges) == 0 or edges[0] != 0 or np.any(np.diff(edges) <= 0):
            raise ArgumentError(
                f"`starts` must begin with 0, increase and be as long as `sizes`, but they are {edges.tolist()} and "
                f"{levels.tolist()}."
            )
        batch = levels[np.searchsorted(edges, np.arange(self.total), side="right") - 1]
        return type(self)(self.rates, self.warmup, batch, self.kind, self.parameters)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; `from_dict` gives the same rates to the last bit."""
        if self.kind == "table":
            form = {"kind": "table", "warmup": self.warmup, **to_runs(self.rates)}
        else:
            form = {"kind": self.kind, **self.parameters}
        if self.batch is not None:
            form["batch"] = to_runs(self.batch)
        return form

    @classmethod
    def from_dict(cls, form: Mapping[str, Any]) -> "Schedule":
        """Make a schedule again from `to_dict`."""
        check_kind("form", form, Mapping, "an object of key and value, as `to_dict` makes it")
        arguments = dict(form)
        kind, batch = arguments.pop("kind", None), arguments.pop("batch", None)
        check_choice("kind", kind, KINDS)
        if kind == "table":
            warmup = arguments.pop("warmup", None)
            made = cls(from_runs(arguments), 0 if warmup is None else warmup)
        else:
            make = getattr(cls, str(kind))
            _check_names(str(kind), arguments, inspect.signature(make).parameters)
            made = make(**arguments)
        if batch is None:
            return made
        check_kind("batch", batch, Mapping, "an object with `values`")
        return cls(made.rates, made.warmup, from_runs(batch), made.kind, made.parameters)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        same_batch = (self.batch is None) == (other.batch is None) and (
            self.batch is None or other.batch is None or np.array_equal(self.batch, other.batch)
        )
        return same_batch and self.warmup == other.warmup and np.array_equal(self.rates, other.rates)

    def __hash__(self) -> int:
        return hash((self.total, self.warmup, float(self.times[-1])))

    @property
    def summary(self) -> str:
        """Kind, highest and last rate, and warm-up, on one line."""
        warmup = f", warm-up of {self.warmup}" if self.warmup else ""
        return f"{self.kind}, peak {self.peak:g}, last {self.rates[-1]:g}{warmup}"

    def _card(self) -> Card:
        rows = [
            ("peak", f"{self.peak:g}"),
            ("last", f"{self.rates[-1]:g}"),
            ("warm-up", f"{self.warmup} updates"),
            ("time", f"{self.times[-1]:g}, the sum of all rates"),
        ]
        if self.batch is not None:
            rows.append(("batch", f"{self.batch.min():g} to {self.batch.max():g}"))
        return Card(f"Schedule {self.kind}: {self.total} updates", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row an update: step (updates completed before it), learning_rate, time; batch where it changes."""
        columns = {"step": np.arange(self.total), "learning_rate": self.rates, "time": self.times[:-1]}
        return pd.DataFrame(columns if self.batch is None else columns | {"batch": self.batch})

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the learning rate over updates; into new axes if none are given."""
        from eigenflow.plots import axes_or_new, plot_schedules

        blocks = self.blocks_within(DRAWN_WITHIN)
        return plot_schedules({self.kind: (blocks.edges, blocks.rates)}, ax=axes_or_new(ax))

    @classmethod
    def _made(
        cls, kind: str, rate: kinds.Shape, total: int, warmup: int, peak: float, /, **parameters: Any
    ) -> "Schedule":
        rates = kinds.with_warmup(rate, total, warmup, peak, **parameters)
        named = {"total": len(rates), "warmup": int(warmup), "peak": float(peak), **parameters}
        return cls(rates, int(warmup), None, kind, named)


KINDS = ("constant", "cosine", "cyclic", "linear_to_zero", "multi_step", "two_stage", "wsd", "table")


def _check_names(kind: str, given: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> None:
    unknown = [name for name in given if name not in known]
    missing = [name for name, one in known.items() if one.default is inspect.Parameter.empty and name not in given]
    if unknown or missing:
        trouble = f"does not know {str(unknown[0])[:40]!r}" if unknown else f"needs {missing[0]!r}"
        raise ArgumentError(f"A schedule of kind {kind!r} {trouble}. Its keys are {', '.join(known)}.")


def _read_only(values: Any, name: str) -> Float[np.ndarray, " update"]:
    array = as_numbers(name, values)
    array.flags.writeable = False
    return array


def _rise(rates: Float[np.ndarray, " update"]) -> int:
    """Length of a rise at the start: updates before the rate first stops growing; 0 for a rate that falls at once.

    A plateau that grows by rounding does not grow.
    """
    grows = np.diff(rates) > WHOLE * rates[:-1]
    length = len(grows) if grows.all() else int(np.argmin(grows))
    return length if length < len(rates) - 1 else 0
