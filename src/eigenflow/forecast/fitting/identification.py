"""Which parameters the data determine (profile likelihood), and which further run would help most (optimal design).

The profile of a parameter is the best cost at each of its values, all others free: flat where the data (or a trade-off)
leave it open. A candidate run is worth the variance that its points would take from a forecast that one wants to make:
c-optimal design, by Laplace's approximation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import OptimizeResult

from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.fitting.covariates import Covariates, Slope
from eigenflow.forecast.fitting.fit import Fit
from eigenflow.forecast.fitting.objective import FitSettings, Objective
from eigenflow.forecast.fitting.posterior import curvature
from eigenflow.forecast.fitting.search import build_objective
from eigenflow.forecast.laws.protocol import History
from eigenflow.forecast.laws.registry import law_named
from eigenflow.forecast.schedules.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CandidateRun", "Profile", "prior_conflicts", "profiles", "worth_of_runs"]

# Half of the 90 % quantile of chi-squared with one degree of freedom: the rise of the cost at the ends of the interval.
RISE = 1.3528
# How far a parameter is moved, in internal units: a factor of 20, or 2 for a signed one.
REACH = {"log": 3.0, "linear": 2.0}
# Where a parameter is held, in standard deviations (Laplace) from the optimum; beyond, by factors of two.
STEPS = (0.8, 1.6, 2.4, 4.0, 8.0, 16.0, 32.0)
EVALUATIONS = 40
# Points of a candidate run that count, and its share of the run before which they do not.
POINTS, FIRST_SHARE = 30, 0.05


@dataclass(frozen=True, repr=False)
class Profile(AbstractPrinted):
    """Profile likelihood of one parameter, without any prior.

    Attributes:
        name: Of the parameter.
        values: Where it was held.
        rise: Cost above the lowest one there, in units where 1.35 ends a 90 % interval.
        lower: Lower end of that interval, None if the cost never rises so far below the optimum within reach.
        upper: Upper end.
        is_identified: Whether both ends exist: the data alone bound the parameter.
    """

    name: str
    values: Float[np.ndarray, " value"]
    rise: Float[np.ndarray, " value"]
    lower: float | None
    upper: float | None

    def _card(self) -> Card:
        low = "open" if self.lower is None else figure(self.lower, 3)
        high = "open" if self.upper is None else figure(self.upper, 3)
        told = "identified" if self.is_identified else "not identified"
        rows = [("90 % interval", f"{low} to {high}"), ("criterion", "profile likelihood of the curves, without prior")]
        return Card(f"Profile of {self.name}: {told} by the curves alone", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a value at which the parameter was held: value, rise."""
        return pd.DataFrame({"value": self.values, "rise": self.rise})

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the fall of ln(likelihood) over the parameter; into new axes if none are given."""
        from eigenflow.plots import axes_or_new, plot_profile

        bounds = self.lower, self.upper
        return plot_profile(self.name, self.values, self.rise, bounds, ax=axes_or_new(ax), level=RISE)

    @property
    def is_identified(self) -> bool:
        return self.lower is not None and self.upper is not None


@dataclass(frozen=True, repr=False)
class CandidateRun(AbstractPrinted):
    """What a run that was not made yet would do.

    Attributes:
        name: As given.
        sd_before: Standard deviation of ln(loss) at the end of the wanted run, from parameters alone.
        sd_after: The same once the candidate is known too.
        share: Share of the variance that it removes.
        helps: The parameter whose variance it cuts most, and by which share.
    """

    name: str
    sd_before: float
    sd_after: float
    share: float
    helps: tuple[str, float]

    def _card(self) -> Card:
        before, after = figure(100 * self.sd_before, 3), figure(100 * self.sd_after, 3)
        rows = [
            ("last loss", f"{before} % uncertain before, {after} % after; {self.share:.0%} of the variance goes"),
            ("helps most", f"{self.helps[0]}, {self.helps[1]:.0%} of its variance"),
        ]
        return Card(f"Candidate run {self.name}", rows)


def profiles(
    fit: Fit, curves: Sequence[Curve], names: Sequence[str] | None = None, *, settings: FitSettings | None = None
) -> list[Profile]:
    """Profile parameters of a fit on its own curves, data alone (no prior).

    Args:
        fit: Of these curves.
        curves: The same curves.
        names: Of the law's parameters; None for all of them.
        settings: As of the fit.
    """
    law = law_named(fit.law.name)
    own = [parameter.name for parameter in law.parameters]
    wanted = list(names) if names is not None else own
    unknown = [name for name in wanted if name not in own]
    if unknown:
        raise ArgumentError(f"`names` holds {unknown[0]!r}, which is no parameter. There are: {', '.join(own)}.")
    objective = build_objective(curves, law, None, settings or FitSettings()).with_noise(fit.noise)
    start = np.zeros(objective.covariates.count)
    start[: len(own)] = fit.theta[: len(own)]
    for k, slope in enumerate(objective.covariates.slopes, len(own)):
        start[k] = _slope_of(fit.covariates, fit.theta, slope)
    best = objective.minimise(start, 4 * EVALUATIONS)
    sd = np.sqrt(np.diag(np.linalg.inv(curvature(objective, best.x, set())[0])))
    found = []
    for name in wanted:
        k = own.index(name)
        parameter = law.parameters[k]
        reach = REACH[parameter.scale]
        offsets = [min(float(sd[k]) * step, reach) for step in STEPS]
        offsets = sorted({*offsets, reach})[: 1 + sum(offset < reach for offset in offsets)]
        grids = [_walk(objective, best, k, sign * np.array(offsets)) for sign in (-1.0, 1.0)]
        theta = np.concatenate([grids[0][0][::-1], [best.x[k]], grids[1][0]])
        cost = np.concatenate([grids[0][1][::-1], [best.cost], grids[1][1]])
        rise = cost - cost.min()
        lower, upper = _ends(theta, rise)
        found.append(
            Profile(
                name,
                np.asarray(parameter.to_value(theta)),
                rise,
                None if lower is None else float(parameter.to_value(lower)),
                None if upper is None else float(parameter.to_value(upper)),
            )
        )
    return found


def prior_conflicts(fit: Fit, found: Sequence[Profile]) -> list[str]:
    """Parameters whose interval with the prior and interval from the curves alone do not touch, a line each.

    The prior then holds the parameter where the curves would not have it, or the law does not describe the curves.

    Args:
        fit: With a prior; there is nothing to say of one without.
        found: Its profiles.
    """
    if fit.prior is None:
        return []
    rows = {row["name"]: row for row in fit.parameters}
    told = []
    for one in found:
        row = rows[one.name]
        is_below = one.upper is not None and one.upper < row["lower"]
        is_above = one.lower is not None and one.lower > row["upper"]
        if is_below or is_above:
            ends = " to ".join("open" if end is None else figure(end, 3) for end in (one.lower, one.upper))
            held = f"{figure(row['lower'], 3)} to {figure(row['upper'], 3)}"
            told.append(
                f"{one.name}: its 90 % interval with the prior, {held}, and the one from the curves alone, {ends}, are "
                "disjoint. The prior decides against these curves, or the law does not describe them; compare a fit "
                "without prior."
            )
    return told


def worth_of_runs(
    fit: Fit, candidates: Mapping[str, Schedule], wanted: Schedule, *, size: float | None = None
) -> list[CandidateRun]:
    """Rank runs that could be made by what they would tell about the end of another one, most useful first.

    Expected information at the optimum (linear): a candidate counts as 30 points with the fit's noise.

    Args:
        fit: What is known.
        candidates: Schedules that could be run.
        wanted: The run whose last loss is to be forecast.
        size: Of all these runs.
    """
    target = fit.log_prediction(History(np.array([wanted.total]), wanted.rates, wanted.batch), size)[1][0]
    before = float(target @ fit.covariance @ target)
    spread = np.diag(fit.covariance)
    ranked = []
    for name, schedule in candidates.items():
        first = max(int(FIRST_SHARE * schedule.total), schedule.warmup, 1)
        steps = np.unique(np.linspace(first, schedule.total, POINTS).astype(np.int64))
        jacobian = fit.log_prediction(History(steps, schedule.rates, schedule.batch), size)[1]
        # Woodbury: the covariance once these points are known.
        gain = jacobian @ fit.covariance
        inner = gain @ jacobian.T + fit.noise**2 * np.eye(len(steps))
        after = fit.covariance - gain.T @ np.linalg.solve(inner, gain)
        cut = 1.0 - np.diag(after) / np.where(spread > 0, spread, 1.0)
        cut[spread == 0] = 0.0
        most = int(np.argmax(cut))
        left = max(float(target @ after @ target), 0.0)
        share = 1.0 - left / before if before > 0 else 0.0
        helps = (fit.covariates.names[most], float(cut[most]))
        ranked.append(CandidateRun(name, float(np.sqrt(before)), float(np.sqrt(left)), share, helps))
    return sorted(ranked, key=lambda run: -run.share)


def _slope_of(covariates: Covariates, theta: Float[np.ndarray, " parameter"], slope: Slope) -> float:
    if slope not in covariates.slopes:
        return 0.0
    return float(theta[len(covariates.law.parameters) + covariates.slopes.index(slope)])


def _walk(
    objective: Objective, best: OptimizeResult, k: int, offsets: Float[np.ndarray, " offset"]
) -> tuple[np.ndarray, np.ndarray]:
    """Hold parameter k further and further from the optimum; each fit starts where the last one ended."""
    lower, upper = objective.bounds()
    theta, values, costs = best.x, [], []
    for value in best.x[k] + offsets:
        if not lower[k] < value < upper[k]:
            break
        result = objective.minimise(theta, EVALUATIONS, fixed={k: float(value)})
        theta = result.x
        values.append(float(value))
        costs.append(float(result.cost))
        if costs[-1] > best.cost + RISE:  # the end of the interval lies behind
            break
    return np.array(values), np.array(costs)


def _ends(theta: np.ndarray, rise: np.ndarray) -> tuple[float | None, float | None]:
    """Where the rise crosses the level on either side of its lowest point."""
    low = int(np.argmin(rise))
    ends: list[float | None] = []
    for side in (np.arange(low, -1, -1), np.arange(low, len(rise))):
        above = np.flatnonzero(rise[side] > RISE)
        if len(above) == 0:
            ends.append(None)
            continue
        at, before = side[above[0]], side[above[0] - 1]
        # The root of a rise is close to a straight line.
        roots = np.sqrt(np.array([max(float(rise[before]), 0.0), RISE, float(rise[at])]))
        share = (roots[1] - roots[0]) / (roots[2] - roots[0])
        ends.append(float(theta[before] + share * (theta[at] - theta[before])))
    return ends[0], ends[1]
