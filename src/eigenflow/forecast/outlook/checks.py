"""How far forecasts from this log would have missed what it knows already: parts are hidden, forecast, and compared.

Beside the law stand what a person would take without one: the last value that is known, and a power of the steps.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eigenflow.core.display import AbstractPrinted, Card
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve, CurveSet
from eigenflow.forecast.evaluation.backtests import BacktestCase, Fitter, backtest
from eigenflow.forecast.evaluation.protocols import LeaveOneSchedule, LeaveOneSize, RestOfRun, Split, SplitProtocol
from eigenflow.forecast.fitting.fit import Fit, Forecast
from eigenflow.forecast.fitting.search import fit_parameters
from eigenflow.forecast.intervals.calibrated import CalibratedIntervals
from eigenflow.forecast.intervals.calibration import shipped_calibration
from eigenflow.forecast.laws.protocol import History
from eigenflow.forecast.outlook.rest import PlannedRun

__all__ = ["BASELINES", "LAST_VALUE", "POWER", "HiddenPart", "hidden_parts", "last_value", "off", "power_end"]

LAST_VALUE, POWER = "last value", "power_steps"
BASELINES = (LAST_VALUE, POWER)
SHARES, LEAST_KNOWN = (0.25, 0.5), 5
# Parts that are hidden of each kind.
MOST_PARTS = 3
# Single points are noisy: a last value is the mean of this share of the points, what is compared with it too.
LAST_SHARE = 0.05

# An error of ln(loss) above this is told as a factor, one below as none.
LARGE, NOTHING = 0.5, 1e-8


def off(error: float) -> str:
    """The size of an error of ln(loss), in words: `1.2 %`, or `a factor of 6.1`."""
    size = abs(error)
    percent = 0.0 if size < NOTHING else 100 * np.expm1(size)
    return f"{percent:.2g} %" if size < LARGE else f"a factor of {np.exp(size):.3g}"


@dataclass(frozen=True, repr=False)
class HiddenPart(AbstractPrinted):
    """One part of the log that was hidden, and what was forecast of it.

    Attributes:
        hidden: What was hidden: "rest after 25 %", "leave one schedule out", "leave one size out".
        curve: Of which curve.
        step: Its last step.
        true: Loss there, the geometric mean of the last hidden points (a twentieth of them), as all that follows.
        law: Forecast of it.
        lower: Lower end of the 90 % interval.
        upper: Upper end.
        inside: Share of all hidden points of the curve in their intervals.
        others: What each baseline says of the last loss, by name.
        path: Forecast of all hidden points of the curve.
    """

    hidden: str
    curve: str
    step: int
    true: float
    law: float
    lower: float
    upper: float
    inside: float
    others: dict[str, float]
    path: Forecast

    @property
    def error(self) -> float:
        """ln(forecast / truth) of the last loss."""
        return float(np.log(self.law / self.true))

    @property
    def holds(self) -> bool:
        """Whether the interval of the last loss holds it."""
        return self.lower <= self.true <= self.upper

    def miss_of(self, baseline: str) -> float:
        """ln(baseline / truth) of the last loss."""
        return float(np.log(self.others[baseline] / self.true))

    def _card(self) -> Card:
        rows = [
            ("law", f"{self.law:.5g} [{self.lower:.5g}, {self.upper:.5g}], {off(self.error)} off"),
            ("truth", f"{self.true:.5g} at step {self.step:,}"),
            *((name, f"{value:.5g}, {off(self.miss_of(name))} off") for name, value in self.others.items()),
        ]
        return Card(f"Hidden: {self.hidden}, {self.curve}", rows)


@dataclass(frozen=True)
class _Some:
    """Some of the splits of a protocol, evenly chosen."""

    of: SplitProtocol

    @property
    def name(self) -> str:
        return self.of.name

    def splits(self, curves: CurveSet) -> Iterator[Split]:
        found = list(self.of.splits(curves))
        for k in np.unique(np.rint(np.linspace(0, len(found) - 1, min(len(found), MOST_PARTS))).astype(int)):
            yield found[k]


def hidden_parts(
    curves: CurveSet,
    fit: Fit,
    *,
    first: Curve | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> tuple[tuple[HiddenPart, ...], tuple[str, ...]]:
    """Hide parts of the known curves in turn, fit again without each, and forecast it.

    Args:
        curves: All that is known.
        fit: Of all of it; its prior is used again.
        first: The curve of which something is hidden in any case.
        seed: Draws starting points.
        progress: Called with a line before each part.

    Returns:
        The parts, and a line for each fit that was refused. Neither if the log has too few points.
    """
    ordered = sorted((curve for curve in curves if len(curve) > 1), key=lambda curve: curve is not first)
    usable = CurveSet(tuple(curve if curve.steps[0] >= 1 else curve.after(0) for curve in ordered))
    protocols: list[SplitProtocol] = [_Some(RestOfRun(share, LEAST_KNOWN)) for share in SHARES]
    protocols += [_Some(LeaveOneSchedule()), _Some(LeaveOneSize(least_known=2))]
    law = fit.law.name

    def refit(before: Fit, part: Sequence[Curve]) -> Fit:
        return fit_parameters(part, law, prior=before.prior, starts=1, seed=seed, mixes=False)

    fitters: dict[str, Fitter] = {
        law: lambda part: fit_parameters(part, law, prior=fit.prior, starts=1, seed=seed),
        POWER: lambda part: fit_parameters(part, POWER, prior=None, starts=2, seed=seed),
    }
    refitters = {law: refit} if shipped_calibration(law).own_freedom else {}
    try:
        found = backtest(usable, fitters, protocols, refitters=refitters, progress=progress)
    except ArgumentError as error:
        return (), (str(error),)
    return tuple(_parts(found.cases, usable, law)), found.problems


def _parts(cases: Sequence[BacktestCase], curves: CurveSet, law: str) -> Iterator[HiddenPart]:
    whole = {(curve.label, curve.size): curve for curve in curves}
    power = {(case.protocol, case.split, case.curve): case for case in cases if case.law == POWER}
    calibration = shipped_calibration(law)
    for case in cases:
        if case.law != law:
            continue
        lower, upper = case.interval(calibration)
        others: dict[str, float] = {}
        if case.is_same_run:
            others[LAST_VALUE] = last_value(whole[case.curve, case.size].until(int(case.steps[0]) - 1))
        plain = power.get((case.protocol, case.split, case.curve))
        if plain is not None:
            others[POWER] = float(np.exp(np.log(plain.predicted[-_last_count(len(plain.true)) :]).mean()))
        inside = float(np.mean((case.true >= lower) & (case.true <= upper)))
        count = _last_count(len(case.true))
        ends = (float(np.exp(np.log(part[-count:]).mean())) for part in (case.true, case.predicted, lower, upper))
        true, middle, low, high = ends
        last = int(case.steps[-1])
        path = Forecast(case.steps, case.predicted, lower, upper)
        yield HiddenPart(case.protocol, case.curve, last, true, middle, low, high, inside, others, path)


def _last_count(points: int) -> int:
    return max(1, round(LAST_SHARE * points))


def last_value(curve: Curve) -> float:
    """The last loss that is known: the geometric mean of the last points, for single ones are noisy."""
    return float(np.exp(np.log(curve.losses[-_last_count(len(curve)) :]).mean()))


def power_end(fit: Fit, run: PlannedRun) -> float | None:
    """The end of a run by a power of the steps, as fitted beside a law for its intervals."""
    known = fit.intervals.alternatives if isinstance(fit.intervals, CalibratedIntervals) else ()
    history = History(np.array([run.total]), run.schedule.rates, run.schedule.batch)
    for other in known:
        if other.law.name == POWER:
            return float(np.exp(other.log_prediction(history, run.curve.size)[0][0]))
    return None
