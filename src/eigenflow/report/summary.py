"""Everything that is concluded from a run, computed once, for the summary file and the report."""

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import eigenflow
from eigenflow.closure import Closure
from eigenflow.core.errors import EigenflowError, RunFolderError
from eigenflow.core.writing import FORMAT
from eigenflow.shells import ShellBudget, ShellEnergies
from eigenflow.store import Run
from eigenflow.store.schema import STATES
from eigenflow.theory.budget_terms import BudgetTerms
from eigenflow.theory.claims import Claims, Evidence, judge_all
from eigenflow.theory.forecasts.rest_of_run import RestForecast, forecast_rest
from eigenflow.theory.modes.learning_times import LearningTimes, learning_times

__all__ = ["Analysis", "analyse"]


@dataclass(frozen=True)
class Analysis:
    """The conclusions from one run.

    Attributes:
        run: The run.
        evidence: What the claims were judged by; holds what they had computed.
        shells: Its shells, 4 a decade.
        budget: The same with what updates did to them; None for a record of states.
        closure: The drift law, or None where the run does not allow a fit.
        claims: Verdicts on the theory's claims.
        forecasts: Three forecasts from each cut, with scores.
        learned: When the modes of each shell were learned, or None where the run does not say.
        problems: What could not be computed, and why.
        wall_s: Seconds that the analysis took.
    """

    run: Run
    evidence: Evidence
    shells: ShellBudget | ShellEnergies
    budget: ShellBudget | None
    closure: Closure | None
    claims: Claims
    forecasts: list[RestForecast]
    learned: LearningTimes | None
    problems: list[str]
    wall_s: float

    def summary(self, **timings: float) -> dict[str, Any]:
        """The machine-readable summary; `timings` in seconds are put beside the analysis's own."""
        return {
            "format": FORMAT,
            "schema_version": 1,
            "eigenflow": eigenflow.__version__,
            "status": self.run.status,
            "measurements": len(self.run.measured_steps),
            "first_step": self.run.first_step,
            "gaps": [gap.to_dict() for gap in self.run.gaps],
            "kind": self.run.kind,
            "clock": self.run.clock,
            "why_no_updates": self.run.why_no_updates,
            "claims": [claim.to_dict() for claim in self.claims],
            "forecast": {
                "protocol": "given everything measured up to the cut and the later learning rates; "
                "rms_log_ratio and final_log_ratio are of ln(predicted / true) on log-spaced later steps",
                "scores": [_score(forecast) for forecast in self.forecasts],
            },
            "closure": None if self.closure is None else _closure(self.closure),
            "learning_times": None if self.learned is None else self.learned.to_dict(),
            "budget": None if self.budget is None else _budget(self.evidence.terms),
            "problems": self.problems,
            "timings": {**timings, "analyse_s": self.wall_s},
        }


def analyse(run: Run) -> Analysis:
    """Draw every conclusion from a run that this version knows.

    Args:
        run: As from `open_run`; it may still be running.

    Returns:
        Budget, drift law, claims, and scored forecasts. What a short run, or a record of states, does not allow is
        listed in `problems`, not raised.

    Raises:
        RunFolderError: If the run holds no measurement at all.
    """
    start = perf_counter()
    evidence = Evidence(run)
    shells = evidence.shells
    budget = shells if isinstance(shells, ShellBudget) else None
    problems: list[str] = []
    try:
        closure = evidence.closure
    except EigenflowError as error:
        closure = None
        problems.append(f"drift law: {error}")
    if run.kind == STATES:
        forecasts = []
        problems.append(f"budget, transfer and forecasts: {run.why_no_updates}")
    else:
        forecasts, missing = forecast_rest(run)
        problems += [f"forecast from {line}" for line in missing]
    learned = None
    try:
        if run.clock == "updates":
            raise RunFolderError(str(run.why_no_clock))
        learned = learning_times(run)
    except EigenflowError as error:
        problems.append(f"learning times: {error}")
    rows = judge_all(evidence)
    told = (shells, budget, closure, rows, forecasts, learned, problems)
    return Analysis(run, evidence, *told, perf_counter() - start)


def _score(forecast: RestForecast) -> dict[str, Any]:
    return {
        "method": forecast.method,
        "cut": forecast.observed.cut,
        "parameter": forecast.parameter,
        "basis": forecast.basis,
        "losses": forecast.observed.source,
        "quantity": forecast.observed.quantity,
        **asdict(forecast.score),
    }


def _closure(closure: Closure) -> dict[str, Any]:
    return {
        "law": "v = -c(t) lambda^b",
        "b": closure.b,
        "b_interval": list(closure.b_interval),
        "gamma": closure.gamma,
        "gamma_interval": list(closure.gamma_interval),
        "reference_eigenvalue": closure.reference,
        "times": closure.times,
        "strength": closure.strength,
        "explained": closure.explained,
        "held_out": asdict(closure.held_out),
        "points": closure.points,
    }


def _budget(terms: BudgetTerms) -> dict[str, Any]:
    return {"largest_residual": float(terms.residual.max()), "median_shares": terms.median_shares}
