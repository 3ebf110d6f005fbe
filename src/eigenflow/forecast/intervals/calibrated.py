"""The interval model that a fit owns: its curves, cheap laws beside it, and cross-validation within the curves."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.display import AbstractPrinted, Card
from eigenflow.forecast.curves import CurveSet
from eigenflow.forecast.fitting.fit import AbstractIntervals, Fit
from eigenflow.forecast.intervals.calibration import shipped_calibration
from eigenflow.forecast.intervals.error_scale import OwnError
from eigenflow.forecast.intervals.model import STACKED, predict_interval
from eigenflow.forecast.intervals.own_errors import own_kind
from eigenflow.forecast.laws.protocol import History

__all__ = ["CalibratedIntervals"]

Points = Float[np.ndarray, " point"]


@dataclass(frozen=True, repr=False)
class CalibratedIntervals(AbstractPrinted, AbstractIntervals):
    """What a law's 90 % intervals need beside its fit.

    Attributes:
        curves: What the law was fitted to.
        alternatives: Cheap laws of other kinds, fitted to the same curves: where they part ways it is less sure.
        own: Backtests of the law within these curves, which scale its intervals.
    """

    curves: CurveSet
    alternatives: tuple[Fit, ...]
    own: tuple[OwnError, ...] = ()

    def _card(self) -> Card:
        names = ", ".join(fit.law.name for fit in self.alternatives) or "none"
        kinds = ", ".join(dict.fromkeys(one.kind for one in self.own)) or "none"
        rows = [("beside it", names), ("backtests", f"{len(self.own)} within the curves, left out: {kinds}")]
        return Card(f"Intervals from {len(self.curves)} curves", rows)

    @property
    def known(self) -> CurveSet:
        """The fitted curves."""
        return self.curves

    def ends(self, fit: Fit, history: History, size: float | None) -> tuple[Points, Points, Points]:
        """Give forecast, lower and upper end of the loss at a history's observations."""
        kind = own_kind(self.curves.curves, size)
        goes_on = self._goes_on(history, size)
        found = predict_interval(
            fit,
            list(self.curves),
            history,
            shipped_calibration(fit.law.name),
            size=size,
            alternatives={other.law.name: other for other in self.alternatives if other.law.name != fit.law.name},
            is_same_run=goes_on,
            is_stacked=goes_on and fit.law.name == STACKED,
            own=[one for one in self.own if one.kind == kind],
        )
        return found.loss, found.lower, found.upper

    def _goes_on(self, history: History, size: float | None) -> bool:
        """Whether a forecast is of the rest of the one known run: the same rates as far as that was seen."""
        if len(self.curves) != 1:
            return False
        seen, last = self.curves[0].schedule, int(self.curves[0].steps[-1])
        return (
            size == self.curves[0].size
            and len(history.rates) >= last
            and np.array_equal(seen.rates[:last], history.rates[:last])
        )
