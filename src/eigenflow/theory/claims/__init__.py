"""The theory's claims, tested on a measured run: one row a claim, and one for each of its assertions.

A module for each claim. Every band stands in `bands.py`; the verdict follows from the estimate's 90 % interval by
`verdicts.judge`.
"""

from collections.abc import Callable

from eigenflow.core.checks import check_kind
from eigenflow.core.moved import keep_old_calls
from eigenflow.store import Run
from eigenflow.theory.claims.bands import BANDS as BANDS
from eigenflow.theory.claims.coarse_graining import coarse_graining
from eigenflow.theory.claims.drift import drift
from eigenflow.theory.claims.effective_time import effective_time
from eigenflow.theory.claims.evidence import Evidence as Evidence
from eigenflow.theory.claims.evolution import evolution
from eigenflow.theory.claims.exponents import exponents
from eigenflow.theory.claims.limits import limits
from eigenflow.theory.claims.mode_equations import mode_equations
from eigenflow.theory.claims.rows import attempt
from eigenflow.theory.claims.self_similarity import self_similarity
from eigenflow.theory.verdicts import Claim

__all__ = ["BANDS", "Evidence", "claims", "judge_all"]

_TESTS: dict[str, tuple[str, Callable[[Evidence], list[Claim]]]] = {
    "C1": ("Exact evolution de/dt = -M(t) e in function space", evolution),
    "C2": ("Kato perturbation theory gives coupled mode equations", mode_equations),
    "C3": ("Coarse-graining gives d_t g + d_lambda(v g) = -2 lambda g + S", coarse_graining),
    "C4": ("Drift v = -c(t) lambda^b", drift),
    "C5": ("Weak coupling gives self-similar solutions", self_similarity),
    "C6": ("Explicit scaling-law exponents (the loss exponent in time)", exponents),
    "C7": ("Effective training time tau(t) = t^alpha L(t)", effective_time),
    "C8": ("Lazy (v = 0) and feature-learning (v != 0) limits", limits),
}


def claims(run: Run, *, seed: int = 0) -> list[Claim]:
    """Test the theory's claims on a run.

    Args:
        run: As from `open_run`, with at least one measurement.
        seed: Of the bootstrap intervals.

    Returns:
        First each claim as a whole, then its assertions.

    Raises:
        RunFolderError: If the run holds no measurement.
    """
    check_kind("run", run, Run, "a run, as from `open_run(path)`")
    return judge_all(Evidence(run, seed))


def judge_all(evidence: Evidence) -> list[Claim]:
    """The rows of `claims`, for a caller that goes on using the evidence."""
    _ = evidence.budget  # a run without shells is refused, not undecided
    return [row for name, (statement, test) in _TESTS.items() for row in attempt(name, statement, test, evidence)]

keep_old_calls(__name__)
