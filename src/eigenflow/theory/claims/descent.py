"""Whether a run's updates are gradient descent in its own time, as rows about decay rates assume."""

import numpy as np
from jaxtyping import Float

from eigenflow.theory.claims.evidence import Evidence

__all__ = ["curvature_note", "why_not_descent"]


def why_not_descent(evidence: Evidence) -> str | None:
    """Say so if the optimizer, and not gradient descent at the logged learning rates, does most of the work.

    Adam and its kin precondition the gradient: energies then fall by another operator's eigenvalues, on another
    clock. Batches and momentum add terms that are small or change their sign.
    """
    gained, lost = _total(evidence, "optimizer"), _total(evidence, "dissipation")
    is_used = lost > 0
    ratio = float(np.median(gained[is_used] / lost[is_used])) if is_used.any() else 0.0
    if abs(ratio) <= 1.0:
        return None
    return (
        f"the optimizer changes energies by {ratio:.3g} times what gradient descent at the logged learning rates "
        f"dissipates (median), so the eigenvalues and this time do not set the decay"
    )


def curvature_note(evidence: Evidence) -> str:
    """For losses that are not squared: how much of the energies' change is due to the loss's own curvature."""
    changed, lost = (np.abs(_total(evidence, name)) for name in ("curvature", "dissipation"))
    is_used = lost > 0
    share = float(np.median(changed[is_used] / lost[is_used])) if is_used.any() else 0.0
    return f"; the curvature of the loss changes energies by {share:.2g} of the dissipation" if share > 0.05 else ""


def _total(evidence: Evidence, name: str) -> Float[np.ndarray, " step"]:
    """A term of the budget over all shells; 0 where the run does not hold it."""
    data = evidence.data
    return data[name].sum("shell").values if name in data else np.zeros(data.sizes["step"])
