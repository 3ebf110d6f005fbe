"""Splits for cross-validation, ways to hide a part of what is known: the rest of a run, a schedule, a size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from eigenflow.core.grid import first_steps
from eigenflow.forecast.curves import Curve, CurveSet

__all__ = ["LeaveOneSchedule", "LeaveOneSize", "RestOfRun", "Split", "SplitProtocol", "TwoSizes"]

MIN_POINTS = 8


@dataclass(frozen=True)
class Split:
    """What a law may see, and what it is scored on.

    Attributes:
        protocol: The protocol's name.
        name: What is left out.
        known: Curves for the fit.
        unseen: Curves of which only the later or left-out points are kept; their learning rates are given, their
            losses are for scoring alone.
        is_same_run: Whether the unseen points go on with a known run.
    """

    protocol: str
    name: str
    known: tuple[Curve, ...]
    unseen: tuple[Curve, ...]
    is_same_run: bool


@runtime_checkable
class SplitProtocol(Protocol):
    """A way to split curves."""

    @property
    def name(self) -> str: ...

    def splits(self, curves: CurveSet) -> Iterator[Split]: ...


@dataclass(frozen=True)
class RestOfRun:
    """Each run alone: fit its first part, forecast the rest.

    Attributes:
        share: Part of the run's steps that is known.
        least_points: Known points below which a run is left out.
    """

    share: float
    least_points: int = MIN_POINTS

    @property
    def name(self) -> str:
        """E.g. "rest after 25 %"."""
        return f"rest after {self.share:.0%}".replace("%", " %")

    def splits(self, curves: CurveSet) -> Iterator[Split]:
        """One split a curve that has `least_points` points before the cut and one after it."""
        for curve in curves:
            step = first_steps(self.share, int(curve.steps[-1]))
            if (curve.steps <= step).sum() >= self.least_points and curve.steps[-1] > step:
                yield Split(self.name, curve.label, (curve.until(step),), (curve.after(step),), True)


@dataclass(frozen=True)
class LeaveOneSchedule:
    """All schedules of one size but one are known; all runs of that one are forecast."""

    least_known: int = 2
    name: str = "leave one schedule out"

    def splits(self, curves: CurveSet) -> Iterator[Split]:
        """One split for every size and schedule that leaves `least_known` curves."""
        for same_size in curves.per_size().values():
            for schedule in dict.fromkeys(curve.schedule for curve in same_size):
                known = tuple(curve for curve in same_size if curve.schedule != schedule)
                unseen = tuple(curve for curve in same_size if curve.schedule == schedule)
                if len(known) >= self.least_known:
                    yield Split(self.name, unseen[0].label, known, unseen, False)


@dataclass(frozen=True)
class LeaveOneSize:
    """All sizes but one are known; every curve of that one is forecast. The largest and smallest are extrapolations."""

    least_known: int = 3
    name: str = "leave one size out"

    def splits(self, curves: CurveSet) -> Iterator[Split]:
        """One split for every size, if that leaves `least_known` sizes."""
        by_size = {size: part for size, part in curves.per_size().items() if size is not None}
        if len(by_size) <= self.least_known:
            return
        for size, part in by_size.items():
            known = tuple(curve for other, curves_ in by_size.items() if other != size for curve in curves_)
            yield Split(self.name, f"{size:g} parameters", known, part.curves, False)


@dataclass(frozen=True)
class TwoSizes:
    """Two neighbouring sizes are known; the next larger one and the largest are forecast."""

    name: str = "two sizes to a larger one"

    def splits(self, curves: CurveSet) -> Iterator[Split]:
        """One split for every pair of neighbours that has a larger size above it."""
        by_size = {size: part for size, part in curves.per_size().items() if size is not None}
        sizes = sorted(by_size)
        for first, second, third in zip(sizes, sizes[1:], sizes[2:], strict=False):
            known = (*by_size[first], *by_size[second])
            unseen = tuple(curve for size in dict.fromkeys((third, sizes[-1])) for curve in by_size[size])
            yield Split(self.name, f"{first:g} and {second:g} parameters", known, unseen, False)
