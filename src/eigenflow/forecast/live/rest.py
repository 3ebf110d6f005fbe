"""From what a run has shown to a forecast of its rest: the same law, length and rates as `forecast_logs` takes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve, CurveSet
from eigenflow.forecast.fitting.fit import FitStatus
from eigenflow.forecast.fitting.path import forecast_nodes
from eigenflow.forecast.live.band import RestForecast
from eigenflow.forecast.outlook.logs import STARTS
from eigenflow.forecast.outlook.rest import PlannedRun, planned_run
from eigenflow.forecast.schedules.schedule import Schedule
from eigenflow.forecast.study.study import fit_study

__all__ = ["Question", "forecast_rest"]

# Points of the path that a band keeps.
MOST_NODES = 240
# The rate of a run that was given none: any will do, as long as it stays.
ASSUMED_RATE = 1.0


@dataclass(frozen=True)
class Question:
    """What is known of a run.

    Attributes:
        steps: Of the blocks of its log.
        log_losses: Mean ln(loss) of each block.
        corners: Steps and rates between which the seen rates are straight lines; none if none was given.
        total: Updates in all, None if unknown.
        law: Name of the law.
        seed: Draws its starts.
    """

    steps: Int[np.ndarray, " block"]
    log_losses: Float[np.ndarray, " block"]
    corners: tuple[tuple[int, float], ...]
    total: int | None
    law: str = "transport"
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON, to the last bit."""
        return {
            "steps": self.steps.tolist(),
            "log_losses": self.log_losses.tolist(),
            "corners": [list(one) for one in self.corners],
            "total": self.total,
            "law": self.law,
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, form: Mapping[str, Any]) -> "Question":
        """Make it again."""
        return cls(
            np.array(form["steps"], dtype=np.int64),
            np.array(form["log_losses"], dtype=np.float64),
            tuple((int(step), float(rate)) for step, rate in form["corners"]),
            form["total"],
            form["law"],
            form["seed"],
        )


def forecast_rest(question: Question, schedule: Schedule | None) -> RestForecast:
    """Forecast the rest of a run.

    Args:
        question: What is known of it.
        schedule: Every rate of it, None if that is to be recognised from the seen ones.

    Raises:
        ArgumentError: If there are too few points, or the rates are none.
    """
    begun = time.process_time()
    plan = _planned(question, schedule)
    fit = fit_study(CurveSet((plan.curve,)), [question.law], starts=STARTS, seed=question.seed).fits[0]
    first = max(plan.schedule.warmup, int(plan.curve.steps[0]), 1)
    nodes = _nodes(plan.schedule.rates, min(first, plan.last), plan.total, plan.last)
    found = fit.predict_steps(plan.schedule, nodes)
    cautions = [] if fit.status is FitStatus.CONVERGED else [f"the fit: {fit.status.value}"]
    cautions += [*found.cautions, *plan.cautions]
    return RestForecast(
        plan.last,
        plan.total,
        float(found.loss[-1]),
        float(found.lower[-1]),
        float(found.upper[-1]),
        nodes,
        np.round(np.log(found.loss), 7),
        np.round(np.log(found.upper / found.loss), 6),
        plan.schedule.rates[nodes - 1] if plan.knows_rates else np.full(len(nodes), np.nan),
        plan.kind,
        plan.basis,
        tuple(dict.fromkeys(cautions)),
        time.process_time() - begun,
    )


def _planned(question: Question, schedule: Schedule | None) -> PlannedRun:
    steps, last = np.maximum(question.steps, 1), int(question.steps[-1])
    steps, first = np.unique(steps, return_index=True)
    losses = np.exp(question.log_losses[first])
    if schedule is not None:
        return planned_run(Curve("run", steps, losses, schedule), total=question.total)
    if question.corners:
        at, rates = np.array(question.corners, dtype=np.float64).T
        # A trainer counts updates from 1: what it shows at step s is the rate of update s - 1.
        every = np.interp(np.arange(1, last + 1), at, rates)
        if not every.max() > 0:
            raise ArgumentError("the learning rates are 0 so far")
        seen = Schedule.table(every)
    else:
        seen = Schedule.constant(total=last, peak=ASSUMED_RATE)
    return planned_run(Curve("run", steps, losses, seen), total=question.total, knows_rates=bool(question.corners))


def _nodes(rates: np.ndarray, first: int, total: int, last: int) -> Int[np.ndarray, " node"]:
    """Steps that show the path: where the law bends, thinned, and where the forecast begins."""
    nodes = forecast_nodes(rates, np.arange(first, total + 1))
    if len(nodes) > MOST_NODES:
        ahead = np.flatnonzero(nodes >= last)
        behind = np.flatnonzero(nodes < last)
        kept = [part[_evenly(len(part), MOST_NODES // 2)] for part in (behind, ahead)]
        nodes = nodes[np.concatenate(kept)]
    return np.union1d(nodes, [first, max(last, 1), total]).astype(np.int64)


def _evenly(count: int, most: int) -> Int[np.ndarray, " kept"]:
    return np.unique(np.rint(np.linspace(0, count - 1, min(count, most))).astype(np.int64))
