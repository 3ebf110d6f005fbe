"""Scores of a forecast with an interval: where it ends, how far off it is on the way, whether the interval holds."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import NonFiniteError, ShapeError
from eigenflow.core.resampling import LEVEL

__all__ = ["ForecastScore", "interval_score", "score_forecast"]

Points = Float[np.ndarray, " point"]


@dataclass(frozen=True, repr=False)
class ForecastScore(FieldsPrinted):
    """One forecast of one curve beside the truth. Errors are in the loss's own unit, on the scored points.

    Attributes:
        final_error: Forecast minus truth at the last point.
        mae: Mean absolute error.
        mae_after_branch: The same over the points that the curve does not share with another one.
        r2: Share of the curve's variance that the forecast explains (it hides the end: read it last).
        coverage: Share of points inside the 90 % interval.
        width: Mean width of the interval.
        winkler: Mean interval score (width, plus 20 times the distance of points outside): smaller is better.
        points: Number of scored points.
    """

    final_error: float
    mae: float
    mae_after_branch: float
    r2: float
    coverage: float
    width: float
    winkler: float
    points: int


def interval_score(lower: Points, upper: Points, true: Points, level: float = LEVEL) -> Points:
    """Winkler's interval score at each point: width + 2 / (1 - level) times the distance by which the truth is outside.

    Its mean is smallest for the true quantiles, so neither a wide nor a narrow interval can win.
    """
    outside = np.maximum(lower - true, 0.0) + np.maximum(true - upper, 0.0)
    return upper - lower + 2.0 / (1.0 - level) * outside


def score_forecast(
    true: Points, predicted: Points, lower: Points, upper: Points, *, after_branch: np.ndarray | None = None
) -> ForecastScore:
    """Score one forecast.

    Args:
        true: Losses that the forecast has not seen.
        predicted: Forecast at the same points.
        lower: Lower end of its 90 % interval.
        upper: Upper end.
        after_branch: True where the curve is its own; None: everywhere.

    Raises:
        ShapeError: If the arrays differ in length, or are empty.
        NonFiniteError: If a forecast or an interval is not finite; no score would say so.
    """
    lengths = {len(values) for values in (true, predicted, lower, upper)}
    if len(lengths) != 1 or lengths == {0}:
        raise ShapeError(
            f"`true`, `predicted`, `lower` and `upper` must be equally long and not empty, but have {len(true)}, "
            f"{len(predicted)}, {len(lower)} and {len(upper)} points."
        )
    for name, values in (("true", true), ("predicted", predicted), ("lower", lower), ("upper", upper)):
        if not np.isfinite(values).all():
            raise NonFiniteError(f"`{name}` must be finite, but point {int(np.argmin(np.isfinite(values)))} is not.")
    error = predicted - true
    own = np.abs(error) if after_branch is None or not after_branch.any() else np.abs(error[after_branch])
    spread = float(((true - true.mean()) ** 2).sum())
    return ForecastScore(
        final_error=float(error[-1]),
        mae=float(np.abs(error).mean()),
        mae_after_branch=float(own.mean()),
        r2=1.0 - float((error**2).sum()) / spread if spread > 0 else 0.0,
        coverage=float(((true >= lower) & (true <= upper)).mean()),
        width=float((upper - lower).mean()),
        winkler=float(interval_score(lower, upper, true).mean()),
        points=len(true),
    )
