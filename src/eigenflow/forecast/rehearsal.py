"""A rehearsal: the same kind of forecast, made where the truth is known, to see how far off the law is on these curves.

For the rest of a run the law is refitted to the first half of what is known and forecasts the second half; for another
schedule or size it is refitted without some of the known ones. The mean squared error of ln(loss) is the interval's
measure of misfit that is the curves' own: neither residuals nor a prior learned elsewhere show it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.laws.protocol import History

if TYPE_CHECKING:
    from eigenflow.forecast.intervals import Fitted

__all__ = ["Fitter", "history_of", "rehearse"]

Fitter = Callable[[Sequence[Curve]], "Fitted"]
MIN_POINTS = 5
MOST_REHEARSALS = 3


def history_of(curve: Curve) -> History:
    """Give a law's view of a curve: where it was observed (from the first update on), and its learning rates."""
    return History(curve.steps, curve.schedule.rates, curve.schedule.batch)


def rehearse(fitter: Fitter, known: Sequence[Curve], *, is_same_run: bool, size: float | None = None) -> float | None:
    """Give the mean squared error of ln(loss) in rehearsals, None if the curves allow none.

    Args:
        fitter: Fits the law.
        known: All curves that the real fit sees.
        is_same_run: Whether the real forecast goes on with the one known run.
        size: Size of the real forecast; one that is not known is rehearsed by leaving known sizes out.
    """
    errors = []
    splits = _earlier(known) if is_same_run else _others(known, size)
    for part, hidden in splits:
        try:
            fit = fitter(part)
        except ArgumentError:  # too few points are left for this law
            continue
        for curve in hidden:
            predicted, _ = fit.log_prediction(history_of(curve), curve.size)
            errors.append(float(np.mean((predicted - np.log(curve.losses)) ** 2)))
    return float(np.mean(errors)) if errors else None


def _earlier(known: Sequence[Curve]) -> Iterator[tuple[Sequence[Curve], Sequence[Curve]]]:
    (curve,) = known
    half = int(curve.steps[-1]) // 2
    if min((curve.steps <= half).sum(), (curve.steps > half).sum()) >= MIN_POINTS:
        yield [curve.until(half)], [curve.after(half)]


def _others(known: Sequence[Curve], size: float | None) -> Iterator[tuple[Sequence[Curve], Sequence[Curve]]]:
    by_size = size is not None and size not in {curve.size for curve in known}
    keys = [curve.size if by_size else curve.schedule for curve in known]
    different = sorted({key for key in keys if key is not None}, key=_order)
    if len(different) <= (2 if by_size else 1):
        return
    # The ends are extrapolations, like most real forecasts; the middle is not.
    picked = np.unique(np.linspace(0, len(different) - 1, MOST_REHEARSALS).astype(int))
    for key in (different[index] for index in picked):
        part = [curve for curve, own in zip(known, keys, strict=True) if own != key]
        yield part, [curve for curve, own in zip(known, keys, strict=True) if own == key]


def _order(key: object) -> tuple[float, float]:
    """Sizes by size; schedules by length, then by how much of the peak's time they use."""
    if isinstance(key, (int, float)):
        return float(key), 0.0
    return float(key.total), float(key.times[-1] / key.peak)  # type: ignore[attr-defined]
