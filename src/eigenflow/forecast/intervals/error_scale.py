"""How large forecast errors are in the study at hand: a learned scale, moved by the study's own small backtests.

Variances of several sources, weighted, add up to V = law + far + measured. One set of weights does not fit all sets of
runs, so the law's share is multiplied by a scale that differs between studies, with a scaled inverse chi-squared law of
`freedom` degrees around 1. A study that refits its law without a part of its own curves sees errors e where V was
expected; each such forecast counts as `own_freedom` degrees with the mean square of e^2 / V. By conjugacy the scale is
then

    (freedom + own_freedom * count * mean square) / (freedom + own_freedom * count)

and the error has Student's law with as many degrees as the denominator. What was never left out cannot be rescaled: the
share of an unseen size (unless sizes were left out) or peak rate has a scale of its own, 1 with `freedom` degrees. The
noise of points and the spread between runs are measured, and have none. The sum of the shares has the degrees of Welch
and Satterthwaite. Weights and both degrees are learned on other sets (`calibration`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.resampling import LEVEL

__all__ = ["COMPONENTS", "LEAST_VARIANCE", "Calibration", "OwnError", "OwnKind", "blend", "split_variance"]

COMPONENTS = ("parameters", "noise", "misfit", "laws", "runs", "size", "peak", "departure")
# Measured, not modelled: they count as they are, whatever the study.
MEASURED = ("noise", "runs")
# A floor under every interval, far below any noise: ln(loss) is not known to better than 1e-6.
LEAST_VARIANCE = 1e-12
# Half-widths beyond a factor e^30 say nothing more, and their ends must stay numbers.
MOST_HALF = 30.0

Points = Float[np.ndarray, " point"]
Spread = Float[np.ndarray, "point component"]
OwnKind = Literal["rest", "schedule", "size"]


@dataclass(frozen=True, repr=False)
class OwnError(FieldsPrinted):
    """How far a refit missed a part of the study's own curves that it was not shown.

    Attributes:
        kind: What was left out: the rest of a run, a schedule, or a size.
        errors: ln(forecast) - ln(truth) there.
        spread: Variances there, one column for each of `COMPONENTS`.
    """

    kind: OwnKind
    errors: Points
    spread: Spread


@dataclass(frozen=True, repr=False)
class Calibration(FieldsPrinted):
    """How the variances add up to a 90 % interval.

    Attributes:
        law: Whose errors it was learned from.
        weights: One for each of `COMPONENTS`.
        factor: Correction of the standard deviation, but for what is measured, so that 90 % of held-out points lie
            inside; near 1 if the model is right.
        freedom: Degrees of freedom of a study's scale before its own backtests.
        own_freedom: Degrees that each forecast of its own backtests adds; 0 if they were not used.
        cases: Number of held-out curves that it was learned from.
        sets: The sets they came from.
        coverage: For every set, the share of unseen points inside, by curve, that set left out of the learning.
    """

    law: str
    weights: tuple[float, ...]
    factor: float
    freedom: float
    own_freedom: float
    cases: int
    sets: tuple[str, ...]
    coverage: dict[str, float]

    def half_width(self, spread: Spread, own: Sequence[OwnError] = ()) -> Points:
        """Half the width of the interval of ln(loss).

        Args:
            spread: Variances at every point, columns as in `COMPONENTS`.
            own: The study's own backtests; without any, the scale is that of an average study.
        """
        quantile, modelled, measured = self.parts(spread, own)
        return np.minimum(quantile * np.sqrt(self.factor**2 * modelled + measured), MOST_HALF)

    def parts(self, spread: Spread, own: Sequence[OwnError] = ()) -> tuple[Points, Points, Points]:
        """Give Student's quantile at every point, and the variance that is modelled and the one that is measured."""
        weights = np.array(self.weights)
        squares = [float(np.mean(one.errors**2 / sum(split_variance(one.spread, weights)))) for one in own]
        shares = split_variance(spread, weights, knows_size=any(one.kind == "size" for one in own))
        modelled, degrees = blend(
            shares,
            count=len(own),
            mean_square=float(np.mean(squares)) if own else 1.0,
            freedom=self.freedom,
            own_freedom=self.own_freedom,
        )
        return stdtrit(degrees, (1 + LEVEL) / 2), modelled, shares[2]


def split_variance(
    spread: Spread, weights: Float[np.ndarray, " component"], *, knows_size: bool | np.ndarray = False
) -> tuple[Points, Points, Points]:
    """Give the weighted variance of the law (with its floor), of what was never left out, and of what is measured.

    Args:
        spread: Variances at every point.
        weights: One for each of `COMPONENTS`.
        knows_size: Whether sizes were left out in the study's own backtests (of each point's study).
    """
    weighted = spread * weights
    size, peak = (weighted[:, COMPONENTS.index(name)] for name in ("size", "peak"))
    measured = weighted[:, [COMPONENTS.index(name) for name in MEASURED]].sum(axis=1)
    law = np.maximum(weighted.sum(axis=1) - size - peak - measured, 0.0) + LEAST_VARIANCE
    return law + np.where(knows_size, size, 0.0), peak + np.where(knows_size, 0.0, size), measured


def blend(
    shares: tuple[Points, Points, Points],
    *,
    count: float | int | np.ndarray,
    mean_square: float | np.ndarray,
    freedom: float,
    own_freedom: float,
) -> tuple[Points, Points]:
    """Give the modelled variance of the error at every point after a study's own backtests, and the error's degrees.

    Args:
        shares: As from `split_variance`.
        count: Number of own forecasts (of each point's study, if these are of several).
        mean_square: Of their errors, over what was expected of them.
        freedom: As in `Calibration`.
        own_freedom: As in `Calibration`.
    """
    law, far, measured = shares
    degrees = freedom + own_freedom * np.asarray(count)
    moved = law * (freedom + own_freedom * np.asarray(count) * mean_square) / degrees
    return moved + far, (moved + far + measured) ** 2 / (moved**2 / degrees + far**2 / freedom)
