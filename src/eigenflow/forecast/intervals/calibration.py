"""Learning how variances add up to an interval, from errors on curves that were held out.

Weights of the variances, and how much a study's own backtests count, maximise the likelihood of Student's law
(`error_scale`); a factor then makes 90 % of held-out points lie inside, each set judged by weights that it had no say
in. Every set has equal votes for each kind of forecast that it holds, shared by the curves. What is learned from some
sets is only ever judged on the others.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import gammaln

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.core.rounding import WHOLE
from eigenflow.forecast.intervals.error_scale import COMPONENTS, MEASURED, Calibration, OwnError, blend, split_variance
from eigenflow.forecast.intervals.own_errors import evenly

__all__ = ["HeldOut", "calibrate", "leave_out", "shipped_calibration"]

SHIPPED = "interval_calibration.json"
# A forecast that is off by more than a factor e ran away. It says nothing of the width that serves the others: for its
# sake Student's law would take a single degree of freedom, and every interval would have six standard deviations.
RAN_AWAY = 1.0
# A curve's points say much the same, and the likelihood is evaluated some thousand times.
POINTS = 12
# Of so many sets each is judged by the others when the factor is learned.
LEAST_GROUPS = 3
# More sets than this are judged in so many parts.
MOST_PARTS = 10
# ln(weight), ln(freedom), ln(own_freedom). Student's law has a finite width only above one degree of freedom.
WEIGHTS, FREEDOM, OWN_FREEDOM = (-12.0, 6.0), (0.0, np.log(30.0)), (np.log(0.02), np.log(20.0))
STARTS = (0.0, -2.0)
# ln(weight) before the sets speak, for each of `COMPONENTS`, and how far they may move it. Else a weight that few
# sets need goes to zero, and with it the interval of the study that needs it.
LIKELY = np.log([1.0, 1.0, 0.3, 0.05, 1.0, 0.05, 0.1, 0.003])
LIKELY_SD = 1.5
# The same of the degrees that a forecast within a study adds. The likelihood of the shared sets alone would take none:
# most such errors are as large as was expected, and say little; but where their squares are five times as large, the
# study's forecasts are off as well, and it is these that an interval must hold.
LIKELY_OWN, LIKELY_OWN_SD = np.log(0.5), 0.5

Points = Float[np.ndarray, " point"]


@dataclass(frozen=True)
class HeldOut:
    """One held-out curve.

    Attributes:
        group: The set it comes from; sets are left out as a whole.
        errors: ln(forecast) - ln(truth) at its unseen points.
        spread: Variances there, one column for each of `COMPONENTS`.
        kind: What was hidden; every kind of forecast in a set has one vote.
        own: Backtests within what was known.
    """

    group: str
    errors: Points
    spread: Float[np.ndarray, "point component"]
    kind: str = ""
    own: tuple[OwnError, ...] = ()


def calibrate(law: str, cases: Sequence[HeldOut]) -> Calibration:
    """Learn weights, degrees of freedom and factor, from the cases that did not run away.

    Raises:
        ArgumentError: If there are fewer than 10 such cases.
    """
    cases = [case for case in cases if float(np.abs(case.errors).max()) <= RAN_AWAY]
    if len(cases) < 10:
        raise ArgumentError(f"A calibration needs 10 held-out curves or more, but law {law!r} has {len(cases)}.")
    plain = _learned(law, cases)
    groups = sorted({case.group for case in cases})
    # What a set of its own kind would see: each judged by what the others taught, if there are enough of them.
    judges = dict.fromkeys(groups, plain)
    for k in range(min(len(groups), MOST_PARTS) if len(groups) >= LEAST_GROUPS else 0):
        part = groups[k::MOST_PARTS]
        judges |= dict.fromkeys(part, _learned(law, [case for case in cases if case.group not in part]))
    ratio = np.concatenate([_least_factor(case, judges[case.group]) for case in cases])
    # By curve, and by kind of forecast: what is asked often may be easy, and so may a kind that is asked once.
    by_curve, by_kind = np.ones(len(cases)), _votes(cases)
    return replace(plain, factor=max(_held(ratio, cases, by_curve), _held(ratio, cases, by_kind)))


def _held(ratio: Points, cases: Sequence[HeldOut], votes: Float[np.ndarray, " case"]) -> float:
    """The smallest factor that holds 90 % of the points, each curve with so many votes."""
    of_point = np.concatenate(
        [np.full(len(case.errors), vote / len(case.errors)) for case, vote in zip(cases, votes, strict=True)]
    )
    order = np.argsort(ratio)
    # Sums of equal votes reach the level exactly, up to rounding.
    reached = np.searchsorted(np.cumsum(of_point[order]) / of_point.sum(), LEVEL * (1.0 - WHOLE))
    return float(ratio[order][min(reached, len(ratio) - 1)])


def _least_factor(case: HeldOut, judge: Calibration) -> Points:
    """The factor at which the interval just holds each point; what is measured is not corrected by it."""
    quantile, modelled, measured = judge.parts(case.spread, case.own)
    return np.sqrt(np.maximum((case.errors / quantile) ** 2 - measured, 0.0) / modelled)


def _learned(law: str, cases: Sequence[HeldOut]) -> Calibration:
    """Weights and degrees of freedom of largest likelihood, not yet corrected."""
    weights, freedom, own_freedom = _Likelihood(cases).maximise()
    sets = tuple(sorted({case.group for case in cases}))
    return Calibration(law, tuple(float(w) for w in weights), 1.0, freedom, own_freedom, len(cases), sets, {})


def leave_out(law: str, cases: Sequence[HeldOut]) -> dict[str, Calibration]:
    """Learn, for every set, from all the others: what its own intervals may honestly use."""
    groups = sorted({case.group for case in cases})
    return {group: calibrate(law, [case for case in cases if case.group != group]) for group in groups}


def shipped_calibration(law: str) -> Calibration:
    """Give the calibration that comes with the package, learned on public curves (its file says which, and how).

    A law that is not in it gets the one learned from all laws together, under the name "default".
    """
    table = json.loads((files("eigenflow.forecast.intervals") / SHIPPED).read_text())["laws"]
    entry = table.get(law, table["default"])
    return Calibration(
        entry["law"],
        tuple(entry["weights"].get(name, float(np.exp(LIKELY[k]))) for k, name in enumerate(COMPONENTS)),
        entry["factor"],
        entry["freedom"],
        entry["own_freedom"],
        entry["cases"],
        tuple(entry["sets"]),
        entry["coverage"],
    )


def to_entry(calibration: Calibration) -> dict[str, object]:
    """As plain values for the shipped table."""
    weights = dict(zip(COMPONENTS, calibration.weights, strict=True))
    return {**asdict(calibration), "weights": weights, "sets": list(calibration.sets)}


def _votes(cases: Sequence[HeldOut]) -> Float[np.ndarray, " case"]:
    """One for every kind of forecast of every set, shared by its curves."""
    counts = Counter((case.group, case.kind) for case in cases)
    return np.array([1.0 / counts[case.group, case.kind] for case in cases])


class _Likelihood:
    """Student's likelihood of all held-out errors, thinned and laid out as arrays."""

    def __init__(self, cases: Sequence[HeldOut]) -> None:
        kept = [evenly(len(case.errors), POINTS) for case in cases]
        self.of_case = np.repeat(np.arange(len(cases)), [len(at) for at in kept])
        self.errors = np.concatenate([case.errors[at] for case, at in zip(cases, kept, strict=True)])
        self.spread = np.concatenate([case.spread[at] for case, at in zip(cases, kept, strict=True)])
        votes = _votes(cases) / np.array([len(at) for at in kept])
        self.votes = votes[self.of_case] / votes[self.of_case].sum()
        self.count = np.array([len(case.own) for case in cases])
        self.knows_size = np.array([any(one.kind == "size" for one in case.own) for case in cases])
        own = [one for case in cases for one in case.own]
        self.own_case = np.repeat(np.arange(len(cases)), self.count)
        self.of_own = np.repeat(np.arange(len(own)), [len(one.errors) for one in own])
        self.own_errors = np.concatenate([np.zeros(0), *(one.errors for one in own)])
        self.own_spread = np.concatenate([np.zeros((0, len(COMPONENTS))), *(one.spread for one in own)])
        self.learned = (self.spread.max(axis=0) > 0) & ~np.isin(COMPONENTS, MEASURED)
        self.cells = len({(case.group, case.kind) for case in cases})

    def unpack(self, x: np.ndarray) -> tuple[Float[np.ndarray, " component"], float, float]:
        weights, count = np.ones(len(COMPONENTS)), int(self.learned.sum())
        weights[~np.isin(COMPONENTS, MEASURED)] = np.exp(LIKELY[~np.isin(COMPONENTS, MEASURED)])
        weights[self.learned] = np.exp(x[:count])
        return weights, float(np.exp(x[count])), float(np.exp(x[count + 1])) if self.count.any() else 0.0

    def cost(self, x: np.ndarray) -> float:
        weights, freedom, own_freedom = self.unpack(x)
        shares = split_variance(self.spread, weights, knows_size=self.knows_size[self.of_case])
        modelled, degrees = blend(
            shares,
            count=self.count[self.of_case],
            mean_square=self._mean_square(weights)[self.of_case],
            freedom=freedom,
            own_freedom=own_freedom,
        )
        variance = modelled + shares[2]
        tails = 0.5 * (degrees + 1) * np.log1p(self.errors**2 / (degrees * variance))
        norm = gammaln(0.5 * (degrees + 1)) - gammaln(0.5 * degrees) - 0.5 * np.log(degrees * variance)
        doubt = 0.5 * float((((x[: self.learned.sum()] - LIKELY[self.learned]) / LIKELY_SD) ** 2).sum())
        if self.count.any():
            doubt += 0.5 * float((x[-1] - LIKELY_OWN) / LIKELY_OWN_SD) ** 2
        return float(self.votes @ (tails - norm)) + doubt / self.cells

    def maximise(self) -> tuple[Float[np.ndarray, " component"], float, float]:
        count = int(self.learned.sum())
        last = [OWN_FREEDOM] if self.count.any() else []
        found = [
            minimize(
                self.cost,
                np.array([*(LIKELY[self.learned] + level), np.log(4.0), *[LIKELY_OWN] * len(last)]),
                method="L-BFGS-B",
                bounds=[*[WEIGHTS] * count, FREEDOM, *last],
            )
            for level in STARTS
        ]
        return self.unpack(min(found, key=lambda one: one.fun).x)

    def _mean_square(self, weights: np.ndarray) -> Float[np.ndarray, " case"]:
        """Own errors over what was expected of them, every forecast with one vote."""
        if not self.count.any():
            return np.ones(len(self.count))
        square = self.own_errors**2 / sum(split_variance(self.own_spread, weights))
        mean = np.bincount(self.of_own, square) / np.bincount(self.of_own)
        return np.bincount(self.own_case, mean, minlength=len(self.count)) / np.maximum(self.count, 1)
