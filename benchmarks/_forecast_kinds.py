"""What people ask of a forecast, as questions with known answers: each names what is known and what is hidden.

Kinds: the rest of a run (after 5, 10, 25, 50 % of it), another schedule, another size, both at once, another peak
rate, a rest from few points, a rest from noisy points. Every question belongs to a set, and sets of one source are left
out together.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator

from _forecast_sets import SETS, Family
from eigenflow.forecast import Curve, CurveSet
from eigenflow.forecast.evaluation.protocols import (
    LeaveOneSchedule,
    LeaveOneSize,
    RestOfRun,
    Split,
    SplitProtocol,
    TwoSizes,
)

__all__ = ["PROTOCOLS", "Question", "questions"]

CUTS = (0.05, 0.1, 0.25, 0.5)
LEAST = 5
FEW = (5, 10)
# White noise of a logged point, and how many of them a noisy log has.
NOISE, NOISY_POINTS = 0.03, 400


@dataclass(frozen=True)
class Question:
    """One split of one set."""

    set: str
    split: Split


@dataclass(frozen=True)
class FewPoints:
    """The rest of each run from a few of its points, evenly chosen among those that are known."""

    share: float = 0.5
    counts: tuple[int, ...] = FEW
    name: str = "few points"

    def splits(self, curves: CurveSet) -> Iterator[Split]:
        """One split a curve and count."""
        for split in RestOfRun(self.share, least_points=max(self.counts)).splits(curves):
            (known,) = split.known
            for count in self.counts:
                at = np.unique(np.rint(np.linspace(0, len(known) - 1, count)).astype(int))
                few = replace(known, steps=known.steps[at], losses=known.losses[at])
                yield replace(split, protocol=self.name, name=f"{split.name}, {count} points", known=(few,))


@dataclass(frozen=True)
class NoisyPoints:
    """The rest of each run where every point is logged with white noise, known and hidden ones."""

    share: float = 0.5
    noise: float = NOISE
    name: str = "noisy points"

    def splits(self, curves: CurveSet) -> Iterator[Split]:
        """One split a curve; the curve between its points is a monotone cubic in ln(step)."""
        for index, curve in enumerate(curves):
            rng = np.random.default_rng(index)
            steps = np.unique(np.rint(np.linspace(curve.steps[0], curve.steps[-1], NOISY_POINTS)).astype(np.int64))
            smooth = PchipInterpolator(np.log(curve.steps), np.log(curve.losses))(np.log(steps))
            losses = np.exp(smooth + self.noise * rng.standard_normal(len(steps)))
            noisy = replace(curve, steps=steps, losses=losses, branch=0)
            yield from (
                replace(split, protocol=self.name)
                for split in RestOfRun(self.share, least_points=LEAST).splits(CurveSet((noisy,)))
            )


@dataclass(frozen=True)
class LeaveOnePeak:
    """Runs of one size at several peak rates: those of one rate are hidden."""

    name: str = "another peak rate"

    def splits(self, curves: CurveSet) -> Iterator[Split]:
        """One split for every size and peak rate, if two others are known."""
        for part in curves.per_size().values():
            peaks = sorted({round(float(np.log(curve.schedule.peak)), 6) for curve in part})
            for peak in peaks if len(peaks) > 2 else ():
                is_hidden = [round(float(np.log(curve.schedule.peak)), 6) == peak for curve in part]
                known = tuple(curve for curve, hidden in zip(part, is_hidden, strict=True) if not hidden)
                unseen = tuple(curve for curve, hidden in zip(part, is_hidden, strict=True) if hidden)
                yield Split(self.name, f"{unseen[0].label}, peak {np.exp(peak):.2g}", known, unseen, False)


@dataclass(frozen=True)
class SizeAndSchedule:
    """Smaller sizes under other kinds of schedule are known; kinds are the curves' roles."""

    name: str = "size and schedule"

    def splits(self, curves: CurveSet) -> Iterator[Split]:
        """One split for every kind, and every size with two smaller ones."""
        sizes = sorted(size for size in curves.sizes if size is not None)
        for size in sizes[2:]:
            for kind in dict.fromkeys(curve.role for curve in curves if curve.size == size):
                known = tuple(c for c in curves if c.size is not None and c.size < size and c.role != kind)
                unseen = tuple(curve for curve in curves if curve.size == size and curve.role == kind)
                if len({curve.size for curve in known}) >= 2:
                    yield Split(self.name, f"{unseen[0].label}, {kind}", known, unseen, False)


PROTOCOLS: dict[str, tuple[SplitProtocol, ...]] = {
    "rest": tuple(RestOfRun(cut, least_points=LEAST) for cut in CUTS),
    "few": (FewPoints(),),
    "noisy": (NoisyPoints(),),
    "schedule": (LeaveOneSchedule(),),
    "one schedule": (LeaveOneSchedule(least_known=1, name="one schedule to another"),),
    "size": (LeaveOneSize(),),
    "pair": (TwoSizes(),),
    "both": (SizeAndSchedule(),),
    "peak": (LeaveOnePeak(),),
}


def questions(data: Path, names: Iterable[str] = tuple(SETS)) -> Iterator[Question]:
    """Every question of the sets."""
    for name in names:
        for family in SETS[name](data):
            for split in _splits(family):
                yield Question(name, split)


def _splits(family: Family) -> Iterator[Split]:
    for hides in family.hide:
        for protocol in PROTOCOLS[hides]:
            yield from _thinned(list(protocol.splits(family.curves)), family.most)


def _thinned(splits: Sequence[Split], most: int) -> Sequence[Split]:
    """At most so many splits of a family, evenly."""
    if len(splits) <= most:
        return splits
    return [splits[k] for k in np.unique(np.rint(np.linspace(0, len(splits) - 1, most)).astype(int))]


def curves_of(split: Split) -> tuple[Curve, ...]:
    """All curves of a split, for counting."""
    return (*split.known, *split.unseen)
