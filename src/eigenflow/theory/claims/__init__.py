"""The theory's claims, tested on a measured run: one row a claim, and one for each of its assertions.

A module for each claim, by number. In each an assertion is a block: statement, band, what it needs, and its estimate;
see `assertions` for how verdicts follow. A new claim is a module of that form, a line in `CLAIMS`, and its estimates in
`Evidence`.
"""

from eigenflow.core.checks import check_kind
from eigenflow.core.moved import keep_old_calls as _keep_old_calls
from eigenflow.store import Run
from eigenflow.theory.claims import (
    c1_evolution,
    c2_mode_equations,
    c3_coarse_graining,
    c4_drift_law,
    c5_self_similarity,
    c6_exponents,
    c7_effective_time,
    c8_limits,
)
from eigenflow.theory.claims.assertions import NO_BAND, Band, ClaimTest
from eigenflow.theory.claims.evidence import Evidence as Evidence
from eigenflow.theory.claims.table import Claims as Claims

__all__ = ["BANDS", "CLAIMS", "Claims", "Evidence", "claims", "judge_all"]

CLAIMS: dict[str, ClaimTest] = {
    test.name: test
    for test in (
        c1_evolution.CLAIM,
        c2_mode_equations.CLAIM,
        c3_coarse_graining.CLAIM,
        c4_drift_law.CLAIM,
        c5_self_similarity.CLAIM,
        c6_exponents.CLAIM,
        c7_effective_time.CLAIM,
        c8_limits.CLAIM,
    )
}

# Where each estimate lies if its claim holds: fixed before any run is judged, the same for every run, printed.
BANDS: dict[str, Band] = {
    one.key: one.band for test in CLAIMS.values() for one in test.assertions if one.band != NO_BAND
}


def claims(run: Run, *, seed: int = 0) -> Claims:
    """Test the theory's claims on a run.

    Args:
        run: As from `open_run`, with at least one measurement.
        seed: Of the bootstrap intervals.

    Returns:
        First each claim as a whole, then its assertions: a sequence of rows, which prints itself as a table.

    Raises:
        RunFolderError: If the run holds no measurement.
    """
    check_kind("run", run, Run, "a run, as from `open_run(path)`")
    return judge_all(Evidence(run, seed))


def judge_all(evidence: Evidence) -> Claims:
    """The rows of `claims`, for a caller that goes on using the evidence."""
    _ = evidence.shells  # a run without shells is refused, not undecided
    return Claims(row for test in CLAIMS.values() for row in test.judge(evidence))


_keep_old_calls(__name__)
