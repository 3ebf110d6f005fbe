"""Assertions that no single run can test: over several runs, from their claims.

The paper says that preserved regularity forces the drift to be a power. One run has one regularity and one drift, so
the implication shows over runs: where regularity is kept better, the power should be better, and no run should keep
its regularity and have another drift.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.theory.verdicts import Claim, Verdict, judge, what_would_change

__all__ = ["regularity_gives_power"]

KEY = "C4.implication"
STATEMENT = "where regularity is preserved better, the drift is more of a power"
BAND = (0.0, None)
FEWEST = 6  # runs; a rank correlation of fewer has no width to speak of
SPREAD = 1.03  # of Fisher's z for Spearman's coefficient [@fieller1957tests]


def regularity_gives_power(claims: Mapping[str, Sequence[Claim]]) -> Claim:
    """Correlate, over runs, how well regularity is kept with how well a power describes the drift.

    Args:
        claims: Of each run by its name, as from `ef.claims(run)`. Runs that lack one of C4.regularity and C4.form count
            for nothing.

    Returns:
        A row: Spearman's rank correlation between minus the change of the source exponent and the skill of the power,
        with Fisher's interval. Contradicted too if two runs or more keep their regularity and have no power.

    Raises:
        ArgumentError: If `claims` is empty.
    """
    if not claims:
        raise ArgumentError(
            "`claims` must hold the claims of at least one run, but is empty. Pass ef.claims(run) by name."
        )
    pairs, against = [], []
    for name, rows in claims.items():
        by = {row.claim: row for row in rows}
        kept, power = by.get("C4.regularity"), by.get("C4.form")
        if kept is None or power is None or kept.estimate is None or power.estimate is None:
            continue
        pairs.append((-abs(kept.estimate), power.estimate))
        if kept.verdict is Verdict.SUPPORTED and power.verdict is Verdict.CONTRADICTED:
            against.append(name)
    told = f"{len(pairs)} of {len(claims)} runs tell of both; {len(against)} keep their regularity without a power"
    told += f" ({', '.join(against)})" if against else ""
    if len(pairs) < FEWEST:
        change = f"{FEWEST} runs or more with enough unlearned modes and a drift"
        return Claim(KEY, STATEMENT, None, None, BAND, Verdict.UNDECIDED, told, change)
    first, second = np.array(pairs).T
    estimate = float(np.nan_to_num(np.corrcoef(rankdata(first), rankdata(second))[0, 1]))  # Spearman
    half = float(ndtri(0.5 + 0.5 * LEVEL)) * SPREAD / np.sqrt(len(pairs) - 3.0)
    z = np.arctanh(np.clip(estimate, -0.999999, 0.999999))
    interval = (float(np.tanh(z - half)), float(np.tanh(z + half)))
    loses = len(against) > 1
    verdict = judge(interval, BAND, loses=loses)
    return Claim(
        KEY, STATEMENT, estimate, interval, BAND, verdict, told, what_would_change(interval, BAND, loses=loses)
    )
