"""Backtests, cross-validation in time, schedules and sizes: a law is refitted to what was known, scored on the rest."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from eigenflow.core.display import AbstractPrinted, Card, FieldsPrinted, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.core.parallel import map_calls
from eigenflow.forecast.curves import Curve, CurveSet
from eigenflow.forecast.evaluation.protocols import LeaveOneSchedule, LeaveOneSize, RestOfRun, Split, SplitProtocol
from eigenflow.forecast.evaluation.scores import score_forecast
from eigenflow.forecast.fitting.pooled import history_of, pooled_fit
from eigenflow.forecast.intervals.calibration import HeldOut, shipped_calibration
from eigenflow.forecast.intervals.error_scale import Calibration, OwnError
from eigenflow.forecast.intervals.model import STACKED, Fitted, measure_spread, posterior_moments
from eigenflow.forecast.intervals.own_errors import own_errors, own_kind
from eigenflow.forecast.intervals.rest_of_run import rest_of_run
from eigenflow.forecast.laws.protocol import Law
from eigenflow.forecast.laws.published import PUBLISHED_LAWS

__all__ = [
    "ALTERNATIVES",
    "Backtest",
    "BacktestCase",
    "Fitter",
    "Refitter",
    "backtest",
    "default_protocols",
    "forecast_split",
    "pooled_fitter",
]

Fitter = Callable[[Sequence[Curve]], Fitted]
# Fits a law again, to other curves of the study that it was fitted to.
Refitter = Callable[[Any, Sequence[Curve]], Fitted]

# Cheap laws of different kinds: where they part ways, the forecast is less sure.
ALTERNATIVES = ("power_steps", "power_time", "momentum")
# ln(loss) beyond this is an extrapolation that has run away; scores need numbers.
FARTHEST = 30.0
CUTS = (0.1, 0.25, 0.5)


@dataclass(frozen=True, repr=False)
class BacktestCase(FieldsPrinted):
    """One law's forecast of one curve's unseen points.

    Attributes:
        law: Name of the law.
        protocol: What was hidden.
        split: Which part of it.
        curve: The curve.
        size: Of its model, None if unknown.
        steps: Unseen steps.
        true: Losses there.
        predicted: Forecast losses.
        spread: Variances of ln(loss), columns as in `error_scale.COMPONENTS`.
        after_branch: Where the curve shares no history with a known one.
        is_same_run: Whether the known run goes on here.
        cpu_s: Processor seconds of the fit.
        own: Backtests within what was known.
    """

    law: str
    protocol: str
    split: str
    curve: str
    size: float | None
    steps: np.ndarray
    true: Float[np.ndarray, " point"]
    predicted: Float[np.ndarray, " point"]
    spread: Float[np.ndarray, "point component"]
    after_branch: np.ndarray
    is_same_run: bool
    cpu_s: float
    own: tuple[OwnError, ...] = ()

    @property
    def errors(self) -> Float[np.ndarray, " point"]:
        """ln(forecast) - ln(truth)."""
        return np.log(self.predicted) - np.log(self.true)

    def interval(self, calibration: Calibration) -> tuple[np.ndarray, np.ndarray]:
        """Give the 90 % interval of the loss."""
        half = calibration.half_width(self.spread, self.own)
        return self.predicted * np.exp(-half), self.predicted * np.exp(half)

    def held_out(self, group: str) -> HeldOut:
        """As an observation for learning a calibration."""
        return HeldOut(group, self.errors, self.spread, self.protocol, self.own)


@dataclass(frozen=True, repr=False)
class Backtest(AbstractPrinted):
    """All cases, and what could not be fitted.

    Attributes:
        cases: One for each law and unseen curve.
        problems: A line for every fit that was refused.
    """

    cases: tuple[BacktestCase, ...]
    problems: tuple[str, ...]

    def scores(self, calibration: Callable[[str], Calibration] = shipped_calibration) -> pd.DataFrame:
        """Score every case: one row each, columns as in `ForecastScore`, with `inside_final`."""
        known = {law: calibration(law) for law in {case.law for case in self.cases}}
        return pd.DataFrame([score_case(case, known[case.law]) for case in self.cases])

    def to_dataframe(self) -> pd.DataFrame:
        """One row a case; the same as `scores()`."""
        return self.scores()

    def _card(self) -> Card:
        laws = list(dict.fromkeys(case.law for case in self.cases))
        hidden = list(dict.fromkeys(case.protocol for case in self.cases))
        rows = [("hidden", ", ".join(hidden))] if hidden else []
        scores = self.scores()
        for law in laws:
            own = scores[scores["law"] == law]
            mae, winkler, held = (float(np.mean(np.asarray(own[name]))) for name in ("mae", "winkler", "coverage"))
            told = f"MAE {figure(mae, 3)}, inside {held:.0%}, Winkler {figure(winkler, 3)}"
            rows.append((law, f"{told}; means over {len(own)} hidden curves"))
        rows += [("refused", problem) for problem in self.problems]
        return Card(f"Backtest of {len(laws)} law{'s' * (len(laws) != 1)}: {len(self.cases)} forecasts", rows)


def score_case(case: BacktestCase, calibration: Calibration) -> dict[str, object]:
    """Score one case with one calibration, as a row of the table."""
    lower, upper = case.interval(calibration)
    score = score_forecast(case.true, case.predicted, lower, upper, after_branch=case.after_branch)
    return {
        "law": case.law,
        "protocol": case.protocol,
        "split": case.split,
        "curve": case.curve,
        "size": case.size,
        **asdict(score),
        "inside_final": bool(lower[-1] <= case.true[-1] <= upper[-1]),
        "cpu_s": case.cpu_s,
    }


def default_protocols() -> list[SplitProtocol]:
    """The house's cuts, one schedule out, one size out."""
    return [*(RestOfRun(cut) for cut in CUTS), LeaveOneSchedule(), LeaveOneSize()]


