"""C3: coarse-graining the modes in the eigenvalue gives a transport-dissipation equation."""

import numpy as np

from eigenflow.core.resampling import block_interval
from eigenflow.shells import ShellBudget
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import make_claim, make_row, median_row
from eigenflow.theory.verdicts import Claim

__all__ = ["coarse_graining"]


def coarse_graining(evidence: Evidence) -> list[Claim]:
    """C3 and its assertions."""
    budget, rng = evidence.budget, evidence.rng()
    energy = budget.energy.sum("shell").values
    residual = np.abs(budget.residual.values).max(1) / energy
    terms = {
        name: np.abs(getattr(budget, name).values).sum(1)
        for name in ("dissipation", "optimizer", "curvature", "transfer", "remainder")
    }
    total = np.maximum(sum(terms.values()), np.finfo(np.float64).tiny)
    shares = {name: float(np.median(values / total)) for name, values in terms.items()}
    listed = ", ".join(f"{name} {share:.3g}" for name, share in shares.items())
    closes = make_row(
        "C3.closes",
        "the energy of every shell changes by dissipation, optimizer, loss curvature, transfer and remainder only",
        float(residual.max()),
        block_interval(residual, lambda v: float(v.max()), rng),
        f"largest unexplained change of a shell, relative to the whole energy, over {len(residual)} updates",
    )
    small = median_row(
        "C3.remainder",
        "transport and dissipation suffice: the nonlinear remainder is negligible",
        terms["remainder"] / total,
        rng,
        f"median share of each term, as sums of absolute values over shells: {listed}" + _unresolved(budget),
    )
    statement = "Coarse-graining gives d_t g + d_lambda(v g) = -2 lambda g + S"
    return make_claim("C3", statement, [closes, small], small)


def _unresolved(budget: ShellBudget) -> str:
    """What a run of tracked modes does not resolve, in words."""
    if budget.cut is None:
        return ""
    energy = budget.energy.values
    share = float(np.median(energy[:, 0] / np.maximum(energy.sum(1), np.finfo(np.float64).tiny)))
    return f"; all below the cut counts as one shell, a median share of {share:.3g} of the energy"
