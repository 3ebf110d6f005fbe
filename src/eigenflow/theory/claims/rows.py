"""Rows of the claims table: an estimate against its band, and a claim with its assertions."""

from collections.abc import Callable, Sequence

import numpy as np

from eigenflow.core.errors import EigenflowError
from eigenflow.core.resampling import block_interval
from eigenflow.theory.claims.bands import BANDS
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.verdicts import Claim, Verdict, change_of_all, judge, overall, what_would_change

__all__ = ["SINGLE_UPDATES", "attempt", "make_claim", "make_row", "median_row", "undecided"]


# Claims with rows that ask for no time.
WITHOUT_CLOCK = ("C1", "C2", "C3")
# What lets a claim be judged that needs single updates.
SINGLE_UPDATES = "a record of every update of the run, or one that says how many lie between its states"


def make_row(
    key: str,
    statement: str,
    estimate: float,
    interval: tuple[float, float],
    reason: str,
    beats_alternatives: bool = True,
) -> Claim:
    """An assertion that the run allows to judge; `reason` says what the estimate is and what stands behind it."""
    band = BANDS[key]
    verdict = judge(interval, band, beats_alternatives)
    change = what_would_change(interval, band, beats_alternatives)
    return Claim(key, statement, estimate, interval, band, verdict, reason, change)


def undecided(key: str, statement: str, reason: str, change: str = "a run that allows the estimate") -> Claim:
    """An assertion that the run does not allow to judge."""
    return Claim(key, statement, None, None, BANDS.get(key, (None, None)), Verdict.UNDECIDED, reason, change)


def median_row(key: str, statement: str, values: np.ndarray, rng: np.random.Generator, reason: str) -> Claim:
    """An assertion about the median over measured times."""
    if len(values) == 0:
        return undecided(key, statement, "no mode is isolated at any measured time")
    interval = block_interval(values, lambda v: float(np.median(v)), rng)
    return make_row(key, statement, float(np.median(values)), interval, reason)


def make_claim(name: str, statement: str, rows: Sequence[Claim], leading: Claim) -> list[Claim]:
    """Put the claim as a whole before its assertions; it shows the estimate of the leading one."""
    told = ", ".join(f"{row.claim} {row.verdict}" for row in rows)
    whole = Claim(
        name,
        statement,
        leading.estimate,
        leading.interval,
        leading.band,
        overall([row.verdict for row in rows]),
        f"{told}. Shown: {leading.claim}, {leading.reason}",
        change_of_all(rows),
    )
    return [whole, *rows]


def attempt(name: str, statement: str, test: Callable[[Evidence], list[Claim]], evidence: Evidence) -> list[Claim]:
    """A run too short for a claim leaves it undecided, with the reason; so does one whose times are not known."""
    if not evidence.has_clock and name not in WITHOUT_CLOCK:
        return [undecided(name, statement, f"{evidence.why_no_updates}; so times are not known", SINGLE_UPDATES)]
    try:
        return test(evidence)
    except EigenflowError as error:
        return [undecided(name, statement, str(error))]
