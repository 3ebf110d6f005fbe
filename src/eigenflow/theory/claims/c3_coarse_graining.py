"""C3: coarse-graining the modes in the eigenvalue gives a transport-dissipation equation.

Here whether the budget of the shells closes; `c3_closure` holds the assertions on what closes it.
"""

import numpy as np

from eigenflow.core.resampling import block_interval
from eigenflow.shells import ShellBudget
from eigenflow.theory.claims.assertions import RECORD, UPDATES, Assertion, ClaimTest, asserts
from eigenflow.theory.claims.c3_closure import closes_by_drift, forecasts, jumps, single_valued, state_forecasts
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.verdicts import Claim

__all__ = ["CLAIM"]

# Intervals that a statement about a run needs: a bootstrap of fewer has no width to speak of.
FEWEST = 3


@asserts(
    "C3.closes",
    "every shell's energy changes by dissipation, optimizer, loss curvature, transfer, remainder and buffers only",
    band=(None, 1e-12),
    needs=[RECORD],
)
def closes(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The largest change of a shell that no term explains."""
    residual = evidence.terms.residual
    return this.row(
        float(residual.max()),
        block_interval(residual, lambda v: float(v.max()), rng),
        f"largest unexplained change of a shell, relative to the whole energy, over {len(residual)} updates",
    )


@asserts(
    "C3.remainder",
    "transport and dissipation suffice: the nonlinear remainder is negligible",
    band=(None, 0.05),
    needs=[UPDATES],
)
def remainder(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The typical share of the remainder."""
    listed = ", ".join(f"{name} {share:.3g}" for name, share in evidence.terms.median_shares.items())
    return this.median_row(
        evidence.terms.shares["remainder"],
        rng,
        f"median share of each term, as sums of absolute values over shells: {listed}" + _unresolved(evidence.budget),
    )


def _unresolved(budget: ShellBudget) -> str:
    """What a run of tracked modes does not resolve, in words."""
    if budget.cut is None:
        return ""
    energy = budget.energy.values
    share = float(np.median(energy[:, 0] / np.maximum(energy.sum(1), np.finfo(np.float64).tiny)))
    return f"; all below the cut counts as one shell, a median share of {share:.3g} of the energy"


@asserts(
    "C3.integrated",
    "between measured times, the measured rates integrate to the change of the energy",
    # As C2.interval: a tenth of what the terms move, of which the quadrature may be half.
    band=(None, 0.1),
    needs=[UPDATES],
)
def integrated(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The typical miss between measurements, where the quadrature can tell."""
    balance, limit = evidence.balance, this.band[1]
    assert limit is not None
    moved = sum(np.abs(term.values).sum(1) for term in balance.terms.values())
    moved = np.maximum(moved, np.finfo(np.float64).tiny)
    miss, quadrature = np.abs(balance.residual.values) / moved, balance.error.values / moved
    used = quadrature <= 0.5 * limit
    transported = np.abs(balance.transported.values).sum(1) / moved
    bar = balance.transported_error.values.sum(1) / moved
    told = (
        f"{int(used.sum())} of {len(used)} intervals count, in the others the quadrature may miss more than "
        f"{0.5 * limit:.0%} ({int(balance.is_gap.sum())} are gaps, {int(balance.is_step_changed.sum())} change the "
        f"step size); over all, shells exchange a median {np.median(transported):.3g} +- {np.median(bar):.2g} times "
        f"what the terms move"
    )
    if used.sum() < FEWEST:
        return this.undecided(told, "measurements closer together")
    return this.median_row(miss[used], rng, "median miss relative to what the terms move; " + told)


CLAIM = ClaimTest(
    "C3",
    "Coarse-graining gives d_t g + d_lambda(v g) = -2 lambda g + S",
    (closes, remainder, integrated, single_valued, closes_by_drift, jumps, forecasts, state_forecasts),
    needs_clock=False,
)