def pooled_fitter(law: Law, *, seed: int = 0, starts: int = 3) -> Fitter:
    """Fit a law without priors, from several starts, the same ones for every split."""
    return lambda curves: pooled_fit(curves, law, starts=starts, rng=np.random.default_rng(seed))


def backtest(
    curves: CurveSet,
    laws: Mapping[str, Fitter] | None = None,
    protocols: Iterable[SplitProtocol] | None = None,
    *,
    refitters: Mapping[str, Refitter] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Backtest:
    """Refit every law to what each protocol leaves, and forecast what it hides.

    A fit is given the known points, and the learning rates of the curve to forecast; nothing else of it.

    Args:
        curves: Runs of one network, or of one recipe at several sizes.
        laws: How to fit each law, by name; None: the published laws.
        protocols: What to hide; None: `default_protocols()`. Those that do not fit the curves give no case.
        refitters: How to fit laws again within what is known, for intervals that are scaled to the study
            (`own_errors`); laws without one have the interval of an average study.
        progress: Called with a line before each split.

    Splits are forecast on the engine that joblib is configured for (`joblib.parallel_config`), else one after another.

    Raises:
        ArgumentError: If no protocol leaves anything to fit.
    """
    fitters = dict(laws) if laws is not None else {name: pooled_fitter(law) for name, law in PUBLISHED_LAWS.items()}
    splits = [split for protocol in protocols or default_protocols() for split in protocol.splits(curves)]
    if not splits:
        raise ArgumentError(
            f"`curves` has {len(curves)} curves with {curves.points} points in all: too few for any protocol. A rest "
            f"of a run needs 8 known points, a schedule left out 2 others, a size left out 3 others."
        )

    def told() -> Iterator[Split]:
        for index, split in enumerate(splits):
            if progress:
                progress(f"{index + 1}/{len(splits)} {split.protocol}: {split.name}")
            yield split

    found = map_calls(partial(_split_with_problems, fitters=fitters, refitters=refitters or {}), told())
    return Backtest(tuple(case for cases, _ in found for case in cases), tuple(p for _, own in found for p in own))


def _split_with_problems(
    split: Split, fitters: Mapping[str, Fitter], refitters: Mapping[str, Refitter]
) -> tuple[list[BacktestCase], list[str]]:
    problems: list[str] = []
    return forecast_split(split, fitters, refitters, problems), problems


def forecast_split(
    split: Split, fitters: Mapping[str, Fitter], refitters: Mapping[str, Refitter], problems: list[str]
) -> list[BacktestCase]:
    """Fit laws to what a split leaves known, and forecast what it hides; refused fits are told in `problems`."""
    fits: dict[str, Fitted] = {}
    seconds: dict[str, float] = {}
    missing = {name: pooled_fitter(PUBLISHED_LAWS[name]) for name in ALTERNATIVES if name not in fitters}
    for name, fitter in {**fitters, **missing}.items():
        begun = time.process_time()
        try:
            fits[name] = fitter(split.known)
        except ArgumentError as error:
            problems.append(f"{split.protocol}, {split.name}: {error}")
        seconds[name] = time.process_time() - begun
    own = {
        name: own_errors(split.known, own_kind(split.known, split.unseen[0].size), partial(refit, fits[name]))
        for name, refit in refitters.items()
        if name in fits
    }
    return [
        _forecast(split, curve, name, fits, seconds[name], own.get(name, ()))
        for name in fitters
        if name in fits
        for curve in split.unseen
    ]


def _forecast(
    split: Split, curve: Curve, name: str, fits: Mapping[str, Fitted], cpu_s: float, own: tuple[OwnError, ...]
) -> BacktestCase:
    fit, history = fits[name], history_of(curve)
    log_loss, variance = posterior_moments(fit, history, curve.size)
    others = {
        other: fits[other].log_prediction(history, curve.size)[0]
        for other in ALTERNATIVES
        if other in fits and other != name
    }
    same = split.is_same_run
    if same and name == STACKED:
        log_loss = rest_of_run(log_loss, split.known[0], history, others)
    apart = list(others.values())
    spread = measure_spread(fit, split.known, history, log_loss, variance, apart, size=curve.size, is_same_run=same)
    is_own = curve.steps > curve.branch
    predicted = np.exp(np.clip(log_loss, -FARTHEST, FARTHEST))
    return BacktestCase(
        name, split.protocol, split.name, curve.label, curve.size, curve.steps, curve.losses, predicted, spread, is_own,
        same, cpu_s, own,
    )  # fmt: skip
