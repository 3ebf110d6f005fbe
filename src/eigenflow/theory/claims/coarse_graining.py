"""C3: coarse-graining the modes in the eigenvalue gives a transport-dissipation equation."""

import numpy as np

from eigenflow.core.errors import RunFolderError
from eigenflow.core.resampling import block_interval
from eigenflow.shells import ShellBudget, integrated_balance
from eigenflow.theory.claims.bands import BANDS
from eigenflow.theory.claims.closure import closure_rows
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import SINGLE_UPDATES, make_claim, make_row, median_row, undecided
from eigenflow.theory.verdicts import Claim

__all__ = ["coarse_graining"]

# Intervals that a statement about a run needs: a bootstrap of fewer has no width to speak of.
FEWEST = 3
STATEMENT = "Coarse-graining gives d_t g + d_lambda(v g) = -2 lambda g + S"
INTEGRATES = "between measured times, the measured rates integrate to the change of the energy"


def coarse_graining(evidence: Evidence) -> list[Claim]:
    """C3 and its assertions."""
    budget, rng = evidence.budget, evidence.rng()
    energy = budget.energy.sum("shell").values
    residual = np.abs(budget.residual.values).max(1) / energy
    terms = {
        name: np.abs(getattr(budget, name).values).sum(1)
        for name in ("dissipation", "optimizer", "curvature", "transfer", "remainder", "buffers")
    }
    total = np.maximum(sum(terms.values()), np.finfo(np.float64).tiny)
    shares = {name: float(np.median(values / total)) for name, values in terms.items()}
    listed = ", ".join(f"{name} {share:.3g}" for name, share in shares.items())
    closes = make_row(
        "C3.closes",
        "every shell's energy changes by dissipation, optimizer, loss curvature, transfer, remainder and buffers only",
        float(residual.max()),
        block_interval(residual, lambda v: float(v.max()), rng),
        f"largest unexplained change of a shell, relative to the whole energy, over {len(residual)} updates",
    )
    suffices = "transport and dissipation suffice: the nonlinear remainder is negligible"
    why = evidence.why_no_updates
    if why is not None:
        small = undecided("C3.remainder", suffices, why, SINGLE_UPDATES)
        integrated = undecided("C3.integrated", INTEGRATES, why, SINGLE_UPDATES)
        return make_claim("C3", STATEMENT, [closes, small, integrated, *closure_rows(evidence)], small)
    small = median_row(
        "C3.remainder",
        suffices,
        terms["remainder"] / total,
        rng,
        f"median share of each term, as sums of absolute values over shells: {listed}" + _unresolved(budget),
    )
    return make_claim("C3", STATEMENT, [closes, small, _integrated_row(budget, rng), *closure_rows(evidence)], small)


def _integrated_row(budget: ShellBudget, rng: np.random.Generator) -> Claim:
    """The balance over intervals whose measurements resolve the rates."""
    statement = INTEGRATES
    try:
        balance = integrated_balance(budget)
    except RunFolderError as error:
        return undecided("C3.integrated", statement, str(error))
    limit = BANDS["C3.integrated"][1]
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
        return undecided("C3.integrated", statement, told, "measurements closer together")
    return median_row(
        "C3.integrated", statement, miss[used], rng, "median miss relative to what the terms move; " + told
    )


def _unresolved(budget: ShellBudget) -> str:
    """What a run of tracked modes does not resolve, in words."""
    if budget.cut is None:
        return ""
    energy = budget.energy.values
    share = float(np.median(energy[:, 0] / np.maximum(energy.sum(1), np.finfo(np.float64).tiny)))
    return f"; all below the cut counts as one shell, a median share of {share:.3g} of the energy"
