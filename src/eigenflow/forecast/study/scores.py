"""Scores of a study's forecasts on curves, fitted or new."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import overload

import numpy as np
import pandas as pd

from eigenflow.core.checks import check_kind
from eigenflow.core.display import AbstractPrinted, Card, FieldsPrinted, figure
from eigenflow.forecast.curves import Curve, CurveSet
from eigenflow.forecast.evaluation.scores import score_forecast
from eigenflow.forecast.study.study import Study

__all__ = ["CurveForecastScore", "StudyScores", "score_study"]


@dataclass(frozen=True, repr=False)
class CurveForecastScore(FieldsPrinted):
    """A law's forecast of one curve beside what was measured; columns of `ForecastScore`, in the unit of the loss.

    Attributes:
        law: The law.
        curve: The curve.
        size: Its size, None if unknown.
        role: What its table calls it.
        is_fitted: Whether the fit has seen it.
        points: Number of scored points.
        final_error: Forecast minus truth at the last point.
        mae: Mean absolute error.
        mae_after_branch: The same where the curve shares no history with a fitted one.
        r2: Share of the curve's variance that the forecast explains.
        coverage: Share of points inside the 90 % interval.
        width: Mean width of the interval.
        winkler: Mean interval score; smaller is better.
    """

    law: str
    curve: str
    size: float | None
    role: str | None
    is_fitted: bool
    points: int
    final_error: float
    mae: float
    mae_after_branch: float
    r2: float
    coverage: float
    width: float
    winkler: float


@dataclass(frozen=True, repr=False)
class StudyScores(AbstractPrinted, Sequence[CurveForecastScore]):
    """Scores of a study's forecasts: a sequence of rows, one for each law and curve.

    Attributes:
        rows: In the order of the laws, then of the curves.
    """

    rows: tuple[CurveForecastScore, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> CurveForecastScore: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[CurveForecastScore]: ...
    def __getitem__(self, index: int | slice) -> CurveForecastScore | Sequence[CurveForecastScore]:
        return self.rows[index]

    def _card(self) -> Card:
        return Card(
            f"Scores of {len(self)} forecasts; 90 % intervals",
            [(law, self._summary(law)) for law in dict.fromkeys(row.law for row in self.rows)],
        )

    def _summary(self, law: str) -> str:
        """Means over the curves that the fit has not seen, if there are any."""
        own = [row for row in self.rows if row.law == law]
        used = [row for row in own if not row.is_fitted] or own
        kind = "fitted" if used[0].is_fitted else "unseen"
        mae, final, held = (
            float(np.mean(values))
            for values in (
                [row.mae for row in used],
                [abs(row.final_error) for row in used],
                [row.coverage for row in used],
            )
        )
        return (
            f"MAE {figure(mae, 3)}, |final error| {figure(final, 3)}, inside {held:.0%}; means over {len(used)} {kind} "
            f"curves"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """One row a law and curve."""
        return pd.DataFrame([asdict(row) for row in self.rows])


def score_study(study: Study, curves: CurveSet, laws: Sequence[str] | None = None) -> StudyScores:
    """Score a study's forecasts on curves, which may be fitted ones (marked) or new.

    Args:
        study: The fits.
        curves: What was measured. A curve counts as fitted if one of its name and size was.
        laws: Names; None: all of the study.
    """
    check_kind("study", study, Study, "a `Study`, as from `fit_study` or `load_study`")
    check_kind("curves", curves, CurveSet, "a `CurveSet`, as from `read_curves`")
    check_kind("laws", laws or (), (list, tuple), "a list of names")
    fitted = {(curve.name, curve.size) for curve in study.curves}
    rows = []
    for law in laws or study.laws:
        for curve in curves:
            own = _after_branch(curve, study.curves)
            found = study.predict_at(curve, law=law)
            score = score_forecast(curve.losses, found.loss, found.lower, found.upper, after_branch=own)
            is_fitted = (curve.name, curve.size) in fitted
            rows.append(CurveForecastScore(law, curve.name, curve.size, curve.role, is_fitted, **asdict(score)))
    return StudyScores(tuple(rows))


def _after_branch(curve: Curve, known: CurveSet) -> np.ndarray:
    """Where a curve has points that no fitted curve of its size has."""
    steps = curve.steps
    shared = np.zeros(len(steps), dtype=bool)
    for other in known:
        if other.size == curve.size and other.name != curve.name:
            _, here, there = np.intersect1d(steps, other.steps, return_indices=True)
            shared[here] |= curve.losses[here] == other.losses[there]
    return np.arange(len(steps)) > (int(np.flatnonzero(shared)[-1]) if shared.any() else -1)
