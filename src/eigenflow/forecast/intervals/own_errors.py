"""A study's own backtests, cross-validation within it: the law is refitted without a part, and forecasts that part.

They tell how far errors in this study exceed, or stay below, what is usual (`error_scale`). What is left out is as
near as can be to what will be forecast: sizes, if an unseen size is wanted and three or more were fitted; schedules, if
there are two; else the later parts of runs.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Int

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve, CurveSet
from eigenflow.forecast.evaluation.protocols import LeaveOneSchedule, LeaveOneSize, RestOfRun, Split
from eigenflow.forecast.intervals.error_scale import OwnError, OwnKind
from eigenflow.forecast.intervals.model import Fitted, measure_spread, posterior_moments
from eigenflow.forecast.laws.protocol import History

__all__ = ["evenly", "kinds_of", "own_errors", "own_kind"]

# Refits for one study; each is worth less than the one before.
MOST_SPLITS, MOST_RESTS = 3, 3
SHARES, LEAST_POINTS = (0.25, 0.5), 5
POINTS = 8


def own_kind(known: Sequence[Curve], size: float | None) -> OwnKind:
    """Choose what to leave out for a forecast of a model of this size."""
    fitted = {curve.size for curve in known if curve.size is not None}
    if size is not None and size not in fitted and len(fitted) > 2:
        return "size"
    several = len({(curve.size, curve.schedule) for curve in known}) > len({curve.size for curve in known})
    return "schedule" if several else "rest"


def kinds_of(known: Sequence[Curve]) -> tuple[OwnKind, ...]:
    """Give every kind that forecasts from these curves can ask for."""
    fitted = {curve.size for curve in known if curve.size is not None}
    inside = own_kind(known, next(iter(fitted), None))
    return (inside, "size") if len(fitted) > 2 else (inside,)


def own_errors(
    known: Sequence[Curve], kind: OwnKind, refit: Callable[[Sequence[Curve]], Fitted]
) -> tuple[OwnError, ...]:
    """Refit without parts of the known curves and forecast them, at a few points of each.

    Args:
        known: The study's curves.
        kind: What to leave out.
        refit: Fits the law, as it was fitted to all of them; a refusal (too few points) leaves that part out.
    """
    found = []
    for split in _splits(known, kind):
        try:
            fit = refit(split.known)
        except ArgumentError:
            continue
        for curve in split.unseen:
            at = evenly(len(curve), POINTS)
            history = History(curve.steps[at], curve.schedule.rates, curve.schedule.batch)
            log_loss, variance = posterior_moments(fit, history, curve.size)
            spread = measure_spread(
                fit, split.known, history, log_loss, variance, [], size=curve.size, is_same_run=split.is_same_run
            )
            found.append(OwnError(kind, log_loss - np.log(curve.losses[at]), spread))
    return tuple(found)


def _splits(known: Sequence[Curve], kind: OwnKind) -> Iterator[Split]:
    curves = CurveSet(tuple(known))
    if kind == "rest":
        some = CurveSet(tuple(known[k] for k in evenly(len(known), MOST_RESTS)))
        for share in SHARES:
            yield from RestOfRun(share, least_points=LEAST_POINTS).splits(some)
        return
    protocol = LeaveOneSize(least_known=2) if kind == "size" else LeaveOneSchedule(least_known=1)
    splits = list(protocol.splits(curves))
    for k in evenly(len(splits), MOST_SPLITS):
        yield splits[k]


def evenly(length: int, most: int) -> Int[np.ndarray, " index"]:
    """Choose at most so many indices, the first and the last among them."""
    return np.unique(np.rint(np.linspace(0, length - 1, min(length, most))).astype(int))
